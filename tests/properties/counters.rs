//! `MemoryStore`'s attempt counters beside a model of them, under any sequence of transactions.

use std::collections::{BTreeMap, BTreeSet};

use keystow::storage::{Attempts, AuditEntry, Change, Conflict, Guard, Outcome, Transaction};
use keystow::testing::{MemoryStore, Store};
use keystow::{CounterId, CredentialId, Timestamp, UserId};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Event {
    Charge {
        counter: u8,
        window: u64,
        limit: u32,
    },
    /// `request` numbers the login that it belongs to: the same one again is a repeat.
    Refund {
        counter: u8,
        window: u64,
        seen: u32,
        request: u64,
    },
    /// Either of them, guarded on an account that isn't there.
    Guarded(Box<Event>),
    Purge {
        now: u64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let change = || {
        prop_oneof![
            3 => (0..2u8, 1..5u64, 1..5u32)
                .prop_map(|(counter, window, limit)| Event::Charge { counter, window, limit }),
            2 => (0..2u8, 1..5u64, 0..4u32, 0..30u64)
                .prop_map(|(counter, window, seen, request)| Event::Refund { counter, window, seen, request }),
        ]
    };
    prop_oneof![
        12 => change(),
        1 => change().prop_map(|change| Event::Guarded(Box::new(change))),
        1 => (0..6u64).prop_map(|now| Event::Purge { now }),
    ]
}

/// What the contract says of a counter, in the plainest way: the attempts of the open window, those not yet reported.
#[derive(Default)]
struct Model {
    counters: BTreeMap<u8, (u64, u32, u32)>,
    applied: BTreeSet<u64>,
}

impl Model {
    fn apply(&mut self, event: &Event) -> Option<Outcome> {
        match *event {
            Event::Charge { counter, window, limit } => {
                let (open, count, unseen) = self.counters.get(&counter).copied().unwrap_or((0, 0, 0));
                let (open, count) = if window > open { (window, 0) } else { (open, count) };
                if count >= limit {
                    return Some(Outcome::Conflict(Conflict::AttemptLimit));
                }
                self.counters.insert(counter, (open, count + 1, unseen + 1));
            }
            Event::Refund { counter, window, seen, request } => {
                if !self.applied.insert(request) {
                    return Some(Outcome::Repeated);
                }
                if let Some((open, count, unseen)) = self.counters.get_mut(&counter) {
                    *count -= u32::from(window == *open && *count > 0);
                    *unseen -= seen.min(*unseen);
                }
            }
            // A repeat is recognised before any guard.
            Event::Guarded(ref change) => {
                return Some(match **change {
                    Event::Refund { request, .. } if self.applied.contains(&request) => Outcome::Repeated,
                    _ => Outcome::Conflict(Conflict::Credential),
                });
            }
            Event::Purge { now } => {
                self.counters.retain(|_, (open, ..)| *open > now);
                return None;
            }
        }
        Some(Outcome::Applied)
    }

    fn attempts(&self) -> BTreeMap<CounterId, Attempts> {
        let attempts = |(counter, &(open, count, unseen)): (&u8, &(u64, u32, u32))| {
            (counter_id(*counter), Attempts { window_ends: Timestamp::from_millis(open), count, unseen })
        };
        self.counters.iter().map(attempts).collect()
    }
}

fn counter_id(counter: u8) -> CounterId {
    CounterId::from_bytes([counter; 32])
}

/// A granted login's entry. Only the server makes entries, so this one comes in as somebody's saved bytes would.
fn entry(request: u64) -> AuditEntry {
    serde_json::from_value(serde_json::json!({
        "user_id": vec![1; 16],
        "session_id": vec![2; 16],
        "sequence": request,
        "request": vec![3; 16],
        "at": 0,
        "action": { "LogIn": { "attempts_spent": 0 } },
        "granted": true,
        "key_ids": [],
    }))
    .unwrap()
}

fn transaction(event: &Event) -> Option<Transaction> {
    let unguarded =
        |change, audit| Transaction { advance: None, guards: vec![], changes: vec![change], audit, otherwise: None };
    match *event {
        Event::Charge { counter, window, limit } => {
            let window_ends = Timestamp::from_millis(window);
            Some(unguarded(Change::ChargeAttempt { counter: counter_id(counter), window_ends, limit }, None))
        }
        Event::Refund { counter, window, seen, request } => {
            let window_ends = Timestamp::from_millis(window);
            let change = Change::RefundAttempt { counter: counter_id(counter), window_ends, seen };
            Some(unguarded(change, Some(entry(request))))
        }
        Event::Guarded(ref change) => {
            let (user_id, credential) = (UserId::from_bytes([1; 16]), CredentialId::from_bytes([1; 32]));
            let guards = vec![Guard::Credential { user_id, credential }];
            transaction(change).map(|transaction| Transaction { advance: None, guards, ..transaction })
        }
        Event::Purge { .. } => None,
    }
}

proptest! {
    #![proptest_config(crate::cases(500))]

    #[test]
    fn any_sequence_of_transactions_keeps_the_counters_equal_to_the_model(events in vec(event(), 1..60)) {
        let (mut store, mut model) = (MemoryStore::new(), Model::default());
        for event in &events {
            let outcome = transaction(event).map(|transaction| store.apply(&transaction).unwrap());
            if let Event::Purge { now } = event {
                store.purge(Timestamp::from_millis(*now));
            }
            prop_assert_eq!(outcome, model.apply(event), "{:?}", event);
            prop_assert_eq!(&store.attempts, &model.attempts(), "{:?}", event);
        }
        prop_assert_eq!(store.audit.len(), model.applied.len());
    }
}
