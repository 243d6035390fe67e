//! Store: pending secrets become stored ones, all or none of a batch, exactly once (`docs/protocol.md`, "Store").

use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::client::{Call, ClientSession, Exchange, Framed};
use crate::codec::{MAX_BATCH, decode, encode};
use crate::error::{CallerFault, Error, check_batch, has_duplicate};
use crate::header::SealedSecret;
use crate::id::KeyId;
use crate::kind::{Kind, PublicComponent};

/// Secrets to store: 1 to 256, no two with the same key ID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Header and ciphertext of each.
    pub secrets: Vec<SealedSecret>,
}

/// The secrets are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The key ID of each, in the request's order.
    pub key_ids: Vec<KeyId>,
    /// Whether all of the batch had been stored before.
    pub repeated: bool,
}

/// A secret that was made and sealed, and may not be stored yet: header and ciphertext, no plaintext.
///
/// Keep it before [`ClientSession::store`] is sent. After a crash, or an answer that never came, store it again,
/// in a new session too: it is stored once, under the same key ID. `serde` and [`PendingSecret::encode`] serialise it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PendingSecret(SealedSecret);

/// The public portions of a stored secret, for the calling application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSecret {
    /// The secret's name. Whoever keeps it can tell the secret from any other that a server might answer with.
    pub key_id: KeyId,
    /// What it is.
    pub kind: Kind,
    /// The public component, if the kind has one.
    pub public: Option<PublicComponent>,
    /// Whether all of the batch had been stored before: an earlier attempt had arrived, or a restored device image
    /// has repeated its random bytes.
    pub already_stored: bool,
}

// --- client half ---------------------------------------------------------------------------------------

use crate::error::PeerFault;

impl PendingSecret {
    pub(crate) fn new(sealed: SealedSecret) -> Self {
        Self(sealed)
    }

    /// The key ID that it will have.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.0.header.key_id()
    }

    /// What it is. (Its public component comes with [`NewSecret`], after it was opened again.)
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.header.kind()
    }

    /// Bytes to keep: version and canonical encoding, at most 66 KiB.
    ///
    /// # Errors
    /// None in practice: it fits.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        encode(self)
    }

    /// Reads what [`PendingSecret::encode`] wrote.
    ///
    /// # Errors
    /// [`CallerFault::DamagedPending`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        Ok(decode(bytes).map_err(|_| CallerFault::DamagedPending)?)
    }
}

/// A store under way, on the client's side.
#[derive(Debug)]
pub struct Store {
    expected: Vec<NewSecret>,
}

impl ClientSession {
    /// Starts to store 1 to 256 pending secrets, all or none of them. Gives one [`NewSecret`] each, in order.
    ///
    /// Each is opened first: what can't be opened again was not kept. [`crate::Refusal::KeyIdTaken`] says that another
    /// secret has the key ID, or had it and was deleted: nothing was stored and nothing is overwritten or drawn again.
    ///
    /// # Errors
    /// [`CallerFault::BatchLength`], [`CallerFault::Duplicate`]; [`CallerFault::WrongUser`] for another user's;
    /// [`CallerFault::DamagedPending`] for one that doesn't open.
    pub fn store(&mut self, pending: &[PendingSecret]) -> Result<Exchange<Framed<Store>>, Error> {
        check_batch(pending, MAX_BATCH)?;
        let expected = pending.iter().map(|pending| self.reopen(pending)).collect::<Result<Vec<_>, _>>()?;
        if has_duplicate(expected.iter().map(|secret| secret.key_id)) {
            return Err(CallerFault::Duplicate.into());
        }
        let secrets = pending.iter().map(|pending| pending.0.clone()).collect();
        self.call(&super::Request::Store(Request { secrets }), Store { expected })
    }

    /// Opens a pending secret. Its header, public component included, is authenticated by that.
    fn reopen(&self, PendingSecret(sealed): &PendingSecret) -> Result<NewSecret, Error> {
        let header = &sealed.header;
        if header.user_id() != self.user_id() {
            return Err(CallerFault::WrongUser { pending: header.user_id() }.into());
        }
        self.vault().open(sealed).map_err(|_| CallerFault::DamagedPending)?;
        let (key_id, kind, public) = (header.key_id(), header.kind(), header.public().copied());
        Ok(NewSecret { key_id, kind, public, already_stored: false })
    }
}

impl Call for Store {
    type Output = Vec<NewSecret>;

    fn answer(&self, reply: super::Reply) -> Result<Self::Output, Error> {
        let super::Reply::Store(Reply { key_ids, repeated }) = reply else {
            return Err(PeerFault::OutOfOrder.into());
        };
        // Rule 1: the IDs are the client's own; the server's are only compared with them.
        if !key_ids.iter().eq(self.expected.iter().map(|secret| &secret.key_id)) {
            return Err(PeerFault::Mismatch("key ID").into());
        }
        Ok(self.expected.iter().map(|secret| NewSecret { already_stored: repeated, ..*secret }).collect())
    }
}

// --- server half ---------------------------------------------------------------------------------------

use super::{Context, Effect, Serve};
use crate::error::Refusal;
use crate::storage::{Action, Change, Found, Query, Record, SecretRecord, Transaction};

impl Serve for Request {
    /// Rule 2 and 16: every secret is this user's, has the length of its kind, and a valid public component.
    fn query(&self, context: &Context<'_>) -> Result<Option<Query>, Refusal> {
        let acceptable = |secret: &SealedSecret| {
            secret.header.user_id() == context.user_id
                && secret.ciphertext.len() == secret.header.ciphertext_len()
                && secret.header.public().is_none_or(PublicComponent::is_valid)
        };
        check_batch(&self.secrets, MAX_BATCH).map_err(|_| Refusal::Denied)?;
        if !self.secrets.iter().all(acceptable) {
            return Err(Refusal::Denied);
        }
        Ok(None)
    }

    fn serve(self, context: &Context<'_>, _: Option<Found>) -> Result<Effect, Error> {
        let key_ids: Vec<KeyId> = self.secrets.iter().map(|secret| secret.header.key_id()).collect();
        if has_duplicate(&key_ids) {
            return Ok(Effect::refuse(Refusal::Denied));
        }
        let store = |(secret, key_id): (SealedSecret, &KeyId)| {
            let record = Record::encode(&SecretRecord::Live(secret))?;
            Ok(Change::StoreSecret { user_id: context.user_id, key_id: *key_id, record })
        };
        let changes = self.secrets.into_iter().zip(&key_ids).map(store).collect::<Result<Vec<_>, Error>>()?;
        let transaction = Transaction {
            guards: vec![context.guard()],
            changes,
            audit: Some(context.audit(Action::Store, true, key_ids.clone())),
            otherwise: Some(context.audit(Action::Store, false, key_ids.clone())),
        };
        let reply = |repeated| super::Reply::Store(Reply { key_ids: key_ids.clone(), repeated });
        Ok(Effect { repeated: reply(true), ..Effect::write(transaction, reply(false)) })
    }
}
