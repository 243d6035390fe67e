//! Verify: whether another device's pin is on this session's chain. It has no row in the table: its request is
//! [`super::heads`]' (`docs/protocol.md`, "Vault head").

use alloc::sync::Arc;
use core::fmt;

use super::heads::{Follow, Followed};
use crate::client::{CHANGE, ClientSession, Exchange, Next, Operation, Unsettled};
use crate::error::Error;
use crate::head::VaultPin;
use crate::message::ServerMessage;

/// A comparison of pins under way.
pub struct VerifyPin {
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
    /// [`crate::CallerFault::Unsettled`], [`crate::CallerFault::SequenceExhausted`].
    pub fn verify_pin(&mut self, pin: VaultPin) -> Result<Exchange<VerifyPin>, Error> {
        let (start, vault) = (self.pin(), Arc::clone(self.vault()));
        let follow = Follow::between(self.vault_line(CHANGE)?, vault, start, pin);
        let message = follow.ask()?;
        Ok(Exchange::new(VerifyPin { start, follow }, message))
    }
}

impl Operation for VerifyPin {
    type Output = Unsettled<()>;

    fn advance(&self, message: ServerMessage) -> Result<Next<Self>, Error> {
        let start = self.start;
        Ok(match self.follow.receive(message, None)? {
            Followed::More(follow, message) => Next::Send(Self { start, follow: *follow }, message),
            Followed::Refused(refusal) => Next::Done(Err(refusal)),
            Followed::Done { line, head, .. } => Next::Done(Ok(Unsettled::new(line, start, head, ()))),
        })
    }
}

impl fmt::Debug for VerifyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyPin").field("start", &self.start).finish_non_exhaustive()
    }
}
