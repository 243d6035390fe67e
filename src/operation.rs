//! The operations, a file each: its request, its reply, the client's half and the server's half.
//!
//! A new operation is one file and one row of the table at the end of this one. Two rules keep the sides apart: a
//! client half never names `storage`, a server half never names `vault` (`tests/architecture.rs` checks it).

pub mod audit;
pub mod change_password;
pub mod delete;
pub mod delete_account;
pub mod generate;
pub mod heads;
pub mod import;
pub mod list;
pub mod log_in;
pub mod log_out;
pub mod register;
pub mod retrieve;
pub mod status;
pub mod store;
pub mod verify;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Refusal};
use crate::head::SealedHead;
use crate::id::{AccountName, CredentialId, SessionId, Timestamp, UserId};
use crate::secret::Key;
use crate::server::Server;
use crate::storage::{Action, AuditEntry, Change, Found, Guard, Query, Record, Standing, Transaction};
use crate::suite::Draw;

/// The server's half of an operation inside a session.
pub(crate) trait Serve: Sized {
    /// What has to be read first, if anything.
    ///
    /// A request that breaks the protocol's bounds is refused here: it is authenticated, so it gets a reply.
    fn query(&self, context: &Context<'_>) -> Result<Option<Query>, Refusal>;

    /// What the request comes to; `found` answers the query, and is there if one was asked.
    fn serve(self, context: &Context<'_>, found: Option<Found>) -> Result<Effect, Error>;
}

/// What a request comes to: a reply, after a write if there is one.
pub(crate) struct Effect {
    /// The write.
    pub(crate) transaction: Option<Transaction>,
    /// The reply: to the write if it is applied, or without one. A conflict's is the refusal that
    /// [`Transaction::refusal`] says.
    pub(crate) applied: Reply,
    /// The reply to a write that had been applied before, if it is another.
    pub(crate) repeated: Option<Reply>,
    /// What becomes of the session's credential, unless the request is refused.
    pub(crate) credential: Becomes,
}

/// What becomes of the credential identifier that a session holds.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Becomes {
    /// It stays.
    Same,
    /// It stays, and this one was evaluated for a change of password.
    Offered(CredentialId),
    /// The account has this one now.
    Changed(CredentialId),
}

impl Effect {
    /// A reply without a write.
    pub(crate) fn reply(reply: Reply) -> Self {
        Self { transaction: None, applied: reply, repeated: None, credential: Becomes::Same }
    }

    /// A refusal without a write.
    pub(crate) fn refuse(refusal: Refusal) -> Self {
        Self::reply(Reply::Refused(refusal))
    }

    /// A write, and the same reply whether it is applied now or was before.
    pub(crate) fn write(transaction: Transaction, reply: Reply) -> Self {
        Self { transaction: Some(transaction), applied: reply, repeated: None, credential: Becomes::Same }
    }
}

/// Who asks, when, and where in the session.
pub(crate) struct Context<'a> {
    pub(crate) server: &'a Server,
    pub(crate) account: &'a AccountName,
    pub(crate) user_id: UserId,
    pub(crate) credential: CredentialId,
    pub(crate) offered: Option<CredentialId>,
    pub(crate) opened: Timestamp,
    pub(crate) expires: Timestamp,
    pub(crate) session_id: SessionId,
    pub(crate) sequence: u64,
    pub(crate) now: Timestamp,
    pub(crate) seed: &'a Key,
    pub(crate) fingerprint: [u8; 16],
}

impl Context<'_> {
    /// What this step draws, public from the start: the same bytes if it is called again.
    pub(crate) fn draw<const N: usize>(&self) -> Result<[u8; N], Error> {
        Draw::once(self.seed, &self.fingerprint)
    }

    /// Refuses what needs a recent login in a session that has none.
    pub(crate) fn check_recent(&self) -> Result<(), Refusal> {
        let until = self.opened.after(self.server.policy().recent_login);
        if self.now > until { Err(Refusal::LoginTooOld) } else { Ok(()) }
    }

    /// The guard of every transaction inside a session: the account still has the credential that it logged in with.
    pub(crate) fn guard(&self) -> Guard {
        Guard::Credential { user_id: self.user_id, credential: self.credential }
    }

    /// The guard of what belongs to the vault of one epoch.
    pub(crate) fn guard_epoch(&self, epoch: u64) -> Guard {
        Guard::Head { user_id: self.user_id, epoch }
    }

    /// Refuses a session that outlived its credential, or its account.
    pub(crate) fn check_standing(&self, standing: Option<Standing>) -> Result<Standing, Refusal> {
        standing.filter(|standing| standing.credential == self.credential).ok_or(Refusal::SessionEnded)
    }

    /// The change that moves the vault's head on to `head`, which is not the first.
    pub(crate) fn append(&self, head: &SealedHead) -> Result<Change, Error> {
        Ok(Change::AppendHead { user_id: self.user_id, epoch: head.epoch(), head: Record::encode(head)? })
    }

    /// An audit entry about this request.
    pub(crate) fn audit(&self, action: Action, granted: bool, key_ids: alloc::vec::Vec<crate::KeyId>) -> AuditEntry {
        AuditEntry {
            user_id: self.user_id,
            session_id: self.session_id,
            sequence: self.sequence,
            request: self.fingerprint,
            at: self.now,
            action,
            granted,
            key_ids,
        }
    }
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident: $module:ident,)*) => {
        /// A request inside a frame. The variant's position is its number on the wire: append only.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Request {
            $($(#[$doc])* $name($module::Request),)*
        }

        /// A reply inside a frame. The variant's position is its number on the wire: append only.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Reply {
            /// The request is refused.
            Refused(Refusal),
            /// The login is granted.
            Welcome(log_in::Welcome),
            $($(#[$doc])* $name($module::Reply),)*
        }

        impl Reply {
            /// Whether the session is over with this reply.
            pub(crate) fn ends_session(&self) -> bool {
                matches!(
                    self,
                    Self::Refused(Refusal::SessionEnded)
                        | Self::LogOut(_)
                        | Self::DeleteAccount(delete_account::Reply { done: true })
                )
            }
        }

        impl Request {
            /// The operation's name, for logs and metrics.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($module),)*
                }
            }
        }

        impl Serve for Request {
            fn query(&self, context: &Context<'_>) -> Result<Option<Query>, Refusal> {
                match self {
                    $(Self::$name(request) => request.query(context),)*
                }
            }

            fn serve(self, context: &Context<'_>, found: Option<Found>) -> Result<Effect, Error> {
                match self {
                    $(Self::$name(request) => request.serve(context, found),)*
                }
            }
        }
    };
}

// The table of operations. Append only: the position is the wire number.
operations! {
    /// Server random for new secrets.
    Generate: generate,
    /// Storing pending secrets.
    Store: store,
    /// Reading secrets by their key IDs.
    Retrieve: retrieve,
    /// Reading all secrets, page by page.
    List: list,
    /// Deleting secrets.
    Delete: delete,
    /// Changing the password.
    ChangePassword: change_password,
    /// Reading the audit trail.
    Audit: audit,
    /// What is left of the session.
    Status: status,
    /// Ending the session.
    LogOut: log_out,
    /// Deleting the account.
    DeleteAccount: delete_account,
    /// Reading the chain of vault heads.
    Heads: heads,
}
