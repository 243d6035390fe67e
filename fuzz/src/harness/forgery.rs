//! Requests of a hostile client: it holds a session's keys and doesn't keep to the protocol.

use keystow::operation::{Reply, Request, audit, change_password, delete, generate, list, retrieve, store};
use keystow::testing::MemoryStore;
use keystow::{AuditFilter, Header, KeyId, Kind, MAX_BATCH, OpaqueMessage, PendingSecret, SealedSecret, UserId};

use super::action::{Damage, Forgery, flip};
use super::gone::Gone;
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
}

impl Forgery {
    /// The request; `None` if there is nothing to make it from.
    pub fn make(self, material: &Material<'_>) -> Option<Forged> {
        match self {
            Self::Generate { count, len } => Some(generate(count, len)),
            Self::Store { batch, change } => {
                let batch = &material.batches[pick(material.batches, batch)?];
                let secrets = batch.iter().map(sealed).collect();
                change.make(secrets, material.user_id)
            }
            Self::StoreHeavy { seed } => Some(store_heavy(material.user_id, seed)),
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
            Self::Delete { first, count, twice } => {
                let (key_ids, is_acceptable) = some_of(material.key_ids, first, count, twice);
                Some(Forged { request: Request::Delete(delete::Request { key_ids }), is_acceptable })
            }
            Self::StartChange { byte } => {
                let blinded = Box::new(OpaqueMessage::from_bytes([byte; 32]));
                let request = change_password::Request::Start { blinded };
                Some(Forged { request: Request::ChangePassword(request), is_acceptable: true })
            }
            Self::FinishChange => {
                // The identity element is no public key.
                let upload = Box::new(OpaqueMessage::from_bytes([0; 192]));
                let request = change_password::Request::Finish { upload, wrap: [0; 48] };
                Some(Forged { request: Request::ChangePassword(request), is_acceptable: false })
            }
        }
    }

    /// Whether it leaves records that no client can open.
    pub fn spoils(self) -> bool {
        matches!(self, Self::Store { .. } | Self::StoreHeavy { .. })
    }
}

fn is_page(limit: u16) -> bool {
    (1..=MAX_BATCH).contains(&limit.into())
}

impl Forged {
    /// What is not acceptable is refused; what is done is done for this user alone.
    pub fn check(&self, reply: &Reply, user_id: UserId, store: &MemoryStore, gone: &Gone) {
        assert!(self.is_acceptable, "{:?} is answered with {reply:?}", self.request);
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
            Reply::Generate(_) | Reply::ChangePassword(_) => {}
            _ => panic!("{:?} is answered with {reply:?}", self.request),
        }
    }
}

impl Damage {
    fn make(self, mut secrets: Vec<SealedSecret>, user_id: UserId) -> Option<Forged> {
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
        Some(Forged { request: Request::Store(store::Request { secrets }), is_acceptable })
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
fn store_heavy(user_id: UserId, seed: u8) -> Forged {
    let secret = |index: u8| {
        let kind = [&[0][..], &Kind::MAX_STORED.to_be_bytes()].concat();
        let bytes = [&[1][..], user_id.as_bytes(), &kind, &[0], &[seed; 32], &[0, index], &[0; 32]].concat();
        SealedSecret { header: Header::from_bytes(&bytes).unwrap(), ciphertext: vec![seed; 65_536 + 16] }
    };
    Forged { request: Request::Store(store::Request { secrets: (0..8).map(secret).collect() }), is_acceptable: true }
}

/// A pending secret's parts, from its encoding: version, header behind its length, ciphertext behind its length.
pub fn sealed(pending: &PendingSecret) -> SealedSecret {
    let bytes = pending.encode().unwrap();
    let header = Header::from_bytes(&bytes[2..2 + usize::from(bytes[1])]).unwrap();
    let len = header.kind().secret_len() as usize + 16;
    SealedSecret { header, ciphertext: bytes[bytes.len() - len..].to_vec() }
}
