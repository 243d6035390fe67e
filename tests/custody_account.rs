//! Delete account: everything of it goes, in pages, after a recent login; a crash only pauses it; the name is free.
//! (`account/last_step.rs`: what may happen to the last step.)
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod holdings;
mod hostile;
#[path = "account/last_step.rs"]
mod last_step;
mod support;

use core::time::Duration;

use holdings::{counted, person, request, step};
use hostile::{ended, fault, forge, frame};
use keystow::operation::delete_account::{self, DeleteAccount};
use keystow::operation::{Reply, Request, status};
use keystow::storage::Action;
use keystow::testing::MemoryStore;
use keystow::*;
use support::{PASSWORD, World, client, error, world};

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Deletes the account of one with secrets on a single page.
fn delete_all(world: &mut World, session: &mut ClientSession) {
    let mut exchange = session.delete_account().unwrap();
    assert_eq!(counted(world, &mut exchange), (Ok(()), 2));
}

/// The epoch of the head that closes the vault, if this step is the one that has it.
fn head_of(world: &World, exchange: &Exchange<DeleteAccount>) -> Option<u64> {
    let Request::DeleteAccount(asked) = request(world, exchange) else { panic!("another request") };
    asked.head.map(|head| head.epoch())
}

/// A store with nothing but these counters, and the user IDs that are never used again.
fn only_attempts(store: &MemoryStore) -> MemoryStore {
    MemoryStore { attempts: store.attempts.clone(), gone: store.gone.clone(), ..MemoryStore::new() }
}

#[test]
fn it_takes_a_login_of_at_most_five_minutes_ago() {
    let mut world = world(1);
    let (_, mut session, _) = person(&mut world, 1);
    world.pass(4 * MINUTE);
    world.status(&mut session).unwrap().unwrap();
    world.pass(MINUTE + MILLISECOND);
    let before = world.server.store.clone();
    assert_eq!(world.delete_account(&mut session).unwrap(), Err(Refusal::LoginTooOld));
    assert_eq!(world.server.store, before);
    assert!(world.status(&mut session).unwrap().is_ok(), "the session goes on");
    world.now = Timestamp::from_millis(world.now.as_millis() - 1);
    assert_eq!(world.delete_account(&mut session).unwrap(), Ok(()), "at five minutes sharp");
}

#[test]
fn a_login_that_grows_too_old_half_way_pauses_the_deletion_and_a_new_one_goes_on() {
    let mut world = world(15);
    let (client, mut session, _) = person(&mut world, 300);
    world.pass(4 * MINUTE);
    let mut exchange = session.delete_account().unwrap();
    assert_eq!(step(&mut world, &mut exchange), None);
    world.pass(MINUTE + MILLISECOND);
    let before = world.server.store.clone();
    assert_eq!(step(&mut world, &mut exchange), Some(Err(Refusal::LoginTooOld)));
    assert_eq!((&world.server.store, before.secrets.len()), (&before, 44));
    let mut later = world.log_in(&client, PASSWORD).unwrap().unwrap();
    delete_all(&mut world, &mut later);
    assert_eq!(world.server.store, only_attempts(&world.server.store));
}

#[test]
fn six_hundred_secrets_go_in_three_pages_and_the_account_with_a_fourth_request() {
    let mut world = world(2);
    let (_, mut session, _) = person(&mut world, 600);
    assert_eq!(world.server.store.heads.len(), 4, "registration, three stores");
    let mut exchange = session.delete_account().unwrap();
    for left in [344, 88, 0] {
        assert_eq!(step(&mut world, &mut exchange), None);
        assert_eq!((world.server.store.secrets.len(), world.server.store.accounts.len()), (left, 1));
        assert_eq!(world.server.store.heads.len(), 5, "the first closed the vault");
    }
    let is_page = |entry: &&AuditEntry| entry.action() == Action::DeleteAccount && entry.granted();
    assert_eq!(world.server.store.audit.values().filter(is_page).count(), 3);
    let counters = world.server.store.attempts.clone();
    assert_eq!(step(&mut world, &mut exchange), Some(Ok(())));
    assert_eq!(world.server.store, only_attempts(&world.server.store), "the attempt counter, and that the ID was used");
    assert_eq!((&world.server.store.attempts, counters.len()), (&counters, 1));
    assert!(world.server.store.gone.iter().eq([&session.user_id()]));
    assert_eq!(error(world.status(&mut session)), PeerFault::OutOfOrder.into(), "the session is over");
}

#[test]
fn tombstones_go_too_and_another_users_data_stays() {
    let mut world = world(3);
    let (_, mut bob) = world.person("bob");
    let kept = world.secret(&mut bob, Kind::Ed25519);
    let before = world.server.store.clone();
    let (_, mut session, key_ids) = person(&mut world, 3);
    world.delete(&mut session, &key_ids).unwrap().unwrap();
    delete_all(&mut world, &mut session);
    let attempts = world.server.store.attempts.clone();
    let gone = [session.user_id()].into();
    assert_eq!(world.server.store, MemoryStore { attempts, gone, ..before });
    assert_eq!(world.retrieve(&mut bob, &[kept.key_id]).unwrap().unwrap().len(), 1);
}

#[test]
fn after_a_crash_half_way_a_new_login_finds_what_is_left_and_goes_on() {
    let mut world = world(4);
    let (client, mut session, key_ids) = person(&mut world, 300);
    let mut exchange = session.delete_account().unwrap();
    assert_eq!(step(&mut world, &mut exchange), None);
    world.server.crash();
    assert_eq!(error(world.run(exchange)), PeerFault::OutOfOrder.into());
    assert_eq!(error(world.delete_account(&mut session)), PeerFault::OutOfOrder.into());
    let mut later = world.log_in(&client, PASSWORD).unwrap().unwrap();
    assert_eq!(world.retrieve(&mut later, &key_ids[256..]).unwrap().unwrap().len(), 44);
    assert_eq!(world.retrieve(&mut later, &key_ids[..1]).unwrap().unwrap_err(), Refusal::NotFound);
    delete_all(&mut world, &mut later);
    assert_eq!(world.server.store, only_attempts(&world.server.store));
}

#[test]
fn the_name_is_free_for_somebody_else_who_gets_nothing_of_the_old_account() {
    let mut world = world(5);
    let (old, mut session, key_ids) = person(&mut world, 1);
    let user_id = session.user_id();
    delete_all(&mut world, &mut session);
    assert_eq!(error(world.log_in(&old, PASSWORD)), PeerFault::LoginFailed.into());

    world.pass(MINUTE);
    let registered_at = world.now;
    let new = client("ada");
    world.register(&new, "somebody else's").unwrap().unwrap();
    assert_eq!(error(world.log_in(&old, PASSWORD)), PeerFault::LoginFailed.into());
    let mut session = world.log_in(&new, "somebody else's").unwrap().unwrap();
    assert_ne!(session.user_id(), user_id);
    assert_eq!(world.list(&mut session).unwrap().unwrap(), []);
    assert_eq!(world.retrieve(&mut session, &key_ids).unwrap().unwrap_err(), Refusal::NotFound);
    assert_eq!(world.delete(&mut session, &key_ids).unwrap(), Err(Refusal::NotFound));
    let trail = world.audit(&mut session, AuditFilter::default()).unwrap().unwrap().entries;
    assert!(trail.iter().all(|entry| entry.at() >= registered_at && entry.user_id() == session.user_id()));
    assert_eq!(trail.len(), 5, "register, log in, list, retrieve, delete");
}

#[test]
fn rule_6_the_attempt_counter_outlives_the_account() {
    let mut world = world(6);
    let (client, _, _) = person(&mut world, 0);
    for _ in 0..3 {
        assert_eq!(error(world.log_in(&client, "a wrong password")), PeerFault::LoginFailed.into());
    }
    // Granted before the guesses were made, so that they are not yet reported.
    let counted = |world: &World| world.server.store.attempts.values().next().unwrap().count;
    let mut session = world.log_in(&client, PASSWORD).unwrap().unwrap();
    assert_eq!(counted(&world), 3);
    let mut exchange = session.delete_account().unwrap();
    assert_eq!(step(&mut world, &mut exchange), Some(Ok(())), "without secrets, at once");
    assert_eq!(counted(&world), 3);
    world.register(&client, PASSWORD).unwrap().unwrap();
    assert_eq!(counted(&world), 3, "registering again doesn't reset it");
}

#[test]
fn another_device_is_told_that_its_session_ended_and_a_login_under_way_is_refused() {
    let mut world = world(9);
    let (client, mut session, key_ids) = person(&mut world, 1);
    let mut other = world.log_in(&client, PASSWORD).unwrap().unwrap();
    let mut third = world.log_in(&client, PASSWORD).unwrap().unwrap();
    let mut login = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let ke2 = world.send(login.message()).unwrap();
    assert!(login.receive(ke2).unwrap().is_none());
    delete_all(&mut world, &mut session);
    let after = world.server.store.clone();

    assert_eq!(world.retrieve(&mut other, &key_ids).unwrap().unwrap_err(), Refusal::SessionEnded);
    assert_eq!(error(world.status(&mut other)), PeerFault::OutOfOrder.into());
    let answer = world.send(login.message()).unwrap();
    assert_eq!(ended(login.receive(answer)).map(drop), Err(Refusal::SessionEnded));
    assert_eq!(world.delete_account(&mut third).unwrap(), Ok(()), "what it wanted is so");
    assert_eq!(world.server.store, after);
}

#[test]
fn a_login_that_has_yet_to_ask_for_the_heads_is_refused_too() {
    let mut world = world(12);
    let (client, mut session, _) = person(&mut world, 1);
    let mut login = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    for _ in 0..2 {
        assert!(step(&mut world, &mut login).is_none());
    }
    delete_all(&mut world, &mut session);
    let after = world.server.store.clone();
    assert_eq!(step(&mut world, &mut login).unwrap().map(drop), Err(Refusal::SessionEnded));
    assert_eq!(world.server.store, after);
}

#[test]
fn only_the_reply_to_this_request_counts_as_deleted() {
    let mut world = world(10);
    let (_, mut session, _) = person(&mut world, 1);
    let mut exchange = session.delete_account().unwrap();
    let other = Reply::Status(status::Reply { lifetime: 0, idle: 0, recent: 0 });
    let forged = forge(&world, &exchange, &other);
    assert_eq!(fault(exchange.receive(forged)), PeerFault::OutOfOrder.into());
    let all = forge(&world, &exchange, &Reply::DeleteAccount(delete_account::Reply { done: true }));
    assert_eq!(ended(exchange.receive(all)), Ok(()));
}

// --- half-way ------------------------------------------------------------------------------------------

/// Deletes the first 256 secrets, and closes the vault with that.
fn half_delete(world: &mut World, session: &mut ClientSession) {
    let mut exchange = session.delete_account().unwrap();
    assert_eq!(step(world, &mut exchange), None);
}

/// The next sequence number of the session. One is spent on asking.
fn next_sequence(session: &mut ClientSession) -> u64 {
    frame(&session.status().unwrap()).sequence
}

#[test]
fn a_closed_vault_refuses_every_change_and_list_before_anything_is_drawn_or_sent_and_can_be_read_and_deleted() {
    let mut world = world(13);
    let (client, mut session, key_ids) = person(&mut world, 300);
    let pending = world.generate(&mut session, &[Kind::Ed25519]).unwrap().unwrap();
    let before = session.pin();
    half_delete(&mut world, &mut session);
    world.server.crash();
    let closed = Error::from(CallerFault::VaultClosed);
    let first = world.log_in(&client, PASSWORD).unwrap().unwrap();
    assert_eq!(first.pin().epoch(), before.epoch() + 1);
    for pin in [None, Some(before), Some(first.pin())] {
        let mut later = world.log_in_with(&client, PASSWORD, pin).unwrap().unwrap();
        assert_eq!(later.trust(), if pin.is_some() { VaultTrust::Pinned } else { VaultTrust::FirstUse });
        assert_eq!(later.pin(), first.pin());
        let (after, mut rng, sequence) = (world.server.store.clone(), world.rng.clone(), next_sequence(&mut later));
        let own = vec![PlainSecret::bytes([7]).unwrap()];
        assert_eq!(later.generate(&[Kind::Ed25519], &mut rng).map(drop), Err(closed.clone()));
        assert_eq!(later.import(own, &mut rng).map(drop), Err(closed.clone()));
        assert_eq!(later.store(&pending).map(drop), Err(closed.clone()));
        assert_eq!(later.list().map(drop), Err(closed.clone()));
        assert_eq!(later.delete(&key_ids[299..]).map(drop), Err(closed.clone()));
        assert_eq!(later.change_password("another", &mut rng).map(drop), Err(closed.clone()));
        assert_eq!((&rng, next_sequence(&mut later)), (&world.rng, sequence + 1));

        let verified = later.verify_pin(before).unwrap();
        assert_eq!(world.settled(&mut later, verified).unwrap(), Ok(()));
        assert_eq!(world.server.store, after);
        assert_eq!(world.retrieve(&mut later, &key_ids[256..]).unwrap().unwrap().len(), 44);
        let trail = world.audit(&mut later, AuditFilter::default()).unwrap().unwrap().entries;
        assert_eq!(trail.iter().filter(|entry| entry.action() == Action::DeleteAccount).count(), 1);
    }
    let mut later = world.log_in_with(&client, PASSWORD, Some(before)).unwrap().unwrap();
    let mut exchange = later.delete_account().unwrap();
    for outcome in [None, Some(Ok(()))] {
        assert_eq!(head_of(&world, &exchange), None);
        assert_eq!(step(&mut world, &mut exchange), outcome);
    }
    assert_eq!(world.server.store, only_attempts(&world.server.store));
}

/// The chain shows that the store was made; the closed head behind it says that nothing is stored any more.
#[test]
fn a_secret_that_was_stored_before_does_not_come_back_into_a_closed_vault() {
    let mut world = world(15);
    let (client, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &[Kind::Bytes(32)]).unwrap().unwrap();
    world.store(&mut session, &pending).unwrap().unwrap();
    let mut other = world.log_in(&client, PASSWORD).unwrap().unwrap();
    half_delete(&mut world, &mut session);
    let after = world.server.store.clone();
    assert_eq!(error(world.store(&mut other, &pending)), CallerFault::VaultClosed.into());
    assert_eq!(world.server.store, after);
    assert!(after.secrets.is_empty());
}

/// Its session was opened before, and hasn't seen the last head.
#[test]
fn another_device_that_knows_an_older_head_is_told_that_the_vault_is_closed_and_can_go_on_with_the_deletion() {
    let mut world = world(14);
    let (client, mut session, key_ids) = person(&mut world, 300);
    let mut other = world.log_in(&client, PASSWORD).unwrap().unwrap();
    let pending = world.generate(&mut other, &[Kind::Ed25519]).unwrap().unwrap();
    half_delete(&mut world, &mut session);
    let closed = Error::from(CallerFault::VaultClosed);
    let (after, pin) = (world.server.store.clone(), other.pin());
    // The session that began it has not taken the head over either: it gave the deletion up.
    for session in [&mut other, &mut session] {
        assert_eq!(error(world.store(session, &pending)), closed);
        assert_eq!(error(world.list(session)), closed);
        assert_eq!(error(world.delete(session, &key_ids[299..])), closed);
        assert_eq!(error(world.change_password(session, "another")), closed);
        let fresh = world.generate(session, &[Kind::Ed25519]).unwrap().unwrap();
        assert_eq!(error(world.store(session, &fresh)), closed);
        assert_eq!(session.pin(), pin);
    }
    let said: Vec<_> = world.server.store.audit.extract_if(.., |key, _| !after.audit.contains_key(key)).collect();
    let mut said: Vec<_> = said.iter().map(|(_, entry)| (entry.action(), entry.granted())).collect();
    said.sort_by_key(|said| format!("{said:?}"));
    // Nothing was refused: a head that has moved is a reason to look, and leaves no entry.
    assert_eq!(said, [(Action::List, true), (Action::List, true)]);
    assert_eq!(world.server.store, after);

    let mut exchange = other.delete_account().unwrap();
    // The head has moved; the heads; the other 44 under one more closed head; the account.
    assert_eq!(counted(&mut world, &mut exchange), (Ok(()), 4));
    assert_eq!(world.server.store, only_attempts(&world.server.store));
    assert_eq!(error(world.delete_account(&mut other)), PeerFault::OutOfOrder.into(), "the session is over");
    assert_eq!(world.delete_account(&mut session).unwrap(), Ok(()), "what it wanted is so");
}
