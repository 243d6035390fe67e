//! One message in, at most one out: the sessions, and the loop around [`Step`], on one node and in a fleet.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use getrandom::SysRng;
use keystow::storage::{Found, Outcome, Query, SessionQuery, Transaction};
use keystow::{ClientMessage, Error, Refusal, Server, ServerMessage, ServerSession, SessionId, Step, Timestamp};
use metrics::{counter, gauge, histogram};
use rand_core::UnwrapErr;

use super::label;
use crate::store::{Store, StoreError};

/// How long the store may take for one step. After that its outcome is unknown, as after a lost connection.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a client is told to wait when there is no room for its session; also the time in which a fleet's node counts.
const BUSY: Duration = Duration::from_secs(60);

/// The key server without its connections. Shared by all of them.
pub(super) struct Service {
    server: Server,
    store: Store,
    sessions: Sessions,
    max_sessions: usize,
}

/// Where the sessions are.
enum Sessions {
    /// On one node: here, one exclusive slot each.
    Here(Mutex<HashMap<SessionId, Slot>>),
    /// In a fleet: in the store. The node counts those that it opens.
    Stored(Mutex<Window>),
}

/// Held from a message's `receive` until its reply: messages of one session take turns, over whatever connections.
type Slot = Arc<tokio::sync::Mutex<ServerSession>>;

/// How many sessions were opened since when.
struct Window {
    since: Timestamp,
    opened: usize,
}

/// Why a message is not answered. Nothing is sent: the client asks again.
pub(super) enum Unanswered {
    /// What the protocol says. Nothing changed.
    Protocol(Error),
    /// The store failed; the outcome may be unknown.
    Store(String),
}

impl From<Error> for Unanswered {
    fn from(error: Error) -> Self {
        Self::Protocol(error)
    }
}

/// What came of a message.
pub(super) struct Handled {
    /// The operation, as far as it was found out.
    pub(super) operation: &'static str,
    /// The session, if the message names one.
    pub(super) session_id: Option<SessionId>,
    /// The answer, or why there is none.
    pub(super) answer: Result<ServerMessage, Unanswered>,
}

impl Service {
    /// The server must be of a fleet if, and only if, `in_fleet`.
    pub(super) fn new(server: Server, store: Store, in_fleet: bool, max_sessions: usize) -> Self {
        let sessions = if in_fleet {
            Sessions::Stored(Mutex::new(Window { since: Timestamp::default(), opened: 0 }))
        } else {
            Sessions::Here(Mutex::default())
        };
        Self { server, store, sessions, max_sessions }
    }

    /// Handles one message at the time `now`.
    pub(super) async fn handle(&self, bytes: &[u8], now: Timestamp) -> Handled {
        let unknown = |error| Handled { operation: "none", session_id: None, answer: Err(Unanswered::Protocol(error)) };
        let message = match ClientMessage::decode(bytes) {
            Ok(message) => message,
            Err(error) => return unknown(error),
        };
        let session_id = match message.session_id() {
            Ok(session_id) => session_id,
            Err(error) => return unknown(error),
        };
        let (mut operation, opens) = (label::message(&message), opens(&message));
        let answer = match &self.sessions {
            Sessions::Here(slots) => self.handle_here(slots, session_id, message, now, &mut operation).await,
            Sessions::Stored(window) => self.handle_stored(window, session_id, message, now, &mut operation).await,
        };
        if opens {
            self.measure();
        }
        Handled { operation, session_id: Some(session_id), answer }
    }

    /// On one node.
    async fn handle_here(
        &self,
        slots: &Mutex<HashMap<SessionId, Slot>>,
        id: SessionId,
        message: ClientMessage,
        now: Timestamp,
        operation: &mut &'static str,
    ) -> Result<ServerMessage, Unanswered> {
        let slot = match self.slot(slots, id, opens(&message), now) {
            Ok(slot) => slot,
            Err(refusal) => return Ok(ServerMessage::Refused { session_id: id, refusal }),
        };
        let mut session = slot.lock().await;
        let answer = self.drive(&mut session, message, now, operation).await;
        let is_nobodys = session.expires().is_none();
        drop(session);
        if is_nobodys {
            // Its first message was no good. Unless another task has the same message, the slot goes.
            let mut slots = locked(slots);
            if Arc::strong_count(&slot) <= 2 {
                slots.remove(&id);
            }
        }
        answer
    }

    /// The one slot of this ID, inserted if absent before anything is received. Only a first message opens one, and only while
    /// there is room.
    fn slot(
        &self,
        slots: &Mutex<HashMap<SessionId, Slot>>,
        id: SessionId,
        opens: bool,
        now: Timestamp,
    ) -> Result<Slot, Refusal> {
        let mut slots = locked(slots);
        let has_room = slots.len() < self.max_sessions;
        match slots.entry(id) {
            Entry::Occupied(slot) => Ok(Arc::clone(slot.get())),
            // Sessions are lost in a restart: a hint saves the client from waiting.
            Entry::Vacant(_) if !opens => Err(Refusal::SessionEnded),
            Entry::Vacant(_) if !has_room => Err(Refusal::TryAgainAt(now.after(BUSY))),
            Entry::Vacant(vacant) => {
                let session = self.server.accept(&mut UnwrapErr(SysRng));
                Ok(Arc::clone(vacant.insert(Arc::new(tokio::sync::Mutex::new(session)))))
            }
        }
    }

    /// In a fleet: the session comes from the store, and goes back there with every step.
    async fn handle_stored(
        &self,
        window: &Mutex<Window>,
        id: SessionId,
        message: ClientMessage,
        now: Timestamp,
        operation: &mut &'static str,
    ) -> Result<ServerMessage, Unanswered> {
        let query = SessionQuery::new(id);
        let found = self.read("session", &Query::Session(query.clone())).await?;
        let mut session = self.server.resume(&query, found, &mut UnwrapErr(SysRng))?;
        // Only a session that the store hasn't got has no time at which it ends.
        let refusal = match (session.expires(), opens(&message)) {
            (None, false) => Some(Refusal::SessionEnded),
            (None, true) if !self.opens_in(&mut locked(window), now) => Some(Refusal::TryAgainAt(now.after(BUSY))),
            _ => None,
        };
        match refusal {
            Some(refusal) => Ok(ServerMessage::Refused { session_id: id, refusal }),
            None => self.drive(&mut session, message, now, operation).await,
        }
    }

    /// Counts a session that is about to be opened, if there is room.
    fn opens_in(&self, window: &mut Window, now: Timestamp) -> bool {
        if now >= window.since.after(BUSY) || now < window.since {
            *window = Window { since: now, opened: 0 };
        }
        let has_room = window.opened < self.max_sessions;
        window.opened = window.opened.saturating_add(usize::from(has_room));
        has_room
    }

    /// Drives one message's step to its end: at most one read, one write.
    async fn drive(
        &self,
        session: &mut ServerSession,
        message: ClientMessage,
        now: Timestamp,
        operation: &mut &'static str,
    ) -> Result<ServerMessage, Unanswered> {
        let mut step = session.receive(message, now)?;
        loop {
            step = match step {
                Step::Read(read) => {
                    *operation = read.operation();
                    let found = self.read(read.operation(), read.query()).await?;
                    read.found(found)?
                }
                Step::Write(write) => {
                    *operation = write.operation();
                    let outcome = self.apply(write.operation(), write.transaction()).await?;
                    return Ok(write.settle(outcome)?);
                }
                Step::Reply(reply) => return Ok(reply),
            }
        }
    }

    async fn read(&self, operation: &'static str, query: &Query) -> Result<Found, Unanswered> {
        timed("read", operation, self.store.read(query)).await
    }

    async fn apply(&self, operation: &'static str, transaction: &Transaction) -> Result<Outcome, Unanswered> {
        let outcome = timed("write", operation, self.store.apply(transaction)).await?;
        let label = label::outcome(outcome);
        counter!("keystow_transactions_total", "operation" => operation, "outcome" => label).increment(1);
        Ok(outcome)
    }

    /// Drops what is over, here and in the store, and says how the store is.
    pub(super) async fn clean(&self, now: Timestamp) {
        if let Sessions::Here(slots) = &self.sessions {
            let over = |session: &ServerSession| now > session.expires().unwrap_or_default();
            let mut slots = locked(slots);
            // A slot that somebody holds or waits for is kept.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|session| !over(&session)));
            if slots.capacity() > slots.len().saturating_mul(4) {
                slots.shrink_to_fit();
            }
        }
        self.measure();
        match timed("purge", "none", self.store.purge(now)).await {
            Ok(purged) => counter!("keystow_purged_total").increment(purged),
            Err(Unanswered::Store(problem)) => tracing::warn!(problem, "the store could not be purged"),
            Err(Unanswered::Protocol(_)) => {}
        }
        let is_up = timed("ping", "none", self.store.ping()).await.is_ok();
        gauge!("keystow_store_up").set(if is_up { 1.0 } else { 0.0 });
    }

    /// How many sessions are open here: all on one node; in a fleet those that this node opened lately.
    fn measure(&self) {
        let sessions = match &self.sessions {
            Sessions::Here(slots) => locked(slots).len(),
            Sessions::Stored(window) => locked(window).opened,
        };
        gauge!("keystow_sessions").set(u32::try_from(sessions).unwrap_or(u32::MAX));
    }
}

/// Whether a message opens a session.
fn opens(message: &ClientMessage) -> bool {
    matches!(message, ClientMessage::RegistrationRequest { .. } | ClientMessage::LoginRequest { .. })
}

/// These locks are held for a few lines each, which leave the map whole wherever they stop.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A call of the store: bounded, measured, and its errors told without the rows that they are about.
async fn timed<T>(
    call: &'static str,
    operation: &'static str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, Unanswered> {
    let begun = Instant::now();
    let done = tokio::time::timeout(STORE_TIMEOUT, work).await;
    histogram!("keystow_step_seconds", "step" => call, "operation" => operation).record(begun.elapsed());
    let problem = match done {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => label::store_error(&error),
        Err(_) => "timeout".into(),
    };
    counter!("keystow_store_errors_total", "step" => call).increment(1);
    Err(Unanswered::Store(problem))
}
