//! Generate: the server sends random bytes, the client makes secrets of them (`docs/protocol.md`, "Generate").

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use super::store::PendingSecret;
use crate::client::{Call, ClientSession, Exchange, Framed};
use crate::codec::MAX_BATCH;
use crate::error::{Error, check_batch};
use crate::kind::Kind;

/// The client wants to make secrets of these kinds: 1 to 256.
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
use crate::secret::{Key, SecretBytes};
use crate::vault::Vault;

/// A generation under way, on the client's side.
pub struct Generate {
    vault: Arc<Vault>,
    kinds: Vec<Kind>,
    client_random: Key,
    binder_nonces: SecretBytes,
}

impl ClientSession {
    /// Starts to generate 1 to 256 secrets. Gives one [`PendingSecret`] for each kind, in order: sealed, not yet stored.
    ///
    /// Keep them (they are serialisable and hold no plaintext), then [`ClientSession::store`] them: after a
    /// crash they can be stored as they are.
    ///
    /// # Errors
    /// [`crate::CallerFault::BatchLength`]; [`crate::CallerFault::SecretLength`] for `Bytes` of 0 or of more than 1,024.
    pub fn generate(&mut self, kinds: &[Kind], rng: &mut impl CryptoRng) -> Result<Exchange<Framed<Generate>>, Error> {
        check_kinds(kinds)?;
        let client_random = Key::write(|random| rng.fill_bytes(random));
        let nonces = kinds.len().saturating_mul(32);
        let binder_nonces = SecretBytes::try_write_slice(nonces, |nonces| {
            rng.fill_bytes(nonces);
            Ok::<_, Error>(())
        })?;
        let kinds = kinds.to_vec();
        let request = super::Request::Generate(Request { kinds: kinds.clone() });
        let call = Generate { vault: Arc::clone(self.vault()), kinds, client_random, binder_nonces };
        self.call(&request, call)
    }
}

impl Call for Generate {
    type Output = Vec<PendingSecret>;

    fn answer(&self, reply: super::Reply) -> Result<Self::Output, Error> {
        let super::Reply::Generate(Reply { server_random }) = reply else {
            return Err(PeerFault::OutOfOrder.into());
        };
        let prk = self.vault.generation(&self.client_random);
        let (nonces, _) = self.binder_nonces.expose().as_chunks::<32>();
        let make = |((index, kind), nonce): ((u16, &Kind), &[u8; 32])| {
            Ok(PendingSecret::new(self.vault.generate(&prk, *kind, server_random, index, nonce)?))
        };
        (0..).zip(&self.kinds).zip(nonces).map(make).collect()
    }
}

impl fmt::Debug for Generate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generate").field("kinds", &self.kinds).finish_non_exhaustive()
    }
}

/// Checks a batch of kinds, for both sides.
fn check_kinds(kinds: &[Kind]) -> Result<(), Error> {
    check_batch(kinds, MAX_BATCH)?;
    kinds.iter().try_for_each(|kind| kind.check_generated())
}

// --- server half ---------------------------------------------------------------------------------------

use super::{Context, Effect, Serve};
use crate::error::Refusal;
use crate::storage::{Found, Query};

impl Serve for Request {
    fn query(&self, _: &Context<'_>) -> Result<Option<Query>, Refusal> {
        check_kinds(&self.kinds).map(|()| None).map_err(|_| Refusal::Denied)
    }

    fn serve(self, context: &Context<'_>, _: Option<Found>) -> Result<Effect, Error> {
        let server_random = context.draw()?.bytes();
        Ok(Effect::Reply(super::Reply::Generate(Reply { server_random })))
    }
}
