//! Every rule of the threat model taken out, one check after the other: each makes its attack succeed, and a named test fail.
//!
//! What is taken out, and how, is said in `tests/rules/*.txt` (`tests/rules/table.rs` says how to read them). `cargo test` checks that
//! table against the sources; to take everything out, in a copy of the crate, and see the tests fail:
//!
//! ```sh
//! cargo test --test rules -- --ignored --nocapture
//! KEYSTOW_RULES="6 14" cargo test --test rules -- --ignored --nocapture    # those rules alone
//! ```
//!
//! That is two tests: the named tests of each removal, and the hostile kit of `testing`, whose every attack some removal lets through.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

#[path = "rules/mutate.rs"]
mod mutate;
#[path = "rules/table.rs"]
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use keystow::testing::hostile::{Attack, Target, attacks};
use mutate::{Scratch, broken};
use table::{Rule, Test};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rules() -> Vec<Rule> {
    table::read(root())
}

/// The numbers of the rules in the threat model's last table.
fn numbers() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let (_, rows) = text.split_once("\n## The rules\n").unwrap();
    let first = |row: &str| row.trim_start_matches('|').split('|').next().unwrap().trim().to_string();
    rows.lines().map(first).filter(|number| number.parse::<u8>().is_ok()).collect()
}

/// The rules that the environment names, or all.
fn chosen() -> Vec<Rule> {
    let chosen = std::env::var("KEYSTOW_RULES").unwrap_or_default();
    let chosen: Vec<&str> = chosen.split_whitespace().collect();
    rules().into_iter().filter(|rule| chosen.is_empty() || chosen.contains(&rule.number.as_str())).collect()
}

/// Scratch space of the ignored test `name`.
fn scratch(name: &str) -> Scratch {
    Scratch::new(root(), &Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(name))
}

#[test]
fn every_rule_of_the_threat_model_has_a_removal_or_a_reason_why_it_has_none() {
    let numbers = numbers();
    assert!(numbers.len() >= 27, "{numbers:?}");
    let rules = rules();
    let listed: Vec<&str> = rules.iter().map(|rule| rule.number.as_str()).collect();
    assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len(), "each rule has one file: {listed:?}");
    let missing: Vec<_> = numbers.iter().filter(|number| !listed.contains(&number.as_str())).collect();
    assert!(missing.is_empty(), "no file in tests/rules: {missing:?}");
    let empty: Vec<_> = rules.iter().filter(|rule| rule.removals.is_empty() && rule.reasons.is_empty()).collect();
    assert!(empty.is_empty(), "neither a removal nor a reason: {empty:?}");
}

#[test]
fn every_text_that_is_taken_out_is_in_its_file_exactly_once_and_changes_it() {
    for rule in rules() {
        for removal in &rule.removals {
            let place = format!("rule {}, without {}", rule.number, removal.what);
            assert!(!removal.edits.is_empty(), "{place}: takes nothing out");
            broken(root(), &removal.edits).unwrap_or_else(|problem| panic!("{place}: {problem}"));
            assert!(removal.edits.iter().all(|edit| edit.file.starts_with("src/")), "{place}: the library's own");
            assert!(removal.edits.iter().all(|edit| edit.find != edit.replace), "{place}: changes nothing");
        }
    }
}

#[test]
fn every_test_that_is_to_fail_is_a_test_of_the_named_file() {
    for rule in rules() {
        for removal in &rule.removals {
            let place = format!("rule {}, without {}", rule.number, removal.what);
            assert!(!removal.fails.is_empty(), "{place}: no test");
            for test in &removal.fails {
                let text = fs::read_to_string(root().join(test.file())).unwrap_or_default();
                let declared = format!("fn {}(", test.function());
                assert!(text.contains(&declared), "{place}: no {} in {}", test.name, test.file());
            }
        }
    }
}

#[test]
#[ignore = "builds the crate once for each removal: minutes"]
fn every_rule_that_is_taken_out_makes_its_tests_fail() {
    let rules = chosen();
    let started = Instant::now();
    let scratch = scratch("rules");
    scratch.check_whole(&rules);
    println!("the whole crate passes ({:.0} s)", started.elapsed().as_secs_f32());
    let (mut count, mut uncaught) = (0, Vec::new());
    for rule in &rules {
        for reason in &rule.reasons {
            println!("{:>5} |       | nothing to take out: {reason}", rule.number);
        }
        for removal in &rule.removals {
            let begun = Instant::now();
            let outcome = scratch.take_out(removal);
            count += 1;
            println!("{:>5} | {:>3.0} s | {}", rule.number, begun.elapsed().as_secs_f32(), removal.what);
            for Test { target, name } in &removal.fails {
                println!("      |       |   {target} {name}");
            }
            if let Err(problem) = outcome {
                println!("      |       |   NOT CAUGHT: {problem}");
                uncaught.push(format!("rule {}, without {}", rule.number, removal.what));
            }
        }
    }
    println!("{count} removals, {} not caught, {:.0} s", uncaught.len(), started.elapsed().as_secs_f32());
    assert!(uncaught.is_empty(), "{}", uncaught.join("\n"));
}

#[test]
#[ignore = "builds the crate once for each removal, and plays the attacks of its rule: a quarter of an hour"]
fn attacks_of_the_hostile_kit_get_through_where_a_check_of_their_rule_is_taken_out_but_for_those_listed() {
    let (rules, scratch) = (chosen(), scratch("rules-kit"));
    let of_chosen = |attack: &Attack| rules.iter().any(|rule| rule.number == attack.rule.to_string());
    let mut waiting = attacks();
    waiting.retain(of_chosen);
    let sides = [Target::Server, Target::Client];
    let tests = ["the_in_memory_server_repels_every_attack", "a_careful_client_repels_every_attack"]
        .map(|name| Test { target: "hostile_kit".into(), name: name.into() });
    for rule in rules.iter().filter(|rule| attacks().iter().any(|attack| attack.rule.to_string() == rule.number)) {
        for removal in &rule.removals {
            let printed = scratch.attack(removal, &rule.number, &tests).unwrap_or_else(|problem| {
                println!("{} | without {}: {}", rule.number, removal.what, problem.lines().next().unwrap_or_default());
                Vec::new()
            });
            for (target, printed) in sides.iter().zip(printed) {
                let through = |attack: &Attack| printed.contains(&format!("check: {:?}", attack.name));
                for attack in attacks().iter().filter(|attack| attack.target == *target && through(attack)) {
                    println!("{} | {target:?} | {} | without {}", attack.rule, attack.name, removal.what);
                    waiting.retain(|other| other != attack);
                }
            }
        }
    }
    let waiting: BTreeSet<String> = waiting.iter().map(row).collect();
    let known = include_str!("rules/unshown.list").lines();
    let known: BTreeSet<String> = known.filter(|line| !line.starts_with('#')).map(ToString::to_string).collect();
    let asked: BTreeSet<String> = attacks().iter().filter(|attack| of_chosen(attack)).map(row).collect();
    assert_eq!(waiting, known.intersection(&asked).cloned().collect(), "tests/rules/unshown.list has them");
}

fn row(attack: &Attack) -> String {
    format!("{} | {:?} | {}", attack.rule, attack.target, attack.name)
}
