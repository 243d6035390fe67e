//! An open session on the client's side: frame keys, the vault, its newest head, and the next sequence number.

use alloc::sync::{Arc, Weak};

use super::{Call, Config, Exchange, Framed, Line, Unsettled};
use crate::error::{CallerFault, Error};
use crate::head::{VaultPin, VaultTrust};
use crate::id::{ServerKey, SessionId, Timestamp, UserId};
use crate::message::FrameKeys;
use crate::operation::Request;
use crate::suite::KsfProfile;
use crate::vault::Vault;
use crate::vault::chain::Head;

/// The sequence numbers that a change has for its requests: two for each race that it loses, one for each page of heads. What
/// it leaves is given back when it is settled.
pub(crate) const CHANGE: u64 = 1 << 10;

/// The sequence numbers that an exchange has whose requests grow with the vault: one for each page of it.
pub(crate) const LIST: u64 = 1 << 14;

/// A session with the key server, and the person's vault, opened.
///
/// Each operation reserves its sequence numbers and gives an [`Exchange`]. The server takes a greater number as a new
/// request and refuses a smaller one, so finish an exchange, or drop it, before you start the next.
///
/// What changes the vault, or lists it, gives an [`Unsettled`]: [`ClientSession::settle`] it, then keep
/// [`ClientSession::pin`] on the device, and only then report success. The next such exchange can't be started before.
#[derive(Debug)]
pub struct ClientSession {
    established: Established,
    tip: Arc<Head>,
    next_sequence: u64,
    /// Alive while an exchange with the vault, or what it gave, is.
    turn: Weak<()>,
}

/// What a login establishes.
#[derive(Clone, Debug)]
pub(crate) struct Established {
    pub(crate) session_id: SessionId,
    pub(crate) keys: Arc<FrameKeys>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) trust: VaultTrust,
    pub(crate) server_key: ServerKey,
    pub(crate) profile: KsfProfile,
    pub(crate) expires: Timestamp,
    pub(crate) config: Arc<Config>,
}

impl ClientSession {
    pub(crate) fn new(established: Established, tip: Arc<Head>, next_sequence: u64) -> Self {
        Self { established, tip, next_sequence, turn: Weak::new() }
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

    /// The vault's newest head that this session knows: keep it on the device, for the next [`crate::Client::log_in`].
    #[must_use]
    pub fn pin(&self) -> VaultPin {
        self.tip.pin()
    }

    /// What the login's view of the vault rests on.
    #[must_use]
    pub fn trust(&self) -> VaultTrust {
        self.established.trust
    }

    /// Takes over the head that an exchange of this session ended with, and gives what the exchange gave.
    ///
    /// **Keep [`ClientSession::pin`] next, and only then report success.** A crash in between leaves an older pin, which is
    /// as right.
    ///
    /// # Errors
    /// [`CallerFault::WrongSession`] for what an exchange of another session gave: it belongs there.
    pub fn settle<T>(&mut self, unsettled: Unsettled<T>) -> Result<T, Error> {
        let Unsettled { line, start, tip, output } = unsettled;
        if line.session_id() != self.session_id() || start != self.pin() {
            return Err(CallerFault::WrongSession.into());
        }
        self.tip = tip;
        self.next_sequence = line.give_back(self.next_sequence);
        Ok(output)
    }

    pub(crate) fn vault(&self) -> &Arc<Vault> {
        &self.established.vault
    }

    pub(crate) fn established(&self) -> &Established {
        &self.established
    }

    /// The newest head that is known.
    pub(crate) fn tip(&self) -> &Arc<Head> {
        &self.tip
    }

    /// The same, for what a vault is good for that isn't being deleted.
    ///
    /// # Errors
    /// [`CallerFault::VaultClosed`].
    pub(crate) fn open_tip(&self) -> Result<&Arc<Head>, CallerFault> {
        if self.tip.is_closed() { Err(CallerFault::VaultClosed) } else { Ok(&self.tip) }
    }

    /// Reserves sequence numbers for an exchange with the vault. There is one at a time: of two that go on from one head,
    /// what the first has made would be missing from what the second takes over.
    ///
    /// # Errors
    /// [`CallerFault::Unsettled`] while there is another, or what it gave.
    pub(crate) fn vault_line(&mut self, count: u64) -> Result<Line, Error> {
        if self.turn.upgrade().is_some() {
            return Err(CallerFault::Unsettled.into());
        }
        let turn = Arc::new(());
        self.turn = Arc::downgrade(&turn);
        Ok(self.line(count)?.in_turn(turn))
    }

    /// Reserves sequence numbers for an exchange.
    pub(crate) fn line(&mut self, count: u64) -> Result<Line, Error> {
        let first = self.next_sequence;
        self.next_sequence = first.checked_add(count).ok_or(CallerFault::SequenceExhausted)?;
        let Established { session_id, keys, .. } = &self.established;
        Ok(Line::new(*session_id, Arc::clone(keys), first, self.next_sequence))
    }

    /// Seals a request under the next sequence number.
    pub(crate) fn call<C: Call>(&mut self, request: &Request, call: C) -> Result<Exchange<Framed<C>>, Error> {
        let line = self.line(1)?;
        let message = line.send(request)?;
        Ok(Exchange::new(Framed { line, call }, message))
    }
}
