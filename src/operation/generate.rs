//! Generate: the server sends random bytes, the client makes secrets of them (`docs/protocol.md`, "Generate").

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use super::store::PendingSecrets;
use crate::client::{Call, ClientSession, Exchange, Framed};
use crate::codec::MAX_BATCH;
use crate::error::{Error, check_batch};
use crate::kind::{Kind, Origin};

/// The client wants to make secrets of these kinds, or to bring them along: 1 to 256, of at most 65,536 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The kinds.
    pub kinds: Vec<Kind>,
}

/// The server's part in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// 32 random bytes, the same for all of a batch: each secret has its index.
    pub server_random: [u8; 32],
}

// --- client half ---------------------------------------------------------------------------------------

use crate::error::PeerFault;
use crate::head::VaultPin;
use crate::secret::{Key, SecretBytes};
use crate::vault::Vault;

/// A generation under way, on the client's side.
pub struct Generate {
    vault: Arc<Vault>,
    since: VaultPin,
    kinds: Vec<Kind>,
    client_random: Key,
    binder_nonces: SecretBytes,
}

impl ClientSession {
    /// Starts to generate 1 to 256 secrets. Gives [`PendingSecrets`], one for each kind, in order: sealed, not yet stored.
    ///
    /// Keep them (they are serialisable and hold no plaintext), then [`ClientSession::store`] them: after a
    /// crash they can be stored as they are. What is generated together is stored together.
    ///
    /// # Errors
    /// [`crate::CallerFault::VaultClosed`], if this session knows that the account is being deleted;
    /// [`crate::CallerFault::BatchLength`]; [`crate::CallerFault::SecretLength`] for `Bytes` of 0 or of more than 1,024.
    pub fn generate(&mut self, kinds: &[Kind], rng: &mut impl CryptoRng) -> Result<Exchange<Framed<Generate>>, Error> {
        check_batch(kinds, MAX_BATCH)?;
        kinds.iter().try_for_each(|kind| kind.check_generated())?;
        let since = self.open_tip()?.pin();
        let client_random = Key::write(|random| rng.fill_bytes(random));
        let binder_nonces = draw_nonces(kinds.len(), rng)?;
        let kinds = kinds.to_vec();
        let request = super::Request::Generate(Request { kinds: kinds.clone() });
        let call = Generate { vault: Arc::clone(self.vault()), since, kinds, client_random, binder_nonces };
        self.call(&request, call)
    }
}

/// Draws the binders' nonces for `count` secrets: 32 bytes each.
pub(super) fn draw_nonces(count: usize, rng: &mut impl CryptoRng) -> Result<SecretBytes, Error> {
    SecretBytes::try_write_slice(count.saturating_mul(32), |nonces| {
        rng.fill_bytes(nonces);
        Ok(())
    })
}

impl Call for Generate {
    type Output = PendingSecrets;

    fn answer(&self, reply: super::Reply) -> Result<Self::Output, Error> {
        let super::Reply::Generate(Reply { server_random }) = reply else {
            return Err(PeerFault::OutOfOrder.into());
        };
        let secrets = self.vault.generate(&self.client_random, server_random, &self.kinds)?;
        let (nonces, _) = self.binder_nonces.expose().as_chunks();
        let sealed = self.vault.seal(&secrets, Origin::Generated, server_random, nonces)?;
        Ok(PendingSecrets::new(&self.vault, sealed, Some(self.since)))
    }
}

impl fmt::Debug for Generate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generate").field("kinds", &self.kinds).finish_non_exhaustive()
    }
}

// --- server half ---------------------------------------------------------------------------------------

use super::{Context, Effect, Serve};
use crate::error::Refusal;
use crate::storage::{Found, Query};

impl Serve for Request {
    fn query(&self, _: &Context<'_>) -> Result<Option<Query>, Refusal> {
        let acceptable =
            check_batch(&self.kinds, MAX_BATCH).is_ok() && self.kinds.iter().all(|kind| kind.check_stored().is_ok());
        if acceptable { Ok(None) } else { Err(Refusal::Denied) }
    }

    fn serve(self, context: &Context<'_>, _: Option<Found>) -> Result<Effect, Error> {
        let server_random = context.draw()?;
        Ok(Effect::reply(super::Reply::Generate(Reply { server_random })))
    }
}
