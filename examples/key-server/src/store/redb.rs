//! The contract over redb: everything in one file, for one node. The engine is synchronous, so each call runs on a thread
//! that may block; a write is one transaction, synced to the disk before its outcome is known.

mod apply;
mod read;
mod tables;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keystow::Timestamp;
use keystow::storage::{Found, Outcome, Query, Transaction};
use redb::{Database, ReadableDatabase, ReadableTable, WriteTransaction};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::StoreError;
use tables::{ATTEMPTS, AttemptsRow, META, SESSIONS, SessionRow};

/// The memory that the engine keeps pages in. Its own default is 1 GiB.
const CACHE: usize = 128 << 20;

/// The version of the tables, under `schema` in [`META`].
const SCHEMA: u64 = 1;

/// How long a counter outlives its window, so that a clock that is ahead can't open one again.
const COUNTER_GRACE: Duration = Duration::from_secs(3600);

/// Rows that one transaction of a purge removes: logins don't wait for more.
const PURGE_BATCH: usize = 1000;

/// A redb file. Clones share it.
#[derive(Clone)]
pub struct RedbStore {
    database: Arc<Database>,
    /// redb has one writer at a time. Those that wait do it here, in order, and hold no thread.
    writer: Arc<Mutex<()>>,
}

impl RedbStore {
    /// Opens a file, or makes one that its owner alone can read. Another process that has it open is an error.
    ///
    /// # Errors
    /// The engine's and the file system's; a file of a newer version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        make_file(path)?;
        let database = Database::builder().set_cache_size(CACHE).create(path)?;
        let write = begin(&database)?;
        tables::create(&write)?;
        {
            let mut meta = write.open_table(META)?;
            let schema = meta.get("schema")?.map_or(SCHEMA, |schema| schema.value());
            if schema != SCHEMA {
                return Err(format!("the store has version {schema}, this program knows {SCHEMA}").into());
            }
            meta.insert("schema", SCHEMA)?;
        }
        write.commit()?;
        Ok(Self { database: Arc::new(database), writer: Arc::default() })
    }

    /// Answers a query, from one snapshot.
    ///
    /// # Errors
    /// The engine's.
    pub async fn read(&self, query: &Query) -> Result<Found, StoreError> {
        let (database, query) = (Arc::clone(&self.database), query.clone());
        spawn_blocking(move || read::read(&database.begin_read()?, &query)).await?
    }

    /// Applies a transaction, all or nothing, durably.
    ///
    /// # Errors
    /// The engine's: the outcome is unknown. After an error of the disk every call fails, until the file is opened anew.
    pub async fn apply(&self, transaction: &Transaction) -> Result<Outcome, StoreError> {
        let transaction = transaction.clone();
        self.write(move |database| apply::apply(database, &transaction)).await
    }

    /// Drops attempt counters an hour after their window has ended, and expired sessions. Gives how many rows went.
    ///
    /// # Errors
    /// The engine's.
    pub async fn purge(&self, now: Timestamp) -> Result<u64, StoreError> {
        let database = Arc::clone(&self.database);
        let expired = spawn_blocking(move || Expired::find(&database, now)).await??;
        let mut purged = 0;
        for counters in expired.counters.chunks(PURGE_BATCH).map(<[_]>::to_vec) {
            purged += self.write(move |database| purge_counters(database, &counters, now)).await?;
        }
        for sessions in expired.sessions.chunks(PURGE_BATCH).map(<[_]>::to_vec) {
            purged += self.write(move |database| purge_sessions(database, &sessions, now)).await?;
        }
        Ok(purged)
    }

    /// Runs a write when it is its turn. Once it runs it runs to its end, even if nobody waits for it any more.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(&self.writer).lock_owned().await;
        let database = Arc::clone(&self.database);
        spawn_blocking(move || {
            let result = work(&database);
            drop(turn);
            result
        })
        .await?
    }
}

/// A write transaction whose commit is on the disk when it returns. In two phases: what is written is the clients' choice,
/// and redb's checksums alone (one phase) are no match for chosen bytes.
fn begin(database: &Database) -> Result<WriteTransaction, StoreError> {
    let mut write = database.begin_write()?;
    write.set_durability(redb::Durability::Immediate)?;
    write.set_two_phase_commit(true);
    Ok(write)
}

/// Makes the file, empty and for its owner alone, if it isn't there: redb would make it readable for everybody.
fn make_file(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => File::open(folder)?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// What a purge is going to look at again before it removes it.
struct Expired {
    counters: Vec<[u8; 32]>,
    sessions: Vec<[u8; 16]>,
}

impl Expired {
    fn find(database: &Database, now: Timestamp) -> Result<Self, StoreError> {
        let read = database.begin_read()?;
        let (mut counters, mut sessions) = (Vec::new(), Vec::new());
        for row in read.open_table(ATTEMPTS)?.iter()? {
            let (counter, attempts) = row?;
            if is_over(AttemptsRow::decode(attempts.value()).window_ends, now) {
                counters.push(*counter.value());
            }
        }
        for row in read.open_table(SESSIONS)?.iter()? {
            let (session_id, session) = row?;
            if SessionRow::decode(session.value())?.expires <= now.as_millis() {
                sessions.push(*session_id.value());
            }
        }
        Ok(Self { counters, sessions })
    }
}

fn is_over(window_ends: Timestamp, now: Timestamp) -> bool {
    window_ends.after(COUNTER_GRACE) < now
}

fn purge_counters(database: &Database, counters: &[[u8; 32]], now: Timestamp) -> Result<u64, StoreError> {
    let write = begin(database)?;
    let mut purged = 0;
    {
        let mut attempts = write.open_table(ATTEMPTS)?;
        for counter in counters {
            let row = attempts.get(counter)?.map(|row| AttemptsRow::decode(row.value()));
            if row.is_some_and(|row| is_over(row.window_ends, now)) {
                attempts.remove(counter)?;
                purged += 1;
            }
        }
    }
    write.commit()?;
    Ok(purged)
}

fn purge_sessions(database: &Database, expired: &[[u8; 16]], now: Timestamp) -> Result<u64, StoreError> {
    let write = begin(database)?;
    let mut purged = 0;
    {
        let mut sessions = write.open_table(SESSIONS)?;
        for session_id in expired {
            let expires = match sessions.get(session_id)? {
                Some(row) => SessionRow::decode(row.value())?.expires,
                None => continue,
            };
            if expires <= now.as_millis() {
                sessions.remove(session_id)?;
                purged += 1;
            }
        }
    }
    write.commit()?;
    Ok(purged)
}
