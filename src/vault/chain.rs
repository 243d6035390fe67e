//! The chain of vault heads, from the inside: what a head says, how the next one is made, what a set of secrets comes to.

use alloc::vec::Vec;
use core::fmt;

use crypto_bigint::U256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::Vault;
use crate::codec::joined;
use crate::error::{CallerFault, Error, VaultFault};
use crate::head::{SealedHead, VaultPin};
use crate::id::{KeyId, UserId};
use crate::message::Wrap;
use crate::secret::{HASHES, Key, scrubbed};
use crate::suite::{VERSION, label, open_secret, seal_from, sha256};

/// A set of secrets: how many, and the sum of their elements modulo 2^256, which never leaves the client unsealed.
///
/// The keyed sum of MSet-Add-Hash (Clarke, Devadas, van Dijk, Gassend, Suh: Incremental Multiset Hash Functions, 2003): a
/// secret that is counted twice, or taken away without having been there, stays in the sum. (A XOR would forget it.)
pub struct Tally {
    count: u64,
    digest: Key,
}

/// A head, opened.
pub(crate) struct Head {
    pin: VaultPin,
    prev: [u8; 32],
    tally: Tally,
    credential: [u8; 32],
}

/// What a change does to the head.
pub enum HeadChange {
    /// These secrets come.
    Add(Tally),
    /// These secrets go.
    Remove(Tally),
    /// The vault key is wrapped anew.
    Credential([u8; 32]),
    /// The account is being deleted: all secrets go, and nothing comes after.
    Close,
}

/// The credential tag of a closed vault: no wrap has it.
const CLOSED: [u8; 32] = [0; 32];

/// The credential tag: `SHA-256("keystow v1 credential tag" ‖ wrap)`.
pub(crate) fn credential_tag(wrap: &Wrap) -> [u8; 32] {
    sha256(&[label::CREDENTIAL_TAG, wrap])
}

impl Tally {
    /// The empty set.
    pub(crate) fn empty() -> Self {
        Self { count: 0, digest: Key::write(|_| ()) }
    }

    /// Two sets that have nothing in common, together.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            digest: combine(&self.digest, &other.digest, U256::wrapping_add),
        }
    }

    /// A set without one of its subsets. (Of something else: what no set comes to. The server refuses it before.)
    fn minus(&self, other: &Self) -> Self {
        Self {
            count: self.count.saturating_sub(other.count),
            digest: combine(&self.digest, &other.digest, U256::wrapping_sub),
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.count == other.count && bool::from(self.digest.ct_eq(&other.digest))
    }

    /// Compares what was listed with what there should be.
    pub(crate) fn check(&self, expected: &Head) -> Result<(), VaultFault> {
        match &expected.tally {
            Self { count, .. } if *count != self.count => {
                Err(VaultFault::Count { expected: *count, listed: self.count })
            }
            expected if self.is(expected) => Ok(()),
            _ => Err(VaultFault::Digest),
        }
    }
}

fn combine(a: &Key, b: &Key, operation: fn(&U256, &U256) -> U256) -> Key {
    scrubbed::<HASHES, _>(|| {
        let [a, b] = [a, b].map(|key| Zeroizing::new(U256::from_be_slice(key.expose())));
        key_of(&Zeroizing::new(operation(&a, &b)))
    })
}

fn key_of(number: &U256) -> Key {
    Key::write(|key| {
        let mut bytes = number.to_be_bytes();
        key.copy_from_slice(bytes.as_ref());
        bytes.as_mut().zeroize();
    })
}

impl Head {
    /// The epoch and hash that the head is known by.
    pub(crate) fn pin(&self) -> VaultPin {
        self.pin
    }

    /// Whether the account is being deleted.
    pub(crate) fn is_closed(&self) -> bool {
        self.credential.ct_eq(&CLOSED).into()
    }

    /// Whether it was sealed while this wrap was the account's, so far as that can be said of a closed vault.
    pub(crate) fn has_credential(&self, wrap: &Wrap) -> bool {
        self.is_closed() || bool::from(self.credential.ct_eq(&credential_tag(wrap)))
    }

    /// Whether it was sealed on top of `before`, whose epoch is part of its hash.
    pub(crate) fn follows(&self, before: &Self) -> bool {
        self.prev.ct_eq(&before.pin.hash).into()
    }

    /// Whether the step from `before` to this head was this change.
    pub(crate) fn made(&self, before: &Self, change: &HeadChange) -> bool {
        match change {
            HeadChange::Add(set) => self.tally.is(&before.tally.plus(set)),
            HeadChange::Remove(set) => self.tally.is(&before.tally.minus(set)),
            HeadChange::Credential(tag) => self.credential.ct_eq(tag).into(),
            HeadChange::Close => self.is_closed(),
        }
    }
}

impl Vault {
    /// A set of secrets, each once: the element of one is `HMAC-SHA-256(element key, key ID)`.
    pub(crate) fn tally<'a>(&self, key_ids: impl IntoIterator<Item = &'a KeyId>) -> Tally {
        scrubbed::<HASHES, _>(|| {
            let (mut sum, mut count) = (Zeroizing::new(U256::ZERO), 0u64);
            for key_id in key_ids {
                let mut element = self.element_key.mac([key_id.as_bytes().as_slice()]);
                *sum = sum.wrapping_add(&Zeroizing::new(U256::from_be_slice(&element)));
                element.zeroize();
                count = count.saturating_add(1);
            }
            Tally { count, digest: key_of(&sum) }
        })
    }

    /// The first head of the chain, made at registration: no secrets, and the first wrap.
    pub(crate) fn first_head(&self, wrap: &Wrap, nonce: [u8; 12]) -> Result<SealedHead, Error> {
        let (sealed, _) = self.seal_head(0, [0; 32], Tally::empty(), credential_tag(wrap), nonce)?;
        Ok(sealed)
    }

    /// The head after `before`, moved on by `change`; without one it says the same again.
    ///
    /// # Errors
    /// [`CallerFault::SequenceExhausted`] after 2^64 changes.
    pub(crate) fn next_head(
        &self,
        before: &Head,
        change: Option<&HeadChange>,
        nonce: [u8; 12],
    ) -> Result<(SealedHead, Head), Error> {
        let same = || before.tally.plus(&Tally::empty());
        let (tally, credential) = match change {
            None => (same(), before.credential),
            Some(HeadChange::Add(set)) => (before.tally.plus(set), before.credential),
            Some(HeadChange::Remove(set)) => (before.tally.minus(set), before.credential),
            Some(HeadChange::Credential(tag)) => (same(), *tag),
            Some(HeadChange::Close) => (Tally::empty(), CLOSED),
        };
        let epoch = before.pin.epoch.checked_add(1).ok_or(CallerFault::SequenceExhausted)?;
        self.seal_head(epoch, before.pin.hash, tally, credential, nonce)
    }

    /// `epoch[8] ‖ nonce[12] ‖ AES-256-GCM-SIV(head key, nonce, AAD, prev[32] ‖ count[8] ‖ digest[32] ‖ credential[32])`.
    fn seal_head(
        &self,
        epoch: u64,
        prev: [u8; 32],
        tally: Tally,
        credential: [u8; 32],
        nonce: [u8; 12],
    ) -> Result<(SealedHead, Head), Error> {
        let damaged = || VaultFault::DamagedHead { epoch };
        let mut bytes = Vec::with_capacity(SealedHead::LEN);
        bytes.extend_from_slice(&joined::<OPEN>(&[&epoch.to_be_bytes(), &nonce]));
        for part in [&prev, tally.count.to_be_bytes().as_slice(), tally.digest.expose(), &credential] {
            bytes.extend_from_slice(part);
        }
        let bytes = seal_from(OPEN, self.head_key.expose(), nonce, &head_aad(self.user_id, epoch), bytes)?;
        let sealed = SealedHead::from_bytes(bytes.as_slice().try_into().map_err(|_| damaged())?);
        let head = Head { pin: sealed.pin(), prev, tally, credential };
        Ok((sealed, head))
    }

    /// Opens a head: a device of this vault sealed it, for this epoch. Whether it is part of the chain shows by
    /// [`Head::follows`].
    ///
    /// # Errors
    /// [`VaultFault::DamagedHead`].
    pub(crate) fn open_head(&self, sealed: &SealedHead) -> Result<Head, Error> {
        let epoch = sealed.epoch();
        let aad = head_aad(self.user_id, epoch);
        let open = || {
            let (_, rest) = sealed.as_bytes().split_first_chunk::<8>()?;
            let (nonce, body) = rest.split_first_chunk::<12>()?;
            let contents = open_secret(&self.head_key, *nonce, &aad, body).ok()?;
            let (prev, rest) = contents.expose().split_first_chunk::<32>()?;
            let (count, rest) = rest.split_first_chunk::<8>()?;
            let (digest, rest) = rest.split_first_chunk::<32>()?;
            let tally = Tally { count: u64::from_be_bytes(*count), digest: Key::write(|out| *out = *digest) };
            Some(Head { pin: sealed.pin(), prev: *prev, tally, credential: rest.try_into().ok()? })
        };
        Ok(open().ok_or(VaultFault::DamagedHead { epoch })?)
    }
}

/// The part of a head that isn't sealed: epoch and nonce.
const OPEN: usize = 20;

/// `version[1] ‖ user_id[16] ‖ epoch[8]`, big-endian.
fn head_aad(user_id: UserId, epoch: u64) -> [u8; 25] {
    joined(&[&[VERSION], user_id.as_bytes(), &epoch.to_be_bytes()])
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").field("count", &self.count).finish_non_exhaustive()
    }
}

impl fmt::Debug for HeadChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(set) => f.debug_tuple("Add").field(set).finish(),
            Self::Remove(set) => f.debug_tuple("Remove").field(set).finish(),
            Self::Credential(_) => f.write_str("Credential(..)"),
            Self::Close => f.write_str("Close"),
        }
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head").field("pin", &self.pin).field("tally", &self.tally).finish_non_exhaustive()
    }
}
