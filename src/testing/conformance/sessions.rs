//! Checks of a fleet's sessions: each version once, with the outcome of the step that made it. A store for one node alone
//! can do without them, but passes them all the same.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;

use super::{Probe, create, expect, store, user, window};
use crate::id::SessionId;
use crate::storage::query::Answer;
use crate::storage::{Advance, Conflict, Outcome, Query, Record, SessionQuery, StoredSession, Transaction};
use crate::testing::Store;

fn session(number: u8) -> SessionId {
    SessionId::from_bytes([number; 16])
}

/// The transaction, with a session's next version.
fn advancing(transaction: Transaction, number: u8, from: u64) -> Transaction {
    let sealed = Record::from_bytes(&vec![number.wrapping_add(u8::try_from(from).unwrap_or(0)); 600]);
    let advance = Advance { session_id: session(number), from, sealed, expires: window(9) };
    Transaction { advance: Some(advance), ..transaction }
}

impl<S: Store> Probe<S> {
    fn expect_session(&mut self, number: u8, expected: Option<(&Transaction, Outcome)>) -> Result<(), String> {
        let query = SessionQuery::new(session(number));
        let expected = match expected {
            None => None,
            Some((transaction, outcome)) => {
                let advance = transaction.advance.as_ref().ok_or("the suite's own transaction has no session")?;
                let resolution = transaction.resolution(outcome).map_err(|error| error.to_string())?;
                Some(StoredSession {
                    version: advance.from.saturating_add(1),
                    sealed: advance.sealed.as_bytes().to_vec(),
                    resolution: resolution.as_bytes().to_vec(),
                })
            }
        };
        match self.read(&Query::Session(query.clone()))? {
            Answer::Session { query: answered, session } if answered == query => {
                let matches = session == expected;
                expect(&format!("session {number}, found {session:?}"), matches, true)
            }
            _ => Err("another query was answered".to_string()),
        }
    }
}

pub(super) fn advance_one_by_one<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    let step = |number, from| advancing(Transaction::default(), number, from);
    probe.expect_session(1, None)?;
    probe.apply(&step(1, 1), Outcome::Moved)?;
    probe.expect_session(1, None)?;
    for from in 0..3 {
        probe.apply(&step(1, from), Outcome::Applied)?;
        probe.expect_session(1, Some((&step(1, from), Outcome::Applied)))?;
        probe.apply(&step(1, from), Outcome::Moved)?;
    }
    probe.apply(&step(1, 0), Outcome::Moved)?;
    probe.apply(&step(1, 4), Outcome::Moved)?;
    probe.expect_session(1, Some((&step(1, 2), Outcome::Applied)))?;
    probe.expect_session(2, None)?;
    probe.apply(&step(2, 0), Outcome::Applied)?;
    probe.expect_session(2, Some((&step(2, 0), Outcome::Applied)))
}

pub(super) fn advance_with_every_outcome<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    let conflict = Outcome::Conflict(Conflict::Credential);
    let refused = advancing(store(&[(1, 10)], 2, 2)?, 1, 0);
    probe.apply(&refused, conflict)?;
    probe.expect_session(1, Some((&refused, conflict)))?;
    let made = advancing(create("one", 1, 1)?, 2, 0);
    probe.apply(&made, Outcome::Applied)?;
    probe.expect_session(2, Some((&made, Outcome::Applied)))?;
    let again = advancing(create("one", 1, 1)?, 2, 1);
    probe.apply(&again, Outcome::Repeated)?;
    probe.expect_session(2, Some((&again, Outcome::Repeated)))?;
    let stored = advancing(store(&[(1, 10)], 3, 2)?, 1, 1);
    probe.apply(&stored, Outcome::Applied)?;
    let once_more = advancing(store(&[(1, 10)], 4, 2)?, 1, 2);
    probe.apply(&once_more, Outcome::Repeated)?;
    probe.expect_session(1, Some((&once_more, Outcome::Repeated)))?;
    let taken = Outcome::Conflict(Conflict::KeyIdTaken(super::key_id(1)));
    let other = advancing(store(&[(1, 11)], 5, 2)?, 1, 3);
    probe.apply(&other, taken)?;
    probe.expect_session(1, Some((&other, taken)))
}

pub(super) fn moved_writes_nothing<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    let step = advancing(Transaction::default(), 1, 0);
    probe.apply(&step, Outcome::Applied)?;
    probe.apply(&advancing(create("one", 1, 1)?, 1, 0), Outcome::Moved)?;
    probe.apply(&advancing(create("one", 1, 1)?, 1, 5), Outcome::Moved)?;
    probe.expect_account("one", None)?;
    probe.expect_session(1, Some((&step, Outcome::Applied)))?;
    // Its entry wasn't kept either: the same transaction, on the right version, is no repeat.
    probe.apply(&advancing(create("one", 1, 1)?, 1, 1), Outcome::Applied)?;
    probe.apply(&advancing(store(&[(1, 10)], 2, 2)?, 1, 1), Outcome::Moved)?;
    probe.expect_secrets(user(1), &[])?;
    // Whatever the rest would have come to: a repeat by its entry, a repeat by its secrets, a conflict.
    probe.apply(&advancing(create("one", 1, 1)?, 1, 1), Outcome::Moved)?;
    let stored = advancing(store(&[(1, 10)], 2, 2)?, 1, 2);
    probe.apply(&stored, Outcome::Applied)?;
    probe.apply(&stored, Outcome::Moved)?;
    probe.apply(&advancing(store(&[(1, 10)], 3, 2)?, 1, 2), Outcome::Moved)?;
    probe.apply(&advancing(store(&[(1, 11)], 3, 3)?, 1, 2), Outcome::Moved)?;
    probe.expect_session(1, Some((&stored, Outcome::Applied)))
}
