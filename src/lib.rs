//! Password-protected custody of secrets, as two pure state machines.
//!
//! A person's device (the *client*) keeps secrets (arbitrary bytes, secp256k1 and Ed25519 keys) on a *key server* that
//! can't read them, and gets them back on any device with a password. This crate is both sides of the protocol and
//! nothing else: the program around it moves the bytes, keeps the time, supplies the randomness and runs the database.
//!
//! ```text
//!        client                                              key server
//!
//! log in    LoginRequest {account, profile, KE1}        ->   read: the account, the attempts
//!                                                            write: charge the attempt
//!                                                       <-   LoginResponse {KE2}
//!           LoginFinish {KE3}                           ->   write: refund, audit
//!                                                       <-   Frame: Welcome {user ID, wrap, expiry}
//!           opens the vault key
//!           Frame: Heads {from the pinned one on}       ->   read: the vault's heads
//!                                                       <-   Frame: Heads
//!           checks every link from the pin on
//!
//! generate  Frame: Generate {kinds}                     ->
//!                                                       <-   Frame: server random
//!           makes and seals the secrets
//! store     Frame: Store {header, ciphertext, head}     ->   checks user, lengths, points; makes the key ID
//!                                                            write: insert if absent, next head, audit
//!                                                       <-   Frame: Stored {key IDs}
//!           checks the key IDs, pins the head
//! ```
//!
//! # The run loop
//!
//! 1. The client starts an operation and gets an [`Exchange`]; it sends [`Exchange::message`].
//! 2. The server finds the session of [`ClientMessage::session_id`], or opens one with [`Server::accept`].
//! 3. [`ServerSession::receive`] gives a [`Step`]: [`Step::Read`] asks for a read, [`Step::Write`] for one atomic
//!    write, [`Step::Reply`] is the answer. A reply comes out of [`Write::settle`] or needs no write: it
//!    can't be sent before its write.
//! 4. The client gives the answer to [`Exchange::receive`], and goes on with 1 until it has its output.
//!
//! On both sides an `Err` means that nothing changed and that there is nothing to send.
//!
//! # A whole run
//!
//! ```
//! # #[cfg(feature = "testing")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use keystow::storage::{Found, Outcome, Query, Transaction};
//! use keystow::testing::{MemoryStore, Store};
//! use keystow::*;
//! use rand_core::SeedableRng;
//!
//! # let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
//! # let now = Timestamp::from_millis(1_800_000_000_000);
//! // The embedder's database: two functions over plain data.
//! let mut database = MemoryStore::new();
//! let mut read = |database: &mut MemoryStore, query: &Query| -> Found { database.read(query).unwrap() };
//! let mut apply = |database: &mut MemoryStore, tx: &Transaction| -> Outcome { database.apply(tx).unwrap() };
//!
//! // The key server: the whole loop.
//! let server = Server::new(ServerSetup::generate(&mut rng)?, "keys.example.com", ServerPolicy::default())?;
//! let mut sessions = std::collections::BTreeMap::new();
//! let mut server_rng = rand_chacha::ChaCha20Rng::seed_from_u64(2);
//! let mut key_server = |bytes: &[u8]| -> Result<Vec<u8>, Error> {
//!     let message = ClientMessage::decode(bytes)?;
//!     let id = message.session_id()?;
//!     let session = sessions.entry(id).or_insert_with(|| server.accept(&mut server_rng));
//!     let mut step = session.receive(message, now)?;
//!     loop {
//!         step = match step {
//!             Step::Read(query) => {
//!                 let found = read(&mut database, query.query());
//!                 query.found(found)?
//!             }
//!             Step::Write(write) => {
//!                 let outcome = apply(&mut database, write.transaction());
//!                 break write.settle(outcome)?.encode();
//!             }
//!             Step::Reply(reply) => break reply.encode(),
//!         }
//!     }
//! };
//!
//! // The client: every operation is the same loop.
//! fn run<O: client::Operation>(
//!     mut exchange: Exchange<O>,
//!     mut transport: impl FnMut(&[u8]) -> Result<Vec<u8>, Error>,
//! ) -> Result<O::Output, Error> {
//!     loop {
//!         let answer = ServerMessage::decode(&transport(&exchange.message().encode()?)?)?;
//!         if let Some(outcome) = exchange.receive(answer)? {
//!             return Ok(outcome?);
//!         }
//!     }
//! }
//!
//! # let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS])?;
//! # /*
//! let policy = ClientPolicy::default();
//! # */
//! let client = Client::new(AccountName::new("ada")?, "keys.example.com", policy)?;
//! let registered = run(client.register("a good password", &mut rng)?, &mut key_server)?;
//! let client = client.pin_server_key(registered.server_key);
//!
//! let mut session = run(client.log_in("a good password", Some(registered.pin), &mut rng)?, &mut key_server)?;
//! let pending = run(session.generate(&[Kind::Secp256k1], &mut rng)?, &mut key_server)?;
//! let stored = run(session.store(&pending)?, &mut key_server)?;
//! let stored = session.settle(stored)?;
//! let pin = session.pin(); // to be kept on the device, before success is reported
//! println!("{} {}", stored[0].key_id, stored[0].public.unwrap());
//!
//! // Another day. (Another device has no pin yet: `None` trusts the server on first use.)
//! let mut session = run(client.log_in("a good password", Some(pin), &mut rng)?, &mut key_server)?;
//! let listed = run(session.list()?, &mut key_server)?;
//! assert_eq!(session.settle(listed)?[0].key_id, stored[0].key_id);
//! let secrets = run(session.retrieve(&[stored[0].key_id])?, &mut key_server)?;
//! assert_eq!(secrets[0].public(), stored[0].public.as_ref());
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "testing"))]
//! # fn main() {}
//! ```
//!
//! # Features
//!
//! - `std` (default): precomputed tables for secp256k1. Without it the crate is `no_std` with `alloc`.
//! - `testing`: a store in memory, the conformance suite for yours, and hostile peers, in `testing`.
//!
//! The protocol byte by byte, the threat model and the guide for embedders are in the repository's `docs`.

#![no_std]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

pub mod client;
mod codec;
mod error;
mod head;
mod header;
mod id;
mod kind;
mod message;
pub mod operation;
mod secret;
pub mod server;
pub mod storage;
mod suite;
#[cfg(feature = "testing")]
pub mod testing;
mod trail;
mod vault;

pub use client::{Client, ClientPolicy, ClientSession, Exchange, Unsettled};
pub use codec::{MAX_BATCH, MAX_MESSAGE};
pub use error::{CallerFault, Error, PeerFault, RecordName, Refusal, StoredFault, VaultFault};
pub use head::{SealedHead, VaultPin, VaultTrust};
pub use header::{Header, SealedSecret};
pub use id::{AccountName, CounterId, CredentialId, KeyId, ServerKey, SessionId, Timestamp, UserId};
pub use kind::{EcdsaSignature, Kind, Origin, PlainSecret, PublicComponent};
pub use message::{ClientMessage, Frame, ServerMessage};
pub use operation::register::Registered;
pub use operation::retrieve::RetrievedSecret;
pub use operation::store::{NewSecret, PendingSecrets};
pub use secret::{Secret, SecretBytes};
pub use server::{Denied, DeniedWrite, FleetKey, Read, Server, ServerPolicy, ServerSession, ServerSetup, Step, Write};
pub use suite::KsfProfile;
pub use suite::opaque::OpaqueMessage;
pub use trail::{Action, AuditAbout, AuditEntry, AuditFilter, AuditPlace};

/// The README's samples are compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
