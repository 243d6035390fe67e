//! Target `lying_store`: the store, and how it lies.

use std::collections::BTreeSet;

use keystow::storage::{Change, Conflict, Found, Outcome, Query, Standing, Transaction};
use keystow::testing::{MemoryStore, Store};
use keystow::{CredentialId, KeyId, UserId};

use super::action::flip;
use super::input::input;
use super::pick;

input! {
    /// What is done to a read.
    pub enum ReadLie {
        No,
        Fails,
        /// What was there some transactions ago.
        Old { ago: u8 },
        /// The answer to another query, of the same kind or another.
        Foreign { query: u8 },
        /// One row is not there, twice there, or in another's place.
        Less { at: u8 },
        Twice { at: u8 },
        Exchanged { at: u8 },
        /// One row's record is another's.
        Another { at: u8, which: u8 },
        Damaged { row: u8, at: u16, xor: u8 },
        Nothing,
        /// The account is said to stand elsewhere.
        Standing { epoch: u8, credential: bool },
        NoStanding,
    }
}

input! {
    /// What is done to a write.
    pub enum WriteLie {
        No,
        FailsBefore,
        FailsAfter,
        /// One of the changes is not made.
        Lost { change: u8 },
        /// Guards are not looked at.
        Unguarded,
        /// The store says something, and has written or not.
        Told { told: Told, applied: bool },
    }
}

input! {
    pub enum Told {
        Applied,
        Repeated,
        Moved,
        Credential,
        NameTaken,
        UserIdTaken,
        AttemptLimit,
        KeyIdTaken { change: u8 },
        SecretGone { change: u8 },
        Head,
    }
}

#[derive(Clone, Default)]
pub struct LyingStore {
    pub truth: MemoryStore,
    /// Whether it has ever lied.
    pub lied: bool,
    past: Vec<MemoryStore>,
    queries: Vec<Query>,
}

/// A row: its key ID, if it has one, and its record.
type Row = (KeyId, Vec<u8>);

impl LyingStore {
    pub fn new(truth: MemoryStore) -> Self {
        Self { truth, ..Self::default() }
    }

    /// As after the backup of an older state.
    pub fn put_back(&mut self, ago: u8) {
        let Some(old) = pick(&self.past, ago) else { return };
        let old = self.past[old].clone();
        self.past.push(core::mem::replace(&mut self.truth, old));
        self.lied = true;
    }

    /// Answers a query; `None` if the read fails.
    pub fn read(&mut self, query: &Query, lie: ReadLie) -> Option<Found> {
        self.queries.push(query.clone());
        self.lied |= lie != ReadLie::No;
        match lie {
            ReadLie::No => Some(self.truth.read(query).unwrap()),
            ReadLie::Fails => None,
            ReadLie::Old { ago } => {
                let old = pick(&self.past, ago).map_or(&self.truth, |old| &self.past[old]);
                Some(old.clone().read(query).unwrap())
            }
            ReadLie::Foreign { query } => {
                let other = self.queries[pick(&self.queries, query)?].clone();
                Some(self.truth.read(&other).unwrap())
            }
            _ => Some(self.altered(query, lie)),
        }
    }

    fn altered(&self, query: &Query, lie: ReadLie) -> Found {
        let store = &self.truth;
        let none = KeyId::from_bytes([0; 16]);
        let keyless = |records: Vec<Vec<u8>>| records.into_iter().map(|record| (none, record)).collect::<Vec<Row>>();
        let records = |rows: Vec<Row>| rows.into_iter().map(|(_, record)| record).collect::<Vec<_>>();
        let secrets =
            || store.secrets.iter().map(|((_, key_id), record)| (*key_id, record.clone())).collect::<Vec<_>>();
        match query {
            Query::Account(query) => {
                let row = store.accounts.get(query.name()).map(|row| row.record.clone());
                let others = keyless(store.accounts.values().map(|row| row.record.clone()).collect());
                let rows = lie.alter(keyless(row.into_iter().collect()), &others);
                query.found(records(rows).pop(), store.attempts.get(&query.counter()).copied())
            }
            Query::Secrets(query) => {
                let user_id = query.user_id();
                let row = |key_id: &KeyId| Some((*key_id, store.secrets.get(&(user_id, *key_id))?.clone()));
                let rows = query.key_ids().iter().filter_map(row).collect();
                query.found(self.standing(user_id, lie), lie.alter(rows, &secrets()))
            }
            Query::SecretsPage(query) => {
                let of_user = store.secrets.iter().filter(|((owner, _), _)| *owner == query.user_id());
                let later = of_user.filter(|((_, key_id), _)| query.after().is_none_or(|after| *key_id > after));
                let rows = later.map(|((_, key_id), record)| (*key_id, record.clone()));
                let rows = lie.alter(rows.take(query.limit().into()).collect(), &secrets());
                query.found(self.standing(query.user_id(), lie), rows)
            }
            Query::Audit(query) => {
                let record = |entry: &keystow::AuditEntry| entry.to_record().unwrap().as_bytes().to_vec();
                let entries = store.audit.values().filter(|entry| query.takes(entry));
                let later = entries.filter(|entry| query.after().is_none_or(|after| entry.place() > after));
                let rows = keyless(later.take(query.limit().into()).map(record).collect());
                let others = keyless(store.audit.values().map(record).collect());
                query.found(self.standing(query.user_id(), lie), records(lie.alter(rows, &others)))
            }
            Query::Heads(query) => {
                let (user_id, standing) = (query.user_id(), self.standing(query.user_id(), lie));
                let later = store.heads.range((user_id, query.first(standing))..=(user_id, u64::MAX));
                let rows = keyless(later.take(query.limit().into()).map(|(_, head)| head.clone()).collect());
                // Those too that are no longer there.
                let all: BTreeSet<_> = self.past.iter().chain([store]).flat_map(|store| store.heads.values()).collect();
                let others = keyless(all.into_iter().cloned().collect());
                query.found(standing, records(lie.alter(rows, &others)))
            }
            Query::Session(_) => panic!("no session of one node is stored"),
        }
    }

    fn standing(&self, user_id: UserId, lie: ReadLie) -> Option<Standing> {
        let row = self.truth.accounts.values().find(|row| row.user_id == user_id)?;
        match lie {
            ReadLie::NoStanding => None,
            ReadLie::Standing { epoch, credential } => {
                let credential = if credential { row.credential } else { CredentialId::from_bytes([epoch; 32]) };
                Some(Standing { credential, epoch: epoch.into() })
            }
            _ => Some(Standing { credential: row.credential, epoch: row.epoch }),
        }
    }

    /// Applies a transaction, or doesn't, and says something about it; `None` if nothing.
    pub fn apply(&mut self, transaction: &Transaction, lie: WriteLie) -> Option<Outcome> {
        self.lied |= lie != WriteLie::No;
        let Transaction { guards, changes, .. } = transaction;
        match lie {
            WriteLie::No => Some(self.write(transaction)),
            WriteLie::FailsBefore => None,
            WriteLie::FailsAfter => {
                self.write(transaction);
                None
            }
            WriteLie::Lost { change } => {
                let mut changes = changes.clone();
                pick(&changes, change).map(|change| changes.remove(change));
                Some(self.write(&Transaction { changes, ..transaction.clone() }))
            }
            WriteLie::Unguarded => {
                assert!(guards.len() <= 2);
                Some(self.write(&Transaction { guards: Vec::new(), ..transaction.clone() }))
            }
            WriteLie::Told { told, applied } => {
                if applied {
                    self.write(transaction);
                }
                Some(told.outcome(transaction))
            }
        }
    }

    fn write(&mut self, transaction: &Transaction) -> Outcome {
        self.past.push(self.truth.clone());
        self.truth.apply(transaction).unwrap()
    }
}

impl ReadLie {
    fn alter(self, mut rows: Vec<Row>, others: &[Row]) -> Vec<Row> {
        match self {
            Self::Less { at } => drop(pick(&rows, at).map(|at| rows.remove(at))),
            Self::Twice { at } => {
                if let Some(at) = pick(&rows, at) {
                    rows.insert(at, rows[at].clone());
                }
            }
            Self::Exchanged { at } => {
                if let Some(at) = pick(&rows, at) {
                    rows.swap(0, at);
                }
            }
            Self::Another { at, which } => {
                if let (Some(at), Some(which)) = (pick(&rows, at), pick(others, which)) {
                    rows[at].1.clone_from(&others[which].1);
                }
            }
            Self::Damaged { row, at, xor } => {
                if let Some(row) = pick(&rows, row) {
                    flip(&mut rows[row].1, at, xor);
                }
            }
            Self::Nothing => rows.clear(),
            _ => {}
        }
        rows
    }
}

impl Told {
    fn outcome(self, transaction: &Transaction) -> Outcome {
        let named = |index| {
            let key_id = |change: &Change| match change {
                Change::StoreSecret { key_id, .. } | Change::DeleteSecret { key_id, .. } => Some(*key_id),
                _ => None,
            };
            pick(&transaction.changes, index).and_then(|at| key_id(&transaction.changes[at]))
        };
        let none = KeyId::from_bytes([0; 16]);
        Outcome::Conflict(match self {
            Self::Applied => return Outcome::Applied,
            Self::Repeated => return Outcome::Repeated,
            Self::Moved => return Outcome::Moved,
            Self::Credential => Conflict::Credential,
            Self::NameTaken => Conflict::NameTaken,
            Self::UserIdTaken => Conflict::UserIdTaken,
            Self::AttemptLimit => Conflict::AttemptLimit,
            Self::KeyIdTaken { change } => Conflict::KeyIdTaken(named(change).unwrap_or(none)),
            Self::SecretGone { change } => Conflict::SecretGone(named(change).unwrap_or(none)),
            Self::Head => Conflict::Head,
        })
    }
}
