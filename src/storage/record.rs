//! Records: versioned, and they encode themselves. The engine sees keys and bytes.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

use crate::codec::{decode, encode};
use crate::error::Error;
use crate::header::SealedSecret;
use crate::id::{AccountName, CredentialId, KeyId, SessionId, Timestamp, UserId};
use crate::message::Wrap;
use crate::suite::opaque::Upload;

/// An encoded record. `Debug` shows its length alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Record(Vec<u8>);

impl Record {
    pub(crate) fn encode<T: Serialize>(record: &T) -> Result<Self, Error> {
        Ok(Self(encode(record)?))
    }

    /// The bytes to store, and to give back as they are.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({} bytes)", self.0.len())
    }
}

/// Everything that a login needs of an account. Not secret from the server, but worth a password guess to anyone else.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct AccountRecord {
    pub(crate) name: AccountName,
    pub(crate) user_id: UserId,
    pub(crate) credential: CredentialId,
    pub(crate) upload: Box<Upload>,
    #[serde(with = "BigArray")]
    pub(crate) wrap: Wrap,
}

impl AccountRecord {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        decode(bytes).map_err(|_| "can't be decoded")
    }
}

/// What is stored under a user ID and a key ID. The variant's position is its number in the record: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SecretRecord {
    Live(SealedSecret),
    /// A deleted secret: its ID is never used again. The session and sequence that deleted it let the same
    /// delete be repeated.
    Tombstone {
        session_id: SessionId,
        sequence: u64,
    },
}

impl SecretRecord {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        decode(bytes).map_err(|_| "can't be decoded")
    }

    /// Checks that the record is what was asked for.
    pub(crate) fn check(&self, user_id: UserId, key_id: KeyId) -> Result<(), &'static str> {
        match self {
            Self::Live(secret) if secret.header.user_id() != user_id => Err("belongs to another user"),
            Self::Live(secret) if secret.header.key_id() != key_id => Err("belongs to another key ID"),
            Self::Live(secret) if secret.ciphertext.len() != secret.header.ciphertext_len() => {
                Err("has a ciphertext of the wrong length")
            }
            Self::Live(_) | Self::Tombstone { .. } => Ok(()),
        }
    }
}

/// What happened, for the account's audit trail.
///
/// [`AuditEntry::key`] is the transaction's idempotency key as well: a store that holds an entry under
/// the same key has applied the transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    pub(crate) user_id: UserId,
    pub(crate) session_id: SessionId,
    pub(crate) sequence: u64,
    pub(crate) request: [u8; 16],
    pub(crate) at: Timestamp,
    pub(crate) action: Action,
    pub(crate) granted: bool,
    pub(crate) key_ids: Vec<KeyId>,
}

/// The audited actions. The variant's position is its number in the record: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// The account was made.
    Register,
    /// A login was granted.
    LogIn {
        /// The attempts charged to the account's name since the last granted login, this one's own left out, as far
        /// back as the counter was kept.
        attempts_spent: u32,
    },
    /// Secrets were stored.
    Store,
    /// Secrets were read.
    Retrieve,
}

impl AuditEntry {
    /// A unique key, 57 bytes: `user_id[16] ‖ session_id[16] ‖ sequence[8] ‖ request[16] ‖ granted[1]`, big-endian.
    ///
    /// The request's fingerprint is in it because a client whose generator repeats opens a session under an old ID:
    /// the server's fresh keys make its requests other ones all the same.
    #[must_use]
    pub fn key(&self) -> [u8; 57] {
        let mut key = [0; 57];
        let sequence = self.sequence.to_be_bytes();
        let parts = [self.user_id.as_bytes(), &self.session_id.as_bytes()[..], &sequence, &self.request];
        for (byte, value) in key.iter_mut().zip(parts.into_iter().flatten().chain([&u8::from(self.granted)])) {
            *byte = *value;
        }
        key
    }

    /// The entry's bytes, to store beside whatever columns the engine wants to search by.
    ///
    /// # Errors
    /// None in practice: an entry of at most 256 key IDs fits.
    pub fn to_record(&self) -> Result<Record, Error> {
        Record::encode(self)
    }

    /// Reads the bytes of an entry.
    ///
    /// # Errors
    /// [`crate::PeerFault::Undecodable`] and its like for anything but an entry.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Ok(decode(bytes)?)
    }

    /// Whose trail it belongs to.
    #[must_use]
    pub const fn user_id(&self) -> UserId {
        self.user_id
    }

    /// The session in which it happened.
    #[must_use]
    pub const fn session_id(&self) -> SessionId {
        self.session_id
    }

    /// The request's number in the session; registration and login are number 1.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When it happened, by the embedder's clock.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// What happened.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// Whether it was done; `false` if it was refused.
    #[must_use]
    pub const fn granted(&self) -> bool {
        self.granted
    }

    /// The secrets that it was about.
    #[must_use]
    pub fn key_ids(&self) -> &[KeyId] {
        &self.key_ids
    }
}
