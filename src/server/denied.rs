//! What is left of a step that the embedder has denied.

use super::Write;
use crate::error::Error;
use crate::message::ServerMessage;
use crate::storage::{Outcome, Transaction};

/// A request that the embedder has denied. It can't be denied again.
#[derive(Debug)]
#[must_use = "a denied step that is dropped changes nothing and answers nothing"]
pub enum Denied<'s> {
    /// Send.
    Reply(ServerMessage),
    /// In a fleet: write the session, and go on with the outcome.
    Write(DeniedWrite<'s>),
}

/// The write of a session alone, in a fleet.
#[derive(Debug)]
pub struct DeniedWrite<'s>(pub(super) Write<'s>);

impl DeniedWrite<'_> {
    /// As [`Write::transaction`].
    #[must_use]
    pub fn transaction(&self) -> &Transaction {
        self.0.transaction()
    }

    /// As [`Write::settle`].
    ///
    /// # Errors
    /// As [`Write::settle`].
    pub fn settle(self, outcome: Outcome) -> Result<ServerMessage, Error> {
        self.0.settle(outcome)
    }
}
