//! The conformance suite: it passes `MemoryStore`, finds each of the broken stores that ship beside it, and reports a
//! database that fails. (`conformance/heads.rs`: stores that go wrong about vault heads.)
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

#[path = "conformance/heads.rs"]
mod heads;

use std::convert::Infallible;

use keystow::storage::{Change, Found, Outcome, Query, Standing, Transaction};
use keystow::testing::{Breakage, BrokenStore, Failure, MemoryStore, Store, conformance};

/// A database that is down for reading, writing, or both.
struct Down {
    store: MemoryStore,
    reads: bool,
    writes: bool,
}

impl Store for Down {
    type Error = &'static str;

    fn read(&mut self, query: &Query) -> Result<Found, Self::Error> {
        if self.reads { Err("no connection") } else { self.store.read(query).map_err(|never| match never {}) }
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, Self::Error> {
        if self.writes { Err("disk full") } else { self.store.apply(transaction).map_err(|never| match never {}) }
    }
}

/// The check that finds this breakage.
fn finds(breakage: Breakage) -> &'static str {
    match breakage {
        Breakage::LostWrite => "secrets are read as they were written, for their user alone",
        Breakage::DoubleCharge => "attempts are counted one by one, up to the limit",
        Breakage::TornBatch | Breakage::OverwrittenId => "a key ID is taken once, and a batch is all or nothing",
        Breakage::IgnoredGuard => "the credential guard holds or nothing is written",
        Breakage::StaleRead => "an account is made whole, and found under its own name alone",
        Breakage::LostHead | Breakage::ReplacedHead => CHAIN,
        Breakage::StaleSession => "a fleet's session has each version once",
    }
}

#[test]
fn the_memory_store_passes_all_28_checks() {
    assert_eq!(conformance(MemoryStore::new), Ok(28));
}

#[test]
fn every_broken_store_fails_the_check_that_is_about_its_breakage() {
    for breakage in Breakage::ALL {
        let failure = conformance(|| BrokenStore::new(breakage)).unwrap_err();
        assert_eq!((breakage, failure.check), (breakage, finds(breakage)), "{failure}");
    }
}

/// What is done after a change was applied, with the tables of before and of now.
type After = fn(&Change, &MemoryStore, &mut MemoryStore);

/// A store that undoes or overdoes a part of what it applied.
struct Spoiled {
    store: MemoryStore,
    after: After,
}

impl Store for Spoiled {
    type Error = Infallible;

    fn read(&mut self, query: &Query) -> Result<Found, Infallible> {
        self.store.read(query)
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, Infallible> {
        let before = self.store.clone();
        let outcome = self.store.apply(transaction)?;
        if outcome == Outcome::Applied {
            transaction.changes.iter().for_each(|change| (self.after)(change, &before, &mut self.store));
        }
        Ok(outcome)
    }
}

const CHAIN: &str = "vault heads form a chain, one for each account";
const TOMBSTONE: &str = "a deleted secret leaves a tombstone that nothing is stored over";
const REPLACED: &str = "a replaced credential ends what was guarded on the old one";
const PURGED: &str = "a purged secret leaves nothing behind";
const DELETED: &str = "a deleted account leaves its attempts alone behind";
const PAGE: &str = "a page has the next of a user's secrets, ascending, with the tombstones";

/// What a store gets wrong about the changes that begin, move or end something, and the check that finds it.
const SPOILED: [(&str, After); 11] = [
    (CHAIN, |change, before, now| {
        if let Change::CreateAccount { .. } = change {
            now.heads.clone_from(&before.heads);
        }
    }),
    (CHAIN, |change, _, now| {
        if let Change::AppendHead { epoch, .. } = change {
            now.accounts.values_mut().for_each(|row| row.epoch = *epoch);
        }
    }),
    (PAGE, |change, _, now| {
        if let Change::DeleteSecret { user_id, key_id, .. } = change {
            now.secrets.remove(&(*user_id, *key_id));
        }
    }),
    (TOMBSTONE, |change, _, now| {
        if let Change::DeleteSecret { key_id, tombstone, .. } = change {
            let others = now.secrets.iter_mut().filter(|((_, other), _)| other == key_id);
            others.for_each(|(_, record)| *record = tombstone.as_bytes().to_vec());
        }
    }),
    (REPLACED, |change, before, now| {
        if let Change::ReplaceCredential { name, .. } = change {
            now.accounts.get_mut(name).unwrap().credential = before.accounts[name].credential;
        }
    }),
    (REPLACED, |change, before, now| {
        if let Change::ReplaceCredential { name, .. } = change {
            now.accounts.get_mut(name).unwrap().record = before.accounts[name].record.clone();
        }
    }),
    (PURGED, |change, before, now| {
        if let Change::PurgeSecret { .. } = change {
            now.secrets.clone_from(&before.secrets);
        }
    }),
    (PURGED, |change, _, now| {
        if let Change::PurgeSecret { key_id, .. } = change {
            now.secrets.retain(|(_, other), _| other != key_id);
        }
    }),
    (DELETED, |change, before, now| {
        if let Change::DeleteAccount { .. } = change {
            now.audit.clone_from(&before.audit);
        }
    }),
    (DELETED, |change, before, now| {
        if let Change::DeleteAccount { .. } = change {
            now.heads.clone_from(&before.heads);
        }
    }),
    (DELETED, |change, _, now| {
        if let Change::DeleteAccount { .. } = change {
            now.attempts.clear();
        }
    }),
];

#[test]
fn a_store_that_writes_too_little_or_too_much_fails_the_check_that_is_about_it() {
    for (case, (check, after)) in SPOILED.into_iter().enumerate() {
        let failure = conformance(|| Spoiled { store: MemoryStore::new(), after }).unwrap_err();
        assert_eq!((case, failure.check), (case, check), "{failure}");
    }
}

/// A store that orders the audit trail by its key alone, and forgets the time.
struct ByKey(MemoryStore);

impl Store for ByKey {
    type Error = Infallible;

    fn read(&mut self, query: &Query) -> Result<Found, Infallible> {
        let Query::Audit(query) = query else { return self.0.read(query) };
        let taken = self.0.audit.values().filter(|entry| query.takes(entry));
        let after = taken.filter(|entry| query.after().is_none_or(|after| entry.place() > after));
        let page = after.take(query.limit().into()).map(|entry| entry.to_record().unwrap().as_bytes().to_vec());
        let account = self.0.accounts.values().find(|row| row.user_id == query.user_id());
        let standing = account.map(|row| Standing { credential: row.credential, epoch: row.epoch });
        Ok(query.found(standing, page.collect()))
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, Infallible> {
        self.0.apply(transaction)
    }
}

#[test]
fn a_trail_that_is_not_in_the_order_of_time_fails_its_check() {
    let failure = conformance(|| ByKey(MemoryStore::new())).unwrap_err();
    assert_eq!(failure.check, "the audit trail is read by place, within its filter");
}

#[test]
fn every_check_starts_on_a_store_of_its_own() {
    let mut made = 0;
    let checks = conformance(|| {
        made += 1;
        MemoryStore::new()
    });
    assert_eq!(checks, Ok(made));
}

#[test]
fn a_database_that_fails_is_a_failure_of_the_first_check_and_no_panic() {
    let check = finds(Breakage::StaleRead);
    let down = |reads, writes| move || Down { store: MemoryStore::new(), reads, writes };
    let failure = |problem: &str| Err(Failure { check, problem: problem.to_string() });
    assert_eq!(conformance(down(true, false)), failure("read failed: no connection"));
    assert_eq!(conformance(down(false, true)), failure("apply failed: disk full"));
    assert_eq!(conformance(down(false, false)), Ok(28));
    let failure = conformance(down(true, true)).unwrap_err();
    assert_eq!(failure.to_string(), format!("{check}: read failed: no connection"));
}
