//! A fleet in memory: nodes that share one store and nothing else. Each message is taken by the node that the test names.

use alloc::vec::Vec;
use core::fmt;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::Store;
use super::driver::{DriveError, drive};
use crate::error::Error;
use crate::id::Timestamp;
use crate::message::{ClientMessage, ServerMessage};
use crate::server::{Server, ServerSession};
use crate::storage::{Query, SessionQuery};

/// Nodes over one store.
pub struct Fleet<S> {
    /// The nodes, each made by [`Server::in_fleet`] with the same setup and key.
    pub nodes: Vec<Server>,
    /// The store that they share.
    pub store: S,
    rng: ChaCha20Rng,
}

impl<S: Store> Fleet<S> {
    /// Nodes over a store. `seed` stands for the system's generator.
    pub fn new(nodes: Vec<Server>, store: S, seed: u64) -> Self {
        Self { nodes, store, rng: ChaCha20Rng::seed_from_u64(seed) }
    }

    /// The session of a message, as the node number `node` finds it in the store.
    ///
    /// # Errors
    /// What [`Server::resume`] and the store say.
    pub fn session(&mut self, node: usize, message: &ClientMessage) -> Result<ServerSession, DriveError<S::Error>> {
        let query = SessionQuery::new(message.session_id()?);
        let found = self.store.read(&Query::Session(query.clone())).map_err(DriveError::Store)?;
        let server = self.nodes.get(node).ok_or(Error::Moved)?;
        Ok(server.resume(&query, found, &mut self.rng)?)
    }

    /// Takes a message at a node, and gives the answer.
    ///
    /// # Errors
    /// As [`super::InMemoryServer::answer`].
    pub fn answer(
        &mut self,
        node: usize,
        message: ClientMessage,
        now: Timestamp,
    ) -> Result<ServerMessage, DriveError<S::Error>> {
        let mut session = self.session(node, &message)?;
        drive(&mut session, &mut self.store, message, now)
    }
}

impl<S> fmt::Debug for Fleet<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}
