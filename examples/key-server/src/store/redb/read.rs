//! Queries over redb.

use keystow::storage::{
    AccountQuery, AuditEntry, AuditQuery, Found, HeadsQuery, Query, SecretsPageQuery, SecretsQuery, SessionQuery,
    Standing, StoredSession,
};
use keystow::{KeyId, UserId};
use redb::ReadTransaction;

use super::tables::{
    ACCOUNTS, ATTEMPTS, AUDIT, AccountRow, AttemptsRow, HEADS, SECRETS, SESSIONS, SessionRow, USERS, head_key, of_user,
    secret_key, standing, trail_key,
};
use crate::store::StoreError;

/// Answers a query from a snapshot.
pub(super) fn read(snapshot: &ReadTransaction, query: &Query) -> Result<Found, StoreError> {
    match query {
        Query::Account(query) => account(snapshot, query),
        Query::Secrets(query) => secrets(snapshot, query),
        Query::SecretsPage(query) => secrets_page(snapshot, query),
        Query::Audit(query) => audit(snapshot, query),
        Query::Heads(query) => heads(snapshot, query),
        Query::Session(query) => session(snapshot, query),
    }
}

fn stands(snapshot: &ReadTransaction, user_id: UserId) -> Result<Option<Standing>, StoreError> {
    standing(&snapshot.open_table(ACCOUNTS)?, &snapshot.open_table(USERS)?, user_id)
}

/// Both tables, always: a name without an account costs the same.
fn account(snapshot: &ReadTransaction, query: &AccountQuery) -> Result<Found, StoreError> {
    let row = snapshot.open_table(ACCOUNTS)?.get(query.name().as_bytes())?;
    let attempts = snapshot.open_table(ATTEMPTS)?.get(query.counter().as_bytes())?;
    let record = match &row {
        Some(row) => Some(AccountRow::decode(row.value())?.record.to_vec()),
        None => None,
    };
    Ok(query.found(record, attempts.map(|row| AttemptsRow::decode(row.value()))))
}

fn secrets(snapshot: &ReadTransaction, query: &SecretsQuery) -> Result<Found, StoreError> {
    let (table, user_id) = (snapshot.open_table(SECRETS)?, query.user_id());
    let mut records = Vec::new();
    for key_id in query.key_ids() {
        if let Some(record) = table.get(&secret_key(user_id, *key_id))? {
            records.push((*key_id, record.value().to_vec()));
        }
    }
    Ok(query.found(stands(snapshot, user_id)?, records))
}

fn secrets_page(snapshot: &ReadTransaction, query: &SecretsPageQuery) -> Result<Found, StoreError> {
    let (table, user_id) = (snapshot.open_table(SECRETS)?, query.user_id());
    let (first, last) = of_user::<32>(user_id);
    let after = query.after().map(|after| secret_key(user_id, after));
    let mut records = Vec::new();
    for row in table.range::<&[u8; 32]>(&after.unwrap_or(first)..=&last)? {
        let (key, record) = row?;
        if after.as_ref() == Some(key.value()) {
            continue;
        }
        if records.len() >= usize::from(query.limit()) {
            break;
        }
        let (_, key_id) = key.value().split_last_chunk().ok_or("a key of the table secrets is too short")?;
        records.push((KeyId::from_bytes(*key_id), record.value().to_vec()));
    }
    Ok(query.found(stands(snapshot, user_id)?, records))
}

/// Goes through the trail from where the page begins, or from the filter's first moment, to its last.
fn audit(snapshot: &ReadTransaction, query: &AuditQuery) -> Result<Found, StoreError> {
    let (table, user_id) = (snapshot.open_table(AUDIT)?, query.user_id());
    let (mut first, mut last) = of_user::<81>(user_id);
    if let Some(from) = query.filter().from {
        first = trail_key(user_id, from, &[]);
    }
    if let Some(after) = query.after() {
        first = first.max(trail_key(user_id, after.at, &after.key(user_id)));
    }
    if let Some(until) = query.filter().until {
        last = trail_key(user_id, until, &[]);
    }
    let mut entries = Vec::new();
    if first <= last {
        for row in table.range::<&[u8; 81]>(&first..=&last)? {
            if entries.len() >= usize::from(query.limit()) {
                break;
            }
            let (_, bytes) = row?;
            let entry = AuditEntry::from_bytes(bytes.value())?;
            if query.takes(&entry) && query.after().is_none_or(|after| entry.place() > after) {
                entries.push(bytes.value().to_vec());
            }
        }
    }
    Ok(query.found(stands(snapshot, user_id)?, entries))
}

fn heads(snapshot: &ReadTransaction, query: &HeadsQuery) -> Result<Found, StoreError> {
    let (table, user_id) = (snapshot.open_table(HEADS)?, query.user_id());
    let standing = stands(snapshot, user_id)?;
    let (first, last) = (head_key(user_id, query.first(standing)), head_key(user_id, u64::MAX));
    let mut heads = Vec::new();
    for row in table.range::<&[u8; 24]>(&first..=&last)?.take(usize::from(query.limit())) {
        heads.push(row?.1.value().to_vec());
    }
    Ok(query.found(standing, heads))
}

fn session(snapshot: &ReadTransaction, query: &SessionQuery) -> Result<Found, StoreError> {
    let row = snapshot.open_table(SESSIONS)?.get(query.session_id().as_bytes())?;
    let session = match &row {
        Some(row) => {
            let SessionRow { version, resolution, sealed, .. } = SessionRow::decode(row.value())?;
            Some(StoredSession { version, sealed: sealed.to_vec(), resolution: resolution.to_vec() })
        }
        None => None,
    };
    Ok(query.found(session))
}
