//! The client: a connection, the one loop around [`keystow::Exchange`], what a device keeps, and a command line over them.

pub mod arguments;
pub mod commands;
pub mod connection;
pub mod device;
mod error;
mod files;
pub mod password;
pub mod report;
mod spinner;
mod time;

pub use connection::{Connection, Limits, Trust};
pub use device::Device;
pub use error::ClientError;
