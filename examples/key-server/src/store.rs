//! The storage contract over two engines: redb, embedded, for one node; PostgreSQL for as many as share it.

pub mod postgres;
pub mod redb;

use keystow::storage::{Found, Outcome, Query, Transaction};

/// A store, whichever it is. Cheap to clone.
#[derive(Clone)]
pub enum Store {
    /// Everything in one file.
    Redb(self::redb::RedbStore),
    /// A database that nodes share.
    Postgres(self::postgres::PostgresStore),
}

/// How a store fails. The outcome of a transaction is unknown then: drop the step and send nothing.
pub type StoreError = Box<dyn std::error::Error + Send + Sync>;

impl Store {
    /// Opens `postgres://...` as PostgreSQL (and brings its schema up to date), anything else as the path of a redb file.
    ///
    /// # Errors
    /// The engine's.
    pub async fn open(location: &str) -> Result<Self, StoreError> {
        if location.starts_with("postgres://") || location.starts_with("postgresql://") {
            return Ok(Self::Postgres(self::postgres::PostgresStore::connect(location).await?));
        }
        Ok(Self::Redb(self::redb::RedbStore::open(location)?))
    }

    /// Whether several nodes can share it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Answers a query.
    ///
    /// # Errors
    /// The engine's.
    pub async fn read(&self, query: &Query) -> Result<Found, StoreError> {
        match self {
            Self::Redb(store) => store.read(query).await,
            Self::Postgres(store) => store.read(query).await,
        }
    }

    /// Applies a transaction, all or nothing, durably.
    ///
    /// # Errors
    /// The engine's: the outcome is unknown.
    pub async fn apply(&self, transaction: &Transaction) -> Result<Outcome, StoreError> {
        match self {
            Self::Redb(store) => store.apply(transaction).await,
            Self::Postgres(store) => store.apply(transaction).await,
        }
    }

    /// Drops what has expired by `now`: attempt counters, and a fleet's sessions. Gives how many rows went.
    ///
    /// # Errors
    /// The engine's.
    pub async fn purge(&self, now: keystow::Timestamp) -> Result<u64, StoreError> {
        match self {
            Self::Redb(store) => store.purge(now).await,
            Self::Postgres(store) => store.purge(now).await,
        }
    }

    /// Whether the engine answers.
    ///
    /// # Errors
    /// The engine's.
    pub async fn ping(&self) -> Result<(), StoreError> {
        match self {
            Self::Redb(_) => Ok(()),
            Self::Postgres(store) => store.ping().await,
        }
    }
}
