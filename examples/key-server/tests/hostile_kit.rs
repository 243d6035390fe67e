//! The crate's hostile client (`keystow::testing::hostile`) against the server as it runs: its own process, over TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/peer.rs"]
mod peer;
#[path = "support/server.rs"]
mod server;

use std::cell::RefCell;

use key_server::wire;
use keystow::testing::hostile::{Deployment, Target, attack_server, attacks};
use keystow::{ClientMessage, Frame, ServerMessage, ServerPolicy, SessionId, Timestamp};
use peer::{HOSTILE, PATIENCE, connect_tls};
use server::TestServer;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

/// A connection to the server, opened again whenever the server has closed it.
struct Wire<'a> {
    runtime: &'a Runtime,
    server: &'a TestServer,
    stream: Option<TlsStream<TcpStream>>,
}

impl Wire<'_> {
    fn ask(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let Self { runtime, server, stream } = self;
        runtime.block_on(async {
            if stream.is_none() {
                *stream = Some(connect_tls(HOSTILE, server.address, &server.certificate()).await.unwrap());
            }
            let open = stream.as_mut().unwrap();
            let answers = async {
                wire::write(open, message).await.ok()?;
                wire::write(open, &nobodys()).await.ok()?;
                let first = wire::read(open).await.ok().flatten()?;
                if is_the_hint(&first) {
                    Some(None)
                } else {
                    wire::read(open).await.ok().flatten().map(|_| Some(first))
                }
            };
            let answers = timeout(PATIENCE, answers).await.expect("the server neither answers nor closes");
            if answers.is_none() {
                *stream = None;
            }
            answers.flatten()
        })
    }
}

/// A message of no session is sent after each: its hint comes behind the message's answer, or shows that there is none.
const NOBODY: SessionId = SessionId::from_bytes([0xee; 16]);

fn nobodys() -> Vec<u8> {
    let frame = Frame { session_id: NOBODY, sequence: 2, sealed: vec![0; 32] };
    ClientMessage::Frame(frame).encode().unwrap()
}

fn is_the_hint(answer: &[u8]) -> bool {
    ServerMessage::decode(answer).is_ok_and(|answer| answer.session_id() == NOBODY)
}

/// One server and one database for all attacks: each has accounts of its own. Limits by source are out of the way.
#[test]
fn the_server_repels_the_hostile_client() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--messages-per-second-per-source=1000000", "--max-connections-per-source=64"];
    let server = TestServer::start(folder.path(), &arguments, &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let wire = RefCell::new(Wire { runtime: &runtime, server: &server, stream: None });
    let deployment = Deployment { own_clock: true, ..Deployment::new("localhost", ServerPolicy::default()) };
    let played = attack_server(&deployment, || |message: &[u8], _: Timestamp| wire.borrow_mut().ask(message), |_| true);
    // Four attacks need a clock that can be moved.
    let on_servers = attacks().iter().filter(|attack| attack.target == Target::Server).count();
    assert_eq!(played, Ok(on_servers - 4));
}
