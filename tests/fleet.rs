//! A fleet: nodes on one store, any of which takes any message. No reply leaves without its session's next version; a node
//! that dies, or is behind, changes nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic_in_result_fn
)]

mod support;

use keystow::client::Operation;
use keystow::storage::{Outcome, Query, SessionQuery, StoredSession};
use keystow::testing::{DriveError, Fleet, MemoryStore, SessionRow, Store};
use keystow::*;
use rand_chacha::ChaCha20Rng;
use support::{IDENTITY, NOW, PASSWORD, client, rng};

const NODES: usize = 3;

struct World {
    fleet: Fleet<MemoryStore>,
    rng: ChaCha20Rng,
    /// The node that takes the next message: each message another.
    turn: usize,
}

fn fleet_key(byte: u8) -> FleetKey {
    FleetKey::from_bytes(&[byte; 32]).unwrap()
}

fn node(key: u8) -> Server {
    let setup = ServerSetup::generate(&mut rng(1)).unwrap();
    Server::in_fleet(setup, IDENTITY, ServerPolicy::default(), fleet_key(key)).unwrap()
}

fn world() -> World {
    let nodes = (0..NODES).map(|_| node(1)).collect();
    World { fleet: Fleet::new(nodes, MemoryStore::new(), 2), rng: rng(3), turn: 0 }
}

impl World {
    fn next_node(&mut self) -> usize {
        self.turn = (self.turn + 1).rem_euclid(NODES);
        self.turn
    }

    fn send(&mut self, message: &ClientMessage) -> Result<ServerMessage, Error> {
        let node = self.next_node();
        self.fleet.answer(node, message.clone(), NOW).map_err(|error| match error {
            DriveError::Protocol(error) => error,
            DriveError::Store(never) => match never {},
        })
    }

    /// Runs an exchange to its end, each message at another node, each sent once more at a third.
    fn run<O: Operation>(&mut self, mut exchange: Exchange<O>) -> Result<O::Output, Refusal> {
        loop {
            let answer = self.send(exchange.message()).unwrap();
            let before = self.fleet.store.clone();
            assert_eq!(self.send(exchange.message()).unwrap(), answer, "a repeat gets the same bytes anywhere");
            assert_eq!(self.fleet.store, before, "and writes nothing");
            if let Some(outcome) = exchange.receive(answer).unwrap() {
                return outcome;
            }
        }
    }

    fn person(&mut self) -> (Client, ClientSession) {
        let client = client("ada");
        let exchange = client.register(PASSWORD, &mut self.rng).unwrap();
        let registered = self.run(exchange).unwrap();
        let exchange = client.log_in(PASSWORD, Some(registered.pin), &mut self.rng).unwrap();
        let session = self.run(exchange).unwrap();
        (client, session)
    }

    fn secret(&mut self, session: &mut ClientSession) -> KeyId {
        let exchange = session.generate(&[Kind::Ed25519], &mut self.rng).unwrap();
        let pending = self.run(exchange).unwrap();
        let exchange = session.store(&pending).unwrap();
        let stored = self.run(exchange).unwrap();
        session.settle(stored).unwrap()[0].key_id
    }

    fn row(&mut self, session_id: SessionId) -> &mut SessionRow {
        self.fleet.store.sessions.get_mut(&session_id).unwrap()
    }
}

/// Takes a message at a node up to its write, whose outcome the caller decides on.
fn step<T>(world: &mut World, message: &ClientMessage, then: impl FnOnce(&mut MemoryStore, Write<'_>) -> T) -> T {
    let node = world.next_node();
    let mut session = world.fleet.session(node, message).unwrap();
    let mut step = session.receive(message.clone(), NOW).unwrap();
    loop {
        step = match step {
            Step::Read(read) => {
                let found = world.fleet.store.read(read.query()).unwrap();
                read.found(found).unwrap()
            }
            Step::Write(write) => return then(&mut world.fleet.store, write),
            Step::Reply(reply) => panic!("no write: {reply:?}"),
        }
    }
}

#[test]
fn every_operation_works_with_each_of_its_messages_at_another_node() {
    let mut world = world();
    let (client, mut session) = world.person();
    let key_ids = [world.secret(&mut session), world.secret(&mut session)];
    let exchange = session.retrieve(&key_ids).unwrap();
    assert_eq!(world.run(exchange).unwrap().len(), 2);
    let exchange = session.delete(&key_ids[..1]).unwrap();
    let deleted = world.run(exchange).unwrap();
    session.settle(deleted).unwrap();
    let exchange = session.delete(&key_ids[..1]).unwrap();
    assert_eq!(world.run(exchange).map(drop), Err(Refusal::AlreadyDeleted(key_ids[0])), "a refusal is kept as well");
    let exchange = session.change_password("new", &mut world.rng).unwrap();
    let changed = world.run(exchange).unwrap();
    session.settle(changed).unwrap();
    let exchange = session.list().unwrap();
    let listed = world.run(exchange).unwrap();
    assert_eq!(session.settle(listed).unwrap()[0].key_id, key_ids[1]);
    let exchange = session.status().unwrap();
    assert_eq!(world.run(exchange).unwrap().recent_login, core::time::Duration::from_secs(300));
    let exchange = session.audit(AuditFilter::default(), None, 256).unwrap();
    assert_eq!(world.run(exchange).unwrap().entries.len(), 9);
    let pin = session.pin();
    let exchange = session.log_out().unwrap();
    world.run(exchange).unwrap();
    let exchange = client.log_in("new", Some(pin), &mut world.rng).unwrap();
    let mut session = world.run(exchange).unwrap();
    let exchange = session.delete_account().unwrap();
    world.run(exchange).unwrap();
    let MemoryStore { accounts, secrets, heads, audit, .. } = &world.fleet.store;
    assert!(accounts.is_empty() && secrets.is_empty() && heads.is_empty() && audit.is_empty());
}

#[test]
fn every_step_but_a_repeat_is_a_write_that_moves_the_session_on_by_one() {
    let mut world = world();
    let (_, mut session) = world.person();
    let generate = session.generate(&[Kind::Ed25519], &mut world.rng).unwrap();
    let status = session.status().unwrap();
    let list = session.list().unwrap();
    for exchange in [generate.message(), status.message(), list.message()] {
        let version = world.row(session.session_id()).session.version;
        step(&mut world, exchange, |store, write| {
            let advance = write.transaction().advance.clone().expect("it moves on");
            assert_eq!((advance.session_id, advance.from), (session.session_id(), version));
            assert!(advance.expires > NOW);
            let outcome = store.apply(write.transaction()).unwrap();
            write.settle(outcome).unwrap();
        });
        assert_eq!(world.row(session.session_id()).session.version, version + 1);
    }
}

#[test]
fn of_two_nodes_that_take_one_message_one_answers_and_the_other_sends_nothing() {
    let mut world = world();
    let (_, mut session) = world.person();
    let exchange = session.generate(&[Kind::Ed25519], &mut world.rng).unwrap();
    let message = exchange.message().clone();
    // One node has loaded the session when the other answers.
    let (late, store) = step(&mut world, &message, |store, write| {
        let late = write.transaction().clone();
        let before = store.clone();
        (late, before)
    });
    let answer = world.send(&message).unwrap();
    assert_eq!(world.fleet.store.apply(&late).unwrap(), Outcome::Moved);
    assert_eq!(world.send(&message).unwrap(), answer);
    // Settled with that outcome, the late step gives no message, and its session stays where it was.
    world.fleet.store = store;
    step(&mut world, &message, |store, write| {
        let before = store.clone();
        assert_eq!(write.settle(Outcome::Moved), Err(Error::Moved));
        assert_eq!(*store, before);
    });
}

#[test]
fn a_node_that_dies_between_its_write_and_its_answer_is_replaced_by_any_other() {
    let mut world = world();
    let (_, mut session) = world.person();
    let exchange = session.generate(&[Kind::Ed25519], &mut world.rng).unwrap();
    let pending = world.run(exchange).unwrap();
    let exchange = session.store(&pending).unwrap();
    // Before the write: nothing has happened. After it: the answer is there.
    step(&mut world, exchange.message(), |_, write| drop(write));
    let settled = step(&mut world, exchange.message(), |store, write| {
        let outcome = store.apply(write.transaction()).unwrap();
        assert_eq!(outcome, Outcome::Applied);
        write.settle(outcome).unwrap()
    });
    let before = world.fleet.store.clone();
    assert_eq!(world.send(exchange.message()).unwrap(), settled, "what the dead node would have sent");
    assert_eq!(world.fleet.store, before);
    let stored = world.run(exchange).unwrap();
    assert!(!session.settle(stored).unwrap()[0].already_stored);
    assert_eq!(world.fleet.store.secrets.len(), 1);
}

#[test]
fn an_attempt_is_charged_once_and_refunded_once_whichever_nodes_take_the_login() {
    let mut world = world();
    let (client, _) = world.person();
    let mut exchange = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let count = |world: &World| world.fleet.store.attempts.values().next().unwrap().count;
    assert_eq!(count(&world), 0);
    let first = world.send(exchange.message()).unwrap();
    assert_eq!(count(&world), 1);
    for _ in 0..NODES {
        assert_eq!(world.send(exchange.message()).unwrap(), first);
    }
    assert_eq!(count(&world), 1);
    assert!(exchange.receive(first).unwrap().is_none());
    world.run(exchange).unwrap();
    assert_eq!(count(&world), 0);
}

/// A node that takes in what another has written goes on from the store's outcome, not from what the step had hoped for.
#[test]
fn an_attempt_that_was_refused_is_refused_at_every_node() {
    let mut world = world();
    let (client, _) = world.person();
    let mut guess = || client.log_in("a guess", None, &mut world.rng).unwrap().message().clone();
    let guesses: Vec<ClientMessage> = (0..=ServerPolicy::default().attempt_limit).map(|_| guess()).collect();
    let answers: Vec<ServerMessage> = guesses.iter().map(|guess| world.send(guess).unwrap()).collect();
    let refused = answers.last().unwrap();
    assert!(matches!(refused, ServerMessage::Refused { refusal: Refusal::TryAgainAt(_), .. }), "{refused:?}");
    for _ in 0..NODES {
        assert_eq!(world.send(guesses.last().unwrap()), Ok(refused.clone()));
    }
}

#[test]
fn a_stored_session_opens_under_its_own_key_id_version_and_outcome_alone() {
    let mut world = world();
    let (_, mut session) = world.person();
    let (_, other) = {
        let client = client("bob");
        let exchange = client.register(PASSWORD, &mut world.rng).unwrap();
        world.run(exchange).unwrap();
        let exchange = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
        (client, world.run(exchange).unwrap())
    };
    let id = session.session_id();
    let honest = world.row(id).session.clone();
    let others = world.row(other.session_id()).session.clone();
    let message = session.status().unwrap().message().clone();
    let mut garbled = honest.clone();
    *garbled.sealed.last_mut().unwrap() ^= 1;
    let lies = [
        StoredSession { version: honest.version + 1, ..honest.clone() },
        StoredSession { version: 0, ..honest.clone() },
        StoredSession { resolution: vec![1], ..honest.clone() },
        StoredSession { resolution: vec![1, 9], ..honest.clone() },
        StoredSession { sealed: vec![], ..honest.clone() },
        garbled,
        others,
    ];
    for lie in lies {
        world.row(id).session = lie.clone();
        let error = world.send(&message).unwrap_err();
        assert!(matches!(&error, Error::Stored(fault) if fault.record == RecordName::Session(id)), "{lie:?}: {error}");
    }
    world.row(id).session = honest;
    let stranger = node(2);
    let query = SessionQuery::new(id);
    let found = world.fleet.store.read(&Query::Session(query.clone())).unwrap();
    assert!(stranger.resume(&query, found, &mut rng(4)).is_err(), "another fleet's key");
    let found = world.fleet.store.read(&Query::Session(SessionQuery::new(other.session_id()))).unwrap();
    let anothers = node(1).resume(&query, found, &mut rng(4)).unwrap_err();
    assert!(matches!(anothers, Error::Stored(fault) if fault.record == RecordName::Answer), "it is not even opened");
    assert!(world.send(&message).is_ok());
}

#[test]
fn an_old_version_of_a_session_that_is_put_back_answers_repeats_and_writes_over_nothing_newer() {
    let mut world = world();
    let (_, mut session) = world.person();
    let id = session.session_id();
    let old = world.row(id).clone();
    let exchange = session.generate(&[Kind::Ed25519], &mut world.rng).unwrap();
    let pending = world.run(exchange).unwrap();
    let exchange = session.store(&pending).unwrap();
    let stored = world.run(exchange).unwrap();
    session.settle(stored).unwrap();
    // A database that goes back: the old frames open again, and find their entries.
    *world.row(id) = old;
    let exchange = session.store(&pending).unwrap();
    let again = world.run(exchange).unwrap();
    assert!(session.settle(again).unwrap()[0].already_stored);
    assert_eq!(world.fleet.store.secrets.len(), 1);
}

#[test]
fn a_denied_request_is_denied_at_every_node() {
    let mut world = world();
    let (_, mut session) = world.person();
    let exchange = session.retrieve(&[KeyId::from_bytes([0; 16])]).unwrap();
    let node = world.next_node();
    let mut loaded = world.fleet.session(node, exchange.message()).unwrap();
    let Step::Read(read) = loaded.receive(exchange.message().clone(), NOW).unwrap() else { panic!("no read") };
    let Denied::Write(write) = read.deny().unwrap() else { panic!("a fleet keeps what it denied") };
    assert!(write.transaction().changes.is_empty() && write.transaction().audit.is_none());
    let outcome = world.fleet.store.apply(write.transaction()).unwrap();
    write.settle(outcome).unwrap();
    assert_eq!(world.run(exchange).map(drop), Err(Refusal::Denied));
    // At the write too; what is kept then is the denial alone.
    let exchange = session.delete(&[KeyId::from_bytes([0; 16])]).unwrap();
    let before = world.fleet.store.clone();
    step(&mut world, exchange.message(), |store, write| {
        let Denied::Write(write) = write.deny().unwrap() else { panic!("a fleet keeps what it denied") };
        let outcome = store.apply(write.transaction()).unwrap();
        write.settle(outcome).unwrap();
    });
    assert_eq!(MemoryStore { sessions: before.sessions.clone(), ..world.fleet.store.clone() }, before);
    assert_eq!(world.run(exchange).map(drop), Err(Refusal::Denied));
}

/// On one node its answer would be a reply at once, which nothing can deny.
#[test]
fn a_session_that_has_ended_is_not_brought_back_by_a_denial() {
    let mut world = world();
    let (_, mut session) = world.person();
    let late = session.status().unwrap();
    let after = NOW.after(core::time::Duration::from_secs(301));
    let mut loaded = world.fleet.session(0, late.message()).unwrap();
    let Step::Write(write) = loaded.receive(late.message().clone(), after).unwrap() else { panic!("no write") };
    let Denied::Write(write) = write.deny().unwrap() else { panic!("no write") };
    let outcome = world.fleet.store.apply(write.transaction()).unwrap();
    write.settle(outcome).unwrap();
    assert_eq!(world.run(late).map(drop), Err(Refusal::SessionEnded));
    let next = session.status().unwrap();
    assert_eq!(world.send(next.message()), Err(PeerFault::OutOfOrder.into()));
}

/// For as long as it may be asked for, and a while for repeats: 60 s here.
#[test]
fn a_stored_session_is_kept_as_long_as_its_state_is_good_for() {
    let mut world = world();
    let client = client("ada");
    let expires = |world: &World, id| world.fleet.store.sessions[&id].expires;
    let later = |seconds| NOW.after(core::time::Duration::from_secs(seconds));
    let register = client.register(PASSWORD, &mut world.rng).unwrap();
    let id = register.message().session_id().unwrap();
    world.send(register.message()).unwrap();
    assert_eq!(expires(&world, id), later(60 + 60), "a registration waits for its upload");
    world.run(register).unwrap();
    assert_eq!(expires(&world, id), later(60), "it is over");
    let mut log_in = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let id = log_in.message().session_id().unwrap();
    let answer = world.send(log_in.message()).unwrap();
    assert_eq!(expires(&world, id), later(60 + 60), "a login waits for its KE3");
    log_in.receive(answer).unwrap();
    world.run(log_in).unwrap();
    assert_eq!(expires(&world, id), later(300 + 60), "an open session may be idle");
}

#[test]
fn a_session_that_is_handed_over_goes_on_at_the_other_node() {
    let mut rng = rng(5);
    let setup = || ServerSetup::generate(&mut support::rng(1)).unwrap();
    let [from, to] = [(); 2].map(|()| Server::new(setup(), IDENTITY, ServerPolicy::default()).unwrap());
    let mut store = MemoryStore::new();
    let mut drive = |session: &mut ServerSession, message: &ClientMessage| {
        let mut step = session.receive(message.clone(), NOW).unwrap();
        loop {
            step = match step {
                Step::Read(read) => {
                    let found = store.read(read.query()).unwrap();
                    read.found(found).unwrap()
                }
                Step::Write(write) => {
                    let outcome = store.apply(write.transaction()).unwrap();
                    return write.settle(outcome).unwrap();
                }
                Step::Reply(reply) => return reply,
            }
        }
    };
    let ada = client("ada");
    for mut exchange in [ada.register(PASSWORD, &mut rng).unwrap()] {
        let mut session = from.accept(&mut rng);
        while exchange.receive(drive(&mut session, exchange.message())).unwrap().is_none() {}
    }
    let mut exchange = ada.log_in(PASSWORD, None, &mut rng).unwrap();
    let mut session = from.accept(&mut rng);
    let mut nodes = [&to, &from].into_iter().cycle();
    let mut logged_in = loop {
        let answer = drive(&mut session, exchange.message());
        let (id, stored) = session.export(&fleet_key(7)).unwrap().unwrap();
        session = nodes.next().unwrap().import(&fleet_key(7), id, &stored).unwrap();
        assert_eq!(drive(&mut session, exchange.message()), answer, "with the last reply");
        if let Some(outcome) = exchange.receive(answer).unwrap() {
            break outcome.unwrap();
        }
    };
    let mut status = logged_in.status().unwrap();
    assert!(status.receive(drive(&mut session, status.message())).unwrap().unwrap().is_ok());
    let (id, stored) = session.export(&fleet_key(7)).unwrap().unwrap();
    assert!(to.import(&fleet_key(8), id, &stored).is_err());
    assert!(to.import(&fleet_key(7), SessionId::from_bytes([0; 16]), &stored).is_err());
    assert!(from.accept(&mut rng).export(&fleet_key(7)).unwrap().is_none(), "nobody's");
}

#[test]
fn nothing_of_a_session_is_readable_in_what_the_fleet_stores_or_prints() {
    let mut world = world();
    let (_, session) = world.person();
    let row = world.row(session.session_id()).clone();
    let contains = |needle: &[u8]| row.session.sealed.windows(needle.len()).any(|window| window == needle);
    assert!(!contains(session.user_id().as_bytes()) && !contains(b"ada"));
    let printed = format!("{:?} {:?} {:?}", row, fleet_key(0xab), world.fleet);
    assert!(
        !printed.contains("171, 171") && !printed.contains("sealed: [") && !printed.to_lowercase().contains("abab")
    );
}
