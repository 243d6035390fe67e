//! Target `client_exchange`: what a hostile server can say. It holds the session's keys, and has seen all that ever crossed.

use keystow::operation::audit;
use keystow::operation::{
    Reply, change_password, delete, delete_account, generate, heads, list, log_in, log_out, retrieve, status, store,
};
use keystow::storage::AuditEntry;
use keystow::{
    Header, KeyId, OpaqueMessage, Refusal, SealedHead, SealedSecret, ServerMessage, SessionId, Timestamp, UserId,
};

use super::action::flip;
use super::input::input;
use super::pick;

input! {
    /// What comes back for an exchange's message.
    pub enum Answer {
        /// What the server says that has this store.
        Honest,
        /// Nothing: the vault is put back to an epoch, or forward.
        Vault { epoch: u8 },
        /// What the server says, something in it changed.
        Altered { how: Alteration },
        /// Any reply, for the message's number or another.
        Reply { said: Said, ahead: u8 },
        /// Any bytes in a frame.
        Body { reply: u8, bytes: [u8; 12] },
        /// What the server says, damaged on the way.
        Damaged { at: u16, xor: u8 },
        /// Not in a frame.
        Plain { said: Plain },
        /// An answer from before.
        Again { answer: u8 },
    }
}

input! {
    /// A change of an honest reply.
    pub enum Alteration {
        Less { at: u8 },
        Twice { at: u8 },
        Exchanged { at: u8 },
        Foreign { at: u8, which: u8 },
        Flipped { at: u16, xor: u8 },
        Number { add: u8 },
        Claim,
    }
}

input! {
    /// A reply that is made up, from what the server has.
    pub enum Said {
        Refused { refusal: u8, which: u8 },
        Welcome { byte: u8, user: bool, wrap: bool },
        Generate { byte: u8 },
        Stored { first: u8, count: u8, repeated: bool },
        Retrieved { first: u8, count: u8, spoiled: Spoiled },
        Page { first: u8, count: u8, spoiled: Spoiled, next: Option<u8>, epoch: u8 },
        Deleted { first: u8, count: u8 },
        Evaluated { byte: u8 },
        Changed,
        Audit { first: u8, count: u8, next: Option<u8> },
        Status { byte: u8 },
        LoggedOut,
        AccountDeleted { done: bool },
        Heads { first: u8, count: u8, at: Option<u16>, newest: u8 },
    }
}

input! {
    /// What is done to the last of some secrets.
    pub enum Spoiled {
        No,
        Header { at: u16, xor: u8 },
        Ciphertext { at: u16, xor: u8 },
        Cut,
        /// Another secret's ciphertext under this one's header.
        Mixed { which: u8 },
    }
}

input! {
    /// A message outside of a frame.
    pub enum Plain {
        Registration { byte: u8 },
        Registered,
        Login { byte: u8 },
        Refused { refusal: u8, which: u8 },
    }
}

/// What the server has to make replies from.
pub struct Material {
    pub user_ids: Vec<UserId>,
    pub secrets: Vec<SealedSecret>,
    pub key_ids: Vec<KeyId>,
    pub heads: Vec<SealedHead>,
    pub audit: Vec<AuditEntry>,
    pub wrap: [u8; 48],
}

fn some<T: Clone>(items: &[T], first: u8, count: u8) -> Vec<T> {
    let first = usize::from(first) % items.len();
    items.iter().cycle().skip(first).take(usize::from(count) % (items.len() + 2)).cloned().collect()
}

fn refusal(number: u8, key_id: KeyId) -> Refusal {
    match number % 10 {
        0 => Refusal::Denied,
        1 => Refusal::NameTaken,
        2 => Refusal::TryAgainAt(Timestamp::from_millis(number.into())),
        3 => Refusal::SessionEnded,
        4 => Refusal::KeyIdTaken(key_id),
        5 => Refusal::NotFound,
        6 => Refusal::TooLarge,
        7 => Refusal::AlreadyDeleted(key_id),
        8 => Refusal::LoginTooOld,
        _ => Refusal::HeadMoved,
    }
}

impl Said {
    pub fn reply(self, material: &Material) -> Reply {
        let Material { user_ids, key_ids, heads, audit: entries, wrap, .. } = material;
        match self {
            Self::Refused { refusal: number, which } => {
                Reply::Refused(refusal(number, key_ids[which as usize % key_ids.len()]))
            }
            Self::Welcome { byte, user, wrap: is_right } => Reply::Welcome(log_in::Welcome {
                user_id: user_ids[usize::from(user)],
                wrap: if is_right { *wrap } else { [byte; 48] },
                expires: Timestamp::from_millis(byte.into()),
            }),
            Self::Generate { byte } => Reply::Generate(generate::Reply { server_random: [byte; 32] }),
            Self::Stored { first, count, repeated } => {
                Reply::Store(store::Reply { key_ids: some(key_ids, first, count), repeated })
            }
            Self::Retrieved { first, count, spoiled } => {
                Reply::Retrieve(retrieve::Reply { secrets: spoiled.secrets(material, first, count) })
            }
            Self::Page { first, count, spoiled, next, epoch } => Reply::List(list::Reply {
                secrets: spoiled.secrets(material, first, count),
                next: next.map(|next| key_ids[next as usize % key_ids.len()]),
                epoch: epoch.into(),
            }),
            Self::Deleted { first, count } => Reply::Delete(delete::Reply { key_ids: some(key_ids, first, count) }),
            Self::Evaluated { byte } => Reply::ChangePassword(change_password::Reply::Evaluated {
                evaluated: Box::new(OpaqueMessage::from_bytes([byte; 64])),
            }),
            Self::Changed => Reply::ChangePassword(change_password::Reply::Changed),
            Self::Audit { first, count, next } => Reply::Audit(audit::Reply {
                entries: some(entries, first, count),
                next: next.map(|next| entries[next as usize % entries.len()].place()),
            }),
            Self::Status { byte } => {
                let millis = u64::from(byte) << 56;
                Reply::Status(status::Reply { lifetime: millis, idle: millis, recent: millis })
            }
            Self::LoggedOut => Reply::LogOut(log_out::Reply {}),
            Self::AccountDeleted { done } => Reply::DeleteAccount(delete_account::Reply { done }),
            Self::Heads { first, count, at, newest } => {
                let mut heads = some(heads, first, count);
                if let (Some(at), Some(last)) = (at, heads.last_mut()) {
                    let mut bytes = *last.as_bytes();
                    flip(&mut bytes, at, 1);
                    *last = SealedHead::from_bytes(bytes);
                }
                Reply::Heads(heads::Reply { heads, newest: newest.into() })
            }
        }
    }
}

impl Spoiled {
    fn secrets(self, material: &Material, first: u8, count: u8) -> Vec<SealedSecret> {
        let mut secrets = some(&material.secrets, first, count);
        let Some(last) = secrets.last_mut() else { return secrets };
        match self {
            Self::No => {}
            Self::Header { at, xor } => {
                let mut header = last.header.to_bytes();
                flip(&mut header, at, xor);
                if let Ok(header) = Header::from_bytes(&header) {
                    last.header = header;
                }
            }
            Self::Ciphertext { at, xor } => flip(&mut last.ciphertext, at, xor),
            Self::Cut => drop(last.ciphertext.pop()),
            Self::Mixed { which } => {
                last.ciphertext.clone_from(&material.secrets[which as usize % material.secrets.len()].ciphertext);
            }
        }
        secrets
    }
}

impl Plain {
    pub fn message(self, session_id: SessionId, material: &Material) -> ServerMessage {
        match self {
            Self::Registration { byte } => ServerMessage::RegistrationResponse {
                session_id,
                user_id: material.user_ids[0],
                evaluated: Box::new(OpaqueMessage::from_bytes([byte; 64])),
            },
            Self::Registered => ServerMessage::Registered { session_id },
            Self::Login { byte } => {
                ServerMessage::LoginResponse { session_id, ke2: Box::new(OpaqueMessage::from_bytes([byte; 320])) }
            }
            Self::Refused { refusal: number, which } => {
                let key_id = material.key_ids[which as usize % material.key_ids.len()];
                ServerMessage::Refused { session_id, refusal: refusal(number, key_id) }
            }
        }
    }
}

impl Alteration {
    /// The body of the reply, altered.
    pub fn body(self, mut reply: Reply, material: &Material) -> Vec<u8> {
        match &mut reply {
            Reply::Store(reply) => self.items(&mut reply.key_ids, &material.key_ids),
            Reply::Delete(reply) => self.items(&mut reply.key_ids, &material.key_ids),
            Reply::Retrieve(reply) => self.items(&mut reply.secrets, &material.secrets),
            Reply::List(reply) => self.items(&mut reply.secrets, &material.secrets),
            Reply::Audit(reply) => self.items(&mut reply.entries, &material.audit),
            Reply::Heads(reply) => self.items(&mut reply.heads, &material.heads),
            _ => {}
        }
        match (self, &mut reply) {
            (Self::Number { add }, Reply::List(reply)) => reply.epoch = reply.epoch.wrapping_add(add.into()),
            (Self::Number { add }, Reply::Heads(reply)) => reply.newest = reply.newest.wrapping_add(add.into()),
            (Self::Claim, Reply::Store(reply)) => reply.repeated ^= true,
            (Self::Claim, Reply::List(reply)) => reply.next = reply.secrets.last().map(|secret| secret.header.key_id()),
            (Self::Claim, Reply::DeleteAccount(reply)) => reply.done ^= true,
            (Self::Claim, Reply::Welcome(reply)) => reply.user_id = material.user_ids[1],
            _ => {}
        }
        let mut body = postcard::to_allocvec(&reply).unwrap();
        if let Self::Flipped { at, xor } = self {
            flip(&mut body, at, xor);
        }
        body
    }

    fn items<T: Clone>(self, items: &mut Vec<T>, foreign: &[T]) {
        match self {
            Self::Less { at } => {
                pick(items, at).map(|at| items.remove(at));
            }
            Self::Twice { at } => {
                if let Some(at) = pick(items, at) {
                    items.insert(at, items[at].clone());
                }
            }
            Self::Exchanged { at } => {
                if let Some(at) = pick(items, at) {
                    items.swap(0, at);
                }
            }
            Self::Foreign { at, which } => {
                if let (Some(at), Some(which)) = (pick(items, at), pick(foreign, which)) {
                    items[at] = foreign[which].clone();
                }
            }
            _ => {}
        }
    }
}
