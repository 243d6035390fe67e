//! Status: what is left of the session (`docs/protocol.md`, "Status").

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::{Call, ClientSession, Exchange, Framed};
use crate::error::Error;

/// How much is left?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {}

/// This much, in milliseconds: times that need no common clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Until the session ends whatever happens.
    pub lifetime: u64,
    /// Until it ends if nothing happens.
    pub idle: u64,
    /// While the login still counts as recent; 0 afterwards.
    pub recent: u64,
}

// --- client half ---------------------------------------------------------------------------------------

use crate::error::PeerFault;

/// What is left of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// Until the session ends whatever happens.
    pub lifetime: Duration,
    /// Until it ends if no further request is made.
    pub idle: Duration,
    /// While the password can be changed and the account deleted; zero if it takes a new login.
    pub recent_login: Duration,
}

/// A question about the session under way, on the client's side.
#[derive(Debug)]
pub struct Status(());

impl ClientSession {
    /// Asks how much is left of the session. Asking is a request, and ends the idle time.
    ///
    /// # Errors
    /// [`crate::CallerFault::SequenceExhausted`].
    pub fn status(&mut self) -> Result<Exchange<Framed<Status>>, Error> {
        self.call(&super::Request::Status(Request {}), Status(()))
    }
}

impl Call for Status {
    type Output = SessionStatus;

    fn answer(&self, reply: super::Reply) -> Result<SessionStatus, Error> {
        match reply {
            super::Reply::Status(Reply { lifetime, idle, recent }) => Ok(SessionStatus {
                lifetime: Duration::from_millis(lifetime),
                idle: Duration::from_millis(idle),
                recent_login: Duration::from_millis(recent),
            }),
            _ => Err(PeerFault::OutOfOrder.into()),
        }
    }
}

// --- server half ---------------------------------------------------------------------------------------

use super::{Context, Effect, Serve};
use crate::error::Refusal;
use crate::id::{Timestamp, millis};
use crate::storage::{Found, Query};

impl Serve for Request {
    fn query(&self, _: &Context<'_>) -> Result<Option<Query>, Refusal> {
        Ok(None)
    }

    fn serve(self, context: &Context<'_>, _: Option<Found>) -> Result<Effect, Error> {
        let policy = context.server.policy();
        let left = |until: Timestamp| until.as_millis().saturating_sub(context.now.as_millis());
        let lifetime = left(context.expires);
        let idle = lifetime.min(millis(policy.idle_timeout));
        let recent = left(context.opened.after(policy.recent_login));
        Ok(Effect::reply(super::Reply::Status(Reply { lifetime, idle, recent })))
    }
}
