//! Transactions: what the server wants written, all or nothing.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::{AuditEntry, Record};
use crate::error::{Error, RecordName, Refusal};
use crate::id::{AccountName, CounterId, CredentialId, KeyId, SessionId, Timestamp, UserId};

/// Everything that one message writes: **all of it or nothing, atomically and durably, before
/// [`Outcome::Applied`] is returned**.
///
/// The engine does this in one database transaction:
///
/// 0. In a fleet, `advance`: if the session has not the version that it goes on from: nothing is written,
///    [`Outcome::Moved`]. Else it is written with every other outcome, whatever is said below.
/// 1. If `audit` has an entry and one with the same [`AuditEntry::key`] is stored already: nothing is written,
///    [`Outcome::Repeated`].
/// 2. Each of `guards`, then the condition of each of `changes`, in order. The first that fails: `otherwise` is
///    inserted, if it is there and its key isn't stored yet, nothing else is written, [`Outcome::Conflict`]. If it is
///    [`Conflict::Head`], `otherwise` isn't inserted either: nothing was refused, the client tries again.
/// 3. If there are [`Change::StoreSecret`]s among the `changes`, and the record of each is stored already, byte for byte:
///    nothing is written, a [`Change::AppendHead`] beside them neither, [`Outcome::Repeated`].
/// 4. All of `changes` and `audit` are written: [`Outcome::Applied`].
///
/// If the outcome is unknown (a timeout), drop the step and send nothing: the client asks again, and what was applied
/// counts as [`Outcome::Repeated`]. (A charge alone may be charged twice: the safe side.)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// In a fleet, the session's next version, which belongs to every outcome.
    pub advance: Option<Advance>,
    /// What must hold besides the changes' own conditions.
    pub guards: Vec<Guard>,
    /// What is written if everything holds.
    pub changes: Vec<Change>,
    /// The audit entry that is written with the changes.
    pub audit: Option<AuditEntry>,
    /// The audit entry that is written instead if something doesn't hold, but for the vault's head.
    pub otherwise: Option<AuditEntry>,
}

/// A session of a fleet, on its way to its next version: if the version stored under `session_id` is `from` (or, for 0, none
/// is stored), `from + 1` takes its place with `sealed`, `expires`, and [`Transaction::resolution`] of the outcome. Else
/// [`Outcome::Moved`].
#[derive(Clone, PartialEq, Eq)]
pub struct Advance {
    /// The session.
    pub session_id: SessionId,
    /// The version that the step goes on from; 0 for a session that isn't stored yet.
    pub from: u64,
    /// The session and the step, sealed under the fleet's key.
    pub sealed: Record,
    /// When the session can be purged.
    pub expires: Timestamp,
}

impl fmt::Debug for Advance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Advance")
            .field("session_id", &self.session_id)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// A condition on something that the transaction doesn't change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The account of this user exists and has this credential identifier. Else [`Conflict::Credential`].
    Credential {
        /// The user.
        user_id: UserId,
        /// The credential identifier that the session logged in with.
        credential: CredentialId,
    },
    /// The newest vault head of this user has this epoch. Else [`Conflict::Head`].
    Head {
        /// The user.
        user_id: UserId,
        /// The epoch.
        epoch: u64,
    },
}

/// One change, with its own condition. Exhaustive: an engine that skips one loses data.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// Inserts an account and the first link, number 0, of its chain of vault heads. If there is an account under the name:
    /// [`Conflict::NameTaken`]; if there is one with the user ID, or was until [`Change::DeleteAccount`]:
    /// [`Conflict::UserIdTaken`].
    CreateAccount {
        /// The account's name, compared bytewise.
        name: AccountName,
        /// The account's user ID.
        user_id: UserId,
        /// The credential identifier, for [`Guard::Credential`] and [`super::SecretsQuery::found`].
        credential: CredentialId,
        /// The account record.
        record: Record,
        /// The sealed head of epoch 0.
        head: Record,
    },
    /// Counts one attempt, in the window that ends at `window_ends`:
    ///
    /// - no counter under the key, or one whose window ended before `window_ends`: `count = 1`, `window_ends`
    ///   taken over, `unseen` one more than it was (from 0);
    /// - else, while `count < limit`: `count` and `unseen` one more each, the window stays (a clock may lag);
    /// - else [`Conflict::AttemptLimit`].
    ///
    /// A counter may be purged once its window has ended, by the embedder's clock.
    ChargeAttempt {
        /// The counter.
        counter: CounterId,
        /// When the current window ends.
        window_ends: Timestamp,
        /// The attempts that a window has.
        limit: u32,
    },
    /// Gives one attempt back: if the counter is there, `unseen` is less by `seen`, and if its window is still the
    /// one that ends at `window_ends`, `count` is less by one; neither below 0. Never a conflict.
    RefundAttempt {
        /// The counter.
        counter: CounterId,
        /// The window in which the attempt was charged.
        window_ends: Timestamp,
        /// The attempts that the audit entry beside this change reports, and the login's own.
        seen: u32,
    },
    /// Inserts a secret. If something else is stored under its user and key ID, a tombstone included:
    /// [`Conflict::KeyIdTaken`]. If the same record is there, byte for byte, it stays.
    StoreSecret {
        /// Whose secret.
        user_id: UserId,
        /// The secret's name, unique for the user.
        key_id: KeyId,
        /// The secret record.
        record: Record,
    },
    /// Puts a tombstone in a secret's place. If the record `live` is stored, byte for byte, the tombstone replaces it;
    /// if that tombstone is stored already, it stays; else [`Conflict::SecretGone`].
    DeleteSecret {
        /// Whose secret.
        user_id: UserId,
        /// The secret's name, which is never free again.
        key_id: KeyId,
        /// The record that is to go.
        live: Record,
        /// The record that takes its place.
        tombstone: Record,
    },
    /// Replaces an account's record and its credential identifier, which [`Guard::Credential`] has compared.
    ReplaceCredential {
        /// The account's name.
        name: AccountName,
        /// The account's user ID, which stays.
        user_id: UserId,
        /// The new credential identifier.
        credential: CredentialId,
        /// The new account record.
        record: Record,
    },
    /// Removes a secret or a tombstone for good, on the way to [`Change::DeleteAccount`]. Never a conflict.
    PurgeSecret {
        /// Whose secret.
        user_id: UserId,
        /// The secret's name.
        key_id: KeyId,
    },
    /// Removes an account, with whatever is left of its secrets (another session may have stored one meanwhile), its vault
    /// heads and its audit trail: the name is free. The attempt counter stays. Its user ID stays taken for
    /// [`Change::CreateAccount`], so that a late registration upload can't bring the account back. Never a conflict.
    DeleteAccount {
        /// The account's name.
        name: AccountName,
        /// The account's user ID.
        user_id: UserId,
    },
    /// Appends the next link of the account's chain of vault heads (`docs/protocol.md`, "Vault head"). If the account's newest
    /// head has not the epoch right before `epoch`, or there is no account: [`Conflict::Head`].
    AppendHead {
        /// Whose head.
        user_id: UserId,
        /// The head's number, from 1.
        epoch: u64,
        /// The sealed head.
        head: Record,
    },
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateAccount { name, user_id, record, .. } => f
                .debug_struct("CreateAccount")
                .field("name", name)
                .field("user_id", user_id)
                .field("record", record)
                .finish_non_exhaustive(),
            Self::ChargeAttempt { counter, window_ends, limit } => f
                .debug_struct("ChargeAttempt")
                .field("counter", counter)
                .field("window_ends", window_ends)
                .field("limit", limit)
                .finish(),
            Self::RefundAttempt { counter, window_ends, seen } => f
                .debug_struct("RefundAttempt")
                .field("counter", counter)
                .field("window_ends", window_ends)
                .field("seen", seen)
                .finish(),
            Self::StoreSecret { user_id, key_id, record } => f
                .debug_struct("StoreSecret")
                .field("user_id", user_id)
                .field("key_id", key_id)
                .field("record", record)
                .finish(),
            Self::DeleteSecret { user_id, key_id, .. } => {
                f.debug_struct("DeleteSecret").field("user_id", user_id).field("key_id", key_id).finish_non_exhaustive()
            }
            Self::ReplaceCredential { name, user_id, record, .. } => f
                .debug_struct("ReplaceCredential")
                .field("name", name)
                .field("user_id", user_id)
                .field("record", record)
                .finish_non_exhaustive(),
            Self::PurgeSecret { user_id, key_id } => {
                f.debug_struct("PurgeSecret").field("user_id", user_id).field("key_id", key_id).finish()
            }
            Self::DeleteAccount { name, user_id } => {
                f.debug_struct("DeleteAccount").field("name", name).field("user_id", user_id).finish()
            }
            Self::AppendHead { user_id, epoch, head } => f
                .debug_struct("AppendHead")
                .field("user_id", user_id)
                .field("epoch", epoch)
                .field("head", head)
                .finish(),
        }
    }
}

/// The state of a name's attempt counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// When the window ends in which `count` was counted.
    pub window_ends: Timestamp,
    /// Attempts charged in the window and not given back.
    pub count: u32,
    /// Attempts charged since the last granted login.
    pub unseen: u32,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was written.
    Applied,
    /// It had been written before; nothing was written now.
    Repeated,
    /// Something didn't hold; only `otherwise` was written, or nothing.
    Conflict(Conflict),
    /// In a fleet, the session is not the one that the step goes on from: nothing was written, and nothing may be sent.
    Moved,
}

/// What a session has to know of a step's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Resolution {
    Applied,
    Repeated,
    Refused(Refusal),
}

/// The first condition of a transaction that didn't hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// [`Guard::Credential`]: the account is gone, or has another credential identifier.
    Credential,
    /// [`Change::CreateAccount`]: the name has an account.
    NameTaken,
    /// [`Change::CreateAccount`]: the user ID has an account.
    UserIdTaken,
    /// [`Change::ChargeAttempt`]: the window's attempts are spent.
    AttemptLimit,
    /// [`Change::StoreSecret`]: something else is stored under this key ID.
    KeyIdTaken(KeyId),
    /// [`Change::DeleteSecret`]: the secret was deleted meanwhile.
    SecretGone(KeyId),
    /// [`Change::AppendHead`]: the account's newest head is not the one before. [`Guard::Head`]: it is another one.
    Head,
}

impl Transaction {
    /// What to store beside [`Advance::sealed`] for an outcome: 2 to 19 bytes.
    ///
    /// # Errors
    /// [`Error::Stored`] for an outcome that this transaction can't have; [`Error::Moved`] for [`Outcome::Moved`].
    pub fn resolution(&self, outcome: Outcome) -> Result<Record, Error> {
        Record::encode(&self.resolve(outcome)?)
    }

    /// What an outcome comes to.
    pub(crate) fn resolve(&self, outcome: Outcome) -> Result<Resolution, Error> {
        let impossible = || Error::stored(RecordName::Answer, "is an outcome that the transaction can't have");
        match outcome {
            Outcome::Applied => Ok(Resolution::Applied),
            Outcome::Repeated if self.can_repeat() => Ok(Resolution::Repeated),
            Outcome::Repeated => Err(impossible()),
            Outcome::Conflict(conflict) => self.refusal(conflict).map(Resolution::Refused).ok_or_else(impossible),
            Outcome::Moved if self.advance.is_some() => Err(Error::Moved),
            Outcome::Moved => Err(impossible()),
        }
    }

    /// What the client is told about a conflict; `None` if this transaction has no condition that fails so.
    pub(crate) fn refusal(&self, conflict: Conflict) -> Option<Refusal> {
        let guard = self.guards.iter().map(|guard| match guard {
            Guard::Credential { .. } => (Conflict::Credential, Refusal::SessionEnded),
            Guard::Head { .. } => (Conflict::Head, Refusal::HeadMoved),
        });
        let change = self.changes.iter().flat_map(|change| match change {
            Change::CreateAccount { .. } => {
                [Some((Conflict::NameTaken, Refusal::NameTaken)), Some((Conflict::UserIdTaken, Refusal::Denied))]
            }
            Change::ChargeAttempt { window_ends, .. } => {
                [Some((Conflict::AttemptLimit, Refusal::TryAgainAt(*window_ends))), None]
            }
            Change::StoreSecret { key_id, .. } => {
                [Some((Conflict::KeyIdTaken(*key_id), Refusal::KeyIdTaken(*key_id))), None]
            }
            Change::AppendHead { .. } => [Some((Conflict::Head, Refusal::HeadMoved)), None],
            Change::DeleteSecret { key_id, .. } => {
                [Some((Conflict::SecretGone(*key_id), Refusal::AlreadyDeleted(*key_id))), None]
            }
            Change::RefundAttempt { .. }
            | Change::ReplaceCredential { .. }
            | Change::PurgeSecret { .. }
            | Change::DeleteAccount { .. } => [None, None],
        });
        guard.chain(change.flatten()).find_map(|(possible, refusal)| (possible == conflict).then_some(refusal))
    }

    /// Whether it only moves a fleet's session on.
    pub(crate) fn is_advance_alone(&self) -> bool {
        let Self { advance, guards, changes, audit, otherwise } = self;
        advance.is_some() && guards.is_empty() && changes.is_empty() && audit.is_none() && otherwise.is_none()
    }

    /// Whether applying it twice can be noticed: not of a lone charge, nor of guards alone.
    pub(crate) fn can_repeat(&self) -> bool {
        self.audit.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::decode;

    /// As for secret records: `tests/vectors/v1/fleet.json`.
    #[test]
    fn every_kind_of_resolution_has_a_vector_under_its_number() {
        let file: serde_json::Value = serde_json::from_str(include_str!("../../tests/vectors/v1/fleet.json")).unwrap();
        let mut found = [false; 3];
        for resolution in file["resolutions"].as_array().unwrap() {
            let bytes = base16ct::lower::decode_vec(resolution["bytes"].as_str().unwrap()).unwrap();
            let number = match decode(&bytes).unwrap() {
                Resolution::Applied => 0,
                Resolution::Repeated => 1,
                Resolution::Refused(_) => 2,
            };
            assert_eq!(usize::from(bytes[1]), number, "{resolution}");
            found[number] = true;
        }
        assert_eq!(found, [true; 3]);
    }
}
