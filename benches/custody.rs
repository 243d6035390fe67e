//! Custody beside the bare primitives: store, retrieve and delete a small secret, import a large one, list 10,000.
//!
//! What is counted on the other side, on buffers of the real sizes, is every cryptographic call that `src/` makes, and nothing
//! else: each frame sealed and opened (AES-256-GCM-SIV), and
//!
//! | | AES-256-GCM-SIV | HKDF-Expand | HMAC-SHA-256 | SHA-256 |
//! | --- | --- | --- | --- | --- |
//! | store | record opened; vault head sealed | record key | tag of what is pending; element | key ID on either side; nonce and pin of the head |
//! | retrieve | record opened | record key | | key ID on either side |
//! | delete | vault head sealed | | element | key ID, of the record that the server reads; nonce and pin |
//! | list, each secret | record opened | record key | element | key ID on either side |
//! | import | record sealed and opened; head sealed | record key, twice | binder; tag, twice; element | key ID three times; nonce and pin |
//!
//! The store's own time is taken off. Keys that serve many records are scheduled before, as they are at login. What an
//! import's client draws isn't counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

#[path = "support/records.rs"]
mod records;
mod support;

use std::hint::black_box;
use std::time::Duration;

use aes_gcm_siv::{AeadInOut, Aes256GcmSiv, KeyInit, Nonce, Tag};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use keystow::{ClientSession, KeyId, Kind, PendingSecrets, PlainSecret};
use records::Records;
use sha2::{Digest, Sha256};
use support::{Comparison, World, timed};

/// The sizes of the frames of a store of one `Bytes(32)`, inside; then of a retrieval, of a deletion, of an import, and of a
/// page of a list with so many secrets.
const STORE: [usize; 2] = [281, 19];
const RETRIEVAL: [usize; 2] = [18, 141];
const DELETION: [usize; 2] = [158, 18];
const IMPORT: [usize; 4] = [6, 33, STORE[0] - 32 + LARGE + 2, 19];
const fn page(secrets: usize) -> [usize; 2] {
    [20, 22 + secrets * 139]
}
const HEADER: usize = 89;
const LISTED: usize = 10_000;
const LARGE: usize = 65_536;
const KEY: [u8; 32] = [7; 32];

/// An open session.
struct Custody {
    world: World,
    session: ClientSession,
}

impl Custody {
    fn new() -> Self {
        let (world, session) = World::with_session(1);
        Self { world, session }
    }

    fn pending(&mut self, kinds: &[Kind]) -> PendingSecrets {
        let exchange = self.session.generate(kinds, &mut self.world.rng).unwrap();
        self.world.run(exchange)
    }

    fn store(&mut self) -> Duration {
        self.world.forget();
        let pending = self.pending(&[Kind::Bytes(32)]);
        let Self { world, session } = self;
        world.timed(|world| {
            let exchange = session.store(&pending).unwrap();
            world.settle(session, exchange)
        })
    }

    fn retrieve(&mut self) -> Duration {
        let key_id = self.stored();
        let Self { world, session } = self;
        world.timed(|world| world.run(session.retrieve(&[key_id]).unwrap()))
    }

    /// One secret, and nothing else, in the store.
    fn stored(&mut self) -> KeyId {
        self.world.forget();
        let pending = self.pending(&[Kind::Bytes(32)]);
        let exchange = self.session.store(&pending).unwrap();
        self.world.settle(&mut self.session, exchange)[0].key_id
    }

    /// Whole: the random bytes, the sealing, the storing.
    fn import(&mut self) -> Duration {
        self.world.forget();
        let secret = PlainSecret::bytes(vec![7; LARGE]).unwrap();
        let Self { world, session } = self;
        world.timed(|world| {
            let exchange = session.import(vec![secret], &mut world.rng).unwrap();
            let pending = world.run(exchange);
            let exchange = session.store(&pending).unwrap();
            world.settle(session, exchange)
        })
    }

    fn delete(&mut self) -> Duration {
        let key_id = self.stored();
        let Self { world, session } = self;
        world.timed(|world| {
            let exchange = session.delete(&[key_id]).unwrap();
            world.settle(session, exchange)
        })
    }

    /// Stores what is to be listed.
    fn fill(&mut self) {
        for kinds in [Kind::Bytes(32); LISTED].chunks(250) {
            let pending = self.pending(kinds);
            let exchange = self.session.store(&pending).unwrap();
            self.world.settle(&mut self.session, exchange);
        }
    }

    /// All pages, each record opened, all of them compared with the vault's head.
    fn list(&mut self) -> Duration {
        self.world.forget_history();
        let Self { world, session } = self;
        world.timed(|world| {
            let exchange = session.list().unwrap();
            assert_eq!(world.settle(session, exchange).len(), LISTED);
        })
    }
}

fn seal(aad: &[u8], buffer: &mut [u8]) -> Tag {
    let cipher = Aes256GcmSiv::new(black_box(&KEY).into());
    cipher.encrypt_inout_detached(&Nonce::from([0; 12]), black_box(aad), black_box(buffer).into()).unwrap()
}

fn open(aad: &[u8], buffer: &mut [u8], tag: &Tag) {
    let cipher = Aes256GcmSiv::new(black_box(&KEY).into());
    cipher.decrypt_inout_detached(&Nonce::from([0; 12]), black_box(aad), black_box(buffer).into(), tag).unwrap();
}

/// The keys that serve many records.
struct Keys {
    prk: Hkdf<Sha256>,
    mac: Hmac<Sha256>,
}

impl Keys {
    fn new() -> Self {
        Self { prk: Hkdf::from_prk(&KEY).unwrap(), mac: Hmac::new_from_slice(&KEY).unwrap() }
    }

    fn record_key(&self) {
        let mut key = [0; 32];
        black_box(&self.prk).expand(black_box(&[0; HEADER + 20]), &mut key).unwrap();
        black_box(key);
    }

    fn mac(&self, message: &[u8]) {
        let mut mac = black_box(&self.mac).clone();
        mac.update(black_box(message));
        black_box(mac.finalize().into_bytes());
    }

    /// The tag of one pending secret.
    fn pending_tag(&self) {
        self.mac(&[0; 40 + 16]);
    }

    /// The vault's next head, for a change of one secret.
    fn head(&self) {
        self.mac(&[0; 16]);
        black_box(Sha256::digest(black_box([0; 45])));
        black_box(seal(&[0; 25], &mut [7; 104]));
        black_box(Sha256::digest(black_box([0; 155])));
    }
}

fn key_id() {
    black_box(Sha256::digest(black_box([0; HEADER + 17])));
}

/// A record of a small secret, sealed: made before what is timed, as the generation is.
struct Sealed {
    keys: Keys,
    record: Vec<u8>,
    tag: Tag,
}

impl Sealed {
    fn new() -> Self {
        let mut record = vec![7; 32];
        let tag = seal(&[0; HEADER], &mut record);
        Self { keys: Keys::new(), record, tag }
    }

    fn open(&mut self) {
        self.keys.record_key();
        open(&[0; HEADER], &mut self.record, &self.tag);
    }
}

/// The primitives of a store.
fn store() -> Duration {
    let (mut sealed, mut frames) = (Sealed::new(), STORE.map(|len| vec![7; len]));
    timed(|| {
        sealed.open();
        sealed.keys.pending_tag();
        sealed.keys.head();
        (0..2).for_each(|_| key_id());
        cross(&mut frames);
    })
}

/// The primitives of a retrieval.
fn retrieval() -> Duration {
    let (mut sealed, mut frames) = (Sealed::new(), RETRIEVAL.map(|len| vec![7; len]));
    timed(|| {
        sealed.open();
        (0..2).for_each(|_| key_id());
        cross(&mut frames);
    })
}

/// Each frame sealed and opened.
fn cross(frames: &mut [Vec<u8>]) {
    for frame in frames {
        let tag = seal(&[0; 10], frame);
        open(&[0; 10], frame, &tag);
    }
}

/// The primitives of a deletion.
fn deletion() -> Duration {
    let (keys, mut frames) = (Keys::new(), DELETION.map(|len| vec![7; len]));
    timed(|| {
        keys.head();
        key_id();
        cross(&mut frames);
    })
}

/// The primitives of a listing: 39 full pages, and the rest.
fn listing() -> impl FnMut() -> Duration {
    let records = Records::new(std::iter::repeat_n(vec![7; HEADER], LISTED));
    let mut pages = vec![256; LISTED.div_ceil(256)];
    pages[LISTED.div_ceil(256) - 1] = LISTED - (LISTED.div_ceil(256) - 1) * 256;
    let mut frames: Vec<_> = pages.into_iter().flat_map(page).map(|len| vec![7; len]).collect();
    move || {
        timed(|| {
            records.name();
            cross(&mut frames);
            records.verify();
        })
    }
}

/// The primitives of an import, with the reopening that `store` does or without.
fn large(reopen: bool) -> Duration {
    let (keys, mut frames) = (Keys::new(), IMPORT.map(|len| vec![7; len]));
    let mut secret = vec![7; LARGE];
    timed(|| {
        keys.mac(&secret);
        keys.record_key();
        let tag = seal(&[0; HEADER], &mut secret);
        if reopen {
            keys.record_key();
            open(&[0; HEADER], &mut secret, &tag);
        }
        (0..2).for_each(|_| keys.pending_tag());
        keys.head();
        (0..3).for_each(|_| key_id());
        cross(&mut frames);
    })
}

fn import(name: &'static str, reopen: bool) -> Comparison<'static> {
    let mut custody = Custody::new();
    Comparison {
        name,
        ours: ("keystow", Box::new(move || custody.import())),
        other: ("primitives", Box::new(move || large(reopen))),
        at_most: Some(1.2),
        calls: 500,
    }
}

fn small(
    name: &'static str,
    run: fn(&mut Custody) -> Duration,
    primitives: fn() -> Duration,
    at_most: Option<f64>,
) -> Comparison<'static> {
    let mut custody = Custody::new();
    Comparison {
        name,
        ours: ("keystow", Box::new(move || run(&mut custody))),
        other: ("primitives", Box::new(primitives)),
        at_most,
        calls: 5_000,
    }
}

fn list() -> Comparison<'static> {
    let mut custody = Custody::new();
    custody.fill();
    Comparison {
        name: "list 10,000 Bytes(32)",
        ours: ("keystow", Box::new(move || custody.list())),
        other: ("primitives", Box::new(listing())),
        at_most: None,
        calls: 50,
    }
}

fn main() {
    let mut comparisons = [
        small("store Bytes(32)", Custody::store, store, Some(2.5)),
        small("retrieve Bytes(32)", Custody::retrieve, retrieval, Some(2.5)),
        small("delete Bytes(32)", Custody::delete, deletion, None),
        list(),
        import("import 64 KiB, reopening counted", true),
        import("import 64 KiB, reopening not counted", false),
    ];
    support::run(&mut comparisons, |_| ());
}
