//! The model test: two people with two devices each, a key server (one node, or a fleet of two), a network that drops,
//! repeats, reorders, delays and splices, crashes of either side, store calls whose outcome is unknown, time that passes, and
//! somebody who guesses; beside it a plain model of what each person was told. Then everything heals, and each property is
//! checked over the history and what is left.
//!
//! The cases are the same at every run. `KEYSTOW_MODEL_CASES=5000 cargo test --test model` runs so many of each property, and
//! `PROPTEST_RNG_SEED=7` looks at others. A case that failed is kept in `tests/proptest-regressions/model.txt`: commit it.
#![allow(unreachable_pub)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::integer_division_remainder_used,
    clippy::unreachable,
    clippy::print_stdout
)]

#[path = "hostile/mod.rs"]
mod hostile_tools;
mod support;

#[path = "model/acts.rs"]
mod acts;
#[path = "model/checks.rs"]
mod checks;
#[path = "model/device.rs"]
mod device;
#[path = "model/ends.rs"]
mod ends;
#[path = "model/event.rs"]
mod event;
#[path = "model/finish.rs"]
mod finish;
#[path = "model/hitches.rs"]
mod hitches;
#[path = "model/lives.rs"]
mod lives;
#[path = "model/network.rs"]
mod network;
#[path = "model/reference.rs"]
mod reference;
#[path = "model/repeats.rs"]
mod repeats;
#[path = "model/site.rs"]
mod site;
#[path = "model/stats.rs"]
mod stats;
#[path = "model/world.rs"]
mod world;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, FailurePersistence, FileFailurePersistence, RngSeed, TestRunner};

use event::{Schedule, schedule};
use reference::Property;

const CASES: u32 = 64;

/// The cases of one property, from a seed of its own: no two look at the same.
fn config(seed: u64) -> Config {
    let regressions = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proptest-regressions/model.txt");
    let base = match Config::default().rng_seed {
        RngSeed::Random => 1,
        RngSeed::Fixed(seed) => seed,
    };
    let cases = std::env::var("KEYSTOW_MODEL_CASES").ok().and_then(|cases| cases.parse().ok());
    let failures: Box<dyn FailurePersistence> = Box::new(FileFailurePersistence::Direct(regressions));
    Config {
        cases: cases.unwrap_or(CASES),
        rng_seed: RngSeed::Fixed(base * 100 + seed),
        failure_persistence: Some(failures),
        ..Config::default()
    }
}

fn holds(property: Property, seed: u64) {
    let holds = |schedule: Schedule| {
        let against = world::run(&schedule).against(property);
        prop_assert!(against.is_empty(), "{:#?}", against);
        Ok(())
    };
    TestRunner::new(config(seed)).run(&schedule(), holds).unwrap();
}

#[test]
fn nothing_acknowledged_is_lost() {
    holds(Property::NothingIsLost, 0);
}

#[test]
fn nothing_is_stored_twice() {
    holds(Property::NothingIsTwice, 1);
}

#[test]
fn no_secret_crosses_users() {
    holds(Property::NothingCrosses, 2);
}

#[test]
fn no_session_survives_what_ends_it() {
    holds(Property::NoSessionSurvives, 3);
}

#[test]
fn every_attempt_is_charged() {
    holds(Property::EveryAttemptIsCharged, 4);
}

#[test]
fn every_transaction_has_its_audit_entry() {
    holds(Property::EveryTransactionIsAudited, 5);
}

#[test]
fn the_honest_client_always_gets_through_in_the_end() {
    holds(Property::EverybodyGetsThrough, 6);
}

#[test]
fn the_schedules_reach_what_the_properties_are_about() {
    let mut counts = stats::Counts::new();
    let mut runner = TestRunner::new(config(0));
    for _ in 0..CASES {
        let schedule = schedule().new_tree(&mut runner).unwrap().current();
        world::run(&schedule).count(&mut counts);
    }
    for (what, count) in &counts {
        println!("{count:>6} {what}");
    }
    for (what, least) in LEAST {
        assert!(counts.get(what).is_some_and(|count| *count >= least), "{what}: fewer than {least}");
    }
}

/// What the properties would be empty without, in that many cases.
const LEAST: [(&str, usize); 22] = [
    ("stores acknowledged", 75),
    ("lost acknowledgements that turn out repeated", 7),
    ("crashes with pending secrets", 12),
    ("crashes before settling", 9),
    ("crashes before the pin was kept", 9),
    ("sessions ended by a change of password", 40),
    ("writes under an old credential", 25),
    ("races lost for the vault's head", 25),
    ("steps overtaken between read and write", 200),
    ("expired sessions asked", 40),
    ("attempts over the limit", 40),
    ("spliced requests delivered", 8),
    ("spliced replies delivered", 10),
    ("unknown outcomes and other faults", 60),
    ("requests of old sessions", 25),
    ("trespasses refused", 10),
    ("accounts deleted", 8),
    ("writes of sessions that moved", 12),
    ("repeats answered again", 100),
    ("late KE3s", 40),
    ("devices outlived by a password", 20),
    ("stores in an outlived session", 2),
];
