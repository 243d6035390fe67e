//! One connection, one question at a time, no repeats.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Failure;

/// How long an answer may take: longer than the server's own timeouts.
const ANSWER: Duration = Duration::from_secs(20);

/// Where to connect, and whom to trust there.
#[derive(Clone)]
pub struct Target {
    addresses: Arc<[String]>,
    name: ServerName<'static>,
    tls: TlsConnector,
}

/// A connection to one of the nodes, made when it is needed.
pub struct Link {
    target: Target,
    number: u32,
    stream: Option<TlsStream<TcpStream>>,
}

impl Target {
    /// Reads the certificate; connects to nothing yet.
    pub fn new(addresses: &[String], name: &str, ca: &Path) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca)? {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let (name, tls) = (ServerName::try_from(name.to_owned())?, TlsConnector::from(Arc::new(config)));
        Ok(Self { addresses: addresses.into(), name, tls })
    }

    /// A link for the client of this number: they take the nodes in turn.
    pub fn link(&self, number: u32) -> Link {
        Link { target: self.clone(), number, stream: None }
    }

    async fn connect(&self, number: u32) -> io::Result<TlsStream<TcpStream>> {
        let place = usize::try_from(number).unwrap_or_default().checked_rem(self.addresses.len()).unwrap_or_default();
        let address = self.addresses.get(place).ok_or(io::ErrorKind::NotFound)?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        self.tls.connect(self.name.clone(), stream).await
    }
}

impl Link {
    /// Sends a message and waits for the answer. After an error the connection is given up: an answer could still be in it.
    pub async fn ask(&mut self, message: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => timeout(ANSWER, self.target.connect(self.number)).await??,
        };
        let answer = async {
            key_server::wire::write(&mut stream, message).await?;
            key_server::wire::read(&mut stream).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        };
        let answer: io::Result<Vec<u8>> = timeout(ANSWER, answer).await?;
        if answer.is_ok() {
            self.stream = Some(stream);
        }
        answer
    }
}
