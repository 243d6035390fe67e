//! Public components: computed from secrets, one or many at a time, and checked.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crypto_bigint::U256;
use k256::ProjectivePoint;
use k256::elliptic_curve::BatchNormalize;
use k256::elliptic_curve::sec1::ToSec1Point;
use k256::pkcs8::{EncodePublicKey, LineEnding};

use super::Kind;
use crate::error::{CallerFault, Error, PeerFault};
use crate::id::hex;
use crate::secret::{CURVES, K256, scrubbed};

const BAD: CallerFault = CallerFault::DamagedPending;

impl Kind {
    /// Computes the public component from the secret.
    ///
    /// # Errors
    /// [`CallerFault::DamagedPending`] for bytes that are no secret of this kind: a wrong length, or a
    /// secp256k1 scalar that is zero or not below the group's order.
    pub(crate) fn public(self, secret: &[u8]) -> Result<Option<PublicComponent>, Error> {
        if u32::try_from(secret.len()) != Ok(self.secret_len()) {
            return Err(BAD.into());
        }
        match self {
            Self::Bytes(_) => Ok(None),
            Self::Secp256k1 => scrubbed::<K256, _>(|| {
                let key = k256::SecretKey::from_slice(secret).map_err(|_| BAD)?;
                compressed(&key.public_key()).map(Some)
            }),
            Self::Ed25519 => scrubbed::<CURVES, _>(|| {
                let seed = secret.try_into().map_err(|_| BAD)?;
                let key = ed25519_dalek::SigningKey::from_bytes(seed);
                Ok(Some(PublicComponent::Ed25519(key.verifying_key().to_bytes())))
            }),
        }
    }
}

fn compressed(point: &impl ToSec1Point<k256::Secp256k1>) -> Result<PublicComponent, Error> {
    let point = point.to_sec1_point(true);
    Ok(PublicComponent::Secp256k1(point.as_bytes().try_into().map_err(|_| BAD)?))
}

/// How many points share one inversion.
const TOGETHER: usize = 16;

/// The public component of each secret, as [`Kind::public`] computes it. Points of secp256k1 share the inversion that makes
/// them affine, an eighth of the work of one alone.
pub(crate) fn publics(secrets: &[(Kind, &[u8])]) -> Vec<Result<Option<PublicComponent>, Error>> {
    let mut publics = Vec::with_capacity(secrets.len());
    for secrets in secrets.chunks(TOGETHER) {
        if secrets.iter().filter(|(kind, _)| *kind == Kind::Secp256k1).count() > 1 {
            publics.extend(scrubbed::<K256, _>(|| together(secrets)));
        } else {
            publics.extend(secrets.iter().map(|(kind, secret)| kind.public(secret)));
        }
    }
    publics
}

/// [`publics`] of up to 16 secrets. No key is kept in a list: a free place in one takes along what lay on the stack.
fn together(secrets: &[(Kind, &[u8])]) -> Vec<Result<Option<PublicComponent>, Error>> {
    // In the place of what is no key of secp256k1, the generator: it isn't given to anybody.
    let (mut points, mut multiplied) = ([ProjectivePoint::GENERATOR; TOGETHER], [false; TOGETHER]);
    for ((kind, secret), (point, multiplied)) in secrets.iter().zip(points.iter_mut().zip(&mut multiplied)) {
        if *kind == Kind::Secp256k1
            && let Ok(key) = k256::SecretKey::from_slice(secret)
        {
            (*point, *multiplied) = (ProjectivePoint::mul_by_generator(&key.to_nonzero_scalar()), true);
        }
    }
    let affine = ProjectivePoint::batch_normalize(&points);
    let public = |((kind, secret), (point, multiplied)): (&(Kind, &[u8]), (_, _))| {
        if multiplied { compressed(point).map(Some) } else { kind.public(secret) }
    };
    secrets.iter().zip(affine.iter().zip(multiplied)).map(public).collect()
}

/// The part of a secret that anybody may know: a public key. `Display` writes it in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublicComponent {
    /// A compressed secp256k1 point, 33 bytes (SEC 1, section 2.3.3).
    Secp256k1([u8; 33]),
    /// An Ed25519 public key, 32 bytes (RFC 8032, section 5.1.2).
    Ed25519([u8; 32]),
}

impl PublicComponent {
    /// The bytes: 33 or 32.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Secp256k1(bytes) => bytes,
            Self::Ed25519(bytes) => bytes,
        }
    }

    /// SubjectPublicKeyInfo (RFC 5280) in PEM (RFC 7468), as `openssl pkey -pubin` reads it.
    ///
    /// # Errors
    /// [`PeerFault::InvalidElement`] if the bytes are no valid public key, the one way to write it: every key from this crate is.
    pub fn to_spki_pem(&self) -> Result<String, Error> {
        if !self.is_valid() {
            return Err(PeerFault::InvalidElement.into());
        }
        match self {
            Self::Secp256k1(bytes) => {
                k256::PublicKey::from_sec1_bytes(bytes).ok().and_then(|key| key.to_public_key_pem(LineEnding::LF).ok())
            }
            Self::Ed25519(bytes) => ed25519_dalek::VerifyingKey::from_bytes(bytes)
                .ok()
                .and_then(|key| key.to_public_key_pem(LineEnding::LF).ok()),
        }
        .ok_or(PeerFault::InvalidElement.into())
    }

    /// Splits a public component of `kind` off the front of `bytes`, by length alone.
    pub(crate) fn split(kind: Kind, bytes: &[u8]) -> Option<(Option<Self>, &[u8])> {
        Some(match kind {
            Kind::Bytes(_) => (None, bytes),
            Kind::Secp256k1 => bytes.split_first_chunk().map(|(key, rest)| (Some(Self::Secp256k1(*key)), rest))?,
            Kind::Ed25519 => bytes.split_first_chunk().map(|(key, rest)| (Some(Self::Ed25519(*key)), rest))?,
        })
    }

    /// Whether the bytes are a valid public key: a point of the curve, and for Ed25519 not one of small order.
    pub(crate) fn is_valid(&self) -> bool {
        match self {
            // The sec1 crate takes 33 bytes tagged 5 for a point too ("compact"): SEC 1 has 2 and 3.
            Self::Secp256k1(bytes @ [2 | 3, ..]) => k256::PublicKey::from_sec1_bytes(bytes).is_ok(),
            Self::Secp256k1(_) => false,
            // dalek takes a point that isn't written canonically: RFC 8032, section 5.1.3, doesn't.
            Self::Ed25519(bytes) => {
                is_canonical(bytes) && ed25519_dalek::VerifyingKey::from_bytes(bytes).is_ok_and(|key| !key.is_weak())
            }
        }
    }
}

/// Whether y, without the sign of x in its highest bit, is below p = 2^255 - 19 (RFC 8032, section 5.1.3, step 1). Step 4's
/// second form of a point, x = 0 with a sign, is one of small order.
fn is_canonical(point: &[u8; 32]) -> bool {
    const P: U256 = U256::from_be_hex("7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed");
    let mut y = *point;
    if let Some(highest) = y.last_mut() {
        *highest &= 0x7f;
    }
    U256::from_le_slice(&y) < P
}

impl fmt::Display for PublicComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(self.as_bytes(), f)
    }
}

impl fmt::Debug for PublicComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicComponent({self})")
    }
}
