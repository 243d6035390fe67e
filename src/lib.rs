//! keystow

#![no_std]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod client;
mod codec;
mod error;
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
mod vault;

pub use client::{Client, ClientPolicy, ClientSession, Exchange};
pub use codec::{MAX_BATCH, MAX_MESSAGE};
pub use error::{CallerFault, Error, PeerFault, RecordName, Refusal, StoredFault};
pub use header::{Header, SealedSecret};
pub use id::{AccountName, CounterId, CredentialId, KeyId, ServerKey, SessionId, Timestamp, UserId};
pub use kind::{Kind, Origin, PublicComponent};
pub use message::{ClientMessage, Frame, ServerMessage};
pub use operation::register::Registered;
pub use operation::retrieve::RetrievedSecret;
pub use operation::store::{NewSecret, PendingSecret};
pub use secret::{Secret, SecretBytes};
pub use server::{Read, Server, ServerPolicy, ServerSession, ServerSetup, Step, Write};
pub use suite::KsfProfile;
pub use suite::opaque::OpaqueMessage;
