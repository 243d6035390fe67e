//! One TLS connection to each node, made when it is needed and again when it breaks, and the loop around
//! [`keystow::Exchange`]: every operation is the same loop.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keystow::client::Operation;
use keystow::{Error, Exchange, PeerFault, ServerMessage};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::ClientError;
use crate::wire;

/// Which certificates are trusted: those in a file, and no others.
#[derive(Clone, Debug)]
pub enum Trust {
    /// A PEM file: the authority's certificates, or the server's own.
    CertificateFile(PathBuf),
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// To connect to a node, TLS included: 5 seconds.
    pub connect: Duration,
    /// For an answer, before the same bytes are sent again: 5 seconds.
    pub answer: Duration,
    /// For an answer, over all tries: 20 seconds.
    pub patience: Duration,
    /// For an exchange, which may have many messages: 5 minutes.
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(5), answer: seconds(5), patience: seconds(20), total: seconds(300) }
    }
}

/// The wait before the second try; each next one is twice as long, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A way to the server, or to any node of a fleet.
pub struct Connection {
    connector: TlsConnector,
    name: ServerName<'static>,
    nodes: Vec<Node>,
    current: usize,
    limits: Limits,
    rotating: bool,
}

/// A node, and the connection to it while there is one.
struct Node {
    address: String,
    stream: Option<TlsStream<TcpStream>>,
}

impl Connection {
    /// A way to the nodes at these addresses ("host:port"), which show a certificate for `server_name`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::Usage`] without an address, for a name that can't stand in a certificate, and for a file without
    /// certificates.
    pub fn new(addresses: Vec<String>, server_name: &str, trust: Trust) -> Result<Self, ClientError> {
        if addresses.is_empty() {
            return Err(ClientError::Usage("A server's address is missing.".to_owned()));
        }
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| ClientError::Usage(format!("{server_name:?} is no server's name.")))?;
        let connector = TlsConnector::from(Arc::new(tls(trust)?));
        let nodes = addresses.into_iter().map(|address| Node { address, stream: None }).collect();
        Ok(Self { connector, name, nodes, current: 0, limits: Limits::default(), rotating: false })
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The same, which sends each message to the next node: for tests of a fleet.
    #[must_use]
    pub fn rotating(self) -> Self {
        Self { rotating: true, ..self }
    }

    /// Goes to the next node, for the next message. The connection to the other one stays.
    pub fn rotate(&mut self) {
        self.current = self.current.saturating_add(1).checked_rem(self.nodes.len()).unwrap_or(0);
    }

    /// Runs an exchange to its end: sends, waits, sends the same bytes again. Argon2 runs on a thread that may block.
    ///
    /// # Errors
    /// [`ClientError::Network`] if no answer comes, [`ClientError::Protocol`] for refusals and answers that can't be right.
    pub async fn run<O>(&mut self, mut exchange: Exchange<O>) -> Result<O::Output, ClientError>
    where
        O: Operation + Send + 'static,
        O::Output: Send,
    {
        let end = Instant::now() + self.limits.total;
        let mut tries = Tries::new(end.min(Instant::now() + self.limits.patience));
        loop {
            let message = exchange.message().encode()?;
            let answer = self.ask(&message, &mut tries).await?;
            let taken = tokio::task::spawn_blocking(move || {
                let outcome = ServerMessage::decode(&answer).and_then(|m| exchange.receive(m));
                (exchange, outcome)
            });
            let outcome;
            (exchange, outcome) =
                taken.await.map_err(|_| ClientError::Local("The program was interrupted.".to_owned()))?;
            match outcome {
                Ok(Some(outcome)) => return Ok(outcome.map_err(Error::from)?),
                Ok(None) => {
                    tries = Tries::new(end.min(Instant::now() + self.limits.patience));
                    if self.rotating {
                        self.rotate();
                    }
                }
                // An answer to something else. The connection is out of step, so it is made anew.
                Err(Error::Peer(PeerFault::WrongSession | PeerFault::WrongSequence | PeerFault::OutOfOrder)) => {
                    self.next_try(&mut tries, "an answer to something else".to_owned()).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends a message until an answer comes.
    async fn ask(&mut self, message: &[u8], tries: &mut Tries) -> Result<Vec<u8>, ClientError> {
        loop {
            match self.ask_once(message, tries.until).await {
                Ok(answer) => return Ok(answer),
                Err(error) if is_untrusted(&error) => {
                    return Err(ClientError::Network(format!("The server's certificate is not trusted: {error}.")));
                }
                Err(error) => self.next_try(tries, error.to_string()).await?,
            }
        }
    }

    async fn ask_once(&mut self, message: &[u8], until: Instant) -> io::Result<Vec<u8>> {
        let Self { connector, name, nodes, current, limits, .. } = self;
        let node = nodes.get_mut(*current).ok_or(io::ErrorKind::NotFound)?;
        let mut stream = match node.stream.take() {
            Some(stream) => stream,
            None => {
                let until = until.min(Instant::now() + limits.connect);
                timeout_at(until, connect(&node.address, connector, name)).await.map_err(|_| timed_out())??
            }
        };
        let until = until.min(Instant::now() + limits.answer);
        let answer = timeout_at(until, exchange(&mut stream, message)).await.map_err(|_| timed_out())??;
        node.stream = Some(stream); // only after a whole answer: another one can't be under way then
        Ok(answer)
    }

    /// Waits before the next try, at the next node.
    async fn next_try(&mut self, tries: &mut Tries, problem: String) -> Result<(), ClientError> {
        if let Some(node) = self.nodes.get_mut(self.current) {
            node.stream = None;
            tries.problem = format!("{}: {problem}", node.address);
        }
        self.rotate();
        let wait = tries.wait;
        // Half of it by chance, so that clients that a restart has cut off don't come back all at once.
        let chance = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
        tries.wait = LONGEST_WAIT.min(wait.saturating_mul(2));
        let next = Instant::now() + wait.mul_f64(0.5 + chance / 2.0);
        if next >= tries.until {
            return Err(ClientError::Network(format!("No answer from the server. {}.", tries.problem)));
        }
        sleep(next.saturating_duration_since(Instant::now())).await;
        Ok(())
    }
}

/// How often and how long one message was tried.
struct Tries {
    until: Instant,
    wait: Duration,
    problem: String,
}

impl Tries {
    fn new(until: Instant) -> Self {
        Self { until, wait: FIRST_WAIT, problem: String::new() }
    }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

fn is_untrusted(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

async fn connect(address: &str, tls: &TlsConnector, name: &ServerName<'static>) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    tls.connect(name.clone(), stream).await
}

async fn exchange(stream: &mut TlsStream<TcpStream>, message: &[u8]) -> io::Result<Vec<u8>> {
    wire::write(stream, message).await?;
    wire::read(stream).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// TLS 1.3 and no less, with the certificates of a file.
fn tls(Trust::CertificateFile(path): Trust) -> Result<ClientConfig, ClientError> {
    let fail = |problem: &dyn std::fmt::Display| ClientError::Usage(format!("{}: {problem}", path.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&path).map_err(|error| fail(&error))? {
        roots.add(certificate.map_err(|error| fail(&error))?).map_err(|error| fail(&error))?;
    }
    if roots.is_empty() {
        return Err(fail(&"no certificate"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).map_err(|error| fail(&error))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
