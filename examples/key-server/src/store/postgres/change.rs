//! One change each, with its own condition: step 2 of a transaction.

use keystow::storage::{Change, Conflict};
use keystow::{AccountName, KeyId, UserId};

use super::bigint;
use super::pool::{Connection, refer};
use super::sql;
use crate::store::StoreError;

/// How a change ended.
pub(super) enum Done {
    Written,
    /// Its condition holds, and what it writes is there already.
    Unchanged,
    Conflict(Conflict),
}

impl Done {
    fn if_any(rows: u64, conflict: Conflict) -> Self {
        if rows > 0 { Self::Written } else { Self::Conflict(conflict) }
    }
}

/// Writes a change if its condition holds.
pub(super) async fn write(connection: &mut Connection, change: &Change) -> Result<Done, StoreError> {
    match change {
        Change::CreateAccount { name, user_id, credential, record, head } => {
            let row = [name.as_bytes(), user_id.as_bytes(), credential.as_bytes(), record.as_bytes()];
            create_account(connection, row, *user_id, head.as_bytes()).await
        }
        Change::ChargeAttempt { counter, window_ends, limit } => {
            let (counter, limit) = (counter.as_bytes().as_slice(), i64::from(*limit));
            let window_ends = bigint(window_ends.as_millis());
            let rows = connection.execute(sql::CHARGE, &[&counter, &window_ends, &limit]).await?;
            Ok(Done::if_any(rows, Conflict::AttemptLimit))
        }
        Change::RefundAttempt { counter, window_ends, seen } => {
            let (counter, seen) = (counter.as_bytes().as_slice(), i64::from(*seen));
            let window_ends = bigint(window_ends.as_millis());
            connection.execute(sql::REFUND, &[&counter, &window_ends, &seen]).await?;
            Ok(Done::Written)
        }
        Change::StoreSecret { user_id, key_id, record } => {
            store_secret(connection, [user_id.as_bytes(), key_id.as_bytes(), record.as_bytes()], *key_id).await
        }
        Change::DeleteSecret { user_id, key_id, live, tombstone } => {
            let row = [user_id.as_bytes(), key_id.as_bytes(), live.as_bytes(), tombstone.as_bytes()];
            let rows = connection.execute(sql::DELETE_SECRET, &refer(&row)).await?;
            Ok(Done::if_any(rows, Conflict::SecretGone(*key_id)))
        }
        Change::ReplaceCredential { name, user_id, credential, record } => {
            let row = [name.as_bytes(), user_id.as_bytes(), credential.as_bytes(), record.as_bytes()];
            connection.execute(sql::REPLACE_CREDENTIAL, &refer(&row)).await?;
            Ok(Done::Written)
        }
        Change::PurgeSecret { user_id, key_id } => {
            connection.execute(sql::PURGE_SECRET, &refer(&[user_id.as_bytes(), key_id.as_bytes()])).await?;
            Ok(Done::Written)
        }
        Change::DeleteAccount { name, user_id } => delete_account(connection, name, *user_id).await,
        Change::AppendHead { user_id, epoch, head } => append_head(connection, *user_id, *epoch, head.as_bytes()).await,
    }
}

/// The row: name, user ID, credential, record.
async fn create_account(
    connection: &mut Connection,
    row: [&[u8]; 4],
    user_id: UserId,
    head: &[u8],
) -> Result<Done, StoreError> {
    if connection.execute(sql::CREATE_ACCOUNT, &refer(&row)).await? > 0 {
        connection.execute(sql::FIRST_HEAD, &refer(&[user_id.as_bytes(), head])).await?;
        return Ok(Done::Written);
    }
    let [name, ..] = row;
    let is_taken = connection.execute(sql::NAME_TAKEN, &[&name]).await? > 0;
    Ok(Done::Conflict(if is_taken { Conflict::NameTaken } else { Conflict::UserIdTaken }))
}

/// The row: user ID, key ID, record.
async fn store_secret(connection: &mut Connection, row: [&[u8]; 3], key_id: KeyId) -> Result<Done, StoreError> {
    if connection.execute(sql::STORE_SECRET, &refer(&row)).await? > 0 {
        return Ok(Done::Written);
    }
    let is_same = connection.execute(sql::SAME_SECRET, &refer(&row)).await? > 0;
    Ok(if is_same { Done::Unchanged } else { Done::Conflict(Conflict::KeyIdTaken(key_id)) })
}

async fn delete_account(connection: &mut Connection, name: &AccountName, user_id: UserId) -> Result<Done, StoreError> {
    connection.execute(sql::DELETE_ACCOUNT, &refer(&[name.as_bytes(), user_id.as_bytes()])).await?;
    for statement in sql::DELETE_REST {
        connection.execute(statement, &refer(&[user_id.as_bytes()])).await?;
    }
    Ok(Done::Written)
}

/// An epoch that no column can hold follows none that is stored.
async fn append_head(
    connection: &mut Connection,
    user_id: UserId,
    epoch: u64,
    head: &[u8],
) -> Result<Done, StoreError> {
    let user_id = user_id.as_bytes().as_slice();
    let Ok(epoch) = i64::try_from(epoch) else { return Ok(Done::Conflict(Conflict::Head)) };
    if connection.execute(sql::ADVANCE_EPOCH, &[&user_id, &epoch]).await? == 0 {
        return Ok(Done::Conflict(Conflict::Head));
    }
    connection.execute(sql::APPEND_HEAD, &[&user_id, &epoch, &head]).await?;
    Ok(Done::Written)
}
