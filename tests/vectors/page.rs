//! The protocol's page in code: its primitives, over the crates of RustCrypto alone, each call written into a book.
//!
//! Nothing here names the crate's own key schedule: what comes out is a second computation.

use std::cell::RefCell;

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes256GcmSiv, KeyInit, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use keystow::KsfProfile;
use opaque_ke::errors::InternalError;
use opaque_ke::generic_array::{ArrayLength, GenericArray};
use opaque_ke::ksf::Ksf;
use opaque_ke::rand::{CryptoRng, Error as RandError, RngCore};
use opaque_ke::{CipherSuite, Ristretto255, TripleDh};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::file::hex;

/// Section 10.
pub(crate) struct Suite;

impl CipherSuite for Suite {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, sha2_opaque::Sha512>;
    type Ksf = Stretch;
}

/// Argon2id, which keeps what went in and what came out.
#[derive(Default)]
pub(crate) struct Stretch(pub(crate) RefCell<Vec<(Vec<u8>, Vec<u8>)>>);

impl Ksf for Stretch {
    fn hash<L: ArrayLength<u8>>(&self, input: GenericArray<u8, L>) -> Result<GenericArray<u8, L>, InternalError> {
        let stretched = KsfProfile::CHEAP_FOR_TESTS.hash(input.clone())?;
        self.0.borrow_mut().push((input.to_vec(), stretched.to_vec()));
        Ok(stretched)
    }
}

/// Every computation, in order: what it is for, what goes in, what comes out.
#[derive(Default)]
pub(crate) struct Book(pub(crate) Vec<Value>);

impl Book {
    pub(crate) fn note(&mut self, does: &str, name: &str, label: Option<&str>, values: &[(&str, &[u8])]) {
        let text = [("does", Some(does)), ("name", Some(name)), ("label", label)];
        let text = text.into_iter().filter_map(|(key, value)| Some((key.to_string(), Value::from(value?))));
        let values = values.iter().map(|(key, bytes)| ((*key).to_string(), Value::from(hex(bytes))));
        self.0.push(Value::from(text.chain(values).collect::<Map<_, _>>()));
    }

    /// Section 7: `Expand(prk, info(label, fields), len)`.
    pub(crate) fn expand(&mut self, name: &str, prk: &[u8], label: &str, fields: &[&[u8]], len: usize) -> Vec<u8> {
        let (info, mut gives) = (info(label, fields), vec![0; len]);
        Hkdf::<Sha256>::from_prk(prk).unwrap().expand(&info, &mut gives).unwrap();
        self.note("HKDF-Expand", name, Some(label), &[("prk", prk), ("info", &info), ("gives", &gives)]);
        gives
    }

    /// A 32-byte key.
    pub(crate) fn key(&mut self, name: &str, prk: &[u8], label: &str, fields: &[&[u8]]) -> [u8; 32] {
        self.expand(name, prk, label, fields, 32).try_into().unwrap()
    }

    pub(crate) fn extract(&mut self, name: &str, salt: &[u8], ikm: &[u8]) -> [u8; 32] {
        let (gives, _) = Hkdf::<Sha256>::extract(Some(salt), ikm);
        self.note("HKDF-Extract", name, None, &[("salt", salt), ("ikm", ikm), ("gives", &gives)]);
        gives.into()
    }

    pub(crate) fn mac(&mut self, name: &str, key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let (message, mac) = (parts.concat(), Hmac::<Sha256>::new_from_slice(key).unwrap());
        let gives = mac.chain_update(&message).finalize().into_bytes();
        self.note("HMAC-SHA-256", name, None, &[("key", key), ("message", &message), ("gives", &gives)]);
        gives.into()
    }

    /// Section 8: SHA-256 over the label and what follows; or over what there is, without a label.
    pub(crate) fn hash(&mut self, name: &str, label: Option<&str>, parts: &[&[u8]]) -> [u8; 32] {
        let start = label.map_or(Vec::new(), |label| format!("keystow v1 {label}").into_bytes());
        let message = [start, parts.concat()].concat();
        let gives = Sha256::digest(&message);
        self.note("SHA-256", name, label, &[("message", &message), ("gives", &gives)]);
        gives.into()
    }

    pub(crate) fn seal(&mut self, name: &str, key: &[u8; 32], nonce: &[u8], aad: &[u8], msg: &[u8]) -> Vec<u8> {
        let payload = Payload { msg, aad };
        let gives = Aes256GcmSiv::new(key.into()).encrypt(&Nonce::try_from(nonce).unwrap(), payload).unwrap();
        let values = [("key", &key[..]), ("nonce", nonce), ("aad", aad), ("plaintext", msg), ("gives", &gives)];
        self.note("AES-256-GCM-SIV", name, None, &values);
        gives
    }

    /// The same entry, from its end. What opens is what sealing gives.
    pub(crate) fn open(&mut self, name: &str, key: &[u8; 32], nonce: &[u8], aad: &[u8], sealed: &[u8]) -> Vec<u8> {
        let payload = Payload { msg: sealed, aad };
        let opened = Aes256GcmSiv::new(key.into()).decrypt(&Nonce::try_from(nonce).unwrap(), payload).expect(name);
        assert_eq!(self.seal(name, key, nonce, aad, &opened), sealed, "{name}");
        opened
    }

    /// Section 27: the generator of a step.
    pub(crate) fn draw(&mut self, name: &str, seed: &[u8], step: &[u8]) -> Draw {
        let key = self.key(&format!("{name}: draw"), seed, "draw", &[step]);
        Draw { name: name.into(), key, rng: ChaCha20Rng::from_seed(key), drawn: Vec::new() }
    }

    /// What a generator gave.
    pub(crate) fn drawn(&mut self, draw: Draw) {
        self.note("ChaCha20", &draw.name, None, &[("key", &draw.key), ("gives", &draw.drawn)]);
    }
}

/// Section 7: `info`. Section 10 takes it for OPAQUE's context.
pub(crate) fn info(label: &str, fields: &[&[u8]]) -> Vec<u8> {
    let label = format!("keystow v1 {label}");
    let fields = fields.iter().map(|field| prefixed(field));
    [vec![u8::try_from(label.len()).unwrap()], label.into_bytes(), fields.collect::<Vec<_>>().concat()].concat()
}

/// `u16 len ‖ the bytes`.
pub(crate) fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// Section 3: seven bits a byte, the least significant first.
pub(crate) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 128 {
        bytes.push(u8::try_from(number & 127).unwrap() | 128);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

/// Section 3: bytes of any length.
pub(crate) fn long(bytes: &[u8]) -> Vec<u8> {
    [&varint(u64::try_from(bytes.len()).unwrap())[..], bytes].concat()
}

/// Section 3: a list, its items encoded already.
pub(crate) fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [varint(u64::try_from(items.len()).unwrap()), items.concat()].concat()
}

/// `0[4] ‖ u64`.
pub(crate) fn nonce(number: u64) -> [u8; 12] {
    [&[0; 4][..], &number.to_be_bytes()].concat().try_into().unwrap()
}

/// Section 28: the sum of two big-endian numbers modulo 2^256.
pub(crate) fn sum(one: [u8; 32], other: [u8; 32]) -> [u8; 32] {
    let halves = |number: [u8; 32]| {
        let (high, low) = number.split_at(16);
        [high, low].map(|half| u128::from_be_bytes(half.try_into().unwrap()))
    };
    let ([one_high, one_low], [other_high, other_low]) = (halves(one), halves(other));
    let (low, carry) = one_low.overflowing_add(other_low);
    let high = one_high.wrapping_add(other_high).wrapping_add(u128::from(carry));
    [high.to_be_bytes(), low.to_be_bytes()].concat().try_into().unwrap()
}

/// A pin's text: the hash, then the epoch without its leading zero bytes, in Bech32m (BIP 350) under `kspin`.
pub(crate) fn pin_text(epoch: u64, hash: &[u8; 32]) -> String {
    let epoch: Vec<u8> = epoch.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    bech32::encode::<bech32::Bech32m>(bech32::Hrp::parse("kspin").unwrap(), &[&hash[..], &epoch].concat()).unwrap()
}

/// Section 27: ChaCha20, and all that was drawn.
pub(crate) struct Draw {
    name: String,
    key: [u8; 32],
    rng: ChaCha20Rng,
    drawn: Vec<u8>,
}

impl Draw {
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill_bytes(&mut bytes);
        bytes
    }
}

impl RngCore for Draw {
    fn next_u32(&mut self) -> u32 {
        panic!("only bytes are drawn")
    }
    fn next_u64(&mut self) -> u64 {
        panic!("only bytes are drawn")
    }
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        Rng::fill_bytes(&mut self.rng, bytes);
        self.drawn.extend_from_slice(bytes);
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), RandError> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Draw {}
