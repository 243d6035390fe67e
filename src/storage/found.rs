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

#[cfg(test)]
mod tests {
    use super::super::AuditFilter;
    use super::*;
    use crate::id::{AccountName, CredentialId};
    use alloc::vec;

    #[test]
    fn an_answer_to_another_query_is_refused() {
        let another = Some(Error::stored(RecordName::Answer, "answers another query"));
        let [one, other] = [1, 2].map(|user| UserId::from_bytes([user; 16]));
        let names = ["ada", "bob"].map(|name| AccountQuery::new(AccountName::new(name).unwrap()));
        let [account, of_another] = &names;
        let dummy = Record::encode(&0u8).unwrap();
        assert_eq!(account.found(None, None).account(of_another, &dummy).err(), another);
        let secrets = |user| SecretsQuery::new(user, vec![]);
        assert_eq!(secrets(one).found(None, vec![]).secrets(&secrets(other)).err(), another);
        let page = |user| SecretsPageQuery::new(user, None, 1);
        assert_eq!(page(one).found(None, vec![]).page(&page(other)).err(), another);
        let audit = |user| AuditQuery::new(user, AuditFilter::default(), None, 1);
        assert_eq!(audit(one).found(None, vec![]).audit(&audit(other)).err(), another);
        let heads = |user| HeadsQuery::new(user, None, 1);
        assert_eq!(heads(one).found(None, vec![]).heads(&heads(other)).err(), another);
        assert_eq!(secrets(one).found(None, vec![]).page(&page(one)).err(), another, "of another kind");
    }

    #[test]
    fn a_chain_that_ends_before_the_newest_head_is_refused() {
        let user_id = UserId::from_bytes([1; 16]);
        let record = |epoch| {
            let mut head = [0; SealedHead::LEN];
            head[7] = epoch;
            Record::encode(&SealedHead::from_bytes(head)).unwrap().into_vec()
        };
        let standing = Some(Standing { credential: CredentialId::from_bytes([2; 32]), epoch: 5 });
        let query = HeadsQuery::new(user_id, Some(4), 9);
        let found = |heads: &[u8]| query.found(standing, heads.iter().copied().map(record).collect()).heads(&query);
        assert_eq!(found(&[4, 5]).map(|found| found.heads.len()), Ok(2));
        assert_eq!(found(&[4]).err(), Some(Error::stored(RecordName::Head(user_id, 5), "is missing")));
    }

    #[test]
    fn an_audit_query_has_the_filter_that_was_asked_for() {
        let filter = AuditFilter { key_ids: vec![KeyId::from_bytes([3; 16])], ..AuditFilter::default() };
        let query = AuditQuery::new(UserId::from_bytes([1; 16]), filter.clone(), None, 1);
        assert_eq!(query.filter(), &filter);
    }
}
