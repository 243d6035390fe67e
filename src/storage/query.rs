//! Queries and their answers. An answer is built by the query that it answers, so one of the wrong kind can't be
//! written; one to another query is an error that changes nothing.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::{AccountRecord, Attempts, AuditEntry, AuditFilter, AuditPlace, Record, SecretRecord};
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
    /// A page of a user's secrets.
    SecretsPage(SecretsPageQuery),
    /// A page of an account's audit trail.
    Audit(AuditQuery),
}

/// What the store found: see [`AccountQuery::found`] and [`SecretsQuery::found`].
#[derive(Debug)]
pub struct Found(pub(crate) Answer);

#[derive(Debug)]
pub(crate) enum Answer {
    Account { name: AccountName, record: Option<Vec<u8>>, attempts: Option<Attempts> },
    Secrets { query: SecretsQuery, credential: Option<CredentialId>, records: Vec<(KeyId, Vec<u8>)> },
    SecretsPage { query: SecretsPageQuery, credential: Option<CredentialId>, records: Vec<(KeyId, Vec<u8>)> },
    Audit { query: AuditQuery, credential: Option<CredentialId>, entries: Vec<Vec<u8>> },
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

/// Asks for the next secrets of a user in ascending order of their key IDs, tombstones included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretsPageQuery {
    user_id: UserId,
    after: Option<KeyId>,
    limit: u16,
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

    /// The answer: the credential identifier that the account has now, and the next records, as many as there are up to
    /// the limit, each with its key ID, in strictly ascending order.
    #[must_use]
    pub fn found(&self, credential: Option<CredentialId>, records: Vec<(KeyId, Vec<u8>)>) -> Found {
        Found(Answer::SecretsPage { query: self.clone(), credential, records })
    }
}

/// Asks for the next entries of an account's audit trail, in ascending order of [`AuditEntry::place`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditQuery {
    user_id: UserId,
    filter: AuditFilter,
    after: Option<AuditPlace>,
    limit: u16,
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

    /// The answer: the credential identifier that the account has now, and the bytes of the next entries
    /// ([`AuditEntry::to_record`]), as many as there are up to the limit, in strictly ascending order.
    #[must_use]
    pub fn found(&self, credential: Option<CredentialId>, entries: Vec<Vec<u8>>) -> Found {
        Found(Answer::Audit { query: self.clone(), credential, entries })
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
    /// The record under this key ID, live or tombstone.
    pub(crate) fn take(&mut self, key_id: KeyId) -> Option<SecretRecord> {
        self.records.remove(&key_id)
    }

    /// The live secret under this key ID.
    pub(crate) fn live(&mut self, key_id: KeyId) -> Option<SealedSecret> {
        match self.take(key_id) {
            Some(SecretRecord::Live(secret)) => Some(secret),
            Some(SecretRecord::Tombstone { .. }) | None => None,
        }
    }
}

/// A checked answer to a [`SecretsPageQuery`]: records in ascending order of their key IDs.
pub(crate) struct FoundPage {
    pub(crate) credential: Option<CredentialId>,
    pub(crate) records: Vec<(KeyId, SecretRecord)>,
}

/// A checked answer to an [`AuditQuery`].
pub(crate) struct FoundAudit {
    pub(crate) credential: Option<CredentialId>,
    pub(crate) entries: Vec<AuditEntry>,
}

fn decode_secret(user_id: UserId, key_id: KeyId, bytes: &[u8]) -> Result<SecretRecord, Error> {
    let fault = |problem| Error::stored(RecordName::Secret(user_id, key_id), problem);
    let record = SecretRecord::decode(bytes).map_err(fault)?;
    record.check(user_id, key_id).map_err(fault)?;
    Ok(record)
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
                    if checked.insert(key_id, decode_secret(query.user_id, key_id, &bytes)?).is_some() {
                        return Err(fault("stands there twice"));
                    }
                }
                Ok(FoundSecrets { credential, records: checked })
            }
            _ => Err(Error::stored(RecordName::Answer, "answers another query")),
        }
    }

    /// Takes the answer to `query`: at most as many records as asked for, after the one that was named, strictly
    /// ascending.
    pub(crate) fn page(self, query: &SecretsPageQuery) -> Result<FoundPage, Error> {
        match self.0 {
            Answer::SecretsPage { query: answered, credential, records } if answered == *query => {
                if records.len() > usize::from(query.limit) {
                    return Err(Error::stored(RecordName::Answer, "has more records than were asked for"));
                }
                let mut last = query.after;
                let mut checked = Vec::with_capacity(records.len());
                for (key_id, bytes) in records {
                    if last.is_some_and(|last| key_id <= last) {
                        return Err(Error::stored(RecordName::Secret(query.user_id, key_id), "is out of order"));
                    }
                    last = Some(key_id);
                    checked.push((key_id, decode_secret(query.user_id, key_id, &bytes)?));
                }
                Ok(FoundPage { credential, records: checked })
            }
            _ => Err(Error::stored(RecordName::Answer, "answers another query")),
        }
    }

    /// Takes the answer to `query`: at most as many entries as asked for, each of this user's, within the filter, in
    /// order.
    pub(crate) fn audit(self, query: &AuditQuery) -> Result<FoundAudit, Error> {
        let fault = |problem| Error::stored(RecordName::Audit(query.user_id), problem);
        match self.0 {
            Answer::Audit { query: answered, credential, entries } if answered == *query => {
                if entries.len() > usize::from(query.limit) {
                    return Err(fault("has more entries than were asked for"));
                }
                let mut last = query.after;
                let mut checked = Vec::with_capacity(entries.len());
                for bytes in entries {
                    let entry = AuditEntry::from_bytes(&bytes).map_err(|_| fault("can't be decoded"))?;
                    if !query.takes(&entry) {
                        return Err(fault("has an entry that was not asked for"));
                    }
                    if last.is_some_and(|last| entry.place() <= last) {
                        return Err(fault("is out of order"));
                    }
                    last = Some(entry.place());
                    checked.push(entry);
                }
                Ok(FoundAudit { credential, entries: checked })
            }
            _ => Err(Error::stored(RecordName::Answer, "answers another query")),
        }
    }
}
