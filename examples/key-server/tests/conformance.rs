//! Both engines against the crate's conformance suite, each check on an empty store; and what the suite can't see: writers
//! that race, on several nodes, and a database that breaks down.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

#[path = "support/postgres.rs"]
mod postgres;

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use key_server::store::Store;
use key_server::store::postgres::PostgresStore;
use key_server::store::redb::RedbStore;
use keystow::storage::{
    AccountQuery, Advance, AuditEntry, Change, Conflict, Found, Guard, Outcome, Query, Record, Transaction,
};
use keystow::{AccountName, CounterId, CredentialId, KeyId, SessionId, Timestamp, UserId};
use postgres::Postgres;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const RACERS: u8 = 8;
const ROUNDS: u8 = 6;
const PATIENCE: Duration = Duration::from_secs(30);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A store as the suite calls it: from outside of the runtime.
struct Blocking<'a> {
    runtime: &'a Runtime,
    store: Store,
    _folder: Option<TempDir>,
}

impl keystow::testing::Store for Blocking<'_> {
    type Error = String;

    fn read(&mut self, query: &Query) -> Result<Found, String> {
        self.runtime.block_on(self.store.read(query)).map_err(|error| error.to_string())
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, String> {
        self.runtime.block_on(self.store.apply(transaction)).map_err(|error| error.to_string())
    }
}

fn redb() -> (RedbStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (RedbStore::open(folder.path().join("store.redb")).unwrap(), folder)
}

#[test]
fn redb_conforms() {
    let runtime = runtime();
    let empty = || {
        let (store, folder) = redb();
        Blocking { runtime: &runtime, store: Store::Redb(store), _folder: Some(folder) }
    };
    assert_eq!(keystow::testing::conformance(empty).unwrap(), 28);
}

#[test]
fn postgres_conforms() {
    let Some(postgres) = Postgres::start() else { return };
    let (runtime, mut checks) = (runtime(), 0);
    let empty = || {
        checks += 1;
        let schema = format!("check_{checks}");
        let store = runtime.block_on(PostgresStore::connect_in_schema(&postgres.url(), &schema)).unwrap();
        Blocking { runtime: &runtime, store: Store::Postgres(store), _folder: None }
    };
    assert_eq!(keystow::testing::conformance(empty).unwrap(), 28);
}

// What is stored: the engine doesn't look into it, so entries serve as records too.

/// An entry as the crate encodes it, read back: it has no constructor.
fn entry(user: u8, number: u64, granted: bool) -> AuditEntry {
    let version = Transaction::default().resolution(Outcome::Applied).unwrap().as_bytes()[0];
    let number = u8::try_from(number).unwrap();
    assert!(number < 0x80, "a number of one byte");
    let (user_id, session_id, request) = ([user; 16], [number; 16], [0; 16]);
    // Sequence 1; time, action `Store`, granted, no key IDs.
    let rest = [number, 2, u8::from(granted), 0];
    let bytes = [&[version][..], &user_id, &session_id, &[1], &request, &rest].concat();
    AuditEntry::from_bytes(&bytes).unwrap()
}

fn record(number: u8) -> Record {
    entry(255, u64::from(number), true).to_record().unwrap()
}

fn user(number: u8) -> UserId {
    UserId::from_bytes([number; 16])
}

fn credential(number: u8) -> CredentialId {
    CredentialId::from_bytes([number; 32])
}

fn key_id(number: u8) -> KeyId {
    KeyId::from_bytes([number; 16])
}

fn name(number: u8) -> AccountName {
    AccountName::new(format!("person {number}")).unwrap()
}

/// These changes, with an entry of their own.
fn changes(user: u8, number: u8, changes: Vec<Change>) -> Transaction {
    let audit = Some(entry(user, u64::from(number), true));
    let otherwise = Some(entry(user, u64::from(number), false));
    Transaction { changes, audit, otherwise, ..Transaction::default() }
}

fn create(account: u8, owner: u8, number: u8) -> Transaction {
    let (name, user_id, credential) = (name(account), user(owner), credential(0));
    let change = Change::CreateAccount { name, user_id, credential, record: record(number), head: record(0) };
    changes(owner, number, vec![change])
}

fn append(owner: u8, epoch: u64, number: u8) -> Change {
    Change::AppendHead { user_id: user(owner), epoch, head: record(number) }
}

fn store_secret(owner: u8, key: u8, number: u8) -> Change {
    Change::StoreSecret { user_id: user(owner), key_id: key_id(key), record: record(number) }
}

fn charge(counter: u8, window: u64, limit: u32) -> Transaction {
    let (counter, window_ends) = (CounterId::from_bytes([counter; 32]), Timestamp::from_millis(window));
    let change = Change::ChargeAttempt { counter, window_ends, limit };
    Transaction { changes: vec![change], ..Transaction::default() }
}

fn advance(session: u8, from: u64, number: u8) -> Transaction {
    let (session_id, expires) = (SessionId::from_bytes([session; 16]), Timestamp::from_millis(1));
    let advance = Some(Advance { session_id, from, sealed: record(number), expires });
    Transaction { advance, ..Transaction::default() }
}

/// Nodes, and the runtime that they share.
struct World {
    runtime: Runtime,
    nodes: Vec<Store>,
}

impl World {
    fn apply(&self, transaction: &Transaction) -> Outcome {
        self.runtime.block_on(self.nodes[0].apply(transaction)).unwrap()
    }

    /// Applies one transaction on each of [`RACERS`] threads at once, on the nodes in turn. Gives the outcomes.
    fn race(&self, transaction: impl Fn(u8) -> Transaction + Sync) -> Vec<Outcome> {
        let start = Barrier::new(usize::from(RACERS));
        let run = |racer: u8| {
            let (transaction, node) = (transaction(racer), &self.nodes[usize::from(racer) % self.nodes.len()]);
            start.wait();
            self.runtime.block_on(node.apply(&transaction)).unwrap()
        };
        thread::scope(|scope| {
            let run = &run;
            let racers: Vec<_> = (0..RACERS).map(|racer| scope.spawn(move || run(racer))).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        })
    }

    /// As many of the racers win, and the others get this outcome.
    fn expect(&self, winners: usize, others: Outcome, transaction: impl Fn(u8) -> Transaction + Sync) {
        let outcomes = self.race(transaction);
        let won = outcomes.iter().filter(|outcome| **outcome == Outcome::Applied).count();
        let lost = outcomes.iter().filter(|outcome| **outcome == others).count();
        assert_eq!((won, lost), (winners, usize::from(RACERS) - winners), "{outcomes:?}");
    }
}

/// Everything that two writers can want at once. One wins, whoever it is; a limit is kept to the last.
fn races(world: &World) {
    for round in 0..ROUNDS {
        let (owner, conflict) = (round, Outcome::Conflict);
        world.expect(1, conflict(Conflict::NameTaken), |racer| create(round, 100 + round * RACERS + racer, 1));
        world.expect(1, Outcome::Repeated, |_| create(50 + round, owner, 1));
        world.expect(1, conflict(Conflict::UserIdTaken), |racer| create(60 + 8 * round + racer, 200 + round, racer));
        world.expect(1, conflict(Conflict::Head), |racer| changes(owner, 10 + racer, vec![append(owner, 1, racer)]));
        assert_eq!(world.apply(&changes(owner, 20, vec![append(owner, 2, 0)])), Outcome::Applied);
        let taken = conflict(Conflict::KeyIdTaken(key_id(1)));
        world.expect(1, taken, |racer| changes(owner, 30 + racer, vec![store_secret(owner, 1, racer)]));
        world.expect(1, Outcome::Repeated, |racer| changes(owner, 40 + racer, vec![store_secret(owner, 2, 9)]));
        world.expect(3, conflict(Conflict::AttemptLimit), |_| charge(round, 1000, 3));
        world.expect(1, conflict(Conflict::AttemptLimit), |_| charge(round, 1000, 4));
        world.expect(1, conflict(Conflict::AttemptLimit), |_| charge(round, 2000, 1));
        world.expect(1, conflict(Conflict::Credential), |racer| replace_credential(owner, racer));
        world.expect(1, Outcome::Moved, |racer| advance(round, 0, racer));
        world.expect(1, Outcome::Moved, |racer| advance(round, 1, racer));
        climb(world, owner);
    }
}

fn replace_credential(owner: u8, racer: u8) -> Transaction {
    let (user_id, credential) = (user(owner), credential(racer + 1));
    let change = Change::ReplaceCredential { name: name(50 + owner), user_id, credential, record: record(racer) };
    let guards = vec![Guard::Credential { user_id, credential: self::credential(0) }];
    Transaction { guards, ..changes(owner, 50 + racer, vec![change]) }
}

/// Devices that change a vault at once: each gets its turn, and no head is skipped or written twice.
fn climb(world: &World, owner: u8) {
    let climbed = world.race(|_| Transaction::default());
    assert_eq!(climbed, [Outcome::Applied; RACERS as usize]);
    let start = Barrier::new(usize::from(RACERS));
    let climber = |racer: u8| {
        start.wait();
        (3..100).find(|epoch| {
            let secrets = (0..4).map(|number| store_secret(owner, 10 + 4 * racer + number, racer));
            let all = secrets.chain([append(owner, *epoch, racer)]).collect();
            let node = &world.nodes[usize::from(racer) % world.nodes.len()];
            let outcome = world.runtime.block_on(node.apply(&changes(owner, 60 + racer, all))).unwrap();
            assert!([Outcome::Applied, Outcome::Conflict(Conflict::Head)].contains(&outcome), "{outcome:?}");
            outcome == Outcome::Applied
        })
    };
    let mut epochs: Vec<u64> = thread::scope(|scope| {
        let climber = &climber;
        let climbers: Vec<_> = (0..RACERS).map(|racer| scope.spawn(move || climber(racer))).collect();
        climbers.into_iter().map(|climber| climber.join().unwrap().unwrap()).collect()
    });
    epochs.sort_unstable();
    assert_eq!(epochs, (3..3 + u64::from(RACERS)).collect::<Vec<_>>());
}

/// A counter goes an hour after its window, a session when it has expired.
fn purges(world: &World) {
    let hour = 3600 * 1000;
    let purge = |now| world.runtime.block_on(world.nodes[0].purge(Timestamp::from_millis(now))).unwrap();
    assert_eq!(world.apply(&charge(1, 1000, 1)), Outcome::Applied);
    assert_eq!(world.apply(&advance(1, 0, 1)), Outcome::Applied);
    assert_eq!(purge(0), 0);
    assert_eq!(purge(hour + 1000), 1, "the session");
    assert_eq!(world.apply(&charge(1, 1000, 1)), Outcome::Conflict(Conflict::AttemptLimit));
    assert_eq!(purge(hour + 1001), 1, "the counter");
    assert_eq!(purge(u64::MAX), 0);
    assert_eq!(world.apply(&charge(1, 1000, 1)), Outcome::Applied);
    assert_eq!(world.apply(&advance(1, 0, 1)), Outcome::Applied);
}

/// Calls that nobody waits for any more: each was applied or not, and the store goes on.
fn cancelled(world: &World) {
    for number in 0..60u8 {
        let transaction = create(number, number, 1);
        let time = Duration::from_micros(u64::from(number) * 40);
        let apply = async { tokio::time::timeout(time, world.nodes[0].apply(&transaction)).await };
        let first = world.runtime.block_on(apply);
        let again = world.apply(&transaction);
        match first {
            Ok(outcome) => assert_eq!((outcome.unwrap(), again), (Outcome::Applied, Outcome::Repeated)),
            Err(_) => assert!([Outcome::Applied, Outcome::Repeated].contains(&again), "{again:?}"),
        }
    }
    let query = Query::Account(AccountQuery::new(name(1)));
    for _ in 0..100 {
        world.runtime.block_on(world.nodes[0].read(&query)).unwrap();
    }
}

#[test]
fn redb_decides_races_keeps_its_file_and_purges() {
    let (store, folder) = redb();
    let world = World { runtime: runtime(), nodes: vec![Store::Redb(store)] };
    races(&world);
    let path = folder.path().join("store.redb");
    assert!(RedbStore::open(&path).is_err(), "two programs have it open");
    let made = create(250, 250, 1);
    assert_eq!(world.apply(&made), Outcome::Applied);
    drop(world);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let world = World { runtime: runtime(), nodes: vec![Store::Redb(RedbStore::open(&path).unwrap())] };
    assert_eq!(world.apply(&made), Outcome::Repeated);
}

#[test]
fn redb_purges_and_survives_cancelled_calls() {
    for check in [purges, cancelled] {
        let (store, _folder) = redb();
        check(&World { runtime: runtime(), nodes: vec![Store::Redb(store)] });
    }
}

/// Two nodes, each with connections of its own.
fn nodes(postgres: &Postgres, schema: &str) -> World {
    let runtime = runtime();
    let node = |_| {
        let store = runtime.block_on(PostgresStore::connect_in_schema(&postgres.url(), schema)).unwrap();
        Store::Postgres(store)
    };
    let nodes = (0..2).map(node).collect();
    World { runtime, nodes }
}

#[test]
fn postgres_decides_races_between_nodes() {
    let Some(postgres) = Postgres::start() else { return };
    races(&nodes(&postgres, "races"));
    purges(&nodes(&postgres, "purges"));
    cancelled(&nodes(&postgres, "cancelled"));
    // Crosswise, until two have blocked each other: the loser is tried again, and nobody sees an error.
    let (world, deadline) = (nodes(&postgres, "deadlocks"), Instant::now() + PATIENCE);
    for round in 0..120 {
        world.expect(1, Outcome::Repeated, |racer| {
            let mut secrets = vec![store_secret(round, 1, 1), store_secret(round, 2, 1)];
            secrets.rotate_left(usize::from(racer % 2));
            changes(round, racer, secrets)
        });
        if postgres.log().contains("deadlock detected") {
            return;
        }
        assert!(Instant::now() < deadline, "no deadlock came about");
    }
    panic!("no deadlock came about");
}

#[test]
fn postgres_is_migrated_once_and_never_back() {
    let Some(postgres) = Postgres::start() else { return };
    let (runtime, url) = (runtime(), postgres.url());
    thread::scope(|scope| {
        let connect = || runtime.block_on(PostgresStore::connect_in_schema(&url, "together")).map(drop).unwrap();
        let nodes: Vec<_> = (0..4).map(|_| scope.spawn(connect)).collect();
        nodes.into_iter().for_each(|node| node.join().unwrap());
    });
    assert_eq!(postgres.psql("SELECT string_agg(version::text, ',') FROM together.schema_version"), "1");
    postgres.psql("INSERT INTO together.schema_version VALUES (2)");
    let newer = runtime.block_on(PostgresStore::connect_in_schema(&url, "together")).map(drop);
    assert_eq!(newer.unwrap_err().to_string(), "the schema has version 2, this program knows 1");
    let bad = runtime.block_on(PostgresStore::connect_in_schema(&url, "a; DROP TABLE b")).map(drop);
    assert!(bad.unwrap_err().to_string().starts_with("a schema's name"));
    let secret = runtime.block_on(PostgresStore::connect("postgres://user:hunter2@127.0.0.1:x/y")).map(drop);
    assert!(!format!("{:?}", secret.unwrap_err()).contains("hunter2"));
}

#[test]
fn postgres_comes_back_with_what_it_had() {
    let Some(mut postgres) = Postgres::start() else { return };
    // The database's own default doesn't make commits less durable.
    postgres.psql("ALTER DATABASE postgres SET synchronous_commit = off");
    postgres.psql("ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'");
    let runtime = runtime();
    let store = runtime.block_on(PostgresStore::connect(&postgres.url())).unwrap();
    let world = World { runtime, nodes: vec![Store::Postgres(store)] };
    world.expect(1, Outcome::Repeated, |_| create(1, 1, 1));
    postgres.crash();
    let down = world.runtime.block_on(world.nodes[0].apply(&create(2, 2, 1)));
    assert!(down.is_err(), "the outcome is unknown");
    assert!(world.runtime.block_on(world.nodes[0].ping()).is_err());
    postgres.restart();
    let deadline = Instant::now() + PATIENCE;
    while world.runtime.block_on(world.nodes[0].ping()).is_err() {
        assert!(Instant::now() < deadline, "the pool doesn't connect again");
    }
    assert_eq!(world.apply(&create(1, 1, 1)), Outcome::Repeated);
    assert_eq!(world.apply(&create(2, 2, 1)), Outcome::Applied);
}
