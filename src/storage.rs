//! The storage contract: what the server asks of the embedder's database.
//!
//! An embedder implements two functions over plain data: one that answers a [`Query`], one that applies a
//! [`Transaction`] all or nothing. Nothing else of a database is needed, and no lock outlives a call.
//! [`crate::testing::conformance`] (feature `testing`) checks an implementation.

mod found;
pub(crate) mod query;
mod record;
mod transaction;

pub(crate) use found::FoundSecrets;
pub use query::{
    AccountQuery, AuditQuery, Found, HeadsQuery, Query, SecretsPageQuery, SecretsQuery, SessionQuery, Standing,
    StoredSession,
};
pub(crate) use record::{AccountRecord, SecretRecord};

pub use crate::trail::{Action, AuditAbout, AuditEntry, AuditFilter, AuditPlace};
pub use record::Record;
pub(crate) use transaction::Resolution;
pub use transaction::{Advance, Attempts, Change, Conflict, Guard, Outcome, Transaction};
