//! A network that damages bytes: every bit flipped, every truncation, every overlong integer, of every message (rules 14
//! and 16). What is authenticated is refused and changes nothing; the rest makes no dead account and no session.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod hostile;
mod support;

use std::collections::BTreeSet;

use hostile::{fault, flipped, relabelled, relabelled_request, stretched, truncated};
use keystow::client::Operation;
use keystow::storage::Query;
use keystow::testing::DriveError;
use keystow::*;
use support::{PASSWORD, World, client, error};

const KINDS: [Kind; 3] = [Kind::Bytes(5), Kind::Secp256k1, Kind::Ed25519];

/// Nothing that is cut off or stretched is a message, but for bytes that happen to be another one, in its own spelling.
fn assert_one_spelling(message: &[u8], respell: impl Fn(&[u8]) -> Result<Vec<u8>, Error>) {
    for bytes in truncated(message).chain(stretched(message)) {
        match respell(&bytes) {
            Ok(spelling) => assert_eq!(spelling, bytes),
            Err(error) => assert_eq!(error, PeerFault::Undecodable.into(), "{bytes:02x?}"),
        }
    }
}

/// The message with any bit wrong: the server refuses it, and store and sessions are as they were.
fn assert_server_refuses(world: &mut World, message: &ClientMessage) {
    let (store, sessions) = (world.server.store.clone(), world.server.sessions.len());
    for bytes in flipped(&message.encode().unwrap()) {
        let refused = world.server.handle(&bytes, world.now);
        assert!(matches!(refused, Err(DriveError::Protocol(Error::Peer(_)))), "{refused:?} to {bytes:02x?}");
        assert_eq!((&world.server.store, world.server.sessions.len()), (&store, sessions));
    }
}

/// The message with any bit wrong: the client refuses it, and still waits for the right one.
fn assert_client_refuses<O: Operation>(exchange: &mut Exchange<O>, message: &ServerMessage) {
    let sent = exchange.message().clone();
    for bytes in flipped(&message.encode().unwrap()) {
        let refused = ServerMessage::decode(&bytes).and_then(|message| exchange.receive(message).map(|_| ()));
        assert!(matches!(refused, Err(Error::Peer(_))), "{refused:?} to {bytes:02x?}");
        assert_eq!(*exchange.message(), sent);
    }
}

/// Runs an exchange to its end while every message of it that is authenticated arrives damaged in every way first.
fn under_damage<O: Operation>(world: &mut World, mut exchange: Exchange<O>) -> O::Output {
    loop {
        let message = exchange.message().clone();
        let opens = matches!(message, ClientMessage::RegistrationRequest { .. } | ClientMessage::LoginRequest { .. });
        if !opens {
            assert_server_refuses(world, &message);
        }
        let answer = world.send(&message).unwrap();
        if !matches!(answer, ServerMessage::RegistrationResponse { .. }) {
            assert_client_refuses(&mut exchange, &answer);
        }
        if let Some(outcome) = exchange.receive(answer).unwrap() {
            return outcome.unwrap();
        }
    }
}

#[test]
fn rule_14_a_flipped_bit_of_an_authenticated_message_is_refused_on_the_way_in_and_out() {
    let mut world = support::world(1);
    let client = client("ada");
    let registration = client.register(PASSWORD, &mut world.rng).unwrap();
    under_damage(&mut world, registration);
    let login = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let mut session = under_damage(&mut world, login);
    let exchange = session.generate(&KINDS, &mut world.rng).unwrap();
    let pending = under_damage(&mut world, exchange);
    let exchange = session.store(&pending).unwrap();
    let unsettled = under_damage(&mut world, exchange);
    let stored = session.settle(unsettled).unwrap();
    let key_ids: Vec<_> = stored.iter().map(|secret| secret.key_id).collect();
    let exchange = session.retrieve(&key_ids).unwrap();
    let secrets = under_damage(&mut world, exchange);
    let public: Vec<_> = secrets.iter().map(|secret| secret.public().copied()).collect();
    assert_eq!(public, stored.iter().map(|secret| secret.public).collect::<Vec<_>>());
    let exchange = session.list().unwrap();
    let unsettled = under_damage(&mut world, exchange);
    let listed: BTreeSet<_> = session.settle(unsettled).unwrap().iter().map(|secret| secret.key_id).collect();
    assert_eq!(listed, key_ids.into_iter().collect());
}

/// *An `Err` means that nothing changed*: after all that damage, both sides say byte for byte what they say without.
#[test]
fn rule_14_damage_leaves_the_session_exactly_as_it_was() {
    fn step<O: Operation>(world: &mut World, mut exchange: Exchange<O>, damage: bool) -> (O::Output, ServerMessage) {
        if damage {
            assert_server_refuses(world, exchange.message());
        }
        let answer = world.send(exchange.message()).unwrap();
        if damage {
            assert_client_refuses(&mut exchange, &answer);
        }
        (hostile::ended(exchange.receive(answer.clone())).unwrap(), answer)
    }
    let run = |damage: bool| {
        let mut world = support::world(2);
        let (_, mut session) = world.person("ada");
        let generate = session.generate(&KINDS, &mut world.rng).unwrap();
        let (pending, generated) = step(&mut world, generate, damage);
        let store = session.store(&pending).unwrap();
        let (unsettled, stored) = step(&mut world, store, damage);
        let new = session.settle(unsettled).unwrap();
        let retrieve = session.retrieve(&[new[0].key_id]).unwrap();
        let (_, retrieved) = step(&mut world, retrieve, damage);
        ([generated, stored, retrieved], world.server.store)
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn rule_16_no_message_has_a_second_spelling() {
    let mut world = support::world(3);
    let client = client("ada");
    let mut registration = client.register(PASSWORD, &mut world.rng).unwrap();
    let mut login = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let (mut sent, mut answers) = (vec![], vec![]);
    for _ in 0..2 {
        sent.push(registration.message().clone());
        let answer = world.send(registration.message()).unwrap();
        registration.receive(answer.clone()).unwrap();
        answers.push(answer);
    }
    for _ in 0..2 {
        sent.push(login.message().clone());
        let answer = world.send(login.message()).unwrap();
        login.receive(answer.clone()).unwrap();
        answers.push(answer);
    }
    let Some(ServerMessage::Frame(frame)) = answers.last() else { panic!("no frame") };
    sent.push(ClientMessage::Frame(Frame { sequence: 1 << 40, ..frame.clone() }));
    let refusals = [Refusal::Denied, Refusal::TryAgainAt(world.now), Refusal::KeyIdTaken(KeyId::from_bytes([7; 16]))];
    let session_id = SessionId::from_bytes([7; 16]);
    answers.extend(refusals.map(|refusal| ServerMessage::Refused { session_id, refusal }));

    assert_eq!((sent.len(), answers.len()), (5, 7), "every variant of both");
    for message in sent {
        assert_one_spelling(&message.encode().unwrap(), |bytes| ClientMessage::decode(bytes)?.encode());
    }
    for message in answers {
        assert_one_spelling(&message.encode().unwrap(), |bytes| ServerMessage::decode(bytes)?.encode());
    }
}

/// A frame's seal can be cut or lengthened while the message around it stays in order.
#[test]
fn rule_16_a_sealed_part_of_another_length_does_not_open() {
    let mut world = support::world(7);
    let (_, mut session) = world.person("ada");
    let mut exchange = session.generate(&KINDS, &mut world.rng).unwrap();
    let request = hostile::frame(&exchange);
    let lengths = |sealed: &[u8]| {
        let longer = [[sealed, &[0]].concat(), [&[0], sealed].concat(), [sealed, sealed].concat()];
        truncated(sealed).chain(longer).collect::<Vec<_>>()
    };
    for sealed in lengths(&request.sealed) {
        let message = ClientMessage::Frame(Frame { sealed, ..request });
        assert_eq!(error(world.send(&message)), PeerFault::Unauthenticated.into());
    }
    let answer = world.send(exchange.message()).unwrap();
    let ServerMessage::Frame(reply) = &answer else { panic!("no frame") };
    for sealed in lengths(&reply.sealed) {
        let message = ServerMessage::Frame(Frame { sealed, ..*reply });
        assert_eq!(fault(exchange.receive(message)), PeerFault::Unauthenticated.into());
    }
    assert!(hostile::ended(exchange.receive(answer)).is_ok());
}

/// A registration whose first message, or its answer, was damaged and relabelled so that both sides go on: it never makes
/// an account that nobody can log in to.
fn register_through(
    world: &mut World,
    damage: impl FnOnce(&mut World, &ClientMessage) -> Option<ServerMessage>,
) -> Option<Error> {
    let mut exchange = client("ada").register(PASSWORD, &mut support::rng(7)).unwrap();
    let own_id = exchange.message().session_id().unwrap();
    let response = damage(world, exchange.message())?;
    let servers_id = response.session_id();
    match exchange.receive(relabelled(response, own_id)) {
        Ok(goes_on) => assert!(goes_on.is_none()),
        Err(error) => return Some(error),
    }
    Some(error(world.send(&relabelled_request(exchange.message().clone(), servers_id))))
}

#[test]
fn rule_16_a_damaged_registration_request_makes_no_account() {
    let mut world = support::world(4);
    let honest = client("ada").register(PASSWORD, &mut support::rng(7)).unwrap().message().encode().unwrap();
    let mut went_on = 0;
    for bytes in flipped(&honest) {
        let ended = register_through(&mut world, |world, _| {
            let answer = world.server.handle(&bytes, world.now).ok()?;
            Some(ServerMessage::decode(&answer).unwrap())
        });
        if let Some(error) = ended {
            assert_eq!(error, PeerFault::Transcript.into(), "{bytes:02x?}");
            went_on += 1;
        }
        assert_eq!(world.server.store, testing::MemoryStore::new());
    }
    assert!(went_on > 20, "the account's name and many a blinded element: {went_on}");
    world.register(&client("ada"), PASSWORD).unwrap().unwrap();
    assert!(world.log_in(&client("ada"), PASSWORD).unwrap().is_ok());
}

#[test]
fn rule_16_a_damaged_registration_response_makes_no_account() {
    let mut world = support::world(5);
    let first = client("ada").register(PASSWORD, &mut support::rng(7)).unwrap();
    let honest = world.send(first.message()).unwrap();
    let mut transcripts = 0;
    for bytes in flipped(&honest.encode().unwrap()) {
        let Ok(damaged) = ServerMessage::decode(&bytes) else { continue };
        if damaged.session_id() != honest.session_id() {
            let mut exchange = client("ada").register(PASSWORD, &mut support::rng(7)).unwrap();
            assert_eq!(fault(exchange.receive(damaged)), PeerFault::WrongSession.into());
            continue;
        }
        match register_through(&mut world, |_, _| Some(damaged)).unwrap() {
            Error::Peer(PeerFault::Transcript) => transcripts += 1,
            other => assert_eq!(other, PeerFault::InvalidElement.into(), "{bytes:02x?}"),
        }
        assert_eq!(world.server.store, testing::MemoryStore::new());
    }
    assert!(transcripts > 128, "the user ID and many an element: {transcripts}");
}

/// What the name in a login request is charged.
fn charges(world: &mut World, message: &ClientMessage) -> testing::MemoryStore {
    let mut session = world.server.server.accept(&mut world.rng);
    let Ok(Step::Read(read)) = session.receive(message.clone(), world.now) else { panic!("a login reads") };
    let Query::Account(query) = read.query() else { panic!("a login reads an account") };
    let counter = query.counter();
    let charged = world.server.store.attempts.get(&counter).copied().unwrap_or_default();
    assert_eq!((charged.count, charged.unseen), (1, 1));
    let mut rest = world.server.store.clone();
    rest.attempts.remove(&counter);
    rest
}

#[test]
fn rule_16_a_damaged_login_request_opens_no_session_and_charges_the_name_in_it_once_at_most() {
    let mut world = support::world(6);
    let registered = world.register(&client("ada"), PASSWORD).unwrap().unwrap();
    let client = client("ada").pin_server_key(registered.server_key);
    let mut login = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let request = login.message().clone();
    let own_id = request.session_id().unwrap();
    let before = world.server.store.clone();
    let mut answered = 0;
    for bytes in flipped(&request.encode().unwrap()) {
        match world.server.handle(&bytes, world.now) {
            Err(refused) => {
                assert!(matches!(refused, DriveError::Protocol(Error::Peer(_))), "{refused:?} to {bytes:02x?}");
                assert_eq!(world.server.store, before);
            }
            Ok(answer) => {
                let answer = ServerMessage::decode(&answer).unwrap();
                assert_eq!(charges(&mut world, &ClientMessage::decode(&bytes).unwrap()), before);
                assert_eq!(fault(login.receive(relabelled(answer, own_id))), PeerFault::LoginFailed.into());
                assert_eq!(*login.message(), request);
                answered += 1;
            }
        }
        world.server.store = before.clone();
    }
    assert!(answered > 256 + 24, "the nonce, the profile, the name and many an element: {answered}");
    assert!(world.server.sessions.values().all(|session| session.user_id().is_none()));
    assert!(world.run(login).unwrap().is_ok());
}
