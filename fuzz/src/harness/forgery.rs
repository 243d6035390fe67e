//! Requests of a hostile client: it holds a session's keys and doesn't keep to the protocol.

use keystow::operation::{
    Reply, Request, audit, change_password, delete, delete_account, generate, heads, list, retrieve, store,
};
use keystow::testing::MemoryStore;
use keystow::{
    AuditFilter, Header, KeyId, Kind, MAX_BATCH, OpaqueMessage, PendingSecrets, SealedHead, SealedSecret, UserId,
};

use super::action::{Damage, Forgery, Head, flip};
use super::deployment::Deployment;
use super::pick;

/// A forged request, and whether the server may do what it asks for.
pub struct Forged {
    pub request: Request,
    pub is_acceptable: bool,
}

/// What a forgery is made from.
pub struct Material<'a> {
    pub user_id: UserId,
    pub batches: &'a [PendingSecrets],
    pub key_ids: &'a [KeyId],
    pub store: &'a MemoryStore,
    /// The head, if the request has one.
    pub head: Option<SealedHead>,
}

impl Forgery {
    /// The head that the request has, if it has one. (A deletion of the account that says nothing of the vault's end is
    /// as bad as one with a wrong head.)
    pub fn head(self) -> Option<Head> {
        match self {
            Self::Store { head, .. } | Self::StoreHeavy { head, .. } | Self::Delete { head, .. } => Some(head),
            Self::FinishChange { head } => Some(head),
            Self::DeleteAccount { head } => head,
            _ => None,
        }
    }

    /// The request; `None` if there is nothing to make it from.
    pub fn make(self, material: &Material<'_>) -> Option<Forged> {
        let head = || material.head.clone().map(Box::new);
        match self {
            Self::Generate { count, len } => Some(generate(count, len)),
            Self::Store { batch, change, .. } => {
                let batch = &material.batches[pick(material.batches, batch)?];
                change.make(sealed(batch), material.user_id, head()?)
            }
            Self::StoreHeavy { seed, .. } => Some(store_heavy(material.user_id, seed, head()?)),
            Self::Retrieve { first, count, twice } => {
                let (key_ids, is_acceptable) = some_of(material.key_ids, first, count, twice);
                Some(Forged { request: Request::Retrieve(retrieve::Request { key_ids }), is_acceptable })
            }
            Self::RetrieveAll => {
                let all = material.store.secrets.keys().filter(|(owner, _)| *owner == material.user_id);
                let key_ids: Vec<KeyId> = all.map(|(_, key_id)| *key_id).collect();
                let is_acceptable = !key_ids.is_empty() && key_ids.len() <= MAX_BATCH;
                Some(Forged { request: Request::Retrieve(retrieve::Request { key_ids }), is_acceptable })
            }
            Self::List { limit } => {
                let request = Request::List(list::Request { after: None, limit });
                Some(Forged { request, is_acceptable: is_page(limit) })
            }
            Self::Audit { limit } => {
                let request = audit::Request { filter: AuditFilter::default(), after: None, limit };
                Some(Forged { request: Request::Audit(request), is_acceptable: is_page(limit) })
            }
            Self::Delete { first, count, twice, .. } => {
                let (key_ids, is_acceptable) = some_of(material.key_ids, first, count, twice);
                Some(Forged { request: Request::Delete(delete::Request { key_ids, head: head()? }), is_acceptable })
            }
            Self::StartChange { byte } => {
                let blinded = Box::new(OpaqueMessage::from_bytes([byte; 32]));
                let request = change_password::Request::Start { blinded };
                Some(Forged { request: Request::ChangePassword(request), is_acceptable: true })
            }
            Self::FinishChange { .. } => {
                // The identity element is no public key.
                let upload = Box::new(OpaqueMessage::from_bytes([0; 192]));
                let request = change_password::Request::Finish { upload, wrap: [0; 48], head: head()? };
                Some(Forged { request: Request::ChangePassword(request), is_acceptable: false })
            }
            Self::Heads { from } => {
                Some(Forged { request: Request::Heads(heads::Request { from }), is_acceptable: true })
            }
            Self::DeleteAccount { .. } => {
                let request = delete_account::Request { head: head() };
                Some(Forged { request: Request::DeleteAccount(request), is_acceptable: true })
            }
        }
    }
}

fn is_page(limit: u16) -> bool {
    (1..=MAX_BATCH).contains(&limit.into())
}

impl Forged {
    /// What is not acceptable is refused; what is done is done for this user alone.
    pub fn check(&self, reply: &Reply, user_id: UserId, deployment: &Deployment) {
        assert!(self.is_acceptable, "{:?} is answered with {reply:?}", self.request);
        let Deployment { store, gone, chains, .. } = deployment;
        let own = |secrets: &[SealedSecret]| {
            assert!(secrets.iter().all(|secret| secret.header.user_id() == user_id), "another user's secret");
        };
        let is_there = |key_id: &KeyId| store.secrets.contains_key(&(user_id, *key_id));
        match reply {
            Reply::Store(store::Reply { key_ids, .. }) => {
                assert!(key_ids.iter().all(|key_id| is_there(key_id) || gone.secret(user_id, *key_id)));
            }
            Reply::Delete(delete::Reply { key_ids }) => {
                assert!(key_ids.iter().all(|key_id| gone.secret(user_id, *key_id)), "a deletion that wasn't");
            }
            Reply::Retrieve(retrieve::Reply { secrets }) => own(secrets),
            Reply::List(list::Reply { secrets, .. }) => own(secrets),
            Reply::Audit(audit::Reply { entries, .. }) => {
                assert!(entries.iter().all(|entry| entry.user_id() == user_id), "another user's trail");
            }
            Reply::Heads(heads::Reply { heads, .. }) => {
                assert!(gone.user(user_id) || chains.has_links(user_id, heads), "heads of another chain");
            }
            Reply::DeleteAccount(delete_account::Reply { done }) => assert!(!*done || gone.user(user_id)),
            Reply::Generate(_) | Reply::ChangePassword(_) => {}
            _ => panic!("{:?} is answered with {reply:?}", self.request),
        }
    }
}

impl Damage {
    fn make(self, mut secrets: Vec<SealedSecret>, user_id: UserId, head: Box<SealedHead>) -> Option<Forged> {
        let mut is_acceptable = true;
        match self {
            Self::No => {}
            Self::Emptied => secrets.clear(),
            Self::Doubled => secrets.push(secrets.last()?.clone()),
            Self::Header { at, xor } => {
                let mut header = secrets.last()?.header.to_bytes();
                flip(&mut header, at.into(), xor);
                secrets.last_mut()?.header = Header::from_bytes(&header).ok()?;
            }
            Self::Ciphertext { at, xor } => flip(&mut secrets.last_mut()?.ciphertext, at.into(), xor),
            Self::Shortened => drop(secrets.last_mut()?.ciphertext.pop()),
            Self::Lengthened => secrets.last_mut()?.ciphertext.push(0),
        }
        is_acceptable &= !matches!(self, Self::Emptied | Self::Doubled | Self::Shortened | Self::Lengthened);
        is_acceptable &= secrets.iter().all(|secret| secret.header.user_id() == user_id);
        Some(Forged { request: Request::Store(store::Request { secrets: secrets.into(), head }), is_acceptable })
    }
}

fn generate(count: u16, len: u32) -> Forged {
    let count = usize::from(count) % (2 * MAX_BATCH);
    let is_acceptable = (1..=MAX_BATCH).contains(&count) && (1..=Kind::MAX_STORED).contains(&len);
    Forged { request: Request::Generate(generate::Request { kinds: vec![Kind::Bytes(len); count] }), is_acceptable }
}

/// Some of the known key IDs, and whether the server may take them for a batch.
fn some_of(known: &[KeyId], first: u8, count: u8, twice: bool) -> (Vec<KeyId>, bool) {
    let first = usize::from(first).min(known.len());
    let mut key_ids: Vec<KeyId> = known[first..].iter().take(count.into()).copied().collect();
    if twice {
        key_ids.extend(key_ids.first().copied());
    }
    let is_acceptable = !key_ids.is_empty() && !twice;
    (key_ids, is_acceptable)
}

/// Eight records that together are longer than an answer may be.
fn store_heavy(user_id: UserId, seed: u8, head: Box<SealedHead>) -> Forged {
    let secret = |index: u8| {
        let kind = [&[0][..], &Kind::MAX_STORED.to_be_bytes()].concat();
        let bytes = [&[1][..], user_id.as_bytes(), &kind, &[0], &[seed; 32], &[0, index], &[0; 32]].concat();
        SealedSecret { header: Header::from_bytes(&bytes).unwrap(), ciphertext: vec![seed; 65_536 + 16] }
    };
    let secrets: Vec<_> = (0..8).map(secret).collect();
    Forged { request: Request::Store(store::Request { secrets: secrets.into(), head }), is_acceptable: true }
}

/// The parts of pending secrets, from their encoding: behind the version, before the head that they were made at.
pub fn sealed(pending: &PendingSecrets) -> Vec<SealedSecret> {
    let (secrets, _since) = postcard::take_from_bytes(&pending.encode().unwrap()[1..]).unwrap();
    secrets
}
