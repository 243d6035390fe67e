//! The one cipher suite of protocol version 1 and every label of its key schedule.
//!
//! HKDF-SHA-256 (RFC 5869), AES-256-GCM-SIV (RFC 8452), SHA-256 and HMAC-SHA-256; OPAQUE (RFC 9807) over
//! ristretto255-SHA512 in [`opaque`], its key stretching in [`ksf`]. This file and its folder are the only
//! ones that meet `opaque-ke` and the older crates it rests on.

mod ksf;
pub(crate) mod opaque;
#[cfg(test)]
mod published;
#[cfg(test)]
mod rfc9807;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::hint::black_box;

use aes_gcm_siv::{AeadInOut, Aes256GcmSiv, KeyInit, Nonce, Tag};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::codec::Joined;
use crate::error::{CallerFault, Error, PeerFault};
use crate::secret::{HASHES, Key, Secret, SecretBytes, scrubbed};

pub use ksf::KsfProfile;

/// The protocol's version: the first byte of every message, header and record.
pub(crate) const VERSION: u8 = 1;

/// Names the suite inside the OPAQUE context, so that no two suites share a login.
const SUITE: &[u8] = b"ristretto255-SHA512 3DH Argon2id HKDF-SHA-256 AES-256-GCM-SIV";

/// The labels of the key schedule and of every other hash: one place, so that no two are alike.
pub(crate) mod label {
    macro_rules! labels {
        ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
            $($(#[$doc])* pub(crate) const $name: &[u8] = concat!("keystow v1 ", $text).as_bytes();)*

            #[cfg(test)]
            pub(crate) const ALL: &[&[u8]] = &[$($name),*];
        };
    }

    labels! {
        /// OPAQUE context: suite, KSF profile.
        OPAQUE_CONTEXT = "opaque context";
        /// Credential identifier of a name without an account (hash).
        UNKNOWN_ACCOUNT = "unknown account";
        /// The record that stands in for a missing account, from the server's setup.
        DUMMY_RECORD = "dummy record";
        /// Key of a name's attempt counter (hash).
        ATTEMPTS = "attempts";
        /// What both sides saw of a registration (hash).
        REGISTRATION = "registration transcript";
        /// export_key -> key that wraps the vault key: user ID.
        VAULT_WRAP = "vault wrap";
        /// export_key -> salt under which the vault key is drawn.
        VAULT_HEDGE = "vault hedge";
        /// vault key -> record key: header.
        RECORD = "record";
        /// vault key -> key of the binders.
        BINDER = "binder";
        /// vault key -> salt under which secrets are generated.
        GENERATION_HEDGE = "generation hedge";
        /// generation PRK -> secret: user ID, kind, server random, index.
        SECRET = "secret";
        /// vault key -> key of the vault heads.
        HEAD = "vault head";
        /// vault key -> key of the elements that a head's digest is made of.
        ELEMENT = "vault element";
        /// vault key -> key of the tags of pending secrets.
        PENDING = "pending";
        /// sealed head -> what the next head and a pin know it by (hash).
        HEAD_HASH = "head";
        /// session ID, sequence -> nonce of a head (hash).
        HEAD_NONCE = "head nonce";
        /// wrap -> what a head knows the account's record by (hash).
        CREDENTIAL_TAG = "credential tag";
        /// header -> key ID (hash).
        KEY_ID = "key id";
        /// session_key -> key of the frames that the client sends.
        CLIENT_TO_SERVER = "client to server";
        /// session_key -> key of the frames that the server sends.
        SERVER_TO_CLIENT = "server to client";
        /// fleet key -> key of one sealed session: session ID.
        SESSION = "session";
        /// a side's seed -> what one step draws: a name for the step.
        DRAW = "draw";
    }
}

/// The longest `info`: a record key's has 142 bytes.
const INFO: usize = 192;

const TOO_LONG: CallerFault = CallerFault::TooLong { max: 255 * 32 };

/// HKDF-Expand (RFC 5869, section 2.3) from a pseudorandom key of at least 32 bytes, with
/// `info = u8 length ‖ label ‖ (u16 length ‖ field)*`, lengths big-endian.
///
/// # Errors
/// [`CallerFault::TooLong`] for an output over 8,160 bytes or an `info` over 192: the callers' bounds lie below.
pub(crate) fn expand(prk: &[u8], label: &[u8], fields: &[&[u8]], out: &mut [u8]) -> Result<(), Error> {
    // HMAC keeps the end of a key over 64 bytes in a buffer on the stack.
    scrubbed::<HASHES, _>(|| expand_beneath(prk, label, fields, out))
}

/// [`expand`]; what it leaves on the stack is for the caller to overwrite.
fn expand_beneath(prk: &[u8], label: &[u8], fields: &[&[u8]], out: &mut [u8]) -> Result<(), Error> {
    let info = info(label, fields).ok_or(TOO_LONG)?;
    expand_info(prk, &info, out)
}

/// [`expand_beneath`] with any `info`.
fn expand_info(prk: &[u8], info: &[u8], out: &mut [u8]) -> Result<(), Error> {
    let hkdf = Hkdf::<Sha256>::from_prk(prk).map_err(|_| TOO_LONG)?;
    Ok(hkdf.expand(info, out).map_err(|_| TOO_LONG)?)
}

/// The `info` of [`expand`]: also OPAQUE's context. Written by hand, fixed-width, so that no serialiser
/// decides what is authenticated.
fn info(label: &[u8], fields: &[&[u8]]) -> Option<Joined<INFO>> {
    let mut info = Joined::default();
    let mut push = |part: &[u8]| info.push(part).then_some(());
    push(&[u8::try_from(label.len()).ok()?])?;
    push(label)?;
    for field in fields {
        push(&u16::try_from(field.len()).ok()?.to_be_bytes())?;
        push(field)?;
    }
    Some(info)
}

/// A 32-byte key by [`expand`].
pub(crate) fn expand_key(prk: &[u8], label: &[u8], fields: &[&[u8]]) -> Result<Key, Error> {
    Key::try_write(|key| expand(prk, label, fields, key))
}

/// A pseudorandom key from which many keys are expanded: HMAC's part of the work that is the same for all is done once.
pub(crate) struct Prk(Box<Hkdf<Sha256>>);

impl Prk {
    /// Takes a key of at least 32 bytes.
    pub(crate) fn new(key: &[u8]) -> Result<Self, Error> {
        scrubbed::<HASHES, _>(|| Ok(Self(Box::new(Hkdf::from_prk(key).map_err(|_| TOO_LONG)?))))
    }

    /// HKDF-Extract (RFC 5869, section 2.2): HMAC-SHA-256 of `ikm` under `salt`, to expand from.
    pub(crate) fn extract(salt: &Key, ikm: &Key) -> Self {
        scrubbed::<HASHES, _>(|| {
            let (mut extracted, hkdf) = Hkdf::extract(Some(salt.expose()), ikm.expose());
            zeroize::Zeroize::zeroize(extracted.as_mut_slice());
            Self(Box::new(hkdf))
        })
    }

    /// As [`expand`], but what it leaves on the stack is for the caller to overwrite, once for all that he expands.
    pub(crate) fn expand(&self, label: &[u8], fields: &[&[u8]], out: &mut [u8]) -> Result<(), Error> {
        let info = info(label, fields).ok_or(TOO_LONG)?;
        Ok(self.0.expand(&info, out).map_err(|_| TOO_LONG)?)
    }

    /// As [`expand_key`].
    pub(crate) fn expand_key(&self, label: &[u8], fields: &[&[u8]]) -> Result<Key, Error> {
        Key::try_write(|key| self.expand(label, fields, key))
    }
}

/// A key under which many MACs are made, likewise.
pub(crate) struct MacKey(Box<Hmac<Sha256>>);

impl MacKey {
    /// # Errors
    /// [`CallerFault::TooLong`] in name only: HMAC takes a key of any length.
    pub(crate) fn new(key: &Key) -> Result<Self, Error> {
        scrubbed::<HASHES, _>(|| {
            let mac = Hmac::new_from_slice(key.expose()).map_err(|_| CallerFault::TooLong { max: 32 })?;
            Ok(Self(Box::new(mac)))
        })
    }

    /// HMAC-SHA-256 (RFC 2104) over the parts, one after the other.
    pub(crate) fn mac<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
        let mut mac = Hmac::clone(&self.0);
        parts.into_iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }
}

/// HKDF-Extract (RFC 5869, section 2.2): HMAC-SHA-256 of `ikm` under `salt`, to be kept.
pub(crate) fn extract(salt: &Key, ikm: &Key) -> Key {
    Key::write(|prk| {
        scrubbed::<HASHES, _>(|| {
            let (mut extracted, _) = Hkdf::<Sha256>::extract(Some(salt.expose()), ikm.expose());
            prk.copy_from_slice(&extracted);
            zeroize::Zeroize::zeroize(extracted.as_mut_slice());
        });
    })
}

/// SHA-256 over the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// The bytes that AES-256-GCM-SIV adds to what it seals.
pub(crate) const TAG_LEN: usize = 16;

/// Seals with AES-256-GCM-SIV (RFC 8452), in place: `buffer` becomes ciphertext ‖ 16-byte tag.
pub(crate) fn seal(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], buffer: Vec<u8>) -> Result<Vec<u8>, Error> {
    seal_from(0, key, nonce, aad, buffer)
}

/// The same, but for the first `start` bytes of the buffer, which stay.
pub(crate) fn seal_from(
    start: usize,
    key: &[u8; 32],
    nonce: [u8; 12],
    aad: &[u8],
    mut buffer: Vec<u8>,
) -> Result<Vec<u8>, Error> {
    let too_long = |_| CallerFault::TooLong { max: crate::codec::MAX_MESSAGE };
    let cipher = Aes256GcmSiv::new(key.into());
    let body = buffer.get_mut(start..).unwrap_or_default();
    let tag = cipher.encrypt_inout_detached(&Nonce::from(nonce), aad, body.into()).map_err(too_long)?;
    buffer.extend_from_slice(&tag);
    Ok(buffer)
}

/// Opens what [`seal`] made, in place.
///
/// # Errors
/// [`PeerFault::Unauthenticated`] if it was not sealed under this key, nonce and associated data.
pub(crate) fn open(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], mut sealed: Vec<u8>) -> Result<Vec<u8>, Error> {
    let len = sealed.len().checked_sub(TAG_LEN).ok_or(PeerFault::Unauthenticated)?;
    let (body, tag) = sealed.split_at_mut_checked(len).ok_or(PeerFault::Unauthenticated)?;
    open_detached(key, nonce, aad, body, tag)?;
    sealed.truncate(len);
    Ok(sealed)
}

/// Seals a secret: its bytes are copied once, into the buffer that becomes the ciphertext.
pub(crate) fn seal_secret(key: &Key, nonce: [u8; 12], aad: &[u8], secret: &[u8]) -> Result<Vec<u8>, Error> {
    let mut buffer = Vec::with_capacity(secret.len().saturating_add(TAG_LEN));
    buffer.extend_from_slice(secret);
    seal(key.expose(), nonce, aad, buffer)
}

/// Opens a secret into memory that is wiped.
pub(crate) fn open_secret(key: &Key, nonce: [u8; 12], aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, Error> {
    let len = sealed.len().checked_sub(TAG_LEN).ok_or(PeerFault::Unauthenticated)?;
    let (body, tag) = sealed.split_at_checked(len).ok_or(PeerFault::Unauthenticated)?;
    SecretBytes::try_edit(body, |secret| open_detached(key.expose(), nonce, aad, secret, tag))
}

fn open_detached(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], body: &mut [u8], tag: &[u8]) -> Result<(), Error> {
    let tag = Tag::try_from(tag).map_err(|_| PeerFault::Unauthenticated)?;
    Aes256GcmSiv::new(key.into())
        .decrypt_inout_detached(&Nonce::from(nonce), aad, body.into(), &tag)
        .map_err(|_| PeerFault::Unauthenticated.into())
}

/// What one step draws: ChaCha20 seeded by HKDF from a side's seed and a name for the step, so that a
/// step that is run again draws the same.
pub(crate) struct Draw(Box<ChaCha20Rng>);

impl Draw {
    /// The generator of the step called `step` (a request's fingerprint, an attempt's number).
    pub(crate) fn new(seed: &Key, step: &[u8]) -> Result<Self, Error> {
        scrubbed::<HASHES, _>(|| Self::beneath(seed, step))
    }

    /// The first bytes of a step that draws nothing else, public from the start.
    pub(crate) fn once<const N: usize>(seed: &Key, step: &[u8]) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        scrubbed::<HASHES, _>(|| Self::beneath(seed, step).map(|mut draw| draw.0.fill_bytes(&mut bytes)))?;
        Ok(bytes)
    }

    /// [`Draw::new`]; what it leaves on the stack is for the caller to overwrite: the generator takes its seed by value.
    fn beneath(seed: &Key, step: &[u8]) -> Result<Self, Error> {
        let key = Key::try_write(|key| expand_beneath(seed.expose(), label::DRAW, &[step], key))?;
        Ok(Self(Box::new(ChaCha20Rng::from_seed(*key.expose()))))
    }

    /// The next bytes, secret until told otherwise.
    pub(crate) fn key(&mut self) -> Key {
        Secret::write(|bytes| scrubbed::<HASHES, _>(|| self.0.fill_bytes(bytes)))
    }

    /// The next bytes, public from the start.
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        scrubbed::<HASHES, _>(|| self.0.fill_bytes(&mut bytes));
        bytes
    }
}

impl Drop for Draw {
    /// `rand_chacha` doesn't wipe its state: it is overwritten, and the write is kept from being optimised away.
    fn drop(&mut self) {
        *self.0 = ChaCha20Rng::from_seed([0; 32]);
        black_box(&*self.0);
    }
}

impl fmt::Debug for Draw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Draw(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn labels_are_distinct_and_fit_their_length_byte() {
        assert!(!crate::error::has_duplicate(label::ALL));
        assert!(label::ALL.iter().all(|label| label.len() < 256));
    }

    /// `tests/vectors/v1/schedule.json` has what is derived or hashed under each: add a label there as well.
    #[test]
    fn every_label_has_a_vector_and_every_vector_a_label() {
        use alloc::collections::BTreeSet;
        let schedule = include_str!("../tests/vectors/v1/schedule.json");
        let schedule: serde_json::Value = serde_json::from_str(schedule).unwrap();
        let used = schedule["steps"].as_array().unwrap().iter().filter_map(|step| step["label"].as_str());
        let defined =
            label::ALL.iter().map(|label| str::from_utf8(label).unwrap().strip_prefix("keystow v1 ").unwrap());
        assert_eq!(used.collect::<BTreeSet<_>>(), defined.collect());
    }

    #[test]
    fn info_is_written_as_the_protocol_says() {
        let info = |label, fields| info(label, fields).map(|info| info.to_vec());
        assert_eq!(info(b"ab", &[b"x", b""]), Some(vec![2, b'a', b'b', 0, 1, b'x', 0, 0]),);
        assert_eq!(info(b"ab", &[&[0; INFO - 5]]).map(|info| info.len()), Some(INFO));
        assert_eq!(info(b"ab", &[&[0; INFO - 4]]), None);
    }

    #[test]
    fn what_is_too_long_to_be_expanded_is_refused() {
        let key = Key::write(|key| *key = [7; 32]);
        let too_long = Error::from(CallerFault::TooLong { max: 8_160 });
        assert_eq!(expand(key.expose(), b"ab", &[], &mut [0; 8_160]), Ok(()));
        assert_eq!(expand(key.expose(), b"ab", &[], &mut [0; 8_161]), Err(too_long.clone()));
        let fields = &[&[0; INFO][..]];
        assert_eq!(expand(key.expose(), b"ab", fields, &mut [0; 32]), Err(too_long.clone()));
        assert_eq!(Prk::new(key.expose()).unwrap().expand_key(b"ab", fields).map(|_| ()), Err(too_long));
    }

    #[test]
    fn a_seal_opens_under_its_own_key_nonce_and_associated_data_alone() {
        let sealed = seal(&[1; 32], [2; 12], b"aad", b"text".to_vec()).unwrap();
        assert_eq!(sealed.len(), 4 + TAG_LEN);
        assert_eq!(open(&[1; 32], [2; 12], b"aad", sealed.clone()).unwrap(), b"text");
        for other in [
            open(&[9; 32], [2; 12], b"aad", sealed.clone()),
            open(&[1; 32], [9; 12], b"aad", sealed.clone()),
            open(&[1; 32], [2; 12], b"add", sealed.clone()),
            open(&[1; 32], [2; 12], b"aad", sealed[1..].to_vec()),
            open(&[1; 32], [2; 12], b"aad", vec![0; 15]),
        ] {
            assert_eq!(other, Err(PeerFault::Unauthenticated.into()));
        }
    }

    #[test]
    fn a_draw_depends_on_the_seed_and_the_step() {
        let bytes = |seed, step: &[u8]| Draw::new(&Key::write(|key| *key = [seed; 32]), step).unwrap().bytes::<32>();
        assert_eq!(bytes(1, b"a"), bytes(1, b"a"));
        assert_ne!(bytes(1, b"a"), bytes(2, b"a"));
        assert_ne!(bytes(1, b"a"), bytes(1, b"b"));
    }
}
