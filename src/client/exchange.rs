//! Exchanges: the client's half of an operation, from its first message to its answer.

use core::fmt;

use super::Line;
use crate::error::{CallerFault, Error, Refusal};
use crate::message::{ClientMessage, ServerMessage};
use crate::operation::Reply;

/// One operation under way: a message to send, and what to make of the answer.
///
/// Owned, `Send` and `'static`. It has reserved its place in the session, so dropping it leaves the session usable.
///
/// ```text
/// let output = loop {
///     transport.send(exchange.message())?;
///     if let Some(outcome) = exchange.receive(transport.recv()?)? { break outcome? }
/// };
/// ```
pub struct Exchange<O: Operation> {
    operation: Option<O>,
    message: ClientMessage,
}

impl<O: Operation> Exchange<O> {
    pub(crate) fn new(operation: O, message: ClientMessage) -> Self {
        Self { operation: Some(operation), message }
    }

    /// The message to send: the same bytes until it is answered, so sending it again, over another connection too, is
    /// how to retry.
    #[must_use]
    pub fn message(&self) -> &ClientMessage {
        &self.message
    }

    /// Takes a message from the server.
    ///
    /// - `Ok(None)`: go on with [`Exchange::message`], which is a new one.
    /// - `Ok(Some(Ok(output)))`: done.
    /// - `Ok(Some(Err(refusal)))`: the server refuses, and proved that it is the server. The exchange has ended.
    /// - `Err`: this message changed nothing. Wait for another, send again, or give up.
    ///
    /// The answer to a registration or login request runs Argon2 here: about 0.2 s and 64 MiB with the recommended
    /// profile.
    ///
    /// # Errors
    /// [`Error::Peer`] for a message that is not the awaited answer; [`CallerFault::ExchangeEnded`] after the end.
    pub fn receive(&mut self, message: ServerMessage) -> Result<Option<Result<O::Output, Refusal>>, Error> {
        let operation = self.operation.as_ref().ok_or(CallerFault::ExchangeEnded)?;
        match operation.advance(message)? {
            Next::Send(operation, message) => {
                self.operation = Some(operation);
                self.message = message;
                Ok(None)
            }
            Next::Done(outcome) => {
                self.operation = None;
                Ok(Some(outcome))
            }
        }
    }
}

impl<O: Operation> fmt::Debug for Exchange<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("ended", &self.operation.is_none()).finish_non_exhaustive()
    }
}

/// The client's half of an operation. The operations of this crate implement it, and nothing else needs to.
pub trait Operation: Sized {
    /// What the operation gives.
    type Output;

    /// Takes a message; `self` is as it was if that fails.
    ///
    /// # Errors
    /// As [`Exchange::receive`].
    #[doc(hidden)]
    fn advance(&self, message: ServerMessage) -> Result<Next<Self>, Error>;
}

/// What comes next in an exchange.
#[doc(hidden)]
#[expect(missing_debug_implementations, reason = "it holds keys, and lives for one statement")]
pub enum Next<O: Operation> {
    /// Another message to send.
    Send(O, ClientMessage),
    /// The end.
    Done(Result<O::Output, Refusal>),
}

impl<O: Operation> From<(O, ClientMessage)> for Next<O> {
    fn from((operation, message): (O, ClientMessage)) -> Self {
        Self::Send(operation, message)
    }
}

/// What to make of the reply to one framed request.
pub trait Call {
    /// What the operation gives.
    type Output;

    /// Checks the reply, which is authenticated and no refusal.
    ///
    /// # Errors
    /// [`PeerFault`] if it is not what was asked for.
    #[doc(hidden)]
    fn answer(&self, reply: Reply) -> Result<Self::Output, Error>;
}

/// An operation inside a session: one request and one reply, both in frames.
pub struct Framed<C> {
    pub(crate) line: Line,
    pub(crate) call: C,
}

impl<C: Call> Operation for Framed<C> {
    type Output = C::Output;

    fn advance(&self, message: ServerMessage) -> Result<Next<Self>, Error> {
        match self.line.receive(message)? {
            Reply::Refused(refusal) => Ok(Next::Done(Err(refusal))),
            reply => Ok(Next::Done(Ok(self.call.answer(reply)?))),
        }
    }
}

impl<C> fmt::Debug for Framed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framed").field("line", &self.line).finish_non_exhaustive()
    }
}
