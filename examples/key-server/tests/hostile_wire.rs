//! The server against whoever connects to it: it stays up, an honest client from another address keeps working, memory stays
//! within bounds. Hostile peers come from 127.0.0.2, the honest one from 127.0.0.1.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/peer.rs"]
mod peer;
#[path = "support/server.rs"]
mod server;

use std::fs;
use std::time::{Duration, Instant};

use key_server::wire;
use keystow::{ClientMessage, Frame, MAX_MESSAGE, Refusal, ServerMessage, SessionId};
use peer::{HONEST, HOSTILE, Honest, ask, client, closed, connect, connect_tls, connect_tls_with, rng, run};
use rand_core::Rng;
use server::{TestServer, eventually};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MIB: u64 = 1024 * 1024;
const ACCOUNT: &str = "ada-lovelace";
const PASSWORD: &str = "a good password";

/// Short times and few places, so that a test reaches them soon.
const LIMITS: &[&str] = &[
    "--message-timeout=2s",
    "--handshake-timeout=2s",
    "--idle-timeout=4s",
    "--max-connections=64",
    "--max-connections-per-source=32",
    "--messages-per-second-per-source=5000",
    "--max-sessions=1000",
];

/// A server under [`LIMITS`], and somebody with an account there.
struct Scene {
    server: TestServer,
    honest: Honest,
    before: u64,
    folder: TempDir,
}

impl Scene {
    async fn begin() -> Self {
        Self::with(LIMITS).await
    }

    async fn with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = TestServer::start(folder.path(), arguments, &[("KEYSTOW_LOG", "trace")]);
        let mut honest = Honest::register(server.address, &server.certificate(), ACCOUNT, PASSWORD).await;
        honest.works(server.address, &server.certificate()).await;
        let before = server.resident();
        Self { server, honest, before, folder }
    }

    async fn hostile(&self) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
        connect_tls(HOSTILE, self.server.address, &self.server.certificate()).await.unwrap()
    }

    /// The server is up, serves, and has grown by no more than `bound` bytes.
    async fn ends_well(mut self, bound: u64) {
        self.honest.works(self.server.address, &self.server.certificate()).await;
        assert!(self.server.is_up());
        let grown = self.server.resident().saturating_sub(self.before);
        assert!(grown <= bound, "memory has grown by {grown} bytes");
        let log = String::from_utf8(self.server.log()).unwrap();
        assert!(log.contains("message session=") && !log.contains("panic"), "{log}");
        // Everything is logged here, by rustls too, and nothing that anybody should keep to themselves.
        let secrets = ["server-setup", "fleet-key"].map(|name| fs::read(self.folder.path().join("data").join(name)));
        for secret in secrets.map(Result::unwrap).iter().flat_map(|file| file.chunks_exact(16)) {
            assert!(!shows(&log, secret));
        }
        assert!(!shows(&log, PASSWORD.as_bytes()) && !shows(&log, ACCOUNT.as_bytes()));
    }
}

/// Whether a log has these bytes, as text, as hexadecimal digits or as a list of numbers.
fn shows(log: &str, bytes: &[u8]) -> bool {
    let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let forms = [base16ct::lower::encode_string(bytes), base16ct::upper::encode_string(bytes), list.join(", ")];
    forms.iter().any(|form| log.contains(form)) || log.as_bytes().windows(bytes.len()).any(|part| part == bytes)
}

fn garbage(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng().fill_bytes(&mut bytes);
    bytes
}

#[tokio::test]
async fn garbage_in_place_of_tls_is_cut_off() {
    let scene = Scene::begin().await;
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    // A TLS record that claims 65,535 bytes, and one that holds nonsense for a ClientHello.
    let records = [vec![0x16, 3, 1, 0xff, 0xff], [vec![0x16, 3, 1, 0, 200, 1, 0, 0, 196], garbage(196)].concat()];
    for round in 0..50 {
        for bytes in records.iter().cloned().chain([http.clone(), garbage(1 + round * 20)]) {
            let mut stream = connect(HOSTILE, scene.server.address).await.unwrap();
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            closed(&mut stream).await;
        }
    }
    scene.ends_well(32 * MIB).await;
}

#[tokio::test]
async fn older_tls_is_not_spoken() {
    let scene = Scene::begin().await;
    let (address, certificate) = (scene.server.address, scene.server.certificate());
    assert!(connect_tls_with(HOSTILE, address, &certificate, &[&rustls::version::TLS12]).await.is_err());
    scene.ends_well(32 * MIB).await;
}

#[tokio::test]
async fn lengths_out_of_bounds_are_cut_off_at_once() {
    let scene = Scene::begin().await;
    for length in [0, u32::try_from(MAX_MESSAGE).unwrap() + 1, 0x1000_0000, u32::MAX] {
        let mut stream = scene.hostile().await;
        let begun = Instant::now();
        stream.write_all(&length.to_be_bytes()).await.unwrap();
        closed(&mut stream).await;
        assert!(begun.elapsed() < Duration::from_millis(1900), "it waited for {length} bytes");
    }
    scene.ends_well(32 * MIB).await;
}

#[tokio::test]
async fn truncated_messages_and_lost_connections_leave_nothing() {
    let scene = Scene::begin().await;
    let message = client("eve").log_in("guess", None, &mut rng()).unwrap().message().encode().unwrap();
    let whole = [&u32::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat();
    for cut in (0..whole.len()).step_by(7) {
        let mut stream = scene.hostile().await;
        stream.write_all(&whole[..cut]).await.unwrap();
        // Every other one leaves without a word.
        if cut % 2 == 0 {
            let _ = stream.shutdown().await;
            closed(&mut stream).await;
        }
    }
    scene.ends_well(32 * MIB).await;
}

#[tokio::test]
async fn messages_that_come_byte_by_byte_are_cut_off() {
    let scene = Scene::begin().await;
    let stream = scene.hostile().await;
    let begun = Instant::now();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let trickle = async {
        let _ = writer.write_all(&1000u32.to_be_bytes()).await;
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        loop {
            pace.tick().await;
            let sent = async { writer.write_all(&[7]).await.and(writer.flush().await) };
            if sent.await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = closed(&mut reader) => {}
        () = trickle => {}
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1900) && took < Duration::from_secs(10), "after {took:?}");
    scene.ends_well(32 * MIB).await;
}

#[tokio::test]
async fn half_open_and_silent_connections_are_cut_off() {
    let scene = Scene::begin().await;
    let begun = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(connect(HOSTILE, scene.server.address).await.unwrap());
    }
    let mut idle = scene.hostile().await;
    for stream in &mut silent {
        closed(stream).await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(1900));
    closed(&mut idle).await;
    assert!(begun.elapsed() >= Duration::from_millis(3900), "a silent connection has its time");
    scene.ends_well(32 * MIB).await;
}

#[tokio::test]
async fn a_source_has_so_many_connections_and_no_more() {
    let scene = Scene::with(&["--max-connections-per-source=32", "--idle-timeout=60s"]).await;
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(scene.hostile().await);
    }
    for _ in 0..200 {
        if let Ok(mut stream) = connect(HOSTILE, scene.server.address).await {
            closed(&mut stream).await;
        }
    }
    // Others are not concerned.
    assert!(connect_tls(HONEST, scene.server.address, &scene.server.certificate()).await.is_ok());
    held.truncate(31);
    let (address, certificate) = (scene.server.address, scene.server.certificate());
    eventually("a place is given back", async || connect_tls(HOSTILE, address, &certificate).await.is_ok()).await;
    scene.ends_well(32 * MIB).await;
}

#[tokio::test]
async fn unfinished_messages_take_no_more_than_they_sent() {
    let scene = Scene::with(&["--max-connections-per-source=32", "--message-timeout=60s"]).await;
    let body = vec![7; MAX_MESSAGE - 1];
    let mut held = Vec::new();
    for _ in 0..32 {
        let mut stream = scene.hostile().await;
        stream.write_all(&u32::try_from(MAX_MESSAGE).unwrap().to_be_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        stream.flush().await.unwrap();
        held.push(stream);
    }
    // 1 MiB each, at most doubled by a buffer that grows, and what TLS holds.
    scene.ends_well(32 * 3 * MIB).await;
    drop(held);
}

#[tokio::test]
async fn a_flood_of_logins_for_unknown_names_is_bounded() {
    let mut scene = Scene::begin().await;
    let mut floods = Vec::new();
    for part in 0..8 {
        let mut stream = scene.hostile().await;
        floods.push(tokio::spawn(async move {
            let (mut answered, mut refused) = (0, 0);
            for n in 0..400 {
                let name = format!("nobody-{part}-{n}");
                let message = client(&name).log_in("guess", None, &mut rng()).unwrap().message().encode().unwrap();
                match ask(&mut stream, &message).await.unwrap() {
                    ServerMessage::LoginResponse { .. } => answered += 1,
                    ServerMessage::Refused { refusal: Refusal::TryAgainAt(_), .. } => refused += 1,
                    other => panic!("{other:?}"),
                }
            }
            (answered, refused)
        }));
    }
    // In the midst of it, an open session goes on.
    let mut session = scene.honest.log_in().await;
    let mut requests = 0;
    while floods.iter().any(|flood| !flood.is_finished()) {
        let listed = run(&mut scene.honest.stream, session.list().unwrap()).await;
        session.settle(listed).unwrap();
        requests += 1;
    }
    scene.honest.pin = session.pin();
    let (mut answered, mut refused) = (0, 0);
    for flood in floods {
        let (more_answered, more_refused) = flood.await.unwrap();
        (answered, refused) = (answered + more_answered, refused + more_refused);
    }
    assert_eq!(answered + refused, 3200);
    assert!(requests > 0 && (900..=1000).contains(&answered), "{answered} sessions, {requests} requests");
    let grown = scene.server.resident().saturating_sub(scene.before);
    assert!(scene.server.is_up() && grown <= 48 * MIB, "memory has grown by {grown} bytes");
}

#[tokio::test]
async fn garbage_frames_get_no_answer_and_change_nothing() {
    let mut scene = Scene::begin().await;
    let mut session = scene.honest.log_in().await;
    let listing = session.list().unwrap();
    let ClientMessage::Frame(frame) = listing.message() else { panic!("no frame") };
    let frame = frame.clone();
    let mut stream = scene.hostile().await;
    for n in 0..400u64 {
        let sealed = match n % 4 {
            0 => garbage(usize::try_from(n).unwrap()),
            1 => frame.sealed.iter().map(|byte| byte ^ 1).collect(),
            2 => Vec::new(),
            _ => garbage(60_000),
        };
        let sequence = if n % 3 == 0 { u64::MAX - n } else { n };
        let forged = ClientMessage::Frame(Frame { session_id: frame.session_id, sequence, sealed });
        wire::write(&mut stream, &forged.encode().unwrap()).await.unwrap();
        let garbled = garbage(1 + usize::try_from(n).unwrap());
        wire::write(&mut stream, &garbled).await.unwrap();
    }
    // Nothing of that is answered: what comes first is the hint for a session that nobody knows.
    let unknown = Frame { session_id: SessionId::from_bytes([7; 16]), sequence: 1, sealed: garbage(50) };
    let hint = ask(&mut stream, &ClientMessage::Frame(unknown).encode().unwrap()).await.unwrap();
    let ended = Refusal::SessionEnded;
    assert_eq!(hint, ServerMessage::Refused { session_id: SessionId::from_bytes([7; 16]), refusal: ended });
    let listed = run(&mut scene.honest.stream, listing).await;
    session.settle(listed).unwrap();
    scene.honest.pin = session.pin();
    scene.ends_well(32 * MIB).await;
}

#[tokio::test]
async fn whoever_sends_too_much_waits_or_is_cut_off() {
    let mut scene = Scene::with(&["--messages-per-second-per-source=20"]).await;
    // What is not answered counts for ten messages: a second's worth is spent with the first two, the others wait.
    let nonsense = [&5u32.to_be_bytes()[..], &[1, 2, 3, 4, 5]].concat().repeat(20);
    let (address, certificate) = (scene.server.address, scene.server.certificate());
    let flood = || {
        let (nonsense, certificate) = (nonsense.clone(), certificate.clone());
        tokio::spawn(async move {
            if let Ok(mut stream) = connect_tls(HOSTILE, address, &certificate).await {
                let _ = stream.write_all(&nonsense).await;
                // Nothing is answered: this ends with the connection.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
    };
    let connections: Vec<_> = (0..16).map(|_| flood()).collect();
    let begun = Instant::now();
    scene.honest.works(scene.server.address, &scene.server.certificate()).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "another source has to wait");
    eventually("one is cut off", async || connections.iter().any(|connection| connection.is_finished())).await;
    for connection in connections {
        connection.abort();
    }
    scene.ends_well(32 * MIB).await;
}
