//! The bare primitives of generate and store, with the same crates and calls as `src/`.
//!
//! Every cryptographic call that `src/` makes for a run of n secrets:
//!
//! | | per run | per secret |
//! | --- | --- | --- |
//! | ChaCha20 draws | client: 32 bytes; server: a generator seeded, 32 bytes | client: 32 bytes (binder nonce) |
//! | HKDF-Extract | 1 (generation PRK) | |
//! | HKDF-Expand | 1 (server's draw) | 3 (secret; record key to seal, and again to reopen) |
//! | HMAC-SHA-256 | 2 (tag of what is pending: made, checked) | 2 (binder; element of the vault head) |
//! | SHA-256 | 2 (nonce and pin of the vault head) | 3 (key ID: made, checked, and on the server) |
//! | AES-256-GCM-SIV | 9 (2 requests, 2 replies: each sealed once, opened once; the vault head sealed) | 2 (record sealed, reopened) |
//! | public key from secret | | 1 (client; of up to 16 of secp256k1, the points share an inversion) |
//! | point check | | 1 (server) |
//!
//! Four keys are scheduled before, the one that record keys are expanded from and those of the three MACs: `src/` does so once
//! per session. The generation PRK is scheduled once, by its extraction. Not counted: encoding, the `info` of HKDF, allocation, the wiping of what is ours, the reduction of a scalar, the store.

use std::hint::black_box;
use std::iter;

use aes_gcm_siv::{AeadInOut, Aes256GcmSiv, KeyInit, Nonce};
use criterion::Criterion;
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use k256::ProjectivePoint;
use k256::elliptic_curve::BatchNormalize;
use k256::elliptic_curve::sec1::ToSec1Point;
use keystow::{Kind, NewSecret};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// The length of AES-256-GCM-SIV's tag.
pub(crate) const TAG: usize = 16;

// Lengths in bytes: `info` of the expansions (`docs/protocol.md`, "Key schedule"), header without a public component.
const DRAW_INFO: usize = 34;
const SECRET_INFO: usize = 81;
const RECORD_INFO: usize = 20;
const KEY_ID_LABEL: usize = 17;
const HEADER: usize = 89;
const FRAME_AAD: usize = 10;
const HEAD_AAD: usize = 25;
const HEAD_CONTENTS: usize = 104;
const HEAD_HASHED: usize = 155;
const HEAD_NONCE_HASHED: usize = 45;
const PIN: usize = 40;
const KEY_ID: usize = 16;

/// How many points share an inversion in `src/kind/public.rs`.
const TOGETHER: usize = 16;

/// Keys and buffers of the right sizes.
pub(crate) struct Primitives {
    kind: Kind,
    public: Vec<u8>,
    count: usize,
    rng: ChaCha20Rng,
    key: [u8; 32],
    frames: [Vec<u8>; 4],
    header: Vec<u8>,
    secret: Vec<u8>,
    binder_input: Vec<u8>,
    record_info: Vec<u8>,
    key_id_input: Vec<u8>,
    /// The keys that serve many records, scheduled once, as `src/` does it.
    record_prk: Hkdf<Sha256>,
    mac: Hmac<Sha256>,
}

impl Primitives {
    /// For a run of `count` secrets like this one, that seals this many bytes in its frames.
    pub(crate) fn new(frames: [usize; 4], secret: &NewSecret, count: usize) -> Self {
        let zeros = |len| vec![0; len];
        let header = HEADER + secret.kind.public_len();
        let len = usize::try_from(secret.kind.secret_len()).unwrap();
        Self {
            kind: secret.kind,
            public: secret.public.map_or(vec![], |public| public.as_bytes().to_vec()),
            count,
            rng: ChaCha20Rng::seed_from_u64(1),
            key: [7; 32],
            frames: frames.map(zeros),
            header: zeros(header),
            secret: vec![7; len],
            // The nonce takes the place of the binder, which is not yet in the header.
            binder_input: zeros(header + len),
            record_info: zeros(RECORD_INFO + header),
            key_id_input: zeros(KEY_ID_LABEL + header),
            record_prk: Hkdf::from_prk(&[7; 32]).unwrap(),
            mac: Hmac::new_from_slice(&[7; 32]).unwrap(),
        }
    }

    pub(crate) fn run(&mut self) {
        self.draws();
        self.frames();
        self.public_keys();
        for _ in 0..self.count {
            self.point_check();
            self.record();
        }
        self.hashes();
        self.head();
    }

    fn draws(&mut self) {
        let mut server = ChaCha20Rng::from_seed(self.key);
        for rng in [&mut self.rng, &mut server] {
            let mut random = [0; 32];
            rng.fill_bytes(&mut random);
            black_box(random);
        }
        for _ in 0..self.count {
            let mut nonce = [0; 32];
            self.rng.fill_bytes(&mut nonce);
            black_box(nonce);
        }
    }

    fn hashes(&self) {
        let (_, generation) = Hkdf::<Sha256>::extract(Some(black_box(&self.key)), black_box(&self.key));
        expand::<32>(&Hkdf::from_prk(black_box(&self.key)).unwrap(), &[0; DRAW_INFO]);
        for _ in 0..self.count {
            match self.kind {
                Kind::Secp256k1 => expand::<64>(&generation, &[0; SECRET_INFO]),
                _ => expand::<32>(&generation, &[0; SECRET_INFO]),
            }
            for _ in ["seal", "reopen"] {
                expand::<32>(&self.record_prk, &self.record_info);
            }
            self.mac([&self.binder_input[..]]);
            for _ in ["made", "checked", "server"] {
                black_box(Sha256::digest(black_box(&self.key_id_input)));
            }
        }
        for _ in ["made", "checked"] {
            self.mac(iter::once(&[0; PIN][..]).chain(iter::repeat_n(&[0; KEY_ID][..], self.count)));
        }
    }

    fn mac<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) {
        let mut mac = black_box(&self.mac).clone();
        parts.into_iter().for_each(|part| mac.update(black_box(part)));
        black_box(mac.finalize().into_bytes());
    }

    /// The vault's next head: its elements, its contents sealed, its nonce and its pin.
    fn head(&self) {
        for _ in 0..self.count {
            self.mac([&[0; KEY_ID][..]]);
        }
        let (cipher, mut contents) = (Aes256GcmSiv::new(black_box(&self.key).into()), [0; HEAD_CONTENTS]);
        let (nonce, aad) = (Nonce::from([0; 12]), black_box([0; HEAD_AAD]));
        black_box(cipher.encrypt_inout_detached(&nonce, &aad, black_box(&mut contents[..]).into()).unwrap());
        black_box(Sha256::digest(black_box([0; HEAD_NONCE_HASHED])));
        black_box(Sha256::digest(black_box([0; HEAD_HASHED])));
    }

    fn frames(&mut self) {
        for frame in &mut self.frames {
            seal_and_open(&self.key, &[0; FRAME_AAD], frame);
        }
    }

    fn record(&mut self) {
        seal_and_open(&self.key, &self.header, &mut self.secret);
    }

    fn public_keys(&self) {
        match self.kind {
            Kind::Bytes(_) => {}
            Kind::Secp256k1 if self.count > 1 => {
                (0..self.count).step_by(TOGETHER).for_each(|done| self.points(TOGETHER.min(self.count - done)));
            }
            Kind::Secp256k1 => {
                let key = k256::SecretKey::from_slice(black_box(&self.secret)).unwrap();
                black_box(key.public_key().to_sec1_point(true));
            }
            Kind::Ed25519 => {
                for _ in 0..self.count {
                    let seed = black_box(&self.secret).as_slice().try_into().unwrap();
                    black_box(ed25519_dalek::SigningKey::from_bytes(seed).verifying_key().to_bytes());
                }
            }
        }
    }

    /// So many points that share the inversion which makes them affine.
    fn points(&self, count: usize) {
        let mut points = [ProjectivePoint::GENERATOR; TOGETHER];
        for point in &mut points[..count] {
            let key = k256::SecretKey::from_slice(black_box(&self.secret)).unwrap();
            *point = ProjectivePoint::mul_by_generator(&key.to_nonzero_scalar());
        }
        for point in &ProjectivePoint::batch_normalize(black_box(&points))[..count] {
            black_box(point.to_sec1_point(true));
        }
    }

    fn point_check(&self) {
        let public = black_box(self.public.as_slice());
        match self.kind {
            Kind::Bytes(_) => {}
            Kind::Secp256k1 => assert!(k256::PublicKey::from_sec1_bytes(public).is_ok()),
            Kind::Ed25519 => {
                let key = ed25519_dalek::VerifyingKey::from_bytes(public.try_into().unwrap()).unwrap();
                assert!(!key.is_weak());
            }
        }
    }

    /// Each group of primitives by itself.
    pub(crate) fn bench_each(&mut self, criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group(format!("primitives of {} {}", self.count, self.kind));
        group.bench_function("public key", |bencher| bencher.iter(|| self.public_keys()));
        group.bench_function("point check", |bencher| bencher.iter(|| self.point_check()));
        group.bench_function("AES-256-GCM-SIV, frames", |bencher| bencher.iter(|| self.frames()));
        group.bench_function("AES-256-GCM-SIV, record", |bencher| bencher.iter(|| self.record()));
        group.bench_function("HKDF, HMAC, SHA-256", |bencher| bencher.iter(|| self.hashes()));
        group.bench_function("vault head", |bencher| bencher.iter(|| self.head()));
        group.bench_function("draws", |bencher| bencher.iter(|| self.draws()));
        group.finish();
    }
}

fn expand<const N: usize>(prk: &Hkdf<Sha256>, info: &[u8]) {
    let mut out = [0; N];
    black_box(prk).expand(black_box(info), &mut out).unwrap();
    black_box(out);
}

/// One seal and one open; the buffer is as it was after them. The key is expanded for each, as the crate keeps raw keys.
fn seal_and_open(key: &[u8; 32], aad: &[u8], buffer: &mut [u8]) {
    let nonce = Nonce::from([0; 12]);
    let sealing = Aes256GcmSiv::new(black_box(key).into());
    let tag = sealing.encrypt_inout_detached(&nonce, black_box(aad), black_box(&mut *buffer).into()).unwrap();
    let opening = Aes256GcmSiv::new(black_box(key).into());
    opening.decrypt_inout_detached(&nonce, black_box(aad), black_box(buffer).into(), black_box(&tag)).unwrap();
}
