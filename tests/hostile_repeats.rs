//! A malicious server that has changes made again, or claims that they were: nothing is counted twice unnoticed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;
mod vault;

use keystow::operation::{Reply, delete_account, store};
use keystow::testing::hostile;
use keystow::*;
use support::{World, error};
use vault::{Scene, sealed};

fn fault(fault: VaultFault) -> Error {
    fault.into()
}

/// A server that could have a secret counted twice and another taken away twice would have the number right. It can't have the
/// first, and the sum would show both.
#[test]
fn a_store_and_a_deletion_that_are_repeated_at_the_servers_wish_do_not_exchange_secrets() {
    let mut scene = Scene::new(3);
    let user_id = scene.session.user_id();
    let first = scene.stored.key_ids().next().unwrap();
    // A deletion whose answer was lost: the server puts the record back and has it deleted again.
    let deleted = scene.world.server.store.secrets[&(user_id, scene.kept[0])].clone();
    scene.world.delete(&mut scene.session, &[scene.kept[0]]).unwrap().unwrap();
    scene.world.server.store.secrets.insert((user_id, scene.kept[0]), deleted.clone());
    scene.world.delete(&mut scene.session, &[scene.kept[0]]).unwrap().unwrap();
    // A store whose answer was lost: the server forgets the record and has it stored again.
    scene.world.server.store.secrets.remove(&(user_id, first));
    let again = scene.world.store(&mut scene.session, &scene.stored).unwrap().unwrap();
    assert!(again[0].already_stored, "the chain says so, whatever the server says");
    // What would pass if both had counted twice: the deleted one for the stored one. And what is true.
    let truth = scene.world.server.store.clone();
    scene.world.server.store.secrets.insert((user_id, scene.kept[0]), deleted);
    for listed in [Some(first), None] {
        if let Some(first) = listed {
            scene.world.server.store.secrets.remove(&(user_id, first));
        } else {
            scene.world.server.store = truth.clone();
        }
        let told = error(scene.world.list(&mut scene.session));
        assert!(matches!(told, Error::Peer(PeerFault::Vault(VaultFault::Count { .. }))), "{told:?}");
    }
}

/// As above, with secrets whose head a person has given up: they are looked for in the vault itself.
#[test]
fn a_rebased_store_and_a_deletion_that_is_repeated_do_not_exchange_secrets() {
    let mut scene = Scene::new(5);
    let (user_id, gone) = (scene.session.user_id(), scene.kept[0]);
    let deleted = scene.world.server.store.secrets[&(user_id, gone)].clone();
    scene.world.delete(&mut scene.session, &[gone]).unwrap().unwrap();
    scene.world.server.store.secrets.insert((user_id, gone), deleted);
    scene.world.delete(&mut scene.session, &[gone]).unwrap().unwrap();
    let rebased = scene.session.rebase(&scene.stored).unwrap();
    let first = scene.stored.key_ids().next().unwrap();
    scene.world.server.store.secrets.remove(&(user_id, first));
    let told = error(scene.world.store(&mut scene.session, &rebased));
    assert_eq!(told, fault(VaultFault::Digest), "as many as there should be, with the deleted one in the digest");
}

/// Of a batch that is there in part, the whole was there once: it is not counted again.
#[test]
fn a_rebased_batch_that_is_there_in_part_is_not_counted_again() {
    let mut world = support::world(12);
    let (_, mut session) = world.person("ada");
    let batch = world.generate(&mut session, &[Kind::Bytes(32), Kind::Bytes(32)]).unwrap().unwrap();
    let key_ids: Vec<KeyId> = batch.key_ids().collect();
    world.store(&mut session, &batch).unwrap().unwrap();
    world.delete(&mut session, &key_ids[1..]).unwrap().unwrap();
    let rebased = session.rebase(&batch).unwrap();
    // An honest server has the tombstone. One that has dropped it takes the batch, and shows what it shouldn't have.
    assert_eq!(world.store(&mut session, &rebased).unwrap(), Err(Refusal::KeyIdTaken(key_ids[1])));
    assert_eq!(world.list(&mut session).unwrap().unwrap().len(), 1);
    world.server.store.secrets.remove(&(session.user_id(), key_ids[1]));
    world.store(&mut session, &rebased).unwrap().unwrap();
    let brought_back = fault(VaultFault::Count { expected: 1, listed: 2 });
    assert_eq!(error(world.list(&mut session)), brought_back);
    world.server.store.secrets.remove(&(session.user_id(), key_ids[1]));
    assert_eq!(world.list(&mut session).unwrap().unwrap()[0].key_id, key_ids[0]);
}

/// A deletion that is asked for again, of a server that brings the secret back in between, is taken off twice: no list matches
/// any more, whatever else the server has done meanwhile.
#[test]
fn a_secret_that_is_taken_off_twice_matches_no_list_even_if_another_is_counted_twice() {
    let mut world = support::world(13);
    let (_, mut session) = world.person("ada");
    let user_id = session.user_id();
    let ids: Vec<KeyId> = (0..3).map(|_| world.secret(&mut session, Kind::Bytes(32)).key_id).collect();
    let record = world.server.store.secrets[&(user_id, ids[0])].clone();
    world.delete(&mut session, &ids[..1]).unwrap().unwrap();
    world.server.store.secrets.insert((user_id, ids[0]), record.clone());
    world.delete(&mut session, &ids[..1]).unwrap().unwrap();
    // Another is counted twice, as a server that repeats its bytes could have it done to a client that repeats its own.
    let twice = sealed(&world.server.store.secrets[&(user_id, ids[1])]);
    let twice = hostile::pending(&session, vec![twice], Some(session.pin()));
    world.server.store.secrets.remove(&(user_id, ids[1]));
    world.store(&mut session, &twice).unwrap().unwrap();
    let all = [ids[0], ids[1], ids[2]];
    let honest = world.server.store.clone();
    for shown in 0..8 {
        world.server.store = honest.clone();
        for (i, key_id) in all.iter().enumerate() {
            if shown & (1 << i) == 0 {
                world.server.store.secrets.remove(&(user_id, *key_id));
            } else if i == 0 {
                world.server.store.secrets.insert((user_id, *key_id), record.clone());
            }
        }
        let told = error(world.list(&mut session));
        assert!(matches!(told, Error::Peer(PeerFault::Vault(_))), "{shown}: {told:?}");
    }
}

#[test]
fn a_server_that_claims_to_have_what_no_head_took_up_is_not_believed() {
    let mut world = support::world(11);
    let (_, mut session) = world.person("ada");
    let claimed = world.generate(&mut session, &[Kind::Bytes(32)]).unwrap().unwrap();
    let key_ids: Vec<KeyId> = claimed.key_ids().collect();
    let claim = Reply::Store(store::Reply { key_ids, repeated: true });
    // It hasn't, and says so in the list.
    let mut exchange = session.store(&claimed).unwrap();
    let forged = forged(&world, &exchange, &claim);
    assert!(exchange.receive(forged).unwrap().is_none());
    assert_eq!(error(world.run(exchange)), fault(VaultFault::NotStored));
    // It has the record, and lists it: the head doesn't count it.
    let record = [&[1, 0], &postcard::to_allocvec(&sealed_of(&claimed)).unwrap()[..]].concat();
    world.server.store.secrets.insert((session.user_id(), claimed.key_ids().next().unwrap()), record);
    let count = fault(VaultFault::Count { expected: 0, listed: 1 });
    assert_eq!(error(world.store(&mut session, &claimed)), count);
}

/// The vault has one of the two, which is not enough.
#[test]
fn a_server_that_claims_to_have_a_batch_of_which_the_vault_has_a_part_is_not_believed() {
    let mut world = support::world(14);
    let (_, mut session) = world.person("ada");
    let there = world.generate(&mut session, &[Kind::Bytes(32)]).unwrap().unwrap();
    world.store(&mut session, &there).unwrap().unwrap();
    let missing = world.generate(&mut session, &[Kind::Bytes(32)]).unwrap().unwrap();
    let secrets = vec![sealed_of(&there), sealed_of(&missing)];
    let batch = hostile::pending(&session, secrets, Some(session.pin()));
    let claim = Reply::Store(store::Reply { key_ids: batch.key_ids().collect(), repeated: true });
    let mut exchange = session.store(&batch).unwrap();
    let forged = forged(&world, &exchange, &claim);
    assert!(exchange.receive(forged).unwrap().is_none());
    assert_eq!(error(world.run(exchange)), fault(VaultFault::NotStored));
}

/// A claim that the chain bears out is true, whatever became of the secret since.
#[test]
fn a_store_that_is_claimed_and_in_the_chain_is_done_though_another_device_has_deleted_the_secret() {
    let mut world = support::world(15);
    let (client, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &[Kind::Bytes(32)]).unwrap().unwrap();
    let key_ids: Vec<KeyId> = pending.key_ids().collect();
    let lost = session.store(&pending).unwrap();
    world.send(lost.message()).unwrap();
    drop(lost);
    let mut again = session.store(&pending).unwrap();
    let claim = Reply::Store(store::Reply { key_ids: key_ids.clone(), repeated: true });
    let claimed = forged(&world, &again, &claim);
    assert!(again.receive(claimed).unwrap().is_none(), "heads are asked for");
    let mut other = world.log_in(&client, support::PASSWORD).unwrap().unwrap();
    world.delete(&mut other, &key_ids).unwrap().unwrap();
    let stored = world.run(again).unwrap().unwrap();
    assert!(session.settle(stored).unwrap()[0].already_stored);
    assert_eq!(session.pin(), other.pin());
}

#[test]
fn a_rebased_store_is_looked_for_on_every_page_of_the_vault() {
    let mut world = support::world(16);
    let (_, mut session) = world.person("ada");
    for count in [256, 8] {
        let batch = world.generate(&mut session, &vec![Kind::Bytes(1); count]).unwrap().unwrap();
        world.store(&mut session, &batch).unwrap().unwrap();
    }
    let pending = world.generate(&mut session, &[Kind::Bytes(32); 8]).unwrap().unwrap();
    for already_stored in [false, true] {
        let rebased = session.rebase(&pending).unwrap();
        let stored = world.store(&mut session, &rebased).unwrap().unwrap();
        assert!(stored.iter().all(|secret| secret.already_stored == already_stored));
        assert_eq!(world.list(&mut session).unwrap().unwrap().len(), 256 + 8 + 8);
    }
}

/// What salvages a vault asks for no heads, which may be what is broken.
#[test]
fn a_salvage_that_is_told_that_the_head_has_moved_goes_on_without_the_heads() {
    let mut world = support::world(18);
    let (_, mut session) = world.person("ada");
    let secret = world.secret(&mut session, Kind::Ed25519);
    world.server.store.heads.clear();
    let mut exchange = session.salvage().unwrap();
    let moved = forged(&world, &exchange, &Reply::Refused(Refusal::HeadMoved));
    assert!(exchange.receive(moved).unwrap().is_none());
    let salvaged = world.run(exchange).unwrap().unwrap();
    assert_eq!(salvaged.iter().map(|listed| listed.key_id).collect::<Vec<_>>(), [secret.key_id]);
}

#[test]
fn a_log_out_is_done_only_when_the_server_says_so() {
    let mut world = support::world(17);
    let (_, session) = world.person("ada");
    let session_id = session.session_id();
    let state = |world: &World| format!("{:?}", world.server.sessions[&session_id]);
    assert!(state(&world).contains("\"open\""), "{}", state(&world));
    let mut exchange = session.log_out().unwrap();
    let forged = forged(&world, &exchange, &Reply::DeleteAccount(delete_account::Reply { done: true }));
    assert_eq!(exchange.receive(forged).map(|_| ()), Err(PeerFault::OutOfOrder.into()));
    let honest = world.send(exchange.message()).unwrap();
    assert_eq!(exchange.receive(honest), Ok(Some(Ok(()))));
    assert!(state(&world).contains("\"ended\""), "{}", state(&world));
}

/// Any reply to an exchange's request.
fn forged<O: client::Operation>(world: &World, exchange: &Exchange<O>, reply: &Reply) -> ServerMessage {
    let ClientMessage::Frame(Frame { session_id, sequence, .. }) = exchange.message() else { panic!("no frame") };
    hostile::reply(&world.server.sessions[session_id], *session_id, *sequence, reply).unwrap()
}

/// The one secret of pending ones.
fn sealed_of(pending: &PendingSecrets) -> SealedSecret {
    let bytes = pending.encode().unwrap();
    let (mut secrets, _, _): (Vec<SealedSecret>, Option<VaultPin>, [u8; 32]) =
        postcard::from_bytes(&bytes[1..]).unwrap();
    secrets.remove(0)
}
