//! Delete: a tombstone takes a secret's place, so that a late retry can't bring it back (`docs/protocol.md`, "Delete").

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::client::{Amend, Amending, ClientSession, Exchange};
use crate::codec::MAX_BATCH;
use crate::error::{Error, check_distinct};
use crate::head::SealedHead;
use crate::id::KeyId;

/// Which secrets: 1 to 256, each once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Their key IDs.
    pub key_ids: Vec<KeyId>,
    /// The vault's next head.
    pub head: Box<SealedHead>,
}

/// All of them are deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Their key IDs, in the request's order.
    pub key_ids: Vec<KeyId>,
}

// --- client half ---------------------------------------------------------------------------------------

use crate::error::PeerFault;
use crate::vault::chain::HeadChange;

/// A deletion under way, on the client's side.
#[derive(Debug)]
pub struct Delete {
    key_ids: Vec<KeyId>,
    change: HeadChange,
}

impl ClientSession {
    /// Starts to delete 1 to 256 secrets, all or none of them. Their key IDs are never free again. If another device changes
    /// the vault meanwhile, the exchange takes its change over and goes on.
    ///
    /// [`crate::Refusal::NotFound`] says that one is not there, or not this user's;
    /// [`crate::Refusal::AlreadyDeleted`] that one was deleted before. Nothing was deleted then.
    ///
    /// # Errors
    /// [`crate::CallerFault::BatchLength`], [`crate::CallerFault::Duplicate`], [`crate::CallerFault::Unsettled`],
    /// [`crate::CallerFault::VaultClosed`].
    pub fn delete(&mut self, key_ids: &[KeyId]) -> Result<Exchange<Amending<Delete>>, Error> {
        check_distinct(key_ids, MAX_BATCH)?;
        let change = HeadChange::Remove(self.vault().tally(key_ids));
        Amending::start(self, Delete { key_ids: key_ids.to_vec(), change })
    }
}

impl Amend for Delete {
    type Output = ();

    fn change(&self) -> &HeadChange {
        &self.change
    }

    fn request(&self, head: Box<SealedHead>) -> super::Request {
        super::Request::Delete(Request { key_ids: self.key_ids.clone(), head })
    }

    fn output(&self, reply: super::Reply, _: bool) -> Result<(), Error> {
        match reply {
            super::Reply::Delete(Reply { key_ids }) if key_ids == self.key_ids => Ok(()),
            super::Reply::Delete(_) => Err(PeerFault::Mismatch("key ID").into()),
            _ => Err(PeerFault::OutOfOrder.into()),
        }
    }
}

// --- server half ---------------------------------------------------------------------------------------

use super::{Context, Effect, Serve};
use crate::error::{RecordName, Refusal};
use crate::storage::{Action, Change, Found, FoundSecrets, Query, Record, SecretRecord, SecretsQuery, Transaction};

impl Request {
    fn secrets_query(&self, context: &Context<'_>) -> SecretsQuery {
        SecretsQuery::new(context.user_id, self.key_ids.clone())
    }

    /// The changes, or why there are none.
    fn changes(&self, context: &Context<'_>, found: &mut FoundSecrets) -> Result<Result<Vec<Change>, Refusal>, Error> {
        let (session_id, sequence) = (context.session_id, context.sequence);
        let tombstone = Record::encode(&SecretRecord::Tombstone { session_id, sequence })?;
        let mut changes = Vec::with_capacity(self.key_ids.len().saturating_add(1));
        for key_id in &self.key_ids {
            let live = match found.take(*key_id) {
                None => return Ok(Err(Refusal::NotFound)),
                Some(SecretRecord::Tombstone { session_id: by, sequence: at })
                    if (by, at) != (session_id, sequence) =>
                {
                    return Ok(Err(Refusal::AlreadyDeleted(*key_id)));
                }
                // Deleted by this very request, whose outcome was lost: the store says that it is repeated.
                Some(SecretRecord::Tombstone { .. }) => tombstone.clone(),
                Some(live) => Record::encode(&live)?,
            };
            let (user_id, tombstone) = (context.user_id, tombstone.clone());
            changes.push(Change::DeleteSecret { user_id, key_id: *key_id, live, tombstone });
        }
        changes.push(context.append(&self.head)?);
        Ok(Ok(changes))
    }
}

impl Serve for Request {
    fn query(&self, context: &Context<'_>) -> Result<Option<Query>, Refusal> {
        check_distinct(&self.key_ids, MAX_BATCH).map_err(|_| Refusal::Denied)?;
        Ok(Some(Query::Secrets(self.secrets_query(context))))
    }

    fn serve(self, context: &Context<'_>, found: Option<Found>) -> Result<Effect, Error> {
        let found = found.ok_or_else(|| Error::stored(RecordName::Answer, "is missing"))?;
        let mut found = found.secrets(&self.secrets_query(context))?;
        if let Err(refusal) = context.check_standing(found.standing) {
            return Ok(Effect::refuse(refusal));
        }
        let (changes, reply) = match self.changes(context, &mut found)? {
            Ok(changes) => (changes, super::Reply::Delete(Reply { key_ids: self.key_ids.clone() })),
            Err(refusal) => (vec![], super::Reply::Refused(refusal)),
        };
        let granted = !changes.is_empty();
        let refused = context.audit(Action::Delete, false, self.key_ids.clone());
        let transaction = Transaction {
            advance: None,
            guards: vec![context.guard()],
            changes,
            audit: Some(context.audit(Action::Delete, granted, self.key_ids)),
            otherwise: granted.then_some(refused),
        };
        Ok(Effect::write(transaction, reply))
    }
}
