//! The last step of a deletion, and what may happen to it: another device's store between its read and its write, an outcome
//! that is lost.

use keystow::operation::{Reply, Request, store};
use keystow::*;

use super::holdings::{counted, person, step};
use super::hostile::{ask, blank_head, ended, read_reply, sealed};
use super::support::{PASSWORD, client, world};
use super::{MILLISECOND, MINUTE, head_of, only_attempts};

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
    assert_eq!(exchange.receive(reply).unwrap(), Some(Ok(())));
    assert_eq!(world.server.store, after);
}

#[test]
fn a_last_step_whose_outcome_was_lost_is_done_when_it_is_repeated() {
    let mut world = world(7);
    let (_, mut session, _) = person(&mut world, 1);
    let mut exchange = session.delete_account().unwrap();
    assert_eq!(step(&mut world, &mut exchange), None);
    world.applied_but_unknown(exchange.message());
    // Meanwhile somebody else has taken the name.
    let new = client("ada");
    world.register(&new, "somebody else's").unwrap().unwrap();
    let after = world.server.store.clone();
    let reply = world.send(exchange.message()).unwrap();
    assert_eq!(ended(exchange.receive(reply)), Ok(()));
    assert_eq!(world.server.store, after, "the new account is not touched");
    assert!(world.log_in(&new, "somebody else's").unwrap().is_ok());
}

/// The vault is empty when it is read: the request that closes it would delete the account at once.
#[test]
fn a_secret_that_is_stored_between_the_read_and_the_write_of_a_step_with_a_head_is_not_deleted_unseen() {
    let mut world = world(11);
    let (client, mut session, _) = person(&mut world, 0);
    let mut other = world.log_in(&client, PASSWORD).unwrap().unwrap();
    let before = world.server.store.clone();
    world.secret(&mut other, Kind::Ed25519);
    let stored = std::mem::replace(&mut world.server.store, before);
    let mut exchange = session.delete_account().unwrap();
    assert_eq!(head_of(&world, &exchange), Some(1));
    let refused = world.interrupted(exchange.message(), |store| store.clone_from(&stored));
    assert_eq!(read_reply(&world, &refused), Reply::Refused(Refusal::HeadMoved));
    assert_eq!(world.server.store, stored, "nothing is gone, nothing is in the trail");
    assert!(exchange.receive(refused).unwrap().is_none());
    // The heads; the secret, under a closed head behind the other's; the account.
    assert!(step(&mut world, &mut exchange).is_none());
    assert_eq!(head_of(&world, &exchange), Some(2));
    assert_eq!(counted(&mut world, &mut exchange), (Ok(()), 2));
    assert_eq!(world.server.store, only_attempts(&world.server.store));
}

/// The vault is closed by then: only a device that doesn't keep to the protocol stores anything behind that head.
#[test]
fn a_secret_that_is_stored_between_the_last_steps_read_and_its_write_goes_too() {
    let mut world = world(32);
    let (client, mut session, _) = person(&mut world, 1);
    let mut other = world.log_in(&client, PASSWORD).unwrap().unwrap();
    let pending = world.generate(&mut other, &[Kind::Ed25519]).unwrap().unwrap();
    let mut exchange = session.delete_account().unwrap();
    assert_eq!(step(&mut world, &mut exchange), None);
    let before = world.server.store.clone();
    let late = Request::Store(store::Request { secrets: sealed(&pending).into(), head: blank_head(3) });
    assert!(matches!(ask(&mut world, &mut other, &late), Reply::Store(store::Reply { repeated: false, .. })));
    let stored = std::mem::replace(&mut world.server.store, before);
    assert_eq!((stored.secrets.len(), stored.heads.len()), (1, 4));
    assert_eq!(head_of(&world, &exchange), None);
    let reply = world.interrupted(exchange.message(), |store| *store = stored);
    assert_eq!(ended(exchange.receive(reply)), Ok(()));
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
    assert_eq!(exchange.receive(reply).unwrap(), None);
    assert_eq!(world.server.store, after);
    assert_eq!(counted(&mut world, &mut exchange), (Ok(()), 2), "the other 44, and the account");
}
