//! An in-memory key server: the embedder's loop, with sessions in a map and every message crossing as bytes.

use alloc::collections::BTreeMap;
use core::fmt;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::Store;
use crate::client::{Exchange, Operation};
use crate::error::{Error, Refusal};
use crate::id::{SessionId, Timestamp};
use crate::message::{ClientMessage, ServerMessage};
use crate::server::{Server, ServerSession, Step};

/// A server, its sessions, and a store.
#[derive(Debug)]
pub struct InMemoryServer<S> {
    /// The server.
    pub server: Server,
    /// The store.
    pub store: S,
    /// The sessions: what a crash of the server loses.
    pub sessions: BTreeMap<SessionId, ServerSession>,
    rng: ChaCha20Rng,
}

/// Why a message got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriveError<E> {
    /// The protocol's error, of either side.
    Protocol(Error),
    /// The store's.
    Store(E),
}

impl<E> From<Error> for DriveError<E> {
    fn from(error: Error) -> Self {
        Self::Protocol(error)
    }
}

impl<E: fmt::Display> fmt::Display for DriveError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(error) => error.fmt(f),
            Self::Store(error) => write!(f, "the store: {error}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for DriveError<E> {}

impl<S: Store> InMemoryServer<S> {
    /// A server over a store. `seed` stands for the system's generator.
    pub fn new(server: Server, store: S, seed: u64) -> Self {
        Self { server, store, sessions: BTreeMap::new(), rng: ChaCha20Rng::seed_from_u64(seed) }
    }

    /// Takes a message's bytes and gives the answer's.
    ///
    /// # Errors
    /// What [`ServerSession::receive`] and the store say. Nothing was sent.
    pub fn handle(&mut self, message: &[u8], now: Timestamp) -> Result<alloc::vec::Vec<u8>, DriveError<S::Error>> {
        Ok(self.answer(ClientMessage::decode(message)?, now)?.encode()?)
    }

    /// Takes a message and gives the answer.
    ///
    /// # Errors
    /// As [`InMemoryServer::handle`].
    pub fn answer(&mut self, message: ClientMessage, now: Timestamp) -> Result<ServerMessage, DriveError<S::Error>> {
        let session_id = message.session_id()?;
        // A message that no session knows and that is refused must not leave a session behind (rule 23). Here that goes for
        // a store that fails as well: sent again, the message opens another session, with other draws.
        let (mut fresh, server, rng) = (None, &self.server, &mut self.rng);
        let session = match self.sessions.get_mut(&session_id) {
            Some(session) => session,
            None => fresh.insert(server.accept(rng)),
        };
        let reply = drive(session, &mut self.store, message, now)?;
        if let Some(session) = fresh {
            self.sessions.insert(session_id, session);
        }
        Ok(reply)
    }

    /// Loses all sessions, as a crash does; the store stays.
    pub fn crash(&mut self) {
        self.sessions.clear();
    }
}

/// The embedder's whole loop.
pub(super) fn drive<S: Store>(
    session: &mut ServerSession,
    store: &mut S,
    message: ClientMessage,
    now: Timestamp,
) -> Result<ServerMessage, DriveError<S::Error>> {
    let mut step = session.receive(message, now)?;
    loop {
        step = match step {
            Step::Read(read) => {
                let found = store.read(read.query()).map_err(DriveError::Store)?;
                read.found(found)?
            }
            Step::Write(write) => {
                let outcome = store.apply(write.transaction()).map_err(DriveError::Store)?;
                return Ok(write.settle(outcome)?);
            }
            Step::Reply(reply) => return Ok(reply),
        }
    }
}

/// Runs an exchange to its end against an in-memory server, every message crossing as bytes.
///
/// # Errors
/// The first error of either side.
pub fn converse<O: Operation, S: Store>(
    mut exchange: Exchange<O>,
    server: &mut InMemoryServer<S>,
    now: Timestamp,
) -> Result<Result<O::Output, Refusal>, DriveError<S::Error>> {
    loop {
        let answer = server.handle(&exchange.message().encode()?, now)?;
        if let Some(outcome) = exchange.receive(ServerMessage::decode(&answer)?)? {
            return Ok(outcome);
        }
    }
}
