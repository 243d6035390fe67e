//! Delete account: everything of it goes, in pages, after a recent login; a crash only pauses it; the name is free.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod hostile;
mod support;

use core::time::Duration;

use hostile::{ended, fault, forge};
use keystow::operation::delete_account::{self, Deleted};
use keystow::operation::{Reply, status};
use keystow::storage::Action;
use keystow::testing::MemoryStore;
use keystow::*;
use support::{PASSWORD, World, client, error, world};

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A person with so many stored secrets of a byte each.
fn person(world: &mut World, count: usize) -> (Client, ClientSession, Vec<KeyId>) {
    let (client, mut session) = world.person("ada");
    let mut key_ids = Vec::new();
    for batch in vec![Kind::Bytes(1); count].chunks(MAX_BATCH) {
        let pending = world.generate(&mut session, batch).unwrap().unwrap();
        key_ids.extend(world.store(&mut session, &pending).unwrap().unwrap().iter().map(|secret| secret.key_id));
    }
    key_ids.sort();
    (client, session, key_ids)
}

/// Deletes the account of one with secrets on a single page.
fn delete_all(world: &mut World, session: &mut ClientSession) {
    assert_eq!(world.delete_account(session).unwrap(), Ok(Deleted::Page));
    assert_eq!(world.delete_account(session).unwrap(), Ok(Deleted::All));
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
    assert_eq!(world.delete_account(&mut session).unwrap(), Ok(Deleted::Page), "at five minutes sharp");
}

#[test]
fn six_hundred_secrets_go_in_three_pages_and_the_account_with_a_fourth_request() {
    let mut world = world(2);
    let (_, mut session, _) = person(&mut world, 600);
    for left in [344, 88, 0] {
        assert_eq!(world.delete_account(&mut session).unwrap(), Ok(Deleted::Page));
        assert_eq!((world.server.store.secrets.len(), world.server.store.accounts.len()), (left, 1));
    }
    let is_page = |entry: &&AuditEntry| entry.action() == Action::DeleteAccount && entry.granted();
    assert_eq!(world.server.store.audit.values().filter(is_page).count(), 3);
    let counters = world.server.store.attempts.clone();
    assert_eq!(world.delete_account(&mut session).unwrap(), Ok(Deleted::All));
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
    assert_eq!(world.delete_account(&mut session).unwrap(), Ok(Deleted::Page));
    world.server.crash();
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
    assert_eq!(world.list(&mut session, None, 256).unwrap().unwrap().secrets, []);
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
    assert_eq!(world.delete_account(&mut session).unwrap(), Ok(Deleted::All), "without secrets, at once");
    assert_eq!(counted(&world), 3);
    world.register(&client, PASSWORD).unwrap().unwrap();
    assert_eq!(counted(&world), 3, "registering again doesn't reset it");
}

/// The account is gone, however late the repeat: "log in again" would be advice that nobody can follow.
#[test]
fn a_last_step_that_is_repeated_when_the_login_is_no_longer_recent_is_done_all_the_same() {
    let mut world = world(31);
    let (_, mut session, _) = person(&mut world, 0);
    world.pass(4 * MINUTE);
    world.status(&mut session).unwrap().unwrap();
    world.pass(MINUTE);
    let mut exchange = session.delete_account().unwrap();
    world.applied_but_unknown(exchange.message());
    let after = world.server.store.clone();
    world.now = world.now.after(MILLISECOND);
    let reply = world.send(exchange.message()).unwrap();
    assert_eq!(exchange.receive(reply).unwrap(), Some(Ok(Deleted::All)));
    assert_eq!(world.server.store, after);
}

#[test]
fn a_last_step_whose_outcome_was_lost_is_done_when_it_is_repeated() {
    let mut world = world(7);
    let (_, mut session, _) = person(&mut world, 1);
    assert_eq!(world.delete_account(&mut session).unwrap(), Ok(Deleted::Page));
    let mut exchange = session.delete_account().unwrap();
    world.applied_but_unknown(exchange.message());
    // Meanwhile somebody else has taken the name.
    let new = client("ada");
    world.register(&new, "somebody else's").unwrap().unwrap();
    let after = world.server.store.clone();
    let reply = world.send(exchange.message()).unwrap();
    assert_eq!(ended(exchange.receive(reply)), Ok(Deleted::All));
    assert_eq!(world.server.store, after, "the new account is not touched");
    assert!(world.log_in(&new, "somebody else's").unwrap().is_ok());
}

#[test]
fn a_secret_that_is_stored_between_the_last_steps_read_and_its_write_goes_too() {
    let mut world = world(11);
    let (client, mut session, _) = person(&mut world, 0);
    let mut other = world.log_in(&client, PASSWORD).unwrap().unwrap();
    let before = world.server.store.clone();
    world.secret(&mut other, Kind::Ed25519);
    let stored = std::mem::replace(&mut world.server.store, before);
    let mut exchange = session.delete_account().unwrap();
    let reply = world.interrupted(exchange.message(), |store| *store = stored);
    assert_eq!(ended(exchange.receive(reply)), Ok(Deleted::All));
    assert_eq!(world.server.store, only_attempts(&world.server.store));
}

#[test]
fn a_page_whose_outcome_was_lost_is_not_followed_by_another_under_the_same_request() {
    let mut world = world(8);
    let (_, mut session, _) = person(&mut world, 300);
    let mut exchange = session.delete_account().unwrap();
    world.applied_but_unknown(exchange.message());
    let after = world.server.store.clone();
    assert_eq!(after.secrets.len(), 44);
    let reply = world.send(exchange.message()).unwrap();
    assert_eq!(ended(exchange.receive(reply)), Ok(Deleted::Page));
    assert_eq!(world.server.store, after);
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
    assert_eq!(world.delete_account(&mut third).unwrap(), Ok(Deleted::All), "what it wanted is so");
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
    assert_eq!(ended(exchange.receive(all)), Ok(Deleted::All));
}
