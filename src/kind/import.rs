//! Import: a person's own secrets, from the formats that keys come in.

use alloc::vec::Vec;

use k256::pkcs8::{DecodePrivateKey, SecretDocument};
use zeroize::Zeroizing;

use super::{Kind, PublicComponent, publics};
use crate::error::{CallerFault, Error};
use crate::secret::{K256, SecretBytes, scrubbed};

/// A secret in the clear, to be imported: checked to be one of its kind, wiped when dropped.
#[derive(Debug)]
pub struct PlainSecret {
    kind: Kind,
    bytes: SecretBytes,
    public: Option<PublicComponent>,
}

impl PlainSecret {
    /// Arbitrary bytes: 1 to 65,536.
    ///
    /// # Errors
    /// [`CallerFault::SecretLength`].
    pub fn bytes(bytes: impl AsRef<[u8]>) -> Result<Self, Error> {
        let bytes = bytes.as_ref();
        let kind = Kind::Bytes(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        kind.check_stored()?;
        Ok(Self { kind, bytes: SecretBytes::concat(&[bytes]), public: None })
    }

    /// Raw bytes: for [`Kind::Secp256k1`] a 32-byte big-endian scalar, not zero and below the group's order; for
    /// [`Kind::Ed25519`] a 32-byte seed; for [`Kind::Bytes`] as many as it says.
    ///
    /// # Errors
    /// [`CallerFault::ImportFormat`], [`CallerFault::SecretLength`].
    pub fn raw(kind: Kind, bytes: impl AsRef<[u8]>) -> Result<Self, Error> {
        kind.check_stored()?;
        let bad = |_| CallerFault::ImportFormat("raw bytes of a secret of this kind");
        let public = kind.public(bytes.as_ref()).map_err(bad)?;
        Ok(Self { kind, bytes: SecretBytes::concat(&[bytes.as_ref()]), public })
    }

    /// Raw bytes in hexadecimal, of either case.
    ///
    /// # Errors
    /// [`CallerFault::ImportFormat`], [`CallerFault::SecretLength`].
    pub fn hex(kind: Kind, text: &str) -> Result<Self, Error> {
        const NOT_HEX: CallerFault = CallerFault::ImportFormat("hexadecimal");
        check_len(text.as_bytes(), NOT_HEX)?;
        let bytes = Zeroizing::new(base16ct::mixed::decode_vec(text).map_err(|_| NOT_HEX)?);
        Self::raw(kind, &bytes)
    }

    /// PKCS#8 (RFC 5208, RFC 5958) in DER, version 1 or 2, not encrypted, for a key of this kind.
    ///
    /// # Errors
    /// [`CallerFault::ImportFormat`]; [`CallerFault::WrongKind`] for arbitrary bytes, which have no such format.
    pub fn pkcs8_der(kind: Kind, der: &[u8]) -> Result<Self, Error> {
        const NOT_PKCS8: CallerFault = CallerFault::ImportFormat("a PKCS#8 key of this kind in DER");
        check_len(der, NOT_PKCS8)?;
        scrubbed::<K256, _>(|| match kind {
            Kind::Bytes(_) => Err(CallerFault::WrongKind(kind).into()),
            Kind::Secp256k1 => Self::secp256k1(k256::SecretKey::from_pkcs8_der(der).map_err(|_| NOT_PKCS8)?),
            Kind::Ed25519 => Self::ed25519(&ed25519_dalek::SigningKey::from_pkcs8_der(der).map_err(|_| NOT_PKCS8)?),
        })
    }

    /// PKCS#8 in PEM (RFC 7468): one block, "PRIVATE KEY".
    ///
    /// # Errors
    /// As for [`PlainSecret::pkcs8_der`].
    pub fn pkcs8_pem(kind: Kind, pem: &str) -> Result<Self, Error> {
        const NOT_PKCS8: CallerFault = CallerFault::ImportFormat("a PKCS#8 key of this kind in PEM");
        check_len(pem.as_bytes(), NOT_PKCS8)?;
        scrubbed::<K256, _>(|| match kind {
            Kind::Bytes(_) => Err(CallerFault::WrongKind(kind).into()),
            Kind::Secp256k1 => Self::secp256k1(k256::SecretKey::from_pkcs8_pem(pem).map_err(|_| NOT_PKCS8)?),
            Kind::Ed25519 => Self::ed25519(&ed25519_dalek::SigningKey::from_pkcs8_pem(pem).map_err(|_| NOT_PKCS8)?),
        })
    }

    /// A secp256k1 key as SEC 1's `ECPrivateKey` (appendix C.4, RFC 5915) in DER.
    ///
    /// # Errors
    /// [`CallerFault::ImportFormat`].
    pub fn sec1_der(der: &[u8]) -> Result<Self, Error> {
        const NOT_SEC1: CallerFault = CallerFault::ImportFormat("a SEC 1 key on secp256k1 in DER");
        check_len(der, NOT_SEC1)?;
        scrubbed::<K256, _>(|| Self::secp256k1(k256::SecretKey::from_sec1_der(der).map_err(|_| NOT_SEC1)?))
    }

    /// The same in PEM: one block, "EC PRIVATE KEY".
    ///
    /// # Errors
    /// [`CallerFault::ImportFormat`].
    pub fn sec1_pem(pem: &str) -> Result<Self, Error> {
        const NOT_SEC1: CallerFault = CallerFault::ImportFormat("a SEC 1 key on secp256k1 in PEM");
        check_len(pem.as_bytes(), NOT_SEC1)?;
        scrubbed::<K256, _>(|| {
            // k256's own from_sec1_pem decodes into memory that it doesn't wipe.
            match SecretDocument::from_pem(pem) {
                Ok(("EC PRIVATE KEY", der)) => {
                    Self::secp256k1(k256::SecretKey::from_sec1_der(der.as_bytes()).map_err(|_| NOT_SEC1)?)
                }
                _ => Err(NOT_SEC1.into()),
            }
        })
    }

    fn secp256k1(key: k256::SecretKey) -> Result<Self, Error> {
        Self::raw(Kind::Secp256k1, Zeroizing::new(key.to_bytes()).as_slice())
    }

    fn ed25519(key: &ed25519_dalek::SigningKey) -> Result<Self, Error> {
        Self::raw(Kind::Ed25519, key.as_bytes())
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Those that were generated, which are of their kinds.
    ///
    /// # Errors
    /// As [`Kind::public`].
    pub(crate) fn generated(secrets: Vec<(Kind, SecretBytes)>) -> Result<Vec<Self>, Error> {
        let exposed: Vec<_> = secrets.iter().map(|(kind, bytes)| (*kind, bytes.expose())).collect();
        let publics = publics(&exposed);
        let plain = |((kind, bytes), public): (_, Result<_, _>)| Ok(Self { kind, bytes, public: public? });
        secrets.into_iter().zip(publics).map(plain).collect()
    }

    /// What of it anybody may know.
    pub(crate) fn public(&self) -> Option<PublicComponent> {
        self.public
    }

    pub(crate) fn expose(&self) -> &[u8] {
        self.bytes.expose()
    }
}

/// The longest input that is looked at: twice the most bytes that a secret has.
const MAX_INPUT: usize = 131_072;

fn check_len(input: &[u8], fault: CallerFault) -> Result<(), CallerFault> {
    if input.len() > MAX_INPUT { Err(fault) } else { Ok(()) }
}
