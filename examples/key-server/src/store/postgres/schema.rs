//! The schema's versions, and the purge: what is done now and then, by one node at a time.

use crate::store::StoreError;

use super::bigint;
use super::pool::Connection;
use super::sql;

/// The migrations; a schema's version is the number of those that were applied. Append only: what has run somewhere stays.
const MIGRATIONS: [&str; 1] = [include_str!("../schema.sql")];

/// Keys of advisory locks, of this program's choice ("keystow" in ASCII, and a number).
const MIGRATION_LOCK: i64 = 0x6b65_7973_746f_7701;
const PURGE_LOCK: i64 = 0x6b65_7973_746f_7702;

/// Applies what is missing. Nodes that start at the same time wait for each other.
pub(super) async fn migrate(connection: &mut Connection, schema: Option<&str>) -> Result<(), StoreError> {
    // A large table may take longer than a request may.
    connection.batch("BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0").await?;
    connection.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await?;
    if let Some(name) = schema {
        connection.batch(&format!("CREATE SCHEMA IF NOT EXISTS {name}")).await?;
    }
    connection.batch("CREATE TABLE IF NOT EXISTS schema_version (version bigint PRIMARY KEY)").await?;
    let row = connection.row("SELECT coalesce(max(version), 0) FROM schema_version", &[]).await?;
    let applied: i64 = row.ok_or("the schema has no version")?.try_get(0)?;
    if usize::try_from(applied)? > MIGRATIONS.len() {
        return Err(format!("the schema has version {applied}, this program knows {}", MIGRATIONS.len()).into());
    }
    for (version, migration) in (1i64..).zip(MIGRATIONS).skip(usize::try_from(applied)?) {
        connection.batch(migration).await?;
        connection.execute("INSERT INTO schema_version (version) VALUES ($1)", &[&version]).await?;
    }
    Ok(connection.batch("COMMIT").await?)
}

/// Removes counters `grace` milliseconds after their window has ended, and expired sessions.
pub(super) async fn purge(connection: &mut Connection, now: u64, grace: u64) -> Result<u64, StoreError> {
    let mut purged = 0;
    for (statement, until) in [(sql::PURGE_ATTEMPTS, now.saturating_sub(grace)), (sql::PURGE_SESSIONS, now)] {
        connection.batch("BEGIN; SET LOCAL statement_timeout = '55s'").await?;
        let row = connection.row("SELECT pg_try_advisory_xact_lock($1)", &[&PURGE_LOCK]).await?;
        if row.is_some_and(|row| row.try_get(0).unwrap_or(false)) {
            purged += connection.execute(statement, &[&bigint(until)]).await?;
        }
        connection.batch("COMMIT").await?;
    }
    Ok(purged)
}
