//! What can happen in a run. An index counts from the newest thing of its sort, and round the end, so that every
//! input means something.

use arbitrary::Arbitrary;
use keystow::storage::{Change, Conflict, Outcome, Transaction};
use keystow::{KeyId, Kind};

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A person starts to register.
    Register { person: u8, randomness: Randomness },
    /// A person, or somebody who guesses, starts to log in: with a pin that one of the person's devices kept once, or
    /// without.
    LogIn { person: u8, guess: bool, pin: Option<u8>, randomness: Randomness },
    /// A device starts to generate 1 to 4 secrets.
    Generate { device: u8, kinds: u8, randomness: Randomness },
    /// A device starts to store a batch, its own or another device's; or as after a roll-back that its person has accepted.
    Store { device: u8, batch: u8, rebased: bool, settle: Settle },
    /// A device starts to retrieve `count` secrets.
    Retrieve { device: u8, first: u8, count: u8 },
    /// A device starts another operation of its session.
    Operate { device: u8, operation: Operation, settle: Settle, randomness: Randomness },
    /// A hostile client sends what the client's own operations may refuse to make.
    Forge { device: u8, forgery: Forgery },
    /// An exchange runs to its end on a good day.
    Run { exchange: u8 },
    /// An exchange's message reaches the server; the answer comes back, or is lost.
    Send { exchange: u8, tamper: Tamper, mishap: Mishap, answered: bool },
    /// A message from long ago reaches the server again.
    Replay { message: u8, tamper: Tamper, mishap: Mishap },
    /// An answer from long ago reaches an exchange.
    Answer { exchange: u8, answer: u8, tamper: Tamper },
    /// A device settles what it has put off.
    Settle { unsettled: u8 },
    /// The time goes on.
    Wait(Wait),
    /// The embedder's housekeeping: expired counters and sessions go.
    Purge,
    /// The server loses its sessions.
    Crash,
}

/// The operations besides the main job.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Import {
        kind: u8,
        byte: u8,
    },
    /// What is there, compared with the vault's head, or all that can be had.
    List {
        verified: bool,
    },
    Delete {
        first: u8,
        count: u8,
    },
    /// Of any pin that was ever kept, somebody else's too.
    VerifyPin {
        pin: u8,
    },
    /// To the same password, so that every later login still knows it.
    ChangePassword,
    Audit {
        limit: u8,
    },
    Status,
    LogOut,
    DeleteAccount,
}

/// When a device settles what an exchange gives.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    AtOnce,
    /// When [`Action::Settle`] says so, other operations meanwhile.
    Late,
    /// It crashes before.
    Never,
}

/// Where a client's random bytes come from.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Randomness {
    Fresh,
    /// The same as at every other operation of this person that repeats: a restored device image.
    Repeated,
}

/// What the network does to a message's bytes.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tamper {
    No,
    Flip {
        at: u16,
        xor: u8,
    },
    Cut {
        at: u16,
    },
    Append {
        byte: u8,
    },
    /// Another session's ID is written over the message's own.
    Reroute {
        session: u8,
    },
}

/// What the store does to a step.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    No,
    /// The read fails: the step is dropped.
    ReadFails,
    /// The read finds nothing.
    ReadMissing,
    /// The read gives what an earlier query asked for.
    ReadForeign {
        query: u8,
    },
    /// The read gives damaged records.
    ReadDamaged {
        at: u16,
        xor: u8,
    },
    /// Another exchange's message is served whole between the read and the write.
    Meanwhile {
        exchange: u8,
    },
    /// The write fails and wrote nothing: the step is dropped.
    WriteFailsBefore,
    /// The write is done and its outcome is lost: the step is dropped.
    WriteFailsAfter,
    /// The embedder refuses the read, or the write.
    Denied {
        read: bool,
    },
    /// The store tells another outcome.
    Lie {
        lie: Lie,
        applied: bool,
    },
}

/// An untrue outcome. None of them makes the server acknowledge what wasn't written: no server can see through that.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    Credential,
    NameTaken,
    UserIdTaken,
    AttemptLimit,
    KeyIdTaken,
    OtherKeyIdTaken,
    SecretGone,
    Head,
    Repeated,
}

/// A request of a hostile client.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// Any number of secrets of any length.
    Generate { count: u16, len: u32 },
    /// A batch, anybody's, with something changed.
    Store { batch: u8, change: Damage, head: Head },
    /// Records of 64 KiB with arbitrary contents.
    StoreHeavy { seed: u8, head: Head },
    /// Any secrets, anybody's.
    Retrieve { first: u8, count: u8, twice: bool },
    /// All that this user has.
    RetrieveAll,
    /// A page of any length.
    List { limit: u16 },
    /// A page of any length.
    Audit { limit: u16 },
    /// Any secrets, anybody's.
    Delete { first: u8, count: u8, twice: bool, head: Head },
    /// A change of password that begins with any bytes.
    StartChange { byte: u8 },
    /// A change of password that ends with an invalid record.
    FinishChange { head: Head },
    /// The chain from any head on.
    Heads { from: Option<u64> },
    /// A part of the account goes, and the vault's head says nothing of it, or something else.
    DeleteAccount { head: Option<Head> },
}

/// The vault head of a forged request.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Sealed as this vault's next one, for another change.
    Sealed,
    /// Any bytes, in the place that comes so many after the newest head.
    Garbage { after: u8, byte: u8 },
}

/// What is changed in a forged batch.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    No,
    Emptied,
    Doubled,
    Header { at: u8, xor: u8 },
    Ciphertext { at: u8, xor: u8 },
    Shortened,
    Lengthened,
}

/// A time to wait: each crosses one limit of the server's policy, or none.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    Second,
    Handshake,
    Idle,
    Window,
    Lifetime,
}

impl Wait {
    pub fn millis(self) -> u64 {
        match self {
            Self::Second => 1_000,
            Self::Handshake => 60_001,
            Self::Idle => 5 * 60_000 + 1,
            Self::Window => 15 * 60_000,
            Self::Lifetime => 60 * 60_000 + 1,
        }
    }
}

/// 1 to 4 kinds, by the bits of a byte.
pub fn kinds(bits: u8) -> Vec<Kind> {
    (0..=bits >> 6).map(|i| kind(bits >> (2 * i))).collect()
}

pub fn kind(number: u8) -> Kind {
    [Kind::Bytes(32), Kind::Secp256k1, Kind::Ed25519, Kind::Bytes(1)][usize::from(number) % 4]
}

impl Tamper {
    /// Changes the bytes. `sessions` are the session IDs that are known.
    pub fn apply(self, bytes: &mut Vec<u8>, sessions: &[[u8; 16]]) {
        match self {
            Self::No => {}
            Self::Flip { at, xor } => flip(bytes, at, xor),
            Self::Cut { at } => bytes.truncate(usize::from(at) % (bytes.len() + 1)),
            Self::Append { byte } => bytes.push(byte),
            // After the version and the variant, in all messages but a client's first ones.
            Self::Reroute { session } => {
                if let (Some(session), Some(place)) = (super::pick(sessions, session), bytes.get_mut(2..18)) {
                    place.copy_from_slice(&sessions[session]);
                }
            }
        }
    }
}

/// Changes one byte.
pub fn flip(bytes: &mut [u8], at: u16, xor: u8) {
    if !bytes.is_empty() {
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= xor.max(1);
    }
}

impl Lie {
    pub fn outcome(self, transaction: &Transaction) -> Outcome {
        let named = transaction.changes.iter().find_map(|change| match change {
            Change::StoreSecret { key_id, .. } | Change::DeleteSecret { key_id, .. } => Some(*key_id),
            _ => None,
        });
        let named = named.unwrap_or(KeyId::from_bytes([0; 16]));
        let conflict = match self {
            // It would acknowledge what may not be written, unless it is impossible.
            Self::Repeated if transaction.audit.is_none() => return Outcome::Repeated,
            Self::Repeated | Self::Head => Conflict::Head,
            Self::Credential => Conflict::Credential,
            Self::NameTaken => Conflict::NameTaken,
            Self::UserIdTaken => Conflict::UserIdTaken,
            Self::AttemptLimit => Conflict::AttemptLimit,
            Self::KeyIdTaken => Conflict::KeyIdTaken(named),
            Self::SecretGone => Conflict::SecretGone(named),
            Self::OtherKeyIdTaken => Conflict::KeyIdTaken(KeyId::from_bytes([0; 16])),
        };
        Outcome::Conflict(conflict)
    }
}
