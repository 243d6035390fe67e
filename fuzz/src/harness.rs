//! What the fuzz targets run: bytes in, a panic out if a promise is broken.
//!
//! `fuzz/src/lib.rs` and `tests/corpus.rs` both include this file, so the fuzzer and `cargo test` run the same code.
#![allow(unreachable_pub, missing_docs, missing_debug_implementations)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::panic_in_result_fn,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::integer_division_remainder_used
)]

// By explicit paths, which mean the same from both places that include this file.
#[path = "harness/action.rs"]
pub mod action;
#[path = "harness/answers.rs"]
pub mod answers;
#[path = "harness/chain.rs"]
mod chain;
#[path = "harness/clients.rs"]
mod clients;
#[path = "harness/decoding.rs"]
pub mod decoding;
#[path = "harness/delivery.rs"]
mod delivery;
#[path = "harness/deployment.rs"]
mod deployment;
#[path = "harness/ends.rs"]
mod ends;
#[path = "harness/exchanges.rs"]
pub mod exchanges;
#[path = "harness/forest.rs"]
mod forest;
#[path = "harness/forgery.rs"]
mod forgery;
#[path = "harness/formats.rs"]
mod formats;
#[path = "harness/gone.rs"]
mod gone;
#[path = "harness/input.rs"]
pub mod input;
#[path = "harness/ledger.rs"]
mod ledger;
#[path = "harness/lies.rs"]
pub mod lies;
#[path = "harness/lying_store.rs"]
pub mod lying_store;
#[path = "harness/network.rs"]
pub mod network;
#[path = "harness/operations.rs"]
mod operations;
#[path = "harness/records.rs"]
pub mod records;
#[path = "harness/scene.rs"]
mod scene;
#[path = "harness/story.rs"]
mod story;
#[path = "harness/under_way.rs"]
mod under_way;

use arbitrary::Unstructured;

use action::Action;
pub use decoding::decode;
pub use exchanges::client_exchange;
pub use lying_store::lying_store;
pub use network::network;

/// The most actions that one input runs: a login costs about a millisecond, more with a sanitizer.
pub const MAX_ACTIONS: usize = 48;

/// Target `server_session`: people, a network and a store that do whatever the actions say, against the sessions of one
/// server. `fuzz/README.md` lists what is asserted.
pub fn server_session(data: &[u8]) {
    let mut clients = clients::Clients::new();
    for action in actions(data) {
        clients.act(action);
    }
    clients.finish();
}

/// The actions that an input stands for.
pub fn actions(data: &[u8]) -> Vec<Action> {
    let mut rest = Unstructured::new(data);
    let next = || (!rest.is_empty()).then(|| rest.arbitrary().ok()).flatten();
    core::iter::from_fn(next).take(MAX_ACTIONS).collect()
}

/// The item number `index`, counted from the newest and round the end.
fn pick<T>(items: &[T], index: u8) -> Option<usize> {
    (!items.is_empty()).then(|| items.len() - 1 - usize::from(index) % items.len())
}
