//! Every rule of the threat model taken out, one check after the other: each makes its attack succeed, and a named test fail.
//!
//! What is taken out, and how, is said in `tests/rules/*.txt` (`tests/rules/table.rs` says how to read them). `cargo test` checks that
//! table against the sources; to take everything out, in a copy of the crate, and see the tests fail:
//!
//! ```sh
//! cargo test --test rules -- --ignored --nocapture
//! KEYSTOW_RULES="6 14" cargo test --test rules -- --ignored --nocapture    # those rules alone
//! KEYSTOW_WITHOUT="the limit|the pin" cargo test --test rules -- --ignored --nocapture    # removals with one of these in their text
//! ```
//!
//! That is two tests: the named tests of each removal, and the attacks of the hostile kit (`testing::hostile`) that each lets
//! through. With `KEYSTOW_KIT=all`, the second plays all attacks against each removal, and prints those that get through.
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

use keystow::testing::hostile::{Attack, attacks};
use mutate::{Scratch, broken};
use table::{Named, Removal, Rule, Test};

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

/// The rules that the environment names, or all, with the removals that it names, or all.
fn chosen() -> Vec<Rule> {
    let chosen = std::env::var("KEYSTOW_RULES").unwrap_or_default();
    let chosen: Vec<&str> = chosen.split_whitespace().collect();
    let without = std::env::var("KEYSTOW_WITHOUT").unwrap_or_default();
    let mut rules = rules();
    rules.retain(|rule| chosen.is_empty() || chosen.contains(&rule.number.as_str()));
    let is_chosen = |removal: &Removal| without.split('|').any(|part| removal.what.contains(part));
    rules.iter_mut().for_each(|rule| rule.removals.retain(is_chosen));
    rules
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
fn every_attack_of_the_hostile_kit_has_a_removal_that_lets_it_through_or_a_reason() {
    let known: BTreeSet<Named> = attacks().iter().map(named).collect();
    let rules = rules();
    let removals = rules.iter().flat_map(|rule| &rule.removals);
    let lines: BTreeSet<Named> = removals.flat_map(|removal| removal.lets_through.clone()).collect();
    let reasons = table::kit_reasons(root());
    let reasoned: BTreeSet<Named> = reasons.iter().map(|row| row.attack.clone()).collect();
    assert_eq!(reasoned.len(), reasons.len(), "an attack has one reason");
    for row in &reasons {
        let is_it = |attack: &Attack| named(attack) == row.attack && attack.rule.to_string() == row.rule;
        assert!(attacks().iter().any(is_it), "rule {} has no attack {:?}", row.rule, row.attack);
        assert!(!row.reason.trim().is_empty(), "{:?}: no reason", row.attack);
    }
    assert_eq!(lines.difference(&known).collect::<Vec<_>>(), Vec::<&Named>::new(), "no such attacks");
    assert_eq!(lines.intersection(&reasoned).collect::<Vec<_>>(), Vec::<&Named>::new(), "a removal and a reason");
    let shown: BTreeSet<Named> = lines.union(&reasoned).cloned().collect();
    assert_eq!(known.difference(&shown).collect::<Vec<_>>(), Vec::<&Named>::new(), "neither a removal nor a reason");
}

#[test]
#[ignore = "builds the crate once for each removal, and plays the attacks that it lets through: a quarter of an hour"]
fn attacks_of_the_hostile_kit_get_through_where_what_stops_them_is_taken_out() {
    let (scratch, started) = (scratch("rules-kit"), Instant::now());
    let all = std::env::var("KEYSTOW_KIT").is_ok_and(|kit| kit == "all");
    let (mut count, mut repelled) = (0, Vec::new());
    for rule in chosen() {
        for removal in rule.removals.iter().filter(|removal| all || !removal.lets_through.is_empty()) {
            let place = format!("rule {}, without {}", rule.number, removal.what);
            println!("{:>5} | without {}", rule.number, removal.what);
            let played = if all { &[][..] } else { &removal.lets_through };
            let printed = scratch.attack(removal, played).unwrap_or_else(|problem| {
                println!("      |   {}", problem.lines().next().unwrap_or_default());
                Vec::new()
            });
            let got_through = |attack: &Named| {
                let failure = format!("check: {:?}, problem: ", attack.name);
                printed.iter().any(|(target, printed)| *target == attack.target && printed.contains(&failure))
            };
            for attack in attacks().iter().map(named).filter(got_through) {
                println!("      |   lets through: {} {}", attack.target, attack.name);
            }
            for attack in removal.lets_through.iter().filter(|attack| !got_through(attack)) {
                println!("      |   REPELLED: {} {}", attack.target, attack.name);
                repelled.push(format!("{place}: {} {}", attack.target, attack.name));
            }
            count += removal.lets_through.len();
        }
    }
    println!("{count} attacks, {} repelled, {:.0} s", repelled.len(), started.elapsed().as_secs_f32());
    assert!(repelled.is_empty(), "{}", repelled.join("\n"));
}

fn named(attack: &Attack) -> Named {
    Named { target: format!("{:?}", attack.target), name: attack.name.to_string() }
}
