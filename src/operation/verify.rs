//! Verify: whether another device's pin is on this session's chain. It has no row in the table: its request is
//! [`super::heads`]' (`docs/protocol.md`, "Vault head").

use alloc::sync::Arc;
use core::fmt;

use super::Reply;
use super::heads::{Follow, Followed};
use crate::client::{CHANGE, ClientSession, Exchange, Line, Next, Operation, Unsettled};
use crate::error::{Error, PeerFault};
use crate::head::VaultPin;
use crate::message::ServerMessage;
use crate::vault::Vault;

/// A comparison of pins under way.
pub struct VerifyPin {
    line: Line,
    vault: Arc<Vault>,
    start: VaultPin,
    follow: Follow,
}

impl ClientSession {
    /// Starts to compare this session's view of the vault with a pin that another device shows, read aloud or scanned.
    ///
    /// The chain from the older of the two heads to the newest has to lead through the newer one:
    /// [`crate::VaultFault::Forked`] says that the server showed the devices two different histories,
    /// [`crate::VaultFault::RolledBack`] that it hides what the other device has seen. A newer head is taken over when the
    /// exchange is settled.
    ///
    /// # Errors
    /// [`crate::CallerFault::SequenceExhausted`].
    pub fn verify_pin(&mut self, pin: VaultPin) -> Result<Exchange<VerifyPin>, Error> {
        let (start, vault) = (self.pin(), Arc::clone(self.vault()));
        let verify = VerifyPin { line: self.line(CHANGE)?, vault, start, follow: Follow::between(start, pin) };
        let message = verify.line.send(&verify.follow.request())?;
        Ok(Exchange::new(verify, message))
    }
}

impl Operation for VerifyPin {
    type Output = Unsettled<()>;

    fn advance(&self, message: ServerMessage) -> Result<Next<Self>, Error> {
        let reply = match self.line.receive(message)? {
            Reply::Heads(reply) => reply,
            Reply::Refused(refusal) => return Ok(Next::Done(Err(refusal))),
            _ => return Err(PeerFault::OutOfOrder.into()),
        };
        match self.follow.take(&self.vault, reply, None)? {
            Followed::Done { head, .. } => Ok(Next::Done(Ok(Unsettled::new(self.line.clone(), self.start, head, ())))),
            Followed::More(follow) => {
                let (line, vault) = (self.line.next()?, Arc::clone(&self.vault));
                let message = line.send(&follow.request())?;
                Ok(Next::Send(Self { line, vault, start: self.start, follow }, message))
            }
        }
    }
}

impl fmt::Debug for VerifyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyPin").field("line", &self.line).finish_non_exhaustive()
    }
}
