//! The main job, generate and store, through both machines, beside the bare primitives that it rests on.
//!
//! "keystow" is both exchanges, every message encoded and decoded, sealed and opened; what `MemoryStore` takes is taken off.
//! "primitives" is what [`Primitives`] counts, on buffers of the sizes of an honest run. `docs/performance.md` has the
//! figures.
//!
//! A key of a batch of 256 is compared with what a wallet would do for one instead: BIP-32 (one hardened child and its
//! public key, through `bip32` over `k256`), and libsecp256k1's bare key generation. Neither seals or stores anything.
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
use std::time::Duration;

use bip32::{ChildNumber, XPrv};
use k256::elliptic_curve::sec1::ToSec1Point;
use keystow::{ClientMessage, ClientSession, Kind, NewSecret, ServerMessage};
use primitives::Primitives;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use support::{Comparison, NOW, World, timed};

/// Generate and store, whole, in a session that was opened once.
struct Whole {
    world: World,
    session: ClientSession,
    kinds: Vec<Kind>,
}

impl Whole {
    fn new(kinds: Vec<Kind>) -> Self {
        let (world, session) = World::with_session(1);
        Self { world, session, kinds }
    }

    fn run(&mut self) -> Duration {
        let Self { world, session, kinds } = self;
        world.forget();
        world.timed(|world| {
            let exchange = session.generate(kinds, &mut world.rng).unwrap();
            let pending = world.run(exchange);
            let exchange = session.store(&pending).unwrap();
            world.settle(session, exchange)
        })
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

fn generate_and_store(name: &'static str, kind: Kind, count: usize, at_most: Option<f64>) -> Comparison<'static> {
    let mut whole = Whole::new(vec![kind; count]);
    let (frames, secret) = whole.sizes();
    let mut primitives = Primitives::new(frames, &secret, count);
    let ours = move || whole.run();
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

const BATCH: u32 = 256;

/// A key of a batch: generated and stored here, beside `other` for so many keys.
fn key_of_a_batch(
    name: &'static str,
    (other, run): (&'static str, impl Fn() + 'static),
    at_most: Option<f64>,
) -> Comparison<'static> {
    let mut whole = Whole::new(vec![Kind::Secp256k1; 256]);
    let ours = move || whole.run() / BATCH;
    let theirs = move || timed(&run) / BATCH;
    Comparison { name, ours: ("keystow", Box::new(ours)), other: (other, Box::new(theirs)), at_most, calls: 200 }
}

/// The keys of one account as a wallet derives them: a hardened child of the account's node and its public key's bytes. The
/// node is there already, as a session is.
fn bip32_children() -> impl Fn() {
    let account = XPrv::new(&[7; 32]).unwrap();
    move || {
        for index in 0..BATCH {
            let child = black_box(&account).derive_child(ChildNumber::new(index, true).unwrap()).unwrap();
            black_box(child.public_key().to_bytes());
        }
    }
}

/// 32 random bytes each, checked to be a secret key; the public key's bytes.
fn libsecp256k1_keys() -> impl Fn() {
    let context = secp256k1::Secp256k1::new();
    move || {
        let mut rng = ChaCha20Rng::from_seed(black_box([7; 32]));
        for _ in 0..BATCH {
            let mut random = [0; 32];
            rng.fill_bytes(&mut random);
            let secret = secp256k1::SecretKey::from_byte_array(random).unwrap();
            black_box(secp256k1::PublicKey::from_secret_key(&context, &secret).serialize());
            black_box(secret);
        }
    }
}

fn main() {
    let mut comparisons = [
        generate_and_store("generate and store Secp256k1", Kind::Secp256k1, 1, Some(1.2)),
        generate_and_store("generate and store Ed25519", Kind::Ed25519, 1, Some(1.2)),
        generate_and_store("generate and store Bytes(32)", Kind::Bytes(32), 1, Some(1.6)),
        generate_and_store("generate and store 256 Secp256k1", Kind::Secp256k1, 256, Some(1.2)),
        generate_and_store("generate and store 256 Ed25519", Kind::Ed25519, 256, Some(1.2)),
        generate_and_store("generate and store 256 Bytes(32)", Kind::Bytes(32), 256, Some(1.6)),
        key_of_a_batch("one key of 256, beside BIP-32", ("bip32", bip32_children()), None),
        key_of_a_batch("one key of 256, beside libsecp256k1", ("libsecp256k1", libsecp256k1_keys()), Some(1.0)),
        public_key(),
    ];
    let (frames, secret) = Whole::new(vec![Kind::Secp256k1]).sizes();
    let mut primitives = Primitives::new(frames, &secret, 1);
    support::run(&mut comparisons, |criterion| primitives.bench_each(criterion));
}
