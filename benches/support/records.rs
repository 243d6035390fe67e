//! What each record of a verified list takes on the client at least, for `custody.rs` and `vault.rs`.
#![allow(dead_code, reason = "neither uses all of it")]

use std::hint::black_box;

use aes_gcm_siv::{AeadInOut, Aes256GcmSiv, KeyInit, Nonce, Tag};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

const KEY: [u8; 32] = [7; 32];

/// Records of `Bytes(32)` under given headers.
pub(crate) struct Records(Vec<Record>);

struct Record {
    /// `info` of the record key; the header is its end.
    info: Vec<u8>,
    header: Vec<u8>,
    /// What the key ID is the hash of: a label, then the header.
    named: Vec<u8>,
    ciphertext: [u8; 32],
    tag: Tag,
}

impl Record {
    /// 32 bytes, sealed here: the vault key of a real one is not to be had.
    fn new(header: Vec<u8>) -> Self {
        let (info, named) = ([&[0; 20], header.as_slice()].concat(), [&[0; 17], header.as_slice()].concat());
        let mut record = Self { info, header, named, ciphertext: [9; 32], tag: Tag::default() };
        let cipher = Aes256GcmSiv::new(&record.key(&prk()).into());
        let buffer = record.ciphertext.as_mut_slice().into();
        record.tag = cipher.encrypt_inout_detached(&Nonce::from([0; 12]), &record.header, buffer).unwrap();
        record
    }

    fn key(&self, prk: &Hkdf<Sha256>) -> [u8; 32] {
        let mut key = [0; 32];
        prk.expand(black_box(&self.info), &mut key).unwrap();
        key
    }

    fn key_id(&self) -> [u8; 32] {
        Sha256::digest(black_box(&self.named)).into()
    }
}

impl Records {
    pub(crate) fn new(headers: impl Iterator<Item = Vec<u8>>) -> Self {
        Self(headers.map(Record::new).collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Expand, open, SHA-256, HMAC; the two keys that serve all records are scheduled once, as in `src/`.
    pub(crate) fn verify(&self) {
        let (prk, mac) = (prk(), Hmac::<Sha256>::new_from_slice(black_box(&KEY)).unwrap());
        for record in &self.0 {
            let (cipher, mut secret) = (Aes256GcmSiv::new(&record.key(&prk).into()), record.ciphertext);
            let (nonce, buffer) = (Nonce::from([0; 12]), black_box(secret.as_mut_slice()).into());
            cipher.decrypt_inout_detached(&nonce, black_box(&record.header), buffer, &record.tag).unwrap();
            let (key_id, mut element) = (record.key_id(), mac.clone());
            element.update(&key_id[..16]);
            black_box(element.finalize().into_bytes());
        }
    }

    /// The key IDs alone, which the server makes of the records that it reads.
    pub(crate) fn name(&self) {
        self.0.iter().for_each(|record| _ = black_box(record.key_id()));
    }
}

fn prk() -> Hkdf<Sha256> {
    Hkdf::from_prk(black_box(&KEY)).unwrap()
}
