//! Vault key, wrap, binder, seal and open, and the chain of heads: what only the client knows.

pub(crate) mod chain;

use alloc::vec::Vec;
use core::fmt;

use crate::codec::joined;
use crate::error::{Error, PeerFault};
use crate::head::VaultPin;
use crate::header::{Header, SealedSecret};
use crate::id::{KeyId, UserId};
use crate::kind::{Kind, Origin, PlainSecret};
use crate::message::Wrap;
use crate::secret::{HASHES, Key, SecretBytes, scrubbed};
use crate::suite::opaque::LongKey;
use crate::suite::{Draw, MacKey, Prk, VERSION, expand_key, extract, label, open_secret, seal_secret};

/// Each key here seals one message (the record key), or one per registration (the wrap key): the nonce is fixed.
const ONE_MESSAGE: [u8; 12] = [0; 12];

/// A person's vault: the vault key and the keys that are always needed of it.
pub(crate) struct Vault {
    user_id: UserId,
    vault_key: Key,
    binder_key: MacKey,
    generation_hedge: Key,
    head_key: Key,
    element_key: MacKey,
    record_prk: Prk,
    pending_key: MacKey,
}

impl Vault {
    /// Makes a new vault at registration, and its wrap.
    ///
    /// `vault key = HKDF-Extract(salt = Expand(export_key, "vault hedge"), ikm = random[32])`: fresh if the
    /// client's generator is, and still unknown to the server if it isn't (RFC 8937's arrangement).
    pub(crate) fn create(export_key: &LongKey, user_id: UserId, draw: &mut Draw) -> Result<(Self, Wrap), Error> {
        let hedge = expand_key(export_key.expose(), label::VAULT_HEDGE, &[])?;
        let vault_key = extract(&hedge, &draw.key());
        let vault = Self::with_key(user_id, vault_key)?;
        let wrap = vault.wrap(export_key)?;
        Ok((vault, wrap))
    }

    /// Seals the vault key under a key from `export_key`, which is new with every registration and change of password.
    pub(crate) fn wrap(&self, export_key: &LongKey) -> Result<Wrap, Error> {
        let (key, aad) = (wrap_key(export_key, self.user_id)?, wrap_aad(self.user_id));
        let sealed = seal_secret(&key, ONE_MESSAGE, &aad, self.vault_key.expose())?;
        sealed.as_slice().try_into().map_err(|_| PeerFault::DamagedWrap.into())
    }

    /// Opens the wrap that a login brought.
    ///
    /// # Errors
    /// [`PeerFault::DamagedWrap`] if it isn't this user's, or was damaged. Nothing is made in its place.
    pub(crate) fn unwrap(export_key: &LongKey, user_id: UserId, wrap: &Wrap) -> Result<Self, Error> {
        let opened = open_secret(&wrap_key(export_key, user_id)?, ONE_MESSAGE, &wrap_aad(user_id), wrap)
            .map_err(|_| PeerFault::DamagedWrap)?;
        let vault_key = Key::try_write(|key| {
            let bytes: &[u8; 32] = opened.expose().try_into().map_err(|_| PeerFault::DamagedWrap)?;
            key.copy_from_slice(bytes);
            Ok::<_, Error>(())
        })?;
        Self::with_key(user_id, vault_key)
    }

    fn with_key(user_id: UserId, vault_key: Key) -> Result<Self, Error> {
        let prk = Prk::new(vault_key.expose())?;
        scrubbed::<HASHES, _>(|| {
            let key = |label| prk.expand_key(label, &[]);
            let (binder_key, element_key) = (MacKey::new(&key(label::BINDER)?)?, MacKey::new(&key(label::ELEMENT)?)?);
            let (generation_hedge, head_key) = (key(label::GENERATION_HEDGE)?, key(label::HEAD)?);
            let pending_key = MacKey::new(&key(label::PENDING)?)?;
            Ok(Self {
                user_id,
                vault_key,
                binder_key,
                generation_hedge,
                head_key,
                element_key,
                record_prk: prk,
                pending_key,
            })
        })
    }

    /// Whose vault it is.
    pub(crate) fn user_id(&self) -> UserId {
        self.user_id
    }

    /// Makes the secrets of one generation, shaped to their kinds, each with its index.
    ///
    /// `PRK = HKDF-Extract(salt = generation hedge, ikm = client_random)`, secret = `HKDF-Expand(PRK, info("secret", user_id,
    /// kind, server random, index), L)`: the server's bytes come in as public input.
    pub(crate) fn generate(
        &self,
        client_random: &Key,
        server_random: [u8; 32],
        kinds: &[Kind],
    ) -> Result<Vec<PlainSecret>, Error> {
        let prk = Prk::extract(&self.generation_hedge, client_random);
        let draw = |(index, kind): (u16, &Kind)| {
            let secret = kind.shape(|out| {
                let fields = [self.user_id.as_bytes(), &kind.to_bytes()[..], &server_random, &index.to_be_bytes()];
                prk.expand(label::SECRET, &fields, out)
            })?;
            Ok((*kind, secret))
        };
        let secrets = scrubbed::<HASHES, _>(|| (0..).zip(kinds).map(draw).collect::<Result<_, Error>>())?;
        PlainSecret::generated(secrets)
    }

    /// Composes the header of each secret, which commits to it and has its index, and seals it under a key of its own.
    ///
    /// `binder = HMAC-SHA-256(K_bind, nonce[32] ‖ header so far ‖ secret)`. The nonce isn't kept and the binder isn't
    /// computed again: it makes one header stand for one plaintext, even if both random sources repeat.
    pub(crate) fn seal(
        &self,
        secrets: &[PlainSecret],
        origin: Origin,
        server_random: [u8; 32],
        binder_nonces: &[[u8; 32]],
    ) -> Result<Vec<SealedSecret>, Error> {
        let seal = |((index, secret), nonce): ((u16, &PlainSecret), &[u8; 32])| {
            let public = secret.public();
            let header =
                Header::compose(self.user_id, secret.kind(), origin, server_random, index, public, |unbound| {
                    self.binder_key.mac([nonce.as_slice(), unbound, secret.expose()])
                });
            let aad = header.bytes();
            let ciphertext = seal_secret(&self.record_key(&aad)?, ONE_MESSAGE, &aad, secret.expose())?;
            Ok(SealedSecret { header, ciphertext })
        };
        scrubbed::<HASHES, _>(|| (0..).zip(secrets).zip(binder_nonces).map(seal).collect())
    }

    /// Opens a secret: it belongs to this user and was sealed by this vault, header included.
    ///
    /// # Errors
    /// [`PeerFault::DamagedSecret`] otherwise.
    pub(crate) fn open(&self, sealed: &SealedSecret) -> Result<SecretBytes, Error> {
        self.open_under(sealed, &sealed.header.bytes())
    }

    /// Opens a secret for the sake of its header alone, and gives its key ID.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub(crate) fn verify(&self, sealed: &SealedSecret) -> Result<KeyId, Error> {
        let header = sealed.header.bytes();
        self.open_under(sealed, &header)?;
        Ok(Header::name(&header))
    }

    fn open_under(&self, sealed: &SealedSecret, header: &[u8]) -> Result<SecretBytes, Error> {
        let damaged = || PeerFault::DamagedSecret { key_id: Header::name(header) };
        if sealed.header.user_id() != self.user_id || sealed.ciphertext.len() != sealed.header.ciphertext_len() {
            return Err(damaged().into());
        }
        let open = || open_secret(&self.record_key(header)?, ONE_MESSAGE, header, &sealed.ciphertext);
        scrubbed::<HASHES, _>(open).map_err(|_| damaged().into())
    }

    /// The tag by which secrets that were made together, and the head that they were made at, are known again:
    /// `HMAC-SHA-256(pending key, pin[40] ‖ key ID of each)`, with 0[40] for no pin.
    pub(crate) fn pending_tag<'a>(
        &self,
        since: Option<&VaultPin>,
        key_ids: impl IntoIterator<Item = &'a KeyId>,
    ) -> [u8; 32] {
        let since = since.map_or([0; VaultPin::LEN], VaultPin::to_bytes);
        let ids = key_ids.into_iter().map(|key_id| key_id.as_bytes().as_slice());
        scrubbed::<HASHES, _>(|| self.pending_key.mac(core::iter::once(since.as_slice()).chain(ids)))
    }

    fn record_key(&self, header: &[u8]) -> Result<Key, Error> {
        self.record_prk.expand_key(label::RECORD, &[header])
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

fn wrap_key(export_key: &LongKey, user_id: UserId) -> Result<Key, Error> {
    expand_key(export_key.expose(), label::VAULT_WRAP, &[user_id.as_bytes()])
}

fn wrap_aad(user_id: UserId) -> [u8; 17] {
    joined(&[&[VERSION], user_id.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn key(byte: u8) -> Key {
        Key::write(|key| *key = [byte; 32])
    }

    fn vault(user: u8) -> (Vault, Wrap, LongKey) {
        let export_key: LongKey = Secret::write(|key| *key = [1; 64]);
        let mut draw = Draw::new(&key(2), b"test").unwrap();
        let (vault, wrap) = Vault::create(&export_key, UserId::from_bytes([user; 16]), &mut draw).unwrap();
        (vault, wrap, export_key)
    }

    fn generate(vault: &Vault, random: u8, server: u8, index: usize, nonce: u8) -> SealedSecret {
        let secrets = vault.generate(&key(random), [server; 32], &[Kind::default(); 2]).unwrap();
        vault.seal(&secrets, Origin::Generated, [server; 32], &[[nonce; 32]; 2]).unwrap().remove(index)
    }

    #[test]
    fn a_wrap_opens_for_its_own_user_and_export_key_alone() {
        let (vault, wrap, export_key) = vault(1);
        let again = Vault::unwrap(&export_key, vault.user_id(), &wrap).unwrap();
        assert_eq!(again.vault_key.expose(), vault.vault_key.expose());
        assert!(Vault::unwrap(&export_key, UserId::from_bytes([2; 16]), &wrap).is_err());
        let other: LongKey = Secret::write(|key| *key = [9; 64]);
        assert!(Vault::unwrap(&other, vault.user_id(), &wrap).is_err());
        let mut damaged = wrap;
        damaged[0] ^= 1;
        assert_eq!(
            Vault::unwrap(&export_key, vault.user_id(), &damaged).map(|_| ()),
            Err(PeerFault::DamagedWrap.into())
        );
    }

    /// The PRF depends on each of its inputs: fresh if either side's bytes are fresh.
    #[test]
    fn a_secret_changes_with_either_sides_random_bytes_the_index_and_the_vault() {
        let ((one, ..), (two, ..)) = (vault(1), vault(2));
        let secret = |sealed| one.open(&sealed).unwrap().expose().to_vec();
        let base = secret(generate(&one, 1, 1, 0, 1));
        assert_eq!(base, secret(generate(&one, 1, 1, 0, 2)), "the binder's nonce is no input");
        assert_ne!(base, secret(generate(&one, 2, 1, 0, 1)));
        assert_ne!(base, secret(generate(&one, 1, 2, 0, 1)));
        assert_ne!(base, secret(generate(&one, 1, 1, 1, 1)));
        assert_ne!(base, two.open(&generate(&two, 1, 1, 0, 1)).unwrap().expose());
    }

    /// Rule 13: one header is one plaintext, even if both random sources repeat.
    #[test]
    fn the_header_commits_to_the_secret_through_its_binder() {
        let (vault, ..) = vault(1);
        let seal = |byte: u8| {
            let secret = PlainSecret::bytes([byte; 32]).unwrap();
            vault.seal(&[secret], Origin::Generated, [1; 32], &[[1; 32]]).unwrap().remove(0)
        };
        assert_eq!(seal(1), seal(1), "a record always seals to the same bytes");
        assert_ne!(seal(1).header, seal(2).header);
        assert_ne!(seal(1).header.key_id(), seal(2).header.key_id());
    }

    #[test]
    fn a_record_opens_with_its_own_header_alone() {
        let (vault, ..) = vault(1);
        let mut a = generate(&vault, 1, 1, 0, 1);
        let b = generate(&vault, 1, 1, 1, 1);
        a.ciphertext.clone_from(&b.ciphertext);
        assert_eq!(vault.open(&a).map(|_| ()), Err(PeerFault::DamagedSecret { key_id: a.header.key_id() }.into()));
    }
}
