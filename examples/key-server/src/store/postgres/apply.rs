//! Transactions over PostgreSQL, at READ COMMITTED: each statement checks its own condition, and sees what was committed before
//! it began.

use keystow::storage::{Advance, AuditEntry, Change, Conflict, Guard, Outcome, Transaction};

use super::bigint;
use super::change::{Done, write};
use super::pool::{Connection, refer};
use super::sql;
use crate::store::StoreError;

/// Applies a transaction. After an error the connection is inside of it: roll back, or drop the connection.
pub(super) async fn apply(connection: &mut Connection, transaction: &Transaction) -> Result<Outcome, StoreError> {
    // The level is named, whatever the database's default is: at a higher one, whoever has waited for another is turned away.
    connection.batch("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    if let Some(advance) = &transaction.advance
        && !move_on(connection, transaction, advance).await?
    {
        connection.batch("ROLLBACK").await?;
        return Ok(Outcome::Moved);
    }
    connection.batch("SAVEPOINT nothing").await?;
    let outcome = steps(connection, transaction).await?;
    if outcome == Outcome::Applied {
        connection.batch("COMMIT").await?;
    } else {
        undo(connection, transaction, outcome).await?;
    }
    Ok(outcome)
}

/// Step 0: the session's next version, as if the outcome were `Applied`. False if it has another one. Whoever else wants to
/// move the session on waits for its row until this is over.
async fn move_on(
    connection: &mut Connection,
    transaction: &Transaction,
    advance: &Advance,
) -> Result<bool, StoreError> {
    let Advance { session_id, from, sealed, expires } = advance;
    let resolution = transaction.resolution(Outcome::Applied)?;
    let (session_id, sealed, resolution) = (session_id.as_bytes().as_slice(), sealed.as_bytes(), resolution.as_bytes());
    let expires = bigint(expires.as_millis());
    let moved = if *from == 0 {
        connection.execute(sql::OPEN_SESSION, &[&session_id, &sealed, &resolution, &expires]).await?
    } else {
        let from = bigint(*from);
        connection.execute(sql::ADVANCE_SESSION, &[&session_id, &from, &sealed, &resolution, &expires]).await?
    };
    Ok(moved > 0)
}

/// Takes back everything but step 0, and writes what belongs to an outcome that isn't `Applied`.
async fn undo(connection: &mut Connection, transaction: &Transaction, outcome: Outcome) -> Result<(), StoreError> {
    let refused = matches!(outcome, Outcome::Conflict(conflict) if conflict != Conflict::Head);
    let entry = transaction.otherwise.as_ref().filter(|_| refused);
    if entry.is_none() && transaction.advance.is_none() {
        return Ok(connection.batch("ROLLBACK").await?);
    }
    connection.batch("ROLLBACK TO nothing").await?;
    if let Some(entry) = entry {
        log(connection, entry).await?;
    }
    if let Some(Advance { session_id, .. }) = &transaction.advance {
        let resolution = transaction.resolution(outcome)?;
        connection.execute(sql::RESOLVE_SESSION, &refer(&[session_id.as_bytes(), resolution.as_bytes()])).await?;
    }
    Ok(connection.batch("COMMIT").await?)
}

/// Steps 1 to 3.
async fn steps(connection: &mut Connection, transaction: &Transaction) -> Result<Outcome, StoreError> {
    let Transaction { guards, changes, audit, otherwise: _, advance: _ } = transaction;
    if let Some(entry) = audit
        && !log(connection, entry).await?
    {
        return Ok(Outcome::Repeated);
    }
    for guard in guards {
        if !holds(connection, guard).await? {
            return Ok(Outcome::Conflict(match guard {
                Guard::Credential { .. } => Conflict::Credential,
                Guard::Head { .. } => Conflict::Head,
            }));
        }
    }
    let (mut secrets, mut inserted) = (false, false);
    for change in changes {
        let is_secret = matches!(change, Change::StoreSecret { .. });
        match write(connection, change).await? {
            Done::Conflict(conflict) => return Ok(Outcome::Conflict(conflict)),
            Done::Written => inserted |= is_secret,
            Done::Unchanged => {}
        }
        secrets |= is_secret;
    }
    Ok(if secrets && !inserted { Outcome::Repeated } else { Outcome::Applied })
}

/// Writes an entry. False if one is stored under its key.
async fn log(connection: &mut Connection, entry: &AuditEntry) -> Result<bool, StoreError> {
    let (key, user_id, at) = (entry.key(), entry.user_id(), bigint(entry.at().as_millis()));
    let about_secrets = entry.action().is_about_secrets();
    let key_ids: Vec<&[u8]> = entry.key_ids().iter().map(|key_id| key_id.as_bytes().as_slice()).collect();
    let record = entry.to_record()?;
    let (key, user_id, record) = (key.as_slice(), user_id.as_bytes().as_slice(), record.as_bytes());
    Ok(connection.execute(sql::LOG, &[&key, &user_id, &at, &about_secrets, &key_ids, &record]).await? > 0)
}

async fn holds(connection: &mut Connection, guard: &Guard) -> Result<bool, StoreError> {
    let found = match guard {
        Guard::Credential { user_id, credential } => {
            connection.execute(sql::GUARD_CREDENTIAL, &refer(&[user_id.as_bytes(), credential.as_bytes()])).await?
        }
        Guard::Head { user_id, epoch } => {
            let Ok(epoch) = i64::try_from(*epoch) else { return Ok(false) };
            connection.execute(sql::GUARD_HEAD, &[&user_id.as_bytes().as_slice(), &epoch]).await?
        }
    };
    Ok(found > 0)
}
