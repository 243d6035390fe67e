//! Stores that go wrong about vault heads, each in one way, and the check that finds it.

use std::convert::Infallible;

use keystow::storage::{Change, Conflict, Found, Guard, HeadsQuery, Outcome, Query, Standing, Transaction};
use keystow::testing::{MemoryStore, Store, conformance};

use super::CHAIN;

/// How a store reads heads, or applies anything, in its own way.
#[derive(Clone, Copy)]
enum Way {
    Reads(fn(&MemoryStore, &HeadsQuery) -> Found),
    Applies(fn(&mut MemoryStore, &Transaction) -> Outcome),
}
use Way::{Applies, Reads};

struct Wayward(MemoryStore, Way);

impl Store for Wayward {
    type Error = Infallible;

    fn read(&mut self, query: &Query) -> Result<Found, Infallible> {
        match (self.1, query) {
            (Reads(heads), Query::Heads(query)) => Ok(heads(&self.0, query)),
            _ => self.0.read(query),
        }
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, Infallible> {
        match self.1 {
            Applies(apply) => Ok(apply(&mut self.0, transaction)),
            Reads(_) => self.0.apply(transaction),
        }
    }
}

fn standing(store: &MemoryStore, query: &HeadsQuery) -> Option<Standing> {
    let row = store.accounts.values().find(|row| row.user_id == query.user_id());
    row.map(|row| Standing { credential: row.credential, epoch: row.epoch })
}

/// Reads the heads from an epoch on.
fn heads(store: &MemoryStore, query: &HeadsQuery, first: u64, limit: u16) -> Found {
    let range = store.heads.range((query.user_id(), first)..=(query.user_id(), u64::MAX));
    query.found(standing(store, query), range.take(limit.into()).map(|(_, head)| head.clone()).collect())
}

/// Reads them from another epoch on than was asked for, unless that is the newest, or none.
fn heads_from(store: &MemoryStore, query: &HeadsQuery, other: fn(u64) -> u64) -> Found {
    let standing = standing(store, query);
    let first = query.first(standing);
    let is_older = standing.is_some_and(|standing| first < standing.epoch);
    heads(store, query, if is_older { other(first) } else { first }, query.limit())
}

/// Applies a transaction, and a part of it in spite of a conflict.
fn torn(
    store: &mut MemoryStore,
    transaction: &Transaction,
    conflict: fn(Conflict) -> bool,
    part: fn(&Change) -> bool,
) -> Outcome {
    let outcome = store.apply(transaction).unwrap();
    if matches!(outcome, Outcome::Conflict(found) if conflict(found)) {
        write_part(store, transaction, part);
    }
    outcome
}

fn write_part(store: &mut MemoryStore, transaction: &Transaction, part: fn(&Change) -> bool) {
    let changes = transaction.changes.iter().filter(|change| part(change)).cloned().collect();
    store.apply(&Transaction { advance: None, guards: vec![], changes, audit: None, otherwise: None }).unwrap();
}

/// Without the guards on heads, or with others in their place.
fn guarded(store: &mut MemoryStore, transaction: &Transaction, instead: fn(u64, u64) -> Option<u64>) -> Outcome {
    let newest = |store: &MemoryStore, user_id| {
        store.accounts.values().find(|row| row.user_id == user_id).map_or(0, |row| row.epoch)
    };
    let guard = |guard: &Guard| match *guard {
        Guard::Head { user_id, epoch } => {
            instead(epoch, newest(store, user_id)).map(|epoch| Guard::Head { user_id, epoch })
        }
        Guard::Credential { .. } => Some(guard.clone()),
    };
    let guards = transaction.guards.iter().filter_map(guard).collect();
    store.apply(&Transaction { advance: None, guards, ..transaction.clone() }).unwrap()
}

fn is_head(change: &Change) -> bool {
    matches!(change, Change::AppendHead { .. })
}

fn is_secret(change: &Change) -> bool {
    matches!(change, Change::StoreSecret { .. })
}

fn is_deletion(change: &Change) -> bool {
    matches!(change, Change::DeleteSecret { .. })
}

const FOUND: &str = "vault heads are read from an epoch on, or the newest";
const TOGETHER: &str = "a change and its vault head are written together or not at all";
const REPEAT: &str = "secrets that are stored already leave the vault head where it is";
const GUARDED: &str = "a vault head that is awaited is there, or nothing is written";
const ALONE: &str = "guards without a change still hold or conflict";

/// What a store gets wrong about vault heads, and the check that finds it.
const WAYWARD: [(&str, &str, Way); 15] = [
    (
        CHAIN,
        "takes a head that leaves out epochs",
        Applies(|store, transaction| {
            for change in &transaction.changes {
                if let Change::AppendHead { user_id, epoch, .. } = change {
                    let rows = store.accounts.values_mut().filter(|row| row.user_id == *user_id && row.epoch < *epoch);
                    rows.for_each(|row| row.epoch = *epoch - 1);
                }
            }
            store.apply(transaction).unwrap()
        }),
    ),
    (
        CHAIN,
        "reads the first heads for the newest",
        Reads(|store, query| heads(store, query, query.first(None), query.limit())),
    ),
    (FOUND, "reads from behind the epoch", Reads(|store, query| heads_from(store, query, |first| first + 1))),
    (FOUND, "reads from the first epoch", Reads(|store, query| heads_from(store, query, |_| 0))),
    (FOUND, "keeps to no limit", Reads(|store, query| heads(store, query, query.first(standing(store, query)), 256))),
    (
        FOUND,
        "says an old epoch where the account stands",
        Reads(|store, query| {
            let (standing, mut old) = (standing(store, query), store.clone());
            let first = query.first(standing);
            if standing.is_some_and(|standing| first < standing.epoch) {
                old.accounts.values_mut().for_each(|row| row.epoch = row.epoch.saturating_sub(1));
            }
            heads(&old, query, first, query.limit())
        }),
    ),
    (
        TOGETHER,
        "stores secrets without their head",
        Applies(|store, transaction| torn(store, transaction, |conflict| conflict == Conflict::Head, is_secret)),
    ),
    (
        TOGETHER,
        "deletes secrets without their head",
        Applies(|store, transaction| torn(store, transaction, |conflict| conflict == Conflict::Head, is_deletion)),
    ),
    (
        TOGETHER,
        "writes a head without its secrets",
        Applies(|store, transaction| {
            torn(store, transaction, |conflict| matches!(conflict, Conflict::KeyIdTaken(_)), is_head)
        }),
    ),
    (
        TOGETHER,
        "takes a head that has moved for a refusal",
        Applies(|store, transaction| {
            let outcome = store.apply(transaction).unwrap();
            if outcome == Outcome::Conflict(Conflict::Head) {
                store.audit.extend(transaction.otherwise.iter().map(|entry| (entry.key(), entry.clone())));
            }
            outcome
        }),
    ),
    (
        REPEAT,
        "writes the head of a repeat",
        Applies(|store, transaction| {
            let known = transaction.audit.as_ref().is_some_and(|entry| store.audit.contains_key(&entry.key()));
            let outcome = store.apply(transaction).unwrap();
            if outcome == Outcome::Repeated && !known {
                write_part(store, transaction, is_head);
            }
            outcome
        }),
    ),
    (
        REPEAT,
        "takes a repeat under an old head",
        Applies(|store, transaction| {
            let mut tried = store.clone();
            let without_head = transaction.changes.iter().filter(|change| !is_head(change)).cloned().collect();
            let without_head = Transaction { changes: without_head, ..transaction.clone() };
            match tried.apply(&without_head).unwrap() {
                Outcome::Repeated => Outcome::Repeated,
                _ => store.apply(transaction).unwrap(),
            }
        }),
    ),
    (GUARDED, "asks for no head", Applies(|store, transaction| guarded(store, transaction, |_, _| None))),
    (
        GUARDED,
        "takes any head that is new enough",
        Applies(|store, transaction| guarded(store, transaction, |awaited, newest| Some(awaited.max(newest)))),
    ),
    (
        ALONE,
        "writes nothing, so it asks for nothing",
        Applies(|store, transaction| match transaction.changes.is_empty() && transaction.audit.is_none() {
            true => Outcome::Applied,
            false => store.apply(transaction).unwrap(),
        }),
    ),
];

#[test]
fn a_store_that_goes_wrong_about_vault_heads_fails_the_check_that_is_about_it() {
    for (check, wrong, way) in WAYWARD {
        let failure = conformance(|| Wayward(MemoryStore::new(), way)).unwrap_err();
        assert_eq!((wrong, failure.check), (wrong, check), "{failure}");
    }
}
