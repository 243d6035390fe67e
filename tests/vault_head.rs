//! The vault head with honest servers: what moves it, what doesn't, two devices at once, retries, long chains, and what is
//! left when a vault isn't right any more. (`hostile_vault.rs` and `hostile_rollback.rs` have the dishonest ones.)
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;

use keystow::storage::Change;
use keystow::*;
use support::{PASSWORD, World, client, error, up_to_write, world};

const ONE: [Kind; 1] = [Kind::Bytes(32)];

fn ids(secrets: &[NewSecret]) -> Vec<KeyId> {
    secrets.iter().map(|secret| secret.key_id).collect()
}

fn listed(world: &mut World, session: &mut ClientSession) -> Vec<KeyId> {
    world.list(session).unwrap().unwrap().iter().map(|secret| secret.key_id).collect()
}

/// A person with two devices, each with a session that knows the same head.
fn two_devices(world: &mut World) -> (Client, ClientSession, ClientSession) {
    let (client, one) = world.person("ada");
    let other = world.log_in_with(&client, PASSWORD, Some(one.pin())).unwrap().unwrap();
    (client, one, other)
}

/// Sends messages of an exchange until it ends, and gives how many there were.
fn count<O: client::Operation>(world: &mut World, mut exchange: Exchange<O>) -> (usize, Result<O::Output, Refusal>) {
    for messages in 1.. {
        let answer = world.send(exchange.message()).unwrap();
        if let Some(outcome) = exchange.receive(answer).unwrap() {
            return (messages, outcome);
        }
    }
    panic!("it has no end")
}

#[test]
fn a_new_account_has_a_vault_head_that_registration_pins_and_the_first_login_finds() {
    let mut world = world(1);
    let client = client("ada");
    let registered = world.register(&client, PASSWORD).unwrap().unwrap();
    assert_eq!(registered.pin.epoch(), 0);
    let pinned = world.log_in_with(&client, PASSWORD, Some(registered.pin)).unwrap().unwrap();
    assert_eq!((pinned.pin(), pinned.trust()), (registered.pin, VaultTrust::Pinned));
    let fresh = world.log_in(&client, PASSWORD).unwrap().unwrap();
    assert_eq!((fresh.pin(), fresh.trust()), (registered.pin, VaultTrust::FirstUse));
    assert_eq!(registered.pin.to_string().parse(), Ok(registered.pin));
}

#[test]
fn every_change_moves_the_head_by_one_and_nothing_else_does() {
    let mut world = world(2);
    let (client, mut session) = world.person("ada");
    let epoch = |session: &ClientSession| session.pin().epoch();
    let pending = world.generate(&mut session, &[Kind::Bytes(32), Kind::Ed25519]).unwrap().unwrap();
    assert_eq!(epoch(&session), 0, "generate");
    let stored = ids(&world.store(&mut session, &pending).unwrap().unwrap());
    assert_eq!(epoch(&session), 1, "a batch is one change");
    world.retrieve(&mut session, &stored).unwrap().unwrap();
    assert_eq!(listed(&mut world, &mut session).len(), 2);
    world.audit(&mut session, AuditFilter::default()).unwrap().unwrap();
    world.status(&mut session).unwrap().unwrap();
    assert_eq!(epoch(&session), 1, "reads");
    world.delete(&mut session, &stored[..1]).unwrap().unwrap();
    assert_eq!(epoch(&session), 2, "delete");
    assert_eq!(world.delete(&mut session, &stored[..1]).unwrap(), Err(Refusal::AlreadyDeleted(stored[0])));
    assert_eq!(epoch(&session), 2, "a refusal");
    world.change_password(&mut session, "new").unwrap().unwrap();
    assert_eq!(epoch(&session), 3, "change of password");
    let again = world.log_in_with(&client, "new", Some(session.pin())).unwrap().unwrap();
    assert_eq!(again.pin(), session.pin());
    assert_eq!(world.server.store.heads.len(), 4, "the server keeps every head");
}

/// Item 7: the same transaction, whatever the vault holds.
#[test]
fn a_change_writes_one_head_of_the_same_size_whatever_is_in_the_vault() {
    let mut sizes = vec![];
    for secrets in [0, 256] {
        let mut world = world(3);
        let (_, mut session) = world.person("ada");
        if secrets > 0 {
            let many = world.generate(&mut session, &vec![Kind::Bytes(32); secrets]).unwrap().unwrap();
            world.store(&mut session, &many).unwrap().unwrap();
        }
        let pending = world.generate(&mut session, &ONE).unwrap().unwrap();
        let exchange = session.store(&pending).unwrap();
        let server = world.server.sessions.get_mut(&session.session_id()).unwrap();
        let write = up_to_write(server, &mut world.server.store, exchange.message(), world.now);
        let [Change::StoreSecret { record, .. }, Change::AppendHead { head, epoch, .. }] =
            &write.transaction().changes[..]
        else {
            panic!("{:?}", write.transaction());
        };
        assert_eq!(*epoch, session.pin().epoch() + 1);
        sizes.push((record.as_bytes().len(), head.as_bytes().len()));
    }
    assert_eq!(sizes, [(141, 141), (141, 141)]);
}

#[test]
fn of_two_devices_that_store_at_once_the_loser_takes_the_head_over_and_stores_what_it_had_made() {
    let mut world = world(4);
    let (client, mut one, mut other) = two_devices(&mut world);
    let lost = world.generate(&mut one, &ONE).unwrap().unwrap();
    let won = world.generate(&mut other, &ONE).unwrap().unwrap();
    // Both are on their way when the other's arrives first.
    let exchange = one.store(&lost).unwrap();
    let won = world.store(&mut other, &won).unwrap().unwrap();
    let (messages, stored) = count(&mut world, exchange);
    assert_eq!(messages, 3, "store, heads, store");
    let stored = one.settle(stored.unwrap()).unwrap();
    assert!(!stored[0].already_stored);
    assert_eq!(ids(&stored), lost.key_ids().collect::<Vec<_>>());
    assert_eq!((one.pin().epoch(), other.pin().epoch()), (2, 1));
    let mut all = [ids(&won), ids(&stored)].concat();
    all.sort();
    // The winner's next list takes the loser's head over.
    assert_eq!(listed(&mut world, &mut other), all);
    assert_eq!(other.pin(), one.pin());
    let pin = Some(one.pin());
    let mut third = world.log_in_with(&client, PASSWORD, pin).unwrap().unwrap();
    assert_eq!(listed(&mut world, &mut third), all);
}

#[test]
fn of_two_devices_that_delete_the_same_secret_at_once_one_is_told_that_it_was_deleted() {
    let mut world = world(5);
    let (_, mut one, mut other) = two_devices(&mut world);
    let key_id = world.secret(&mut one, Kind::Bytes(32)).key_id;
    let kept = world.secret(&mut one, Kind::Bytes(32)).key_id;
    let exchange = one.delete(&[key_id]).unwrap();
    world.delete(&mut other, &[key_id]).unwrap().unwrap();
    let (_, deleted) = count(&mut world, exchange);
    assert_eq!(deleted.map(|_| ()), Err(Refusal::AlreadyDeleted(key_id)));
    assert_eq!(listed(&mut world, &mut one), [kept]);
    assert_eq!(listed(&mut world, &mut other), [kept]);
    assert_eq!(one.pin(), other.pin());
}

#[test]
fn a_change_of_password_that_loses_a_race_to_a_store_goes_on_with_the_same_record() {
    let mut world = world(6);
    let (client, mut one, mut other) = two_devices(&mut world);
    let mut exchange = one.change_password("new", &mut world.rng).unwrap();
    let evaluated = world.send(exchange.message()).unwrap();
    assert!(exchange.receive(evaluated).unwrap().is_none());
    let key_id = world.secret(&mut other, Kind::Bytes(32)).key_id;
    let (messages, changed) = count(&mut world, exchange);
    assert_eq!(messages, 3, "finish, heads, finish");
    one.settle(changed.unwrap()).unwrap();
    let mut again = world.log_in_with(&client, "new", Some(other.pin())).unwrap().unwrap();
    assert_eq!(listed(&mut world, &mut again), [key_id]);
    assert_eq!(world.list(&mut other).unwrap(), Err(Refusal::SessionEnded));
}

#[test]
fn a_store_whose_answer_was_lost_is_found_in_the_chain_by_a_new_session_and_not_made_again() {
    for kept_late in [false, true] {
        let mut world = world(7);
        let (client, mut session) = world.person("ada");
        let before = session.pin();
        let pending = world.generate(&mut session, &[Kind::Bytes(32), Kind::Ed25519]).unwrap().unwrap();
        let kept = pending.encode().unwrap();
        world.send(session.store(&pending).unwrap().message()).unwrap();
        drop(session);
        world.server.crash();
        // The device may have kept a pin behind the store, of a login that came in between.
        let mut pin = before;
        if kept_late {
            pin = world.log_in_with(&client, PASSWORD, Some(before)).unwrap().unwrap().pin();
            assert_eq!(pin.epoch(), 1);
        }
        let mut session = world.log_in_with(&client, PASSWORD, Some(pin)).unwrap().unwrap();
        let pending = PendingSecrets::decode(&kept).unwrap();
        let (messages, stored) = {
            let exchange = session.store(&pending).unwrap();
            count(&mut world, exchange)
        };
        let stored = session.settle(stored.unwrap()).unwrap();
        assert_eq!(messages, 2, "heads, store");
        assert!(stored.iter().all(|secret| secret.already_stored));
        assert_eq!(session.pin().epoch(), 1);
        assert_eq!(world.server.store.heads.len(), 2);
        let mut all = ids(&stored);
        all.sort();
        assert_eq!(listed(&mut world, &mut session), all);
    }
}

#[test]
fn pending_secrets_that_wait_while_the_vault_changes_are_stored_once_and_not_over_their_deletion() {
    let mut world = world(8);
    let (_, mut session) = world.person("ada");
    let early = world.generate(&mut session, &ONE).unwrap().unwrap();
    world.secret(&mut session, Kind::Bytes(32));
    let stored = world.store(&mut session, &early).unwrap().unwrap();
    assert!(!stored[0].already_stored);
    assert!(world.store(&mut session, &early).unwrap().unwrap()[0].already_stored);
    world.secret(&mut session, Kind::Bytes(32));
    assert!(world.store(&mut session, &early).unwrap().unwrap()[0].already_stored);
    assert_eq!(session.pin().epoch(), 3);
    assert_eq!(listed(&mut world, &mut session).len(), 3);
    world.delete(&mut session, &ids(&stored)).unwrap().unwrap();
    assert_eq!(world.store(&mut session, &early).unwrap(), Err(Refusal::KeyIdTaken(stored[0].key_id)));
    assert_eq!(listed(&mut world, &mut session).len(), 2);
}

/// Looking first found the store in the chain; the race behind that must not make it forgotten.
#[test]
fn a_store_that_was_found_in_the_chain_and_then_loses_a_race_is_still_not_made_again() {
    let mut world = world(17);
    let (_, mut one, mut other) = two_devices(&mut world);
    let stored = world.generate(&mut one, &ONE).unwrap().unwrap();
    world.store(&mut one, &stored).unwrap().unwrap();
    let mut exchange = one.store(&stored).unwrap();
    let heads = world.send(exchange.message()).unwrap();
    assert!(exchange.receive(heads).unwrap().is_none());
    world.secret(&mut other, Kind::Bytes(32));
    let (messages, again) = count(&mut world, exchange);
    assert_eq!(messages, 3, "store, heads, store");
    assert!(one.settle(again.unwrap()).unwrap()[0].already_stored);
    assert_eq!(listed(&mut world, &mut one).len(), 2);
}

/// Two sessions of one person number their requests alike; what one gave is not the other's to report.
#[test]
fn what_another_session_gave_is_not_settled_here() {
    let mut world = world(18);
    let (_, mut one, mut other) = two_devices(&mut world);
    let pending = world.generate(&mut one, &ONE).unwrap().unwrap();
    let exchange = one.store(&pending).unwrap();
    let stored = world.run(exchange).unwrap().unwrap();
    world.generate(&mut other, &ONE).unwrap().unwrap();
    let pin = other.pin();
    assert_eq!(other.settle(stored).map(drop), Err(CallerFault::WrongSession.into()));
    assert_eq!(other.pin(), pin);
    assert_eq!(listed(&mut world, &mut one).len(), 1);
}

#[test]
fn an_output_that_is_never_settled_costs_the_next_change_a_message_and_nothing_else() {
    let mut world = world(9);
    let (_, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &ONE).unwrap().unwrap();
    let exchange = session.store(&pending).unwrap();
    drop(world.run(exchange).unwrap().unwrap());
    assert_eq!(session.pin().epoch(), 0);
    let pending = world.generate(&mut session, &ONE).unwrap().unwrap();
    let exchange = session.store(&pending).unwrap();
    let (messages, stored) = count(&mut world, exchange);
    assert_eq!(messages, 3);
    session.settle(stored.unwrap()).unwrap();
    assert_eq!(session.pin().epoch(), 2);
    assert_eq!(listed(&mut world, &mut session).len(), 2);
}

/// Of two that went on from one head, the first's change would be missing from what the second takes over.
#[test]
fn an_exchange_with_the_vault_is_not_started_while_another_is_unsettled() {
    let mut world = world(10);
    let (_, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &ONE).unwrap().unwrap();
    let unsettled = Error::from(CallerFault::Unsettled);
    let mut rng = support::rng(1);
    let busy = |session: &mut ClientSession, rng: &mut _| {
        assert_eq!(session.store(&pending).map(drop), Err(unsettled.clone()));
        assert_eq!(session.list().map(drop), Err(unsettled.clone()));
        assert_eq!(session.salvage().map(drop), Err(unsettled.clone()));
        assert_eq!(session.delete(&[KeyId::from_bytes([0; 16])]).map(drop), Err(unsettled.clone()));
        assert_eq!(session.change_password("new", rng).map(drop), Err(unsettled.clone()));
        assert_eq!(session.verify_pin(session.pin()).map(drop), Err(unsettled.clone()));
        assert_eq!(session.delete_account().map(drop), Err(unsettled.clone()));
    };
    // Not while the exchange is there, nor while what it gave is.
    let exchange = session.store(&pending).unwrap();
    busy(&mut session, &mut rng);
    let stored = world.run(exchange).unwrap().unwrap();
    busy(&mut session, &mut rng);
    assert_eq!(
        world.generate(&mut session, &ONE).unwrap().unwrap().kinds().len(),
        1,
        "what leaves the vault alone can"
    );
    session.settle(stored).unwrap();
    // Dropped, an exchange is out of the way, whether it was sent or not; so is one that was refused.
    drop(session.list().unwrap());
    let exchange = session.delete(&[KeyId::from_bytes([0; 16])]).unwrap();
    assert!(matches!(world.run(exchange), Ok(Err(Refusal::NotFound))));
    assert_eq!(listed(&mut world, &mut session).len(), 1);
}

#[test]
fn settled_exchanges_leave_no_gap_in_the_sequence_numbers() {
    let mut world = world(11);
    let (_, mut session) = world.person("ada");
    let sequence = |message: &ClientMessage| match message {
        ClientMessage::Frame(frame) => frame.sequence,
        other => panic!("no frame: {other:?}"),
    };
    for expected in [3, 5, 7] {
        let pending = session.generate(&ONE, &mut world.rng).unwrap();
        assert_eq!(sequence(pending.message()), expected);
        let pending = world.run(pending).unwrap().unwrap();
        world.store(&mut session, &pending).unwrap().unwrap();
    }
    // One that is given up leaves its block.
    drop(session.list().unwrap());
    assert_eq!(sequence(session.status().unwrap().message()), 9 + (1 << 14));
    drop(session.delete(&[KeyId::from_bytes([0; 16])]).unwrap());
    assert_eq!(sequence(session.status().unwrap().message()), 10 + (1 << 14) + (1 << 10));
}

/// More changes than a page of heads holds, between a pin and now.
#[test]
fn a_device_that_was_away_for_many_changes_follows_the_whole_chain() {
    let mut world = world(12);
    let (client, mut session) = world.person("ada");
    let old = session.pin();
    let early = world.generate(&mut session, &ONE).unwrap().unwrap();
    for _ in 0..300 {
        world.secret(&mut session, Kind::Bytes(1));
    }
    let exchange = client.log_in(PASSWORD, Some(old), &mut world.rng).unwrap();
    let (messages, back) = count(&mut world, exchange);
    assert_eq!(messages, 4, "KE1, KE3, two pages of heads");
    let mut back = back.unwrap();
    assert_eq!((back.pin(), back.trust()), (session.pin(), VaultTrust::Pinned));
    let exchange = back.store(&early).unwrap();
    let (messages, stored) = count(&mut world, exchange);
    assert_eq!(messages, 3, "two pages of heads, store");
    back.settle(stored.unwrap()).unwrap();
    assert_eq!(listed(&mut world, &mut back).len(), 301);
    let exchange = session.verify_pin(old).unwrap();
    world.settled(&mut session, exchange).unwrap().unwrap();
    assert_eq!(session.pin(), back.pin(), "comparing pins takes the newer head over");
}

#[test]
fn pins_of_honest_devices_agree_whichever_is_older() {
    let mut world = world(13);
    let (_, mut one, mut other) = two_devices(&mut world);
    world.secret(&mut one, Kind::Bytes(32));
    let (ones, others) = (one.pin(), other.pin());
    let exchange = one.verify_pin(others).unwrap();
    world.settled(&mut one, exchange).unwrap().unwrap();
    assert_eq!(one.pin(), ones);
    let exchange = other.verify_pin(ones).unwrap();
    world.settled(&mut other, exchange).unwrap().unwrap();
    assert_eq!(other.pin(), ones);
}

#[test]
fn another_persons_pin_is_refused() {
    let mut world = world(14);
    let (client, _) = world.person("ada");
    let (_, bob) = world.person("bob");
    let forked = Error::from(VaultFault::Forked { epoch: 0 });
    assert_eq!(error(world.log_in_with(&client, PASSWORD, Some(bob.pin()))), forked);
}

/// A backup that an operator restores: the person is told, accepts it, and goes on; nothing that was made is lost.
#[test]
fn a_restored_backup_can_be_accepted_by_a_login_without_a_pin_and_rebased_pending_secrets() {
    let mut world = world(15);
    let (client, mut session) = world.person("ada");
    let backup = world.server.store.clone();
    world.secret(&mut session, Kind::Bytes(32));
    let pending = world.generate(&mut session, &ONE).unwrap().unwrap();
    world.server.store = backup;
    let rolled_back = Error::from(VaultFault::RolledBack { known: 1, shown: 0 });
    assert_eq!(error(world.log_in_with(&client, PASSWORD, Some(session.pin()))), rolled_back);
    let mut session = world.log_in(&client, PASSWORD).unwrap().unwrap();
    assert_eq!(error(world.store(&mut session, &pending)), rolled_back);
    let pending = session.rebase(&pending).unwrap();
    let stored = world.store(&mut session, &pending).unwrap().unwrap();
    assert_eq!(listed(&mut world, &mut session), ids(&stored));
}

#[test]
fn what_is_left_of_a_vault_that_is_not_right_can_be_salvaged() {
    let mut world = world(16);
    let (_, mut session) = world.person("ada");
    let lost = world.secret(&mut session, Kind::Bytes(32)).key_id;
    let kept = world.secret(&mut session, Kind::Ed25519);
    world.server.store.secrets.remove(&(session.user_id(), lost));
    let count = Error::from(VaultFault::Count { expected: 2, listed: 1 });
    assert_eq!(error(world.list(&mut session)), count);
    let exchange = session.salvage().unwrap();
    let left = world.run(exchange).unwrap().unwrap();
    assert_eq!((left[0].key_id, left[0].public, left.len()), (kept.key_id, kept.public, 1));
    assert_eq!(world.retrieve(&mut session, &[kept.key_id]).unwrap().unwrap().len(), 1);
    assert_eq!(error(world.list(&mut session)), count, "salvaging makes nothing right");
    // One that doesn't open doesn't keep the rest from being saved.
    let damaged = world.secret(&mut session, Kind::Bytes(32)).key_id;
    *world.server.store.secrets.get_mut(&(session.user_id(), damaged)).unwrap().last_mut().unwrap() ^= 1;
    assert_eq!(error(world.list(&mut session)), PeerFault::DamagedSecret { key_id: damaged }.into());
    let exchange = session.salvage().unwrap();
    assert_eq!(world.run(exchange).unwrap().unwrap(), left);
}
