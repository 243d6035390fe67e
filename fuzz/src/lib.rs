//! The harness behind the fuzz targets. `tests/corpus.rs` of the root package includes the same file by its path, so
//! that `cargo test` replays the corpora on stable.

pub mod harness;

pub use harness::{client_exchange, decode, lying_store, network, server_session};
