//! Checks of the rest of custody: pages, tombstones, a changed credential, a deleted account, the audit trail.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::{
    Probe, account_query, append, charge, create, credential, entry, expect, guarded, key_id, numbered, on, record,
    standing, store, user, window,
};
use crate::id::{SessionId, UserId};
use crate::storage::query::Answer;
use crate::storage::{
    Action, AuditAbout, AuditEntry, AuditFilter, AuditQuery, Change, Conflict, Guard, HeadsQuery, Outcome, Query,
    Record, SecretsPageQuery, Standing, Transaction,
};
use crate::testing::Store;

/// Puts tombstones in the place of secrets: key ID, the secret's record, the tombstone.
fn delete(secrets: &[(u8, u64, u64)], session: u8, sequence: u64) -> Result<Transaction, String> {
    let change = |(id, live, tombstone): &(u8, u64, u64)| {
        let (live, tombstone) = (record(*live)?, record(*tombstone)?);
        Ok(Change::DeleteSecret { user_id: user(1), key_id: key_id(*id), live, tombstone })
    };
    Ok(guarded(secrets.iter().map(change).collect::<Result<_, String>>()?, session, sequence))
}

fn purge(ids: &[u8], session: u8, sequence: u64) -> Transaction {
    let change = |id: &u8| Change::PurgeSecret { user_id: user(1), key_id: key_id(*id) };
    guarded(ids.iter().map(change).collect(), session, sequence)
}

/// A secret of some user's, who needs no account.
fn store_for(user_id: UserId, id: u8, number: u64) -> Result<Transaction, String> {
    let change = Change::StoreSecret { user_id, key_id: key_id(id), record: record(number)? };
    Ok(Transaction { advance: None, guards: vec![], changes: vec![change], audit: None, otherwise: None })
}

fn log(entry: &AuditEntry) -> Transaction {
    Transaction { advance: None, guards: vec![], changes: vec![], audit: Some(entry.clone()), otherwise: None }
}

impl<S: Store> Probe<S> {
    fn expect_page(
        &mut self,
        (user_id, found): (UserId, Option<Standing>),
        (after, limit): (Option<u8>, u16),
        expected: &[(u8, u64)],
    ) -> Result<(), String> {
        let query = SecretsPageQuery::new(user_id, after.map(key_id), limit);
        match self.read(&Query::SecretsPage(query.clone()))? {
            Answer::SecretsPage { query: answered, standing, records } if answered == query => {
                expect("where the page's account stands", standing, found)?;
                expect("the page", records, numbered(expected)?)
            }
            _ => Err("another query was answered".to_string()),
        }
    }

    fn expect_trail(&mut self, query: AuditQuery, expected: &[&AuditEntry]) -> Result<(), String> {
        self.expect_trail_of(None, query, expected)
    }

    pub(super) fn expect_trail_of(
        &mut self,
        found: Option<Standing>,
        query: AuditQuery,
        expected: &[&AuditEntry],
    ) -> Result<(), String> {
        match self.read(&Query::Audit(query.clone()))? {
            Answer::Audit { query: answered, standing, entries } if answered == query => {
                expect("where the trail's account stands", standing, found)?;
                let entries: Result<Vec<_>, _> = entries.iter().map(|bytes| AuditEntry::from_bytes(bytes)).collect();
                expect("the trail", entries.map_err(|error| error.to_string())?.iter().collect(), expected.to_vec())
            }
            _ => Err("another query was answered".to_string()),
        }
    }
}

pub(super) fn page_is_ordered<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    let owner = (user(1), standing(1, 1));
    probe.apply(&create("one", 1, 1)?, Outcome::Applied)?;
    probe.expect_page((user(1), standing(1, 0)), (None, 256), &[])?;
    probe.apply(&append(user(1), 1, 1, 1)?, Outcome::Applied)?;
    // The neighbours in a table that is ordered by user and key ID.
    probe.apply(&store_for(user(0), 255, 2)?, Outcome::Applied)?;
    probe.apply(&store_for(user(2), 0, 3)?, Outcome::Applied)?;
    probe.apply(&store(&[(4, 40), (255, 50), (1, 10), (3, 30)], 2, 2)?, Outcome::Applied)?;
    probe.apply(&delete(&[(3, 30, 31)], 2, 3)?, Outcome::Applied)?;
    let all = [(1, 10), (3, 31), (4, 40), (255, 50)];
    let [first, second, third, last] = all;
    probe.expect_page(owner, (None, 256), &all)?;
    probe.expect_page(owner, (None, 2), &[first, second])?;
    probe.expect_page(owner, (Some(3), 1), &[third])?;
    probe.expect_page(owner, (Some(2), 2), &[second, third])?;
    probe.expect_page(owner, (Some(4), 2), &[last])?;
    probe.expect_page(owner, (Some(255), 2), &[])?;
    probe.expect_page((user(2), None), (None, 256), &[(0, 3)])?;
    probe.expect_page((user(3), None), (None, 256), &[])
}

pub(super) fn tombstone_stays<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    let gone = Outcome::Conflict(Conflict::SecretGone(key_id(1)));
    probe.apply(&create("one", 1, 1)?, Outcome::Applied)?;
    probe.apply(&delete(&[(1, 10, 11)], 2, 2)?, gone)?;
    probe.apply(&store(&[(1, 10), (2, 20)], 2, 3)?, Outcome::Applied)?;
    probe.apply(&store_for(user(2), 1, 10)?, Outcome::Applied)?;
    probe.apply(&delete(&[(1, 12, 11)], 2, 4)?, gone)?;
    probe.expect_secrets(user(1), &[(1, 10), (2, 20)])?;
    probe.apply(&delete(&[(1, 10, 11)], 2, 5)?, Outcome::Applied)?;
    probe.expect_secrets(user(1), &[(1, 11), (2, 20)])?;
    probe.expect_secrets(user(2), &[(1, 10)])?;
    probe.apply(&delete(&[(1, 10, 11)], 2, 5)?, Outcome::Repeated)?;
    // Under another audit key, the same tombstone stays; another one doesn't take its place.
    probe.apply(&delete(&[(1, 10, 11)], 2, 6)?, Outcome::Applied)?;
    probe.apply(&delete(&[(1, 10, 12)], 2, 7)?, gone)?;
    probe.apply(&store(&[(1, 10)], 2, 8)?, Outcome::Conflict(Conflict::KeyIdTaken(key_id(1))))?;
    probe.expect_secrets(user(1), &[(1, 11), (2, 20)])
}

pub(super) fn deletion_is_atomic<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    probe.apply(&create("one", 1, 1)?, Outcome::Applied)?;
    probe.apply(&store(&[(1, 10), (2, 20), (3, 30)], 2, 2)?, Outcome::Applied)?;
    probe.apply(&delete(&[(2, 20, 21)], 2, 3)?, Outcome::Applied)?;
    let gone = Outcome::Conflict(Conflict::SecretGone(key_id(2)));
    probe.apply(&delete(&[(1, 10, 11), (2, 20, 22), (3, 30, 31)], 2, 4)?, gone)?;
    probe.expect_secrets(user(1), &[(1, 10), (2, 21), (3, 30)])?;
    let mut old = delete(&[(1, 10, 11)], 2, 5)?;
    old.guards = vec![Guard::Credential { user_id: user(1), credential: credential(2) }];
    probe.apply(&old, Outcome::Conflict(Conflict::Credential))?;
    probe.expect_secrets(user(1), &[(1, 10), (2, 21), (3, 30)])?;
    probe.apply(&delete(&[(1, 10, 11), (3, 30, 31)], 2, 6)?, Outcome::Applied)?;
    probe.expect_secrets(user(1), &[(1, 11), (2, 21), (3, 31)])
}

pub(super) fn credential_is_replaced<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    let conflict = Outcome::Conflict(Conflict::Credential);
    let replace = |number: u8, session| {
        let (name, record) = (account_query("one")?.name().clone(), Record::from_bytes(&[number; 100]));
        let change = Change::ReplaceCredential { name, user_id: user(1), credential: credential(number), record };
        Ok::<_, String>(guarded(vec![change], session, 2))
    };
    probe.apply(&replace(9, 2)?, conflict)?;
    probe.apply(&create("one", 1, 1)?, Outcome::Applied)?;
    probe.apply(&create("two", 2, 2)?, Outcome::Applied)?;
    probe.apply(&store(&[(1, 10)], 3, 3)?, Outcome::Applied)?;
    probe.apply(&append(user(1), 1, 1, 1)?, Outcome::Applied)?;
    probe.apply(&replace(9, 3)?, Outcome::Applied)?;
    probe.expect_account("one", Some(9))?;
    probe.expect_account("two", Some(2))?;
    probe.expect_page((user(1), standing(9, 1)), (None, 256), &[(1, 10)])?;
    probe.expect_heads(HeadsQuery::new(user(1), Some(0), 256), standing(9, 1), &[(0, 1), (1, 1)])?;
    probe.expect_page((user(2), standing(2, 0)), (None, 256), &[])?;
    // The same request again finds its entry before its guard. Another session's comes too late.
    probe.apply(&replace(9, 3)?, Outcome::Repeated)?;
    probe.apply(&replace(8, 4)?, conflict)?;
    probe.apply(&store(&[(2, 20)], 4, 3)?, conflict)?;
    probe.expect_account("one", Some(9))?;
    let mut new = store(&[(2, 20)], 5, 2)?;
    new.guards = vec![Guard::Credential { user_id: user(1), credential: credential(9) }];
    probe.apply(&new, Outcome::Applied)?;
    probe.expect_secrets(user(1), &[(1, 10), (2, 20)])
}

pub(super) fn purge_is_complete<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    probe.apply(&create("one", 1, 1)?, Outcome::Applied)?;
    probe.apply(&store_for(user(2), 1, 90)?, Outcome::Applied)?;
    probe.apply(&store(&[(1, 10), (2, 20), (4, 40)], 2, 2)?, Outcome::Applied)?;
    probe.apply(&delete(&[(2, 20, 21)], 2, 3)?, Outcome::Applied)?;
    probe.apply(&purge(&[1, 2, 3], 2, 4), Outcome::Applied)?;
    probe.expect_secrets(user(1), &[(4, 40)])?;
    probe.expect_page((user(1), standing(1, 0)), (None, 256), &[(4, 40)])?;
    probe.expect_secrets(user(2), &[(1, 90)])?;
    probe.apply(&purge(&[1, 2, 3], 2, 4), Outcome::Repeated)?;
    probe.apply(&purge(&[1], 2, 5), Outcome::Applied)?;
    probe.apply(&store(&[(2, 22)], 2, 6)?, Outcome::Applied)?;
    probe.expect_secrets(user(1), &[(2, 22), (4, 40)])
}

pub(super) fn account_is_deleted<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    let (query, conflict) = (account_query("one")?, Outcome::Conflict(Conflict::Credential));
    let trail = |number| AuditQuery::new(user(number), AuditFilter::default(), None, 256);
    for (name, number) in [("one", 1), ("two", 2)] {
        probe.apply(&create(name, number, number)?, Outcome::Applied)?;
        probe.apply(&append(user(number), 1, number, 1)?, Outcome::Applied)?;
    }
    probe.apply(&on(&query, charge(1)), Outcome::Applied)?;
    let change = Change::DeleteAccount { name: query.name().clone(), user_id: user(1) };
    let end = Transaction { audit: None, otherwise: None, ..guarded(vec![change], 3, 2) };
    probe.apply(&end, Outcome::Applied)?;
    probe.apply(&end, conflict)?;

    probe.expect_account("one", None)?;
    probe.expect_attempts(&query, Some((1, 1, 1)))?;
    probe.expect_page((user(1), None), (None, 256), &[])?;
    probe.expect_trail(trail(1), &[])?;
    probe.apply(&store(&[(1, 10)], 3, 3)?, conflict)?;
    probe.expect_account("two", Some(2))?;
    let (registered, appended) = (entry(user(2), 2, 1, true), entry(user(2), 9, 1, true));
    probe.expect_trail_of(standing(2, 1), trail(2), &[&registered, &appended])?;
    probe.expect_heads(HeadsQuery::new(user(2), Some(0), 256), standing(2, 1), &[(0, 2), (1, 2)])?;
    probe.expect_heads(HeadsQuery::new(user(1), Some(0), 256), None, &[])?;
    probe.apply(&append(user(1), 2, 1, 7)?, Outcome::Conflict(Conflict::Head))?;

    // The name is free, the user ID never again: a late upload doesn't bring the account back.
    probe.apply(&create("one", 1, 1)?, Outcome::Conflict(Conflict::UserIdTaken))?;
    probe.expect_account("one", None)?;
    probe.apply(&create("one", 3, 4)?, Outcome::Applied)?;
    probe.apply(&append(user(3), 1, 1, 1)?, Outcome::Applied)?;
    probe.expect_account("one", Some(3))
}

/// Entries of user 1 in their order, each told from its neighbour by one part of its place.
fn trail() -> Vec<AuditEntry> {
    let at = |time, session: u8, sequence, action| {
        let session_id = SessionId::from_bytes([session; 16]);
        AuditEntry { at: window(time), session_id, action, ..entry(user(1), session, sequence, true) }
    };
    vec![
        at(1, 2, 1, Action::LogIn { attempts_spent: 3 }),
        AuditEntry { granted: false, key_ids: vec![key_id(1), key_id(2)], ..at(1, 2, 2, Action::Store) },
        AuditEntry { key_ids: vec![key_id(1), key_id(2)], ..at(1, 2, 2, Action::Store) },
        AuditEntry { request: [1; 16], granted: false, ..at(1, 2, 2, Action::List) },
        AuditEntry { key_ids: vec![key_id(2)], ..at(2, 1, 3, Action::Retrieve) },
        AuditEntry { key_ids: vec![key_id(2)], ..at(2, 1, 256, Action::Delete) },
        at(2, 255, 1, Action::List),
        at(3, 1, 4, Action::ChangePassword),
    ]
}

pub(super) fn trail_is_read<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    let (entries, other) = (trail(), AuditEntry { at: window(2), ..entry(user(2), 1, 3, true) });
    let all: Vec<&AuditEntry> = entries.iter().collect();
    let &[login, refused, stored, listed, retrieved, deleted, listed_again, changed] = all.as_slice() else {
        return Err("the suite's own trail has another length".to_string());
    };
    // Not in their order. An entry alone is written: it is no batch of secrets that are all stored already.
    for entry in [deleted, changed, login, stored, &other, retrieved, refused, listed_again, listed] {
        probe.apply(&log(entry), Outcome::Applied)?;
    }
    probe.apply(&log(stored), Outcome::Repeated)?;

    let any = AuditFilter::default();
    let query = |filter: &AuditFilter, after: Option<&AuditEntry>, limit| {
        AuditQuery::new(user(1), filter.clone(), after.map(AuditEntry::place), limit)
    };
    probe.expect_trail(query(&any, None, 256), &all)?;
    probe.expect_trail(query(&any, None, 2), &[login, refused])?;
    probe.expect_trail(query(&any, Some(refused), 3), &[stored, listed, retrieved])?;
    probe.expect_trail(query(&any, Some(changed), 3), &[])?;
    probe.expect_trail(AuditQuery::new(user(2), any.clone(), None, 256), &[&other])?;
    probe.expect_trail(AuditQuery::new(user(3), any.clone(), None, 256), &[])?;

    let account = AuditFilter { about: AuditAbout::Account, ..any.clone() };
    probe.expect_trail(query(&account, None, 256), &[login, changed])?;
    let secrets = AuditFilter { about: AuditAbout::Secrets, ..any.clone() };
    // The limit counts what passes the filter.
    probe.expect_trail(query(&secrets, None, 1), &[refused])?;
    probe.expect_trail(query(&secrets, Some(listed), 256), &[retrieved, deleted, listed_again])?;
    let key_ids = |ids: &[u8]| AuditFilter { key_ids: ids.iter().copied().map(key_id).collect(), ..any.clone() };
    probe.expect_trail(query(&key_ids(&[1, 3]), None, 256), &[refused, stored])?;
    probe.expect_trail(query(&key_ids(&[1, 2]), None, 256), &[refused, stored, retrieved, deleted])?;
    probe.expect_trail(query(&key_ids(&[3]), None, 256), &[])?;
    let time = |from: Option<u64>, until: Option<u64>| AuditFilter {
        from: from.map(window),
        until: until.map(window),
        ..any.clone()
    };
    probe.expect_trail(query(&time(Some(2), Some(3)), None, 256), &[retrieved, deleted, listed_again])?;
    probe.expect_trail(query(&time(Some(3), None), None, 256), &[changed])?;
    let both = AuditFilter { about: AuditAbout::Secrets, ..time(None, Some(2)) };
    probe.expect_trail(query(&both, Some(refused), 256), &[stored, listed])
}
