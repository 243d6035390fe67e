//! Checks of the vault heads: a chain for each account, moved on by the change that it belongs to.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::{Probe, append, create, credential, entry, expect, guarded, head, key_id, record, standing, store, user};
use crate::storage::query::Answer;
use crate::storage::{
    AuditFilter, AuditQuery, Change, Conflict, Guard, HeadsQuery, Outcome, Query, Standing, Transaction,
};
use crate::testing::Store;

impl<S: Store> Probe<S> {
    /// Heads, as (epoch, number).
    pub(super) fn expect_heads(
        &mut self,
        query: HeadsQuery,
        found: Option<Standing>,
        expected: &[(u64, u8)],
    ) -> Result<(), String> {
        match self.read(&Query::Heads(query.clone()))? {
            Answer::Heads { query: answered, standing, heads } if answered == query => {
                let expected = expected.iter().map(|(epoch, number)| Ok(head(*epoch, *number)?.as_bytes().to_vec()));
                expect("where the heads' account stands", standing, found)?;
                expect("the heads", heads, expected.collect::<Result<Vec<_>, String>>()?)
            }
            _ => Err("another query was answered".to_string()),
        }
    }

    fn expect_newest(&mut self, epoch: u64, number: u8) -> Result<(), String> {
        self.expect_heads(HeadsQuery::new(user(1), None, 256), standing(1, epoch), &[(epoch, number)])
    }
}

/// A store of secrets with a head behind it.
fn store_with(records: &[(u8, u64)], (epoch, number): (u64, u8), sequence: u64) -> Result<Transaction, String> {
    let mut transaction = store(records, 2, sequence)?;
    transaction.changes.extend(append(user(1), epoch, number, 0)?.changes);
    Ok(transaction)
}

pub(super) fn are_chained<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    let conflict = Outcome::Conflict(Conflict::Head);
    probe.apply(&append(user(1), 0, 1, 1)?, conflict)?;
    probe.apply(&append(user(1), 1, 1, 2)?, conflict)?;
    probe.apply(&create("one", 1, 1)?, Outcome::Applied)?;
    probe.apply(&create("two", 2, 2)?, Outcome::Applied)?;
    probe.expect_newest(0, 1)?;
    probe.apply(&append(user(1), 0, 3, 3)?, conflict)?;
    probe.apply(&append(user(1), 2, 3, 4)?, conflict)?;
    probe.apply(&append(user(1), 1, 3, 5)?, Outcome::Applied)?;
    probe.apply(&append(user(1), 1, 4, 6)?, conflict)?;
    probe.apply(&append(user(1), 1, 3, 5)?, Outcome::Repeated)?;
    probe.apply(&append(user(1), 3, 4, 7)?, conflict)?;
    // The epoch is the client's word.
    probe.apply(&append(user(1), u64::MAX, 4, 9)?, conflict)?;
    probe.apply(&append(user(1), 1 << 63, 4, 10)?, conflict)?;
    probe.expect_newest(1, 3)?;
    probe.apply(&append(user(1), 2, 4, 8)?, Outcome::Applied)?;
    probe.expect_newest(2, 4)?;
    probe.expect_heads(HeadsQuery::new(user(2), None, 256), standing(2, 0), &[(0, 2)])
}

pub(super) fn are_found<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    probe.apply(&create("one", 1, 1)?, Outcome::Applied)?;
    probe.apply(&create("two", 2, 2)?, Outcome::Applied)?;
    for epoch in 1..=4u8 {
        probe.apply(&append(user(1), u64::from(epoch), epoch, u64::from(epoch))?, Outcome::Applied)?;
    }
    let (stands, all) = (standing(1, 4), [(0, 1), (1, 1), (2, 2), (3, 3), (4, 4)]);
    let [_, second, third, fourth, last] = all;
    let query = |from, limit| HeadsQuery::new(user(1), from, limit);
    probe.expect_heads(query(Some(0), 256), stands, &all)?;
    probe.expect_heads(query(Some(1), 2), stands, &[second, third])?;
    probe.expect_heads(query(Some(3), 256), stands, &[fourth, last])?;
    probe.expect_heads(query(Some(4), 1), stands, &[last])?;
    probe.expect_heads(query(Some(5), 256), stands, &[])?;
    probe.expect_heads(query(Some(u64::MAX), 256), stands, &[])?;
    probe.expect_heads(query(None, 256), stands, &[last])?;
    probe.expect_heads(HeadsQuery::new(user(2), Some(0), 256), standing(2, 0), &[(0, 2)])?;
    probe.expect_heads(HeadsQuery::new(user(3), None, 256), None, &[])
}

pub(super) fn change_is_atomic<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    probe.apply(&create("one", 1, 1)?, Outcome::Applied)?;
    probe.apply(&store_with(&[(1, 10)], (1, 1), 2)?, Outcome::Applied)?;
    probe.expect_secrets(user(1), &[(1, 10)])?;
    probe.expect_newest(1, 1)?;
    // Another device was faster: neither the secret nor the head.
    probe.apply(&store_with(&[(2, 20)], (1, 2), 3)?, Outcome::Conflict(Conflict::Head))?;
    // The key ID is taken: neither.
    probe.apply(&store_with(&[(2, 20), (1, 11)], (2, 2), 4)?, Outcome::Conflict(Conflict::KeyIdTaken(key_id(1))))?;
    let change =
        Change::DeleteSecret { user_id: user(1), key_id: key_id(1), live: record(10)?, tombstone: record(12)? };
    let mut stale = guarded(vec![change], 2, 5);
    stale.changes.extend(append(user(1), 1, 2, 0)?.changes);
    probe.apply(&stale, Outcome::Conflict(Conflict::Head))?;
    probe.expect_secrets(user(1), &[(1, 10)])?;
    probe.expect_newest(1, 1)?;
    // A taken ID is a refusal, and leaves its entry. A head that has moved is none.
    let trail = AuditQuery::new(user(1), AuditFilter::default(), None, 256);
    let [created, stored] = [entry(user(1), 1, 1, true), entry(user(1), 2, 2, true)];
    probe.expect_trail_of(standing(1, 1), trail, &[&created, &stored, &entry(user(1), 2, 4, false)])
}

pub(super) fn repeat_leaves_head<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    probe.apply(&create("one", 1, 1)?, Outcome::Applied)?;
    probe.apply(&store_with(&[(1, 10), (2, 20)], (1, 1), 2)?, Outcome::Applied)?;
    probe.apply(&store_with(&[(1, 10), (2, 20)], (2, 2), 3)?, Outcome::Repeated)?;
    probe.expect_newest(1, 1)?;
    // The newest head is known to whoever asks again: an old one is a conflict, whatever is stored.
    probe.apply(&store_with(&[(1, 10), (2, 20)], (1, 2), 4)?, Outcome::Conflict(Conflict::Head))?;
    probe.apply(&store_with(&[(2, 20), (3, 30)], (2, 2), 5)?, Outcome::Applied)?;
    probe.expect_secrets(user(1), &[(1, 10), (2, 20), (3, 30)])?;
    probe.expect_newest(2, 2)
}

pub(super) fn are_guarded<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    let conflict = Outcome::Conflict(Conflict::Head);
    let at = |number, epoch, sequence| Transaction {
        advance: None,
        guards: vec![Guard::Head { user_id: user(number), epoch }],
        changes: vec![],
        audit: Some(entry(user(1), 3, sequence, true)),
        otherwise: None,
    };
    probe.apply(&at(1, 0, 2), conflict)?;
    probe.apply(&create("one", 1, 1)?, Outcome::Applied)?;
    probe.apply(&at(1, 1, 3), conflict)?;
    probe.apply(&at(1, 0, 4), Outcome::Applied)?;
    probe.apply(&append(user(1), 1, 2, 5)?, Outcome::Applied)?;
    probe.apply(&at(1, 0, 6), conflict)?;
    probe.apply(&at(1, 1, 7), Outcome::Applied)?;
    probe.apply(&at(2, 1, 8), conflict)
}

pub(super) fn guards_stand_alone<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    let alone = |number| Transaction {
        advance: None,
        guards: vec![Guard::Credential { user_id: user(1), credential: credential(number) }],
        changes: vec![],
        audit: None,
        otherwise: None,
    };
    probe.apply(&alone(1), Outcome::Conflict(Conflict::Credential))?;
    probe.apply(&create("one", 1, 1)?, Outcome::Applied)?;
    probe.apply(&alone(2), Outcome::Conflict(Conflict::Credential))?;
    probe.apply(&alone(1), Outcome::Applied)?;
    // There is no entry by which it would be a repeat.
    probe.apply(&alone(1), Outcome::Applied)
}
