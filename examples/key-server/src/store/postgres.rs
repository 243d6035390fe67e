//! The contract over PostgreSQL, for as many nodes as share it: the statements of `docs/embedding.md`, one database
//! transaction for each [`Transaction`].
//!
//! Connections are not encrypted: reach the database over a Unix socket, the loopback, or a tunnel of your own.

mod apply;
mod change;
mod pool;
mod read;
mod schema;
mod sql;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use keystow::Timestamp;
use keystow::storage::{Found, Outcome, Query, Transaction};
use tokio::time::{sleep, timeout};
use tokio_postgres::error::SqlState;

use super::StoreError;
use pool::Pool;

/// The most time that a call takes, a wait for a connection and all tries included.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The same for a purge, which may have much to remove.
const PURGE_TIMEOUT: Duration = Duration::from_secs(120);

/// How often a transaction is tried that the database has ended in favour of another.
const TRIES: u32 = 5;

/// How long a counter outlives its window, so that a clock that is ahead can't open one again.
const COUNTER_GRACE: u64 = 3600 * 1000;

/// A pool of connections to one database. Clones share it.
#[derive(Clone)]
pub struct PostgresStore {
    pool: Arc<Pool>,
}

impl PostgresStore {
    /// Connects to `postgres://user:password@host:port/database`, and brings the schema up to date.
    ///
    /// # Errors
    /// The engine's; a schema of a newer version.
    pub async fn connect(location: &str) -> Result<Self, StoreError> {
        Self::open(location, None).await
    }

    /// The same, with the tables in a schema of their own, which is made if it isn't there: for a database that holds other
    /// things. A schema's name is 1 to 63 lower-case letters, digits and underscores.
    ///
    /// # Errors
    /// As [`PostgresStore::connect`]; another name.
    pub async fn connect_in_schema(location: &str, schema: &str) -> Result<Self, StoreError> {
        Self::open(location, Some(schema)).await
    }

    async fn open(location: &str, schema: Option<&str>) -> Result<Self, StoreError> {
        let pool = Arc::new(Pool::new(location, schema)?);
        let mut lease = pool.lease().await?;
        schema::migrate(lease.connection()?, schema).await?;
        lease.keep();
        Ok(Self { pool })
    }

    /// Answers a query.
    ///
    /// # Errors
    /// The engine's.
    pub async fn read(&self, query: &Query) -> Result<Found, StoreError> {
        within(CALL_TIMEOUT, async {
            let mut lease = self.pool.lease().await?;
            let found = read::read(lease.connection()?, query).await?;
            lease.keep();
            Ok(found)
        })
        .await
    }

    /// Applies a transaction, all or nothing, durably.
    ///
    /// # Errors
    /// The engine's: the outcome is unknown. The connection is dropped, and with it what was not committed.
    pub async fn apply(&self, transaction: &Transaction) -> Result<Outcome, StoreError> {
        within(CALL_TIMEOUT, async {
            let mut lease = self.pool.lease().await?;
            let mut tries = 1;
            let outcome = loop {
                match apply::apply(lease.connection()?, transaction).await {
                    Err(error) if tries < TRIES && gave_way(&error) => {
                        lease.connection()?.batch("ROLLBACK").await?;
                        sleep(Duration::from_millis(5) * tries).await;
                        tries += 1;
                    }
                    result => break result?,
                }
            };
            lease.keep();
            Ok(outcome)
        })
        .await
    }

    /// Drops attempt counters an hour after their window has ended, and expired sessions, unless another node is at it. Gives
    /// how many rows went.
    ///
    /// # Errors
    /// The engine's.
    pub async fn purge(&self, now: Timestamp) -> Result<u64, StoreError> {
        within(PURGE_TIMEOUT, async {
            let mut lease = self.pool.lease().await?;
            let purged = schema::purge(lease.connection()?, now.as_millis(), COUNTER_GRACE).await?;
            lease.keep();
            Ok(purged)
        })
        .await
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// The engine's.
    pub async fn ping(&self) -> Result<(), StoreError> {
        within(CALL_TIMEOUT, async {
            let mut lease = self.pool.lease().await?;
            lease.connection()?.batch("SELECT 1").await?;
            lease.keep();
            Ok(())
        })
        .await
    }
}

async fn within<T>(time: Duration, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(time, work).await.map_err(|_| "the database took too long")?
}

/// Whether the database has undone the transaction for another's sake: nothing was written, it may be tried again.
fn gave_way(error: &StoreError) -> bool {
    let code = error.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
    code.is_some_and(|code| [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE].contains(code))
}

/// A number as a column has it. Times, epochs and places are the clients' words, any `u64`.
fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
