//! Header and key ID: what both sides know of a secret.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::Joined;
use crate::error::PeerFault;
use crate::id::{KeyId, UserId};
use crate::kind::{Kind, Origin, PublicComponent};
use crate::suite::{TAG_LEN, VERSION, label, sha256};

/// The public, authenticated part of a stored secret.
///
/// `version[1] ‖ user_id[16] ‖ kind[1] ‖ length[4] ‖ origin[1] ‖ server_random[32] ‖ index[2] ‖
/// public[0|33|32] ‖ binder[32]`, integers big-endian: 89, 122 or 121 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    user_id: UserId,
    kind: Kind,
    origin: Origin,
    server_random: [u8; 32],
    index: u16,
    public: Option<PublicComponent>,
    binder: [u8; 32],
}

impl Header {
    /// Composes a header: first everything but the binder, from which `bind` computes it.
    pub(crate) fn compose(
        user_id: UserId,
        kind: Kind,
        origin: Origin,
        server_random: [u8; 32],
        index: u16,
        public: Option<PublicComponent>,
        bind: impl FnOnce(&[u8]) -> [u8; 32],
    ) -> Self {
        let mut header = Self { user_id, kind, origin, server_random, index, public, binder: [0; 32] };
        header.binder = bind(&header.unbound());
        header
    }

    fn unbound(&self) -> HeaderBytes {
        let public = self.public.as_ref().map_or(&[][..], PublicComponent::as_bytes);
        // One after the other, not in a loop: so their places are known where this is compiled.
        let mut bytes = HeaderBytes::default();
        bytes.push(&[VERSION]);
        bytes.push(self.user_id.as_bytes());
        bytes.push(&self.kind.to_bytes());
        bytes.push(&[self.origin.to_byte()]);
        bytes.push(&self.server_random);
        bytes.push(&self.index.to_be_bytes());
        bytes.push(public);
        bytes
    }

    /// The header's bytes: what is stored, sent, hashed and authenticated.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bytes().to_vec()
    }

    /// The same, without a heap.
    pub(crate) fn bytes(&self) -> HeaderBytes {
        let mut bytes = self.unbound();
        bytes.push(&self.binder);
        bytes
    }

    /// Reads a header. Its public component is checked for its length alone.
    ///
    /// # Errors
    /// [`PeerFault::Version`], or [`PeerFault::Undecodable`] for anything but the bytes of a header.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PeerFault> {
        match bytes.first() {
            Some(&VERSION) => Self::parse(bytes).ok_or(PeerFault::Undecodable),
            Some(&version) => Err(PeerFault::Version(version)),
            None => Err(PeerFault::Undecodable),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (_version, rest) = bytes.split_first()?;
        let (user_id, rest) = rest.split_first_chunk()?;
        let (kind, rest) = rest.split_first_chunk()?;
        let (origin, rest) = rest.split_first()?;
        let (server_random, rest) = rest.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        let kind = Kind::from_bytes(*kind)?;
        let (public, rest) = PublicComponent::split(kind, rest)?;
        Some(Self {
            user_id: UserId::from_bytes(*user_id),
            kind,
            origin: Origin::from_byte(*origin)?,
            server_random: *server_random,
            index: u16::from_be_bytes(*index),
            public,
            binder: rest.try_into().ok()?,
        })
    }

    /// The name of the secret, which commits to all of this header:
    /// `SHA-256("keystow v1 key id" ‖ header)[..16]`.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        Self::name(&self.bytes())
    }

    /// The key ID of a header's bytes.
    pub(crate) fn name(header: &[u8]) -> KeyId {
        let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = sha256(&[label::KEY_ID, header]);
        KeyId::from_bytes(id)
    }

    /// Whose secret it is.
    #[must_use]
    pub const fn user_id(&self) -> UserId {
        self.user_id
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// How it came to be.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// The public component, if the kind has one.
    ///
    /// Believe it only from a header that was opened with its secret: until then it is what somebody wrote.
    #[must_use]
    pub const fn public(&self) -> Option<&PublicComponent> {
        self.public.as_ref()
    }

    /// The length that the secret's ciphertext must have.
    pub(crate) fn ciphertext_len(&self) -> usize {
        usize::try_from(self.kind.secret_len()).unwrap_or(usize::MAX).saturating_add(TAG_LEN)
    }
}

impl Serialize for Header {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.bytes())
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: Cow<'de, [u8]> = serde_bytes::deserialize(deserializer)?;
        Self::from_bytes(&bytes).map_err(D::Error::custom)
    }
}

/// The bytes of a header, or of what there is of one before its binder: there is room for all parts.
type HeaderBytes = Joined<122>;

/// A secret as the server keeps it: its header, and the secret sealed under the vault key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// The public part, authenticated with the secret.
    pub header: Header,
    /// AES-256-GCM-SIV ciphertext and 16-byte tag.
    #[serde(with = "serde_bytes")]
    pub ciphertext: Vec<u8>,
}

impl SealedSecret {
    /// Bytes that the secret takes on the wire, about: header and ciphertext.
    pub(crate) fn len(&self) -> usize {
        self.header.bytes().len().saturating_add(self.ciphertext.len())
    }
}

impl core::fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SealedSecret")
            .field("key_id", &self.header.key_id())
            .field("kind", &self.header.kind)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: Kind) -> Header {
        let public = match kind {
            Kind::Bytes(_) => None,
            Kind::Secp256k1 => Some(PublicComponent::Secp256k1([2; 33])),
            Kind::Ed25519 => Some(PublicComponent::Ed25519([3; 32])),
        };
        Header::compose(UserId::from_bytes([7; 16]), kind, Origin::Generated, [8; 32], 9, public, |_| [5; 32])
    }

    #[test]
    fn lengths_are_as_documented() {
        for (kind, len) in [(Kind::default(), 89), (Kind::Secp256k1, 122), (Kind::Ed25519, 121)] {
            assert_eq!(header(kind).to_bytes().len(), len);
        }
    }

    #[test]
    fn only_the_exact_bytes_are_a_header() {
        for kind in [Kind::Bytes(32), Kind::Secp256k1, Kind::Ed25519] {
            let bytes = header(kind).to_bytes();
            assert_eq!(Header::from_bytes(&bytes), Ok(header(kind)));
            for len in 1..bytes.len() {
                assert_eq!(Header::from_bytes(&bytes[..len]), Err(PeerFault::Undecodable));
            }
            assert_eq!(Header::from_bytes(&[&bytes[..], &[0]].concat()), Err(PeerFault::Undecodable));
        }
        assert_eq!(Header::from_bytes(&[2; 89]), Err(PeerFault::Version(2)));
        assert_eq!(Header::from_bytes(&[]), Err(PeerFault::Undecodable));
    }

    #[test]
    fn the_key_id_changes_with_every_byte_of_the_header() {
        let bytes = header(Kind::Ed25519).to_bytes();
        let key_id = header(Kind::Ed25519).key_id();
        for i in 0..bytes.len() {
            let mut other = bytes.clone();
            other[i] ^= 1;
            assert!(Header::from_bytes(&other).map_or(true, |other| other.key_id() != key_id), "byte {i}");
        }
    }
}
