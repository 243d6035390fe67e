//! Stores that break the contract, each in one way: what the conformance suite must find.

use alloc::vec::Vec;
use core::convert::Infallible;

use super::{MemoryStore, Store};
use crate::storage::{Advance, Change, Conflict, Found, Outcome, Query, Transaction};

/// How a store breaks the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breakage {
    /// Says that it wrote a secret, and didn't.
    LostWrite,
    /// Counts an attempt twice.
    DoubleCharge,
    /// Writes a part of a batch although another part conflicts.
    TornBatch,
    /// Doesn't check the credential guard.
    IgnoredGuard,
    /// Reads what was there one transaction ago.
    StaleRead,
    /// Stores a secret over another of the same key ID.
    OverwrittenId,
    /// Writes a change without the vault head that belongs to it.
    LostHead,
    /// Puts a vault head in the place of the newest.
    ReplacedHead,
    /// Takes a step of a fleet's session that has moved on.
    StaleSession,
}

impl Breakage {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::LostWrite,
        Self::DoubleCharge,
        Self::TornBatch,
        Self::IgnoredGuard,
        Self::StaleRead,
        Self::OverwrittenId,
        Self::LostHead,
        Self::ReplacedHead,
        Self::StaleSession,
    ];
}

/// A [`MemoryStore`] that breaks the contract in one way.
#[derive(Clone, Debug)]
pub struct BrokenStore {
    inner: MemoryStore,
    before: MemoryStore,
    breakage: Breakage,
}

impl BrokenStore {
    /// An empty store that breaks the contract so.
    #[must_use]
    pub fn new(breakage: Breakage) -> Self {
        Self { inner: MemoryStore::new(), before: MemoryStore::new(), breakage }
    }

    fn with_changes(&mut self, transaction: &Transaction, changes: Vec<Change>) -> Result<Outcome, Infallible> {
        self.inner.apply(&Transaction { changes, ..transaction.clone() })
    }
}

impl Store for BrokenStore {
    type Error = Infallible;

    fn read(&mut self, query: &Query) -> Result<Found, Infallible> {
        match self.breakage {
            Breakage::StaleRead => self.before.read(query),
            _ => self.inner.read(query),
        }
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, Infallible> {
        self.before = self.inner.clone();
        let changes = &transaction.changes;
        let is_secret = |change: &&Change| matches!(change, Change::StoreSecret { .. });
        match self.breakage {
            Breakage::LostWrite => {
                let kept = changes.iter().filter(|change| !is_secret(change)).cloned().collect();
                self.with_changes(transaction, kept)
            }
            Breakage::DoubleCharge => {
                let charge = |change: &&Change| matches!(change, Change::ChargeAttempt { .. });
                let twice = changes.iter().chain(changes.iter().filter(charge)).cloned().collect();
                self.with_changes(transaction, twice)
            }
            Breakage::TornBatch => {
                let outcome = self.inner.apply(transaction)?;
                if let Outcome::Conflict(Conflict::KeyIdTaken(_)) = outcome {
                    for change in changes.iter().filter(is_secret) {
                        self.with_changes(transaction, alloc::vec![change.clone()])?;
                    }
                }
                Ok(outcome)
            }
            Breakage::IgnoredGuard => self.inner.apply(&Transaction { guards: Vec::new(), ..transaction.clone() }),
            Breakage::OverwrittenId => {
                for change in changes {
                    if let Change::StoreSecret { user_id, key_id, record } = change
                        && self.inner.secrets.get(&(*user_id, *key_id)).is_some_and(|old| old != record.as_bytes())
                    {
                        self.inner.secrets.remove(&(*user_id, *key_id));
                    }
                }
                self.inner.apply(transaction)
            }
            Breakage::LostHead => {
                let is_head = |change: &&Change| matches!(change, Change::AppendHead { .. });
                let kept = changes.iter().filter(|change| !is_head(change)).cloned().collect();
                self.with_changes(transaction, kept)
            }
            Breakage::ReplacedHead => {
                for change in changes {
                    if let Change::AppendHead { user_id, epoch, .. } = change
                        && let Some(row) = self.inner.accounts.values_mut().find(|row| row.user_id == *user_id)
                        && row.epoch == *epoch
                    {
                        row.epoch = epoch.saturating_sub(1);
                    }
                }
                self.inner.apply(transaction)
            }
            Breakage::StaleSession => {
                if let Some(Advance { session_id, from, .. }) = &transaction.advance
                    && let Some(row) = self.inner.sessions.get_mut(session_id)
                {
                    row.session.version = *from;
                }
                self.inner.apply(transaction)
            }
            Breakage::StaleRead => self.inner.apply(transaction),
        }
    }
}
