//! keystow, embedded: everything that the crate leaves to its user, with real parts. Copy what you need.
//!
//! - [`wire`]: messages on a byte stream, a length before each.
//! - [`store`]: the storage contract over redb (one node) and PostgreSQL (many).
//! - [`server`]: TLS, sessions, limits, metrics, and the one loop around [`keystow::Step`].
//! - [`client`]: a connection, the one loop around [`keystow::Exchange`], and what a device keeps.
//! - [`secrets`]: the server's setup and the fleet's key in files.

pub mod client;
pub mod secrets;
pub mod server;
pub mod store;
pub mod wire;
