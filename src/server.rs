//! The key server: its setup and policy, and sessions that suspend themselves around the store.

mod denied;
mod saved;
mod session;
mod step;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

use rand_core::CryptoRng;

use crate::error::{CallerFault, Error};
use crate::id::{AccountName, CounterId, CredentialId, ServerKey, Timestamp, UserId, check_server_identity, millis};
use crate::secret::{Key, SecretBytes};
use crate::storage::{AccountRecord, Record};
use crate::suite::opaque::{Setup, seed};
use crate::suite::{Draw, VERSION};

pub use denied::{Denied, DeniedWrite};
pub use saved::FleetKey;
pub(crate) use session::Open;
pub use session::ServerSession;
pub use step::{Read, Step, Write};

/// The server's long-term secrets: OPRF seed and OPAQUE key pair. Make them once, keep them as safe as the
/// database, apart from it: without them no one can log in, and with both, passwords can be tried offline.
pub struct ServerSetup(Setup);

impl ServerSetup {
    /// Draws a new setup.
    ///
    /// # Errors
    /// None in practice.
    pub fn generate(rng: &mut impl CryptoRng) -> Result<Self, Error> {
        Ok(Self(Setup::generate(&mut Draw::new(&seed(rng), b"server setup")?)))
    }

    /// The setup's 129 bytes, to be kept secret.
    #[must_use]
    pub fn to_bytes(&self) -> SecretBytes {
        SecretBytes::concat(&[&[VERSION], self.0.to_bytes().expose()])
    }

    /// Reads what [`ServerSetup::to_bytes`] gave.
    ///
    /// # Errors
    /// [`CallerFault::DamagedValue`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        match bytes.split_first() {
            Some((&VERSION, setup)) => Ok(Self(Setup::from_bytes(setup)?)),
            _ => Err(CallerFault::DamagedValue("server setup").into()),
        }
    }

    /// The server's long-term public key, which clients pin.
    ///
    /// # Errors
    /// None in practice.
    pub fn server_key(&self) -> Result<ServerKey, Error> {
        self.0.server_key()
    }
}

impl fmt::Debug for ServerSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerSetup(..)")
    }
}

/// How many attempts a name has, and how long things last. Durations count in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerPolicy {
    /// Attempts that a name has in a window: 10. It must exceed the number of profiles that clients try.
    pub attempt_limit: u32,
    /// The window: 15 minutes.
    pub attempt_window: Duration,
    /// How long a login waits for its KE3, a registration for its upload: 60 seconds.
    pub handshake_timeout: Duration,
    /// How long an open session may be idle: 5 minutes.
    pub idle_timeout: Duration,
    /// How long after its login a session can change the password or delete the account: 5 minutes.
    pub recent_login: Duration,
    /// How long an open session lasts at the most: 60 minutes.
    pub session_lifetime: Duration,
}

impl Default for ServerPolicy {
    fn default() -> Self {
        Self {
            attempt_limit: 10,
            attempt_window: Duration::from_secs(15 * 60),
            handshake_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(5 * 60),
            recent_login: Duration::from_secs(5 * 60),
            session_lifetime: Duration::from_secs(60 * 60),
        }
    }
}

impl ServerPolicy {
    fn check(&self) -> Result<(), Error> {
        let durations = [
            (self.attempt_window, "attempt window"),
            (self.handshake_timeout, "handshake timeout"),
            (self.idle_timeout, "idle timeout"),
            (self.recent_login, "recent login"),
            (self.session_lifetime, "session lifetime"),
        ];
        if self.attempt_limit == 0 {
            return Err(CallerFault::Policy("attempt limit").into());
        }
        match durations.iter().find(|(duration, _)| millis(*duration) == 0) {
            Some((_, name)) => Err(CallerFault::Policy(name).into()),
            None => Ok(()),
        }
    }

    /// When the window ends that is open now for this counter. Windows follow each other without a gap, so every node
    /// knows them without reading anything; the counter's ID shifts them, so that names don't share one boundary.
    pub(crate) fn window_ends(&self, counter: &CounterId, now: Timestamp) -> Timestamp {
        let window = millis(self.attempt_window).max(1);
        let shift = counter.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let shift = shift.checked_rem(window).unwrap_or(0);
        let elapsed = now.as_millis().saturating_add(shift).checked_rem(window).unwrap_or(0);
        Timestamp::from_millis(now.as_millis().saturating_add(window.saturating_sub(elapsed)))
    }
}

/// A key server: immutable, cheap to clone, shared by all of its sessions.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    setup: Setup,
    identity: Box<[u8]>,
    policy: ServerPolicy,
    dummy: Record,
    fleet: Option<FleetKey>,
}

impl Server {
    /// A server of this setup, for the deployment called `identity` (1 to 255 bytes, the same on clients).
    ///
    /// # Errors
    /// [`CallerFault::ServerIdentityLength`], [`CallerFault::Policy`].
    pub fn new(setup: ServerSetup, identity: impl AsRef<[u8]>, policy: ServerPolicy) -> Result<Self, Error> {
        Self::build(setup, identity.as_ref(), policy, None)
    }

    /// A server of a fleet: several nodes on one database, any of which takes any message. Sessions live in the store: each
    /// message begins with [`Server::resume`], and every step but a repeat is a write, whose transaction moves the session on
    /// ([`crate::storage::Advance`]). No reply leaves without it.
    ///
    /// # Errors
    /// As [`Server::new`].
    pub fn in_fleet(
        setup: ServerSetup,
        identity: impl AsRef<[u8]>,
        policy: ServerPolicy,
        key: FleetKey,
    ) -> Result<Self, Error> {
        Self::build(setup, identity.as_ref(), policy, Some(key))
    }

    fn build(
        setup: ServerSetup,
        identity: &[u8],
        policy: ServerPolicy,
        fleet: Option<FleetKey>,
    ) -> Result<Self, Error> {
        policy.check()?;
        let ServerSetup(setup) = setup;
        let dummy = Record::encode(&AccountRecord {
            name: AccountName::new("unknown")?,
            user_id: UserId::from_bytes([0; 16]),
            credential: CredentialId::from_bytes([0; 32]),
            upload: setup.dummy_upload()?,
            wrap: [0; 48],
        })?;
        let identity = check_server_identity(identity)?;
        Ok(Self(Arc::new(Shared { setup, identity, policy, dummy, fleet })))
    }

    /// Opens a session, for a message whose [`crate::ClientMessage::session_id`] is not known yet. Draws 32 bytes.
    ///
    /// Keep exactly one session for each ID, inserted if absent before the message is received, and drop it after
    /// [`ServerSession::expires`].
    #[must_use]
    pub fn accept(&self, rng: &mut impl CryptoRng) -> ServerSession {
        ServerSession::new(self.clone(), Key::write(|seed| rng.fill_bytes(seed)))
    }

    pub(crate) fn fleet(&self) -> Option<&FleetKey> {
        self.0.fleet.as_ref()
    }

    pub(crate) fn setup(&self) -> &Setup {
        &self.0.setup
    }

    pub(crate) fn identity(&self) -> &[u8] {
        &self.0.identity
    }

    pub(crate) fn policy(&self) -> &ServerPolicy {
        &self.0.policy
    }

    /// The record that stands in for a missing account.
    pub(crate) fn dummy(&self) -> &Record {
        &self.0.dummy
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("identity", &format_args!("{}", self.0.identity.escape_ascii()))
            .field("policy", &self.0.policy)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_contiguous_and_end_in_the_future() {
        let policy = ServerPolicy { attempt_window: Duration::from_millis(1000), ..ServerPolicy::default() };
        let counter = CounterId::from_bytes([0x17; 32]);
        let mut ends = policy.window_ends(&counter, Timestamp::from_millis(0));
        for now in 0..5000 {
            let window = policy.window_ends(&counter, Timestamp::from_millis(now));
            assert!(window.as_millis() > now && window.as_millis() <= now + 1000);
            assert!(window == ends || ends.as_millis() == now && window.as_millis() == now + 1000);
            ends = window;
        }
    }

    #[test]
    fn a_policy_of_nothing_is_refused() {
        let none = ServerPolicy { attempt_limit: 0, ..ServerPolicy::default() };
        assert_eq!(none.check(), Err(CallerFault::Policy("attempt limit").into()));
        let short = ServerPolicy { idle_timeout: Duration::from_micros(999), ..ServerPolicy::default() };
        assert_eq!(short.check(), Err(CallerFault::Policy("idle timeout").into()));
    }
}
