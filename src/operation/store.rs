//! Store: pending secrets become stored ones, all or none of a batch, exactly once (`docs/protocol.md`, "Store").

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::client::{Amend, Amending, ClientSession, Exchange, InList, LIST, Since};
use crate::codec::{MAX_BATCH, decode, encode};
use crate::error::{CallerFault, Error, check_batch, has_duplicate};
use crate::head::{SealedHead, VaultPin};
use crate::header::SealedSecret;
use crate::id::KeyId;
use crate::kind::{Kind, PublicComponent};

/// Secrets to store: 1 to 256, no two with the same key ID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Header and ciphertext of each, shared: a request may be made again, under another head.
    pub secrets: Arc<Vec<SealedSecret>>,
    /// The vault's next head.
    pub head: Box<SealedHead>,
}

/// The secrets are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The key ID of each, in the request's order.
    pub key_ids: Vec<KeyId>,
    /// Whether all of them had been stored before.
    pub repeated: bool,
}

/// 1 to 256 secrets that were made and sealed together, and may not be stored yet: headers and ciphertexts, no plaintext.
///
/// Keep them before [`ClientSession::store`] is sent. After a crash, or an answer that never came, store them again,
/// in a new session too: they are stored once, under the same key IDs. `serde` and [`PendingSecrets::encode`] serialise
/// them. They stay together, and remember the vault's head that they were made at: that is how the client can tell whether
/// they are stored already without taking the server's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingSecrets {
    secrets: Arc<Vec<SealedSecret>>,
    since: Option<VaultPin>,
    tag: [u8; 32],
}

/// The public portions of a stored secret, for the calling application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSecret {
    /// The secret's name. Whoever keeps it can tell the secret from any other that a server might answer with.
    pub key_id: KeyId,
    /// What it is.
    pub kind: Kind,
    /// The public component, if the kind has one.
    pub public: Option<PublicComponent>,
    /// Whether it had been stored before, with all that were made with it: an earlier attempt had arrived.
    pub already_stored: bool,
}

// --- client half ---------------------------------------------------------------------------------------

use subtle::ConstantTimeEq;

use super::list::ListedSecret;
use crate::error::PeerFault;
use crate::vault::Vault;
use crate::vault::chain::HeadChange;

impl PendingSecrets {
    pub(crate) fn new(vault: &Vault, secrets: Vec<SealedSecret>, since: Option<VaultPin>) -> Self {
        let key_ids: Vec<KeyId> = secrets.iter().map(|sealed| sealed.header.key_id()).collect();
        let tag = vault.pending_tag(since.as_ref(), &key_ids);
        Self { secrets: Arc::new(secrets), since, tag }
    }

    /// The key IDs that they will have, in order.
    pub fn key_ids(&self) -> impl ExactSizeIterator<Item = KeyId> {
        self.secrets.iter().map(|sealed| sealed.header.key_id())
    }

    /// What they are, in order. (Public components come with [`NewSecret`], after they were opened again.)
    pub fn kinds(&self) -> impl ExactSizeIterator<Item = Kind> {
        self.secrets.iter().map(|sealed| sealed.header.kind())
    }

    /// Bytes to keep: version and canonical encoding, at most 1 MiB.
    ///
    /// # Errors
    /// None in practice: it fits.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        encode(self)
    }

    /// Reads what [`PendingSecrets::encode`] wrote.
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
    pending: PendingSecrets,
    expected: Vec<NewSecret>,
    change: HeadChange,
}

impl ClientSession {
    /// Starts to store pending secrets, all or none of them. Gives one [`NewSecret`] each, in order, once it is settled.
    ///
    /// Each is opened first: what can't be opened again was not kept. If another device changes the vault meanwhile, the
    /// exchange takes its change over and goes on. Pending secrets that are older than the session's newest head cost one
    /// more message, which looks whether they were stored before.
    ///
    /// [`crate::Refusal::KeyIdTaken`] says that another secret has the key ID, or had it and was deleted: nothing was
    /// stored and nothing is overwritten or drawn again. [`crate::VaultFault::NotStored`] says that the server claims to
    /// have them, and doesn't.
    ///
    /// # Errors
    /// [`CallerFault::BatchLength`], [`CallerFault::Duplicate`]; [`CallerFault::WrongUser`] for another user's;
    /// [`CallerFault::DamagedPending`] for what doesn't open, or was not made together; [`CallerFault::VaultClosed`],
    /// [`CallerFault::Unsettled`].
    pub fn store(&mut self, pending: &PendingSecrets) -> Result<Exchange<Amending<Store>>, Error> {
        let expected = self.reopen(pending)?;
        let change = HeadChange::Add(self.vault().tally(expected.iter().map(|secret| &secret.key_id)));
        Amending::start(self, Store { pending: pending.clone(), expected, change })
    }

    /// The same pending secrets without the vault head that they were made at.
    ///
    /// For when a person has accepted a vault that was put back behind that head ([`crate::VaultFault::RolledBack`]):
    /// storing them lists the vault first, to find out whether they are in it.
    ///
    /// # Errors
    /// As [`ClientSession::store`].
    pub fn rebase(&self, pending: &PendingSecrets) -> Result<PendingSecrets, Error> {
        self.reopen(pending)?;
        Ok(PendingSecrets::new(self.vault(), pending.secrets.to_vec(), None))
    }

    /// Checks pending secrets as a whole and opens each.
    fn reopen(&self, pending: &PendingSecrets) -> Result<Vec<NewSecret>, Error> {
        check_batch(&pending.secrets, MAX_BATCH)?;
        let opened = pending.secrets.iter().map(|sealed| self.reopen_one(sealed)).collect::<Result<Vec<_>, _>>()?;
        let key_ids = || opened.iter().map(|secret| &secret.key_id);
        if has_duplicate(key_ids()) {
            return Err(CallerFault::Duplicate.into());
        }
        let tag = self.vault().pending_tag(pending.since.as_ref(), key_ids());
        if bool::from(tag.ct_eq(&pending.tag)) { Ok(opened) } else { Err(CallerFault::DamagedPending.into()) }
    }

    /// Opens a pending secret. Its header, public component included, is authenticated by that.
    fn reopen_one(&self, sealed: &SealedSecret) -> Result<NewSecret, Error> {
        let header = &sealed.header;
        if header.user_id() != self.user_id() {
            return Err(CallerFault::WrongUser { pending: header.user_id() }.into());
        }
        let key_id = self.vault().verify(sealed).map_err(|_| CallerFault::DamagedPending)?;
        let (kind, public) = (header.kind(), header.public().copied());
        Ok(NewSecret { key_id, kind, public, already_stored: false })
    }
}

impl Amend for Store {
    type Output = Vec<NewSecret>;

    /// It may have to list the vault.
    const STEPS: u64 = LIST;

    fn change(&self) -> &HeadChange {
        &self.change
    }

    fn since(&self) -> Since {
        self.pending.since.map_or(Since::Ever, Since::Head)
    }

    fn request(&self, head: Box<SealedHead>) -> super::Request {
        super::Request::Store(Request { secrets: Arc::clone(&self.pending.secrets), head })
    }

    fn was_made_before(&self, reply: &super::Reply) -> bool {
        matches!(reply, super::Reply::Store(Reply { repeated: true, .. }))
    }

    fn found_in(&self, listed: &[ListedSecret]) -> InList {
        let is_there = |key_id| listed.binary_search_by_key(key_id, |secret| secret.key_id).is_ok();
        match self.expected.iter().filter(|secret| is_there(&secret.key_id)).count() {
            0 => InList::None,
            count if count == self.expected.len() => InList::All,
            _ => InList::Some,
        }
    }

    fn output(&self, reply: super::Reply, already_stored: bool) -> Result<Self::Output, Error> {
        let super::Reply::Store(Reply { key_ids, .. }) = reply else {
            return Err(PeerFault::OutOfOrder.into());
        };
        // Rule 1: the IDs are the client's own; the server's are only compared with them.
        if !key_ids.iter().eq(self.expected.iter().map(|secret| &secret.key_id)) {
            return Err(PeerFault::Mismatch("key ID").into());
        }
        Ok(self.expected.iter().map(|secret| NewSecret { already_stored, ..*secret }).collect())
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
        let mut changes = Vec::with_capacity(key_ids.len().saturating_add(1));
        for (secret, key_id) in Arc::unwrap_or_clone(self.secrets).into_iter().zip(&key_ids) {
            let record = Record::encode(&SecretRecord::Live(secret))?;
            changes.push(Change::StoreSecret { user_id: context.user_id, key_id: *key_id, record });
        }
        changes.push(context.append(&self.head)?);
        let transaction = Transaction {
            advance: None,
            guards: vec![context.guard()],
            changes,
            audit: Some(context.audit(Action::Store, true, key_ids.clone())),
            otherwise: Some(context.audit(Action::Store, false, key_ids.clone())),
        };
        let reply = |key_ids, repeated| super::Reply::Store(Reply { key_ids, repeated });
        let repeated = Some(reply(key_ids.clone(), true));
        Ok(Effect { repeated, ..Effect::write(transaction, reply(key_ids, false)) })
    }
}
