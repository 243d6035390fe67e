//! A store of many accounts for `scale.rs`: a `MemoryStore` for each, found through two hash maps.
//!
//! One `MemoryStore` looks for a user ID among all of its accounts, one after the other, as no database does. That time is
//! taken off in any case, but it would also empty the caches before every step of the machines that are measured.

use std::collections::HashMap;
use std::convert::Infallible;

use keystow::storage::{AccountQuery, Change, Found, Guard, Outcome, Query, Transaction};
use keystow::testing::{MemoryStore, Store};
use keystow::{CounterId, UserId};

/// An account has its name and these beside its record: user ID, credential identifier, epoch.
const ACCOUNT_COLUMNS: usize = 16 + 32 + 8;

/// User ID and epoch, user ID and key ID: what heads and secrets are stored under.
const HEAD_KEY: usize = 16 + 8;
const SECRET_KEY: usize = 16 + 16;

#[derive(Default)]
pub(crate) struct Shards {
    shards: Vec<MemoryStore>,
    by_counter: HashMap<CounterId, usize>,
    by_user: HashMap<UserId, usize>,
}

impl Shards {
    /// The store of the account that was created as number `index`.
    pub(crate) fn at(&mut self, index: usize) -> &mut MemoryStore {
        &mut self.shards[index]
    }

    /// The user's store.
    pub(crate) fn of(&mut self, user_id: UserId) -> &mut MemoryStore {
        let index = self.by_user[&user_id];
        self.at(index)
    }

    /// Empties what grows with every run: the trail, and all heads but the newest.
    pub(crate) fn forget(&mut self, index: usize) {
        let MemoryStore { accounts, heads, audit, .. } = self.at(index);
        heads.retain(|(_, epoch), _| accounts.values().any(|row| row.epoch == *epoch));
        audit.clear();
    }

    /// Drops the account that was created last.
    pub(crate) fn pop(&mut self) {
        for (name, row) in self.shards.pop().unwrap().accounts {
            self.by_counter.remove(&AccountQuery::new(name).counter());
            self.by_user.remove(&row.user_id);
        }
    }

    /// The bytes of all records and of what they are stored under: accounts with a head each, and secrets. (An attempt counter
    /// takes 48 more, once somebody has tried to log in: a key of 32 bytes, a time, two numbers.)
    pub(crate) fn bytes(&self) -> [usize; 2] {
        let accounts = |store: &MemoryStore| {
            let accounts = store.accounts.iter();
            let rows = accounts.map(|(name, row)| name.as_bytes().len() + ACCOUNT_COLUMNS + row.record.len());
            let heads = store.heads.values().map(|head| HEAD_KEY + head.len());
            rows.chain(heads).sum::<usize>()
        };
        let secrets =
            |store: &MemoryStore| store.secrets.values().map(|record| SECRET_KEY + record.len()).sum::<usize>();
        [self.shards.iter().map(accounts).sum(), self.shards.iter().map(secrets).sum()]
    }

    /// The store that a query is about, if there is one.
    fn of_query(&mut self, query: &Query) -> Option<&mut MemoryStore> {
        let user_id = match query {
            Query::Account(query) => {
                return self.by_counter.get(&query.counter()).map(|index| &mut self.shards[*index]);
            }
            Query::Secrets(query) => query.user_id(),
            Query::SecretsPage(query) => query.user_id(),
            Query::Audit(query) => query.user_id(),
            Query::Heads(query) => query.user_id(),
            Query::Session(_) => panic!("not a fleet"),
        };
        Some(self.of(user_id))
    }

    /// The store that a transaction belongs to; another one for a new account.
    fn of_transaction(&mut self, transaction: &Transaction) -> &mut MemoryStore {
        let index = match transaction.changes.first() {
            Some(Change::CreateAccount { name, user_id, .. }) => {
                let index = self.shards.len();
                self.shards.push(MemoryStore::new());
                self.by_counter.insert(AccountQuery::new(name.clone()).counter(), index);
                self.by_user.insert(*user_id, index);
                index
            }
            Some(Change::ChargeAttempt { counter, .. } | Change::RefundAttempt { counter, .. }) => {
                self.by_counter[counter]
            }
            _ => match transaction.guards.first().unwrap() {
                Guard::Credential { user_id, .. } | Guard::Head { user_id, .. } => self.by_user[user_id],
            },
        };
        self.at(index)
    }
}

impl Store for Shards {
    type Error = Infallible;

    fn read(&mut self, query: &Query) -> Result<Found, Infallible> {
        self.of_query(query).unwrap().read(query)
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, Infallible> {
        self.of_transaction(transaction).apply(transaction)
    }
}
