//! `MemoryStore`: the storage contract over maps, as a model to copy and a store to test with.

use alloc::collections::btree_map::Entry;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::convert::Infallible;
use core::ops::Bound;

use super::Store;
use crate::id::{AccountName, CounterId, CredentialId, KeyId, SessionId, Timestamp, UserId};
use crate::storage::{
    Advance, Attempts, AuditEntry, Change, Conflict, Found, Guard, Outcome, Query, Record, Standing, StoredSession,
    Transaction,
};

/// The greatest key ID.
const LAST: KeyId = KeyId::from_bytes([0xff; 16]);

/// A store in memory. Its tables are open, so that a test can look into them and tamper with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStore {
    /// Accounts by name.
    pub accounts: BTreeMap<AccountName, AccountRow>,
    /// Attempt counters.
    pub attempts: BTreeMap<CounterId, Attempts>,
    /// Secrets and tombstones by user and key ID.
    pub secrets: BTreeMap<(UserId, KeyId), Vec<u8>>,
    /// The user IDs of deleted accounts.
    pub gone: BTreeSet<UserId>,
    /// Vault heads by user and epoch.
    pub heads: BTreeMap<(UserId, u64), Vec<u8>>,
    /// The sessions of a fleet.
    pub sessions: BTreeMap<SessionId, SessionRow>,
    /// Audit entries by [`AuditEntry::key`].
    pub audit: BTreeMap<[u8; 57], AuditEntry>,
}

/// An account: what the guards need as columns, the rest as a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// The account's user ID.
    pub user_id: UserId,
    /// The credential identifier that it has now.
    pub credential: CredentialId,
    /// The epoch of its newest vault head.
    pub epoch: u64,
    /// The account record.
    pub record: Vec<u8>,
}

/// A session of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// The session.
    pub session: StoredSession,
    /// When it can be purged.
    pub expires: Timestamp,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Drops the counters whose window has ended, and the sessions that have expired: a database does this by itself, or in a
    /// job.
    pub fn purge(&mut self, now: Timestamp) {
        self.sessions.retain(|_, row| row.expires > now);
        self.attempts.retain(|_, attempts| attempts.window_ends > now);
    }

    /// Every byte string that is stored, with the name of its table: what somebody finds who steals the database.
    pub fn stored_bytes(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let accounts = self.accounts.values().map(|row| ("account", row.record.as_slice()));
        let secrets = self.secrets.values().map(|record| ("secret", record.as_slice()));
        let heads = self.heads.values().map(|head| ("head", head.as_slice()));
        accounts.chain(secrets).chain(heads)
    }

    fn account_of(&self, user_id: UserId) -> Option<&AccountRow> {
        self.accounts.values().find(|row| row.user_id == user_id)
    }

    fn standing(&self, user_id: UserId) -> Option<Standing> {
        self.account_of(user_id).map(|row| Standing { credential: row.credential, epoch: row.epoch })
    }

    fn check_guard(&self, guard: &Guard) -> Result<(), Conflict> {
        match guard {
            Guard::Credential { user_id, credential } => match self.standing(*user_id) {
                Some(standing) if standing.credential == *credential => Ok(()),
                _ => Err(Conflict::Credential),
            },
            Guard::Head { user_id, epoch } => match self.standing(*user_id) {
                Some(standing) if standing.epoch == *epoch => Ok(()),
                _ => Err(Conflict::Head),
            },
        }
    }

    /// The change's own condition.
    fn check_change(&self, change: &Change) -> Result<(), Conflict> {
        match change {
            Change::CreateAccount { name, .. } if self.accounts.contains_key(name) => Err(Conflict::NameTaken),
            Change::CreateAccount { user_id, .. }
                if self.gone.contains(user_id) || self.account_of(*user_id).is_some() =>
            {
                Err(Conflict::UserIdTaken)
            }
            Change::ChargeAttempt { counter, window_ends, limit } => match self.attempts.get(counter) {
                Some(attempts) if attempts.window_ends >= *window_ends && attempts.count >= *limit => {
                    Err(Conflict::AttemptLimit)
                }
                _ => Ok(()),
            },
            Change::StoreSecret { user_id, key_id, record } => match self.secrets.get(&(*user_id, *key_id)) {
                Some(stored) if stored != record.as_bytes() => Err(Conflict::KeyIdTaken(*key_id)),
                _ => Ok(()),
            },
            Change::AppendHead { user_id, epoch, .. } => match self.standing(*user_id) {
                Some(standing) if standing.epoch.checked_add(1) == Some(*epoch) => Ok(()),
                _ => Err(Conflict::Head),
            },
            Change::DeleteSecret { user_id, key_id, live, tombstone } => match self.secrets.get(&(*user_id, *key_id)) {
                Some(stored) if stored == live.as_bytes() || stored == tombstone.as_bytes() => Ok(()),
                _ => Err(Conflict::SecretGone(*key_id)),
            },
            Change::CreateAccount { .. }
            | Change::RefundAttempt { .. }
            | Change::ReplaceCredential { .. }
            | Change::PurgeSecret { .. }
            | Change::DeleteAccount { .. } => Ok(()),
        }
    }

    fn write(&mut self, change: &Change) {
        match change {
            Change::CreateAccount { name, user_id, credential, record, head } => {
                let record = record.as_bytes().to_vec();
                let row = AccountRow { user_id: *user_id, credential: *credential, epoch: 0, record };
                self.accounts.insert(name.clone(), row);
                self.heads.insert((*user_id, 0), head.as_bytes().to_vec());
            }
            Change::ReplaceCredential { name, credential, record, .. } => {
                if let Some(row) = self.accounts.get_mut(name) {
                    row.credential = *credential;
                    row.record = record.as_bytes().to_vec();
                }
            }
            Change::ChargeAttempt { counter, window_ends, .. } => {
                let attempts = self.attempts.entry(*counter).or_default();
                if attempts.window_ends < *window_ends {
                    *attempts = Attempts { window_ends: *window_ends, count: 0, ..*attempts };
                }
                attempts.count = attempts.count.saturating_add(1);
                attempts.unseen = attempts.unseen.saturating_add(1);
            }
            Change::RefundAttempt { counter, window_ends, seen } => {
                if let Some(attempts) = self.attempts.get_mut(counter) {
                    attempts.unseen = attempts.unseen.saturating_sub(*seen);
                    if attempts.window_ends == *window_ends {
                        attempts.count = attempts.count.saturating_sub(1);
                    }
                }
            }
            Change::StoreSecret { user_id, key_id, record } => {
                self.secrets.insert((*user_id, *key_id), record.as_bytes().to_vec());
            }
            Change::DeleteSecret { user_id, key_id, tombstone, .. } => {
                self.secrets.insert((*user_id, *key_id), tombstone.as_bytes().to_vec());
            }
            Change::PurgeSecret { user_id, key_id } => {
                self.secrets.remove(&(*user_id, *key_id));
            }
            Change::DeleteAccount { name, user_id } => {
                self.accounts.remove(name);
                self.gone.insert(*user_id);
                self.secrets.retain(|(owner, _), _| owner != user_id);
                self.heads.retain(|(owner, _), _| owner != user_id);
                self.audit.retain(|_, entry| entry.user_id() != *user_id);
            }
            Change::AppendHead { user_id, epoch, head } => {
                if let Some(row) = self.accounts.values_mut().find(|row| row.user_id == *user_id) {
                    row.epoch = *epoch;
                }
                self.heads.insert((*user_id, *epoch), head.as_bytes().to_vec());
            }
        }
    }

    /// Whether there are secrets to store, and each is there.
    fn is_stored(&self, changes: &[Change]) -> bool {
        let mut records = changes.iter().filter_map(|change| match change {
            Change::StoreSecret { user_id, key_id, record } => Some(((*user_id, *key_id), record)),
            _ => None,
        });
        let is_there =
            |(key, record): (_, &Record)| self.secrets.get(&key).is_some_and(|stored| stored == record.as_bytes());
        records.next().is_some_and(is_there) && records.all(is_there)
    }

    fn log(&mut self, entry: Option<&AuditEntry>) {
        if let Some(entry) = entry
            && let Entry::Vacant(vacant) = self.audit.entry(entry.key())
        {
            vacant.insert(entry.clone());
        }
    }
}

impl Store for MemoryStore {
    type Error = Infallible;

    fn read(&mut self, query: &Query) -> Result<Found, Infallible> {
        Ok(match query {
            Query::Account(query) => query.found(
                self.accounts.get(query.name()).map(|row| row.record.clone()),
                self.attempts.get(&query.counter()).copied(),
            ),
            Query::Secrets(query) => {
                let record = |key_id: &KeyId| Some((*key_id, self.secrets.get(&(query.user_id(), *key_id))?.clone()));
                let standing = self.standing(query.user_id());
                query.found(standing, query.key_ids().iter().filter_map(record).collect())
            }
            Query::SecretsPage(query) => {
                let user_id = query.user_id();
                let start = query.after().map_or(Bound::Included([0; 16]), |after| Bound::Excluded(*after.as_bytes()));
                let range = (start.map(|id| (user_id, KeyId::from_bytes(id))), Bound::Included((user_id, LAST)));
                let page = self.secrets.range(range).take(usize::from(query.limit()));
                let standing = self.standing(user_id);
                query.found(standing, page.map(|((_, key_id), record)| (*key_id, record.clone())).collect())
            }
            Query::Audit(query) => {
                let after = |entry: &&AuditEntry| query.after().is_none_or(|after| entry.place() > after);
                let mut entries: Vec<&AuditEntry> =
                    self.audit.values().filter(|entry| query.takes(entry)).filter(after).collect();
                entries.sort_unstable_by_key(|entry| entry.place());
                let page = entries.iter().take(usize::from(query.limit())).filter_map(|entry| entry.to_record().ok());
                let standing = self.standing(query.user_id());
                query.found(standing, page.map(|record| record.as_bytes().to_vec()).collect())
            }
            Query::Session(query) => query.found(self.sessions.get(&query.session_id()).map(|row| row.session.clone())),
            Query::Heads(query) => {
                let (user_id, standing) = (query.user_id(), self.standing(query.user_id()));
                let range = self.heads.range((user_id, query.first(standing))..=(user_id, u64::MAX));
                let heads = range.take(usize::from(query.limit())).map(|(_, head)| head.clone());
                query.found(standing, heads.collect())
            }
        })
    }

    /// Step 0 of those that [`Transaction`] prescribes, around the others.
    fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, Infallible> {
        let Some(Advance { session_id, from, sealed, expires }) = &transaction.advance else {
            return Ok(self.apply_rest(transaction));
        };
        if self.sessions.get(session_id).map_or(0, |row| row.session.version) != *from {
            return Ok(Outcome::Moved);
        }
        let outcome = self.apply_rest(transaction);
        let resolution =
            transaction.resolution(outcome).map_or_else(|_| Vec::new(), |record| record.as_bytes().to_vec());
        let (version, sealed) = (from.saturating_add(1), sealed.as_bytes().to_vec());
        let session = StoredSession { version, sealed, resolution };
        self.sessions.insert(*session_id, SessionRow { session, expires: *expires });
        Ok(outcome)
    }
}

impl MemoryStore {
    /// Steps 1 to 4, in their order.
    fn apply_rest(&mut self, transaction: &Transaction) -> Outcome {
        let Transaction { guards, changes, audit, otherwise, .. } = transaction;
        if audit.as_ref().is_some_and(|entry| self.audit.contains_key(&entry.key())) {
            return Outcome::Repeated;
        }
        let guarded = guards.iter().try_for_each(|guard| self.check_guard(guard));
        if let Err(conflict) = guarded.and_then(|()| changes.iter().try_for_each(|change| self.check_change(change))) {
            if conflict != Conflict::Head {
                self.log(otherwise.as_ref());
            }
            return Outcome::Conflict(conflict);
        }
        if self.is_stored(changes) {
            return Outcome::Repeated;
        }
        for change in changes {
            self.write(change);
        }
        self.log(audit.as_ref());
        Outcome::Applied
    }
}
