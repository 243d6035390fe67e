//! How the cost of an operation grows with what there is: 10, 1,000 and 100,000 accounts, secrets and open sessions; and what
//! each of them takes, in a store and in memory.
//!
//! ```text
//! cargo bench --bench scale              # builds 100,000 of each first: some minutes
//! cargo bench --bench scale -- --quick   # 10, 100 and 1,000
//! ```
//!
//! What is measured are the machines. The store's reads and writes, and the embedder's look-up of a session, are timed by
//! themselves, taken off, and printed on a line of their own. The three sizes are called by turns, and a ratio is the median
//! over the turns. What is touched is drawn in a random order that is always the same: 100,000 sessions are in no cache. Of the
//! people whose secrets are retrieved, at most 1,000 are drawn from, since the client's part is measured too.
//!
//! The memory of sessions is measured in processes of their own, which do nothing else: what they add to its resident memory
//! is what they take, with all that the allocator adds. Once as a login leaves them, which keeps the vault's newest head for a
//! repeat, and once after a small request.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

#[path = "scale/sessions.rs"]
mod sessions;
#[path = "support/shards.rs"]
mod shards;
mod support;
#[path = "scale/world.rs"]
mod world;

use std::time::Duration;

use criterion::Criterion;
use keystow::testing::MemoryStore;
use keystow::{ClientSession, KeyId, Kind};
use rand_core::Rng;
use sessions::{Ready, Sessions, verdict};
use support::{asked_for, is_measured, median};
use world::{Took, World, person, register, shuffled};

const SIZES: [usize; 3] = [10, 1_000, 100_000];
const QUICK_SIZES: [usize; 3] = [10, 100, 1_000];

/// What the issue allows: the time at one size beside that at a smaller one.
const FLAT: f64 = 1.2;

// --- accounts, and secrets spread over them -------------------------------------------------------------

/// So many registered accounts, with a secret each. Up to 1,000 of them are logged in and made theirs; the others' records
/// are zeros of the same length, which nobody reads.
struct People {
    world: World,
    count: usize,
    sample: Vec<(ClientSession, KeyId)>,
}

impl People {
    fn new(count: usize) -> Self {
        let mut world = World::new(1);
        (0..count).for_each(|number| register(&mut world, &person(number)));
        let mut order = shuffled(&mut world.rng, count);
        let others = order.split_off(count.min(1_000));
        let mut sample = Vec::new();
        for number in order {
            let mut session = world.log_in(&person(number));
            let key_id = world.store(&mut session, &[Kind::Bytes(32)])[0];
            world.store.forget(number);
            sample.push((session, key_id));
        }
        let (session, key_id) = &sample[0];
        let len = world.store.of(session.user_id()).secrets[&(session.user_id(), *key_id)].len();
        for number in others {
            let mut key_id = [0; 16];
            world.rng.fill_bytes(&mut key_id);
            let MemoryStore { accounts, secrets, .. } = world.store.at(number);
            let row = accounts.values().next().unwrap();
            secrets.insert((row.user_id, KeyId::from_bytes(key_id)), vec![0; len]);
            world.store.forget(number);
        }
        Self { world, count, sample }
    }

    /// The server's part of a login of anyone: three messages, the request for the vault's heads being the last.
    fn log_in(&mut self) -> Took {
        let Self { world, count, .. } = self;
        let number = world.below(*count);
        world.of_server();
        let session = world.log_in(&person(number));
        let took = world.of_server();
        world.sessions.remove(&session.session_id());
        world.store.forget(number);
        took
    }

    /// The server's part of the registration of one more: two messages.
    fn register(&mut self) -> Took {
        let Self { world, count, .. } = self;
        world.of_server();
        register(world, &person(*count));
        let took = world.of_server();
        world.store.pop();
        took
    }

    /// Both sides' part of the retrieval of a secret of one in the sample.
    fn retrieve(&mut self) -> Took {
        let Self { world, sample, .. } = self;
        let number = world.below(sample.len());
        let (session, key_id) = &mut sample[number];
        let took = world.of_both(|world| {
            let exchange = session.retrieve(&[*key_id]).unwrap();
            world.run(exchange);
        });
        world.store.of(session.user_id()).audit.clear();
        took
    }
}

// --- secrets of one person ------------------------------------------------------------------------------

/// A vault of so many `Bytes(32)`.
struct Vault {
    world: World,
    session: ClientSession,
    key_ids: Vec<KeyId>,
}

impl Vault {
    fn new(count: usize) -> Self {
        let mut world = World::new(2);
        register(&mut world, &person(0));
        let mut session = world.log_in(&person(0));
        let mut key_ids = Vec::new();
        for kinds in vec![Kind::Bytes(32); count].chunks(250) {
            key_ids.extend(world.store(&mut session, kinds));
        }
        world.store.forget(0);
        Self { world, session, key_ids }
    }

    /// From the pending secret to the settled answer, and back to the vault as it was: from the key ID to the settled answer
    /// of its deletion.
    fn store_and_delete(&mut self) -> [Took; 2] {
        let Self { world, session, .. } = self;
        let exchange = session.generate(&[Kind::Bytes(32)], &mut world.rng).unwrap();
        let pending = world.run(exchange);
        let key_id = pending.key_ids().next().unwrap();
        let store = world.of_both(|world| {
            let exchange = session.store(&pending).unwrap();
            world.settle(session, exchange);
        });
        let delete = world.of_both(|world| {
            let exchange = session.delete(&[key_id]).unwrap();
            world.settle(session, exchange);
        });
        world.store.at(0).secrets.remove(&(session.user_id(), key_id));
        world.store.forget(0);
        [store, delete]
    }

    fn store(&mut self) -> Took {
        let [store, _] = self.store_and_delete();
        store
    }

    fn delete(&mut self) -> Took {
        let [_, delete] = self.store_and_delete();
        delete
    }

    fn retrieve(&mut self) -> Took {
        let Self { world, session, key_ids } = self;
        let key_id = key_ids[world.below(key_ids.len())];
        let took = world.of_both(|world| {
            let exchange = session.retrieve(&[key_id]).unwrap();
            world.run(exchange);
        });
        world.store.forget(0);
        took
    }

    /// A verified listing, page by page to its end; by the secret.
    fn list(&mut self) -> Took {
        let Self { world, session, key_ids } = self;
        let took = world.of_both(|world| {
            let exchange = session.list().unwrap();
            assert_eq!(world.settle(session, exchange).len(), key_ids.len());
        });
        world.store.forget(0);
        let count = u32::try_from(key_ids.len()).unwrap();
        Took { machines: took.machines / count, beside: took.beside / count }
    }
}

// --- the rows -------------------------------------------------------------------------------------------

/// All that there is of one size.
struct Scale {
    count: usize,
    people: People,
    vault: Vault,
    sessions: Sessions,
}

impl Scale {
    fn new((count, sessions): (usize, Sessions)) -> Self {
        Self { count, people: People::new(count), vault: Vault::new(count), sessions }
    }

    /// What an account and a secret take in a store, indexes and padding left out.
    fn print_bytes(&self) {
        let each =
            |bytes: usize| f64::from(u32::try_from(bytes).unwrap()) / f64::from(u32::try_from(self.count).unwrap());
        let [accounts, spread] = self.people.world.store.bytes().map(each);
        let [_, secrets] = self.vault.world.store.bytes().map(each);
        let count = self.count;
        println!("{count} accounts: {accounts:.1} bytes each in a store, their {count} secrets {spread:.1} bytes each");
        println!("{count} Bytes(32) of one person: {secrets:.1} bytes each in a store");
    }
}

/// An operation at the three sizes, and how often it is called at each.
struct Row {
    name: &'static str,
    run: fn(&mut Scale) -> Took,
    calls: usize,
}

const ROWS: [Row; 10] = [
    Row { name: "login, server; accounts", run: |scale| scale.people.log_in(), calls: 2_000 },
    Row { name: "registration, server; accounts", run: |scale| scale.people.register(), calls: 2_000 },
    Row { name: "retrieve one; secrets, 1,000 people of all", run: |scale| scale.people.retrieve(), calls: 5_000 },
    Row { name: "store one; secrets of one person", run: |scale| scale.vault.store(), calls: 5_000 },
    Row { name: "delete one; secrets of one person", run: |scale| scale.vault.delete(), calls: 5_000 },
    Row { name: "retrieve one; secrets of one person", run: |scale| scale.vault.retrieve(), calls: 5_000 },
    Row { name: "list, by the secret; secrets of one person", run: |scale| scale.vault.list(), calls: 50 },
    Row {
        name: "retrieve one, server; any session",
        run: |scale| scale.sessions.request(Ready::Retrieval),
        calls: 50_000,
    },
    Row { name: "status, server; any session", run: |scale| scale.sessions.request(Ready::Status), calls: 50_000 },
    Row { name: "status, server; one session", run: |scale| scale.sessions.request(Ready::SameSession), calls: 50_000 },
];

impl Row {
    fn bench(&self, criterion: &mut Criterion, scales: &mut [Scale; 3]) {
        let mut group = criterion.benchmark_group(self.name);
        group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
        for scale in scales {
            group.bench_function(scale.count.to_string(), |bencher| {
                bencher.iter_custom(|n| (0..n).map(|_| (self.run)(scale).machines).sum());
            });
        }
        group.finish();
    }

    /// Calls all three by turns, and prints the medians, and the medians of the ratios of a turn.
    fn print(&self, scales: &mut [Scale; 3]) {
        let turns: Vec<_> = (0..self.calls).map(|_| scales.each_mut().map(self.run)).collect();
        let of_size =
            |i: usize, part: fn(&Took) -> Duration| median(turns.iter().map(|turn| part(&turn[i]).as_secs_f64() * 1e6));
        let ratio_to =
            |i: usize| median(turns.iter().map(|turn| turn[2].machines.as_secs_f64() / turn[i].machines.as_secs_f64()));
        let [small, middle] = [0, 1].map(ratio_to);
        let verdict = verdict(small.max(middle) <= FLAT);
        let [a, b, c] = [0, 1, 2].map(|i| of_size(i, |took| took.machines));
        println!(
            "{}: {a:.2}, {b:.2}, {c:.2} us, ratio {small:.3} and {middle:.3}, target {FLAT:.2}: {verdict}",
            self.name
        );
        let [a, b, c] = [0, 1, 2].map(|i| of_size(i, |took| took.beside));
        println!("  store and look-up of the session, taken off: {a:.2}, {b:.2}, {c:.2} us");
    }
}

/// Prints what the sessions of the largest size take, in a process that has done nothing else.
fn weigh(used: bool) {
    if let (_, Some(resident)) = Sessions::new(SIZES[2], used) {
        resident.print();
    }
}

const WEIGH: [(&str, &str, bool); 2] =
    [("--weigh=logged-in", "as a login leaves them", false), ("--weigh=used", "after a small request", true)];

fn main() {
    if let Some((_, _, used)) = WEIGH.iter().find(|(argument, ..)| asked_for(argument)) {
        return weigh(*used);
    }
    let sizes = if is_measured() && !asked_for("--quick") { SIZES } else { QUICK_SIZES };
    let mut scales = sizes.map(|count| Scale::new((count, Sessions::new(count, false).0)));

    let mut criterion = Criterion::default().configure_from_args();
    ROWS.iter().for_each(|row| row.bench(&mut criterion, &mut scales));
    criterion.final_summary();
    if is_measured() {
        ROWS.iter().for_each(|row| row.print(&mut scales));
        scales.iter().for_each(Scale::print_bytes);
    }
    if sizes == SIZES {
        for (argument, state, _) in WEIGH {
            println!("{} open sessions {state}, by resident memory:", SIZES[2]);
            let weighed = std::process::Command::new(std::env::current_exe().unwrap()).arg(argument).status();
            assert!(weighed.unwrap().success());
        }
    }
}
