//! Properties (proptest): what holds for any input, any damage on the way, and any network.
//!
//! The cases are the same at every run; `PROPTEST_RNG_SEED=7 cargo test --test properties` looks at others. A case that
//! failed is kept in `tests/proptest-regressions`, and run first from then on: commit it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;

#[path = "properties/counters.rs"]
mod counters;
#[path = "properties/decoding.rs"]
mod decoding;
#[path = "properties/frames.rs"]
mod frames;
#[path = "properties/handshake.rs"]
mod handshake;
#[path = "properties/network.rs"]
mod network;
#[path = "properties/passwords.rs"]
mod passwords;
#[path = "properties/round_trip.rs"]
mod round_trip;
#[path = "properties/tamper.rs"]
mod tamper;

use proptest::test_runner::{Config, FailurePersistence, FileFailurePersistence, RngSeed};

/// So many cases, from a fixed seed unless the environment names one.
fn cases(cases: u32) -> Config {
    let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proptest-regressions/properties.txt");
    let rng_seed = match Config::default().rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        chosen => chosen,
    };
    let failures: Box<dyn FailurePersistence> = Box::new(FileFailurePersistence::Direct(regressions));
    Config { cases, rng_seed, failure_persistence: Some(failures), ..Config::default() }
}
