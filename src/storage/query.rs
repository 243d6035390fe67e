//! Queries and their answers. An answer is built by the query that it answers, so one of the wrong kind can't be
//! written; one to another query is an error that changes nothing.

use alloc::vec::Vec;
use core::fmt;

use super::{Attempts, AuditEntry, AuditFilter, AuditPlace};
use crate::id::{AccountName, CounterId, CredentialId, KeyId, SessionId, UserId};
use crate::suite::{label, sha256};

/// What the server wants to read, at most once per message. The read need not be locked against writers: every
/// write is guarded by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// An account, and the attempts on its name.
    Account(AccountQuery),
    /// Secrets by their key IDs.
    Secrets(SecretsQuery),
    /// A page of a user's secrets.
    SecretsPage(SecretsPageQuery),
    /// A page of an account's audit trail.
    Audit(AuditQuery),
    /// A page of an account's vault heads.
    Heads(HeadsQuery),
    /// In a fleet, a session: one more read, before the step.
    Session(SessionQuery),
}

/// Where an account stands: what every read in a session brings along, since the session is only good for one credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The credential identifier that the account has now.
    pub credential: CredentialId,
    /// The epoch of its newest vault head.
    pub epoch: u64,
}

/// What the store found: see [`AccountQuery::found`] and [`SecretsQuery::found`].
pub struct Found(pub(crate) Answer);

pub(crate) enum Answer {
    Account { name: AccountName, record: Option<Vec<u8>>, attempts: Option<Attempts> },
    Secrets { query: SecretsQuery, standing: Option<Standing>, records: Vec<(KeyId, Vec<u8>)> },
    SecretsPage { query: SecretsPageQuery, standing: Option<Standing>, records: Vec<(KeyId, Vec<u8>)> },
    Audit { query: AuditQuery, standing: Option<Standing>, entries: Vec<Vec<u8>> },
    Heads { query: HeadsQuery, standing: Option<Standing>, heads: Vec<Vec<u8>> },
    Session { query: SessionQuery, session: Option<StoredSession> },
}

/// Asks for an account and the attempts on its name. A name without an account is asked for in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountQuery {
    pub(super) name: AccountName,
}

impl AccountQuery {
    /// The query for this name: also how an operator finds the name's counter.
    #[must_use]
    pub fn new(name: AccountName) -> Self {
        Self { name }
    }

    /// The account's name.
    #[must_use]
    pub fn name(&self) -> &AccountName {
        &self.name
    }

    /// The key of the name's attempt counter: `SHA-256("keystow v1 attempts" ‖ name)`.
    #[must_use]
    pub fn counter(&self) -> CounterId {
        CounterId::from_bytes(sha256(&[label::ATTEMPTS, self.name.as_bytes()]))
    }

    /// The answer: the account's record as [`super::Change::CreateAccount`] wrote it, if there is one under this
    /// name, and the counter's state as [`super::Change::ChargeAttempt`] left it, if it was kept.
    #[must_use]
    pub fn found(&self, record: Option<Vec<u8>>, attempts: Option<Attempts>) -> Found {
        Found(Answer::Account { name: self.name.clone(), record, attempts })
    }
}

/// Asks for secrets of one user, 1 to 256 of them, each once, and for where the account stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretsQuery {
    pub(super) user_id: UserId,
    pub(super) key_ids: Vec<KeyId>,
}

impl SecretsQuery {
    pub(crate) fn new(user_id: UserId, key_ids: Vec<KeyId>) -> Self {
        Self { user_id, key_ids }
    }

    /// The user.
    #[must_use]
    pub fn user_id(&self) -> UserId {
        self.user_id
    }

    /// The key IDs, each once.
    #[must_use]
    pub fn key_ids(&self) -> &[KeyId] {
        &self.key_ids
    }

    /// The answer: where the account stands (`None` if there is no such account), and the records that are there,
    /// tombstones included, each with its key ID, in any order.
    #[must_use]
    pub fn found(&self, standing: Option<Standing>, records: Vec<(KeyId, Vec<u8>)>) -> Found {
        Found(Answer::Secrets { query: self.clone(), standing, records })
    }
}

/// Asks for the next secrets of a user in ascending order of their key IDs, tombstones included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretsPageQuery {
    pub(super) user_id: UserId,
    pub(super) after: Option<KeyId>,
    pub(super) limit: u16,
}

impl SecretsPageQuery {
    pub(crate) fn new(user_id: UserId, after: Option<KeyId>, limit: u16) -> Self {
        Self { user_id, after, limit }
    }

    /// The user.
    #[must_use]
    pub fn user_id(&self) -> UserId {
        self.user_id
    }

    /// The key ID after which the page begins; from the first if there is none.
    #[must_use]
    pub fn after(&self) -> Option<KeyId> {
        self.after
    }

    /// The most records that are wanted: 1 to 256.
    #[must_use]
    pub fn limit(&self) -> u16 {
        self.limit
    }

    /// The answer: where the account stands (read no later than the records, if not in one snapshot), and the next
    /// records, as many as there are up to the limit, each with its key ID, in strictly ascending order.
    #[must_use]
    pub fn found(&self, standing: Option<Standing>, records: Vec<(KeyId, Vec<u8>)>) -> Found {
        Found(Answer::SecretsPage { query: self.clone(), standing, records })
    }
}

/// Asks for the next entries of an account's audit trail, in ascending order of [`AuditEntry::place`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditQuery {
    pub(super) user_id: UserId,
    filter: AuditFilter,
    pub(super) after: Option<AuditPlace>,
    pub(super) limit: u16,
}

impl AuditQuery {
    pub(crate) fn new(user_id: UserId, filter: AuditFilter, after: Option<AuditPlace>, limit: u16) -> Self {
        Self { user_id, filter, after, limit }
    }

    /// The user.
    #[must_use]
    pub fn user_id(&self) -> UserId {
        self.user_id
    }

    /// Which entries.
    #[must_use]
    pub fn filter(&self) -> &AuditFilter {
        &self.filter
    }

    /// The place after which the page begins; from the first if there is none.
    #[must_use]
    pub fn after(&self) -> Option<AuditPlace> {
        self.after
    }

    /// The most entries that are wanted: 1 to 256.
    #[must_use]
    pub fn limit(&self) -> u16 {
        self.limit
    }

    /// Whether an entry is of this user and passes the filter: what an engine without columns can search with.
    #[must_use]
    pub fn takes(&self, entry: &AuditEntry) -> bool {
        entry.user_id == self.user_id && self.filter.takes(entry)
    }

    /// The answer: where the account stands, and the bytes of the next entries
    /// ([`AuditEntry::to_record`]), as many as there are up to the limit, in strictly ascending order.
    #[must_use]
    pub fn found(&self, standing: Option<Standing>, entries: Vec<Vec<u8>>) -> Found {
        Found(Answer::Audit { query: self.clone(), standing, entries })
    }
}

/// Asks for the vault heads of a user in ascending order of their epochs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadsQuery {
    pub(super) user_id: UserId,
    pub(super) from: Option<u64>,
    pub(super) limit: u16,
}

impl HeadsQuery {
    pub(crate) fn new(user_id: UserId, from: Option<u64>, limit: u16) -> Self {
        Self { user_id, from, limit }
    }

    /// The user.
    #[must_use]
    pub fn user_id(&self) -> UserId {
        self.user_id
    }

    /// The epoch with which the page begins: any that the client asked for, or that of the account's newest head.
    #[must_use]
    pub fn first(&self, standing: Option<Standing>) -> u64 {
        self.from.or(standing.map(|standing| standing.epoch)).unwrap_or(0)
    }

    /// The most heads that are wanted: 1 to 256.
    #[must_use]
    pub fn limit(&self) -> u16 {
        self.limit
    }

    /// The answer: where the account stands (read no later than the heads, if not in one snapshot), and the heads' records
    /// from [`HeadsQuery::first`] on as [`super::Change::CreateAccount`] and [`super::Change::AppendHead`] wrote them, as many
    /// as there are up to the limit, in ascending order.
    #[must_use]
    pub fn found(&self, standing: Option<Standing>, heads: Vec<Vec<u8>>) -> Found {
        Found(Answer::Heads { query: self.clone(), standing, heads })
    }
}

/// Asks for a session of the fleet. The embedder asks it before the step, for [`crate::Server::resume`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionQuery {
    pub(crate) session_id: SessionId,
}

/// A session as [`super::Advance`] wrote it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// How many steps it has taken.
    pub version: u64,
    /// [`super::Advance::sealed`].
    pub sealed: Vec<u8>,
    /// What [`super::Transaction::resolution`] gave for the outcome.
    pub resolution: Vec<u8>,
}

impl fmt::Debug for StoredSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredSession").field("version", &self.version).finish_non_exhaustive()
    }
}

impl SessionQuery {
    /// The query for the session of a message ([`crate::ClientMessage::session_id`]).
    #[must_use]
    pub fn new(session_id: SessionId) -> Self {
        Self { session_id }
    }

    /// The session.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.session_id
    }

    /// The answer: the session, if it is there.
    #[must_use]
    pub fn found(&self, session: Option<StoredSession>) -> Found {
        Found(Answer::Session { query: self.clone(), session })
    }
}

impl fmt::Debug for Found {
    /// Which query is answered: what was found is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Answer::Account { name, .. } => f.debug_tuple("Found").field(name).finish(),
            Answer::Secrets { query, .. } => f.debug_tuple("Found").field(query).finish(),
            Answer::SecretsPage { query, .. } => f.debug_tuple("Found").field(query).finish(),
            Answer::Audit { query, .. } => f.debug_tuple("Found").field(query).finish(),
            Answer::Heads { query, .. } => f.debug_tuple("Found").field(query).finish(),
            Answer::Session { query, .. } => f.debug_tuple("Found").field(query).finish(),
        }
    }
}
