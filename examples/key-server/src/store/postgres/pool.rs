//! A small pool of connections. Bounded; a connection on which anything went wrong, or whose user was cancelled, is closed
//! instead of given back, so that none is ever found inside of somebody else's transaction.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Error, NoTls, Row, Statement};

use crate::store::StoreError;

/// The most connections of a node. PostgreSQL takes 100 in all unless it is told otherwise.
const SIZE: usize = 16;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the system waits for a database that has fallen silent.
const SILENCE: Duration = Duration::from_secs(10);

/// What the contract needs of a session: commits are durable whatever the database's default is, and nothing that a lost
/// node has left behind holds a row for long.
const SETUP: &str = "SET statement_timeout = '8s';
SET lock_timeout = '5s';
SET idle_in_transaction_session_timeout = '15s';
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// What parameters are given as.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Parameters that are all bytes.
pub(super) fn refer<'a, const N: usize>(parameters: &'a [&'a [u8]; N]) -> [&'a (dyn ToSql + Sync); N] {
    parameters.each_ref().map(|bytes| bytes as _)
}

/// Connections to one database.
pub(super) struct Pool {
    config: Config,
    setup: String,
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// Reads where the database is; connects to nothing yet. Connections go to a node that takes writes: reads come from
    /// where writes go.
    pub(super) fn new(location: &str, schema: Option<&str>) -> Result<Self, StoreError> {
        // The engine's own error could repeat a part of the location, which may hold a password.
        let mut config: Config = location.parse().map_err(|_| "the location of the database can't be read")?;
        config.target_session_attrs(TargetSessionAttrs::ReadWrite).tcp_user_timeout(SILENCE);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("keystow");
        }
        let setup = match schema {
            Some(name) if is_plain(name) => format!("{SETUP}; SET search_path TO {name}"),
            Some(_) => return Err("a schema's name is 1 to 63 lower-case letters, digits and underscores".into()),
            None => SETUP.to_string(),
        };
        Ok(Self { config, setup, permits: Semaphore::new(SIZE), idle: Mutex::default() })
    }

    /// A connection, when one is free: an open one, or a new one.
    pub(super) async fn lease(&self) -> Result<Lease<'_>, StoreError> {
        let permit = self.permits.acquire().await?;
        let connection = match self.take_idle() {
            Some(connection) => connection,
            None => Connection::open(&self.config, &self.setup).await?,
        };
        Ok(Lease { pool: self, connection: Some(connection), _permit: permit })
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|connection| !connection.client.is_closed());
        idle.pop()
    }
}

/// Whether it needs no quotes.
fn is_plain(name: &str) -> bool {
    let is_taken = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=63).contains(&name.len())
        && name.bytes().all(is_taken)
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

/// A connection that is somebody's, until it is dropped.
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
    _permit: SemaphorePermit<'a>,
}

impl Lease<'_> {
    /// The connection.
    pub(super) fn connection(&mut self) -> Result<&mut Connection, StoreError> {
        self.connection.as_mut().ok_or_else(|| "the connection was given back".into())
    }

    /// Gives it back: it is outside of any transaction, and nothing was wrong.
    pub(super) fn keep(mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

impl Drop for Lease<'_> {
    /// What was not kept is closed at once: the database rolls back.
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.task.abort();
        }
    }
}

/// A connection with the statements that were prepared on it.
pub(super) struct Connection {
    client: Client,
    statements: HashMap<&'static str, Statement>,
    task: JoinHandle<()>,
}

impl Connection {
    async fn open(config: &Config, setup: &str) -> Result<Self, StoreError> {
        let (client, connection) = config.connect(NoTls).await?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(%error, "a connection to the database broke");
            }
        });
        client.batch_execute(setup).await?;
        Ok(Self { client, statements: HashMap::new(), task })
    }

    /// Runs statements without parameters.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await
    }

    /// Runs a statement, and gives the number of rows that it inserted, changed, removed or found.
    pub(super) async fn execute(&mut self, sql: &'static str, parameters: Parameters<'_>) -> Result<u64, Error> {
        let statement = self.prepare(sql).await?;
        self.client.execute(&statement, parameters).await
    }

    /// The rows that a statement finds.
    pub(super) async fn rows(&mut self, sql: &'static str, parameters: Parameters<'_>) -> Result<Vec<Row>, Error> {
        let statement = self.prepare(sql).await?;
        self.client.query(&statement, parameters).await
    }

    /// The first row that a statement finds.
    pub(super) async fn row(&mut self, sql: &'static str, parameters: Parameters<'_>) -> Result<Option<Row>, Error> {
        Ok(self.rows(sql, parameters).await?.into_iter().next())
    }

    async fn prepare(&mut self, sql: &'static str) -> Result<Statement, Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }
}
