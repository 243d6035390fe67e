//! The audit trail: an entry for everything that is done to an account, which is the idempotency key of its transaction
//! as well.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::codec::{decode, joined};
use crate::error::Error;
use crate::id::{KeyId, SessionId, Timestamp, UserId};
use crate::storage::Record;

/// What happened, for the account's audit trail.
///
/// [`AuditEntry::key`] is the transaction's idempotency key as well: a store that holds an entry under
/// the same key has applied the transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    pub(crate) user_id: UserId,
    pub(crate) session_id: SessionId,
    pub(crate) sequence: u64,
    pub(crate) request: [u8; 16],
    pub(crate) at: Timestamp,
    pub(crate) action: Action,
    pub(crate) granted: bool,
    pub(crate) key_ids: Vec<KeyId>,
}

/// The audited actions. The variant's position is its number in the record: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// The account was made.
    Register,
    /// A login was granted.
    LogIn {
        /// The attempts charged to the account's name since the last granted login, this one's own left out, as far
        /// back as the counter was kept.
        attempts_spent: u32,
    },
    /// Secrets were stored.
    Store,
    /// Secrets were read.
    Retrieve,
    /// A page of secrets was listed.
    List,
    /// Secrets were deleted.
    Delete,
    /// The password was changed.
    ChangePassword,
    /// A part of the account was deleted, on the way to all of it.
    DeleteAccount,
}

impl Action {
    /// Whether it is about secrets; else it is about the account.
    #[must_use]
    pub const fn is_about_secrets(self) -> bool {
        match self {
            Self::Store | Self::Retrieve | Self::List | Self::Delete => true,
            Self::Register | Self::LogIn { .. } | Self::ChangePassword | Self::DeleteAccount => false,
        }
    }
}

impl AuditEntry {
    /// A unique key, 57 bytes: `user_id[16] ‖ session_id[16] ‖ sequence[8] ‖ request[16] ‖ granted[1]`, big-endian.
    ///
    /// The request's fingerprint is in it because a client whose generator repeats opens a session under an old ID:
    /// the server's fresh keys make its requests other ones all the same.
    #[must_use]
    pub fn key(&self) -> [u8; 57] {
        self.place().key(self.user_id)
    }

    /// Where the entry stands in its account's trail: by time, then by session and sequence.
    #[must_use]
    pub fn place(&self) -> AuditPlace {
        AuditPlace {
            at: self.at,
            session_id: self.session_id,
            sequence: self.sequence,
            request: self.request,
            granted: self.granted,
        }
    }

    /// The entry's bytes, to store beside whatever columns the engine wants to search by.
    ///
    /// # Errors
    /// None in practice: an entry of at most 256 key IDs fits.
    pub fn to_record(&self) -> Result<Record, Error> {
        Record::encode(self)
    }

    /// Reads the bytes of an entry.
    ///
    /// # Errors
    /// [`crate::PeerFault::Undecodable`] and its like for anything but an entry.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Ok(decode(bytes)?)
    }

    /// Whose trail it belongs to.
    #[must_use]
    pub const fn user_id(&self) -> UserId {
        self.user_id
    }

    /// The session in which it happened.
    #[must_use]
    pub const fn session_id(&self) -> SessionId {
        self.session_id
    }

    /// The request's number in the session; registration and login are number 1.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When it happened, by the embedder's clock.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// What happened.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// Whether it was done; `false` if it was refused.
    #[must_use]
    pub const fn granted(&self) -> bool {
        self.granted
    }

    /// The secrets that it was about.
    #[must_use]
    pub fn key_ids(&self) -> &[KeyId] {
        &self.key_ids
    }
}

/// A place in an account's audit trail, compared in the order of its fields: engines order by time, and then by
/// [`AuditEntry::key`], which comes to the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AuditPlace {
    /// When it happened.
    pub at: Timestamp,
    /// In which session.
    pub session_id: SessionId,
    /// The request's number in it.
    pub sequence: u64,
    /// Which request it was.
    pub request: [u8; 16],
    /// Whether it was done.
    pub granted: bool,
}

impl AuditPlace {
    /// [`AuditEntry::key`] of the entry that stands at this place in the user's trail.
    #[must_use]
    pub fn key(&self, user_id: UserId) -> [u8; 57] {
        let Self { session_id, sequence, request, granted, .. } = self;
        let parts: [&[u8]; 5] =
            [user_id.as_bytes(), session_id.as_bytes(), &sequence.to_be_bytes(), request, &[u8::from(*granted)]];
        joined(&parts)
    }
}

/// Which entries of the audit trail: those that pass every part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditFilter {
    /// About what.
    pub about: AuditAbout,
    /// About one of these secrets at least; about any, if the list is empty. At most 256.
    pub key_ids: Vec<KeyId>,
    /// Not before this time.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

/// What audit entries are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuditAbout {
    /// Anything.
    #[default]
    All,
    /// The account: registration, logins, changes of password.
    Account,
    /// Secrets.
    Secrets,
}

impl AuditFilter {
    /// Whether an entry passes.
    #[must_use]
    pub fn takes(&self, entry: &AuditEntry) -> bool {
        let about = match self.about {
            AuditAbout::All => true,
            AuditAbout::Account => !entry.action.is_about_secrets(),
            AuditAbout::Secrets => entry.action.is_about_secrets(),
        };
        about
            && (self.key_ids.is_empty() || entry.key_ids.iter().any(|key_id| self.key_ids.contains(key_id)))
            && self.from.is_none_or(|from| entry.at >= from)
            && self.until.is_none_or(|until| entry.at < until)
    }
}
