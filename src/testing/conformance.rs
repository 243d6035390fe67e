//! The suite that checks a store against the contract of [`Transaction`] and [`Query`]: what it asks of every store, and
//! the checks for accounts, attempts and storing.

mod custody;
mod heads;
mod sessions;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::Store;
use crate::head::SealedHead;
use crate::id::{AccountName, CounterId, CredentialId, KeyId, SessionId, Timestamp, UserId};
use crate::storage::query::Answer;
use crate::storage::{
    AccountQuery, Action, Attempts, AuditEntry, Change, Conflict, Guard, Outcome, Query, Record, SecretRecord,
    SecretsQuery, Standing, Transaction,
};

/// What a store got wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The check that failed.
    pub check: &'static str,
    /// What was expected, and what came.
    pub problem: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.problem)
    }
}

impl core::error::Error for Failure {}

/// Runs every check, each on a new, empty store from `make`. Gives the number of checks.
///
/// # Errors
/// The first [`Failure`].
pub fn conformance<S: Store>(mut make: impl FnMut() -> S) -> Result<usize, Failure> {
    let checks: [(&'static str, Check<S>); 28] = [
        ("an account is made whole, and found under its own name alone", account_is_found),
        ("a name and a user ID are given once", account_is_unique),
        ("an account that was made by the same request counts as repeated", account_repeats),
        ("attempts are counted one by one, up to the limit", attempts_are_limited),
        ("a new window starts the count anew, an old one doesn't", windows_roll_over),
        ("a refund gives back one attempt of its own window", refund_is_exact),
        ("a refund that was applied counts as repeated", refund_repeats),
        ("the credential guard holds or nothing is written", credential_is_guarded),
        ("a refused transaction is no repeat of a granted one", refusal_is_no_repeat),
        ("vault heads form a chain, one for each account", heads::are_chained),
        ("secrets are read as they were written, for their user alone", secrets_are_found),
        ("the same record again counts as repeated, in any session", secrets_repeat),
        ("a key ID is taken once, and a batch is all or nothing", batch_is_atomic),
        ("vault heads are read from an epoch on, or the newest", heads::are_found),
        ("a change and its vault head are written together or not at all", heads::change_is_atomic),
        ("secrets that are stored already leave the vault head where it is", heads::repeat_leaves_head),
        ("a vault head that is awaited is there, or nothing is written", heads::are_guarded),
        ("guards without a change still hold or conflict", heads::guards_stand_alone),
        ("a page has the next of a user's secrets, ascending, with the tombstones", custody::page_is_ordered),
        ("a deleted secret leaves a tombstone that nothing is stored over", custody::tombstone_stays),
        ("a batch of deletions is all or nothing", custody::deletion_is_atomic),
        ("a replaced credential ends what was guarded on the old one", custody::credential_is_replaced),
        ("a purged secret leaves nothing behind", custody::purge_is_complete),
        ("a deleted account leaves its attempts alone behind", custody::account_is_deleted),
        ("the audit trail is read by place, within its filter", custody::trail_is_read),
        ("a fleet's session has each version once", sessions::advance_one_by_one),
        ("a fleet's session is written with every outcome", sessions::advance_with_every_outcome),
        ("a step of a session that has moved on writes nothing", sessions::moved_writes_nothing),
    ];
    for (check, run) in &checks {
        run(&mut Probe { store: make() }).map_err(|problem| Failure { check, problem })?;
    }
    Ok(checks.len())
}

type Check<S> = fn(&mut Probe<S>) -> Result<(), String>;

/// A store under test, and what is asked of it again and again.
struct Probe<S> {
    store: S,
}

const LIMIT: u32 = 3;

fn user(byte: u8) -> UserId {
    UserId::from_bytes([byte; 16])
}

fn credential(byte: u8) -> CredentialId {
    CredentialId::from_bytes([byte; 32])
}

fn key_id(byte: u8) -> KeyId {
    KeyId::from_bytes([byte; 16])
}

fn counter() -> CounterId {
    CounterId::from_bytes([7; 32])
}

fn window(number: u64) -> Timestamp {
    Timestamp::from_millis(number.saturating_mul(1000))
}

fn account_query(name: &str) -> Result<AccountQuery, String> {
    Ok(AccountQuery::new(AccountName::new(name).map_err(|error| error.to_string())?))
}

/// A secret record that decodes: a tombstone, told apart by its sequence.
fn record(number: u64) -> Result<Record, String> {
    let session_id = SessionId::from_bytes([0; 16]);
    Record::encode(&SecretRecord::Tombstone { session_id, sequence: number }).map_err(|error| error.to_string())
}

/// Key IDs and records, as a store gives them.
fn numbered(secrets: &[(u8, u64)]) -> Result<Vec<(KeyId, Vec<u8>)>, String> {
    secrets.iter().map(|(id, number)| Ok((key_id(*id), record(*number)?.as_bytes().to_vec()))).collect()
}

fn entry(user_id: UserId, session: u8, sequence: u64, granted: bool) -> AuditEntry {
    let session_id = SessionId::from_bytes([session; 16]);
    let (request, action) = ([0; 16], Action::Store);
    AuditEntry { user_id, session_id, sequence, request, at: window(1), action, granted, key_ids: vec![] }
}

fn create(name: &str, number: u8, session: u8) -> Result<Transaction, String> {
    let change = Change::CreateAccount {
        name: account_query(name)?.name().clone(),
        user_id: user(number),
        credential: credential(number),
        record: Record::from_bytes(&[number; 100]),
        head: head(0, number)?,
    };
    let audit = Some(entry(user(number), session, 1, true));
    Ok(Transaction { advance: None, guards: vec![], changes: vec![change], audit, otherwise: None })
}

fn charge(number: u64) -> Transaction {
    let change = Change::ChargeAttempt { counter: counter(), window_ends: window(number), limit: LIMIT };
    Transaction { advance: None, guards: vec![], changes: vec![change], audit: None, otherwise: None }
}

fn refund(number: u64, seen: u32, session: u8) -> Transaction {
    let change = Change::RefundAttempt { counter: counter(), window_ends: window(number), seen };
    let audit = Some(entry(user(1), session, 1, true));
    Transaction { advance: None, guards: vec![], changes: vec![change], audit, otherwise: None }
}

/// Stores records under key IDs, guarded on credential 1 of user 1.
fn store(records: &[(u8, u64)], session: u8, sequence: u64) -> Result<Transaction, String> {
    let change = |(id, number): &(u8, u64)| {
        Ok(Change::StoreSecret { user_id: user(1), key_id: key_id(*id), record: record(*number)? })
    };
    Ok(guarded(records.iter().map(change).collect::<Result<_, String>>()?, session, sequence))
}

/// These changes, guarded on credential 1 of user 1.
fn guarded(changes: Vec<Change>, session: u8, sequence: u64) -> Transaction {
    Transaction {
        advance: None,
        guards: vec![Guard::Credential { user_id: user(1), credential: credential(1) }],
        changes,
        audit: Some(entry(user(1), session, sequence, true)),
        otherwise: Some(entry(user(1), session, sequence, false)),
    }
}

/// A head's record that decodes: its epoch, then the same byte again and again.
fn head(epoch: u64, number: u8) -> Result<Record, String> {
    let mut bytes = [number; SealedHead::LEN];
    for (byte, value) in bytes.iter_mut().zip(epoch.to_be_bytes()) {
        *byte = value;
    }
    Record::encode(&SealedHead::from_bytes(bytes)).map_err(|error| error.to_string())
}

/// Appends a vault head.
fn append(user_id: UserId, epoch: u64, number: u8, sequence: u64) -> Result<Transaction, String> {
    let change = Change::AppendHead { user_id, epoch, head: head(epoch, number)? };
    let audit = Some(entry(user_id, 9, sequence, true));
    Ok(Transaction { advance: None, guards: vec![], changes: vec![change], audit, otherwise: None })
}

/// Where an account stands under its first credential.
fn standing(number: u8, epoch: u64) -> Option<Standing> {
    Some(Standing { credential: credential(number), epoch })
}

fn expect<T: PartialEq + fmt::Debug>(what: &str, got: T, expected: T) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what}: expected {expected:?}, got {got:?}")) }
}

impl<S: Store> Probe<S> {
    fn apply(&mut self, transaction: &Transaction, expected: Outcome) -> Result<(), String> {
        let outcome = self.store.apply(transaction).map_err(|error| format!("apply failed: {error}"))?;
        expect("the outcome", outcome, expected)
    }

    fn read(&mut self, query: &Query) -> Result<Answer, String> {
        Ok(self.store.read(query).map_err(|error| format!("read failed: {error}"))?.0)
    }

    fn account(&mut self, query: &AccountQuery) -> Result<(Option<Vec<u8>>, Option<Attempts>), String> {
        match self.read(&Query::Account(query.clone()))? {
            Answer::Account { name, record, attempts } if name == *query.name() => Ok((record, attempts)),
            _ => Err("another query was answered".to_string()),
        }
    }

    fn expect_account(&mut self, name: &str, expected: Option<u8>) -> Result<(), String> {
        let (record, _) = self.account(&account_query(name)?)?;
        expect("the account's record", record, expected.map(|number| vec![number; 100]))
    }

    /// What the secrets 1 to 4 of a user are, as the numbers of their records.
    fn expect_secrets(&mut self, user_id: UserId, expected: &[(u8, u64)]) -> Result<(), String> {
        let query = SecretsQuery::new(user_id, (1..=4).map(key_id).collect());
        let Answer::Secrets { query: answered, mut records, .. } = self.read(&Query::Secrets(query.clone()))? else {
            return Err("another query was answered".to_string());
        };
        expect("the answered query", answered, query)?;
        let mut expected = numbered(expected)?;
        records.sort();
        expected.sort();
        expect("the secrets", records, expected)
    }

    /// The counter, read through an account query whose counter is charged.
    fn expect_attempts(&mut self, query: &AccountQuery, expected: Option<(u64, u32, u32)>) -> Result<(), String> {
        let (_, attempts) = self.account(query)?;
        let expected = expected.map(|(number, count, unseen)| Attempts { window_ends: window(number), count, unseen });
        expect("the attempts", attempts, expected)
    }
}

/// The same transaction, on the counter of this query instead.
fn on(query: &AccountQuery, mut transaction: Transaction) -> Transaction {
    for change in &mut transaction.changes {
        if let Change::ChargeAttempt { counter, .. } | Change::RefundAttempt { counter, .. } = change {
            *counter = query.counter();
        }
    }
    transaction
}

fn account_is_found<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    probe.expect_account("one", None)?;
    probe.apply(&create("one", 1, 1)?, Outcome::Applied)?;
    probe.expect_account("one", Some(1))?;
    probe.expect_account("on", None)?;
    probe.expect_account("One", None)?;
    probe.expect_account("one\0", None)
}

fn account_is_unique<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    probe.apply(&create("one", 1, 1)?, Outcome::Applied)?;
    probe.apply(&create("one", 2, 2)?, Outcome::Conflict(Conflict::NameTaken))?;
    probe.apply(&create("two", 1, 3)?, Outcome::Conflict(Conflict::UserIdTaken))?;
    probe.expect_account("one", Some(1))?;
    probe.expect_account("two", None)
}

fn account_repeats<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    probe.apply(&create("one", 1, 1)?, Outcome::Applied)?;
    probe.apply(&create("one", 1, 1)?, Outcome::Repeated)?;
    probe.expect_account("one", Some(1))
}

fn attempts_are_limited<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    let (query, other) = (account_query("one")?, account_query("two")?);
    probe.expect_attempts(&query, None)?;
    for count in 1..=LIMIT {
        probe.apply(&on(&query, charge(1)), Outcome::Applied)?;
        probe.expect_attempts(&query, Some((1, count, count)))?;
    }
    probe.apply(&on(&query, charge(1)), Outcome::Conflict(Conflict::AttemptLimit))?;
    probe.expect_attempts(&query, Some((1, LIMIT, LIMIT)))?;
    probe.expect_attempts(&other, None)
}

fn windows_roll_over<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    let query = account_query("one")?;
    probe.apply(&on(&query, charge(1)), Outcome::Applied)?;
    probe.apply(&on(&query, charge(1)), Outcome::Applied)?;
    probe.apply(&on(&query, charge(2)), Outcome::Applied)?;
    probe.expect_attempts(&query, Some((2, 1, 3)))?;
    // A node whose clock lags counts into the window that is open.
    probe.apply(&on(&query, charge(1)), Outcome::Applied)?;
    probe.expect_attempts(&query, Some((2, 2, 4)))?;
    probe.apply(&on(&query, charge(1)), Outcome::Applied)?;
    probe.apply(&on(&query, charge(1)), Outcome::Conflict(Conflict::AttemptLimit))
}

fn refund_is_exact<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    let query = account_query("one")?;
    probe.apply(&on(&query, refund(1, 1, 1)), Outcome::Applied)?;
    probe.expect_attempts(&query, None)?;
    for _ in 0..3 {
        probe.apply(&on(&query, charge(1)), Outcome::Applied)?;
    }
    probe.apply(&on(&query, refund(1, 2, 2)), Outcome::Applied)?;
    probe.expect_attempts(&query, Some((1, 2, 1)))?;
    probe.apply(&on(&query, charge(2)), Outcome::Applied)?;
    probe.apply(&on(&query, refund(1, 9, 3)), Outcome::Applied)?;
    probe.expect_attempts(&query, Some((2, 1, 0)))
}

fn refund_repeats<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    let query = account_query("one")?;
    probe.apply(&on(&query, charge(1)), Outcome::Applied)?;
    probe.apply(&on(&query, charge(1)), Outcome::Applied)?;
    probe.apply(&on(&query, refund(1, 1, 1)), Outcome::Applied)?;
    probe.apply(&on(&query, refund(1, 1, 1)), Outcome::Repeated)?;
    probe.expect_attempts(&query, Some((1, 1, 1)))
}

fn credential_is_guarded<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    let conflict = Outcome::Conflict(Conflict::Credential);
    probe.apply(&store(&[(1, 1)], 2, 2)?, conflict)?;
    probe.apply(&create("one", 1, 1)?, Outcome::Applied)?;
    let mut wrong = store(&[(1, 1)], 3, 2)?;
    wrong.guards = vec![Guard::Credential { user_id: user(1), credential: credential(2) }];
    probe.apply(&wrong, conflict)?;
    probe.expect_secrets(user(1), &[])?;
    probe.apply(&store(&[(1, 1)], 4, 2)?, Outcome::Applied)?;
    // A guard comes before the question whether it is a repeat.
    wrong.audit = Some(entry(user(1), 5, 2, true));
    wrong.otherwise = None;
    probe.apply(&wrong, conflict)
}

fn refusal_is_no_repeat<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    let conflict = Outcome::Conflict(Conflict::Credential);
    probe.apply(&store(&[(1, 1)], 2, 2)?, conflict)?;
    probe.apply(&store(&[(1, 1)], 2, 2)?, conflict)?;
    probe.apply(&create("one", 1, 1)?, Outcome::Applied)?;
    probe.apply(&store(&[(1, 1)], 2, 2)?, Outcome::Applied)?;
    probe.apply(&store(&[(1, 1)], 2, 2)?, Outcome::Repeated)
}

fn secrets_are_found<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    probe.apply(&create("one", 1, 1)?, Outcome::Applied)?;
    probe.expect_secrets(user(1), &[])?;
    probe.apply(&store(&[(1, 10), (3, 30)], 2, 2)?, Outcome::Applied)?;
    probe.expect_secrets(user(1), &[(1, 10), (3, 30)])?;
    probe.expect_secrets(user(2), &[])?;
    probe.apply(&append(user(1), 1, 1, 1)?, Outcome::Applied)?;
    let query = SecretsQuery::new(user(1), vec![key_id(1)]);
    match probe.read(&Query::Secrets(query))? {
        Answer::Secrets { standing: found, .. } => expect("where the account stands", found, standing(1, 1)),
        _ => Err("another query was answered".to_string()),
    }
}

fn secrets_repeat<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    probe.apply(&create("one", 1, 1)?, Outcome::Applied)?;
    probe.apply(&store(&[(1, 10), (2, 20)], 2, 2)?, Outcome::Applied)?;
    probe.apply(&store(&[(1, 10), (2, 20)], 2, 2)?, Outcome::Repeated)?;
    probe.apply(&store(&[(2, 20), (1, 10)], 3, 2)?, Outcome::Repeated)?;
    probe.apply(&store(&[(2, 20), (3, 30)], 4, 2)?, Outcome::Applied)?;
    probe.expect_secrets(user(1), &[(1, 10), (2, 20), (3, 30)])
}

fn batch_is_atomic<S: Store>(probe: &mut Probe<S>) -> Result<(), String> {
    probe.apply(&create("one", 1, 1)?, Outcome::Applied)?;
    probe.apply(&store(&[(2, 20)], 2, 2)?, Outcome::Applied)?;
    let taken = Outcome::Conflict(Conflict::KeyIdTaken(key_id(2)));
    probe.apply(&store(&[(2, 21)], 2, 3)?, taken)?;
    probe.apply(&store(&[(1, 10), (2, 21), (3, 30)], 2, 4)?, taken)?;
    probe.expect_secrets(user(1), &[(2, 20)])
}
