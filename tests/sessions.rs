//! Sessions: how long a handshake and an open session last, to the millisecond; whose a session is; which sequence
//! numbers are taken; what makes no server at all. (What a failed or dropped step leaves: `determinism.rs`.)
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;

use core::time::Duration;

use keystow::testing::MemoryStore;
use keystow::*;
use support::{IDENTITY, NOW, PASSWORD, World, client, error, world, world_with};

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Sends the second message of a handshake, so long after the first was answered.
fn finish_after<O: client::Operation>(world: &mut World, exchange: &mut Exchange<O>, wait: Duration) -> ServerMessage {
    let answer = world.send(exchange.message()).unwrap();
    assert!(exchange.receive(answer).unwrap().is_none());
    world.pass(wait);
    world.send(exchange.message()).unwrap()
}

#[test]
fn a_handshake_ends_within_60_seconds_or_not_at_all() {
    let mut world = world(3);
    let client = client("ada");
    let mut late = client.register(PASSWORD, &mut world.rng).unwrap();
    let refused = finish_after(&mut world, &mut late, MINUTE + MILLISECOND);
    let over: Error = PeerFault::Refused(Refusal::SessionEnded).into();
    assert_eq!(late.receive(refused.clone()).map(drop), Err(over.clone()));
    assert_eq!(world.send(late.message()), Ok(refused), "the refusal is the last reply");
    assert_eq!(world.server.store, MemoryStore::new());
    let mut in_time = client.register(PASSWORD, &mut world.rng).unwrap();
    let registered = finish_after(&mut world, &mut in_time, MINUTE);
    assert!(in_time.receive(registered).unwrap().unwrap().is_ok());

    let mut late = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let refused = finish_after(&mut world, &mut late, MINUTE + MILLISECOND);
    assert_eq!(late.receive(refused.clone()).map(drop), Err(over));
    assert_eq!(world.send(late.message()), Ok(refused));
    assert_eq!(world.server.store.attempts.values().map(|attempts| attempts.count).collect::<Vec<_>>(), [1]);
    assert_eq!(world.server.store.audit.len(), 1, "the registration's entry alone");
    let mut in_time = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let welcome = finish_after(&mut world, &mut in_time, MINUTE);
    assert!(in_time.receive(welcome).unwrap().is_none(), "it goes on with the vault's heads");
    world.pass(5 * MINUTE);
    assert!(world.run(in_time).unwrap().is_ok(), "for which it has as long as an open session may be idle");
    let mut late = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let welcome = finish_after(&mut world, &mut late, MINUTE);
    assert!(late.receive(welcome).unwrap().is_none());
    world.pass(5 * MINUTE + MILLISECOND);
    assert_eq!(world.run(late).unwrap().map(drop), Err(Refusal::SessionEnded));
}

/// The next request is refused under seal, writes nothing and is the session's last; the refusal can be had again.
fn expect_ended(world: &mut World, session: &mut ClientSession, pending: &PendingSecrets) {
    let before = world.server.store.clone();
    let mut exchange = session.store(pending).unwrap();
    let refused = world.send(exchange.message()).unwrap();
    assert_eq!(world.send(exchange.message()), Ok(refused.clone()));
    assert_eq!(exchange.receive(refused).unwrap().unwrap().map(drop), Err(Refusal::SessionEnded));
    assert_eq!(error(world.store(session, pending)), PeerFault::OutOfOrder.into());
    let ended = &world.server.sessions[&session.session_id()];
    assert_eq!((ended.expires(), ended.user_id()), (Some(Timestamp::from_millis(0)), None));
    assert_eq!(world.server.store, before);
}

#[test]
fn a_session_may_be_idle_for_5_minutes() {
    let mut world = world(4);
    let (_, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &[Kind::default()]).unwrap().unwrap();
    for _ in 0..3 {
        world.pass(5 * MINUTE);
        world.generate(&mut session, &[Kind::default()]).unwrap().unwrap();
    }
    world.pass(5 * MINUTE + MILLISECOND);
    expect_ended(&mut world, &mut session, &pending);
}

#[test]
fn a_session_lasts_60_minutes_however_busy_it_is() {
    let mut world = world(5);
    let (_, mut session) = world.person("ada");
    assert_eq!(session.expires(), NOW.after(60 * MINUTE));
    let pending = world.generate(&mut session, &[Kind::default()]).unwrap().unwrap();
    for _ in 0..12 {
        world.pass(5 * MINUTE);
        world.generate(&mut session, &[Kind::default()]).unwrap().unwrap();
    }
    assert_eq!(world.now, session.expires());
    world.pass(MILLISECOND);
    expect_ended(&mut world, &mut session, &pending);
}

#[test]
fn a_session_says_whose_it_is_and_how_long_it_waits_by_the_policy() {
    let seconds = Duration::from_secs;
    let policy = ServerPolicy {
        handshake_timeout: seconds(7),
        idle_timeout: seconds(11),
        session_lifetime: seconds(25),
        ..ServerPolicy::default()
    };
    let mut world = world_with(6, MemoryStore::new(), policy);
    let fresh = world.server.server.accept(&mut world.rng);
    assert_eq!((fresh.expires(), fresh.user_id()), (None, None));
    let client = client("ada");
    let look = |world: &World, id| (world.server.sessions[&id].expires(), world.server.sessions[&id].user_id());
    let ended = (Some(Timestamp::from_millis(0)), None);

    let mut registration = client.register(PASSWORD, &mut world.rng).unwrap();
    let id = registration.message().session_id().unwrap();
    let response = world.send(registration.message()).unwrap();
    assert_eq!(look(&world, id), (Some(NOW.after(seconds(7))), None));
    registration.receive(response).unwrap();
    world.send(registration.message()).unwrap();
    assert_eq!(look(&world, id), ended);

    let mut login = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let id = login.message().session_id().unwrap();
    let ke2 = world.send(login.message()).unwrap();
    assert_eq!(look(&world, id), (Some(NOW.after(seconds(7))), None), "nobody is logged in before KE3");
    login.receive(ke2).unwrap();
    world.pass(seconds(1));
    let welcome = world.send(login.message()).unwrap();
    assert!(login.receive(welcome).unwrap().is_none());
    let opened = look(&world, id);
    let mut session = world.run(login).unwrap().unwrap();
    let user_id = Some(session.user_id());
    assert_eq!(opened, (Some(NOW.after(seconds(12))), user_id), "it is open from the Welcome on");
    assert_eq!(session.expires(), NOW.after(seconds(1 + 25)));
    for idle_until in [12, 21, 26, 26] {
        assert_eq!(look(&world, id), (Some(NOW.after(seconds(idle_until))), user_id));
        world.now = NOW.after(seconds(idle_until - 2));
        world.generate(&mut session, &[Kind::default()]).unwrap().unwrap();
    }
    world.now = NOW.after(seconds(27));
    assert_eq!(world.generate(&mut session, &[Kind::default()]).unwrap().unwrap_err(), Refusal::SessionEnded);
    assert_eq!(look(&world, id), ended);
}

#[test]
fn a_request_that_was_given_up_is_skipped_and_never_taken_later() {
    let mut world = world(7);
    let (_, mut session) = world.person("ada");
    let kinds = [Kind::default()];
    (0..1_000).for_each(|_| drop(session.generate(&kinds, &mut world.rng).unwrap()));
    let given_up = session.generate(&kinds, &mut world.rng).unwrap();
    let answered = session.generate(&kinds, &mut world.rng).unwrap();
    let reply = world.send(answered.message()).unwrap();
    for _ in 0..2 {
        assert_eq!(error(world.send(given_up.message())), PeerFault::WrongSequence.into());
        assert_eq!(world.send(answered.message()), Ok(reply.clone()), "the session is as it was");
    }
    world.generate(&mut session, &kinds).unwrap().unwrap();
    assert_eq!(error(world.send(answered.message())), PeerFault::WrongSequence.into(), "only the last is repeated");
    world.generate(&mut session, &kinds).unwrap().unwrap();
}

/// The number that the exchange's message has.
fn number<O: client::Operation>(exchange: &Exchange<O>) -> u64 {
    match exchange.message() {
        ClientMessage::Frame(frame) => frame.sequence,
        other => panic!("no frame: {other:?}"),
    }
}

/// What may take several requests has a block of numbers, 1,024 for a change and 16,384 for a list or a store, so that what is
/// begun behind it never seals under one of them.
#[test]
fn an_exchange_of_several_requests_gives_back_the_numbers_that_it_leaves_once_it_is_settled() {
    let (change, list) = (1_024, 16_384);
    let mut world = world(11);
    let (_, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &[Kind::default()]).unwrap().unwrap();
    let stored = world.store(&mut session, &pending).unwrap().unwrap();
    assert_eq!(world.list(&mut session).unwrap().unwrap().len(), 1);
    let next = |session: &mut ClientSession| number(&session.status().unwrap());
    assert_eq!(next(&mut session), 6, "heads, generate, store, list");
    // Stored before, as it turns out after the heads were looked at: two requests.
    assert!(world.store(&mut session, &pending).unwrap().unwrap()[0].already_stored);
    assert_eq!(next(&mut session), 9);

    // Nothing is given back by an exchange that was refused, nor by one whose answer was dropped.
    let missing = [KeyId::from_bytes([0; 16])];
    assert_eq!(world.delete(&mut session, &missing).unwrap(), Err(Refusal::NotFound));
    assert_eq!(next(&mut session), 10 + change);
    let dropped = session.list().unwrap();
    drop(world.run(dropped).unwrap().unwrap());
    assert_eq!(next(&mut session), 11 + change + list);
    // Nor by one behind which another has begun. That is none with the vault, which takes no number when it is refused.
    let stored = [stored[0].key_id];
    let first = session.list().unwrap();
    assert_eq!(session.delete(&stored).map(drop), Err(CallerFault::Unsettled.into()));
    let second = session.retrieve(&stored).unwrap();
    assert_eq!((number(&first), number(&second)), (12 + change + list, 12 + change + 2 * list));
    let listed = world.run(first).unwrap().unwrap();
    assert_eq!(session.store(&pending).map(drop), Err(CallerFault::Unsettled.into()), "while its answer is there, too");
    session.settle(listed).unwrap();
    assert_eq!(world.run(second).unwrap().unwrap().len(), 1);
    assert_eq!(next(&mut session), 13 + change + 2 * list);
    // A delete that is settled gives back what it leaves.
    assert_eq!(world.delete(&mut session, &stored).unwrap(), Ok(()));
    assert_eq!(next(&mut session), 15 + change + 2 * list);
}

#[test]
fn another_request_under_the_last_ones_number_is_refused() {
    let mut world = world(8);
    let (client, _) = world.person("ada");
    // A restored device image: two logins that are one, down to keys and sequence numbers.
    let mut twins = [(); 2].map(|()| client.log_in(PASSWORD, None, &mut support::rng(9)).unwrap());
    let [mut first, mut second] = [(); 2].map(|()| None);
    while first.is_none() {
        let reply = world.send(twins[0].message()).unwrap();
        [first, second] = twins.each_mut().map(|twin| twin.receive(reply.clone()).unwrap());
    }
    let (mut first, mut second) = (first.unwrap().unwrap(), second.unwrap().unwrap());
    let mut taken = first.generate(&[Kind::Ed25519], &mut world.rng).unwrap();
    let other = second.retrieve(&[KeyId::from_bytes([0; 16])]).unwrap();
    let reply = world.send(taken.message()).unwrap();
    let before = world.server.store.clone();
    assert_eq!(error(world.send(other.message())), PeerFault::WrongSequence.into());
    assert_eq!(world.server.store, before);
    assert_eq!(world.send(taken.message()), Ok(reply.clone()));
    assert!(taken.receive(reply).unwrap().unwrap().is_ok());
}

#[test]
fn a_policy_of_nothing_and_an_identity_out_of_range_make_no_server() {
    let make = |identity: &[u8], policy| {
        Server::new(ServerSetup::generate(&mut support::rng(10)).unwrap(), identity, policy).map(drop)
    };
    let usual = ServerPolicy::default();
    let short = Duration::from_micros(999);
    for (policy, name) in [
        (ServerPolicy { attempt_limit: 0, ..usual }, "attempt limit"),
        (ServerPolicy { attempt_window: short, ..usual }, "attempt window"),
        (ServerPolicy { handshake_timeout: short, ..usual }, "handshake timeout"),
        (ServerPolicy { idle_timeout: Duration::ZERO, ..usual }, "idle timeout"),
        (ServerPolicy { recent_login: Duration::ZERO, ..usual }, "recent login"),
        (ServerPolicy { session_lifetime: Duration::ZERO, ..usual }, "session lifetime"),
    ] {
        assert_eq!(make(IDENTITY.as_bytes(), policy), Err(CallerFault::Policy(name).into()));
    }
    let least = ServerPolicy {
        attempt_limit: 1,
        attempt_window: MILLISECOND,
        handshake_timeout: MILLISECOND,
        idle_timeout: MILLISECOND,
        recent_login: MILLISECOND,
        session_lifetime: Duration::MAX,
    };
    assert_eq!(make(IDENTITY.as_bytes(), least), Ok(()));
    for len in [0, 256] {
        assert_eq!(make(&vec![b'a'; len], usual), Err(CallerFault::ServerIdentityLength { len, max: 255 }.into()));
    }
    assert_eq!(make(&[b'a'; 255], usual), Ok(()));
}
