//! Log out: the session is over (`docs/protocol.md`, "Log out").

use serde::{Deserialize, Serialize};

use crate::client::{Call, ClientSession, Exchange, Framed};
use crate::error::Error;

/// The session is to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {}

/// It has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {}

// --- client half ---------------------------------------------------------------------------------------

use crate::error::PeerFault;

/// A log-out under way, on the client's side.
#[derive(Debug)]
pub struct LogOut(());

impl ClientSession {
    /// Ends the session: this side's keys and the vault are wiped with it, once the exchanges that share them are gone
    /// too; the server's answer says that its side has ended.
    ///
    /// # Errors
    /// [`crate::CallerFault::SequenceExhausted`].
    pub fn log_out(mut self) -> Result<Exchange<Framed<LogOut>>, Error> {
        self.call(&super::Request::LogOut(Request {}), LogOut(()))
    }
}

impl Call for LogOut {
    type Output = ();

    fn answer(&self, reply: super::Reply) -> Result<(), Error> {
        match reply {
            super::Reply::LogOut(Reply {}) => Ok(()),
            _ => Err(PeerFault::OutOfOrder.into()),
        }
    }
}

// --- server half ---------------------------------------------------------------------------------------

use super::{Context, Effect, Serve};
use crate::error::Refusal;
use crate::storage::{Found, Query};

impl Serve for Request {
    fn query(&self, _: &Context<'_>) -> Result<Option<Query>, Refusal> {
        Ok(None)
    }

    fn serve(self, _: &Context<'_>, _: Option<Found>) -> Result<Effect, Error> {
        Ok(Effect::reply(super::Reply::LogOut(Reply {})))
    }
}
