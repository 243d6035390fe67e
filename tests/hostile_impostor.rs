//! Another server in the server's place, or one that lies at login: other keys, another identity, another profile,
//! another vault key's wrap (rules 4, 9, 10 and 11).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod hostile;
mod support;

use hostile::{contains, fault, forge, forge_at, read_reply, relabelled, relabelled_request};
use keystow::operation::log_in::{LogIn, Welcome};
use keystow::operation::{Reply, heads};
use keystow::*;
use support::{IDENTITY, PASSWORD, World, client};

const LOGIN_FAILED: Error = Error::Peer(PeerFault::LoginFailed);

/// A server of this seed's keys.
fn server(seed: u64, identity: &str) -> Server {
    let setup = ServerSetup::generate(&mut support::rng(seed)).unwrap();
    Server::new(setup, identity, ServerPolicy::default()).unwrap()
}

/// A login at whatever server the world has now must end so, and its KE3 must not leave.
fn refuses_to_log_in(world: &mut World, client: &Client, expected: &Error) {
    let mut exchange = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let request = exchange.message().clone();
    let response = world.send(&request).unwrap();
    assert!(matches!(response, ServerMessage::LoginResponse { .. }));
    assert_eq!(fault(exchange.receive(response)), *expected);
    assert_eq!(*exchange.message(), request, "KE3 is not sent");
}

/// A login that waits for its Welcome, and that Welcome.
fn welcomed(world: &mut World, client: &Client) -> (Exchange<LogIn>, ServerMessage) {
    let mut exchange = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let response = world.send(exchange.message()).unwrap();
    assert!(exchange.receive(response).unwrap().is_none());
    let welcome = world.send(exchange.message()).unwrap();
    (exchange, welcome)
}

fn said(world: &World, welcome: &ServerMessage) -> Welcome {
    match read_reply(world, welcome) {
        Reply::Welcome(welcome) => welcome,
        other => panic!("no Welcome: {other:?}"),
    }
}

#[test]
fn rule_4_a_server_with_other_keys_and_the_same_records_gets_no_ke3() {
    let mut world = support::world(1);
    let (pinned, _) = world.person("ada");
    let honest = std::mem::replace(&mut world.server.server, server(99, IDENTITY));
    for client in [&pinned, &client("ada")] {
        refuses_to_log_in(&mut world, client, &LOGIN_FAILED);
    }
    world.server.server = honest;
    assert!(world.log_in(&pinned, PASSWORD).unwrap().is_ok());
}

#[test]
fn rule_4_a_server_where_the_same_name_and_password_are_registered_is_refused_by_its_key() {
    let mut world = support::world(2);
    let (pinned, session) = world.person("ada");
    let own_key = session.server_key();
    world.server.server = server(99, IDENTITY);
    world.server.store.accounts.clear();
    let other_key = world.register(&client("ada"), PASSWORD).unwrap().unwrap().server_key;
    assert_ne!(own_key, other_key);

    refuses_to_log_in(&mut world, &pinned, &PeerFault::WrongServerKey.into());
    // The pin alone stops it: without one, that server is as good as any.
    let session = world.log_in(&client("ada"), PASSWORD).unwrap().unwrap();
    assert_eq!(session.server_key(), other_key);
}

#[test]
fn rule_4_a_pinned_client_registers_nowhere_else() {
    let mut world = support::world(3);
    let (pinned, _) = world.person("ada");
    world.server.server = server(99, IDENTITY);
    world.server.store.accounts.clear();
    let mut exchange = pinned.register(PASSWORD, &mut world.rng).unwrap();
    let request = exchange.message().clone();
    let response = world.send(&request).unwrap();
    assert_eq!(fault(exchange.receive(response)), PeerFault::WrongServerKey.into());
    assert_eq!(*exchange.message(), request, "the upload is not sent");
}

#[test]
fn rule_4_the_same_keys_under_another_server_identity_are_another_server() {
    let mut world = support::world(4);
    let (pinned, _) = world.person("ada");
    // The world's setup is the first thing that its generator draws.
    world.server.server = server(4, "keys.example.org");
    refuses_to_log_in(&mut world, &pinned, &LOGIN_FAILED);
    world.server.server = server(4, IDENTITY);
    assert!(world.log_in(&pinned, PASSWORD).unwrap().is_ok(), "the same keys, the right identity");
}

#[test]
fn rule_4_a_record_registered_under_one_name_lets_nobody_in_under_another() {
    let mut world = support::world(5);
    let (_, _) = world.person("ada");
    let store = &mut world.server.store;
    let mut row = store.accounts[client("ada").account()].clone();
    assert_eq!(row.record[1..5], *b"\x03ada");
    row.record[2..5].copy_from_slice(b"bob");
    store.accounts.insert(client("bob").account().clone(), row);
    refuses_to_log_in(&mut world, &client("bob"), &LOGIN_FAILED);
}

#[test]
fn rule_9_nothing_of_the_vault_leaves_before_ke3_and_then_only_sealed() {
    let mut world = support::world(6);
    let (client, _) = world.person("ada");
    let mut exchange = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let response = world.send(exchange.message()).unwrap();
    assert!(exchange.receive(response.clone()).unwrap().is_none());
    let welcome = world.send(exchange.message()).unwrap();

    let Welcome { user_id, wrap, .. } = said(&world, &welcome);
    assert!(contains(&world.server.store.accounts[client.account()].record, &wrap), "it is the stored wrap");
    assert!(exchange.receive(welcome.clone()).unwrap().is_none());
    let heads = world.send(exchange.message()).unwrap();
    let Reply::Heads(heads::Reply { heads: shown, newest: 0 }) = read_reply(&world, &heads) else { panic!("no heads") };
    let [head] = &shown[..] else { panic!("not one head: {shown:?}") };
    assert!(contains(&world.server.store.heads[&(user_id, 0)], head.as_bytes()), "it is the stored head");
    for message in [&response, &welcome, &heads] {
        let bytes = message.encode().unwrap();
        assert!(!contains(&bytes, &wrap[..8]), "the wrap in {message:?}");
        assert!(!contains(&bytes, user_id.as_bytes()), "the user ID in {message:?}");
        assert!(!contains(&bytes, &head.as_bytes()[8..20]), "the head in {message:?}");
    }
}

#[test]
fn rule_10_a_profile_that_was_changed_on_the_way_fails_the_login_on_both_sides() {
    let mut world = support::world(7);
    let (client, _) = world.person("ada");
    let mut exchange = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let request = exchange.message().clone();
    let own_id = request.session_id().unwrap();
    let ClientMessage::LoginRequest { account, ke1, .. } = request.clone() else { panic!("no login request") };

    let changed = ClientMessage::LoginRequest { account, profile: KsfProfile::FLOOR, ke1 };
    let response = world.send(&changed).unwrap();
    assert_eq!(fault(exchange.receive(response.clone())), PeerFault::WrongSession.into());
    assert_eq!(fault(exchange.receive(relabelled(response, own_id))), LOGIN_FAILED);
    assert_eq!(*exchange.message(), request);

    let honest = world.send(&request).unwrap();
    assert!(exchange.receive(honest).unwrap().is_none());
    let misled = relabelled_request(exchange.message().clone(), changed.session_id().unwrap());
    assert_eq!(support::error(world.send(&misled)), PeerFault::WrongKe3.into());
    let welcome = world.send(exchange.message()).unwrap();
    assert!(exchange.receive(welcome).unwrap().is_none());
    assert!(world.run(exchange).unwrap().is_ok());
}

#[test]
fn rule_10_a_policy_takes_no_profile_below_the_floor_or_over_the_ceiling_wherever_it_comes_from() {
    let (floor, ceiling) = (KsfProfile::FLOOR, KsfProfile::CEILING);
    let profile = |memory_kib: u32, passes: u32, lanes: u32| -> KsfProfile {
        let fields = serde_json::json!({ "memory_kib": memory_kib, "passes": passes, "lanes": lanes });
        serde_json::from_value(fields).unwrap()
    };
    let below = CallerFault::KsfBelowFloor { floor };
    let above = CallerFault::KsfAboveCeiling { ceiling };
    let (memory, passes, lanes) = (floor.memory_kib(), floor.passes(), floor.lanes());
    for (weak, expected) in [
        (profile(memory - 1, passes, lanes), &below),
        (profile(memory, passes - 1, lanes), &below),
        (profile(memory, passes, lanes - 1), &below),
        (profile(ceiling.memory_kib() + 1, passes, lanes), &above),
        (profile(memory, ceiling.passes() + 1, lanes), &above),
        (profile(memory, passes, ceiling.lanes() + 1), &above),
    ] {
        assert_eq!(ClientPolicy::new([floor, weak]), Err(expected.clone().into()));
    }
    assert!(ClientPolicy::new([floor, ceiling]).is_ok());
}

#[test]
fn rule_10_one_version_is_spoken_and_no_other() {
    let mut world = support::world(8);
    let exchange = client("ada").log_in(PASSWORD, None, &mut world.rng).unwrap();
    let mut request = exchange.message().encode().unwrap();
    let mut response = world.send(exchange.message()).unwrap().encode().unwrap();
    for version in (0..=u8::MAX).filter(|version| *version != 1) {
        (request[0], response[0]) = (version, version);
        assert_eq!(ClientMessage::decode(&request), Err(PeerFault::Version(version).into()));
        assert_eq!(ServerMessage::decode(&response), Err(PeerFault::Version(version).into()));
    }
}

#[test]
fn rule_11_a_wrap_that_is_garbled_or_anothers_is_an_error_and_no_new_vault_key_is_made() {
    let mut world = support::world(9);
    let (ada, mut session) = world.person("ada");
    let secret = world.secret(&mut session, Kind::Ed25519);
    let (bob, _) = world.person("bob");
    let (_, bobs) = welcomed(&mut world, &bob);
    let bobs = said(&world, &bobs);

    let (mut exchange, honest) = welcomed(&mut world, &ada);
    let own = said(&world, &honest);
    let finish = exchange.message().clone();
    let before = world.server.store.clone();
    let session_id = finish.session_id().unwrap();
    let garbled = hostile::flipped(&own.wrap).map(|wrap| Welcome { wrap: wrap.try_into().unwrap(), ..own.clone() });
    let mixed = [Welcome { wrap: bobs.wrap, ..own.clone() }, Welcome { user_id: bobs.user_id, ..own.clone() }, bobs];
    for welcome in garbled.chain(mixed) {
        let forged = forge_at(&world, session_id, 1, &Reply::Welcome(welcome));
        assert_eq!(fault(exchange.receive(forged)), PeerFault::DamagedWrap.into());
        assert_eq!(*exchange.message(), finish);
    }
    assert_eq!(world.server.store, before);

    assert!(exchange.receive(honest).unwrap().is_none());
    let mut session = world.run(exchange).unwrap().unwrap();
    let secrets = world.retrieve(&mut session, &[secret.key_id]).unwrap().unwrap();
    assert_eq!(secrets[0].public(), secret.public.as_ref());
}

#[test]
fn rule_11_a_wrap_that_was_damaged_in_the_store_stays_as_it_is() {
    let mut world = support::world(10);
    let (client, _) = world.person("ada");
    let row = world.server.store.accounts.get_mut(client.account()).unwrap();
    *row.record.last_mut().unwrap() ^= 1;
    let accounts = world.server.store.accounts.clone();
    assert_eq!(support::error(world.log_in(&client, PASSWORD)), PeerFault::DamagedWrap.into());
    assert_eq!(world.server.store.accounts, accounts);
}

#[test]
fn rule_14_a_reply_of_another_kind_is_no_welcome() {
    let mut world = support::world(11);
    let (client, mut session) = world.person("ada");
    let secret = world.secret(&mut session, Kind::Ed25519);
    let asked = session.retrieve(&[secret.key_id]).unwrap();
    let answer = world.send(asked.message()).unwrap();
    let other_kind = read_reply(&world, &answer);

    let (mut exchange, honest) = welcomed(&mut world, &client);
    let session_id = honest.session_id();
    let forged = forge_at(&world, session_id, 1, &other_kind);
    assert_eq!(fault(exchange.receive(forged)), PeerFault::OutOfOrder.into());
    let welcome = Reply::Welcome(said(&world, &honest));
    let numbered_2 = forge_at(&world, session_id, 2, &welcome);
    assert_eq!(fault(exchange.receive(numbered_2)), PeerFault::WrongSequence.into());
    assert!(exchange.receive(honest).unwrap().is_none());
    // Nor is a Welcome the reply to anything else.
    for reply in [&welcome, &other_kind] {
        let forged = forge(&world, &exchange, reply);
        assert_eq!(fault(exchange.receive(forged)), PeerFault::OutOfOrder.into(), "these are no heads");
    }
    let mut opened = world.run(exchange).unwrap().unwrap();
    let mut generate = opened.generate(&[Kind::Ed25519], &mut world.rng).unwrap();
    let forged = forge(&world, &generate, &welcome);
    assert_eq!(fault(generate.receive(forged)), PeerFault::OutOfOrder.into());
}

/// An account that was registered under another identity could never be logged in to, and its name would stay taken.
#[test]
fn rule_4_a_registration_that_is_meant_for_another_server_identity_makes_no_account() {
    let mut world = support::world(40);
    let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).unwrap();
    let elsewhere = Client::new(AccountName::new("ada").unwrap(), "other.example.com", policy).unwrap();
    assert_eq!(support::error(world.register(&elsewhere, PASSWORD)), PeerFault::Transcript.into());
    assert_eq!(world.server.store, testing::MemoryStore::new());
    assert!(world.register(&client("ada"), PASSWORD).unwrap().is_ok(), "the name is free");
}
