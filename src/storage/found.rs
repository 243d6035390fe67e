//! Answers to queries, checked: what the store found is believed only once it fits what was asked for.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::query::{
    AccountQuery, Answer, AuditQuery, Found, HeadsQuery, SecretsPageQuery, SecretsQuery, SessionQuery, Standing,
    StoredSession,
};
use super::{AccountRecord, Attempts, AuditEntry, Record, SecretRecord};
use crate::codec::decode;
use crate::error::{Error, RecordName};
use crate::head::SealedHead;
use crate::header::SealedSecret;
use crate::id::{KeyId, UserId};

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
    pub(crate) standing: Option<Standing>,
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
    pub(crate) standing: Option<Standing>,
    pub(crate) records: Vec<(KeyId, SecretRecord)>,
}

/// A checked answer to an [`AuditQuery`].
pub(crate) struct FoundAudit {
    pub(crate) standing: Option<Standing>,
    pub(crate) entries: Vec<AuditEntry>,
}

/// A checked answer to a [`HeadsQuery`]: heads of consecutive epochs.
pub(crate) struct FoundHeads {
    pub(crate) standing: Option<Standing>,
    pub(crate) heads: Vec<SealedHead>,
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
            Answer::Secrets { query: answered, standing, records } if answered == *query => {
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
                Ok(FoundSecrets { standing, records: checked })
            }
            _ => Err(Error::stored(RecordName::Answer, "answers another query")),
        }
    }

    /// Takes the answer to `query`: at most as many records as asked for, after the one that was named, strictly
    /// ascending.
    pub(crate) fn page(self, query: &SecretsPageQuery) -> Result<FoundPage, Error> {
        match self.0 {
            Answer::SecretsPage { query: answered, standing, records } if answered == *query => {
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
                Ok(FoundPage { standing, records: checked })
            }
            _ => Err(Error::stored(RecordName::Answer, "answers another query")),
        }
    }

    /// Takes the answer to `query`: at most as many entries as asked for, each of this user's, within the filter, in
    /// order.
    pub(crate) fn audit(self, query: &AuditQuery) -> Result<FoundAudit, Error> {
        let fault = |problem| Error::stored(RecordName::Audit(query.user_id), problem);
        match self.0 {
            Answer::Audit { query: answered, standing, entries } if answered == *query => {
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
                Ok(FoundAudit { standing, entries: checked })
            }
            _ => Err(Error::stored(RecordName::Answer, "answers another query")),
        }
    }

    /// Takes the answer to `query`: at most as many heads as asked for, without a gap from the first that was asked for on,
    /// up to the newest if they are fewer.
    pub(crate) fn heads(self, query: &HeadsQuery) -> Result<FoundHeads, Error> {
        match self.0 {
            Answer::Heads { query: answered, standing, heads } if answered == *query => {
                if heads.len() > usize::from(query.limit) {
                    return Err(Error::stored(RecordName::Answer, "has more heads than were asked for"));
                }
                let mut epoch = query.first(standing);
                let mut checked = Vec::with_capacity(heads.len());
                for bytes in heads {
                    let fault = |problem| Error::stored(RecordName::Head(query.user_id, epoch), problem);
                    let head: SealedHead = decode(&bytes).map_err(|_| fault("can't be decoded"))?;
                    if head.epoch() != epoch {
                        return Err(fault("has another epoch"));
                    }
                    epoch = epoch.saturating_add(1);
                    checked.push(head);
                }
                // None at all may be an account that has been deleted since the standing was read: the write will tell.
                let last = checked.last().filter(|_| checked.len() < usize::from(query.limit));
                if last.zip(standing).is_some_and(|(last, standing)| last.epoch() < standing.epoch) {
                    return Err(Error::stored(RecordName::Head(query.user_id, epoch), "is missing"));
                }
                Ok(FoundHeads { standing, heads: checked })
            }
            _ => Err(Error::stored(RecordName::Answer, "answers another query")),
        }
    }

    /// Takes the answer to `query`.
    pub(crate) fn session(self, query: &SessionQuery) -> Result<Option<StoredSession>, Error> {
        match self.0 {
            Answer::Session { query: answered, session } if answered == *query => Ok(session),
            _ => Err(Error::stored(RecordName::Answer, "answers another query")),
        }
    }
}
