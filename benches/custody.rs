//! Custody beside the bare primitives: retrieve and store of a small secret, its deletion, import of a large one, a listing of
//! 10,000.
//!
//! What is counted on the other side, on buffers of the real sizes: for retrieve and store of 32 bytes, HKDF (two record
//! keys), AES-256-GCM-SIV (the record opened twice, four frames sealed and opened, the vault's next head sealed),
//! HMAC-SHA-256 (its element) and SHA-256 (the head's nonce and pin); for the import of 64 KiB, one HMAC-SHA-256 over it
//! (the binder), and AES-256-GCM-SIV over it: sealed, opened again before it is sent, framed, unframed. For a deletion, the
//! frames, the vault's next head, and the key ID that the server makes of the record that it reads; for the listing, that of
//! each record, the frames, and on the client what `vault.rs` counts for each: record key, opening, key ID, element.
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
use std::time::{Duration, Instant};

use aes_gcm_siv::{AeadInOut, Aes256GcmSiv, KeyInit, Nonce, Tag};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use keystow::{ClientSession, Kind, PendingSecrets, PlainSecret};
use records::Records;
use sha2::{Digest, Sha256};
use support::{Comparison, PASSWORD, World};

/// The sizes of the frames of a store and a retrieval of one `Bytes(32)`, inside.
const FRAMES: [usize; 4] = [281, 19, 18, 141];
/// The same of a deletion of one secret, and of a page of a list with so many secrets.
const DELETION: [usize; 2] = [158, 18];
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
        let mut world = World::new(1);
        let exchange = world.client.log_in(PASSWORD, None, &mut world.rng).unwrap();
        let session = world.run(exchange);
        Self { world, session }
    }

    fn pending(&mut self, kinds: &[Kind]) -> PendingSecrets {
        let exchange = self.session.generate(kinds, &mut self.world.rng).unwrap();
        self.world.run(exchange)
    }

    fn store_and_retrieve(&mut self) -> Duration {
        self.world.forget();
        let pending = self.pending(&[Kind::Bytes(32)]);
        timed(|| {
            let exchange = self.session.store(&pending).unwrap();
            let stored = self.world.settle(&mut self.session, exchange);
            self.world.run(self.session.retrieve(&[stored[0].key_id]).unwrap())
        })
    }

    /// Whole: the random bytes, the sealing, the storing.
    fn import(&mut self) -> Duration {
        self.world.forget();
        let secret = PlainSecret::bytes(vec![7; LARGE]).unwrap();
        timed(|| {
            let exchange = self.session.import(vec![secret], &mut self.world.rng).unwrap();
            let pending = self.world.run(exchange);
            let exchange = self.session.store(&pending).unwrap();
            self.world.settle(&mut self.session, exchange)
        })
    }

    fn delete(&mut self) -> Duration {
        self.world.forget();
        let pending = self.pending(&[Kind::Bytes(32)]);
        let exchange = self.session.store(&pending).unwrap();
        let key_id = self.world.settle(&mut self.session, exchange)[0].key_id;
        timed(|| {
            let exchange = self.session.delete(&[key_id]).unwrap();
            self.world.settle(&mut self.session, exchange);
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
        timed(|| {
            let exchange = self.session.list().unwrap();
            assert_eq!(self.world.settle(&mut self.session, exchange).len(), LISTED);
        })
    }
}

fn timed<T>(f: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    drop(black_box(f()));
    start.elapsed()
}

fn seal(aad: &[u8], buffer: &mut [u8]) -> Tag {
    let cipher = Aes256GcmSiv::new(black_box(&KEY).into());
    cipher.encrypt_inout_detached(&Nonce::from([0; 12]), black_box(aad), black_box(buffer).into()).unwrap()
}

fn open(aad: &[u8], buffer: &mut [u8], tag: &Tag) {
    let cipher = Aes256GcmSiv::new(black_box(&KEY).into());
    cipher.decrypt_inout_detached(&Nonce::from([0; 12]), black_box(aad), black_box(buffer).into(), tag).unwrap();
}

fn record_key(prk: &Hkdf<Sha256>) {
    let mut key = [0; 32];
    prk.expand(black_box(&[0; HEADER + 20]), &mut key).unwrap();
    black_box(key);
}

/// The vault's next head, for a change of one secret.
fn head(element: Hmac<Sha256>) {
    black_box(element.chain_update(black_box(&[0; 16])).finalize().into_bytes());
    black_box(Sha256::digest(black_box([0; 45])));
    black_box(seal(&[0; 25], &mut [7; 104]));
    black_box(Sha256::digest(black_box([0; 155])));
}

/// The primitives of a store and a retrieval. The sealing is outside of the timed part, as the generation is, and so is the
/// scheduling of the keys that serve many records, which is done at login.
fn small() -> Duration {
    let mut frames = FRAMES.map(|len| vec![7; len]);
    let mut record = vec![7; 32];
    let tag = seal(&[0; HEADER], &mut record);
    let sealed = record.clone();
    let (prk, element) = (Hkdf::from_prk(&KEY).unwrap(), Hmac::new_from_slice(&KEY).unwrap());
    timed(|| {
        for _ in ["store", "retrieve"] {
            record_key(&prk);
            record.copy_from_slice(&sealed);
            open(&[0; HEADER], &mut record, &tag);
        }
        head(element);
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
    let mut frames = DELETION.map(|len| vec![7; len]);
    let element = Hmac::new_from_slice(&KEY).unwrap();
    timed(|| {
        head(element);
        black_box(Sha256::digest(black_box([0; HEADER + 17])));
        cross(&mut frames);
    })
}

/// The primitives of a listing: 39 full pages, and the rest.
fn listing() -> impl FnMut() -> Duration {
    let records = Records::new(std::iter::repeat_n(vec![7; HEADER], LISTED), true);
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

/// The primitives of an import: once and again over the secret, with the reopening that `store` does or without.
fn large(reopen: bool) -> Duration {
    let mut secret = vec![7; LARGE];
    timed(|| {
        let binder = Hmac::<Sha256>::new_from_slice(black_box(&KEY)).unwrap().chain_update(black_box(&secret));
        black_box(binder.finalize().into_bytes());
        let tag = seal(&[0; HEADER], &mut secret);
        if reopen {
            open(&[0; HEADER], &mut secret, &tag);
        }
        let tag = seal(&[0; 10], &mut secret);
        open(&[0; 10], &mut secret, &tag);
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

fn delete() -> Comparison<'static> {
    let mut custody = Custody::new();
    Comparison {
        name: "delete Bytes(32)",
        ours: ("keystow", Box::new(move || custody.delete())),
        other: ("primitives", Box::new(deletion)),
        at_most: None,
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
    let mut custody = Custody::new();
    let store_and_retrieve = Comparison {
        name: "store and retrieve Bytes(32)",
        ours: ("keystow", Box::new(move || custody.store_and_retrieve())),
        other: ("primitives", Box::new(small)),
        at_most: Some(2.5),
        calls: 5_000,
    };
    let mut comparisons = [
        store_and_retrieve,
        delete(),
        list(),
        import("import 64 KiB, reopening counted", true),
        import("import 64 KiB, reopening not counted", false),
    ];
    support::run(&mut comparisons, |_| ());
}
