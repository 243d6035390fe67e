//! A database that returns other rows, old rows or garbage, or lies about an outcome (rule 20). The error names the record; nothing is
//! sent, nothing is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod hostile;
mod support;

use hostile::{Lying, ended, lying, person, record, standing, stored, truncated, under_lie};
use keystow::client::Operation;
use keystow::operation::Request;
use keystow::storage::{Attempts, Conflict, Outcome, Query, Standing};
use keystow::testing::Store;
use keystow::testing::hostile::open_request;
use keystow::*;
use support::{PASSWORD, World, client};

/// The account's record, damaged, for as long as a login is tried; then it is put right, and the same login goes through.
fn with_account_record(world: &mut World, damaged: Vec<u8>) -> Error {
    let account = client("ada").account().clone();
    let login = client("ada").log_in(PASSWORD, None, &mut world.rng).unwrap();
    let row = world.server.store.accounts.get_mut(&account).unwrap();
    let honest = std::mem::replace(&mut row.record, damaged);
    let (store, sessions) = (world.server.store.clone(), world.server.sessions.len());
    let error = support::error(world.send(login.message()));
    assert_eq!((&world.server.store, world.server.sessions.len()), (&store, sessions), "no charge, no session");
    world.server.store.accounts.get_mut(&account).unwrap().record = honest;
    assert!(world.run(login).unwrap().is_ok());
    error
}

/// The record of a secret, damaged, for as long as it is retrieved; then it is put right, and the same request succeeds.
fn with_secret_record(world: &mut World, session: &mut ClientSession, key_id: KeyId, damaged: Vec<u8>) -> Error {
    let mut exchange = session.retrieve(&[key_id]).unwrap();
    let place = (session.user_id(), key_id);
    let honest = world.server.store.secrets.insert(place, damaged).unwrap();
    let store = world.server.store.clone();
    let error = support::error(world.send(exchange.message()));
    assert_eq!(world.server.store, store);
    world.server.store.secrets.insert(place, honest);
    let answer = world.send(exchange.message()).unwrap();
    assert!(ended(exchange.receive(answer)).is_ok());
    error
}

#[test]
fn rule_20_an_account_record_that_is_garbled_cut_or_anothers_is_named_and_charges_nothing() {
    let mut world = support::world(1);
    world.register(&client("ada"), PASSWORD).unwrap().unwrap();
    world.register(&client("bob"), PASSWORD).unwrap().unwrap();
    let name = |account: &str| RecordName::Account(client(account).account().clone());
    let own = world.server.store.accounts[client("ada").account()].record.clone();
    let bobs = world.server.store.accounts[client("bob").account()].record.clone();

    let longer = [&own[..], &[0]].concat();
    let newer = [&[2], &own[1..]].concat();
    for damaged in truncated(&own).chain([longer, newer, vec![0xff; own.len()]]) {
        let error = with_account_record(&mut world, damaged);
        assert_eq!(error, stored(name("ada"), "can't be decoded"));
    }
    assert_eq!(with_account_record(&mut world, bobs), stored(name("ada"), "belongs to another name"));
}

/// The client's public key begins at byte 53 of a record under a name of 3 bytes.
#[test]
fn rule_20_an_account_record_with_an_invalid_public_key_is_the_stores_fault_and_not_the_clients() {
    let mut world = support::world(2);
    world.register(&client("ada"), PASSWORD).unwrap().unwrap();
    let own = world.server.store.accounts[client("ada").account()].record.clone();
    for public_key in [[0; 32], [0xff; 32], [1; 32]] {
        let mut damaged = own.clone();
        damaged[53..85].copy_from_slice(&public_key);
        match with_account_record(&mut world, damaged) {
            Error::Stored(StoredFault { record, .. }) => {
                assert_eq!(record, RecordName::Account(client("ada").account().clone()));
            }
            other => panic!("blamed on another: {other}"),
        }
    }
}

/// Whatever else is flipped in an account record, the person gets an error, never a session with another vault.
#[test]
fn rule_20_no_damage_of_an_account_record_gives_a_session() {
    let mut world = support::world(3);
    world.register(&client("ada"), PASSWORD).unwrap().unwrap();
    let honest = world.server.store.clone();
    let account = client("ada").account().clone();
    for damaged in hostile::flipped(&honest.accounts[&account].record).step_by(3) {
        world.server.store.accounts.get_mut(&account).unwrap().record = damaged.clone();
        let outcome = world.log_in(&client("ada"), PASSWORD);
        assert!(!matches!(outcome, Ok(Ok(_))), "{damaged:02x?}");
        assert_eq!(world.server.store.accounts[&account].record, damaged, "it is left as it is");
        world.server.store = honest.clone();
    }
    assert!(world.log_in(&client("ada"), PASSWORD).unwrap().is_ok());
}

#[test]
fn rule_20_a_secret_record_that_is_garbled_cut_or_anothers_is_named_and_not_sent() {
    let mut world = support::world(4);
    let (mut ada, own) = person(&mut world, "ada");
    let (_, bobs) = person(&mut world, "bob");
    let (user_id, key_id) = (ada.user_id(), own[0].header.key_id());
    let named = |problem| stored(RecordName::Secret(user_id, key_id), problem);

    let whole = record(&own[0]);
    assert_eq!(world.server.store.secrets[&(user_id, key_id)], whole);
    let longer = [&whole[..], &[0]].concat();
    let newer = [&[2], &whole[1..]].concat();
    let unknown_variant = [&[1, 2], &whole[2..]].concat();
    for damaged in truncated(&whole).chain([longer, newer, unknown_variant, vec![0xff; whole.len()]]) {
        let error = with_secret_record(&mut world, &mut ada, key_id, damaged);
        assert_eq!(error, named("can't be decoded"));
    }
    let shorter = SealedSecret { ciphertext: own[0].ciphertext[1..].to_vec(), ..own[0].clone() };
    for (damaged, problem) in [
        (record(&bobs[0]), "belongs to another user"),
        (record(&own[1]), "belongs to another key ID"),
        (record(&shorter), "has a ciphertext of the wrong length"),
    ] {
        assert_eq!(with_secret_record(&mut world, &mut ada, key_id, damaged), named(problem));
    }
}

#[test]
fn rule_20_an_answer_to_another_query_is_refused_and_the_honest_answer_still_taken() {
    let mut world = lying(5);
    let (mut ada, own) = person(&mut world, "ada");
    let (mut bob, bobs) = person(&mut world, "bob");
    let another = stored(RecordName::Answer, "answers another query");

    // What the store is asked for in other sessions.
    let query = |world: &mut World<Lying>, message: &ClientMessage| {
        let session_id = message.session_id().unwrap();
        let mut fresh = world.server.server.accept(&mut world.rng);
        let session = world.server.sessions.get_mut(&session_id).unwrap_or(&mut fresh);
        match session.receive(message.clone(), world.now).unwrap() {
            Step::Read(read) => read.query().clone(),
            other => panic!("it doesn't read: {other:?}"),
        }
    };
    let login = client("ada").log_in(PASSWORD, None, &mut world.rng).unwrap();
    let bobs_login = client("bob").log_in(PASSWORD, None, &mut world.rng).unwrap();
    let comparison = ada.verify_pin(ada.pin()).unwrap();
    let mut retrieval = ada.retrieve(&[own[0].header.key_id()]).unwrap();
    let other_retrieval = ada.retrieve(&[own[1].header.key_id()]).unwrap();
    let bobs_retrieval = bob.retrieve(&[bobs[0].header.key_id()]).unwrap();
    let bobs_comparison = bob.verify_pin(bob.pin()).unwrap();
    let of_others = [
        query(&mut world, bobs_login.message()),
        query(&mut world, other_retrieval.message()),
        query(&mut world, bobs_retrieval.message()),
        query(&mut world, bobs_comparison.message()),
    ];

    for other in of_others {
        let honest = world.server.store.honest.clone();
        world.server.store.found = Some(Box::new(move |_| honest.clone().read(&other).unwrap()));
        assert_eq!(under_lie(&mut world, &login), another);
        assert_eq!(under_lie(&mut world, &comparison), another);
        assert_eq!(under_lie(&mut world, &retrieval), another);
    }
    world.server.store.found = None;
    assert!(world.run(login).unwrap().is_ok());
    let answer = world.send(retrieval.message()).unwrap();
    assert!(ended(retrieval.receive(answer)).is_ok());
}

#[test]
fn rule_20_records_that_stand_there_twice_or_were_not_asked_for_are_named() {
    let mut world = lying(6);
    let (mut session, secrets) = person(&mut world, "ada");
    let [first, second] = [&secrets[0], &secrets[1]].map(|secret| (secret.header.key_id(), record(secret)));
    let standing = Some(standing(&world));
    let mut exchange = session.retrieve(&[first.0]).unwrap();
    for (records, named, problem) in [
        (vec![first.clone(), first.clone()], first.0, "stands there twice"),
        (vec![first.clone(), second.clone()], second.0, "was not asked for"),
    ] {
        world.server.store.found = Some(Box::new(move |query| match query {
            Query::Secrets(query) => query.found(standing, records.clone()),
            _ => panic!("a retrieval reads secrets"),
        }));
        assert_eq!(under_lie(&mut world, &exchange), stored(RecordName::Secret(session.user_id(), named), problem));
    }
    world.server.store.found = None;
    let answer = world.send(exchange.message()).unwrap();
    assert!(ended(exchange.receive(answer)).is_ok());
}

/// The record of a vault head, damaged, for as long as a login asks for it; then it is put right, and the same login goes
/// through.
fn with_head_record(world: &mut World, pin: VaultPin, user_id: UserId, epoch: u64, damaged: Vec<u8>) -> Error {
    let mut login = client("ada").log_in(PASSWORD, Some(pin), &mut world.rng).unwrap();
    for _ in 0..2 {
        let answer = world.send(login.message()).unwrap();
        assert!(login.receive(answer).unwrap().is_none());
    }
    let honest = world.server.store.heads.insert((user_id, epoch), damaged).unwrap();
    let store = world.server.store.clone();
    let error = support::error(world.send(login.message()));
    assert_eq!(world.server.store, store);
    world.server.store.heads.insert((user_id, epoch), honest);
    assert!(world.run(login).unwrap().is_ok());
    error
}

#[test]
fn rule_20_a_vault_head_that_is_garbled_cut_or_of_another_place_is_named_and_not_sent() {
    let mut world = support::world(9);
    let pin = world.register(&client("ada"), PASSWORD).unwrap().unwrap().pin;
    let mut session = world.log_in(&client("ada"), PASSWORD).unwrap().unwrap();
    let user_id = session.user_id();
    for _ in 0..2 {
        world.secret(&mut session, Kind::Ed25519);
    }
    let heads = [0, 1, 2].map(|epoch| world.server.store.heads[&(user_id, epoch)].clone());
    for ((epoch, own), other) in (0..).zip(&heads).zip(heads.iter().cycle().skip(1)) {
        let named = |problem| stored(RecordName::Head(user_id, epoch), problem);
        let longer = [&own[..], &[0]].concat();
        let newer = [&[2], &own[1..]].concat();
        for damaged in truncated(own).chain([longer, newer, vec![0xff; own.len() - 1]]) {
            assert_eq!(with_head_record(&mut world, pin, user_id, epoch, damaged), named("can't be decoded"));
        }
        let elsewhere = with_head_record(&mut world, pin, user_id, epoch, other.clone());
        assert_eq!(elsewhere, named("has another epoch"));
    }
}

#[test]
fn rule_20_heads_that_stand_there_twice_out_of_order_or_were_not_asked_for_are_named() {
    let mut world = lying(10);
    let (mut session, _) = person(&mut world, "ada");
    world.secret(&mut session, Kind::Ed25519);
    let (user_id, standing) = (session.user_id(), Some(standing(&world)));
    let head = |epoch: u64| world.server.store.honest.heads[&(user_id, epoch)].clone();
    let (first, second, third) = (head(0), head(1), head(2));
    let at = |epoch| (RecordName::Head(user_id, epoch), "has another epoch");
    let mut exchange = session.verify_pin(session.pin()).unwrap();
    assert_eq!(session.pin().epoch(), 2);
    for (heads, (record, problem)) in [
        (vec![third.clone(), third.clone()], at(3)),
        (vec![second.clone(), third.clone()], at(2)),
        (vec![third.clone(), second], at(3)),
        (vec![first], at(2)),
        (vec![third; 257], (RecordName::Answer, "has more heads than were asked for")),
    ] {
        world.server.store.found = Some(Box::new(move |query| match query {
            Query::Heads(query) => query.found(standing, heads.clone()),
            _ => panic!("a comparison of pins reads heads"),
        }));
        assert_eq!(under_lie(&mut world, &exchange), stored(record, problem));
    }
    // The account is said to have a newer head, which is not there.
    let third = world.server.store.honest.heads[&(user_id, 2)].clone();
    let newer = standing.map(|standing| Standing { epoch: 3, ..standing });
    world.server.store.found = Some(Box::new(move |query| match query {
        Query::Heads(query) => query.found(newer, vec![third.clone()]),
        _ => panic!("a comparison of pins reads heads"),
    }));
    assert_eq!(under_lie(&mut world, &exchange), stored(RecordName::Head(user_id, 3), "is missing"));
    world.server.store.found = None;
    let answer = world.send(exchange.message()).unwrap();
    session.settle(ended(exchange.receive(answer)).unwrap()).unwrap();
}

/// Numbers that no honest store holds are no panic and no free guess.
#[test]
fn rule_20_a_counter_beyond_all_bounds_is_refused_by_the_store_and_overflows_nothing() {
    let mut world = lying(7);
    let (client, _) = world.person("ada");
    let honest = world.server.store.honest.clone();
    let record = honest.accounts[client.account()].record.clone();
    let most = Attempts { window_ends: Timestamp::from_millis(u64::MAX), count: u32::MAX, unseen: u32::MAX };
    world.server.store.found = Some(Box::new(move |query| match query {
        Query::Account(query) => query.found(Some(record.clone()), Some(most)),
        heads @ Query::Heads(_) => honest.clone().read(heads).unwrap(),
        _ => panic!("a login reads an account, and its heads"),
    }));
    assert!(world.log_in(&client, PASSWORD).unwrap().is_ok());
    for attempts in world.server.store.honest.attempts.values_mut() {
        *attempts = most;
    }
    let refused = world.send(client.log_in(PASSWORD, None, &mut support::rng(7)).unwrap().message()).unwrap();
    assert!(matches!(refused, ServerMessage::Refused { refusal: Refusal::TryAgainAt(_), .. }));
    assert!(world.server.store.honest.attempts.values().all(|attempts| *attempts == most));
}

/// Runs an exchange to its end. Each of its writes is first answered with every outcome that it can't have.
fn under_false_outcomes<O: Operation>(world: &mut World<Lying>, mut exchange: Exchange<O>, own: &[KeyId]) -> O::Output {
    let impossible = stored(RecordName::Answer, "is an outcome that the transaction can't have");
    let other = Conflict::KeyIdTaken(KeyId::from_bytes([9; 16]));
    loop {
        use Conflict::{AttemptLimit, Credential, Head, NameTaken, UserIdTaken};
        let taken = own.iter().map(|key_id| Conflict::KeyIdTaken(*key_id));
        let of_sessions = vec![NameTaken, UserIdTaken, AttemptLimit, Head, other];
        let (conflicts, repeats): (Vec<_>, _) = match exchange.message() {
            ClientMessage::RegistrationRequest { .. } => (vec![], true),
            ClientMessage::RegistrationUpload { .. } => (vec![Credential, AttemptLimit, Head, other], true),
            ClientMessage::LoginRequest { .. } => (vec![Credential, NameTaken, UserIdTaken, Head, other], false),
            ClientMessage::LoginFinish { .. } => (of_sessions, true),
            // Own key IDs are a conflict of a store; for every other request, `own` holds those that aren't.
            frame @ ClientMessage::Frame(_) => {
                let session = &world.server.sessions[&frame.session_id().unwrap()];
                let request = open_request(session, frame.clone()).unwrap();
                // A store moves the vault's head. A look at the heads leaves no entry, so nothing tells that it is repeated.
                let moves = matches!(request, Request::Store(_));
                let conflicts = taken.chain(of_sessions).filter(|conflict| !(moves && *conflict == Head));
                (conflicts.collect(), !matches!(request, Request::Heads(_)))
            }
        };
        let repeated = (!repeats).then_some(Outcome::Repeated);
        // Only in a fleet has a session moved, and only a registration's first message writes nothing.
        let writes = !matches!(exchange.message(), ClientMessage::RegistrationRequest { .. });
        let moved = writes.then_some(Outcome::Moved);
        for lie in conflicts.into_iter().map(Outcome::Conflict).chain(repeated).chain(moved) {
            world.server.store.outcome = Some(lie);
            assert_eq!(under_lie(world, &exchange), impossible, "{lie:?}");
        }
        world.server.store.outcome = None;
        let answer = world.send(exchange.message()).unwrap();
        if let Some(outcome) = exchange.receive(answer).unwrap() {
            return outcome.unwrap();
        }
    }
}

#[test]
fn rule_20_an_outcome_that_a_transaction_cant_have_is_an_error_and_the_honest_one_still_counts() {
    let mut world = lying(8);
    let client = client("ada");
    let exchange = client.register(PASSWORD, &mut world.rng).unwrap();
    under_false_outcomes(&mut world, exchange, &[]);
    let exchange = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let mut session = under_false_outcomes(&mut world, exchange, &[]);
    let pending = world.generate(&mut session, &[Kind::Ed25519]).unwrap().unwrap();
    let exchange = session.store(&pending).unwrap();
    let unsettled = under_false_outcomes(&mut world, exchange, &[]);
    let new = session.settle(unsettled).unwrap();
    assert!(!new[0].already_stored);
    let exchange = session.retrieve(&[new[0].key_id]).unwrap();
    under_false_outcomes(&mut world, exchange, &[new[0].key_id]);
    let counts: Vec<_> = world.server.store.honest.attempts.values().map(|attempts| attempts.count).collect();
    assert_eq!(counts, [0], "one charge, one refund");
}
