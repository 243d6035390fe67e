//! The server as a process: its secrets from one start to the next, what it tells, how it stops.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/peer.rs"]
mod peer;
#[path = "support/server.rs"]
mod server;

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use key_server::wire;
use keystow::{ClientMessage, Frame, Kind, PlainSecret, Refusal, ServerMessage, SessionId};
use peer::{HONEST, Honest, ask, client, connect, connect_tls, rng, run};
use server::{TestServer, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const KEY: (&str, &str) = ("KEYSTOW_SETUP_KEY", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
const OTHER_KEY: (&str, &str) =
    ("KEYSTOW_SETUP_KEY", "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");

#[tokio::test]
async fn an_account_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    for variables in [&[][..], &[KEY]] {
        let place = folder.path().join(variables.len().to_string());
        fs::create_dir(&place).unwrap();
        let server = TestServer::start(&place, &[], variables);
        let mut honest = Honest::register(server.address, &server.certificate(), "ada", "a good password").await;
        honest.works(server.address, &server.certificate()).await;
        server.kill();
        let server = TestServer::start(&place, &[], variables);
        honest.works(server.address, &server.certificate()).await;
    }
}

#[tokio::test]
async fn a_session_in_the_store_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path(), &["--fleet"], &[]);
    let mut honest = Honest::register(server.address, &server.certificate(), "ada", "a good password").await;
    let mut session = honest.log_in().await;
    let pending = run(&mut honest.stream, session.generate(&[Kind::Secp256k1], &mut rng()).unwrap()).await;
    let store = session.store(&pending).unwrap();
    let again = store.message().encode().unwrap();
    let stored = run(&mut honest.stream, store).await;
    session.settle(stored).unwrap();
    server.kill();

    let server = TestServer::start(folder.path(), &["--fleet"], &[]);
    honest.stream = connect_tls(HONEST, server.address, &server.certificate()).await.unwrap();
    // The last request, repeated, has its answer again; and the session goes on.
    assert!(matches!(ask(&mut honest.stream, &again).await, Ok(ServerMessage::Frame(_))));
    let listed = run(&mut honest.stream, session.list().unwrap()).await;
    assert_eq!(session.settle(listed).unwrap().len(), 1);
    // What no node knows is told so.
    let unknown = Frame { session_id: SessionId::from_bytes([7; 16]), sequence: 1, sealed: vec![7; 50] };
    let hint = ask(&mut honest.stream, &ClientMessage::Frame(unknown).encode().unwrap()).await;
    assert!(matches!(hint, Ok(ServerMessage::Refused { refusal: Refusal::SessionEnded, .. })));
}

#[test]
fn the_setup_is_not_taken_from_where_it_should_not_be() {
    let folder = tempfile::tempdir().unwrap();
    let refuses = |place: &str, variables: &[(&str, &str)]| {
        let _ = fs::remove_file(folder.path().join(place).join("log"));
        TestServer::refuses(&folder.path().join(place), &[], variables)
    };
    fs::create_dir(folder.path().join("clear")).unwrap();
    fs::create_dir(folder.path().join("sealed")).unwrap();
    drop(TestServer::start(&folder.path().join("clear"), &[], &[]));
    drop(TestServer::start(&folder.path().join("sealed"), &[], &[KEY]));
    assert!(refuses("clear", &[KEY]).contains("is not encrypted, but there is a setup key"));
    assert!(refuses("sealed", &[]).contains("is encrypted, but there is no setup key"));
    assert!(refuses("sealed", &[OTHER_KEY]).contains("doesn't open under this setup key"));
    let said = refuses("sealed", &[("KEYSTOW_SETUP_KEY", "0011")]);
    assert!(said.contains("not 64 hexadecimal digits") && !said.contains("0011"));

    let setup = folder.path().join("clear/data/server-setup");
    fs::set_permissions(&setup, Permissions::from_mode(0o644)).unwrap();
    assert!(refuses("clear", &[]).contains("has the mode 644"));
    // A new setup for an old store would lock everybody out.
    fs::remove_file(&setup).unwrap();
    assert!(refuses("clear", &[]).contains("has no setup"));
}

#[tokio::test]
async fn a_message_that_has_begun_is_answered_before_the_server_stops() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = TestServer::start(folder.path(), &[], &[]);
    let certificate = server.certificate();
    let mut idle = connect_tls(HONEST, server.address, &certificate).await.unwrap();
    let mut open = connect_tls(HONEST, server.address, &certificate).await.unwrap();
    // An answer first, so that the server is certainly there, then half a message.
    let first = client("ada").log_in("guess", None, &mut rng()).unwrap().message().encode().unwrap();
    wire::write(&mut open, &first).await.unwrap();
    assert!(wire::read(&mut open).await.unwrap().is_some());
    let second = client("bob").log_in("guess", None, &mut rng()).unwrap().message().encode().unwrap();
    let whole = [&u32::try_from(second.len()).unwrap().to_be_bytes()[..], &second].concat();
    let (head, tail) = whole.split_at(whole.len() / 2);
    open.write_all(head).await.unwrap();
    open.flush().await.unwrap();
    // A round trip on another connection: by then the half was read, on this machine.
    wire::write(&mut idle, &first).await.unwrap();
    assert!(wire::read(&mut idle).await.unwrap().is_some());

    server.terminate();
    let address = server.address;
    eventually("no more connections", async || connect(HONEST, address).await.is_err()).await;
    open.write_all(tail).await.unwrap();
    let answer = wire::read(&mut open).await.unwrap().expect("the open message is not answered");
    assert!(matches!(ServerMessage::decode(&answer), Ok(ServerMessage::LoginResponse { .. })));
    assert!(server.ended().success());
}

#[tokio::test]
async fn a_message_that_never_ends_does_not_keep_the_server_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = TestServer::start(folder.path(), &["--message-timeout=60s"], &[]);
    let mut open = connect_tls(HONEST, server.address, &server.certificate()).await.unwrap();
    open.write_all(&1000u32.to_be_bytes()).await.unwrap();
    open.flush().await.unwrap();
    let begun = Instant::now();
    server.terminate();
    assert!(server.ended().success() && begun.elapsed() < Duration::from_secs(10));
}

/// What the exporter says under a path.
async fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = connect(HONEST, address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn metrics_and_log_say_what_happened_and_no_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let arguments = ["--metrics", &free.to_string(), "--log-format", "json"];
    let server = TestServer::start(folder.path(), &arguments, &[("KEYSTOW_LOG", "trace"), KEY]);
    let certificate = server.certificate();
    assert!(get(free, "/health").await.unwrap().ends_with("OK"));

    let mut honest = Honest::register(server.address, &certificate, "ada-lovelace", "a good password").await;
    let mut session = honest.log_in().await;
    let user_id = session.user_id().to_string();
    let plain = b"a secret of ada's own, in the clear";
    let secret = PlainSecret::bytes(plain).unwrap();
    let pending = run(&mut honest.stream, session.import(vec![secret], &mut rng()).unwrap()).await;
    let stored = run(&mut honest.stream, session.store(&pending).unwrap()).await;
    let key_id = session.settle(stored).unwrap()[0].key_id;
    let pending = run(&mut honest.stream, session.generate(&[Kind::Secp256k1], &mut rng()).unwrap()).await;
    let stored = run(&mut honest.stream, session.store(&pending).unwrap()).await;
    session.settle(stored).unwrap();
    let retrieved = run(&mut honest.stream, session.retrieve(&[key_id]).unwrap()).await;
    assert_eq!(retrieved.len(), 1);

    let metrics = get(free, "/metrics").await.unwrap();
    for line in [
        "keystow_connections 1",
        "keystow_store_up 1",
        "keystow_messages_total{operation=\"register\",result=\"answered\"} 2",
        "keystow_messages_total{operation=\"store\",result=\"answered\"} 2",
        "keystow_transactions_total{operation=\"store\",outcome=\"applied\"} 2",
        "keystow_step_seconds_count{step=\"write\",operation=\"log_in\"} 2",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    let log = String::from_utf8(server.log()).unwrap();
    assert!(log.contains("\"operation\":\"retrieve\"") && log.contains("\"session\":\""), "{log}");
    let pem = fs::read_to_string(folder.path().join("data/private-key.pem")).unwrap();
    let private_key = pem.lines().nth(1).unwrap();
    let texts = ["a good password", "ada-lovelace", std::str::from_utf8(plain).unwrap(), KEY.1, private_key];
    for secret in texts.into_iter().chain([user_id.as_str(), &key_id.to_string()]) {
        assert!(!log.contains(secret) && !metrics.contains(secret), "{secret} is told");
    }
}
