//! Bad randomness: a server that repeats or chooses its bytes, a client whose generator repeats, both (rules 12 and 13).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod hostile;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use hostile::device::Device;
use hostile::{ended, fault, forge, record, sealed, tombstone};
use keystow::operation::{Reply, Request, generate};
use keystow::testing::hostile::open_request;
use keystow::*;
use support::{IDENTITY, PASSWORD, World, client};

const KINDS: [Kind; 3] = [Kind::Bytes(32), Kind::Secp256k1, Kind::Ed25519];

/// Generates with a client whose generator starts at this seed, at a server that sends these bytes.
fn generate(
    world: &World,
    session: &mut ClientSession,
    seed: u64,
    server_random: [u8; 32],
    kinds: &[Kind],
) -> PendingSecrets {
    let mut exchange = session.generate(kinds, &mut support::rng(seed)).unwrap();
    let reply = forge(world, &exchange, &Reply::Generate(generate::Reply { server_random }));
    ended(exchange.receive(reply)).unwrap()
}

/// Stores what was generated, and gives key IDs and plaintexts as they come back.
fn plaintexts(world: &mut World, session: &mut ClientSession, pending: &PendingSecrets) -> Vec<(KeyId, Vec<u8>)> {
    let stored = world.store(session, pending).unwrap().unwrap();
    let key_ids: Vec<_> = stored.iter().map(|secret| secret.key_id).collect();
    let secrets = world.retrieve(session, &key_ids).unwrap().unwrap();
    secrets.iter().map(|secret| (secret.key_id(), secret.expose().to_vec())).collect()
}

/// Asserts that no two of these have the same key ID or the same plaintext.
fn assert_distinct(secrets: &[(KeyId, Vec<u8>)]) {
    assert_eq!(secrets.iter().map(|(key_id, _)| key_id).collect::<BTreeSet<_>>().len(), secrets.len());
    assert_eq!(secrets.iter().map(|(_, secret)| secret).collect::<BTreeSet<_>>().len(), secrets.len());
}

#[test]
fn rule_12_a_server_that_repeats_or_chooses_its_bytes_fixes_no_secret() {
    let mut world = support::world(1);
    let (_, mut session) = world.person("ada");
    let mut secrets = vec![];
    for server_random in [[0; 32], [0xff; 32]] {
        for seed in [1, 2, 3] {
            let pending = generate(&world, &mut session, seed, server_random, &KINDS);
            secrets.extend(plaintexts(&mut world, &mut session, &pending));
        }
    }
    assert_eq!(secrets.len(), 18);
    assert_distinct(&secrets);
}

#[test]
fn rule_12_in_one_batch_each_secret_is_its_own_though_random_bytes_and_kind_are_the_same() {
    let mut world = support::world(2);
    let (_, mut session) = world.person("ada");
    let kinds = [Kind::Bytes(32), Kind::Bytes(32), Kind::Ed25519, Kind::Ed25519, Kind::Secp256k1, Kind::Secp256k1];
    let pending = generate(&world, &mut session, 1, [0; 32], &kinds);
    assert_distinct(&plaintexts(&mut world, &mut session, &pending));
    // At the same place in a batch, the kind tells them apart; a length is a part of it.
    let mut secrets = vec![];
    for kind in [Kind::Bytes(32), Kind::Bytes(33), Kind::Ed25519] {
        let pending = generate(&world, &mut session, 2, [0; 32], &[kind]);
        let (key_id, secret) = plaintexts(&mut world, &mut session, &pending).remove(0);
        secrets.push((key_id, secret[..32].to_vec()));
    }
    assert_distinct(&secrets);
}

#[test]
fn rule_12_a_client_generator_that_repeats_is_made_good_by_the_servers_bytes() {
    let mut world = support::world(3);
    let (_, mut session) = world.person("ada");
    let mut secrets = vec![];
    for byte in 0..4 {
        let pending = generate(&world, &mut session, 7, [byte; 32], &KINDS);
        secrets.extend(plaintexts(&mut world, &mut session, &pending));
    }
    assert_distinct(&secrets);
}

/// The server knows everything that the client drew, at registration too, and learns nothing by it: the vault key hedges
/// the one, `export_key` the other. Two people with the same draws stand for one person and a server that computes.
#[test]
fn rule_12_two_people_with_the_same_generator_and_password_share_no_secret() {
    let mut world = support::world(4);
    let mut secrets = vec![];
    for account in ["ada", "bob"] {
        let client = client(account);
        let registration = client.register(PASSWORD, &mut support::rng(7)).unwrap();
        world.run(registration).unwrap().unwrap();
        let login = client.log_in(PASSWORD, None, &mut support::rng(8)).unwrap();
        let mut session = world.run(login).unwrap().unwrap();
        let pending = generate(&world, &mut session, 9, [0; 32], &KINDS);
        secrets.extend(plaintexts(&mut world, &mut session, &pending));
    }
    assert_distinct(&secrets);
}

#[test]
fn rule_12_server_bytes_of_another_length_are_no_reply() {
    let reply = Reply::Generate(generate::Reply { server_random: [0; 32] });
    let body = postcard::to_allocvec(&reply).unwrap();
    assert_eq!(body, [&[2][..], &[0; 32]].concat());
    assert!(postcard::from_bytes::<Reply>(&body[..32]).is_err());
    assert!(postcard::take_from_bytes::<Reply>(&[&body[..], &[0]].concat()).is_ok_and(|(_, rest)| rest == [0]));
}

#[test]
fn rule_13_when_both_sources_repeat_it_is_the_same_record_and_says_so() {
    let mut world = support::world(5);
    let (_, mut session) = world.person("ada");
    let first = generate(&world, &mut session, 7, [0; 32], &KINDS);
    let again = generate(&world, &mut session, 7, [0; 32], &KINDS);
    assert_eq!(first, again, "header, binder and ciphertext: never two plaintexts under one header");

    let stored = world.store(&mut session, &first).unwrap().unwrap();
    assert!(stored.iter().all(|secret| !secret.already_stored));
    let before = world.server.store.clone();
    let repeated = world.store(&mut session, &again).unwrap().unwrap();
    let expected: Vec<_> = stored.iter().map(|secret| NewSecret { already_stored: true, ..*secret }).collect();
    assert_eq!(repeated, expected);
    assert_eq!(world.server.store, before);
}

#[test]
fn rule_13_repeated_bytes_for_other_kinds_never_meet_under_one_header() {
    let mut world = support::world(6);
    let (_, mut session) = world.person("ada");
    let batches = [&KINDS[..], &[Kind::Ed25519, Kind::Bytes(32)], &[Kind::Secp256k1], &[Kind::Bytes(16); 3]];
    let mut by_header = BTreeMap::new();
    for kinds in batches {
        for SealedSecret { header, ciphertext } in sealed(&generate(&world, &mut session, 7, [0; 32], kinds)) {
            assert_eq!(*by_header.entry(header.to_bytes()).or_insert(ciphertext.clone()), ciphertext);
        }
    }
    assert_eq!(by_header.len(), 3 + 2 + 1 + 3);
}

fn is_store(world: &World, message: &ClientMessage) -> bool {
    let session = &world.server.sessions[&message.session_id().unwrap()];
    matches!(open_request(session, message.clone()), Ok(Request::Store(_)))
}

/// Asserts that storing these pending secrets is refused because of the one that is taken, and that this is the end: nothing
/// is stored, overwritten, or drawn again.
fn assert_taken(world: &mut World, session: &mut ClientSession, pending: &PendingSecrets, taken: KeyId) {
    let secrets = world.server.store.secrets.clone();
    let (heads, kept) = (world.server.store.heads.clone(), pending.clone());
    let mut exchange = session.store(pending).unwrap();
    if !is_store(world, exchange.message()) {
        // Older than the session's head: it first looks whether they are stored.
        let heads = world.send(exchange.message()).unwrap();
        assert!(exchange.receive(heads).unwrap().is_none());
    }
    assert!(is_store(world, exchange.message()));
    let request = exchange.message().clone();
    let reply = world.send(&request).unwrap();
    assert_eq!(ended(exchange.receive(reply.clone())).map(|_| ()), Err(Refusal::KeyIdTaken(taken)));
    assert_eq!((&world.server.store.secrets, &world.server.store.heads), (&secrets, &heads));
    assert_eq!(world.send(&request).unwrap(), reply, "a repeat is refused as it was");
    assert_eq!((&world.server.store.secrets, &world.server.store.heads), (&secrets, &heads));
    assert_eq!(fault(exchange.receive(reply)), CallerFault::ExchangeEnded.into());
    assert_eq!((exchange.message(), pending), (&request, &kept));
}

#[test]
fn rule_13_a_taken_key_id_is_a_refusal_and_nothing_of_the_batch_is_written() {
    let mut world = support::world(7);
    let (_, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &KINDS).unwrap().unwrap();
    for mut other in sealed(&pending) {
        let (user_id, key_id) = (session.user_id(), other.header.key_id());
        other.ciphertext[0] ^= 1;
        for occupant in [record(&other), b"whatever".to_vec(), vec![]] {
            world.server.store.secrets.insert((user_id, key_id), occupant);
            assert_taken(&mut world, &mut session, &pending, key_id);
        }
        world.server.store.secrets.remove(&(user_id, key_id));
    }
    assert_eq!(world.store(&mut session, &pending).unwrap().unwrap().len(), KINDS.len());
}

/// A device image that is restored before each login repeats the session ID and the sequence numbers with it. The server's
/// fresh bytes make them other requests all the same: nothing is taken for done that wasn't.
#[test]
fn rule_13_a_client_that_repeats_whole_sessions_loses_no_secret_and_no_attempt() {
    let mut world = support::world(9);
    let (client, _) = world.person("ada");
    let (mut key_ids, mut session_ids) = (vec![], BTreeSet::new());
    for round in 0..3 {
        world.server.crash();
        let login = client.log_in(PASSWORD, None, &mut support::rng(7)).unwrap();
        let mut session = world.run(login).unwrap().unwrap();
        session_ids.insert(session.session_id());
        let generate = session.generate(&KINDS, &mut support::rng(8)).unwrap();
        let pending = world.run(generate).unwrap().unwrap();
        let stored = world.store(&mut session, &pending).unwrap().unwrap();
        assert!(stored.iter().all(|secret| !secret.already_stored), "round {round}");
        key_ids.extend(stored.iter().map(|secret| secret.key_id));
        assert_eq!(world.retrieve(&mut session, &key_ids).unwrap().unwrap().len(), key_ids.len());
    }
    assert_eq!((session_ids.len(), world.server.store.secrets.len()), (1, 3 * KINDS.len()));
    assert_eq!(world.server.store.heads.len(), 1 + 3);
    let mut session = world.log_in(&client, PASSWORD).unwrap().unwrap();
    assert_eq!(world.list(&mut session).unwrap().unwrap().len(), key_ids.len());
    assert!(world.server.store.attempts.values().all(|attempts| attempts.count == 0));
}

#[test]
fn rule_22_a_late_retry_does_not_bring_a_deleted_secret_back() {
    let mut world = support::world(8);
    let (_, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &KINDS).unwrap().unwrap();
    let made_at = session.pin();
    world.store(&mut session, &pending).unwrap().unwrap();
    let key_ids: Vec<_> = pending.key_ids().collect();
    let key_id = key_ids[1];
    world.delete(&mut session, &[key_id]).unwrap().unwrap();
    // After a login (1, 2), a generation and a store.
    assert_eq!(world.server.store.secrets[&(session.user_id(), key_id)], tombstone(session.session_id(), 5));

    // Whatever the device says about when it was made, alone and with the others of its batch.
    for since in [made_at, session.pin()] {
        let alone = hostile::pending(&session, &sealed(&pending)[1..2], since);
        assert_taken(&mut world, &mut session, &alone, key_id);
        let whole = hostile::pending(&session, &sealed(&pending), since);
        assert_taken(&mut world, &mut session, &whole, key_id);
    }
    assert_eq!(world.retrieve(&mut session, &[key_id]).unwrap().unwrap_err(), Refusal::NotFound);
    let others = [key_ids[0], key_ids[2]];
    assert_eq!(world.retrieve(&mut session, &others).unwrap().unwrap().len(), 2);
    assert_eq!(world.list(&mut session).unwrap().unwrap().len(), 2);
}

/// What a vault's owner has in common with somebody who knows all that the client drew: the same user ID, server bytes and
/// generator. Only the vault key differs.
#[test]
fn rule_12_a_secret_hangs_on_the_vault_key_too() {
    let mut secrets = vec![];
    let mut user_ids = BTreeSet::new();
    for vault_key in [[7; 32], [8; 32]] {
        let mut world = support::world(10);
        let device = Device::register(&mut world, "ada", PASSWORD, vault_key);
        user_ids.insert(device.user_id);
        let mut session = world.log_in(&client("ada"), PASSWORD).unwrap().unwrap();
        let pending = generate(&world, &mut session, 9, [0; 32], &KINDS);
        secrets.extend(plaintexts(&mut world, &mut session, &pending));
    }
    assert_eq!(user_ids.len(), 1, "the same person in all but the key");
    assert_distinct(&secrets);
}

/// The same of a vault key: two servers, of which one evaluates the password otherwise, and a generator that is known.
#[test]
fn rule_12_a_vault_key_hangs_on_the_export_key_too() {
    let mut secrets = vec![];
    let mut user_ids = BTreeSet::new();
    for setup in [1, 2] {
        let mut world = support::world(11);
        let setup = ServerSetup::generate(&mut support::rng(setup)).unwrap();
        world.server.server = Server::new(setup, IDENTITY, ServerPolicy::default()).unwrap();
        let registration = client("ada").register(PASSWORD, &mut support::rng(7)).unwrap();
        user_ids.insert(world.run(registration).unwrap().unwrap().user_id);
        let mut session = world.log_in(&client("ada"), PASSWORD).unwrap().unwrap();
        let pending = generate(&world, &mut session, 9, [0; 32], &KINDS);
        secrets.extend(plaintexts(&mut world, &mut session, &pending));
    }
    assert_eq!(user_ids.len(), 1, "the same person in all but the key");
    assert_distinct(&secrets);
}

/// Imported secrets don't come out of the random bytes: the binder alone tells their headers apart.
#[test]
fn rule_13_when_both_sources_repeat_two_imported_secrets_have_two_headers() {
    let mut world = support::world(12);
    let (_, mut session) = world.person("ada");
    let mut import = |secret: &[u8]| {
        let secret = PlainSecret::bytes(secret).unwrap();
        let mut exchange = session.import(vec![secret], &mut support::rng(7)).unwrap();
        let reply = forge(&world, &exchange, &Reply::Generate(generate::Reply { server_random: [0; 32] }));
        sealed(&ended(exchange.receive(reply)).unwrap()).remove(0)
    };
    let [one, other, again] = [b"abc", b"xyz", b"abc"].map(|secret| import(secret));
    assert_ne!(one.header.key_id(), other.header.key_id());
    assert_eq!(one, again);
}
