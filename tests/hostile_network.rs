//! A network that replays, reorders, splices, reflects and forges what it can't read (rules 14 and 16). Damaged bytes are in
//! `hostile_bytes.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod hostile;
mod support;

use hostile::{ended, fault, frame, relabelled, relabelled_request};
use keystow::client::Operation;
use keystow::*;
use support::{PASSWORD, World, client, error};

/// Every message that a person's client sends from registration to retrieval, and the answer to each.
struct Tape(Vec<(ClientMessage, ServerMessage)>);

impl Tape {
    /// Runs an exchange to its end and keeps what crossed; `look` sees each message right after it was answered.
    fn run<O: Operation>(
        &mut self,
        world: &mut World,
        mut exchange: Exchange<O>,
        mut look: impl FnMut(&mut World, &ClientMessage, &ServerMessage),
    ) -> O::Output {
        loop {
            let message = exchange.message().clone();
            let answer = world.send(&message).unwrap();
            look(world, &message, &answer);
            self.0.push((message, answer.clone()));
            if let Some(outcome) = exchange.receive(answer).unwrap() {
                return outcome.unwrap();
            }
        }
    }

    /// The whole run.
    fn record(world: &mut World, mut look: impl FnMut(&mut World, &ClientMessage, &ServerMessage)) -> Self {
        let mut tape = Self(vec![]);
        let client = client("ada");
        let exchange = client.register(PASSWORD, &mut world.rng).unwrap();
        tape.run(world, exchange, &mut look);
        let exchange = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
        let mut session = tape.run(world, exchange, &mut look);
        let exchange = session.generate(&[Kind::Ed25519], &mut world.rng).unwrap();
        let pending = tape.run(world, exchange, &mut look);
        let exchange = session.store(&pending).unwrap();
        let unsettled = tape.run(world, exchange, &mut look);
        let stored = session.settle(unsettled).unwrap();
        let exchange = session.retrieve(&[stored[0].key_id]).unwrap();
        tape.run(world, exchange, &mut look);
        assert_eq!(tape.0.len(), 8);
        tape
    }
}

#[test]
fn rule_14_a_repeated_message_gets_the_same_answer_and_is_done_once() {
    let mut world = support::world(1);
    Tape::record(&mut world, |world, message, answer| {
        let (store, sessions) = (world.server.store.clone(), world.server.sessions.len());
        for _ in 0..2 {
            assert_eq!(world.send(message).unwrap(), *answer);
        }
        assert_eq!((&world.server.store, world.server.sessions.len()), (&store, sessions));
    });
}

#[test]
fn rule_14_a_message_from_before_the_last_is_refused_and_does_nothing() {
    let mut world = support::world(2);
    let tape = Tape::record(&mut world, |_, _, _| {});
    let (store, sessions) = (world.server.store.clone(), world.server.sessions.len());
    let faults = [
        PeerFault::OutOfOrder, // registration request; its upload is the last message of that session
        PeerFault::OutOfOrder, // login request
        PeerFault::OutOfOrder, // KE3
        PeerFault::WrongSequence,
        PeerFault::WrongSequence,
        PeerFault::WrongSequence,
    ];
    let old = [0, 2, 3, 4, 5, 6].map(|i| tape.0[i].0.clone());
    for (message, expected) in old.iter().zip(faults) {
        assert_eq!(error(world.send(message)), expected.into());
    }
    assert_eq!((&world.server.store, world.server.sessions.len()), (&store, sessions));
    assert_eq!(world.send(&tape.0[7].0).unwrap(), tape.0[7].1, "the session goes on");
}

#[test]
fn rule_14_a_whole_run_played_again_after_a_restart_costs_one_charge_and_does_nothing() {
    let mut world = support::world(3);
    let tape = Tape::record(&mut world, |_, _, _| {});
    let before = world.server.store.clone();
    world.server.crash();
    let mut faults = vec![];
    for (message, recorded) in &tape.0 {
        match world.send(message) {
            Ok(answer) => assert_ne!(answer, *recorded, "a new session has answers of its own"),
            refused => faults.push(error(refused)),
        }
    }
    let order = PeerFault::OutOfOrder;
    let expected = [PeerFault::Transcript, PeerFault::WrongKe3, order.clone(), order.clone(), order.clone(), order];
    assert_eq!(faults, expected.map(Error::from));
    let charged = world.server.store.attempts.values().map(|attempts| attempts.count).collect::<Vec<_>>();
    assert_eq!(charged, [1]);
    assert_eq!(testing::MemoryStore { attempts: before.attempts.clone(), ..world.server.store }, before);
}

#[test]
fn rule_14_of_two_requests_that_overtake_each_other_the_earlier_is_refused() {
    let mut world = support::world(4);
    let (_, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &[Kind::Ed25519]).unwrap().unwrap();
    let mut earlier = session.generate(&[Kind::Ed25519], &mut world.rng).unwrap();
    let mut later = session.store(&pending).unwrap();
    let answer = world.send(later.message()).unwrap();
    let store = world.server.store.clone();
    assert_eq!(error(world.send(earlier.message())), PeerFault::WrongSequence.into());
    assert_eq!(world.server.store, store);
    assert_eq!(fault(earlier.receive(answer.clone())), PeerFault::WrongSequence.into());
    let stored = session.settle(ended(later.receive(answer)).unwrap()).unwrap();
    assert!(stored.iter().map(|secret| secret.key_id).eq(pending.key_ids()));
    // The earlier one was never done; it is done when it is asked for again.
    let again = world.generate(&mut session, &[Kind::Ed25519]).unwrap().unwrap();
    assert!(!world.store(&mut session, &again).unwrap().unwrap()[0].already_stored);
    assert_eq!(world.list(&mut session).unwrap().unwrap().len(), 2, "and the vault's head knows both");
}

#[test]
fn rule_14_a_frame_under_another_number_or_session_or_sent_back_does_not_open() {
    let mut world = support::world(5);
    let (_, mut ada) = world.person("ada");
    let (_, mut bob) = world.person("bob");
    let exchange = ada.generate(&[Kind::Ed25519], &mut world.rng).unwrap();
    let own = frame(&exchange);
    let last = world.send(exchange.message()).unwrap();
    let ServerMessage::Frame(reply) = last.clone() else { panic!("no frame") };
    let store = world.server.store.clone();

    // A login takes the numbers 1 and 2.
    assert_eq!((own.sequence, reply.sequence), (3, 3));
    let unauthenticated = Error::from(PeerFault::Unauthenticated);
    let renumbered = [4, 5, 1 << 32, u64::MAX].map(|sequence| Frame { sequence, ..own.clone() });
    let reflected = [3, 4].map(|sequence| Frame { sequence, ..reply.clone() });
    let spliced = Frame { session_id: bob.session_id(), ..own.clone() };
    for frame in renumbered.into_iter().chain(reflected).chain([spliced]) {
        assert_eq!(error(world.send(&ClientMessage::Frame(frame.clone()))), unauthenticated, "{frame:?}");
    }
    for sequence in [0, 1, 2] {
        let frame = Frame { sequence, ..own.clone() };
        assert_eq!(error(world.send(&ClientMessage::Frame(frame))), PeerFault::WrongSequence.into());
    }
    assert_eq!(world.server.store, store);
    assert_eq!(world.send(exchange.message()).unwrap(), last, "and none of it has moved the session");
    for session in [&mut ada, &mut bob] {
        assert!(world.generate(session, &[Kind::Ed25519]).unwrap().is_ok());
    }
}

/// Two devices restored from one image, in the middle of a login: they have the same keys and the same next number. The
/// first that asks is answered; a different request under a number that is used never gets the other's reply.
#[test]
fn rule_14_a_number_that_was_used_takes_no_other_request() {
    let mut world = support::world(12);
    let (client, _) = world.person("ada");
    let mut logins = [7, 7].map(|seed| client.log_in(PASSWORD, None, &mut support::rng(seed)).unwrap());
    let response = world.send(logins[0].message()).unwrap();
    assert!(logins.iter_mut().all(|login| login.receive(response.clone()).unwrap().is_none()));
    let welcome = world.send(logins[0].message()).unwrap();
    assert!(logins.iter_mut().all(|login| login.receive(welcome.clone()).unwrap().is_none()));
    let heads = world.send(logins[0].message()).unwrap();
    let [mut one, mut other] = logins.map(|mut login| ended(login.receive(heads.clone())).unwrap());
    let mut first = one.generate(&[Kind::Ed25519], &mut world.rng).unwrap();
    let different = other.generate(&[Kind::Bytes(32)], &mut world.rng).unwrap();
    assert_eq!(frame(&first).sequence, frame(&different).sequence);

    let answer = world.send(first.message()).unwrap();
    assert_eq!(error(world.send(different.message())), PeerFault::WrongSequence.into());
    assert_eq!(world.send(first.message()).unwrap(), answer);
    assert!(ended(first.receive(answer)).is_ok());
}

#[test]
fn rule_14_nothing_of_one_login_goes_into_another_of_the_same_person() {
    let mut world = support::world(6);
    let (client, _) = world.person("ada");
    let mut start = || {
        let exchange = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
        let response = world.send(exchange.message()).unwrap();
        (exchange, response)
    };
    let ((mut a, response_a), (mut b, response_b)) = (start(), start());
    let (id_a, id_b) = (response_a.session_id(), response_b.session_id());

    assert_eq!(fault(a.receive(response_b.clone())), PeerFault::WrongSession.into());
    assert_eq!(fault(a.receive(relabelled(response_b.clone(), id_a))), PeerFault::LoginFailed.into());
    assert!(a.receive(response_a).unwrap().is_none());
    assert!(b.receive(response_b).unwrap().is_none());

    let spliced = relabelled_request(b.message().clone(), id_a);
    assert_eq!(error(world.send(&spliced)), PeerFault::WrongKe3.into());
    let (welcome_a, welcome_b) = (world.send(a.message()).unwrap(), world.send(b.message()).unwrap());
    assert_eq!(fault(a.receive(relabelled(welcome_b.clone(), id_a))), PeerFault::Unauthenticated.into());
    assert_eq!(fault(b.receive(relabelled(welcome_a.clone(), id_b))), PeerFault::Unauthenticated.into());
    assert!(a.receive(welcome_a).unwrap().is_none());
    assert!(b.receive(welcome_b).unwrap().is_none());
    let (heads_a, heads_b) = (world.send(a.message()).unwrap(), world.send(b.message()).unwrap());
    assert_eq!(fault(a.receive(relabelled(heads_b, id_a))), PeerFault::Unauthenticated.into());
    assert!(ended(a.receive(heads_a)).is_ok());
}

#[test]
fn rule_14_nothing_of_one_registration_goes_into_another_for_the_same_name() {
    let mut world = support::world(7);
    let mut start = || {
        let exchange = client("ada").register(PASSWORD, &mut world.rng).unwrap();
        let response = world.send(exchange.message()).unwrap();
        (exchange, response)
    };
    let ((mut a, response_a), (mut b, response_b)) = (start(), start());
    let (id_a, id_b) = (response_a.session_id(), response_b.session_id());

    // The response to b reaches a under a's label, and a's upload reaches both sessions.
    assert!(a.receive(relabelled(response_b.clone(), id_a)).unwrap().is_none());
    for label in [id_a, id_b] {
        let upload = relabelled_request(a.message().clone(), label);
        assert_eq!(error(world.send(&upload)), PeerFault::Transcript.into());
    }
    assert!(b.receive(response_b).unwrap().is_none());
    let spliced = relabelled_request(b.message().clone(), id_a);
    assert_eq!(error(world.send(&spliced)), PeerFault::Transcript.into());
    assert_eq!(world.server.store, testing::MemoryStore::new());

    let registered = world.send(b.message()).unwrap();
    assert!(ended(b.receive(registered)).is_ok());
    assert!(world.log_in(&client("ada"), PASSWORD).unwrap().is_ok());
}

/// Whatever arrives first under a label, a session is found by the hash of the message that opened it.
#[test]
fn rule_14_a_garbled_first_message_takes_no_session_over() {
    let mut world = support::world(8);
    let (client, _) = world.person("ada");
    let mut login = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let own_id = login.message().session_id().unwrap();
    let honest = login.message().encode().unwrap();
    let mut garbled: Vec<_> =
        hostile::flipped(&honest).filter_map(|bytes| ClientMessage::decode(&bytes).ok()).collect();
    garbled.truncate(8);
    for message in &garbled {
        assert_ne!(message.session_id().unwrap(), own_id);
        let _ = world.send(message);
        assert!(!world.server.sessions.contains_key(&own_id));
    }
    let response = world.send(login.message()).unwrap();
    let store = world.server.store.clone();
    // A session that is open takes no other first message, even if an embedder routes it there.
    let session = world.server.sessions.get_mut(&own_id).unwrap();
    for message in garbled {
        assert_eq!(fault(session.receive(message, world.now)), PeerFault::WrongSession.into());
    }
    assert_eq!(world.send(login.message()).unwrap(), response, "no second charge");
    assert_eq!(world.server.store, store);
    assert!(login.receive(response).unwrap().is_none());
    assert!(world.run(login).unwrap().is_ok());
}

/// Gives an exchange every refusal that can be forged, before each of its answers: it goes on all the same.
fn under_forged_refusals<O: Operation>(world: &mut World, mut exchange: Exchange<O>) -> O::Output {
    loop {
        let message = exchange.message().clone();
        let answer = world.send(&message).unwrap();
        let session_id = answer.session_id();
        for refusal in [
            Refusal::Denied,
            Refusal::NameTaken,
            Refusal::TryAgainAt(Timestamp::from_millis(u64::MAX)),
            Refusal::SessionEnded,
            Refusal::KeyIdTaken(KeyId::from_bytes([0; 16])),
            Refusal::NotFound,
            Refusal::TooLarge,
            Refusal::AlreadyDeleted(KeyId::from_bytes([0; 16])),
            Refusal::LoginTooOld,
            Refusal::HeadMoved,
        ] {
            let forged = ServerMessage::Refused { session_id, refusal };
            assert_eq!(fault(exchange.receive(forged)), PeerFault::Refused(refusal).into());
            assert_eq!(*exchange.message(), message);
        }
        if let Some(outcome) = exchange.receive(answer).unwrap() {
            return outcome.unwrap();
        }
    }
}

#[test]
fn rule_14_a_forged_refusal_ends_no_exchange() {
    let mut world = support::world(9);
    let client = client("ada");
    let exchange = client.register(PASSWORD, &mut world.rng).unwrap();
    under_forged_refusals(&mut world, exchange);
    let exchange = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let mut session = under_forged_refusals(&mut world, exchange);
    let exchange = session.generate(&[Kind::Ed25519], &mut world.rng).unwrap();
    let pending = under_forged_refusals(&mut world, exchange);
    let exchange = session.store(&pending).unwrap();
    let unsettled = under_forged_refusals(&mut world, exchange);
    let stored = session.settle(unsettled).unwrap();
    let exchange = session.retrieve(&[stored[0].key_id]).unwrap();
    assert_eq!(under_forged_refusals(&mut world, exchange).len(), 1);
}

#[test]
fn rule_16_a_message_over_1_mib_is_refused_by_its_length_alone() {
    let mut world = support::world(10);
    let honest = client("ada").log_in(PASSWORD, None, &mut world.rng).unwrap().message().encode().unwrap();
    for len in [MAX_MESSAGE + 1, 2 * MAX_MESSAGE] {
        let expected = Error::from(PeerFault::TooLong { len, max: MAX_MESSAGE });
        // Nothing of it is decoded: a wrong version and an honest beginning are refused alike.
        let mut honest_at_first = honest.clone();
        honest_at_first.resize(len, 0);
        for bytes in [vec![0xff; len], vec![1; len], honest_at_first] {
            assert_eq!(ClientMessage::decode(&bytes), Err(expected.clone()));
            assert_eq!(ServerMessage::decode(&bytes), Err(expected.clone()));
            assert_eq!(error(world.server.handle(&bytes, world.now)), expected);
        }
    }
    let longest = vec![1; MAX_MESSAGE];
    assert_eq!(ClientMessage::decode(&longest), Err(PeerFault::Undecodable.into()));
    assert!(world.server.sessions.is_empty());
}

#[test]
fn rule_16_a_length_that_claims_more_than_there_is_is_refused_before_it_is_allocated() {
    let varint_max = [&[0xff; 9][..], &[1]].concat();
    let account = |variant: u8| [&[1, variant], &varint_max[..], b"ada"].concat();
    let sealed = [&[1, 4][..], &[7; 16], &[2], &varint_max, &[0; 64]].concat();
    for bytes in [account(0), account(2), sealed.clone()] {
        assert_eq!(ClientMessage::decode(&bytes), Err(PeerFault::Undecodable.into()));
    }
    assert_eq!(ServerMessage::decode(&sealed), Err(PeerFault::Undecodable.into()));
}
