//! The vault head: what a change costs in a small and in a large vault, what verifying a list costs beside the bare
//! primitives, what following a chain of heads costs at login.
//!
//! `MemoryStore` is kept out of the changes' figures twice over. A change of the small vault and one of the large are made
//! in turns to one and the same store, which holds both, a person's 10 secrets beside a neighbour's 10,000, and is put
//! back to that before the next change; so its tables are as large for the one as for the other. And what it takes all the
//! same (the large vault's rows are spread over more cache lines than the small one's) is taken off: its reads and writes
//! are timed and printed by themselves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

#[path = "support/records.rs"]
mod records;
mod support;

use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use aes_gcm_siv::{AeadInOut, Aes256GcmSiv, KeyInit, Nonce};
use keystow::operation::{Reply, list};
use keystow::testing::hostile;
use keystow::{
    AccountName, Client, ClientMessage, ClientPolicy, ClientSession, Kind, KsfProfile, ServerMessage, VaultPin,
};
use records::Records;
use sha2::{Digest, Sha256};
use support::{Comparison, IDENTITY, NOW, PASSWORD, World};

const SMALL: usize = 10;
const LARGE: usize = 10_000;
const LINKS: usize = 1_000;
const KEY: [u8; 32] = [7; 32];

fn log_in(world: &mut World, client: &Client, pin: Option<VaultPin>) -> ClientSession {
    let exchange = client.log_in(PASSWORD, pin, &mut world.rng).unwrap();
    world.run(exchange)
}

/// Stores so many `Bytes(32)`, up to 250 at a time.
fn fill(world: &mut World, session: &mut ClientSession, count: usize) {
    let kinds = vec![Kind::Bytes(32); count];
    for kinds in kinds.chunks(250) {
        let exchange = session.generate(kinds, &mut world.rng).unwrap();
        let pending = world.run(exchange);
        let exchange = session.store(&pending).unwrap();
        world.settle(session, exchange);
    }
}

// --- a change in a small and in a large vault -----------------------------------------------------------

/// One of the two people of one store.
struct Person<'a> {
    world: &'a RefCell<World>,
    session: ClientSession,
}

/// Both of them.
struct People<'a> {
    small: Rc<RefCell<Person<'a>>>,
    large: Rc<RefCell<Person<'a>>>,
}

impl<'a> People<'a> {
    fn new(world: &'a RefCell<World>) -> Self {
        let person = |name, secrets| Rc::new(RefCell::new(Person::new(world, name, secrets)));
        Self { small: person("small", SMALL), large: person("large", LARGE) }
    }
}

/// The two changes of a run: one secret stored, and deleted again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Store,
    Delete,
}

/// What of a change is timed.
#[derive(Clone, Copy)]
enum Part {
    /// Both machines, from the pending secret, or its key ID, to the settled answer, without the store.
    Machines,
    /// The store's read and write.
    Store,
}

impl<'a> Person<'a> {
    fn new(world: &'a RefCell<World>, name: &str, secrets: usize) -> Self {
        let mut inside = world.borrow_mut();
        let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).unwrap();
        let client = Client::new(AccountName::new(name).unwrap(), IDENTITY, policy).unwrap();
        let exchange = client.register(PASSWORD, &mut inside.rng).unwrap();
        inside.run(exchange);
        let mut session = log_in(&mut inside, &client, None);
        fill(&mut inside, &mut session, secrets);
        Self { world, session }
    }

    /// Both changes; gives the time that the part of the one takes.
    fn change(&mut self, change: Change, part: Part) -> Duration {
        let (mut world, session) = (self.world.borrow_mut(), &mut self.session);
        let exchange = session.generate(&[Kind::Bytes(32)], &mut world.rng).unwrap();
        let pending = world.run(exchange);

        let mut key_id = None;
        let store = both(&mut world, |world| {
            let exchange = session.store(&pending).unwrap();
            key_id = Some(world.settle(session, exchange)[0].key_id);
        });
        let key_id = key_id.unwrap();
        let delete = both(&mut world, |world| {
            let exchange = session.delete(&[key_id]).unwrap();
            world.settle(session, exchange);
        });

        world.server.store.secrets.remove(&(session.user_id(), key_id));
        world.forget_history();
        let (machines, in_store) = if change == Change::Store { store } else { delete };
        match part {
            Part::Machines => machines,
            Part::Store => in_store,
        }
    }
}

/// What the machines take of `f`, and what the store takes.
fn both(world: &mut World, f: impl FnOnce(&mut World)) -> (Duration, Duration) {
    let mut in_store = Duration::ZERO;
    let machines = world.timed(|world| {
        f(world);
        in_store = world.server.store.took();
    });
    (machines - in_store, in_store)
}

fn change<'a>(name: &'static str, people: &People<'a>, change: Change, part: Part) -> Comparison<'a> {
    let (small, large) = (Rc::clone(&people.small), Rc::clone(&people.large));
    Comparison {
        name,
        ours: ("in 10,000", Box::new(move || large.borrow_mut().change(change, part))),
        other: ("in 10", Box::new(move || small.borrow_mut().change(change, part))),
        at_most: matches!(part, Part::Machines).then_some(1.1),
        calls: 10_000,
    }
}

// --- a verified list ------------------------------------------------------------------------------------

/// A listing whose replies are there already, sealed for it before the time is taken.
struct Verified {
    world: World,
    session: ClientSession,
    replies: Vec<Reply>,
}

impl Verified {
    fn new() -> Self {
        let mut world = World::new(2);
        let client = world.client.clone();
        let mut session = log_in(&mut world, &client, None);
        fill(&mut world, &mut session, LARGE);
        let (mut exchange, mut replies) = (session.list().unwrap(), Vec::new());
        loop {
            let answer = world.server.answer(exchange.message().clone(), NOW).unwrap();
            replies.push(hostile::open_reply(&world.server.sessions[&session.session_id()], answer.clone()).unwrap());
            if let Some(listed) = exchange.receive(answer).unwrap() {
                session.settle(listed.unwrap()).unwrap();
                return Self { world, session, replies };
            }
        }
    }

    /// From the first reply to the list: each frame opened and decoded, each record opened, the whole compared with the
    /// vault's head. The next requests, which the exchange seals meanwhile, are part of it.
    fn run(&mut self) -> Duration {
        let mut exchange = self.session.list().unwrap();
        let ClientMessage::Frame(first) = exchange.message() else { panic!("no frame") };
        let (session_id, sequence) = (first.session_id, first.sequence);
        let server = &self.world.server.sessions[&session_id];
        let seal = |(reply, sequence)| hostile::reply(server, session_id, sequence, reply).unwrap();
        let answers: Vec<ServerMessage> = self.replies.iter().zip(sequence..).map(seal).collect();

        let begin = Instant::now();
        let mut listed = None;
        for answer in answers {
            listed = exchange.receive(answer).unwrap();
        }
        let took = begin.elapsed();

        assert_eq!(self.session.settle(listed.unwrap().unwrap()).unwrap().len(), LARGE);
        took
    }
}

/// The primitives of as many records, under the headers of the replies.
fn records(replies: &[Reply]) -> Records {
    let secrets = replies.iter().flat_map(|reply| match reply {
        Reply::List(list::Reply { secrets, .. }) => secrets.as_slice(),
        _ => &[],
    });
    Records::new(secrets.map(|secret| secret.header.to_bytes()))
}

fn verify() -> Comparison<'static> {
    let mut verified = Verified::new();
    let records = records(&verified.replies);
    assert_eq!(records.len(), LARGE);
    let primitives = move || {
        let begin = Instant::now();
        records.verify();
        begin.elapsed()
    };
    Comparison {
        name: "verify a list of 10,000",
        ours: ("keystow", Box::new(move || verified.run())),
        other: ("primitives", Box::new(primitives)),
        at_most: Some(1.5),
        calls: 200,
    }
}

// --- a chain of heads -----------------------------------------------------------------------------------

/// A device that was away for 1,000 changes.
struct Away {
    world: World,
    pin: VaultPin,
}

impl Away {
    fn new() -> Self {
        let mut world = World::new(3);
        let client = world.client.clone();
        let mut session = log_in(&mut world, &client, None);
        let pin = session.pin();
        for _ in 0..LINKS {
            fill(&mut world, &mut session, 1);
        }
        Self { world, pin }
    }

    /// The client's part of a login, from the first answer with heads on.
    fn run(&mut self) -> Duration {
        let Self { world, pin } = self;
        let mut exchange = world.client.log_in(PASSWORD, Some(*pin), &mut world.rng).unwrap();
        let mut took = Duration::ZERO;
        let session = loop {
            let answer = world.server.handle(&exchange.message().encode().unwrap(), NOW).unwrap();
            let begin = Instant::now();
            let answer = ServerMessage::decode(&answer).unwrap();
            let has_heads = matches!(&answer, ServerMessage::Frame(frame) if frame.sequence > 1);
            let session = exchange.receive(answer).unwrap();
            took += if has_heads { begin.elapsed() } else { Duration::ZERO };
            if let Some(session) = session {
                break session.unwrap();
            }
        };
        assert_eq!(session.pin().epoch(), pin.epoch() + 1_000);
        world.server.sessions.remove(&session.session_id());
        world.server.store.audit.clear();
        took
    }
}

/// What each link needs at least: opened, and hashed for the next one.
fn links() -> Duration {
    let (nonce, aad, mut contents) = (Nonce::from([0; 12]), [0; 25], [9; 104]);
    let tag = Aes256GcmSiv::new(&KEY.into()).encrypt_inout_detached(&nonce, &aad, (&mut contents[..]).into()).unwrap();
    let (sealed, hashed) = (contents, [9; 155]);
    let begin = Instant::now();
    for _ in 0..=LINKS {
        let (cipher, mut contents) = (Aes256GcmSiv::new(black_box(&KEY).into()), sealed);
        cipher.decrypt_inout_detached(&nonce, black_box(&aad), black_box(&mut contents[..]).into(), &tag).unwrap();
        black_box(Sha256::digest(black_box(&hashed)));
    }
    begin.elapsed()
}

fn follow() -> Comparison<'static> {
    let mut away = Away::new();
    Comparison {
        name: "follow 1,000 heads",
        ours: ("keystow", Box::new(move || away.run())),
        other: ("primitives", Box::new(links)),
        at_most: None,
        calls: 1_000,
    }
}

fn main() {
    let world = RefCell::new(World::new(1));
    let people = People::new(&world);
    let mut comparisons = [
        change("store one Bytes(32)", &people, Change::Store, Part::Machines),
        change("delete one Bytes(32)", &people, Change::Delete, Part::Machines),
        change("store one Bytes(32), MemoryStore alone", &people, Change::Store, Part::Store),
        change("delete one Bytes(32), MemoryStore alone", &people, Change::Delete, Part::Store),
        verify(),
        follow(),
    ];
    support::run(&mut comparisons, |_| ());
}
