//! The hostile kit: peers that don't keep to the protocol, played against an embedder's own integration.
//!
//! [`attack_server`] is a hostile client, for a key server; [`attack_client`] is a hostile server, for a client program. Each
//! plays its attacks one after the other, every one against a new integration, and says which of them got through.
//! [`attacks`] is the table of all of them, by the rules of `docs/threat-model.md`; [`elsewhere`] says what tests the rules
//! that no peer can attack with messages.
//!
//! # A key server under attack
//!
//! ```
//! use keystow::testing::hostile::{Deployment, attack_server};
//! use keystow::testing::{InMemoryServer, MemoryStore};
//! use keystow::{Server, ServerPolicy, ServerSetup, Timestamp};
//! use rand_core::SeedableRng;
//!
//! let deployment = Deployment::new("keys.example.com", ServerPolicy::default());
//! let make = || {
//!     // Your server over an empty store: from a message's bytes and the time to the answer's bytes, or to nothing.
//!     let setup = ServerSetup::generate(&mut rand_chacha::ChaCha20Rng::seed_from_u64(1)).unwrap();
//!     let server = Server::new(setup, "keys.example.com", ServerPolicy::default()).unwrap();
//!     let mut yours = InMemoryServer::new(server, MemoryStore::new(), 2);
//!     move |message: &[u8], now: Timestamp| yours.handle(message, now).ok()
//! };
//! let repelled = attack_server(&deployment, make, |_| true).unwrap();
//! assert!(repelled > 40);
//! ```
//!
//! # A client program under attack
//!
//! ```
//! use keystow::testing::hostile::{Act, ClientProgram, Shown, Told, Wire, attack_client};
//! use keystow::*;
//!
//! /// What your program keeps on the device, and its session.
//! #[derive(Default)]
//! struct Device {
//!     server_key: Option<ServerKey>,
//!     pin: Option<VaultPin>,
//!     pending: Option<PendingSecrets>,
//!     session: Option<ClientSession>,
//! }
//!
//! impl ClientProgram for Device {
//!     fn act(&mut self, act: Act<'_>, wire: &mut Wire<'_>) -> Told {
//!         let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
//!         let session = match act {
//!             Act::Register { account, password } => {
//!                 let registered = run(self.client(account)?.register(password, rng)?, wire)?;
//!                 (self.server_key, self.pin) = (Some(registered.server_key), Some(registered.pin));
//!                 return Ok(Shown::Done);
//!             }
//!             Act::LogIn { account, password } => {
//!                 self.session.insert(run(self.client(account)?.log_in(password, self.pin, rng)?, wire)?)
//!             }
//!             _ => self.session.as_mut().ok_or("not logged in")?,
//!         };
//!         if let Act::Generate(kind) = act {
//!             self.pending = Some(run(session.generate(&[kind], rng)?, wire)?); // kept before it is sent
//!         }
//!         let shown = match (act, &self.pending) {
//!             (Act::Generate(_) | Act::StorePending, Some(pending)) => {
//!                 let stored = run(session.store(pending)?, wire)?;
//!                 Shown::new(&session.settle(stored)?)
//!             }
//!             (Act::LogIn { .. } | Act::StorePending, _) => Shown::Done,
//!             (Act::Retrieve(key_id), _) => Shown::secret(&run(session.retrieve(&[key_id])?, wire)?),
//!             (Act::List, _) => {
//!                 let listed = run(session.list()?, wire)?;
//!                 Shown::list(&session.settle(listed)?)
//!             }
//!             _ => return Ok(Shown::NotOffered), // import, delete, change of password: as the others
//!         };
//!         self.pin = Some(session.pin()); // kept before anything is shown
//!         if matches!(shown, Shown::New(_)) {
//!             self.pending = None;
//!         }
//!         Ok(shown)
//!     }
//! }
//!
//! impl Device {
//!     fn client(&self, account: &str) -> Result<Client, Error> {
//!         let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS])?;
//!         let client = Client::new(AccountName::new(account)?, "keys.example.com", policy)?;
//!         Ok(self.server_key.map_or(client.clone(), |key| client.pin_server_key(key)))
//!     }
//! }
//!
//! fn run<O: client::Operation>(mut exchange: Exchange<O>, wire: &mut Wire<'_>) -> Result<O::Output, Error> {
//!     loop {
//!         let answer = wire(&exchange.message().encode()?).ok_or(PeerFault::OutOfOrder)?;
//!         if let Some(outcome) = exchange.receive(ServerMessage::decode(&answer)?)? {
//!             return Ok(outcome?);
//!         }
//!     }
//! }
//!
//! let repelled = attack_client("keys.example.com", Device::default, |_| true).unwrap();
//! assert!(repelled > 30);
//! ```

mod client;
mod forge;
mod raw;
mod server;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::Failure;
use crate::error::{Error, PeerFault, Refusal};

pub use client::{Deployment, KeyServer, attack_server};
pub use forge::{AnyReply, open_reply, open_request, pending, reply, request};
pub use raw::{open_session, reply_bytes, request_bytes, seal_session};
pub use server::{Act, ClientProgram, Shown, Told, Wire, attack_client};

/// An attack of the kit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attack {
    /// The rule of `docs/threat-model.md` that it tries to break.
    pub rule: u8,
    /// Whom it is played against.
    pub target: Target,
    /// What it does: the name under which a [`Failure`] reports it.
    pub name: &'static str,
}

/// Whom an attack is played against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A key server: [`attack_server`].
    Server,
    /// A client program: [`attack_client`].
    Client,
}

/// All attacks.
#[must_use]
pub fn attacks() -> Vec<Attack> {
    client::attacks().chain(server::attacks()).collect()
}

/// The rules that no peer can break with messages, or not wholly, and what tests them instead.
#[must_use]
pub const fn elsewhere() -> [(u8, &'static str); 5] {
    [
        (
            17,
            "freed memory and logs are not seen from outside: the crate's tests/leaks.rs; your logs are yours to search",
        ),
        (18, "time is not measured here: the crate compares secrets through `subtle` alone"),
        (20, "the attacker is your database: `conformance`, and the crate's tests/hostile_store.rs"),
        (
            21,
            "one message at a time can't race: `conformance` for the conditional writes, two connections for your database",
        ),
        (24, "a precondition: that your client registers over TLS alone is a test of your own"),
    ]
}

/// Why an attack stops before its end.
#[derive(Debug)]
enum Stop {
    /// It got through.
    Broken(String),
    /// The integration doesn't have what is attacked.
    NotPlayed,
}

type Verdict<T = ()> = Result<T, Stop>;

fn fail<T>(problem: impl Into<String>) -> Verdict<T> {
    Err(Stop::Broken(problem.into()))
}

fn ensure(holds: bool, problem: &str) -> Verdict {
    if holds { Ok(()) } else { fail(problem) }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<PeerFault> for Stop {
    fn from(fault: PeerFault) -> Self {
        Error::from(fault).into()
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Error::from(refusal).into()
    }
}

/// Counts what was played, and collects what got through.
#[derive(Default)]
struct Tally {
    played: usize,
    failures: Vec<Failure>,
}

impl Tally {
    fn add(&mut self, check: &'static str, verdict: Verdict) {
        match verdict {
            Err(Stop::NotPlayed) => return,
            Err(Stop::Broken(problem)) => self.failures.push(Failure { check, problem }),
            Ok(()) => {}
        }
        self.played = self.played.saturating_add(1);
    }

    fn result(self) -> Result<usize, Vec<Failure>> {
        if self.failures.is_empty() { Ok(self.played) } else { Err(self.failures) }
    }
}
