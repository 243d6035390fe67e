//! The hostile kit (`testing::hostile`) on ourselves: careful integrations repel every attack, and each careless one is caught
//! by the attack that is named here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod kit;
mod support;

use std::collections::BTreeSet;

use keystow::testing::hostile::{
    Act, Attack, ClientProgram, Deployment, KeyServer, Shown, Target, Told, Wire, attack_client, attack_server,
    attacks, elsewhere,
};
use keystow::testing::{Breakage, BrokenStore, Failure, Fleet, InMemoryServer, MemoryStore, Store};
use keystow::*;
use kit::device::{Device, Habit};
use kit::servers::{Careless, Hasty, Neglect, Shortcut};
use support::{IDENTITY, rng};

fn deployment() -> Deployment {
    Deployment::new(IDENTITY, ServerPolicy::default())
}

/// Which attacks are played: all, or those that `tests/rules.rs` names, one a line.
fn chosen(attack: &Attack) -> bool {
    let named = std::env::var("KEYSTOW_KIT_ATTACKS").unwrap_or_default();
    let name = format!("{:?} {}", attack.target, attack.name);
    named.is_empty() || named.lines().any(|line| line == name)
}

/// How many attacks the table has on this side.
fn number_of(target: Target) -> usize {
    attacks().iter().filter(|attack| attack.target == target).count()
}

fn number_of_chosen(target: Target) -> usize {
    attacks().iter().filter(|attack| attack.target == target && chosen(attack)).count()
}

// --- the table -----------------------------------------------------------------------------------------

#[test]
fn each_rule_has_an_attack_or_a_named_reason_and_each_attack_a_name_of_its_own() {
    let attacks = attacks();
    let attacked: BTreeSet<u8> = attacks.iter().map(|attack| attack.rule).collect();
    let named: BTreeSet<u8> = elsewhere().iter().map(|(rule, _)| *rule).collect();
    let model = include_str!("../docs/threat-model.md");
    let rules = model
        .split("## The rules")
        .nth(1)
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse::<u8>().ok());
    let rules: BTreeSet<u8> = rules.collect();
    assert_eq!(rules, (1..=27).collect());
    assert_eq!(attacked.union(&named).copied().collect::<BTreeSet<_>>(), rules);
    // Races are attacked as far as one message at a time can; the rest of the reasons stands for an attack.
    assert_eq!(attacked.intersection(&named).collect::<Vec<_>>(), [&21]);
    let names: BTreeSet<_> = attacks.iter().map(|attack| (attack.target == Target::Server, attack.name)).collect();
    assert_eq!(names.len(), attacks.len());
}

// --- key servers ---------------------------------------------------------------------------------------

#[test]
fn the_in_memory_server_repels_every_attack() {
    let played = attack_server(
        &deployment(),
        || {
            let setup = ServerSetup::generate(&mut rng(1)).unwrap();
            let server = Server::new(setup, IDENTITY, ServerPolicy::default()).unwrap();
            let mut server = InMemoryServer::new(server, MemoryStore::new(), 2);
            move |message: &[u8], now| server.handle(message, now).ok()
        },
        chosen,
    );
    assert_eq!(played, Ok(number_of_chosen(Target::Server)));
}

/// Each message goes to the next node.
#[test]
fn a_fleet_repels_every_attack() {
    let played = attack_server(
        &deployment(),
        || {
            let node = || {
                let setup = ServerSetup::generate(&mut rng(1)).unwrap();
                let key = FleetKey::from_bytes(&[7; 32]).unwrap();
                Server::in_fleet(setup, IDENTITY, ServerPolicy::default(), key).unwrap()
            };
            let mut fleet = Fleet::new(vec![node(), node(), node()], MemoryStore::new(), 2);
            let mut nodes = (0..3).cycle();
            move |message: &[u8], now| {
                let message = ClientMessage::decode(message).ok()?;
                fleet.answer(nodes.next()?, message, now).ok()?.encode().ok()
            }
        },
        |_| true,
    );
    assert_eq!(played, Ok(number_of(Target::Server)));
}

#[test]
fn a_server_with_a_clock_of_its_own_is_attacked_by_all_that_needs_no_time() {
    let own_clock = Deployment { own_clock: true, names: "run-2-".to_owned(), ..deployment() };
    // One server for all attacks, as a database that isn't emptied is.
    let server = std::cell::RefCell::new(Careless::new(Neglect::Careful, MemoryStore::new()));
    let played = attack_server(
        &own_clock,
        || {
            let server = &server;
            move |message: &[u8], _| server.borrow_mut().handle(message, support::NOW)
        },
        |_| true,
    );
    assert_eq!(played, Ok(number_of(Target::Server) - 4));
}

/// What a careless server gets wrong under one attack, or before any. `problem` is how it begins.
#[track_caller]
fn server_is_caught<S: Store>(neglect: Neglect, mut store: impl FnMut() -> S, name: &str, problem: &str) {
    let only = |attack: &Attack| attack.name == name;
    let failures = attack_server(&deployment(), || Careless::new(neglect, store()), only).unwrap_err();
    assert_is(&failures, name, problem);
}

#[track_caller]
fn assert_is(failures: &[Failure], name: &str, problem: &str) {
    match failures {
        [failure] => {
            assert_eq!(failure.check, name);
            assert!(failure.problem.starts_with(problem), "{failure}");
        }
        failures => panic!("{failures:?}"),
    }
}

const HONEST: &str = "an honest person is served";

#[test]
fn careless_loops_are_caught() {
    let over = "22 guesses were answered, where 10 are allowed";
    for (neglect, name, problem) in [
        (Neglect::SessionForEachMessage, HONEST, "an honest message got no answer"),
        (Neglect::OneSession, HONEST, "an honest message got no answer"),
        (
            Neglect::SessionForEachRepeat,
            "one login request sent again and again, to be charged each time",
            "the same login request got another answer",
        ),
        (
            Neglect::SessionForEachRepeat,
            "every message repeated, to have it done twice",
            "a repeated message got another answer than the first",
        ),
        (Neglect::KeepsRefused, "a flood of first messages that are refused", "Some(1) sessions became Some(301)"),
        (
            Neglect::KeepsRefused,
            "a flood of messages of sessions that don't exist",
            "Some(1) sessions became Some(301)",
        ),
        (
            Neglect::KeepsRefusedWithoutRoom,
            "a flood of first messages that are refused",
            "an honest login finds no place any more",
        ),
        (Neglect::IgnoresConflict, "more guesses than the limit, one after the other", over),
        (Neglect::IgnoresConflict, "a name that is taken, registered again", "the name wasn't refused as taken"),
        (
            Neglect::IgnoresConflict,
            "an old session after a change of password elsewhere",
            "in an old session: not refused",
        ),
        (Neglect::IgnoresConflict, "a deleted secret stored again", "storing it again: not refused"),
        (
            Neglect::StandingClock,
            "every attempt of a name spent by a stranger, to lock its owner out",
            "the next window doesn't let its owner in",
        ),
        (Neglect::StandingClock, "a session after its idle time", "the session still answers"),
        (
            Neglect::StandingClock,
            "a change of password, or a deletion of the account, without a recent login",
            "the password was changed without a recent login",
        ),
        (
            Neglect::SendsErrors,
            "bytes that are no message: none, one, noise, too many, of another version",
            "an answer that is no message",
        ),
        (
            Neglect::SendsUnknown,
            "a name without an account told by its answers, their sizes or its attempts",
            "answers differ in kind, size or number",
        ),
        (
            Neglect::SendsLastReply,
            "the server's own frames sent back to it",
            "a reflected frame: answered with a frame",
        ),
        (Neglect::SendsLastReply, "a session after its end", "a request after the log-out: answered with a frame"),
    ] {
        server_is_caught(neglect, MemoryStore::new, name, problem);
    }
}

#[test]
fn careless_stores_are_caught_from_outside() {
    let over = "22 guesses were answered, where 10 are allowed";
    for (shortcut, name, problem) in [
        (Shortcut::ChangeByChange, "half of a batch, beside an ID that is taken", "the half of it: not refused"),
        (Shortcut::ChargesLater, "more guesses than the limit, all at once, none of them finished", over),
        (Shortcut::RefundsAll, "guesses hidden behind honest logins", over),
        (Shortcut::RefundsAll, "a refund taken twice", "19 guesses were answered"),
        (Shortcut::ReadsFromCopy, "two changes of password side by side", "the peer: the login failed"),
        (Shortcut::NoTombstones, "a deleted secret stored again", "storing it again: not refused"),
        (
            Shortcut::AnybodysSecrets,
            "another user's secrets read, deleted and looked up in the trail",
            "an honest message got no answer",
        ),
    ] {
        server_is_caught(Neglect::Careful, || Hasty::new(shortcut), name, problem);
    }
}

/// A fleet's lost race needs two nodes at once: that one is the conformance suite's alone.
#[test]
fn the_stores_that_the_conformance_suite_catches_are_caught_from_outside_but_for_a_race() {
    let half = "half of a batch, beside an ID that is taken";
    for (breakage, name, problem) in [
        (Breakage::LostWrite, HONEST, "the peer: refused: not found"),
        (Breakage::DoubleCharge, "fewer attempts than the limit, to lock a name's owner out sooner", "the limit is"),
        (Breakage::TornBatch, half, "the half of it: not refused"),
        (
            Breakage::IgnoredGuard,
            "an old session after a change of password elsewhere",
            "in an old session: not refused",
        ),
        (Breakage::StaleRead, HONEST, "the peer: the login failed"),
        (
            Breakage::OverwrittenId,
            "a stored secret overwritten by another under its key ID",
            "another record: not refused",
        ),
        (Breakage::LostHead, HONEST, "the peer: the vault was put back to epoch 0"),
        (Breakage::ReplacedHead, "a change under the head of another epoch", "it: not refused"),
    ] {
        server_is_caught(Neglect::Careful, || BrokenStore::new(breakage), name, problem);
    }
}

// --- client programs -----------------------------------------------------------------------------------

#[test]
fn a_careful_client_repels_every_attack() {
    let played = attack_client(IDENTITY, || Device::new(Habit::Careful), chosen);
    assert_eq!(played, Ok(number_of_chosen(Target::Client)));
}

#[test]
fn careless_clients_are_caught() {
    let made = "Generate(Bytes(32)): a new secret was made that nobody asked for";
    let lost = "afterwards: a secret that was made is lost: its pending secret wasn't kept";
    for (habit, name, problem) in [
        (Habit::DropsPin, "a vault put back before the last change, at login", "LogIn"),
        (Habit::DropsPin, "another history than the device has seen", "LogIn"),
        (
            Habit::IgnoresServerKey,
            "another server, which knows the password",
            "a KE3 was sent to a server that hadn't proved itself",
        ),
        (Habit::GeneratesAgain, "server randomness of another length", made),
        (Habit::GeneratesAgain, "\"stored before\", and nothing was", made),
        (Habit::ShowsBeforeThePin, "a vault put back before the last change, at login", "LogIn"),
        (Habit::ShowsBeforeThePin, "\"stored\", and nothing was", "LogIn"),
        (Habit::ForgetsPending, "no answer at all", lost),
        (Habit::ShowsTooEarly, "\"stored before\", and nothing was", "Generate(Bytes(32)): reported as done"),
        (Habit::ShowsWhatIsLeft, "a secret left out of a list", "List: reported as done"),
        (Habit::ShowsWhatIsLeft, "a deleted secret back in a list", "List: reported as done"),
        (Habit::DeletesAnyway, "\"stored\" and \"deleted\" under another key ID", "Delete"),
        (Habit::RegistersAgain, "a vault key that doesn't open", "LogIn"),
        (Habit::NeverGivesUp, "something else in place of a login response", "the program asks without an end"),
    ] {
        let only = |attack: &Attack| attack.name == name;
        let failures = attack_client(IDENTITY, || Device::new(habit), only).unwrap_err();
        assert_is(&failures, name, problem);
    }
}

#[test]
fn a_program_that_offers_little_is_attacked_where_it_can_be() {
    let played = attack_client(IDENTITY, || Little(Device::new(Habit::Careful)), |_| true);
    assert_eq!(played, Ok(number_of(Target::Client) - 4));
}

/// No import, no deletion, no change of password, and nothing pending that would be stored later.
struct Little(Device);

impl ClientProgram for Little {
    fn act(&mut self, act: Act<'_>, wire: &mut Wire<'_>) -> Told {
        match act {
            Act::Import(_) | Act::Delete(_) | Act::ChangePassword(_) | Act::StorePending => Ok(Shown::NotOffered),
            act => self.0.act(act, wire),
        }
    }
}
