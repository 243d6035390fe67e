//! Whether a comparison of secret bytes takes as long for one answer as for another: dudect's test (Reparaz, Balasch,
//! Verbauwhede: Dude, is my code constant time?, 2017) for each of them, and for a control that leaks.
//!
//! ```text
//! cargo bench --bench constant_time
//! ```
//!
//! Each sample draws one of two classes of input, prepares it, and times the operation alone. Welch's t says how far apart the
//! two classes' means are, in units of what chance explains: under 4.5 no difference was found, over that there is one. It is
//! computed over all samples and over the fastest of them (interrupts make the slowest ones), and the greatest is told.
//! `docs/testing.md` has the figures.
//!
//! The `dudect-bencher` crate does the same; it brings `clap` 2, which nobody maintains, for a page of arithmetic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

mod support;

use std::hint::black_box;
use std::time::Instant;

use keystow::storage::{AccountQuery, Found, Query};
use keystow::testing::Store;
use keystow::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use subtle::ConstantTimeEq;
use support::{ACCOUNT, NOW, PASSWORD, World};

const NO_DIFFERENCE: f64 = 4.5;

/// The first samples warm the caches, and don't count.
const WARM_UP: u32 = 2_000;

/// Mean and variance as the samples come (Welford).
#[derive(Clone, Copy, Default)]
struct Sampled {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Sampled {
    fn push(&mut self, value: f64) {
        self.count += 1.0;
        let before = value - self.mean;
        self.mean += before / self.count;
        self.squares += before * (value - self.mean);
    }

    /// The variance of the mean.
    fn variance(&self) -> f64 {
        self.squares / (self.count - 1.0) / self.count
    }
}

/// Welch's t of two classes: positive if the first takes longer.
fn welch(classes: [Sampled; 2]) -> f64 {
    let [one, other] = classes;
    let spread = (one.variance() + other.variance()).sqrt();
    if spread > 0.0 { (one.mean - other.mean) / spread } else { 0.0 }
}

/// The greatest t, over all samples and over those up to each of some percentiles.
fn greatest_t(samples: &[(usize, u32)]) -> f64 {
    let mut sorted: Vec<u32> = samples.iter().map(|(_, nanos)| *nanos).collect();
    sorted.sort_unstable();
    let limits = [50, 75, 90, 95, 99, 100].map(|percent| sorted[(sorted.len() * percent).div_ceil(100) - 1]);
    let t = |limit: u32| {
        let mut classes = [Sampled::default(); 2];
        let fast = samples.iter().filter(|(_, nanos)| *nanos <= limit);
        fast.for_each(|(class, nanos)| classes[*class].push(f64::from(*nanos)));
        welch(classes)
    };
    limits.map(t).into_iter().fold(0.0, |most: f64, t| if t.abs() > most.abs() { t } else { most })
}

/// Times an operation on inputs of two classes by turns, in a random order, and tells what came of it.
fn compare<I>(name: &str, samples: u32, mut prepare: impl FnMut(usize) -> I, mut run: impl FnMut(&mut I)) -> f64 {
    let mut coin = ChaCha20Rng::seed_from_u64(1);
    let mut took = Vec::new();
    for sample in 0..samples + WARM_UP {
        let class = usize::from(coin.next_u32() & 1 == 1);
        let mut input = black_box(prepare(class));
        let start = Instant::now();
        run(&mut input);
        let nanos = u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX);
        if sample >= WARM_UP {
            took.push((class, nanos));
        }
    }
    let t = greatest_t(&took);
    let mut middle: Vec<u32> = took.iter().map(|(_, nanos)| *nanos).collect();
    middle.sort_unstable();
    let verdict = if t.abs() < NO_DIFFERENCE { "no difference found" } else { "DIFFERENCE" };
    println!("{name:<66} {samples:>8} samples {:>8} ns  t = {t:>8.2}  {verdict}", middle[middle.len().div_ceil(2) - 1]);
    t
}

/// Bytes of two classes, which differ from what is expected in one byte, or (`EQUAL`) in none. Both are made in the same way and
/// place: a byte that was written alone, or lies elsewhere, would be read more slowly.
struct Classes<'a> {
    expected: &'a [u8],
    masks: [Vec<u8>; 2],
}

const EQUAL: Option<usize> = None;

impl<'a> Classes<'a> {
    fn new(expected: &'a [u8], differing: [Option<usize>; 2]) -> Self {
        let mask = |at| (0..expected.len()).map(|i| if Some(i) == at { 0x55 } else { 0 }).collect();
        Self { expected, masks: differing.map(mask) }
    }

    fn first_or_last(expected: &'a [u8]) -> Self {
        Self::new(expected, [Some(0), Some(expected.len() - 1)])
    }

    fn of(&self, class: usize) -> Vec<u8> {
        self.expected.iter().zip(&self.masks[class]).map(|(byte, mask)| byte ^ mask).collect()
    }

    fn array<const N: usize>(&self, class: usize) -> [u8; N] {
        self.of(class).try_into().unwrap()
    }
}

/// The control: `==` on slices stops where they differ.
fn leaky() -> f64 {
    let expected: Vec<u8> = (0..4_096u32).map(|i| i.to_le_bytes()[0]).collect();
    let classes = Classes::first_or_last(&expected);
    compare(
        "control: == of 4,096 bytes, first or last differs",
        100_000,
        |class| classes.of(class),
        |given| {
            black_box(black_box(&*given) == black_box(&expected));
        },
    )
}

/// [`Secret`]'s comparison, which the digests of vaults are compared with too: 16 times, because one takes less than the clock
/// can tell.
fn secrets(name: &str, differing: [Option<usize>; 2]) {
    let secret = |bytes: &[u8]| FleetKey::from_bytes(bytes).unwrap().to_bytes();
    let bytes: Vec<u8> = (100..132).collect();
    let (expected, classes) = (secret(&bytes), Classes::new(&bytes, differing));
    compare(
        name,
        400_000,
        |class| secret(&classes.of(class)),
        |given| {
            for _ in 0..16 {
                black_box(black_box(&*given).ct_eq(black_box(&expected)));
            }
        },
    );
}

/// A message with one byte of an authenticator wrong, the first or the last: it is refused and changes nothing. `put` gives the
/// message with these bytes in the authenticator's place.
fn refused<const N: usize>(
    name: &str,
    samples: u32,
    world: &mut World,
    (right, authenticator): (&ClientMessage, &[u8; N]),
    put: impl Fn(&mut ClientMessage, [u8; N]),
) {
    let session = world.server.sessions.get_mut(&right.session_id().unwrap()).unwrap();
    let classes = Classes::first_or_last(authenticator);
    let prepare = |class| {
        let mut message = right.clone();
        put(&mut message, classes.array(class));
        Some(message)
    };
    compare(name, samples, prepare, |message| assert!(session.receive(message.take().unwrap(), NOW).is_err()));
}

fn ke3() {
    let mut world = World::new(1);
    let mut exchange = world.client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let answer = world.server.answer(exchange.message().clone(), NOW).unwrap();
    assert!(exchange.receive(answer).unwrap().is_none());
    let right = exchange.message().clone();
    let ClientMessage::LoginFinish { ke3, .. } = &right else { panic!("no KE3") };
    let put = |message: &mut ClientMessage, bytes| {
        if let ClientMessage::LoginFinish { ke3, .. } = message {
            **ke3 = OpaqueMessage::from_bytes(bytes);
        }
    };
    refused("server: KE3's MAC, first or last byte wrong", 100_000, &mut world, (&right, ke3.as_bytes()), put);
}

fn transcript() {
    let mut world = World::new(2);
    let client = Client::new(AccountName::new("eve").unwrap(), support::IDENTITY, cheap()).unwrap();
    let mut exchange = client.register(PASSWORD, &mut world.rng).unwrap();
    let answer = world.server.answer(exchange.message().clone(), NOW).unwrap();
    assert!(exchange.receive(answer).unwrap().is_none());
    let right = exchange.message().clone();
    let ClientMessage::RegistrationUpload { transcript: bytes, .. } = &right else { panic!("no upload") };
    let put = |message: &mut ClientMessage, bytes| {
        if let ClientMessage::RegistrationUpload { transcript, .. } = message {
            *transcript = bytes;
        }
    };
    let name = "server: registration transcript, first or last byte wrong";
    refused(name, 100_000, &mut world, (&right, bytes), put);
}

fn cheap() -> ClientPolicy {
    ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).unwrap()
}

/// The tag of a frame, compared inside of `aes-gcm-siv`.
fn frame() {
    let (mut world, mut session) = World::with_session(3);
    let right = session.status().unwrap().message().clone();
    let ClientMessage::Frame(frame) = &right else { panic!("no frame") };
    let tag = *frame.sealed.last_chunk::<16>().unwrap();
    let put = |message: &mut ClientMessage, tag| {
        if let ClientMessage::Frame(frame) = message {
            *frame.sealed.last_chunk_mut().unwrap() = tag;
        }
    };
    refused("server: a frame's tag, first or last byte wrong", 200_000, &mut world, (&right, &tag), put);
}

/// The tag that holds pending secrets together.
fn pending() {
    let (mut world, mut session) = World::with_session(4);
    let exchange = session.generate(&[Kind::Bytes(1)], &mut world.rng).unwrap();
    let bytes = world.run(exchange).encode().unwrap();
    let classes = Classes::new(&bytes, [bytes.len() - 32, bytes.len() - 1].map(Some));
    compare(
        "client: the tag of pending secrets, first or last byte wrong",
        100_000,
        |class| PendingSecrets::decode(&classes.of(class)).unwrap(),
        |pending| assert!(session.store(pending).is_err()),
    );
}

/// Rule 8: what the server computes for a name with an account and for one without, the store's time left out.
fn names() {
    let mut world = World::new(5);
    let stranger = Client::new(AccountName::new("eve@example.com").unwrap(), support::IDENTITY, cheap()).unwrap();
    assert_eq!(stranger.account().as_bytes().len(), ACCOUNT.len());
    let requests = [&world.client, &stranger].map(|client| {
        let exchange = client.log_in(PASSWORD, None, &mut ChaCha20Rng::seed_from_u64(6)).unwrap();
        exchange.message().clone()
    });
    let (server, store, rng) = (&world.server.server, &mut world.server.store, &mut world.rng);
    let mut found = |message: &ClientMessage| {
        let ClientMessage::LoginRequest { account, .. } = message else { panic!("no login") };
        let query = AccountQuery::new(account.clone());
        store.read(&Query::Account(query)).unwrap()
    };
    compare(
        "server: KE2 for a name with an account, or without",
        20_000,
        |class| (server.accept(rng), Some((requests[class].clone(), found(&requests[class])))),
        |(session, input): &mut (ServerSession, Option<(ClientMessage, Found)>)| {
            let (message, found) = input.take().unwrap();
            let Step::Read(read) = session.receive(message, NOW).unwrap() else { panic!("no read") };
            drop(black_box(read.found(found).unwrap()));
        },
    );
}

fn main() {
    let control = leaky();
    assert!(control.abs() > 10.0, "the test doesn't see a leak: {control}");
    secrets("Secret, 32 bytes: equal, or the first byte differs (16 times)", [EQUAL, Some(0)]);
    secrets("Secret, 32 bytes: the first byte differs, or the last (16 times)", [Some(0), Some(31)]);
    ke3();
    transcript();
    frame();
    pending();
    names();
}
