//! The server: TLS, sessions, limits, metrics, and the one loop around [`keystow::Step`].
//!
//! One task serves one connection, one message after the other. Everything that a message costs is bounded before the crate
//! sees it: connections in all and per source, messages per second per source, sessions, sizes, and the time for each part.
//! At the worst, each connection holds a message and its answer, 1 MiB each: choose `max_connections` by the memory there is.

mod config;
mod connection;
mod label;
mod limits;
mod observe;
mod service;
mod tls;

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use getrandom::SysRng;
use keystow::{Server, ServerPolicy};
use metrics::counter;
use rand_core::UnwrapErr;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::secrets::{self, Secrets};
use crate::store::Store;
use connection::Shared;
use limits::{Full, Limits};
use service::Service;

pub use config::{Config, LogFormat};
pub use observe::start_log;

/// Why the server doesn't start, or goes down.
pub type ServeError = Box<dyn Error + Send + Sync>;

/// How long open messages have when the server stops.
const GRACE: Duration = Duration::from_secs(5);
/// How often what is over is dropped.
const CLEANING: Duration = Duration::from_secs(30);
/// The pause after a connection could not be accepted: without file descriptors, say, it goes on so for a while.
const PAUSE: Duration = Duration::from_millis(100);

/// Starts, writes the line `listening on ADDRESS` to standard output, serves until `shutdown`, then lets open messages finish.
///
/// # Errors
/// What keeps it from starting: the secrets, the certificate, the store, the address.
pub async fn serve(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
    let listening = Listening::start(config).await?;
    let mut out = io::stdout();
    let _ = writeln!(out, "listening on {}", listening.address()?).and_then(|()| out.flush());
    listening.run(shutdown).await;
    Ok(())
}

/// A server that has its address.
pub struct Listening {
    listener: TcpListener,
    limits: Arc<Limits>,
    shared: Arc<Shared>,
}

impl Listening {
    /// Opens everything, and takes the address.
    ///
    /// # Errors
    /// As [`serve`].
    pub async fn start(config: Config) -> Result<Self, ServeError> {
        if let Some(address) = config.metrics {
            observe::start_metrics(address)?;
        }
        let secrets = load_secrets(&config)?;
        let tls = tls::server_config(&config)?.into();
        let store = Store::open(&config.store).await?;
        if config.fleet && !store.is_shared() {
            tracing::warn!("a fleet of one: this store can't be shared, but its sessions outlive the process");
        }
        let server = make_server(&config, secrets)?;
        let service = Service::new(server, store, config.fleet, config.max_sessions);
        let limits = Limits::new(
            config.max_connections,
            config.max_connections_per_source,
            config.messages_per_second_per_source,
        );
        let listener = TcpListener::bind(config.listen).await?;
        Ok(Self { listener, limits, shared: Arc::new(Shared { config, tls, service }) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`, then takes no more connections and no more messages, and gives those that are open their time.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let (stop, stopping) = watch::channel(false);
        let cleaning = tokio::spawn(clean(Arc::clone(&self.shared), Arc::clone(&self.limits)));
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        tracing::info!(address = self.address().ok().map(tracing::field::display), "listening");
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((socket, peer)) => self.admit(&mut connections, socket, peer, &stopping),
                    Err(error) => {
                        tracing::warn!(kind = %error.kind(), "a connection could not be accepted");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(ended) = connections.join_next() => report(&ended),
            }
        }
        let Self { listener, shared: _shared, .. } = self;
        drop(listener);
        tracing::info!(connections = connections.len(), "stopping");
        let _ = stop.send(true);
        let all = async {
            while let Some(ended) = connections.join_next().await {
                report(&ended)
            }
        };
        if timeout(GRACE, all).await.is_err() {
            tracing::warn!(connections = connections.len(), "cut off");
        }
        connections.shutdown().await;
        cleaning.abort();
        let _ = cleaning.await;
        tracing::info!("stopped");
    }

    fn admit(
        &self,
        connections: &mut JoinSet<()>,
        socket: TcpStream,
        peer: SocketAddr,
        stopping: &watch::Receiver<bool>,
    ) {
        let result = match self.limits.enter(peer.ip()) {
            Err(Full::All) => "full",
            Err(Full::Source) => "source_full",
            Ok(place) => {
                // Messages are whole when they are written: there is nothing to gather.
                let _ = socket.set_nodelay(true);
                connections.spawn(connection::serve(Arc::clone(&self.shared), socket, place, stopping.clone()));
                "accepted"
            }
        };
        counter!("keystow_connections_total", "result" => result).increment(1);
    }
}

/// Reads the secrets, or makes them; but not new ones for a store that was made with others.
fn load_secrets(config: &Config) -> Result<Secrets, ServeError> {
    if Path::new(&config.store).is_file() && !secrets::exist(&config.data) {
        let (store, data) = (&config.store, config.data.display());
        return Err(format!("{store} is there, but {data} has no setup: put it back from the backup").into());
    }
    let secrets = secrets::load_or_create(&config.data, config.setup_key.as_ref(), &mut UnwrapErr(SysRng))?;
    if secrets.is_new {
        tracing::warn!("made a new setup and fleet key: back them up before the first registration");
        if config.fleet {
            tracing::warn!("the other nodes of the fleet need copies of both");
        }
    }
    Ok(secrets)
}

fn make_server(config: &Config, secrets: Secrets) -> Result<Server, keystow::Error> {
    let Secrets { setup, fleet_key, .. } = secrets;
    tracing::info!(server_key = %setup.server_key()?, fleet = config.fleet, "setup");
    let policy = ServerPolicy::default();
    if config.fleet {
        Server::in_fleet(setup, &config.identity, policy, fleet_key)
    } else {
        Server::new(setup, &config.identity, policy)
    }
}

/// Drops what is over, again and again.
async fn clean(shared: Arc<Shared>, limits: Arc<Limits>) {
    let mut ticks = interval(CLEANING);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        limits.sweep(Instant::now());
        shared.service.clean(connection::now()).await;
    }
}

/// A panic ends one connection; it must not go unseen.
fn report(ended: &Result<(), JoinError>) {
    if ended.as_ref().is_err_and(JoinError::is_panic) {
        counter!("keystow_panics_total").increment(1);
        tracing::error!("a connection ended in a panic");
    }
}
