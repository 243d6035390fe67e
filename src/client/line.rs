//! A line of an exchange: the sequence numbers that it has of its session, and the frames that it sends under them.

use alloc::sync::Arc;
use core::fmt;

use crate::error::{CallerFault, Error, PeerFault};
use crate::id::SessionId;
use crate::message::{ClientMessage, Direction, FrameKeys, ServerMessage};
use crate::operation::{Reply, Request};
use crate::suite::{label, sha256};

/// Where an exchange stands in its block of sequence numbers. Each is sealed under once.
#[derive(Clone)]
pub(crate) struct Line {
    session_id: SessionId,
    keys: Arc<FrameKeys>,
    sequence: u64,
    end: u64,
    /// The session's turn, held while the exchange, or what it gave, is there.
    _turn: Option<Arc<()>>,
}

impl Line {
    /// A line whose first message has the number `sequence`, and whose last the one before `end`.
    pub(crate) fn new(session_id: SessionId, keys: Arc<FrameKeys>, sequence: u64, end: u64) -> Self {
        Self { session_id, keys, sequence, end, _turn: None }
    }

    /// The same, with the session's turn.
    pub(super) fn in_turn(self, turn: Arc<()>) -> Self {
        Self { _turn: Some(turn), ..self }
    }

    pub(crate) fn session_id(&self) -> SessionId {
        self.session_id
    }

    pub(crate) fn keys(&self) -> &Arc<FrameKeys> {
        &self.keys
    }

    /// The number after the last that was sent under.
    pub(crate) fn after(&self) -> u64 {
        self.sequence.saturating_add(1)
    }

    /// The number that a session goes on with which would go on with `next`: what the line leaves, if it had the last block.
    pub(crate) fn give_back(&self, next: u64) -> u64 {
        if next == self.end { self.after() } else { next }
    }

    /// The line after the message that was sent last.
    ///
    /// # Errors
    /// [`CallerFault::SequenceExhausted`] after the block's last number.
    pub(crate) fn next(&self) -> Result<Self, Error> {
        let sequence = self.sequence.checked_add(1).filter(|next| *next < self.end);
        Ok(Self { sequence: sequence.ok_or(CallerFault::SequenceExhausted)?, ..self.clone() })
    }

    /// Seals a request under the line's number.
    pub(crate) fn send(&self, request: &Request) -> Result<ClientMessage, Error> {
        let direction = Direction::ClientToServer;
        Ok(ClientMessage::Frame(self.keys.seal(direction, self.session_id, self.sequence, request)?))
    }

    /// Opens the reply to the request that was sent last, and no other message.
    pub(crate) fn receive(&self, message: ServerMessage) -> Result<Reply, Error> {
        check_session(&message, self.session_id)?;
        match message {
            ServerMessage::Frame(frame) if frame.sequence == self.sequence => {
                self.keys.open(Direction::ServerToClient, frame)
            }
            ServerMessage::Frame(_) => Err(PeerFault::WrongSequence.into()),
            ServerMessage::Refused { refusal, .. } => Err(PeerFault::Refused(refusal).into()),
            _ => Err(PeerFault::OutOfOrder.into()),
        }
    }

    /// The nonce of a vault head that is sent under the line's number.
    pub(crate) fn head_nonce(&self) -> [u8; 12] {
        head_nonce(self.session_id, self.sequence)
    }
}

/// The nonce of a vault head: its place among all messages of all sessions, so that no two heads share one while the
/// client's generator doesn't repeat, and a head that is made again is the same. If it does repeat, AES-GCM-SIV gives
/// away no more than that two heads say the same (RFC 8452, section 9).
pub(crate) fn head_nonce(session_id: SessionId, sequence: u64) -> [u8; 12] {
    let [nonce @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
        sha256(&[label::HEAD_NONCE, session_id.as_bytes(), &sequence.to_be_bytes()]);
    nonce
}

/// Checks that a message belongs to the session; that is for routing, and proves nothing.
pub(crate) fn check_session(message: &ServerMessage, session_id: SessionId) -> Result<(), PeerFault> {
    if message.session_id() == session_id { Ok(()) } else { Err(PeerFault::WrongSession) }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("session_id", &self.session_id).field("sequence", &self.sequence).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_line_ends_before_the_next_block_and_gives_back_what_it_leaves_of_the_last() {
        let keys = FrameKeys::derive(&Secret::write(|key| *key = [7; 64])).unwrap();
        let line = Line::new(SessionId::from_bytes([1; 16]), Arc::new(keys), 5, 7);
        let last = line.next().unwrap();
        assert_eq!((line.sequence, last.sequence), (5, 6));
        assert_eq!(last.next().map(|_| ()), Err(CallerFault::SequenceExhausted.into()));
        assert_eq!((line.give_back(7), last.give_back(7)), (6, 7));
        assert_eq!(line.give_back(9), 9, "another block was given out behind it");
    }
}
