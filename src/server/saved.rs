//! Sessions outside of a process, sealed under the fleet's key.
//!
//! In a fleet every step is a write, and its transaction carries the session as it is before the step, together with the
//! step's answer to each outcome. The store keeps that beside the outcome that it came to: the next node takes the step in
//! just as [`super::Write::settle`] did on this one.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU64;

use rand_core::CryptoRng;

use super::session::{Kept, Last, State};
use super::step::{Asked, Endings};
use super::{Server, ServerSession};
use crate::codec::{MAX_MESSAGE, decode};
use crate::error::{CallerFault, Error, RecordName};
use crate::id::{SessionId, Timestamp};
use crate::secret::{Key, SecretBytes};
use crate::storage::{Advance, Found, Record, Resolution, SessionQuery, StoredSession};
use crate::suite::{VERSION, expand_key, label, open_secret, seal};

/// The key under which a fleet's sessions are sealed, 32 bytes, the same on every node. Keep it as the server's setup, apart
/// from the database: who has it and the sessions' table has the keys of every open session. It opens no vault.
pub struct FleetKey(Key);

impl FleetKey {
    /// Draws a new key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(Key::write(|key| rng.fill_bytes(key)))
    }

    /// Takes a key that was kept.
    ///
    /// # Errors
    /// [`CallerFault::DamagedValue`] for anything but 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| CallerFault::DamagedValue("fleet key"))?;
        Ok(Self(Key::write(|key| key.copy_from_slice(bytes))))
    }

    /// The key's 32 bytes, to be kept secret.
    #[must_use]
    pub fn to_bytes(&self) -> SecretBytes {
        SecretBytes::concat(&[self.0.expose()])
    }

    /// Each session has its own key, and each version its own nonce. Two nodes that race for one version may seal two states
    /// under one nonce: AES-GCM-SIV gives away no more than whether they are the same (RFC 8452, section 9).
    fn key(&self, session_id: SessionId) -> Result<Key, Error> {
        expand_key(self.0.expose(), label::SESSION, &[session_id.as_bytes()])
    }
}

impl fmt::Debug for FleetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FleetKey(..)")
    }
}

/// A session, with its last reply or the step that it is in, which brings another.
type Saved = (Kept, Option<Last>, Option<Box<(Asked, Endings)>>);

/// The number of that layout: one more whenever it changes, so that nodes of two builds refuse each other's sessions.
const LAYOUT: u8 = 1;

/// `nonce = 0[4] ‖ version[8]`, `AAD = version of the protocol[1] ‖ layout[1] ‖ session ID[16] ‖ version[8]`, big-endian.
fn nonce_and_aad(session_id: SessionId, version: u64) -> ([u8; 12], Vec<u8>) {
    let [a, b, c, d, e, f, g, h] = version.to_be_bytes();
    let aad = [&[VERSION, LAYOUT][..], session_id.as_bytes(), &version.to_be_bytes()].concat();
    ([0, 0, 0, 0, a, b, c, d, e, f, g, h], aad)
}

impl FleetKey {
    /// Seals in place: the plaintext lies in the one buffer that becomes the ciphertext.
    pub(crate) fn seal<T: serde::Serialize>(
        &self,
        session_id: SessionId,
        version: u64,
        value: &T,
    ) -> Result<Record, Error> {
        let too_long = |_| CallerFault::TooLong { max: MAX_MESSAGE };
        let len = postcard::experimental::serialized_size(value).map_err(too_long)?;
        let plain = postcard::to_extend(value, Vec::with_capacity(len.saturating_add(16))).map_err(too_long)?;
        let (nonce, aad) = nonce_and_aad(session_id, version);
        Ok(Record::from_vec(seal(self.key(session_id)?.expose(), nonce, &aad, plain)?))
    }

    pub(crate) fn unseal(&self, session_id: SessionId, version: u64, sealed: &[u8]) -> Result<SecretBytes, Error> {
        let (nonce, aad) = nonce_and_aad(session_id, version);
        let fault = |_| Error::stored(RecordName::Session(session_id), "doesn't open");
        open_secret(&self.key(session_id)?, nonce, &aad, sealed).map_err(fault)
    }

    fn open(&self, session_id: SessionId, version: u64, sealed: &[u8]) -> Result<Saved, Error> {
        match postcard::take_from_bytes(self.unseal(session_id, version, sealed)?.expose()) {
            Ok((saved, [])) => Ok(saved),
            _ => Err(Error::stored(RecordName::Session(session_id), "can't be decoded")),
        }
    }
}

impl ServerSession {
    /// In a fleet, what the step's transaction does to the stored session.
    pub(super) fn advance(
        &self,
        session_id: SessionId,
        asked: &Asked,
        endings: &Endings,
    ) -> Result<Option<Advance>, Error> {
        let Some(key) = self.server.fleet() else { return Ok(None) };
        let expires = self.deadline(asked, endings.next.as_ref().unwrap_or(&self.kept.state));
        let last: Option<&Last> = None;
        let saved = (&self.kept, last, Some((asked, endings)));
        let sealed = key.seal(session_id, self.version().saturating_add(1), &saved)?;
        Ok(Some(Advance { session_id, from: self.version(), sealed, expires }))
    }

    /// When a session in this state can be purged: when it answers no new request, and a while later, for repeats and for
    /// clocks that differ.
    fn deadline(&self, asked: &Asked, state: &State) -> Timestamp {
        let policy = self.server.policy();
        let until = match state {
            State::Registering(registering) => registering.until,
            State::AwaitingKe3(awaiting) => awaiting.until,
            State::Open(open) => open.expires().min(asked.now.after(policy.idle_timeout)),
            State::New | State::Ended => asked.now,
        };
        until.after(policy.handshake_timeout)
    }

    /// Seals the session, to hand it over to another node: [`Server::import`] takes it, once. (A session of a fleet is in the
    /// store already.) `None` for a session that has not
    /// taken in a message yet: it is nobody's.
    ///
    /// # Errors
    /// None in practice.
    pub fn export(self, key: &FleetKey) -> Result<Option<(SessionId, StoredSession)>, Error> {
        let Some((session_id, version)) = self.taken else { return Ok(None) };
        let step: Option<(&Asked, &Endings)> = None;
        let version = version.get();
        let sealed = key.seal(session_id, version, &(&self.kept, &self.last, step))?.into_vec();
        Ok(Some((session_id, StoredSession { version, sealed, resolution: Vec::new() })))
    }
}

impl Server {
    /// In a fleet, the session of a message: as the store has it, or a new one, which draws 32 bytes.
    ///
    /// # Errors
    /// [`Error::Stored`] for a session that doesn't open or is the answer to another query; [`CallerFault::Policy`] without
    /// [`Server::in_fleet`].
    pub fn resume(&self, query: &SessionQuery, found: Found, rng: &mut impl CryptoRng) -> Result<ServerSession, Error> {
        let key = self.fleet().ok_or(CallerFault::Policy("fleet key"))?;
        match found.session(query)? {
            Some(stored) => self.import(key, query.session_id(), &stored),
            None => Ok(self.accept(rng)),
        }
    }

    /// Takes over a session that another node has exported, or stored.
    ///
    /// # Errors
    /// [`Error::Stored`] for a session that doesn't open under the key, or whose outcome can't be read.
    pub fn import(
        &self,
        key: &FleetKey,
        session_id: SessionId,
        stored: &StoredSession,
    ) -> Result<ServerSession, Error> {
        let StoredSession { version, sealed, resolution } = stored;
        let (kept, last, step) = key.open(session_id, *version, sealed)?;
        let session = |version: u64| {
            let taken = NonZeroU64::new(version).map(|version| (session_id, version));
            ServerSession { server: self.clone(), taken, kept, last }
        };
        let Some(step) = step else { return Ok(session(*version)) };
        let fault = |problem| Error::stored(RecordName::Session(session_id), problem);
        let resolution: Resolution = decode(resolution).map_err(|_| fault("has no outcome"))?;
        // The session before the step; taking the step in makes it the stored version.
        let before = version.checked_sub(1).ok_or_else(|| fault("has no version"))?;
        let mut session = session(before);
        session.take_in(session_id, *step, resolution)?;
        Ok(session)
    }
}
