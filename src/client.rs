//! The client: an account at a key server, sessions with it, and exchanges, of which every operation is one.

mod amend;
mod exchange;
mod line;
mod session;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::error::{CallerFault, Error};
use crate::id::{AccountName, ServerKey, check_server_identity};
use crate::secret::SecretBytes;
use crate::suite::KsfProfile;
use crate::suite::opaque::Identity;

pub use amend::{Amend, Amending, InList, Since, Unsettled};
pub use exchange::{Call, Next};
pub use exchange::{Exchange, Framed, Operation};
pub(crate) use line::{Line, check_session, head_nonce};
pub use session::ClientSession;
pub(crate) use session::{CHANGE, Established, LIST};

/// A person's account at a key server, before any login: names and policy, nothing secret.
///
/// Cheap to clone. [`Client::register`] and [`Client::log_in`] start the two exchanges that need the password.
#[derive(Clone, Debug)]
pub struct Client(Arc<Config>);

#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) account: AccountName,
    pub(crate) server_identity: Box<[u8]>,
    pub(crate) policy: ClientPolicy,
    pub(crate) server_key: Option<ServerKey>,
}

/// The deployment's choice of key stretching, made on the client's side alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPolicy {
    profiles: Vec<KsfProfile>,
}

impl ClientPolicy {
    /// The most profiles that a policy lists.
    pub const MAX_PROFILES: usize = 8;

    /// A policy that registers under the first profile and tries each in turn at login.
    ///
    /// **Each profile that is tried costs one charged attempt** (a right password under an older profile, or a wrong
    /// password under all of them), so keep the list short and the server's limit above its length.
    ///
    /// # Errors
    /// [`CallerFault::KsfBelowFloor`], [`CallerFault::KsfAboveCeiling`] (a profile can be deserialised from anywhere);
    /// [`CallerFault::KsfProfileCount`] for none, or more than 8; [`CallerFault::Duplicate`] for one that is
    /// listed twice.
    pub fn new(profiles: impl Into<Vec<KsfProfile>>) -> Result<Self, Error> {
        let profiles = profiles.into();
        if profiles.is_empty() || profiles.len() > Self::MAX_PROFILES {
            return Err(CallerFault::KsfProfileCount { count: profiles.len(), max: Self::MAX_PROFILES }.into());
        }
        profiles.iter().try_for_each(|profile| profile.check())?;
        if profiles.iter().enumerate().any(|(i, profile)| profiles.iter().take(i).any(|other| other == profile)) {
            return Err(CallerFault::Duplicate.into());
        }
        Ok(Self { profiles })
    }

    /// The profile number `attempt`.
    pub(crate) fn profile(&self, attempt: usize) -> Option<KsfProfile> {
        self.profiles.get(attempt).copied()
    }
}

impl Default for ClientPolicy {
    /// [`KsfProfile::RECOMMENDED`] alone.
    fn default() -> Self {
        Self { profiles: alloc::vec![KsfProfile::RECOMMENDED] }
    }
}

impl Client {
    /// The greatest length of a password in bytes.
    pub const MAX_PASSWORD: usize = 4_096;

    /// A client for `account` at the deployment called `server_identity` (1 to 255 bytes, "keys.example.com"), which
    /// must be the bytes that the server is configured with.
    ///
    /// # Errors
    /// [`CallerFault::ServerIdentityLength`].
    pub fn new(account: AccountName, server_identity: impl AsRef<[u8]>, policy: ClientPolicy) -> Result<Self, Error> {
        let server_identity = check_server_identity(server_identity.as_ref())?;
        Ok(Self(Arc::new(Config { account, server_identity, policy, server_key: None })))
    }

    /// The same client, which goes on only with the server of this key ([`crate::Registered::server_key`]).
    #[must_use]
    pub fn pin_server_key(&self, server_key: ServerKey) -> Self {
        Self(Arc::new(Config { server_key: Some(server_key), ..Config::clone(&self.0) }))
    }

    /// The account's name.
    #[must_use]
    pub fn account(&self) -> &AccountName {
        &self.0.account
    }

    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.0
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("account", &self.account)
            .field("server_identity", &format_args!("{}", self.server_identity.escape_ascii()))
            .field("policy", &self.policy)
            .field("server_key", &self.server_key)
            .finish()
    }
}

impl Config {
    pub(crate) fn identity(&self) -> Identity<'_> {
        Identity { account: &self.account, server: &self.server_identity }
    }

    /// OPAQUE's input, from a password of 1 to 4,096 bytes.
    pub(crate) fn password_input(&self, password: &[u8]) -> Result<Arc<SecretBytes>, Error> {
        let max = Client::MAX_PASSWORD;
        if password.is_empty() || password.len() > max {
            return Err(CallerFault::PasswordLength { len: password.len(), max }.into());
        }
        Ok(Arc::new(self.identity().password_input(password)))
    }

    /// Whether the server may be the one that was pinned; public bytes, compared as such.
    pub(crate) fn accepts(&self, server_key: &ServerKey) -> bool {
        self.server_key.is_none_or(|pinned| pinned == *server_key)
    }
}
