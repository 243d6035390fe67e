//! Attempts: each is charged, durably, before its KE2 leaves; a login that proves the password gets its own charge back
//! and no other; a name without an account is counted, limited and answered like any other (rules 6 to 8 and 23;
//! `attempts/unknown.rs`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;
#[path = "attempts/unknown.rs"]
mod unknown;

use core::time::Duration;

use keystow::operation::log_in::LogIn;
use keystow::storage::{Action, Attempts, Change, Outcome, Transaction};
use keystow::testing::{MemoryStore, Store};
use keystow::*;
use sha2::{Digest, Sha256};
use support::{NOW, PASSWORD, World, client, error, up_to_write, world, world_with};

const WRONG: &str = "a wrong password";
const LIMIT: u32 = 3;

fn limited(seed: u64) -> World {
    world_with(seed, MemoryStore::new(), ServerPolicy { attempt_limit: LIMIT, ..ServerPolicy::default() })
}

/// The counter's key, as the protocol page defines it.
fn counter(name: &str) -> CounterId {
    CounterId::from_bytes(Sha256::new().chain_update("keystow v1 attempts").chain_update(name).finalize().into())
}

fn attempts(world: &World, name: &str) -> Attempts {
    world.server.store.attempts[&counter(name)]
}

/// What a name's counter says: charged in the window, and charged since the last granted login.
fn counts(world: &World, name: &str) -> (u32, u32) {
    let Attempts { count, unseen, .. } = attempts(world, name);
    (count, unseen)
}

/// A guess that stops at KE2: the client sees there that the password was wrong.
fn guess(world: &mut World, name: &str) -> ServerMessage {
    let exchange = client(name).log_in(WRONG, None, &mut world.rng).unwrap();
    world.send(exchange.message()).unwrap()
}

fn is_ke2(message: &ServerMessage) -> bool {
    matches!(message, ServerMessage::LoginResponse { .. })
}

fn refused_until(message: &ServerMessage) -> Timestamp {
    match message {
        ServerMessage::Refused { refusal: Refusal::TryAgainAt(time), .. } => *time,
        other => panic!("no refusal: {other:?}"),
    }
}

/// A login whose KE3 is ready to be sent.
fn before_ke3(world: &mut World, client: &Client) -> Exchange<LogIn> {
    let mut exchange = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let ke2 = world.send(exchange.message()).unwrap();
    assert!(exchange.receive(ke2).unwrap().is_none());
    exchange
}

/// Guesses that have all read, while none has written.
fn side_by_side<'s>(world: &mut World, sessions: &'s mut [ServerSession]) -> Vec<Write<'s>> {
    let guess = |session: &'s mut ServerSession| {
        let request = client("ada").log_in(WRONG, None, &mut world.rng).unwrap().message().clone();
        up_to_write(session, &mut world.server.store, &request, NOW)
    };
    sessions.iter_mut().map(guess).collect()
}

/// What the granted logins' audit entries say was spent, in order of time.
fn reported(world: &World) -> Vec<u32> {
    let spent = |action| match action {
        Action::LogIn { attempts_spent } => Some(attempts_spent),
        _ => None,
    };
    let mut entries: Vec<_> = world.server.store.audit.values().collect();
    entries.sort_by_key(|entry| entry.at());
    entries.iter().filter_map(|entry| spent(entry.action())).collect()
}

#[test]
fn the_charge_is_in_the_store_before_there_is_a_reply() {
    let mut world = world(1);
    let (client, _) = world.person("ada");
    let before = attempts(&world, "ada");
    assert!(before.window_ends > NOW && before.window_ends <= NOW.after(Duration::from_secs(15 * 60)));
    let request = client.log_in(PASSWORD, None, &mut world.rng).unwrap().message().clone();
    let mut session = world.server.server.accept(&mut world.rng);

    let write = up_to_write(&mut session, &mut world.server.store, &request, NOW);
    let charge = Change::ChargeAttempt { counter: counter("ada"), window_ends: before.window_ends, limit: 10 };
    let expected = Transaction { advance: None, guards: vec![], changes: vec![charge], audit: None, otherwise: None };
    assert_eq!(write.transaction(), &expected);
    drop(write);
    assert_eq!((session.expires(), attempts(&world, "ada")), (None, before), "without the write nothing has happened");

    let write = up_to_write(&mut session, &mut world.server.store, &request, NOW);
    let outcome = world.server.store.apply(write.transaction()).unwrap();
    assert_eq!(attempts(&world, "ada"), Attempts { count: 1, unseen: 1, ..before });
    assert!(is_ke2(&write.settle(outcome).unwrap()));
}

#[test]
fn a_right_password_gives_back_its_own_charge_and_leaves_the_count() {
    let mut world = world(2);
    let (client, _) = world.person("ada");
    for spent in 1..=3 {
        assert!(is_ke2(&guess(&mut world, "ada")));
        assert_eq!(counts(&world, "ada"), (spent, spent), "a guess that stops at KE2 stays charged");
    }
    for _ in 0..2 {
        world.log_in(&client, PASSWORD).unwrap().unwrap();
        assert_eq!(counts(&world, "ada"), (3, 0));
    }
}

#[test]
fn a_granted_login_reports_what_was_spent_since_the_last_one() {
    let mut world = world(3);
    let (client, _) = world.person("ada");
    for guesses in [2, 0, 3] {
        world.pass(Duration::from_secs(1));
        for _ in 0..guesses {
            guess(&mut world, "ada");
        }
        world.log_in(&client, PASSWORD).unwrap().unwrap();
    }
    assert_eq!(reported(&world), [0, 2, 0, 3]);
}

#[test]
fn a_wrong_ke3_writes_nothing_and_leaves_the_charge_and_the_session() {
    let mut world = world(4);
    let (client, _) = world.person("ada");
    let exchange = before_ke3(&mut world, &client);
    let ClientMessage::LoginFinish { session_id, ke3 } = exchange.message().clone() else { panic!("no KE3") };
    let before = world.server.store.clone();
    assert_eq!(counts(&world, "ada"), (1, 1));
    for byte in 0..64 {
        let mut garbled = *ke3.as_bytes();
        garbled[byte] ^= 1;
        let ke3 = Box::new(OpaqueMessage::from_bytes(garbled));
        let wrong = ClientMessage::LoginFinish { session_id, ke3 };
        assert_eq!(error(world.send(&wrong)), PeerFault::WrongKe3.into());
        assert_eq!(world.server.store, before);
    }
    assert!(world.run(exchange).unwrap().is_ok(), "the right KE3 is still taken");
    assert_eq!(counts(&world, "ada"), (0, 0));
}

#[test]
fn a_repeated_ke3_gives_back_one_charge_once() {
    let mut world = world(5);
    let (client, _) = world.person("ada");
    guess(&mut world, "ada");
    guess(&mut world, "ada");
    let exchange = before_ke3(&mut world, &client);
    // The write is applied, its outcome gets lost, and the message comes again: the audit entry tells.
    let session = world.server.sessions.get_mut(&exchange.message().session_id().unwrap()).unwrap();
    let write = up_to_write(session, &mut world.server.store, exchange.message(), NOW);
    assert_eq!(world.server.store.apply(write.transaction()), Ok(Outcome::Applied));
    drop(write);
    let write = up_to_write(session, &mut world.server.store, exchange.message(), NOW);
    assert_eq!(world.server.store.apply(write.transaction()), Ok(Outcome::Repeated));
    let welcome = write.settle(Outcome::Repeated).unwrap();
    assert_eq!(world.send(exchange.message()), Ok(welcome), "and once more, from the session");
    assert_eq!(counts(&world, "ada"), (2, 0));
    assert!(world.run(exchange).unwrap().is_ok());
}

#[test]
fn the_limit_holds_for_one_window_alike_for_known_and_unknown_names() {
    let mut world = limited(6);
    let (client, _) = world.person("ada");
    for name in ["ada", "eve"] {
        world.now = NOW;
        for spent in 1..=LIMIT {
            assert!(is_ke2(&guess(&mut world, name)));
            assert_eq!(counts(&world, name), (spent, spent));
        }
        let window_ends = attempts(&world, name).window_ends;
        let before = world.server.store.clone();
        for millis in [NOW.as_millis(), window_ends.as_millis() - 1] {
            world.now = Timestamp::from_millis(millis);
            assert_eq!(refused_until(&guess(&mut world, name)), window_ends);
        }
        assert_eq!(world.server.store, before, "a refused attempt is not counted");
        world.now = window_ends;
        assert!(is_ke2(&guess(&mut world, name)), "the time that was named is the time that opens");
        let next = window_ends.after(Duration::from_secs(15 * 60));
        assert_eq!(attempts(&world, name), Attempts { window_ends: next, count: 1, unseen: LIMIT + 1 });
    }
    // The right password is refused with the rest, and not for ever.
    world.now = attempts(&world, "ada").window_ends;
    (0..LIMIT).for_each(|_| drop(guess(&mut world, "ada")));
    let window_ends = attempts(&world, "ada").window_ends;
    let refusal = Refusal::TryAgainAt(window_ends);
    assert_eq!(error(world.log_in(&client, PASSWORD)), PeerFault::Refused(refusal).into());
    world.now = window_ends;
    assert!(world.log_in(&client, PASSWORD).unwrap().is_ok());
}

#[test]
fn guesses_made_side_by_side_are_charged_one_by_one() {
    let mut world = limited(7);
    let (_, _) = world.person("ada");
    let mut sessions: Vec<_> = (0..LIMIT + 2).map(|_| world.server.server.accept(&mut world.rng)).collect();
    let writes = side_by_side(&mut world, &mut sessions);
    assert_eq!(counts(&world, "ada"), (0, 0), "all have read, none has written");
    let window_ends = attempts(&world, "ada").window_ends;
    for (number, write) in (1..).zip(writes) {
        let outcome = world.server.store.apply(write.transaction()).unwrap();
        let reply = write.settle(outcome).unwrap();
        match number <= LIMIT {
            true => assert!(is_ke2(&reply)),
            false => assert_eq!(refused_until(&reply), window_ends),
        }
        assert_eq!(counts(&world, "ada"), (number.min(LIMIT), number.min(LIMIT)));
    }
}

#[test]
fn of_two_that_race_for_the_last_attempt_one_gets_ke2() {
    for in_order in [true, false] {
        let mut world = limited(8);
        (1..LIMIT).for_each(|_| drop(guess(&mut world, "ada")));
        let mut sessions = [(); 2].map(|()| world.server.server.accept(&mut world.rng));
        let mut writes = side_by_side(&mut world, &mut sessions);
        if !in_order {
            writes.reverse();
        }
        let settle = |write: Write<'_>| {
            let outcome = world.server.store.apply(write.transaction()).unwrap();
            write.settle(outcome).unwrap()
        };
        let replies: Vec<_> = writes.into_iter().map(settle).collect();
        assert_eq!(replies.iter().map(is_ke2).collect::<Vec<_>>(), [true, false]);
        assert_eq!(refused_until(&replies[1]), attempts(&world, "ada").window_ends);
        assert_eq!(counts(&world, "ada"), (LIMIT, LIMIT));
    }
}

#[test]
fn a_charge_of_the_last_window_is_not_given_back_to_this_one() {
    let mut world = world(9);
    let (client, _) = world.person("ada");
    let window_ends = attempts(&world, "ada").window_ends;
    world.now = Timestamp::from_millis(window_ends.as_millis() - 1);
    let exchange = before_ke3(&mut world, &client);
    world.now = window_ends;
    guess(&mut world, "ada");
    assert_eq!(counts(&world, "ada"), (1, 2));
    assert!(world.run(exchange).unwrap().is_ok());
    assert_eq!(counts(&world, "ada"), (1, 1), "the guess stays counted, and is reported to the next login");
}

#[test]
fn counters_can_be_purged_once_their_window_has_ended_and_no_sooner() {
    let mut world = limited(10);
    let (client, _) = world.person("ada");
    (0..LIMIT).for_each(|_| drop(guess(&mut world, "ada")));
    let window_ends = attempts(&world, "ada").window_ends;
    world.now = Timestamp::from_millis(window_ends.as_millis() - 1);
    world.server.store.purge(world.now);
    assert_eq!(refused_until(&guess(&mut world, "ada")), window_ends);
    world.now = window_ends;
    world.server.store.purge(world.now);
    assert_eq!(world.server.store.attempts.len(), 0, "unknown names don't fill the store");
    world.log_in(&client, PASSWORD).unwrap().unwrap();
    assert_eq!(reported(&world), [0, 0], "as far back as the counter was kept");
}

#[test]
fn registering_resets_no_counter() {
    let mut world = world(11);
    (0..3).for_each(|_| drop(guess(&mut world, "ada")));
    world.register(&client("ada"), PASSWORD).unwrap().unwrap();
    assert_eq!(counts(&world, "ada"), (3, 3), "a name is counted before it has an account");
    let taken = PeerFault::Refused(Refusal::NameTaken);
    assert_eq!(error(world.register(&client("ada"), PASSWORD)), taken.into());
    assert_eq!(counts(&world, "ada"), (3, 3));
    world.log_in(&client("ada"), PASSWORD).unwrap().unwrap();
    assert_eq!((reported(&world), counts(&world, "ada")), (vec![3], (3, 0)));
}

#[test]
fn a_repeated_login_request_is_charged_once_while_its_session_lives() {
    let mut world = world(12);
    let request = client("ada").log_in(PASSWORD, None, &mut world.rng).unwrap().message().clone();
    let ke2 = world.send(&request).unwrap();
    assert_eq!(world.send(&request), Ok(ke2));
    assert_eq!(counts(&world, "ada"), (1, 1));
    world.server.crash();
    world.send(&request).unwrap();
    assert_eq!(counts(&world, "ada"), (2, 2), "a new session charges anew");
}

#[test]
fn what_is_no_ke1_is_neither_read_for_nor_charged() {
    let mut world = world(13);
    let (client, _) = world.person("ada");
    let before = world.server.store.clone();
    let ke1 = Box::new(OpaqueMessage::from_bytes([0; 96]));
    let garbage =
        ClientMessage::LoginRequest { account: client.account().clone(), profile: KsfProfile::CHEAP_FOR_TESTS, ke1 };
    let sessions = world.server.sessions.len();
    assert_eq!(error(world.send(&garbage)), PeerFault::InvalidElement.into());
    assert_eq!((world.server.store, world.server.sessions.len()), (before, sessions));
}
