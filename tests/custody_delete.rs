//! Delete: a tombstone in a secret's place, all or none of a batch, once, for good.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod holdings;
mod hostile;
mod support;

use holdings::{ids, request, settled};
use hostile::{ask, blank_head, ended, fault, forge, frame, read_reply, sealed, tombstone};
use keystow::operation::{Reply, Request, delete, heads, status, store};
use keystow::storage::Action;
use keystow::*;
use support::{PASSWORD, World, world};

const KINDS: [Kind; 3] = [Kind::Bytes(32), Kind::Secp256k1, Kind::Ed25519];
const MISSING: KeyId = KeyId::from_bytes([0x5a; 16]);

/// A person with a stored secret of each kind, what was pending, and the key IDs.
fn person(world: &mut World, account: &str) -> (Client, ClientSession, PendingSecrets, Vec<KeyId>) {
    let (client, mut session) = world.person(account);
    let pending = world.generate(&mut session, &KINDS).unwrap().unwrap();
    world.store(&mut session, &pending).unwrap().unwrap();
    let key_ids = pending.key_ids().collect();
    (client, session, pending, key_ids)
}

fn listed(world: &mut World, session: &mut ClientSession) -> Vec<KeyId> {
    ids(&world.list(session).unwrap().unwrap())
}

/// The delete entries of the store: which secrets, and whether it was granted. In order of time and sequence.
fn entries(world: &World) -> Vec<(Vec<KeyId>, bool)> {
    let mut entries: Vec<_> = world.server.store.audit.values().collect();
    entries.retain(|entry| entry.action() == Action::Delete);
    entries.sort_by_key(|entry| entry.place());
    entries.iter().map(|entry| (entry.key_ids().to_vec(), entry.granted())).collect()
}

#[test]
fn a_deleted_secret_leaves_a_tombstone_alone_and_is_neither_retrieved_nor_listed() {
    let mut world = world(1);
    let (_, mut session, _, key_ids) = person(&mut world, "ada");
    let mut expected = world.server.store.secrets.clone();
    let exchange = session.delete(&key_ids[1..2]).unwrap();
    let sequence = u8::try_from(frame(&exchange).sequence).unwrap();
    world.settled(&mut session, exchange).unwrap().unwrap();
    expected.insert((session.user_id(), key_ids[1]), tombstone(session.session_id(), sequence));
    assert_eq!(world.server.store.secrets, expected, "the others are there byte for byte");
    assert_eq!(entries(&world), [(vec![key_ids[1]], true)]);
    assert_eq!(world.retrieve(&mut session, &key_ids[1..2]).unwrap().unwrap_err(), Refusal::NotFound);
    assert_eq!(world.retrieve(&mut session, &key_ids).unwrap().unwrap_err(), Refusal::NotFound);
    let mut left = vec![key_ids[0], key_ids[2]];
    assert_eq!(world.retrieve(&mut session, &left).unwrap().unwrap().len(), 2);
    left.sort();
    assert_eq!(listed(&mut world, &mut session), left);
}

#[test]
fn a_batch_of_256_is_deleted_at_once() {
    let mut world = world(2);
    let (_, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &[Kind::Bytes(1); 256]).unwrap().unwrap();
    world.store(&mut session, &pending).unwrap().unwrap();
    let key_ids: Vec<_> = pending.key_ids().collect();
    world.delete(&mut session, &key_ids).unwrap().unwrap();
    assert_eq!(listed(&mut world, &mut session), []);
    assert_eq!(world.server.store.secrets.len(), 256);
    assert_eq!(entries(&world), [(key_ids, true)]);
}

#[test]
fn one_secret_that_is_not_there_keeps_the_whole_batch() {
    let mut world = world(3);
    let (_, mut session, _, own) = person(&mut world, "ada");
    let (_, _, _, others) = person(&mut world, "bob");
    world.delete(&mut session, &own[2..]).unwrap().unwrap();
    let already = Refusal::AlreadyDeleted(own[2]);
    for (batch, refusal) in [
        (vec![own[0], MISSING], Refusal::NotFound),
        (vec![MISSING, own[0]], Refusal::NotFound),
        (vec![own[0], others[0], own[1]], Refusal::NotFound),
        (vec![own[0], own[1], own[2]], already),
        (vec![own[2], own[0]], already),
        (vec![own[2]], already),
    ] {
        let before = world.server.store.clone();
        assert_eq!(world.delete(&mut session, &batch).unwrap(), Err(refusal));
        let entry = entries(&world).pop().unwrap();
        assert_eq!(entry, (batch, false));
        let mut after = world.server.store.clone();
        assert_eq!(after.audit.len(), before.audit.len() + 1);
        after.audit = before.audit.clone();
        assert_eq!(after, before, "the entry alone was written");
    }
    assert_eq!(listed(&mut world, &mut session).len(), 2);
}

#[test]
fn a_missing_secret_and_somebody_elses_look_alike() {
    let mut world = world(4);
    let (_, mut session, _, _) = person(&mut world, "ada");
    let (_, mut bob, _, others) = person(&mut world, "bob");
    let mut answer = |world: &mut World, key_id| {
        let mut exchange = session.delete(&[key_id]).unwrap();
        let before = world.server.store.audit.len();
        let reply = world.send(exchange.message()).unwrap();
        let len = reply.encode().unwrap().len();
        (ended(exchange.receive(reply)).map(drop), len, world.server.store.audit.len() - before)
    };
    let refused = (Err(Refusal::NotFound), 1);
    let first = answer(&mut world, MISSING);
    assert_eq!((first.0, first.2), refused);
    // A refused delete leaves its block of numbers behind: from the second on they are all as long to write.
    let missing = answer(&mut world, MISSING);
    assert_eq!((missing.0, missing.2), refused);
    assert_eq!(answer(&mut world, others[0]), missing);
    world.delete(&mut bob, &others[..1]).unwrap().unwrap();
    assert_eq!(answer(&mut world, others[0]), missing, "deleted by its owner, too");
    assert_eq!(listed(&mut world, &mut bob).len(), 2);
}

#[test]
fn a_second_delete_says_so_in_every_session_and_leaves_the_first_ones_tombstone() {
    let mut world = world(5);
    let (client, mut session, _, key_ids) = person(&mut world, "ada");
    world.delete(&mut session, &key_ids[..1]).unwrap().unwrap();
    let secrets = world.server.store.secrets.clone();
    let already = Err(Refusal::AlreadyDeleted(key_ids[0]));
    assert_eq!(world.delete(&mut session, &key_ids[..1]).unwrap(), already);
    world.server.crash();
    let mut later = world.log_in(&client, PASSWORD).unwrap().unwrap();
    assert_eq!(world.delete(&mut later, &key_ids[..1]).unwrap(), already);
    assert_eq!(world.server.store.secrets, secrets);
}

#[test]
fn rule_22_a_late_retry_of_the_pending_secrets_stores_nothing() {
    let mut world = world(6);
    let (client, mut session, pending, key_ids) = person(&mut world, "ada");
    let alone = world.generate(&mut session, &[Kind::Ed25519]).unwrap().unwrap();
    let alone_id = world.store(&mut session, &alone).unwrap().unwrap()[0].key_id;
    world.delete(&mut session, &[key_ids[1], alone_id]).unwrap().unwrap();
    let (secrets, heads) = (world.server.store.secrets.clone(), world.server.store.heads.clone());
    let taken = Refusal::KeyIdTaken(key_ids[1]);
    assert_eq!(world.store(&mut session, &alone).unwrap(), Err(Refusal::KeyIdTaken(alone_id)));
    assert_eq!(world.store(&mut session, &pending).unwrap(), Err(taken));
    let mut later = world.log_in(&client, PASSWORD).unwrap().unwrap();
    assert_eq!(world.store(&mut later, &pending).unwrap(), Err(taken));
    // What was made together stays together in honest hands: one of a batch by itself, or among others.
    let fresh = world.generate(&mut later, &[Kind::Ed25519]).unwrap().unwrap();
    let gone = sealed(&pending).remove(1);
    let mixed = vec![sealed(&fresh).remove(0), gone.clone()];
    for secrets in [vec![gone], mixed] {
        let by_hand = hostile::pending(&later, &secrets, later.pin());
        assert_eq!(world.store(&mut later, &by_hand).unwrap(), Err(taken), "nor anything of its batch");
        let honest = later.store(&fresh).unwrap();
        let Request::Store(store::Request { head, .. }) = request(&world, &honest) else { panic!("no store") };
        let request = Request::Store(store::Request { secrets: secrets.into(), head });
        assert_eq!(ask(&mut world, &mut later, &request), Reply::Refused(taken), "under the right head too");
    }
    assert_eq!((&world.server.store.secrets, &world.server.store.heads), (&secrets, &heads));
    let mut left = vec![key_ids[0], key_ids[2]];
    left.sort();
    assert_eq!(listed(&mut world, &mut later), left);
}

#[test]
fn a_delete_whose_outcome_was_lost_is_done_once_and_its_repeat_succeeds() {
    let mut world = world(7);
    let (_, mut session, _, key_ids) = person(&mut world, "ada");
    let mut exchange = session.delete(&key_ids).unwrap();
    world.applied_but_unknown(exchange.message());
    let after = world.server.store.clone();
    assert_eq!(entries(&world), [(key_ids.clone(), true)]);
    for _ in 0..2 {
        world.applied_but_unknown(exchange.message());
    }
    world.pass(core::time::Duration::from_secs(60));
    let reply = world.send(exchange.message()).unwrap();
    assert_eq!(world.send(exchange.message()), Ok(reply.clone()));
    assert_eq!(settled(&mut session, exchange.receive(reply)), Ok(()));
    assert_eq!(world.server.store, after);
}

#[test]
fn the_loser_of_a_race_between_read_and_write_is_told_and_deletes_nothing() {
    let mut world = world(8);
    let (client, mut session, _, key_ids) = person(&mut world, "ada");
    let mut other = world.log_in(&client, PASSWORD).unwrap().unwrap();
    let before = world.server.store.clone();
    world.delete(&mut other, &key_ids[1..2]).unwrap().unwrap();
    let won = std::mem::replace(&mut world.server.store, before);

    let mut exchange = session.delete(&key_ids).unwrap();
    let reply = world.interrupted(exchange.message(), |store| *store = won.clone());
    assert_eq!(settled(&mut session, exchange.receive(reply)), Err(Refusal::AlreadyDeleted(key_ids[1])));
    assert_eq!(world.server.store.secrets, won.secrets, "the winner's tombstone, and the others live");
    let mut refused: Vec<_> =
        world.server.store.audit.iter().filter(|(key, _)| !won.audit.contains_key(&key[..])).collect();
    let (_, entry) = refused.pop().unwrap();
    assert_eq!((entry.action(), entry.granted(), entry.key_ids()), (Action::Delete, false, &key_ids[..]));
    assert_eq!((refused.len(), entry.session_id()), (0, session.session_id()));
}

#[test]
fn the_loser_of_a_race_for_the_head_alone_goes_on_from_the_winners_and_deletes() {
    let mut world = world(11);
    let (client, mut session, _, key_ids) = person(&mut world, "ada");
    let mut other = world.log_in(&client, PASSWORD).unwrap().unwrap();
    let before = world.server.store.clone();
    world.delete(&mut other, &key_ids[1..2]).unwrap().unwrap();
    let won = std::mem::replace(&mut world.server.store, before);
    world.pass(core::time::Duration::from_millis(1));

    let mut exchange = session.delete(&key_ids[..1]).unwrap();
    let reply = world.interrupted(exchange.message(), |store| *store = won.clone());
    assert_eq!(read_reply(&world, &reply), Reply::Refused(Refusal::HeadMoved));
    assert_eq!((&world.server.store.secrets, &world.server.store.heads), (&won.secrets, &won.heads));
    assert!(exchange.receive(reply).unwrap().is_none());
    assert_eq!(request(&world, &exchange), Request::Heads(heads::Request { from: Some(1) }));
    assert_eq!(world.settled(&mut session, exchange).unwrap(), Ok(()));
    assert_eq!(session.pin().epoch(), other.pin().epoch() + 1);
    let deleted = |id: usize| vec![key_ids[id]];
    assert_eq!(entries(&world), [(deleted(1), true), (deleted(0), true)], "nothing was refused");
    for session in [&mut session, &mut other] {
        assert_eq!(listed(&mut world, session), key_ids[2..]);
    }
}

#[test]
fn rule_1_a_delete_is_done_only_when_the_server_names_exactly_the_same_key_ids() {
    let mut world = world(9);
    let (_, mut session, _, own) = person(&mut world, "ada");
    let mut exchange = session.delete(&own[..2]).unwrap();
    let reversed = vec![own[1], own[0]];
    for key_ids in [vec![], own[..1].to_vec(), own.clone(), reversed, vec![own[0], own[2]], vec![own[0], MISSING]] {
        let forged = forge(&world, &exchange, &Reply::Delete(delete::Reply { key_ids }));
        assert_eq!(fault(exchange.receive(forged)), PeerFault::Mismatch("key ID").into());
    }
    let other = Reply::Status(status::Reply { lifetime: 0, idle: 0, recent: 0 });
    let forged = forge(&world, &exchange, &other);
    assert_eq!(fault(exchange.receive(forged)), PeerFault::OutOfOrder.into());
    let honest = world.send(exchange.message()).unwrap();
    assert_eq!(settled(&mut session, exchange.receive(honest)), Ok(()));
}

#[test]
fn a_batch_of_nothing_too_much_or_something_twice_is_refused_on_both_sides() {
    let mut world = world(10);
    let (_, mut session, _, own) = person(&mut world, "ada");
    let before = world.server.store.clone();
    let many: Vec<_> = (0..=u8::MAX).map(|byte| KeyId::from_bytes([byte; 16])).chain([own[0]]).collect();
    for (key_ids, fault) in [
        (vec![], CallerFault::BatchLength { len: 0, max: 256 }),
        (many, CallerFault::BatchLength { len: 257, max: 256 }),
        (vec![own[0], own[1], own[0]], CallerFault::Duplicate),
    ] {
        assert_eq!(session.delete(&key_ids).map(drop), Err(fault.into()));
        let request = Request::Delete(delete::Request { key_ids, head: blank_head(2) });
        assert_eq!(ask(&mut world, &mut session, &request), Reply::Refused(Refusal::Denied));
    }
    assert_eq!(world.server.store, before);
}
