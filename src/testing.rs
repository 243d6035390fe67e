//! For tests, of this crate and of embedders (feature `testing`): a store in memory, a suite that checks any store, an
//! in-memory key server that drives sessions as an embedder does, and peers that don't keep to the protocol.
//!
//! Nothing here belongs into a deployment.

mod broken;
mod conformance;
mod driver;
mod fleet;
pub mod hostile;
mod memory;

use core::fmt;

use crate::storage::{Found, Outcome, Query, Transaction};

pub use broken::{Breakage, BrokenStore};
pub use conformance::{Failure, conformance};
pub use driver::{DriveError, InMemoryServer, converse};
pub use fleet::Fleet;
pub use memory::{AccountRow, MemoryStore, SessionRow};

/// The two functions that an embedder implements over its database. The suite and the driver take them through this
/// trait; the protocol itself needs no trait.
pub trait Store {
    /// How the database fails.
    type Error: fmt::Debug + fmt::Display;

    /// Answers a query.
    ///
    /// # Errors
    /// The database's.
    fn read(&mut self, query: &Query) -> Result<Found, Self::Error>;

    /// Applies a transaction, all or nothing, as [`Transaction`] says.
    ///
    /// # Errors
    /// The database's; the transaction's outcome is unknown then.
    fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, Self::Error>;
}
