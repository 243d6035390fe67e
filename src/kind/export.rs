//! Export: a retrieved secret in the formats that keys travel in. Every buffer is wiped when dropped.

use alloc::string::String;

use ed25519_dalek::pkcs8::KeypairBytes;
use k256::pkcs8::{EncodePrivateKey, LineEnding};
use ssh_encoding::base64::{Base64, Encoding};
use zeroize::Zeroizing;

use super::{Kind, PublicComponent};
use crate::error::{CallerFault, Error};
use crate::operation::retrieve::RetrievedSecret;
use crate::secret::{K256, SecretBytes, scrubbed};

impl RetrievedSecret {
    /// PKCS#8 in DER: for secp256k1 with the public key inside (RFC 5915), for Ed25519 in version 1 (RFC 8410), which
    /// OpenSSL 3.0 loads.
    ///
    /// # Errors
    /// [`CallerFault::WrongKind`] for arbitrary bytes.
    pub fn to_pkcs8_der(&self) -> Result<SecretBytes, Error> {
        scrubbed::<K256, _>(|| {
            let document = match self.kind() {
                Kind::Bytes(_) => None,
                Kind::Secp256k1 => self.secp256k1()?.to_pkcs8_der().ok(),
                Kind::Ed25519 => self.ed25519_version_1()?.to_pkcs8_der().ok(),
            };
            let document = document.ok_or_else(|| self.wrong_kind())?;
            Ok(SecretBytes::concat(&[document.as_bytes()]))
        })
    }

    /// The same in PEM (RFC 7468).
    ///
    /// # Errors
    /// [`CallerFault::WrongKind`] for arbitrary bytes.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, Error> {
        scrubbed::<K256, _>(|| {
            let pem = match self.kind() {
                Kind::Bytes(_) => None,
                Kind::Secp256k1 => self.secp256k1()?.to_pkcs8_pem(LineEnding::LF).ok(),
                Kind::Ed25519 => self.ed25519_version_1()?.to_pkcs8_pem(LineEnding::LF).ok(),
            };
            pem.ok_or_else(|| self.wrong_kind())
        })
    }

    /// SEC 1's `ECPrivateKey` (appendix C.4, RFC 5915) in PEM.
    ///
    /// # Errors
    /// [`CallerFault::WrongKind`] for anything but secp256k1.
    pub fn to_sec1_pem(&self) -> Result<Zeroizing<String>, Error> {
        scrubbed::<K256, _>(|| self.secp256k1()?.to_sec1_pem(LineEnding::LF).map_err(|_| self.wrong_kind()))
    }

    pub(super) fn secp256k1(&self) -> Result<k256::SecretKey, Error> {
        match self.kind() {
            Kind::Secp256k1 => k256::SecretKey::from_slice(self.expose()).map_err(|_| self.wrong_kind()),
            _ => Err(self.wrong_kind()),
        }
    }

    pub(super) fn ed25519(&self) -> Result<ed25519_dalek::SigningKey, Error> {
        match (self.kind(), self.expose().try_into()) {
            (Kind::Ed25519, Ok(seed)) => Ok(ed25519_dalek::SigningKey::from_bytes(seed)),
            _ => Err(self.wrong_kind()),
        }
    }

    /// Version 1 of PKCS#8 has no public key.
    fn ed25519_version_1(&self) -> Result<KeypairBytes, Error> {
        match (self.kind(), self.expose().try_into()) {
            (Kind::Ed25519, Ok(secret_key)) => Ok(KeypairBytes { secret_key, public_key: None }),
            _ => Err(self.wrong_kind()),
        }
    }

    fn wrong_kind(&self) -> Error {
        CallerFault::WrongKind(self.kind()).into()
    }
}

/// RFC 8709, section 4: the name of the key format.
const SSH_ED25519: &str = "ssh-ed25519";

impl PublicComponent {
    /// An Ed25519 public key as a line of OpenSSH's `authorized_keys`, without a comment (RFC 4253, section 6.6;
    /// RFC 8709, section 4).
    ///
    /// # Errors
    /// [`CallerFault::WrongKind`] for secp256k1, which OpenSSH doesn't have.
    pub fn to_openssh(&self) -> Result<String, Error> {
        let wrong_kind = CallerFault::WrongKind(Kind::Secp256k1);
        let Self::Ed25519(key) = self else {
            return Err(wrong_kind.into());
        };
        let mut blob = alloc::vec::Vec::new();
        let encode = |text: &[u8], blob: &mut alloc::vec::Vec<u8>| ssh_encoding::Encode::encode(text, blob);
        encode(SSH_ED25519.as_bytes(), &mut blob).map_err(|_| wrong_kind.clone())?;
        encode(key, &mut blob).map_err(|_| wrong_kind)?;
        Ok([SSH_ED25519, " ", &Base64::encode_string(&blob)].concat())
    }
}
