//! Import: a person's own secret becomes a pending one, in the same way as a generated one. It has no row in the table:
//! its request is [`super::generate`]'s, its storing [`super::store`]'s (`docs/protocol.md`, "Import").

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use rand_core::CryptoRng;

use super::generate;
use super::store::PendingSecrets;
use crate::client::{Call, ClientSession, Exchange, Framed};
use crate::codec::{MAX_BATCH, MAX_PAGE};
use crate::error::{CallerFault, Error, PeerFault, check_batch};
use crate::head::VaultPin;
use crate::kind::{Origin, PlainSecret};
use crate::secret::SecretBytes;
use crate::vault::Vault;

/// An import under way.
pub struct Import {
    vault: Arc<Vault>,
    since: VaultPin,
    secrets: Vec<PlainSecret>,
    binder_nonces: SecretBytes,
}

impl ClientSession {
    /// Starts to import 1 to 256 secrets, of 512 KiB together (as many come back in one retrieval only if their headers fit
    /// too). Gives [`PendingSecrets`], one for each, in order: sealed, not yet stored. Keep them, then
    /// [`ClientSession::store`] them, as generated ones.
    ///
    /// # Errors
    /// [`CallerFault::VaultClosed`];
    /// [`CallerFault::BatchLength`]; [`CallerFault::TooLong`] for more than 512 KiB.
    pub fn import(
        &mut self,
        secrets: Vec<PlainSecret>,
        rng: &mut impl CryptoRng,
    ) -> Result<Exchange<Framed<Import>>, Error> {
        check_batch(&secrets, MAX_BATCH)?;
        let len = secrets.iter().fold(0usize, |sum, secret| sum.saturating_add(secret.expose().len()));
        if len > MAX_PAGE {
            return Err(CallerFault::TooLong { max: MAX_PAGE }.into());
        }
        let since = self.open_tip()?.pin();
        let binder_nonces = generate::draw_nonces(secrets.len(), rng)?;
        let kinds = secrets.iter().map(PlainSecret::kind).collect();
        let request = super::Request::Generate(generate::Request { kinds });
        let call = Import { vault: Arc::clone(self.vault()), since, secrets, binder_nonces };
        self.call(&request, call)
    }
}

impl Call for Import {
    type Output = PendingSecrets;

    fn answer(&self, reply: super::Reply) -> Result<Self::Output, Error> {
        let super::Reply::Generate(generate::Reply { server_random }) = reply else {
            return Err(PeerFault::OutOfOrder.into());
        };
        let (nonces, _) = self.binder_nonces.expose().as_chunks();
        let sealed = self.vault.seal(&self.secrets, Origin::Imported, server_random, nonces)?;
        Ok(PendingSecrets::new(&self.vault, sealed, Some(self.since)))
    }
}

impl fmt::Debug for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Import").field("secrets", &self.secrets.len()).finish_non_exhaustive()
    }
}
