//! Allocations of each operation, counted on either side, without those of the store: more than the bound fails. The figures
//! are printed: `cargo test --test allocations -- --nocapture`.
//!
//! `allocation-counter` is this program's allocator: it counts by thread.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

mod support;

use allocation_counter::measure;
use keystow::storage::{Found, Outcome, Query, Transaction};
use keystow::testing::{MemoryStore, Store};
use keystow::*;
use support::{NOW, PASSWORD, World, client, world_with};

/// A store whose own allocations are counted apart.
struct Apart {
    store: MemoryStore,
    count: u64,
}

impl Store for Apart {
    type Error = <MemoryStore as Store>::Error;

    fn read(&mut self, query: &Query) -> Result<Found, Self::Error> {
        let mut found = None;
        self.count += measure(|| found = Some(self.store.read(query))).count_total;
        found.unwrap()
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, Self::Error> {
        let mut outcome = None;
        self.count += measure(|| outcome = Some(self.store.apply(transaction))).count_total;
        outcome.unwrap()
    }
}

/// Allocations on either side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    client: u64,
    server: u64,
}

/// An exchange on the client's side: its allocations are counted in the same call as what it gives is made.
fn counted<T>(count: &mut u64, run: impl FnOnce() -> T) -> T {
    let mut output = None;
    *count += measure(|| output = Some(run())).count_total;
    output.unwrap()
}

/// Runs an exchange from its start to its end, from bytes to bytes on either side.
fn run<O: client::Operation>(
    world: &mut World<Apart>,
    start: impl FnOnce(&mut World<Apart>) -> Exchange<O>,
) -> (O::Output, Count) {
    let mut count = Count::default();
    let mut exchange = counted(&mut count.client, || start(world));
    loop {
        let request = counted(&mut count.client, || exchange.message().encode().unwrap());
        let stored = world.server.store.count;
        // The slot of a new session in the driver's map is not ours: the first message of a login counts with it.
        let answer = counted(&mut count.server, || world.server.handle(&request, NOW).unwrap());
        count.server -= world.server.store.count - stored;
        let outcome = counted(&mut count.client, || exchange.receive(ServerMessage::decode(&answer).unwrap()).unwrap());
        if let Some(outcome) = outcome {
            return (outcome.unwrap(), count);
        }
    }
}

/// Beside the number of secrets that there are.
fn check(name: &str, secrets: usize, count: Count, most: Count) {
    println!(
        "{name}, {secrets}: client {}, server {}; at most {}, {}",
        count.client, count.server, most.client, most.server
    );
    assert!(count.client <= most.client && count.server <= most.server, "{name}, {secrets}: {count:?}, not {most:?}");
    assert!(count.client > 0 && count.server > 0);
}

const fn most(client: u64, server: u64) -> Count {
    Count { client, server }
}

#[test]
fn an_exchange_makes_at_most_so_many_allocations() {
    let store = Apart { store: MemoryStore::new(), count: 0 };
    let mut world = world_with(1, store, ServerPolicy::default());
    let ada = client("ada");
    let (_, count) = run(&mut world, |world| ada.register(PASSWORD, &mut world.rng).unwrap());
    check("register", 0, count, most(45, 39));
    let (mut session, count) = run(&mut world, |world| ada.log_in(PASSWORD, None, &mut world.rng).unwrap());
    check("log in", 0, count, most(49, 53));
    for (secrets, generate, import, store, retrieve, list, delete) in [
        (1, most(19, 7), most(10, 7), most(15, 19), most(12, 14), most(16, 11), most(13, 21)),
        (100, most(437, 7), most(213, 7), most(219, 218), most(322, 131), most(313, 110), most(14, 331)),
    ] {
        let kinds = vec![Kind::Secp256k1; secrets];
        let (pending, count) = run(&mut world, |world| session.generate(&kinds, &mut world.rng).unwrap());
        check("generate", secrets, count, generate);
        let (stored, count) = run(&mut world, |_| session.store(&pending).unwrap());
        check("store", secrets, count, store);
        session.settle(stored).unwrap();
        let key_ids: Vec<_> = pending.key_ids().collect();
        let plain = (0..secrets).map(|_| PlainSecret::bytes([7; 32]).unwrap()).collect();
        let (_, count) = run(&mut world, |world| session.import(plain, &mut world.rng).unwrap());
        check("import", secrets, count, import);
        let (_, count) = run(&mut world, |_| session.retrieve(&key_ids).unwrap());
        check("retrieve", secrets, count, retrieve);
        let (listed, count) = run(&mut world, |_| session.list().unwrap());
        check("list", secrets, count, list);
        session.settle(listed).unwrap();
        let (deleted, count) = run(&mut world, |_| session.delete(&key_ids).unwrap());
        check("delete", secrets, count, delete);
        session.settle(deleted).unwrap();
    }
    let pin = session.pin();
    let (_, count) = run(&mut world, |_| session.status().unwrap());
    check("status", 0, count, most(3, 4));
    let (verified, count) = run(&mut world, |_| session.verify_pin(pin).unwrap());
    check("verify_pin", 0, count, most(8, 9));
    session.settle(verified).unwrap();
    let (page, count) = run(&mut world, |_| session.audit(AuditFilter::default(), None, 10).unwrap());
    check("audit", page.entries.len(), count, most(10, 13));
    let (changed, count) = run(&mut world, |world| session.change_password(PASSWORD, &mut world.rng).unwrap());
    check("change_password", 0, count, most(29, 25));
    session.settle(changed).unwrap();
    let (_, count) = run(&mut world, |_| session.log_out().unwrap());
    check("log_out", 0, count, most(3, 4));
    let (mut session, _) = run(&mut world, |world| ada.log_in(PASSWORD, None, &mut world.rng).unwrap());
    let (_, count) = run(&mut world, |_| session.delete_account().unwrap());
    check("delete_account", 0, count, most(13, 23));
}

#[test]
fn what_is_counted_is_what_is_allocated() {
    let mut count = 0;
    let kept = counted(&mut count, || (vec![0u8; 10], Box::new(1), Vec::<u8>::new()));
    assert_eq!(count, 2);
    drop(kept);
    let mut store = Apart { store: MemoryStore::new(), count: 0 };
    let mut outside = 0;
    let query = Query::Account(storage::AccountQuery::new(AccountName::new("ada").unwrap()));
    store.store.audit.clear();
    counted(&mut outside, || store.read(&query).unwrap());
    assert_eq!(outside, store.count, "what the store allocates is counted outside too, and taken off");
}
