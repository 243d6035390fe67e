//! Queries over PostgreSQL. Where the account stands is read first: what is written behind a read is guarded on it.

use keystow::storage::{
    AccountQuery, Attempts, AuditAbout, AuditQuery, Found, HeadsQuery, Query, SecretsPageQuery, SecretsQuery,
    SessionQuery, Standing, StoredSession,
};
use keystow::{CredentialId, KeyId, Timestamp, UserId};
use tokio_postgres::Row;

use super::bigint;
use super::pool::Connection;
use super::sql;
use crate::store::StoreError;

/// Answers a query.
pub(super) async fn read(connection: &mut Connection, query: &Query) -> Result<Found, StoreError> {
    match query {
        Query::Account(query) => account(connection, query).await,
        Query::Secrets(query) => secrets(connection, query).await,
        Query::SecretsPage(query) => secrets_page(connection, query).await,
        Query::Audit(query) => audit(connection, query).await,
        Query::Heads(query) => heads(connection, query).await,
        Query::Session(query) => session(connection, query).await,
    }
}

/// A column that was written as a `u64`.
fn number(row: &Row, column: usize) -> Result<u64, StoreError> {
    Ok(u64::try_from(row.try_get::<_, i64>(column)?)?)
}

fn bytes<const N: usize>(row: &Row, column: usize) -> Result<[u8; N], StoreError> {
    Ok(row.try_get::<_, &[u8]>(column)?.try_into()?)
}

/// The first column of each row.
fn records(rows: &[Row]) -> Result<Vec<Vec<u8>>, StoreError> {
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

fn secret(row: &Row) -> Result<(KeyId, Vec<u8>), StoreError> {
    Ok((KeyId::from_bytes(bytes(row, 0)?), row.try_get(1)?))
}

async fn standing(connection: &mut Connection, user_id: UserId) -> Result<Option<Standing>, StoreError> {
    let row = connection.row(sql::STANDING, &[&user_id.as_bytes().as_slice()]).await?;
    let standing =
        |row: &Row| Ok(Standing { credential: CredentialId::from_bytes(bytes(row, 0)?), epoch: number(row, 1)? });
    row.as_ref().map(standing).transpose()
}

/// Both statements, always: a name without an account costs the same.
async fn account(connection: &mut Connection, query: &AccountQuery) -> Result<Found, StoreError> {
    let account = connection.row(sql::ACCOUNT, &[&query.name().as_bytes()]).await?;
    let attempts = connection.row(sql::ATTEMPTS, &[&query.counter().as_bytes().as_slice()]).await?;
    let counted = |row: &Row| {
        let window_ends = Timestamp::from_millis(number(row, 0)?);
        let [count, unseen] = [number(row, 1)?, number(row, 2)?].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        Ok::<_, StoreError>(Attempts { window_ends, count, unseen })
    };
    let record = account.map(|row| row.try_get(0)).transpose()?;
    Ok(query.found(record, attempts.as_ref().map(counted).transpose()?))
}

async fn secrets(connection: &mut Connection, query: &SecretsQuery) -> Result<Found, StoreError> {
    let user_id = query.user_id();
    let key_ids: Vec<&[u8]> = query.key_ids().iter().map(|key_id| key_id.as_bytes().as_slice()).collect();
    let standing = standing(connection, user_id).await?;
    let rows = connection.rows(sql::SECRETS, &[&user_id.as_bytes().as_slice(), &key_ids]).await?;
    Ok(query.found(standing, rows.iter().map(secret).collect::<Result<_, _>>()?))
}

async fn secrets_page(connection: &mut Connection, query: &SecretsPageQuery) -> Result<Found, StoreError> {
    let (user_id, after, limit) = (query.user_id(), query.after(), i64::from(query.limit()));
    let after = after.as_ref().map_or(&[][..], |after| after.as_bytes());
    let standing = standing(connection, user_id).await?;
    let rows = connection.rows(sql::SECRETS_PAGE, &[&user_id.as_bytes().as_slice(), &after, &limit]).await?;
    Ok(query.found(standing, rows.iter().map(secret).collect::<Result<_, _>>()?))
}

async fn audit(connection: &mut Connection, query: &AuditQuery) -> Result<Found, StoreError> {
    let (user_id, filter) = (query.user_id(), query.filter());
    let (at, key) = match query.after() {
        Some(after) => (bigint(after.at.as_millis()), after.key(user_id).to_vec()),
        None => (-1, Vec::new()),
    };
    let from = filter.from.map_or(0, |from| bigint(from.as_millis()));
    let until = filter.until.map_or(i64::MAX, |until| bigint(until.as_millis()));
    let about_secrets = match filter.about {
        AuditAbout::All => None,
        AuditAbout::Account => Some(false),
        AuditAbout::Secrets => Some(true),
    };
    let key_ids: Vec<&[u8]> = filter.key_ids.iter().map(|key_id| key_id.as_bytes().as_slice()).collect();
    let (key_ids, limit) = ((!key_ids.is_empty()).then_some(key_ids), i64::from(query.limit()));
    let standing = standing(connection, user_id).await?;
    let user_id = user_id.as_bytes().as_slice();
    let rows = connection
        .rows(sql::AUDIT_PAGE, &[&user_id, &at, &key, &from, &until, &about_secrets, &key_ids, &limit])
        .await?;
    Ok(query.found(standing, records(&rows)?))
}

async fn heads(connection: &mut Connection, query: &HeadsQuery) -> Result<Found, StoreError> {
    let (user_id, limit) = (query.user_id(), i64::from(query.limit()));
    let standing = standing(connection, user_id).await?;
    let first = bigint(query.first(standing));
    let rows = connection.rows(sql::HEADS, &[&user_id.as_bytes().as_slice(), &first, &limit]).await?;
    Ok(query.found(standing, records(&rows)?))
}

async fn session(connection: &mut Connection, query: &SessionQuery) -> Result<Found, StoreError> {
    let row = connection.row(sql::SESSION, &[&query.session_id().as_bytes().as_slice()]).await?;
    let stored = |row: &Row| {
        Ok::<_, StoreError>(StoredSession {
            version: number(row, 0)?,
            sealed: row.try_get(1)?,
            resolution: row.try_get(2)?,
        })
    };
    Ok(query.found(row.as_ref().map(stored).transpose()?))
}
