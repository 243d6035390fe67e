//! A malicious server that holds the session's keys: it answers with other records, other IDs, other replies (rules 1,
//! 2, 3, 11 and, for replies, 14). Everything it says is sealed as it should be; only the contents lie.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod hostile;
mod support;

use hostile::{at, ended, fault, forge, frame, read_reply, relabelled, rewrite, sealed};
use keystow::operation::{Reply, generate, heads, retrieve, store};
use keystow::*;
use support::World;

const KINDS: [Kind; 3] = [Kind::Bytes(32), Kind::Secp256k1, Kind::Ed25519];

/// A person with one stored secret of each kind.
fn person(world: &mut World, account: &str) -> (ClientSession, Vec<SealedSecret>) {
    let (_, mut session) = world.person(account);
    let pending = world.generate(&mut session, &KINDS).unwrap().unwrap();
    world.store(&mut session, &pending).unwrap().unwrap();
    (session, sealed(&pending))
}

fn ids(secrets: &[SealedSecret]) -> Vec<KeyId> {
    secrets.iter().map(|secret| secret.header.key_id()).collect()
}

fn retrieved(secrets: &[SealedSecret]) -> Reply {
    Reply::Retrieve(retrieve::Reply { secrets: secrets.to_vec() })
}

fn damaged(key_id: KeyId) -> Error {
    PeerFault::DamagedSecret { key_id }.into()
}

/// What the client says to a forged answer. The error has changed nothing: the honest answer is still taken.
fn answered(world: &mut World, session: &mut ClientSession, asked: &[KeyId], with: &[SealedSecret]) -> Error {
    let mut exchange = session.retrieve(asked).unwrap();
    let error = fault(exchange.receive(forge(world, &exchange, &retrieved(with))));
    let honest = world.send(exchange.message()).unwrap();
    match read_reply(world, &honest) {
        Reply::Refused(refusal) => assert_eq!(ended(exchange.receive(honest)).unwrap_err(), refusal),
        _ => assert_eq!(ended(exchange.receive(honest)).unwrap().len(), asked.len()),
    }
    error
}

#[test]
fn rule_1_another_secret_is_not_taken_for_the_one_that_was_asked_for() {
    let mut world = support::world(1);
    let (mut session, secrets) = person(&mut world, "ada");
    for (i, asked) in secrets.iter().enumerate() {
        let asked = asked.header.key_id();
        for other in secrets.iter().enumerate().filter_map(|(j, secret)| (j != i).then_some(secret)) {
            let with = std::slice::from_ref(other);
            assert_eq!(answered(&mut world, &mut session, &[asked], with), damaged(asked));
        }
    }
}

#[test]
fn rule_1_reordered_secrets_are_refused_though_each_of_them_was_asked_for() {
    let mut world = support::world(2);
    let (mut session, secrets) = person(&mut world, "ada");
    let asked = ids(&secrets);
    let reordered = [secrets[0].clone(), secrets[2].clone(), secrets[1].clone()];
    assert_eq!(answered(&mut world, &mut session, &asked, &reordered), damaged(asked[1]));
}

#[test]
fn rule_1_fewer_or_more_secrets_than_were_asked_for_are_refused() {
    let mut world = support::world(3);
    let (mut session, secrets) = person(&mut world, "ada");
    let mismatch = Error::from(PeerFault::Mismatch("number of secrets"));
    let asked = ids(&secrets);
    for with in [&secrets[..2], &[], &[&secrets[..], &secrets[..1]].concat()] {
        assert_eq!(answered(&mut world, &mut session, &asked, with), mismatch);
    }
    assert_eq!(answered(&mut world, &mut session, &asked[..2], &secrets), mismatch);
}

#[test]
fn rule_1_no_header_but_the_secrets_own_goes_with_a_ciphertext() {
    let mut world = support::world(4);
    let (mut session, secrets) = person(&mut world, "ada");
    // The server rewrites a header in every byte that can be rewritten, the binder among them, ciphertext untouched.
    for secret in &secrets {
        let (asked, bytes) = (secret.header.key_id(), secret.header.to_bytes());
        let mut tried = 0;
        for header in hostile::flipped(&bytes).step_by(8).filter_map(|bytes| Header::from_bytes(&bytes).ok()) {
            let with = [SealedSecret { header: header.clone(), ..secret.clone() }];
            assert_eq!(answered(&mut world, &mut session, &[asked], &with), damaged(asked), "under its own ID");
            let forged = header.key_id();
            assert_eq!(answered(&mut world, &mut session, &[forged], &with), damaged(forged), "under the forged ID");
            tried += 1;
        }
        assert!(tried > 32 + 32 + 16, "server random, binder and user ID at the least: {tried}");
    }
}

#[test]
fn rule_1_a_garbled_ciphertext_is_refused_in_every_bit_and_length() {
    let mut world = support::world(5);
    let (mut session, secrets) = person(&mut world, "ada");
    for SealedSecret { header, ciphertext } in &secrets {
        let key_id = header.key_id();
        let cut = hostile::truncated(ciphertext);
        let longer = [[&ciphertext[..], &[0]].concat()];
        for ciphertext in hostile::flipped(ciphertext).chain(cut).chain(longer) {
            let with = [SealedSecret { header: header.clone(), ciphertext }];
            let mut exchange = session.retrieve(&[key_id]).unwrap();
            let forged = forge(&world, &exchange, &retrieved(&with));
            assert_eq!(fault(exchange.receive(forged)), damaged(key_id));
        }
    }
}

#[test]
fn rule_1_a_store_is_done_only_when_the_server_names_exactly_the_clients_own_key_ids() {
    let mut world = support::world(6);
    let (mut session, secrets) = person(&mut world, "ada");
    let pending = world.generate(&mut session, &KINDS).unwrap().unwrap();
    let own: Vec<_> = pending.key_ids().collect();
    let mut exchange = session.store(&pending).unwrap();
    let reversed: Vec<_> = own.iter().rev().copied().collect();
    let one_other = vec![own[0], own[1], ids(&secrets)[2]];
    for key_ids in [vec![], own[..2].to_vec(), [&own[..], &own[..1]].concat(), reversed, one_other] {
        let reply = Reply::Store(store::Reply { key_ids, repeated: false });
        let forged = forge(&world, &exchange, &reply);
        assert_eq!(fault(exchange.receive(forged)), PeerFault::Mismatch("key ID").into());
    }
    let honest = world.send(exchange.message()).unwrap();
    let stored = session.settle(ended(exchange.receive(honest)).unwrap()).unwrap();
    assert_eq!(stored.iter().map(|secret| secret.key_id).collect::<Vec<_>>(), own);
}

#[test]
fn rule_2_another_users_record_is_refused_under_its_own_id_too() {
    let mut world = support::world(7);
    let (mut ada, own) = person(&mut world, "ada");
    let (_, others) = person(&mut world, "bob");
    for (own, other) in own.iter().zip(&others) {
        let with = std::slice::from_ref(other);
        for asked in [own.header.key_id(), other.header.key_id()] {
            assert_eq!(answered(&mut world, &mut ada, &[asked], with), damaged(asked));
        }
        // Bob's record, claimed to be Ada's.
        let header = rewrite(&other.header, |bytes| {
            bytes[at::USER_ID..at::KIND].copy_from_slice(ada.user_id().as_bytes());
        });
        let asked = header.key_id();
        let with = [SealedSecret { header, ..other.clone() }];
        assert_eq!(answered(&mut world, &mut ada, &[asked], &with), damaged(asked));
    }
}

#[test]
fn rule_2_the_client_stores_no_secret_of_another_user() {
    let mut world = support::world(8);
    let (_, mut ada) = world.person("ada");
    let (_, mut bob) = world.person("bob");
    let pending = world.generate(&mut bob, &KINDS).unwrap().unwrap();
    let error = ada.store(&pending).map(|_| ()).unwrap_err();
    assert_eq!(error, CallerFault::WrongUser { pending: bob.user_id() }.into());
    // Relabelled as Ada's, it doesn't open.
    let mut secret = sealed(&pending).remove(0);
    secret.header = rewrite(&secret.header, |bytes| {
        bytes[at::USER_ID..at::KIND].copy_from_slice(ada.user_id().as_bytes());
    });
    let relabelled = hostile::pending(&ada, &[secret], ada.pin());
    assert_eq!(ada.store(&relabelled).map(|_| ()).unwrap_err(), CallerFault::DamagedPending.into());
}

#[test]
fn rule_3_a_substituted_public_component_never_reaches_the_caller() {
    let mut world = support::world(9);
    let (mut session, secrets) = person(&mut world, "ada");
    // The server's own keys, valid points of each kind, put into the headers of the person's secrets.
    let (_, attackers) = person(&mut world, "mallory");
    for (own, attacker) in secrets.iter().zip(&attackers).skip(1) {
        let public = attacker.header.public().unwrap().as_bytes();
        let header = rewrite(&own.header, |bytes| bytes[at::PUBLIC..][..public.len()].copy_from_slice(public));
        assert_eq!(header.public(), attacker.header.public());
        let with = [SealedSecret { header: header.clone(), ..own.clone() }];
        for asked in [own.header.key_id(), header.key_id()] {
            assert_eq!(answered(&mut world, &mut session, &[asked], &with), damaged(asked));
        }
    }
}

#[test]
fn rule_11_a_damaged_or_missing_secret_is_an_error_and_nothing_is_made_in_its_place() {
    let mut world = support::world(10);
    let (mut session, secrets) = person(&mut world, "ada");
    let mut damaged_secret = secrets[1].clone();
    damaged_secret.ciphertext[0] ^= 1;
    let key_id = damaged_secret.header.key_id();
    let user_id = session.user_id();
    world.server.store.secrets.insert((user_id, key_id), hostile::record(&damaged_secret));
    let before = world.server.store.secrets.clone();

    let error = support::error(world.retrieve(&mut session, &[key_id]));
    assert_eq!(error, damaged(key_id));
    assert_eq!(world.server.store.secrets, before);

    world.server.store.secrets.remove(&(user_id, key_id));
    assert_eq!(world.retrieve(&mut session, &[key_id]).unwrap().unwrap_err(), Refusal::NotFound);
    assert_eq!(world.server.store.secrets.len(), before.len() - 1);
}

#[test]
fn rule_14_a_reply_of_another_operation_is_no_answer() {
    let mut world = support::world(11);
    let (mut session, secrets) = person(&mut world, "ada");
    let pending = world.generate(&mut session, &KINDS[..1]).unwrap().unwrap();
    let random = Reply::Generate(generate::Reply { server_random: [7; 32] });
    let key_ids: Vec<_> = pending.key_ids().collect();
    let stored = Reply::Store(store::Reply { key_ids: key_ids.clone(), repeated: false });
    let heads = Reply::Heads(heads::Reply { heads: vec![], newest: 1 });
    let out_of_order = Error::from(PeerFault::OutOfOrder);

    let mut generate = session.generate(&KINDS, &mut world.rng).unwrap();
    for reply in [&stored, &retrieved(&secrets), &heads] {
        assert_eq!(fault(generate.receive(forge(&world, &generate, reply))), out_of_order);
    }
    let mut store = session.store(&pending).unwrap();
    for reply in [&random, &retrieved(&secrets), &heads] {
        assert_eq!(fault(store.receive(forge(&world, &store, reply))), out_of_order);
    }
    let mut retrieve = session.retrieve(&ids(&secrets)).unwrap();
    for reply in [&random, &stored, &heads] {
        assert_eq!(fault(retrieve.receive(forge(&world, &retrieve, reply))), out_of_order);
    }
    // The operations are still under way, and end with their own replies, refusals among them.
    assert_eq!(ended(generate.receive(forge(&world, &generate, &random))).unwrap().key_ids().len(), 3);
    let new = session.settle(ended(store.receive(forge(&world, &store, &stored))).unwrap()).unwrap();
    assert_eq!(new.iter().map(|secret| secret.key_id).collect::<Vec<_>>(), key_ids);
    let denied = forge(&world, &retrieve, &Reply::Refused(Refusal::Denied));
    assert_eq!(ended(retrieve.receive(denied.clone())).unwrap_err(), Refusal::Denied);
    assert_eq!(fault(retrieve.receive(denied)), CallerFault::ExchangeEnded.into());
}

#[test]
fn rule_14_a_reply_to_another_request_or_session_and_a_reflected_frame_are_no_answer() {
    let mut world = support::world(12);
    let (mut ada, _) = person(&mut world, "ada");
    let (mut bob, _) = person(&mut world, "bob");
    let random = Reply::Generate(generate::Reply { server_random: [7; 32] });
    let earlier = ada.generate(&KINDS, &mut world.rng).unwrap();
    let mut exchange = ada.generate(&KINDS, &mut world.rng).unwrap();
    // Bob's requests have the same numbers: only the keys tell the sessions apart.
    let _ = bob.generate(&KINDS, &mut world.rng).unwrap();
    let others = bob.generate(&KINDS, &mut world.rng).unwrap();
    assert_eq!(frame(&exchange).sequence, frame(&others).sequence);

    let to_earlier = forge(&world, &earlier, &random);
    let ServerMessage::Frame(renumbered) = to_earlier.clone() else { panic!("no frame") };
    let renumbered = ServerMessage::Frame(Frame { sequence: frame(&exchange).sequence, ..renumbered });
    let of_another = forge(&world, &others, &random);
    let spliced = relabelled(of_another.clone(), ada.session_id());
    let reflected = ServerMessage::Frame(frame(&exchange));
    for (message, expected) in [
        (to_earlier, PeerFault::WrongSequence),
        (renumbered, PeerFault::Unauthenticated),
        (of_another, PeerFault::WrongSession),
        (spliced, PeerFault::Unauthenticated),
        (reflected, PeerFault::Unauthenticated),
    ] {
        assert_eq!(fault(exchange.receive(message)), expected.into());
    }
    assert_eq!(ended(exchange.receive(forge(&world, &exchange, &random))).unwrap().key_ids().len(), 3);
}
