//! Order: every message, genuine but for its place, in every state of a server session and of a client's exchange. Two
//! tables say what each gets; nothing changes by it, and the message that fits still does afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;

use core::time::Duration;

use keystow::operation::{Reply, delete, generate, heads, list, log_in::Welcome, retrieve, store};
use keystow::testing::hostile;
use keystow::*;
use support::{NOW, PASSWORD, World, client, error, rng, world};

const SEED: u64 = 1;

/// What a message gets in a state.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gets {
    /// It is taken: what the tables are not about.
    Taken,
    /// The last reply, again.
    Again,
    /// `OutOfOrder`.
    Order,
    /// `WrongSession`.
    Session,
    /// `WrongSequence`.
    Sequence,
}
use Gets::{Again, Order, Sequence, Session, Taken};

impl Gets {
    fn fault(self) -> PeerFault {
        match self {
            Order => PeerFault::OutOfOrder,
            Session => PeerFault::WrongSession,
            Sequence => PeerFault::WrongSequence,
            Taken | Again => panic!("no error"),
        }
    }
}

/// A run of a registration, a login, and generate, store, retrieve in one session: eight messages and their replies.
fn script() -> (Vec<ClientMessage>, Vec<ServerMessage>) {
    let mut world = world(SEED);
    let mut crossed = (Vec::new(), Vec::new());
    let client = client("ada");
    let mut draws = rng(2);
    run(&mut world, client.register(PASSWORD, &mut draws).unwrap(), &mut crossed);
    let mut session = run(&mut world, client.log_in(PASSWORD, None, &mut draws).unwrap(), &mut crossed);
    let pending = run(&mut world, session.generate(&[Kind::Ed25519], &mut draws).unwrap(), &mut crossed);
    let stored = run(&mut world, session.store(&pending).unwrap(), &mut crossed);
    let stored = session.settle(stored).unwrap();
    run(&mut world, session.retrieve(&[stored[0].key_id]).unwrap(), &mut crossed);
    crossed
}

fn run<O: client::Operation>(
    world: &mut World,
    mut exchange: Exchange<O>,
    (requests, replies): &mut (Vec<ClientMessage>, Vec<ServerMessage>),
) -> O::Output {
    loop {
        requests.push(exchange.message().clone());
        replies.push(world.send(exchange.message()).unwrap());
        if let Some(outcome) = exchange.receive(replies.last().unwrap().clone()).unwrap() {
            return outcome.unwrap();
        }
    }
}

/// The message, as far as it names a session, addressed to this one.
fn to_server(message: &ClientMessage, id: SessionId) -> ClientMessage {
    let mut message = message.clone();
    match &mut message {
        ClientMessage::RegistrationRequest { .. } | ClientMessage::LoginRequest { .. } => {}
        ClientMessage::RegistrationUpload { session_id, .. }
        | ClientMessage::LoginFinish { session_id, .. }
        | ClientMessage::Frame(Frame { session_id, .. }) => *session_id = id,
    }
    message
}

fn to_client(message: &ServerMessage, id: SessionId) -> ServerMessage {
    let mut message = message.clone();
    match &mut message {
        ServerMessage::RegistrationResponse { session_id, .. }
        | ServerMessage::Registered { session_id }
        | ServerMessage::LoginResponse { session_id, .. }
        | ServerMessage::Refused { session_id, .. }
        | ServerMessage::Frame(Frame { session_id, .. }) => *session_id = id,
    }
    message
}

/// How the state was come by: as in the script, or its last message came late, or on a name whose attempts are spent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Script,
    Lateness,
    Limit,
}

/// The state after so many messages of the script, and what each of the eight gets there: registration's two, login's
/// three (the last asks for heads), generate, store, retrieve.
const SERVER: [(&str, usize, By, [Gets; 8]); 14] = [
    ("new", 0, By::Script, [Taken, Order, Taken, Order, Order, Order, Order, Order]),
    ("registering", 1, By::Script, [Again, Taken, Session, Order, Order, Order, Order, Order]),
    ("registered", 2, By::Script, [Order, Again, Session, Order, Order, Order, Order, Order]),
    ("registered too late", 2, By::Lateness, [Order, Again, Session, Order, Order, Order, Order, Order]),
    ("awaiting KE3", 3, By::Script, [Session, Order, Again, Taken, Order, Order, Order, Order]),
    ("refused", 3, By::Limit, [Session, Order, Again, Order, Order, Order, Order, Order]),
    ("open", 4, By::Script, [Session, Order, Order, Again, Taken, Taken, Taken, Taken]),
    ("logged in too late", 4, By::Lateness, [Session, Order, Order, Again, Order, Order, Order, Order]),
    ("open, entered", 5, By::Script, [Session, Order, Order, Order, Again, Taken, Taken, Taken]),
    ("entered too late", 5, By::Lateness, [Session, Order, Order, Order, Again, Order, Order, Order]),
    ("open, generated", 6, By::Script, [Session, Order, Order, Order, Sequence, Again, Taken, Taken]),
    ("open, stored", 7, By::Script, [Session, Order, Order, Order, Sequence, Sequence, Again, Taken]),
    ("open, retrieved", 8, By::Script, [Session, Order, Order, Order, Sequence, Sequence, Sequence, Again]),
    ("ended", 6, By::Lateness, [Session, Order, Order, Order, Sequence, Again, Order, Order]),
];

/// A world whose session is in the state, with the last reply that it gave.
fn reach(requests: &[ClientMessage], taken: usize, by: By) -> (World, SessionId, Option<ServerMessage>) {
    let mut world = world(SEED);
    let mut last = None;
    for (number, request) in (1..).zip(&requests[..taken]) {
        if number == taken && by == By::Lateness {
            world.pass(Duration::from_secs(600));
        }
        if number == taken && by == By::Limit {
            for _ in 0..10 {
                let guess = client("ada").log_in("a wrong password", None, &mut world.rng).unwrap();
                world.send(guess.message()).unwrap();
            }
        }
        last = Some(world.send(request).unwrap());
    }
    let opening = &requests[if taken <= 2 { 0 } else { 2 }];
    let id = opening.session_id().unwrap();
    if taken == 0 {
        // The session that the in-memory server would open itself.
        let new = world.server.server.accept(&mut rng(SEED + 1));
        world.server.sessions.insert(id, new);
    }
    (world, id, last)
}

/// All that a message out of place must leave alone.
fn look(world: &World, id: SessionId) -> impl PartialEq + core::fmt::Debug + use<> {
    let session = &world.server.sessions[&id];
    let seen = (session.expires(), session.user_id(), format!("{session:?}"));
    (seen, world.server.store.clone(), world.server.sessions.len())
}

#[test]
fn each_message_gets_what_the_table_says_in_each_state_of_a_server_session() {
    let (requests, replies) = script();
    assert_eq!(requests.len(), 8);
    for (state, taken, by, row) in SERVER {
        let (mut world, id, last) = reach(&requests, taken, by);
        let before = look(&world, id);
        for ((number, request), gets) in requests.iter().enumerate().zip(row) {
            let request = to_server(request, id);
            match gets {
                Taken => continue,
                Again => assert_eq!(world.send(&request).ok(), last, "{state}, message {number}"),
                Session => {
                    let session = world.server.sessions.get_mut(&id).unwrap();
                    let refused = session.receive(request, world.now).map(drop);
                    assert_eq!(refused, Err(gets.fault().into()), "{state}, message {number}");
                }
                Order | Sequence => {
                    assert_eq!(error(world.send(&request)), gets.fault().into(), "{state}, message {number}");
                }
            }
            assert_eq!(look(&world, id), before, "{state}, message {number}");
        }
        match (by, requests.get(taken)) {
            (By::Script, Some(next)) => assert_eq!(world.send(next).unwrap(), replies[taken], "{state}"),
            _ => assert_eq!(world.send(&requests[taken - 1]).ok(), last, "{state}"),
        }
    }
}

#[test]
fn a_message_of_another_session_gets_nothing_in_any_state() {
    let (requests, _) = script();
    let elsewhere = SessionId::from_bytes([7; 16]);
    for (state, taken, by, _) in SERVER {
        let (mut world, id, _) = reach(&requests, taken, by);
        let before = look(&world, id);
        let expected = if taken == 0 { PeerFault::OutOfOrder } else { PeerFault::WrongSession };
        for number in [1, 3, 4, 5, 6, 7] {
            let request = to_server(&requests[number], elsewhere);
            let unknown = error(world.send(&request));
            assert_eq!(unknown, PeerFault::OutOfOrder.into(), "no session is opened by message {number}");
            let session = world.server.sessions.get_mut(&id).unwrap();
            assert_eq!(session.receive(request, NOW).map(drop), Err(expected.clone().into()), "{state}");
            assert_eq!(look(&world, id), before, "{state}, message {number}");
        }
    }
}

/// What each of the script's eight replies gets from the exchange that waits for the one at this place.
const CLIENT: [[Gets; 8]; 8] = [
    [Taken, Order, Order, Order, Order, Order, Order, Order],
    [Order, Taken, Order, Order, Order, Order, Order, Order],
    [Order, Order, Taken, Order, Order, Order, Order, Order],
    [Order, Order, Order, Taken, Sequence, Sequence, Sequence, Sequence],
    [Order, Order, Order, Sequence, Taken, Sequence, Sequence, Sequence],
    [Order, Order, Order, Sequence, Sequence, Taken, Sequence, Sequence],
    [Order, Order, Order, Sequence, Sequence, Sequence, Taken, Sequence],
    [Order, Order, Order, Sequence, Sequence, Sequence, Sequence, Taken],
];

/// Gives an exchange every reply that doesn't fit, a refusal that nothing vouches for, and then the one that fits.
fn tempt<O: client::Operation>(
    exchange: &mut Exchange<O>,
    replies: &[ServerMessage],
    awaited: usize,
) -> Option<O::Output> {
    let request = exchange.message().clone();
    let id = request.session_id().unwrap();
    for (number, (reply, gets)) in replies.iter().zip(CLIENT[awaited]).enumerate() {
        let foreign = to_client(reply, SessionId::from_bytes([7; 16]));
        assert_eq!(exchange.receive(foreign).map(drop), Err(PeerFault::WrongSession.into()), "{awaited}, {number}");
        if gets != Taken {
            let refused = exchange.receive(to_client(reply, id)).map(drop);
            assert_eq!(refused, Err(gets.fault().into()), "{awaited}, {number}");
        }
        assert_eq!(exchange.message(), &request);
    }
    let refusal = Refusal::Denied;
    let refused = exchange.receive(ServerMessage::Refused { session_id: id, refusal }).map(drop);
    assert_eq!(refused, Err(PeerFault::Refused(refusal).into()));
    assert_eq!(exchange.message(), &request);
    exchange.receive(replies[awaited].clone()).unwrap().map(|outcome| outcome.unwrap_or_else(|_| panic!("{awaited}")))
}

/// After its end an exchange takes nothing, its own answer included.
fn expect_ended<O: client::Operation>(exchange: &mut Exchange<O>, replies: &[ServerMessage]) {
    let id = exchange.message().session_id().unwrap();
    let refusal = ServerMessage::Refused { session_id: id, refusal: Refusal::Denied };
    for reply in replies.iter().map(|reply| to_client(reply, id)).chain([refusal]) {
        assert_eq!(exchange.receive(reply).map(drop), Err(CallerFault::ExchangeEnded.into()));
    }
}

#[test]
fn each_reply_gets_what_the_table_says_in_each_state_of_an_exchange() {
    let (requests, replies) = script();
    let (client, mut draws) = (client("ada"), rng(2));
    let mut register = client.register(PASSWORD, &mut draws).unwrap();
    assert!(tempt(&mut register, &replies, 0).is_none());
    assert!(tempt(&mut register, &replies, 1).is_some());
    expect_ended(&mut register, &replies);
    let mut log_in = client.log_in(PASSWORD, None, &mut draws).unwrap();
    assert!(tempt(&mut log_in, &replies, 2).is_none());
    assert!(tempt(&mut log_in, &replies, 3).is_none());
    let mut session = tempt(&mut log_in, &replies, 4).unwrap();
    expect_ended(&mut log_in, &replies);
    let mut generate = session.generate(&[Kind::Ed25519], &mut draws).unwrap();
    let pending = tempt(&mut generate, &replies, 5).unwrap();
    expect_ended(&mut generate, &replies);
    let mut store = session.store(&pending).unwrap();
    let stored = tempt(&mut store, &replies, 6).unwrap();
    let stored = session.settle(stored).unwrap();
    assert_eq!(stored.len(), 1);
    expect_ended(&mut store, &replies);
    let mut retrieve = session.retrieve(&[stored[0].key_id]).unwrap();
    assert_eq!(tempt(&mut retrieve, &replies, 7).unwrap().len(), 1);
    expect_ended(&mut retrieve, &replies);
    assert_eq!(retrieve.message(), &requests[7], "the client was the script's all the way");
}

/// Gives an exchange authenticated replies to other operations, then a refusal, which ends it.
fn mislead<O: client::Operation>(exchange: &mut Exchange<O>, server: &ServerSession, own: usize) {
    let (id, sequence) = match exchange.message() {
        ClientMessage::Frame(frame) => (frame.session_id, frame.sequence),
        message => (message.session_id().unwrap(), 1),
    };
    let user_id = UserId::from_bytes([0; 16]);
    let others = [
        Reply::Welcome(Welcome { user_id, wrap: [0; 48], expires: NOW }),
        Reply::Generate(generate::Reply { server_random: [0; 32] }),
        Reply::Store(store::Reply { key_ids: vec![], repeated: false }),
        Reply::Retrieve(retrieve::Reply { secrets: vec![] }),
        Reply::Heads(heads::Reply { heads: vec![], newest: 0 }),
        Reply::List(list::Reply { secrets: vec![], next: None, epoch: 0 }),
        Reply::Delete(delete::Reply { key_ids: vec![] }),
    ];
    for (_, reply) in others.iter().enumerate().filter(|(number, _)| *number != own) {
        let sealed = hostile::reply(server, id, sequence, reply).unwrap();
        assert_eq!(exchange.receive(sealed).map(drop), Err(PeerFault::OutOfOrder.into()), "{reply:?}");
    }
    let refused = hostile::reply(server, id, sequence, &Reply::Refused(Refusal::NotFound)).unwrap();
    assert_eq!(exchange.receive(refused).unwrap().map(Result::err), Some(Some(Refusal::NotFound)));
}

#[test]
fn an_authenticated_reply_to_another_operation_is_no_answer_and_an_authenticated_refusal_is_one() {
    let mut world = world(3);
    let (client, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &[Kind::Ed25519]).unwrap().unwrap();
    let key_ids: Vec<_> = pending.key_ids().collect();
    for (messages, own) in [(1, 0), (2, 4)] {
        let mut log_in = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
        for _ in 0..messages {
            let reply = world.send(log_in.message()).unwrap();
            assert!(log_in.receive(reply).unwrap().is_none());
        }
        world.send(log_in.message()).unwrap();
        let opened = &world.server.sessions[&log_in.message().session_id().unwrap()];
        mislead(&mut log_in, opened, own);
    }

    let older = VaultPin::from_bytes(&[0; 40]);
    let server = &world.server.sessions[&session.session_id()];
    mislead(&mut session.generate(&[Kind::Ed25519], &mut world.rng).unwrap(), server, 1);
    mislead(&mut session.store(&pending).unwrap(), server, 2);
    let rebased = session.rebase(&pending).unwrap();
    mislead(&mut session.store(&rebased).unwrap(), server, 5);
    mislead(&mut session.retrieve(&key_ids).unwrap(), server, 3);
    mislead(&mut session.verify_pin(older).unwrap(), server, 4);
    mislead(&mut session.list().unwrap(), server, 5);
    mislead(&mut session.delete(&key_ids).unwrap(), server, 6);
}
