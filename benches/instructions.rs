//! Instructions of five core paths, counted by callgrind (`gungraun`), and held to their baselines: more than 5 % above fails.
//!
//! A count repeats exactly on one machine, whatever else runs on it. It depends on the compiler and on what valgrind makes of
//! the processor (it knows AES and AVX2, and no SHA instructions), so the baselines are those of the compiler named below; with another,
//! compare two commits. `docs/performance.md` has the commands, and the profiles that callgrind writes beside the counts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::integer_division_remainder_used,
    missing_docs,
    unused_qualifications,
    reason = "the macros of gungraun write such items"
)]

mod support;

use std::hint::black_box;

use gungraun::prelude::*;
use gungraun::{Callgrind, EventKind};
use keystow::{ClientSession, KeyId, Kind, PendingSecrets, ServerMessage};
use support::{NOW, PASSWORD, World};

/// Instructions, by rustc 1.95.0 and glibc 2.36 on x86-64 with AES, PCLMULQDQ and AVX2. Whoever changes a path on purpose writes
/// its new count here, with the commit that changes it.
const GENERATE_AND_STORE: u64 = 767_051;
const LOGIN_SERVER: u64 = 2_646_631;
const RETRIEVE: u64 = 501_016;
const LIST_1_000: u64 = 44_174_153;
const GENERATE_AND_STORE_256: u64 = 128_396_103;

/// What a count may be: 5 % more than its baseline.
fn within(baseline: u64) -> LibraryBenchmarkConfig {
    let most = baseline + baseline / 20;
    let callgrind = Callgrind::default().hard_limits([(EventKind::Ir, most)]).to_owned();
    LibraryBenchmarkConfig::default().tool(callgrind).to_owned()
}

/// An open session that was used already, so that what is made once in a process is made.
struct Warm {
    world: World,
    session: ClientSession,
    key_id: KeyId,
}

fn warm() -> Warm {
    let (world, session) = World::with_session(1);
    let mut warm = Warm { world, session, key_id: KeyId::from_bytes([0; 16]) };
    warm.key_id = warm.generate_and_store(Kind::Secp256k1);
    warm
}

impl Warm {
    fn pending(&mut self, kinds: &[Kind]) -> PendingSecrets {
        let exchange = self.session.generate(kinds, &mut self.world.rng).unwrap();
        self.world.run(exchange)
    }

    fn store(&mut self, pending: &PendingSecrets) -> KeyId {
        let exchange = self.session.store(pending).unwrap();
        self.world.settle(&mut self.session, exchange)[0].key_id
    }

    fn generate_and_store(&mut self, kind: Kind) -> KeyId {
        let pending = self.pending(&[kind]);
        self.store(&pending)
    }
}

#[library_benchmark(config = within(GENERATE_AND_STORE))]
#[bench::secp256k1(warm())]
fn generate_and_store(mut warm: Warm) -> Warm {
    warm.generate_and_store(Kind::Secp256k1);
    warm
}

#[library_benchmark(config = within(GENERATE_AND_STORE_256))]
#[bench::secp256k1(warm())]
fn generate_and_store_256(mut warm: Warm) -> Warm {
    let pending = warm.pending(&[Kind::Secp256k1; 256]);
    warm.store(&pending);
    warm
}

/// A server, and the messages of a login that an equal one has answered: it will answer them too.
fn login() -> (World, [Vec<u8>; 2]) {
    let (mut before, world) = (warm().world, warm().world);
    let mut exchange = before.client.log_in(PASSWORD, None, &mut before.rng).unwrap();
    let request = exchange.message().encode().unwrap();
    let answer = before.server.handle(&request, NOW).unwrap();
    exchange.receive(ServerMessage::decode(&answer).unwrap()).unwrap();
    let finish = exchange.message().encode().unwrap();
    (world, [request, finish])
}

// The server's part: KE1 to KE2, KE3 to the sealed Welcome.
#[library_benchmark(config = within(LOGIN_SERVER))]
#[bench::one(login())]
fn login_server(before: (World, [Vec<u8>; 2])) -> World {
    let (mut world, messages) = before;
    for message in messages {
        black_box(world.server.handle(&message, NOW).unwrap());
    }
    world
}

#[library_benchmark(config = within(RETRIEVE))]
#[bench::secp256k1(warm())]
fn retrieve(mut warm: Warm) -> Warm {
    let exchange = warm.session.retrieve(&[warm.key_id]).unwrap();
    black_box(warm.world.run(exchange));
    warm
}

fn thousand() -> Warm {
    let mut warm = warm();
    for _ in 0..4 {
        let pending = warm.pending(&[Kind::Bytes(32); 250]);
        warm.store(&pending);
    }
    warm
}

#[library_benchmark(config = within(LIST_1_000))]
#[bench::bytes_32(thousand())]
fn list(mut warm: Warm) -> Warm {
    let exchange = warm.session.list().unwrap();
    assert_eq!(warm.world.settle(&mut warm.session, exchange).len(), 1_001);
    warm
}

library_benchmark_group!(
    name = paths,
    benchmarks = [generate_and_store, generate_and_store_256, login_server, retrieve, list]
);

main!(library_benchmark_groups = paths);
