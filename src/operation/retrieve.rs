//! Retrieve: secrets by their key IDs, verified before anything reaches the caller (`docs/protocol.md`, "Retrieve").

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::client::{Call, ClientSession, Exchange, Framed};
use crate::codec::{MAX_BATCH, MAX_PAGE};
use crate::error::{Error, check_distinct};
use crate::header::{Header, SealedSecret};
use crate::id::KeyId;

/// Which secrets: 1 to 256, each once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Their key IDs.
    pub key_ids: Vec<KeyId>,
}

/// All of them, in the request's order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Header and ciphertext of each.
    pub secrets: Vec<SealedSecret>,
}

// --- client half ---------------------------------------------------------------------------------------

use crate::error::PeerFault;
use crate::kind::{Kind, Origin, PublicComponent, publics};
use crate::secret::SecretBytes;
use crate::vault::Vault;

/// A secret, opened and verified: the key ID is its header's, the header is its own, and the public
/// component was computed from it again.
#[derive(Debug)]
pub struct RetrievedSecret {
    key_id: KeyId,
    header: Header,
    secret: SecretBytes,
}

impl RetrievedSecret {
    /// The secret's name, as it was asked for.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.header.kind()
    }

    /// How it came to be.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.header.origin()
    }

    /// The public component, if the kind has one.
    #[must_use]
    pub fn public(&self) -> Option<&PublicComponent> {
        self.header.public()
    }

    /// The secret's bytes: arbitrary ones, a big-endian scalar, or an Ed25519 seed. Wiped with this value.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.secret.expose()
    }
}

/// A retrieval under way, on the client's side.
#[derive(Debug)]
pub struct Retrieve {
    vault: Arc<Vault>,
    key_ids: Vec<KeyId>,
}

impl ClientSession {
    /// Starts to retrieve 1 to 256 secrets, each once. Gives all of them, in order, or [`crate::Refusal::NotFound`]:
    /// a secret that is missing, deleted or somebody else's looks the same.
    ///
    /// # Errors
    /// [`crate::CallerFault::BatchLength`], [`crate::CallerFault::Duplicate`].
    pub fn retrieve(&mut self, key_ids: &[KeyId]) -> Result<Exchange<Framed<Retrieve>>, Error> {
        check_distinct(key_ids, MAX_BATCH)?;
        let key_ids = key_ids.to_vec();
        let request = super::Request::Retrieve(Request { key_ids: key_ids.clone() });
        let call = Retrieve { vault: Arc::clone(self.vault()), key_ids };
        self.call(&request, call)
    }
}

impl Call for Retrieve {
    type Output = Vec<RetrievedSecret>;

    fn answer(&self, reply: super::Reply) -> Result<Self::Output, Error> {
        let super::Reply::Retrieve(Reply { secrets }) = reply else {
            return Err(PeerFault::OutOfOrder.into());
        };
        if secrets.len() != self.key_ids.len() {
            return Err(PeerFault::Mismatch("number of secrets").into());
        }
        let opened = secrets.into_iter().zip(&self.key_ids).map(|(sealed, key_id)| self.open(sealed, *key_id));
        verify(opened.collect::<Result<_, _>>()?)
    }
}

impl Retrieve {
    /// Rules 1 and 2: the key ID is computed from the header and compared with what was asked for, the secret is opened
    /// with the user and the header that it was sealed with.
    fn open(&self, sealed: SealedSecret, key_id: KeyId) -> Result<RetrievedSecret, Error> {
        if sealed.header.key_id() != key_id {
            return Err(PeerFault::DamagedSecret { key_id }.into());
        }
        let secret = self.vault.open(&sealed)?;
        Ok(RetrievedSecret { key_id, header: sealed.header, secret })
    }
}

/// Rule 3: the public component of each is computed again.
fn verify(secrets: Vec<RetrievedSecret>) -> Result<Vec<RetrievedSecret>, Error> {
    let exposed: Vec<_> = secrets.iter().map(|secret| (secret.kind(), secret.expose())).collect();
    for (secret, public) in secrets.iter().zip(publics(&exposed)) {
        if !public.is_ok_and(|public| public.as_ref() == secret.public()) {
            return Err(PeerFault::DamagedSecret { key_id: secret.key_id }.into());
        }
    }
    Ok(secrets)
}

// --- server half ---------------------------------------------------------------------------------------

use super::{Context, Effect, Serve};
use crate::error::{RecordName, Refusal};
use crate::storage::{Action, Found, Query, SecretsQuery, Transaction};

impl Request {
    fn secrets_query(&self, context: &Context<'_>) -> SecretsQuery {
        SecretsQuery::new(context.user_id, self.key_ids.clone())
    }
}

impl Serve for Request {
    fn query(&self, context: &Context<'_>) -> Result<Option<Query>, Refusal> {
        check_distinct(&self.key_ids, MAX_BATCH).map_err(|_| Refusal::Denied)?;
        Ok(Some(Query::Secrets(self.secrets_query(context))))
    }

    /// A read writes its audit entry, guarded like every write of a session.
    fn serve(self, context: &Context<'_>, found: Option<Found>) -> Result<Effect, Error> {
        let found = found.ok_or_else(|| Error::stored(RecordName::Answer, "is missing"))?;
        let mut found = found.secrets(&self.secrets_query(context))?;
        if let Err(refusal) = context.check_standing(found.standing) {
            return Ok(Effect::refuse(refusal));
        }
        let reply = match self.key_ids.iter().map(|key_id| found.live(*key_id)).collect::<Option<Vec<_>>>() {
            None => super::Reply::Refused(Refusal::NotFound),
            Some(secrets) if page_len(&secrets) > MAX_PAGE => super::Reply::Refused(Refusal::TooLarge),
            Some(secrets) => super::Reply::Retrieve(Reply { secrets }),
        };
        let granted = matches!(reply, super::Reply::Retrieve(_));
        let transaction = Transaction {
            advance: None,
            guards: vec![context.guard()],
            changes: vec![],
            audit: Some(context.audit(Action::Retrieve, granted, self.key_ids)),
            otherwise: None,
        };
        Ok(Effect::write(transaction, reply))
    }
}

/// The length of an answer, about.
fn page_len(secrets: &[SealedSecret]) -> usize {
    secrets.iter().fold(0, |sum, secret| sum.saturating_add(secret.len()))
}
