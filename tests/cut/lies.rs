//! Nonsense: every answer that no honest store gives to a query or a transaction, with the error that it must get.

use keystow::storage::{
    Attempts, AuditEntry, Change, Conflict, Found, Guard, Outcome, Query, SessionQuery, Standing, StoredSession,
    Transaction,
};
use keystow::testing::{MemoryStore, Store};
use keystow::*;

pub type Lie = (Found, Error);

fn stored(record: RecordName, problem: &'static str) -> Error {
    Error::Stored(StoredFault { record, problem })
}

pub fn standing(store: &MemoryStore, user_id: UserId) -> Option<Standing> {
    let row = store.accounts.values().find(|row| row.user_id == user_id)?;
    Some(Standing { credential: row.credential, epoch: row.epoch })
}

type Rows = Vec<(KeyId, Vec<u8>)>;

fn rows(store: &MemoryStore, user_id: UserId) -> Rows {
    let own = store.secrets.iter().filter(|((owner, _), _)| *owner == user_id);
    own.map(|((_, key_id), record)| (*key_id, record.clone())).collect()
}

/// What another user has of everything: rows that are in order, but not here.
pub struct Stranger {
    pub user_id: UserId,
    pub record: Vec<u8>,
    pub secret: Vec<u8>,
    pub head: Vec<u8>,
    pub entry: Vec<u8>,
    /// A query of each kind.
    pub queries: Vec<Query>,
}

fn damaged(record: &[u8]) -> Vec<u8> {
    record[..record.len() - 1].to_vec()
}

/// Wrong answers to a query: those to queries of each kind, other rows, damaged ones.
pub fn lies(store: &mut MemoryStore, query: &Query, stranger: &Stranger) -> Vec<Lie> {
    let answer = RecordName::Answer;
    let mut lies: Vec<Lie> = Vec::new();
    for other in &stranger.queries {
        lies.push((store.read(other).unwrap(), stored(answer.clone(), "answers another query")));
    }
    match query {
        Query::Account(query) => {
            let name = RecordName::Account(query.name().clone());
            let attempts = store.attempts.get(&query.counter()).copied();
            let own = store.accounts.get(query.name()).map_or(&stranger.record, |row| &row.record);
            lies.push((query.found(Some(damaged(own)), attempts), stored(name.clone(), "can't be decoded")));
            let other = query.found(Some(stranger.record.clone()), attempts);
            lies.push((other, stored(name, "belongs to another name")));
        }
        Query::Secrets(query) => {
            let user_id = query.user_id();
            let named = |key_id| RecordName::Secret(user_id, key_id);
            let (asked, all): (Rows, Rows) =
                rows(store, user_id).into_iter().partition(|(id, _)| query.key_ids().contains(id));
            let first = query.key_ids()[0];
            let found = |records| query.found(standing(store, user_id), records);
            let twice = asked.iter().chain(&asked).cloned().collect();
            lies.push((found(vec![(first, stranger.secret.clone())]), stored(named(first), "belongs to another user")));
            lies.push((found(vec![(first, damaged(&asked[0].1))]), stored(named(first), "can't be decoded")));
            let duplicate = asked[0].0;
            lies.push((found(twice), stored(named(duplicate), "stands there twice")));
            if let Some(other) = all.iter().find(|(_, record)| record[1] == 0) {
                lies.push((found(vec![other.clone()]), stored(named(other.0), "was not asked for")));
                let misplaced = found(vec![(first, other.1.clone())]);
                lies.push((misplaced, stored(named(first), "belongs to another key ID")));
            }
        }
        Query::SecretsPage(query) => {
            let user_id = query.user_id();
            let named = |key_id| RecordName::Secret(user_id, key_id);
            let found = |records| query.found(standing(store, user_id), records);
            let after = query.after().map_or([0; 16], |after| *after.as_bytes());
            let last = KeyId::from_bytes([0xff; 16]);
            lies.push((found(vec![(last, stranger.secret.clone())]), stored(named(last), "belongs to another user")));
            lies.push((found(vec![(last, damaged(&stranger.secret))]), stored(named(last), "can't be decoded")));
            let many = vec![(last, vec![]); usize::from(query.limit()) + 1];
            lies.push((found(many), stored(answer, "has more records than were asked for")));
            let page: Rows = rows(store, user_id).into_iter().filter(|(id, _)| *id.as_bytes() > after).collect();
            if let Some(first) = page.first() {
                let twice = found(vec![first.clone(), first.clone()]);
                lies.push((twice, stored(named(first.0), "is out of order")));
            }
            if let Some(after) = query.after() {
                let again = found(vec![(after, vec![])]);
                lies.push((again, stored(named(after), "is out of order")));
            }
        }
        Query::Heads(query) => {
            let user_id = query.user_id();
            let standing = standing(store, user_id);
            let first = query.first(standing);
            let own = store.heads[&(user_id, first)].clone();
            let next = stored(RecordName::Head(user_id, first + 1), "has another epoch");
            lies.push((
                query.found(standing, vec![damaged(&own)]),
                stored(RecordName::Head(user_id, first), "can't be decoded"),
            ));
            lies.push((query.found(standing, vec![own.clone(), own.clone()]), next));
            if stranger.head[1..9] != own[1..9] {
                let other = query.found(standing, vec![stranger.head.clone()]);
                lies.push((other, stored(RecordName::Head(user_id, first), "has another epoch")));
            }
            let many = vec![own; usize::from(query.limit()) + 1];
            lies.push((query.found(standing, many), stored(answer, "has more heads than were asked for")));
        }
        Query::Audit(query) => {
            let user_id = query.user_id();
            let named = |problem| stored(RecordName::Audit(user_id), problem);
            let found = |entries| query.found(standing(store, user_id), entries);
            let own =
                |entry: &&AuditEntry| query.takes(entry) && query.after().is_none_or(|after| entry.place() > after);
            let other = &stranger.entry;
            lies.push((found(vec![damaged(other)]), named("can't be decoded")));
            lies.push((found(vec![other.clone()]), named("has an entry that was not asked for")));
            let many = vec![other.clone(); usize::from(query.limit()) + 1];
            lies.push((found(many), named("has more entries than were asked for")));
            if let Some(own) = store.audit.values().find(own) {
                let own = own.to_record().unwrap().as_bytes().to_vec();
                lies.push((found(vec![own.clone(), own]), named("is out of order")));
            }
        }
        Query::Session(_) => {}
    }
    lies
}

/// Wrong answers to the query for a session, in a fleet.
pub fn session_lies(store: &mut MemoryStore, query: &SessionQuery, stranger: &Stranger) -> Vec<Lie> {
    let named = |problem| stored(RecordName::Session(query.session_id()), problem);
    let mut lies: Vec<Lie> = Vec::new();
    for other in &stranger.queries {
        lies.push((store.read(other).unwrap(), stored(RecordName::Answer, "answers another query")));
    }
    let Some(row) = store.sessions.get(&query.session_id()).map(|row| &row.session) else { return lies };
    let others = store.sessions.iter().find(|(id, _)| **id != query.session_id());
    let other = others.map(|(_, row)| (row.session.clone(), named("doesn't open")));
    let old = StoredSession { version: row.version - 1, ..row.clone() };
    let cut = StoredSession { sealed: damaged(&row.sealed), ..row.clone() };
    let lost = StoredSession { resolution: vec![], ..row.clone() };
    let own = [(old, named("doesn't open")), (cut, named("doesn't open")), (lost, named("has no outcome"))];
    lies.extend(own.into_iter().chain(other).map(|(session, error)| (query.found(Some(session)), error)));
    lies
}

/// Every conflict, with these key IDs in those that name one.
fn conflicts(key_ids: &[KeyId]) -> Vec<Conflict> {
    use Conflict::{AttemptLimit, Credential, Head, KeyIdTaken, NameTaken, SecretGone, UserIdTaken};
    let named = key_ids.iter().flat_map(|key_id| [KeyIdTaken(*key_id), SecretGone(*key_id)]);
    [Credential, NameTaken, UserIdTaken, AttemptLimit, Head].into_iter().chain(named).collect()
}

/// The conflicts that a transaction can have, by its guards and changes.
pub fn possible(transaction: &Transaction) -> Vec<Conflict> {
    let mut possible = Vec::new();
    let guards = transaction.guards.iter().map(|guard| match guard {
        Guard::Credential { .. } => Conflict::Credential,
        Guard::Head { .. } => Conflict::Head,
    });
    let changes = transaction.changes.iter().flat_map(|change| match change {
        Change::CreateAccount { .. } => vec![Conflict::NameTaken, Conflict::UserIdTaken],
        Change::ChargeAttempt { .. } => vec![Conflict::AttemptLimit],
        Change::StoreSecret { key_id, .. } => vec![Conflict::KeyIdTaken(*key_id)],
        Change::DeleteSecret { key_id, .. } => vec![Conflict::SecretGone(*key_id)],
        Change::AppendHead { .. } => vec![Conflict::Head],
        Change::RefundAttempt { .. }
        | Change::ReplaceCredential { .. }
        | Change::PurgeSecret { .. }
        | Change::DeleteAccount { .. } => vec![],
    });
    for conflict in guards.chain(changes) {
        if !possible.contains(&conflict) {
            possible.push(conflict);
        }
    }
    possible
}

/// The outcomes that a transaction can't have, with the error that each must get.
pub fn impossible(transaction: &Transaction) -> Vec<(Outcome, Error)> {
    let key_ids = transaction.changes.iter().filter_map(|change| match change {
        Change::StoreSecret { key_id, .. } | Change::DeleteSecret { key_id, .. } => Some(*key_id),
        _ => None,
    });
    let key_ids: Vec<KeyId> = key_ids.take(1).chain([KeyId::from_bytes([9; 16])]).collect();
    let possible = possible(transaction);
    let others = conflicts(&key_ids).into_iter().filter(|conflict| !possible.contains(conflict));
    let repeated = transaction.audit.is_none().then_some(Outcome::Repeated);
    let nonsense = stored(RecordName::Answer, "is an outcome that the transaction can't have");
    let moved = if transaction.advance.is_some() { Error::Moved } else { nonsense.clone() };
    let outcomes = others.map(Outcome::Conflict).chain(repeated);
    outcomes.map(|outcome| (outcome, nonsense.clone())).chain([(Outcome::Moved, moved)]).collect()
}

/// Applies a transaction while the condition behind this conflict doesn't hold; then it holds again. What stays is what was
/// written beside the refusal.
pub fn provoke(store: &mut MemoryStore, transaction: &Transaction, conflict: Conflict) {
    let mut spoiled = store.clone();
    for guard in &transaction.guards {
        let (Guard::Credential { user_id, .. } | Guard::Head { user_id, .. }) = guard;
        let row = spoiled.accounts.values_mut().find(|row| row.user_id == *user_id).unwrap();
        match conflict {
            Conflict::Credential => row.credential = CredentialId::from_bytes([7; 32]),
            Conflict::Head => row.epoch += 7,
            _ => {}
        }
    }
    for change in &transaction.changes {
        match (change, conflict) {
            (Change::CreateAccount { name, .. }, Conflict::NameTaken) => {
                let other = spoiled.accounts.values().next().unwrap().clone();
                spoiled.accounts.insert(name.clone(), other);
            }
            (Change::CreateAccount { user_id, .. }, Conflict::UserIdTaken) => {
                spoiled.gone.insert(*user_id);
            }
            (Change::ChargeAttempt { counter, window_ends, limit }, Conflict::AttemptLimit) => {
                let spent = Attempts { window_ends: *window_ends, count: *limit, unseen: 0 };
                spoiled.attempts.insert(*counter, spent);
            }
            (Change::StoreSecret { user_id, key_id, .. }, Conflict::KeyIdTaken(taken)) if taken == *key_id => {
                spoiled.secrets.insert((*user_id, *key_id), vec![0]);
            }
            (Change::DeleteSecret { user_id, key_id, .. }, Conflict::SecretGone(gone)) if gone == *key_id => {
                spoiled.secrets.insert((*user_id, *key_id), vec![0]);
            }
            _ => {}
        }
    }
    assert_eq!(spoiled.apply(transaction).unwrap(), Outcome::Conflict(conflict));
    store.audit = spoiled.audit;
    store.sessions = spoiled.sessions;
}

/// What the client is told about a conflict: the table of the protocol (section 26). A head that hasn't moved after all is a
/// lie of the server's.
pub fn told(transaction: &Transaction, conflict: Conflict) -> Error {
    let window = transaction.changes.iter().find_map(|change| match change {
        Change::ChargeAttempt { window_ends, .. } => Some(*window_ends),
        _ => None,
    });
    match conflict {
        Conflict::Credential => Refusal::SessionEnded.into(),
        Conflict::NameTaken => Refusal::NameTaken.into(),
        Conflict::UserIdTaken => Refusal::Denied.into(),
        Conflict::AttemptLimit => Refusal::TryAgainAt(window.unwrap()).into(),
        Conflict::KeyIdTaken(key_id) => Refusal::KeyIdTaken(key_id).into(),
        Conflict::SecretGone(key_id) => Refusal::AlreadyDeleted(key_id).into(),
        Conflict::Head => PeerFault::Mismatch("epoch").into(),
    }
}
