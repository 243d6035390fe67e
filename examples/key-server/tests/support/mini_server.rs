//! A key server in the test's own process: TLS on a free port, a store in memory, and handles to misbehave with.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use key_server::wire;
use keystow::testing::{InMemoryServer, MemoryStore};
use keystow::{ClientMessage, Refusal, Server, ServerMessage, ServerPolicy, ServerSetup, Timestamp};
use rand_core::UnwrapErr;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

pub const IDENTITY: &str = "localhost";

/// Runs until it is dropped.
pub struct MiniServer {
    address: SocketAddr,
    folder: tempfile::TempDir,
    shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

struct Shared {
    server: Mutex<InMemoryServer<MemoryStore>>,
    /// How many more messages are answered.
    answers: AtomicI64,
    /// Whether the others are carried out all the same.
    carry_out: AtomicBool,
}

impl MiniServer {
    pub fn start() -> Self {
        Self::with_policy(ServerPolicy::default())
    }

    pub fn with_policy(policy: ServerPolicy) -> Self {
        let setup = ServerSetup::generate(&mut UnwrapErr(getrandom::SysRng)).unwrap();
        let server = Server::new(setup, IDENTITY, policy).unwrap();
        let server = Mutex::new(InMemoryServer::new(server, MemoryStore::new(), 1));
        let shared = Arc::new(Shared { server, answers: AtomicI64::new(i64::MAX), carry_out: AtomicBool::new(false) });
        let folder = tempfile::tempdir().unwrap();
        let certified = rcgen::generate_simple_self_signed([IDENTITY.to_owned()]).unwrap();
        std::fs::write(folder.path().join("certificate.pem"), certified.cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(accept(listener, TlsAcceptor::from(Arc::new(tls)), Arc::clone(&shared)));
        Self { address, folder, shared, runtime: Some(runtime) }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn server(&self) -> MutexGuard<'_, InMemoryServer<MemoryStore>> {
        self.shared.server.lock().unwrap()
    }

    /// Answers `count` more messages; the others are read and forgotten.
    pub fn answer_only(&self, count: i64) {
        self.shared.carry_out.store(false, Ordering::SeqCst);
        self.shared.answers.store(count, Ordering::SeqCst);
    }

    /// The same, but the others are carried out before their answers are lost.
    pub fn lose_answers_after(&self, count: i64) {
        self.shared.carry_out.store(true, Ordering::SeqCst);
        self.shared.answers.store(count, Ordering::SeqCst);
    }

    /// How many messages came that were not answered.
    pub fn unanswered(&self) -> i64 {
        (-self.shared.answers.load(Ordering::SeqCst)).max(0)
    }
}

impl Drop for MiniServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, tls.clone(), Arc::clone(&shared)));
    }
}

/// A connection's messages, until it or the protocol ends.
async fn serve(stream: TcpStream, tls: TlsAcceptor, shared: Arc<Shared>) {
    let Ok(mut stream) = tls.accept(stream).await else { return };
    while let Ok(Some(message)) = wire::read(&mut stream).await {
        let is_lost = shared.answers.fetch_sub(1, Ordering::SeqCst) <= 0;
        if is_lost {
            if shared.carry_out.load(Ordering::SeqCst) {
                answer(&shared, &message);
            }
            continue;
        }
        let Some(answer) = answer(&shared, &message) else { return };
        if wire::write(&mut stream, &answer).await.is_err() {
            return;
        }
    }
}

fn answer(shared: &Shared, message: &[u8]) -> Option<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let mut server = shared.server.lock().unwrap();
    let decoded = ClientMessage::decode(message).ok()?;
    let session_id = decoded.session_id().ok()?;
    let opens = matches!(decoded, ClientMessage::RegistrationRequest { .. } | ClientMessage::LoginRequest { .. });
    if !opens && !server.sessions.contains_key(&session_id) {
        return ServerMessage::Refused { session_id, refusal: Refusal::SessionEnded }.encode().ok();
    }
    server.handle(message, Timestamp::from_millis(now.try_into().unwrap())).ok()
}
