//! One connection: TLS, then one message after the other, each within its time.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keystow::{ServerMessage, Timestamp};
use metrics::{counter, gauge, histogram};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::limits::Place;
use super::service::{Handled, Service, Unanswered};
use super::{Config, label};
use crate::wire;

/// What a message that is not answered costs besides itself.
const NUISANCE: u32 = 9;
/// How long the last words of TLS may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// What all connections share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) tls: TlsAcceptor,
    pub(super) service: Service,
}

/// Why a connection ended: a metric's label.
type End = &'static str;

/// Serves a connection to its end. `stop` says when to take no more messages.
pub(super) async fn serve(shared: Arc<Shared>, socket: TcpStream, place: Place, stop: watch::Receiver<bool>) {
    let open = gauge!("keystow_connections");
    open.increment(1);
    let mut connection = Connection { shared: &shared, place, stop };
    let end = match connection.shake_hands(socket).await {
        Err(end) => end,
        Ok(mut stream) => {
            let end = connection.converse(&mut stream).await;
            let _ = timeout(GOODBYE, stream.shutdown()).await;
            end
        }
    };
    open.decrement(1);
    counter!("keystow_connections_ended_total", "reason" => end).increment(1);
    tracing::debug!(reason = end, "connection ended");
}

struct Connection<'s> {
    shared: &'s Shared,
    place: Place,
    stop: watch::Receiver<bool>,
}

impl Connection<'_> {
    /// A handshake costs about as much as a message, and counts as one.
    async fn shake_hands(&mut self, socket: TcpStream) -> Result<BufReader<TlsStream<TcpStream>>, End> {
        self.pay().await?;
        let shaken = async { timeout(self.shared.config.handshake_timeout, self.shared.tls.accept(socket)).await };
        tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => Err("stopped"),
            shaken = shaken => match shaken {
                Err(_) => Err("handshake_timeout"),
                Ok(Err(_)) => Err("handshake_failed"),
                Ok(Ok(stream)) => Ok(BufReader::new(stream)),
            },
        }
    }

    /// Takes messages until there is a reason not to.
    async fn converse(&mut self, stream: &mut BufReader<TlsStream<TcpStream>>) -> End {
        loop {
            match self.take_one(stream).await {
                Ok(()) => {}
                Err(end) => return end,
            }
        }
    }

    async fn take_one(&mut self, stream: &mut BufReader<TlsStream<TcpStream>>) -> Result<(), End> {
        let config = &self.shared.config;
        let begun = tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop) => return Err("stopped"),
            begun = timeout(config.idle_timeout, stream.fill_buf()) => begun,
        };
        match begun {
            Err(_) => return Err("idle"),
            Ok(Err(_)) => return Err("broken"),
            Ok(Ok([])) => return Err("closed"),
            Ok(Ok(_)) => {}
        }
        self.pay().await?;
        let bytes = match timeout(config.message_timeout, wire::read(stream)).await {
            Err(_) => return Err("slow"),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => return Err("bad_length"),
            Ok(Err(_)) => return Err("broken"),
            Ok(Ok(None)) => return Err("closed"),
            Ok(Ok(Some(bytes))) => bytes,
        };
        match self.answer(&bytes).await {
            None => self.place.pay(NUISANCE, Instant::now()).map(|_| ()).ok_or("too_fast"),
            Some(answer) => match timeout(config.message_timeout, wire::write(stream, &answer)).await {
                Err(_) => Err("unread"),
                Ok(Err(_)) => Err("broken"),
                Ok(Ok(())) => Ok(()),
            },
        }
    }

    /// Waits for this source's turn.
    async fn pay(&mut self) -> Result<(), End> {
        let Some(wait) = self.place.pay(1, Instant::now()) else { return Err("too_fast") };
        if wait.is_zero() {
            return Ok(());
        }
        counter!("keystow_throttled_total").increment(1);
        tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => Err("stopped"),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    /// The answer's bytes, if there is one to send.
    async fn answer(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let begun = Instant::now();
        let Handled { operation, session_id, answer } = self.shared.service.handle(bytes, now()).await;
        let encoded = answer.and_then(|message| Ok((result(&message), message.encode()?)));
        let (result, encoded) = match encoded {
            Ok((result, encoded)) => (result, Some(encoded)),
            Err(Unanswered::Protocol(error)) => {
                let kind = label::error(&error);
                counter!("keystow_errors_total", "kind" => kind).increment(1);
                if kind.starts_with("stored") {
                    tracing::error!(
                        session = session_id.map(tracing::field::display),
                        operation,
                        kind,
                        "damaged store"
                    );
                }
                (kind, None)
            }
            Err(Unanswered::Store(problem)) => {
                tracing::warn!(session = session_id.map(tracing::field::display), operation, problem, "store failed");
                ("store_failed", None)
            }
        };
        counter!("keystow_messages_total", "operation" => operation, "result" => result).increment(1);
        histogram!("keystow_message_seconds", "operation" => operation).record(begun.elapsed());
        tracing::debug!(session = session_id.map(tracing::field::display), operation, result, "message");
        encoded
    }
}

/// What an answer shows from outside.
fn result(message: &ServerMessage) -> &'static str {
    let ServerMessage::Refused { refusal, .. } = message else { return "answered" };
    let kind = label::refusal(*refusal);
    counter!("keystow_refusals_total", "kind" => kind).increment(1);
    kind
}

/// The time, in milliseconds since the Unix epoch.
pub(super) fn now() -> Timestamp {
    Timestamp::default().after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
