//! Peers of the server's, honest or not: plain and TLS connections from a chosen loopback address, and a client without any
//! of the comforts of the real one.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use getrandom::SysRng;
use key_server::wire;
use keystow::client::Operation;
use keystow::{AccountName, Client, ClientPolicy, ClientSession, Exchange, KsfProfile, ServerMessage, VaultPin};
use rand_core::UnwrapErr;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The honest client's address: all of 127.0.0.0/8 is this machine.
pub const HONEST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
/// The attacker's.
pub const HOSTILE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// How long a test waits for anything that should come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The system's generator.
pub fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// A TCP connection from `source`.
pub async fn connect(source: IpAddr, server: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source, 0))?;
    let stream = timeout(PATIENCE, socket.connect(server)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A TLS connection from `source`, with these versions of TLS.
pub async fn connect_tls_with(
    source: IpAddr,
    server: SocketAddr,
    certificate: &Path,
    versions: &[&'static SupportedProtocolVersion],
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, connect(source, server).await?)).await?
}

/// A TLS connection from `source`.
pub async fn connect_tls(source: IpAddr, server: SocketAddr, certificate: &Path) -> io::Result<TlsStream<TcpStream>> {
    connect_tls_with(source, server, certificate, &[&rustls::version::TLS13]).await
}

/// Waits until the server has closed this connection. What it still sent is dropped.
pub async fn closed(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut rest = [0; 4096];
    let end = async { while stream.read(&mut rest).await.is_ok_and(|len| len > 0) {} };
    timeout(PATIENCE, end).await.expect("the connection stays open");
}

/// Sends a message and waits for the answer.
pub async fn ask(stream: &mut TlsStream<TcpStream>, message: &[u8]) -> io::Result<ServerMessage> {
    wire::write(stream, message).await?;
    let answer = timeout(PATIENCE, wire::read(stream)).await??.ok_or(io::ErrorKind::UnexpectedEof)?;
    ServerMessage::decode(&answer).map_err(io::Error::other)
}

/// Runs an exchange to its end; nothing is tried twice.
pub async fn run<O: Operation>(stream: &mut TlsStream<TcpStream>, mut exchange: Exchange<O>) -> O::Output {
    loop {
        let answer = ask(stream, &exchange.message().encode().unwrap()).await.unwrap();
        if let Some(outcome) = exchange.receive(answer).unwrap() {
            return outcome.unwrap();
        }
    }
}

/// A client at the price that tests can pay.
pub fn client(account: &str) -> Client {
    let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).unwrap();
    Client::new(AccountName::new(account).unwrap(), "localhost", policy).unwrap()
}

/// A person with an account and a connection.
pub struct Honest {
    pub client: Client,
    pub password: &'static str,
    pub pin: VaultPin,
    pub stream: TlsStream<TcpStream>,
}

impl Honest {
    /// Registers an account.
    pub async fn register(server: SocketAddr, certificate: &Path, account: &str, password: &'static str) -> Self {
        let mut stream = connect_tls(HONEST, server, certificate).await.unwrap();
        let client = client(account);
        let registered = run(&mut stream, client.register(password, &mut rng()).unwrap()).await;
        Self { client, password, pin: registered.pin, stream }
    }

    /// Logs in.
    pub async fn log_in(&mut self) -> ClientSession {
        let exchange = self.client.log_in(self.password, Some(self.pin), &mut rng()).unwrap();
        let session = run(&mut self.stream, exchange).await;
        self.pin = session.pin();
        session
    }

    /// Connects again, logs in, lists: what must go on working, whatever others do.
    pub async fn works(&mut self, server: SocketAddr, certificate: &Path) {
        self.stream = connect_tls(HONEST, server, certificate).await.unwrap();
        let mut session = self.log_in().await;
        let listed = run(&mut self.stream, session.list().unwrap()).await;
        session.settle(listed).unwrap();
        self.pin = session.pin();
    }
}
