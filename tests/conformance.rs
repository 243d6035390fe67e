//! The conformance suite: it passes `MemoryStore`, finds each of the broken stores that ship beside it, and reports a
//! database that fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use keystow::storage::{Found, Outcome, Query, Transaction};
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
    }
}

#[test]
fn the_memory_store_passes_all_thirteen_checks() {
    assert_eq!(conformance(MemoryStore::new), Ok(13));
}

#[test]
fn every_broken_store_fails_the_check_that_is_about_its_breakage() {
    for breakage in Breakage::ALL {
        let failure = conformance(|| BrokenStore::new(breakage)).unwrap_err();
        assert_eq!((breakage, failure.check), (breakage, finds(breakage)), "{failure}");
    }
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
    assert_eq!(conformance(down(false, false)), Ok(13));
    let failure = conformance(down(true, true)).unwrap_err();
    assert_eq!(failure.to_string(), format!("{check}: read failed: no connection"));
}
