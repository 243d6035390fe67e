//! Sign with a retrieved key, without handing out its bytes.

use alloc::vec::Vec;
use core::fmt;

use ed25519_dalek::Signer;

use crate::error::Error;
use crate::operation::retrieve::RetrievedSecret;
use crate::secret::{CURVES, K256, scrubbed};
use crate::suite::sha256;

/// An ECDSA signature on secp256k1, with a low S.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EcdsaSignature {
    signature: k256::ecdsa::Signature,
    recovery_id: k256::ecdsa::RecoveryId,
}

impl EcdsaSignature {
    /// `r ‖ s`, 32 bytes each, big-endian (IEEE P1363).
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 64] {
        self.signature.to_bytes().into()
    }

    /// The `ECDSA-Sig-Value` of RFC 3279, section 2.2.3, in DER: at most 71 bytes, as S is low. What `openssl` takes.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        self.signature.to_der().as_bytes().to_vec()
    }

    /// Which of the up to four public keys that the signature belongs to is the signer's (SEC 1, section 4.1.6): 0 to 3.
    #[must_use]
    pub fn recovery_id(&self) -> u8 {
        self.recovery_id.to_byte()
    }
}

impl fmt::Debug for EcdsaSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EcdsaSignature(")?;
        crate::id::hex(&self.to_bytes(), f)?;
        f.write_str(")")
    }
}

impl RetrievedSecret {
    /// Signs the SHA-256 of `message` with ECDSA on secp256k1: RFC 6979 nonces, low S.
    ///
    /// # Errors
    /// [`crate::CallerFault::WrongKind`] for anything but secp256k1.
    pub fn sign_ecdsa(&self, message: &[u8]) -> Result<EcdsaSignature, Error> {
        self.sign_ecdsa_prehash(&sha256(&[message]))
    }

    /// Signs a 32-byte hash as it is, for messages that are hashed otherwise than with SHA-256.
    ///
    /// **Compute the hash yourself, with a cryptographic hash function**: whoever chooses these 32 bytes chooses what is signed.
    ///
    /// # Errors
    /// [`crate::CallerFault::WrongKind`] for anything but secp256k1.
    pub fn sign_ecdsa_prehash(&self, hash: &[u8; 32]) -> Result<EcdsaSignature, Error> {
        scrubbed::<K256, _>(|| {
            let key = k256::ecdsa::SigningKey::from(self.secp256k1()?);
            let (signature, recovery_id) = key.sign_prehash_recoverable(hash);
            Ok(EcdsaSignature { signature, recovery_id })
        })
    }

    /// Signs `message` with Ed25519 (RFC 8032, section 5.1.6): 64 bytes.
    ///
    /// # Errors
    /// [`crate::CallerFault::WrongKind`] for anything but Ed25519.
    pub fn sign_ed25519(&self, message: &[u8]) -> Result<[u8; 64], Error> {
        scrubbed::<CURVES, _>(|| Ok(self.ed25519()?.sign(message).to_bytes()))
    }
}
