//! Queries and their answers. An answer is built by the query that it answers, so one of the wrong kind can't be
//! written; one to another query is an error that changes nothing.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use super::{AccountRecord, Attempts, Record, SecretRecord};
use crate::error::{Error, RecordName};
use crate::header::SealedSecret;
use crate::id::{AccountName, CounterId, CredentialId, KeyId, UserId};
use crate::suite::{label, sha256};

/// What the server wants to read, at most once per message. The read need not be locked against writers: every
/// write is guarded by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// An account, and the attempts on its name.
    Account(AccountQuery),
    /// Secrets by their key IDs.
    Secrets(SecretsQuery),
}

/// What the store found: see [`AccountQuery::found`] and [`SecretsQuery::found`].
pub struct Found(pub(crate) Answer);

pub(crate) enum Answer {
    Account { name: AccountName, record: Option<Vec<u8>>, attempts: Option<Attempts> },
    Secrets { query: SecretsQuery, credential: Option<CredentialId>, records: Vec<(KeyId, Vec<u8>)> },
}

/// Asks for an account and the attempts on its name. A name without an account is asked for in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountQuery {
    name: AccountName,
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

/// Asks for secrets of one user, 1 to 256 of them, each once, and for the account's credential identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretsQuery {
    user_id: UserId,
    key_ids: Vec<KeyId>,
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

    /// The answer: the credential identifier that the account has now (`None` if there is no such account), and
    /// the records that are there, tombstones included, each with its key ID, in any order.
    #[must_use]
    pub fn found(&self, credential: Option<CredentialId>, records: Vec<(KeyId, Vec<u8>)>) -> Found {
        Found(Answer::Secrets { query: self.clone(), credential, records })
    }
}

impl fmt::Debug for Found {
    /// Which query is answered: what was found is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Answer::Account { name, .. } => f.debug_tuple("Found").field(name).finish(),
            Answer::Secrets { query, .. } => f.debug_tuple("Found").field(query).finish(),
        }
    }
}

/// A checked answer to an [`AccountQuery`]: the account's record, or the one that stands in for it.
pub(crate) struct FoundAccount {
    pub(crate) record: AccountRecord,
    pub(crate) exists: bool,
    pub(crate) attempts: Attempts,
}

impl Found {
    /// Takes the answer to `query`, its record checked against the name. `dummy` is decoded where there is none, so that
    /// an unknown name takes the same path.
    pub(crate) fn account(self, query: &AccountQuery, dummy: &Record) -> Result<FoundAccount, Error> {
        match self.0 {
            Answer::Account { name, record, attempts } if name == query.name => {
                let fault = |problem| Error::stored(RecordName::Account(name.clone()), problem);
                let exists = record.is_some();
                let record = AccountRecord::decode(record.as_deref().unwrap_or(dummy.as_bytes())).map_err(fault)?;
                if exists && record.name != name {
                    return Err(fault("belongs to another name"));
                }
                Ok(FoundAccount { record, exists, attempts: attempts.unwrap_or_default() })
            }
            _ => Err(Error::stored(RecordName::Answer, "answers another query")),
        }
    }
}

/// A checked answer to a [`SecretsQuery`].
pub(crate) struct FoundSecrets {
    pub(crate) credential: Option<CredentialId>,
    records: BTreeMap<KeyId, SecretRecord>,
}

impl FoundSecrets {
    /// The live secret under this key ID.
    pub(crate) fn live(&mut self, key_id: KeyId) -> Option<SealedSecret> {
        match self.records.remove(&key_id) {
            Some(SecretRecord::Live(secret)) => Some(secret),
            Some(SecretRecord::Tombstone { .. }) | None => None,
        }
    }
}

impl Found {
    /// Takes the answer to `query`: every record was asked for, stands there once, decodes, and belongs to its
    /// key ID and user.
    pub(crate) fn secrets(self, query: &SecretsQuery) -> Result<FoundSecrets, Error> {
        match self.0 {
            Answer::Secrets { query: answered, credential, records } if answered == *query => {
                let mut checked = BTreeMap::new();
                for (key_id, bytes) in records {
                    let fault = |problem| Error::stored(RecordName::Secret(query.user_id, key_id), problem);
                    if !query.key_ids.contains(&key_id) {
                        return Err(fault("was not asked for"));
                    }
                    let record = SecretRecord::decode(&bytes).map_err(fault)?;
                    record.check(query.user_id, key_id).map_err(fault)?;
                    if checked.insert(key_id, record).is_some() {
                        return Err(fault("stands there twice"));
                    }
                }
                Ok(FoundSecrets { credential, records: checked })
            }
            _ => Err(Error::stored(RecordName::Answer, "answers another query")),
        }
    }
}
