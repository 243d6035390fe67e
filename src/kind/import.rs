//! Import: a person's own secrets, from the formats that keys come in.

use alloc::vec::Vec;

use k256::pkcs8::der::pem;
use k256::pkcs8::{DecodePrivateKey, PrivateKeyInfoRef};
use sec1::EcPrivateKey;
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
        // What was decoded before a wrong digit is secret as well: `decode_vec` wouldn't wipe it.
        let bytes = SecretBytes::try_write_slice(text.len().div_ceil(2), |bytes| {
            base16ct::mixed::decode(text, bytes).map(|_| ()).map_err(|_| NOT_HEX)
        })?;
        Self::raw(kind, bytes.expose())
    }

    /// PKCS#8 (RFC 5208, RFC 5958) in DER, version 1 or 2, not encrypted, for a key of this kind. If it has the public key too,
    /// it must be the private key's.
    ///
    /// # Errors
    /// [`CallerFault::ImportFormat`]; [`CallerFault::WrongKind`] for a kind of arbitrary bytes, which have no such format.
    pub fn pkcs8_der(kind: Kind, der: &[u8]) -> Result<Self, Error> {
        const NOT_PKCS8: CallerFault = CallerFault::ImportFormat("a PKCS#8 key of this kind in DER");
        check_len(der, NOT_PKCS8)?;
        scrubbed::<K256, _>(|| Self::pkcs8(kind, der, NOT_PKCS8))
    }

    /// PKCS#8 in PEM (RFC 7468): one block, "PRIVATE KEY", in lines of any one length. Text before it is skipped, and nothing
    /// may come after.
    ///
    /// # Errors
    /// As for [`PlainSecret::pkcs8_der`].
    pub fn pkcs8_pem(kind: Kind, pem: &str) -> Result<Self, Error> {
        const NOT_PKCS8: CallerFault = CallerFault::ImportFormat("a PKCS#8 key of this kind in PEM");
        from_pem(pem, "PRIVATE KEY", NOT_PKCS8, |der| Self::pkcs8(kind, der, NOT_PKCS8))
    }

    /// A secp256k1 key as SEC 1's `ECPrivateKey` (appendix C.4, RFC 5915) in DER: with the name of the curve, and with its own
    /// public key or none.
    ///
    /// # Errors
    /// [`CallerFault::ImportFormat`].
    pub fn sec1_der(der: &[u8]) -> Result<Self, Error> {
        const NOT_SEC1: CallerFault = CallerFault::ImportFormat("a SEC 1 key on secp256k1 in DER");
        check_len(der, NOT_SEC1)?;
        scrubbed::<K256, _>(|| Self::sec1(der, NOT_SEC1))
    }

    /// The same in PEM: one block, "EC PRIVATE KEY", as in [`PlainSecret::pkcs8_pem`]. `openssl ecparam -genkey` writes one before
    /// it, "EC PARAMETERS", unless it is told `-noout`.
    ///
    /// # Errors
    /// [`CallerFault::ImportFormat`].
    pub fn sec1_pem(pem: &str) -> Result<Self, Error> {
        const NOT_SEC1: CallerFault = CallerFault::ImportFormat("a SEC 1 key on secp256k1 in PEM");
        from_pem(pem, "EC PRIVATE KEY", NOT_SEC1, |der| Self::sec1(der, NOT_SEC1))
    }

    fn pkcs8(kind: Kind, der: &[u8], fault: CallerFault) -> Result<Self, Error> {
        match kind {
            Kind::Bytes(_) => Err(CallerFault::WrongKind(kind).into()),
            Kind::Secp256k1 => {
                let info = PrivateKeyInfoRef::try_from(der).map_err(|_| fault.clone())?;
                let (inside, public) = (ec_private_key(info.private_key.as_bytes()), info.public_key);
                let key = inside.and_then(|_| k256::SecretKey::try_from(info).ok()).ok_or(fault.clone())?;
                let is_its_own = |public: k256::PublicKey| public == key.public_key();
                if public.is_none_or(|p| k256::PublicKey::from_sec1_bytes(p.raw_bytes()).is_ok_and(is_its_own)) {
                    Self::secp256k1(&key)
                } else {
                    Err(fault.into())
                }
            }
            Kind::Ed25519 => Self::ed25519(&ed25519_dalek::SigningKey::from_pkcs8_der(der).map_err(|_| fault)?),
        }
    }

    fn sec1(der: &[u8], fault: CallerFault) -> Result<Self, Error> {
        // RFC 5915, section 3: the curve is always named, though the syntax lets it be left out.
        let named = ec_private_key(der).filter(|key| key.parameters.is_some());
        Self::secp256k1(&named.and_then(|key| k256::SecretKey::try_from(key).ok()).ok_or(fault)?)
    }

    fn secp256k1(key: &k256::SecretKey) -> Result<Self, Error> {
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

/// An `ECPrivateKey` whose scalar has all its 32 bytes (RFC 5915, section 3). `k256` takes a shorter one, which may have been cut.
fn ec_private_key(der: &[u8]) -> Option<EcPrivateKey<'_>> {
    EcPrivateKey::try_from(der).ok().filter(|key| key.private_key.len() == 32)
}

/// Reads the one block of a PEM text, which has this label. Its DER is decoded into memory that is wiped, whatever comes of it.
fn from_pem(
    text: &str,
    label: &str,
    fault: CallerFault,
    read: impl FnOnce(&[u8]) -> Result<PlainSecret, Error>,
) -> Result<PlainSecret, Error> {
    check_len(text.as_bytes(), fault.clone())?;
    scrubbed::<K256, _>(|| {
        let mut decoder = pem::Decoder::new_detect_wrap(text.as_bytes()).map_err(|_| fault.clone())?;
        if decoder.type_label() != label {
            return Err(fault.into());
        }
        let mut room = Zeroizing::new(alloc::vec![0; decoder.remaining_len()]);
        let der = decoder.decode(&mut room).map_err(|_| fault.clone())?;
        if decoder.is_finished() { read(der) } else { Err(fault.into()) }
    })
}

/// The longest input that is looked at: twice the most bytes that a secret has.
const MAX_INPUT: usize = 131_072;

fn check_len(input: &[u8], fault: CallerFault) -> Result<(), CallerFault> {
    if input.len() > MAX_INPUT { Err(fault) } else { Ok(()) }
}
