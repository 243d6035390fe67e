//! The main job, generate and store, through both machines, beside the bare primitives that it rests on.
//!
//! "keystow" is both exchanges, every message encoded and decoded, sealed and opened, with `MemoryStore` behind.
//! "primitives" is what [`Primitives`] counts, on buffers of the sizes of an honest run. `docs/performance.md` has the
//! figures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

#[path = "support/primitives.rs"]
mod primitives;
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use k256::elliptic_curve::sec1::ToSec1Point;
use keystow::{ClientMessage, ClientSession, Kind, NewSecret, ServerMessage};
use primitives::Primitives;
use support::{Comparison, NOW, PASSWORD, World};

/// Generate and store, whole, in a session that was opened once.
struct Whole {
    world: World,
    session: ClientSession,
    kinds: Vec<Kind>,
}

impl Whole {
    fn new(kinds: Vec<Kind>) -> Self {
        let mut world = World::new(1);
        let exchange = world.client.log_in(PASSWORD, None, &mut world.rng).unwrap();
        let session = world.run(exchange);
        Self { world, session, kinds }
    }

    fn run(&mut self) -> Vec<NewSecret> {
        let exchange = self.session.generate(&self.kinds, &mut self.world.rng).unwrap();
        let pending = self.world.run(exchange);
        let exchange = self.session.store(&pending).unwrap();
        self.world.settle(&mut self.session, exchange)
    }

    /// The lengths of what is sealed in the four frames of a run, and a secret of it.
    fn sizes(&mut self) -> ([usize; 4], NewSecret) {
        let mut generate = self.session.generate(&self.kinds, &mut self.world.rng).unwrap();
        let (answer, [a, b]) = self.cross(generate.message());
        let pending = generate.receive(answer).unwrap().unwrap().unwrap();
        let mut store = self.session.store(&pending).unwrap();
        let (answer, [c, d]) = self.cross(store.message());
        let stored = store.receive(answer).unwrap().unwrap().unwrap();
        ([a, b, c, d], self.session.settle(stored).unwrap()[0])
    }

    fn cross(&mut self, message: &ClientMessage) -> (ServerMessage, [usize; 2]) {
        let answer = self.world.server.handle(&message.encode().unwrap(), NOW).unwrap();
        let answer = ServerMessage::decode(&answer).unwrap();
        match (message, &answer) {
            (ClientMessage::Frame(request), ServerMessage::Frame(reply)) => {
                let lengths = [&request.sealed, &reply.sealed].map(|sealed| sealed.len() - primitives::TAG);
                (answer, lengths)
            }
            _ => panic!("not in frames"),
        }
    }
}

/// How long `f` takes, with the dropping of what it gives.
fn timed<T>(f: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    drop(black_box(f()));
    start.elapsed()
}

fn generate_and_store(name: &'static str, kind: Kind, count: usize, at_most: Option<f64>) -> Comparison<'static> {
    let mut whole = Whole::new(vec![kind; count]);
    let (frames, secret) = whole.sizes();
    let mut primitives = Primitives::new(frames, &secret, count);
    let ours = move || {
        whole.world.forget();
        timed(|| whole.run())
    };
    let other = move || timed(|| primitives.run());
    let calls = if count == 1 { 5_000 } else { 50 };
    Comparison { name, ours: ("keystow", Box::new(ours)), other: ("primitives", Box::new(other)), at_most, calls }
}

/// From a private key to the 33 bytes of the compressed point, on either side.
fn public_key() -> Comparison<'static> {
    let ours = k256::SecretKey::from_slice(&[7; 32]).unwrap();
    let context = secp256k1::Secp256k1::new();
    let theirs = secp256k1::SecretKey::from_byte_array([7; 32]).unwrap();
    let libsecp256k1 = move || secp256k1::PublicKey::from_secret_key(&context, black_box(&theirs)).serialize();
    let k256 = move || black_box(&ours).public_key().to_sec1_point(true);
    assert_eq!(k256().as_bytes(), libsecp256k1());
    Comparison {
        name: "public key",
        ours: ("k256", Box::new(move || timed(&k256))),
        other: ("libsecp256k1", Box::new(move || timed(&libsecp256k1))),
        at_most: Some(1.0),
        calls: 5_000,
    }
}

fn main() {
    let mut comparisons = [
        generate_and_store("generate and store Secp256k1", Kind::Secp256k1, 1, Some(1.35)),
        generate_and_store("generate and store Ed25519", Kind::Ed25519, 1, None),
        generate_and_store("generate and store Bytes(32)", Kind::Bytes(32), 1, None),
        generate_and_store("generate and store 256 Secp256k1", Kind::Secp256k1, 256, None),
        public_key(),
    ];
    let (frames, secret) = Whole::new(vec![Kind::Secp256k1]).sizes();
    let mut primitives = Primitives::new(frames, &secret, 1);
    support::run(&mut comparisons, |criterion| primitives.bench_each(criterion));
}
