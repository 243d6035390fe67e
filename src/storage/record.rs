//! Records: versioned, and they encode themselves. The engine sees keys and bytes.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

use crate::codec::{decode, encode};
use crate::error::Error;
use crate::header::SealedSecret;
use crate::id::{AccountName, CredentialId, KeyId, SessionId, UserId};
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

    /// Takes bytes that are a record already.
    pub(crate) fn from_vec(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(crate) fn into_vec(self) -> Vec<u8> {
        self.0
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `tests/vectors/v1/records.json` holds what a server stores. Without a wildcard: a variant that is added doesn't
    /// compile until it stands here, and then it needs a vector.
    #[test]
    fn every_kind_of_secret_record_has_a_vector_under_its_number() {
        let file: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/v1/records.json")).unwrap();
        let mut found = [false; 2];
        for record in file["records"].as_array().unwrap() {
            let (name, bytes) = (record["name"].as_str().unwrap(), record["bytes"].as_str().unwrap());
            let bytes = base16ct::lower::decode_vec(bytes).unwrap();
            if !name.starts_with("secret,") && name != "tombstone" {
                continue;
            }
            let number = match SecretRecord::decode(&bytes).unwrap() {
                SecretRecord::Live(_) => 0,
                SecretRecord::Tombstone { .. } => 1,
            };
            assert_eq!(usize::from(bytes[1]), number, "{name}");
            found[number] = true;
        }
        assert_eq!(found, [true; 2]);
    }
}
