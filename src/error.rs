//! Errors by whose fault they are: the peer's, the caller's, or the stored data's.
//!
//! An error stays on the side that found it. What goes over the wire is a [`Refusal`], which says no
//! more than the peer may know.

mod vault;

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{AccountName, KeyId, SessionId, Timestamp, UserId};
use crate::kind::Kind;
use crate::suite::KsfProfile;

pub use vault::VaultFault;

/// Why a call failed. *An `Err` means that nothing changed and that there is nothing to send.*
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The other side, or the network between, sent something that can't be right.
    Peer(PeerFault),
    /// The calling application asked for something that can't be done.
    Caller(CallerFault),
    /// The embedder's store answered with something that can't be right.
    Stored(StoredFault),
    /// In a fleet, another node has taken the session's next step: forget the session as it is here. The client asks again.
    Moved,
}

/// What is wrong with what the peer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerFault {
    /// More bytes than a message may have; nothing was decoded.
    TooLong {
        /// Bytes received.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The first byte is not this protocol's version.
    Version(u8),
    /// Not a message, or not in its one canonical form (trailing bytes, overlong integers).
    Undecodable,
    /// An OPAQUE message, point or public key that is not valid.
    InvalidElement,
    /// The message belongs to another session.
    WrongSession,
    /// The message's kind doesn't fit the state: out of order, or after the end.
    OutOfOrder,
    /// The sequence number is neither that of the last request, repeated, nor greater.
    WrongSequence,
    /// The frame's seal is broken: garbled, forged, replayed, or from another session.
    Unauthenticated,
    /// The registration's transcript differs on the two sides: a message was damaged on the way, or the client means
    /// a deployment with another server identity.
    Transcript,
    /// The login failed: a wrong password, an unknown account, or an answer that is not the server's. OPAQUE can't
    /// tell these apart, by design.
    LoginFailed,
    /// The server's public key is not the pinned one.
    WrongServerKey,
    /// The KE3 of a login is wrong: the client doesn't know the password.
    WrongKe3,
    /// The vault key's wrap doesn't open under this password's export key.
    DamagedWrap,
    /// An answer's contents are not what was asked for.
    Mismatch(&'static str),
    /// A stored secret that the server sent does not open, or doesn't belong to its key ID, its user or its public component.
    DamagedSecret {
        /// The secret's key ID, as asked for.
        key_id: KeyId,
    },
    /// The vault that the server shows is not the one that the person's devices left there.
    Vault(VaultFault),
    /// A refusal outside of a frame. Only the channel vouches for it, so the exchange stays open.
    Refused(Refusal),
}

/// What is wrong with what the calling application asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallerFault {
    /// An account name has 1 to `max` bytes.
    AccountNameLength {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A server identity has 1 to `max` bytes.
    ServerIdentityLength {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A password has 1 to `max` bytes.
    PasswordLength {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A key-stretching profile lies under the floor.
    KsfBelowFloor {
        /// The least that is allowed.
        floor: KsfProfile,
    },
    /// A key-stretching profile lies over the ceiling.
    KsfAboveCeiling {
        /// The most that is allowed.
        ceiling: KsfProfile,
    },
    /// Key stretching failed: the memory that the profile asks for could not be had.
    KsfFailed,
    /// A client policy names 1 to `max` key-stretching profiles.
    KsfProfileCount {
        /// Profiles given.
        count: usize,
        /// Profiles allowed.
        max: usize,
    },
    /// A secret of this kind has 1 to `max` bytes.
    SecretLength {
        /// Bytes asked for.
        len: u32,
        /// Bytes allowed.
        max: u32,
    },
    /// A batch has 1 to `max` items, each of them once.
    BatchLength {
        /// Items given.
        len: usize,
        /// Items allowed.
        max: usize,
    },
    /// An item stands in the batch twice.
    Duplicate,
    /// A pending secret belongs to another user.
    WrongUser {
        /// The user that it belongs to.
        pending: UserId,
    },
    /// A pending secret doesn't open under this account's vault key, or a saved value can't be read: it was damaged.
    DamagedPending,
    /// Saved server keys or another saved value can't be read.
    DamagedValue(&'static str),
    /// Key material that can't be imported: not in the format that it was given as, out of range, or followed by
    /// something else.
    ImportFormat(&'static str),
    /// Arbitrary bytes, or a key of another kind, have no such format or signature.
    WrongKind(Kind),
    /// What an exchange with the vault gave is not settled yet, or the exchange is still there: settle it, or drop it.
    Unsettled,
    /// It is another session's.
    WrongSession,
    /// The account's deletion was begun: nothing but [`crate::ClientSession::delete_account`] can go on.
    VaultClosed,
    /// The exchange has ended; its answer was handed out.
    ExchangeEnded,
    /// This session has used up its sequence numbers.
    SequenceExhausted,
    /// A message of this size can't be sent.
    TooLong {
        /// Bytes allowed.
        max: usize,
    },
    /// A server policy's value is zero.
    Policy(&'static str),
}

/// What is wrong with what the embedder's store answered, and in which record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFault {
    /// The record.
    pub record: RecordName,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Names a record of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordName {
    /// The account record under this name.
    Account(AccountName),
    /// A secret of this user.
    Secret(UserId, KeyId),
    /// A vault head of this user, by its epoch.
    Head(UserId, u64),
    /// A session of the fleet.
    Session(SessionId),
    /// The audit trail of this user.
    Audit(UserId),
    /// An answer as a whole, to a query or a transaction.
    Answer,
}

/// What a server tells a client that it refuses. Where detail would help an attacker, there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// No, without a reason.
    Denied,
    /// The account name is taken. (That registration tells so is said in the threat model.)
    NameTaken,
    /// Too many attempts on this name in this window; the next window opens at this time. Known and
    /// unknown names alike.
    TryAgainAt(Timestamp),
    /// The session is over: it expired, or the account's password was changed. Log in again.
    SessionEnded,
    /// Another secret, or the tombstone of a deleted one, has this key ID. Nothing was stored, nothing is overwritten.
    KeyIdTaken(KeyId),
    /// At least one of the secrets isn't there, or isn't this user's.
    NotFound,
    /// The answer would be longer than a message may be: ask for less at once.
    TooLarge,
    /// This secret of the user's was deleted before.
    AlreadyDeleted(KeyId),
    /// The operation needs a login that is more recent than this session's: log in again.
    LoginTooOld,
    /// The vault's head is not the one that the request goes on from: another device was faster, or a listing was
    /// overtaken. Exchanges take the new head over and try again by themselves.
    HeadMoved,
}

impl From<PeerFault> for Error {
    fn from(fault: PeerFault) -> Self {
        Self::Peer(fault)
    }
}

impl From<VaultFault> for Error {
    fn from(fault: VaultFault) -> Self {
        Self::Peer(PeerFault::Vault(fault))
    }
}

impl From<CallerFault> for Error {
    fn from(fault: CallerFault) -> Self {
        Self::Caller(fault)
    }
}

impl From<Refusal> for Error {
    /// For `outcome?` on what an exchange ends with.
    fn from(refusal: Refusal) -> Self {
        Self::Peer(PeerFault::Refused(refusal))
    }
}

impl Error {
    /// A fault of the stored data.
    pub(crate) fn stored(record: RecordName, problem: &'static str) -> Self {
        Self::Stored(StoredFault { record, problem })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(fault) => write!(f, "the peer: {fault}"),
            Self::Caller(fault) => write!(f, "the caller: {fault}"),
            Self::Stored(fault) => write!(f, "the stored data: {fault}"),
            Self::Moved => f.write_str("another node has taken the session's next step"),
        }
    }
}

impl fmt::Display for PeerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len, max } => write!(f, "a message of {len} bytes, where {max} are allowed"),
            Self::Version(version) => write!(f, "version byte {version}, which this crate doesn't speak"),
            Self::Undecodable => f.write_str("not a message in its canonical form"),
            Self::InvalidElement => f.write_str("an invalid OPAQUE message, point or public key"),
            Self::WrongSession => f.write_str("a message of another session"),
            Self::OutOfOrder => f.write_str("a message that doesn't fit the session's state"),
            Self::WrongSequence => f.write_str("a sequence number that was used or skipped over"),
            Self::Unauthenticated => f.write_str("a frame whose seal is broken"),
            Self::Transcript => {
                f.write_str("a registration that was damaged on the way, or is meant for another server")
            }
            Self::LoginFailed => {
                f.write_str("the login failed: wrong password, unknown account, or not the server's answer")
            }
            Self::WrongServerKey => f.write_str("the server's key is not the pinned one"),
            Self::WrongKe3 => f.write_str("a login that doesn't know the password"),
            Self::DamagedWrap => f.write_str("the vault key's wrap doesn't open"),
            Self::Mismatch(what) => write!(f, "an answer with another {what} than was asked for"),
            Self::DamagedSecret { key_id } => write!(f, "the secret {key_id} is damaged or exchanged"),
            Self::Vault(fault) => fault.fmt(f),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
        }
    }
}

impl fmt::Display for CallerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccountNameLength { len, max } => write!(f, "an account name has 1 to {max} bytes, not {len}"),
            Self::ServerIdentityLength { len, max } => write!(f, "a server identity has 1 to {max} bytes, not {len}"),
            Self::PasswordLength { len, max } => write!(f, "a password has 1 to {max} bytes, not {len}"),
            Self::KsfBelowFloor { floor } => write!(f, "the key-stretching floor is {floor}"),
            Self::KsfAboveCeiling { ceiling } => write!(f, "the key-stretching ceiling is {ceiling}"),
            Self::KsfFailed => f.write_str("key stretching failed: not enough memory"),
            Self::KsfProfileCount { count, max } => {
                write!(f, "a policy names 1 to {max} key-stretching profiles, not {count}")
            }
            Self::SecretLength { len, max } => write!(f, "a secret of this kind has 1 to {max} bytes, not {len}"),
            Self::BatchLength { len, max } => write!(f, "a batch has 1 to {max} items, not {len}"),
            Self::Duplicate => f.write_str("an item stands in the batch twice"),
            Self::WrongUser { pending } => write!(f, "the pending secret belongs to user {pending}"),
            Self::DamagedPending => f.write_str("the pending secret is damaged"),
            Self::DamagedValue(what) => write!(f, "the saved {what} can't be read"),
            Self::ImportFormat(what) => write!(f, "not {what}"),
            Self::WrongKind(kind) => write!(f, "a secret of the kind {kind} can't do that"),
            Self::Unsettled => f.write_str("an exchange with the vault is not settled yet"),
            Self::WrongSession => f.write_str("it belongs to another session"),
            Self::VaultClosed => f.write_str("the account is being deleted"),
            Self::ExchangeEnded => f.write_str("the exchange has ended"),
            Self::SequenceExhausted => f.write_str("the session has no sequence number left"),
            Self::TooLong { max } => write!(f, "a message has at most {max} bytes"),
            Self::Policy(what) => write!(f, "the policy's {what} is out of range"),
        }
    }
}

impl fmt::Display for StoredFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.record, self.problem)
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(name) => write!(f, "account \"{name}\""),
            Self::Secret(user_id, key_id) => write!(f, "secret {key_id} of user {user_id}"),
            Self::Head(user_id, epoch) => write!(f, "vault head {epoch} of user {user_id}"),
            Self::Session(session_id) => write!(f, "session {session_id}"),
            Self::Audit(user_id) => write!(f, "audit trail of user {user_id}"),
            Self::Answer => f.write_str("the store's answer"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied => f.write_str("denied"),
            Self::NameTaken => f.write_str("the account name is taken"),
            Self::TryAgainAt(time) => write!(f, "too many attempts; try again at {} ms", time.as_millis()),
            Self::SessionEnded => f.write_str("the session is over; log in again"),
            Self::KeyIdTaken(key_id) => write!(f, "the key ID {key_id} is taken, or was deleted"),
            Self::NotFound => f.write_str("not found"),
            Self::TooLarge => f.write_str("too much asked for at once"),
            Self::AlreadyDeleted(key_id) => write!(f, "the secret {key_id} was deleted before"),
            Self::LoginTooOld => f.write_str("this needs a more recent login"),
            Self::HeadMoved => f.write_str("the vault has changed meanwhile"),
        }
    }
}

impl core::error::Error for Error {}
impl core::error::Error for Refusal {}

/// Checks that a batch has 1 to `max` items.
pub(crate) fn check_batch<T>(items: &[T], max: usize) -> Result<(), CallerFault> {
    if items.is_empty() || items.len() > max {
        return Err(CallerFault::BatchLength { len: items.len(), max });
    }
    Ok(())
}

/// Checks that a batch has 1 to `max` items, each once.
pub(crate) fn check_distinct<T: Ord + Copy>(items: &[T], max: usize) -> Result<(), CallerFault> {
    check_batch(items, max)?;
    if has_duplicate(items.iter().copied()) { Err(CallerFault::Duplicate) } else { Ok(()) }
}

/// Whether an item stands in the list twice.
pub(crate) fn has_duplicate<T: Ord>(items: impl IntoIterator<Item = T>) -> bool {
    let items = items.into_iter();
    if items.size_hint().1.is_some_and(|most| most < 2) {
        return false;
    }
    let mut sorted: Vec<T> = items.collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
}
