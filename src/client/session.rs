//! An open session on the client's side: frame keys, the vault, and the next sequence number.

use alloc::sync::Arc;

use super::{Call, Config, Exchange, Framed};
use crate::error::{CallerFault, Error};
use crate::id::{ServerKey, SessionId, Timestamp, UserId};
use crate::message::{ClientMessage, Direction, FrameKeys};
use crate::operation::Request;
use crate::suite::KsfProfile;
use crate::vault::Vault;

/// The number of a session's first request: number 1 is the login itself, whose reply is the Welcome.
const FIRST_REQUEST: u64 = 2;

/// A session with the key server, and the person's vault, opened.
///
/// Each operation reserves the next sequence number and gives an [`Exchange`]. The server takes a greater number
/// as a new request and refuses a smaller one, so finish an exchange, or give it up, before you start the next.
#[derive(Debug)]
pub struct ClientSession {
    established: Established,
    next_sequence: u64,
}

/// What a login establishes.
#[derive(Clone, Debug)]
pub(crate) struct Established {
    pub(crate) session_id: SessionId,
    pub(crate) keys: Arc<FrameKeys>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) server_key: ServerKey,
    pub(crate) profile: KsfProfile,
    pub(crate) expires: Timestamp,
    pub(crate) config: Arc<Config>,
}

impl ClientSession {
    pub(crate) fn new(established: Established) -> Self {
        Self { established, next_sequence: FIRST_REQUEST }
    }

    /// The user ID that the server knows the account by.
    #[must_use]
    pub fn user_id(&self) -> UserId {
        self.established.vault.user_id()
    }

    /// The session's ID.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.established.session_id
    }

    /// The server's public key: keep it, to pin it at the next login.
    #[must_use]
    pub fn server_key(&self) -> ServerKey {
        self.established.server_key
    }

    /// The key-stretching profile that the account is registered under. If it is not the policy's first, change
    /// the password soon.
    #[must_use]
    pub fn ksf_profile(&self) -> KsfProfile {
        self.established.profile
    }

    /// When the session ends at the latest, by the server's clock.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.established.expires
    }

    pub(crate) fn vault(&self) -> &Arc<Vault> {
        &self.established.vault
    }

    pub(crate) fn established(&self) -> &Established {
        &self.established
    }

    /// Takes the next `count` sequence numbers, and gives the first.
    pub(crate) fn reserve(&mut self, count: u64) -> Result<u64, Error> {
        let first = self.next_sequence;
        self.next_sequence = first.checked_add(count).ok_or(CallerFault::SequenceExhausted)?;
        Ok(first)
    }

    /// Seals a request under the next sequence number.
    pub(crate) fn call<C: Call>(&mut self, request: &Request, call: C) -> Result<Exchange<Framed<C>>, Error> {
        let sequence = self.reserve(1)?;
        let Established { session_id, keys, .. } = &self.established;
        let frame = keys.seal(Direction::ClientToServer, *session_id, sequence, request)?;
        let framed = Framed { session_id: *session_id, keys: Arc::clone(keys), sequence, call };
        Ok(Exchange::new(framed, ClientMessage::Frame(frame)))
    }
}
