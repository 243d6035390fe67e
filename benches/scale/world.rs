//! A deployment of `scale.rs`: a key server with its store and its sessions, and the people who use it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use keystow::testing::Store;
use keystow::{
    AccountName, Client, ClientMessage, ClientPolicy, ClientSession, Exchange, KeyId, Kind, KsfProfile, Server,
    ServerMessage, ServerPolicy, ServerSession, ServerSetup, SessionId, Step, Unsettled, client,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::shards::Shards;
use crate::support::{Apart, IDENTITY, NOW, PASSWORD};

/// A key server with its store and its sessions, and what its clients draw from.
pub(crate) struct World {
    server: Server,
    pub(crate) store: Apart<Shards>,
    pub(crate) sessions: HashMap<SessionId, ServerSession>,
    pub(crate) rng: ChaCha20Rng,
    /// How long `serve` took since this was last asked for, and its look-ups of sessions.
    served: Duration,
    look_up: Duration,
}

/// How long a run took: what is measured, and what was taken off, the store and the look-ups of sessions.
pub(crate) struct Took {
    pub(crate) machines: Duration,
    pub(crate) beside: Duration,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let setup = ServerSetup::generate(&mut rng).unwrap();
        let server = Server::new(setup, IDENTITY, ServerPolicy::default()).unwrap();
        let (store, sessions) = (Apart::default(), HashMap::new());
        Self { server, store, sessions, rng, served: Duration::ZERO, look_up: Duration::ZERO }
    }

    /// From a message's bytes to the answer's.
    pub(crate) fn serve(&mut self, message: &[u8]) -> Vec<u8> {
        let Self { server, store, sessions, rng, .. } = self;
        let begin = Instant::now();
        let message = ClientMessage::decode(message).unwrap();
        let session_id = message.session_id().unwrap();
        let found = Instant::now();
        let session = sessions.entry(session_id).or_insert_with(|| server.accept(rng));
        let look_up = found.elapsed();
        let mut step = session.receive(message, NOW).unwrap();
        let answer = loop {
            step = match step {
                Step::Read(read) => {
                    let found = store.read(read.query()).unwrap();
                    read.found(found).unwrap()
                }
                Step::Write(write) => {
                    let outcome = store.apply(write.transaction()).unwrap();
                    break write.settle(outcome).unwrap();
                }
                Step::Reply(answer) => break answer,
            }
        };
        let answer = answer.encode().unwrap();
        self.served += begin.elapsed();
        self.look_up += look_up;
        answer
    }

    /// Runs an exchange to its end, every message crossing as bytes.
    pub(crate) fn run<O: client::Operation>(&mut self, mut exchange: Exchange<O>) -> O::Output {
        loop {
            let answer = self.serve(&exchange.message().encode().unwrap());
            if let Some(outcome) = exchange.receive(ServerMessage::decode(&answer).unwrap()).unwrap() {
                return outcome.unwrap();
            }
        }
    }

    pub(crate) fn settle<T, O>(&mut self, session: &mut ClientSession, exchange: Exchange<O>) -> T
    where
        O: client::Operation<Output = Unsettled<T>>,
    {
        let unsettled = self.run(exchange);
        session.settle(unsettled).unwrap()
    }

    /// The server's time since this was last asked.
    pub(crate) fn of_server(&mut self) -> Took {
        let beside = self.store.took() + std::mem::take(&mut self.look_up);
        Took { machines: std::mem::take(&mut self.served) - beside, beside }
    }

    /// Both sides' time of what `f` does.
    pub(crate) fn of_both(&mut self, f: impl FnOnce(&mut Self)) -> Took {
        self.of_server();
        let begin = Instant::now();
        f(self);
        let whole = begin.elapsed();
        let Took { beside, .. } = self.of_server();
        Took { machines: whole - beside, beside }
    }

    pub(crate) fn log_in(&mut self, client: &Client) -> ClientSession {
        let exchange = client.log_in(PASSWORD, None, &mut self.rng).unwrap();
        self.run(exchange)
    }

    pub(crate) fn store(&mut self, session: &mut ClientSession, kinds: &[Kind]) -> Vec<KeyId> {
        let exchange = session.generate(kinds, &mut self.rng).unwrap();
        let pending = self.run(exchange);
        let exchange = session.store(&pending).unwrap();
        self.settle(session, exchange).iter().map(|secret| secret.key_id).collect()
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        below(&mut self.rng, count)
    }
}

/// A number below `count`.
fn below(rng: &mut ChaCha20Rng, count: usize) -> usize {
    let drawn = u64::from(rng.next_u32()) * u64::try_from(count).unwrap();
    usize::try_from(drawn >> 32).unwrap()
}

/// The numbers below `count`, in a random order.
pub(crate) fn shuffled(rng: &mut ChaCha20Rng, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    (1..count).for_each(|i| order.swap(i, below(rng, i + 1)));
    order
}

/// The client of a person: 25 bytes of name.
pub(crate) fn person(number: usize) -> Client {
    let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).unwrap();
    Client::new(AccountName::new(format!("person-{number:06}@example.com")).unwrap(), IDENTITY, policy).unwrap()
}

pub(crate) fn register(world: &mut World, client: &Client) {
    let exchange = client.register(PASSWORD, &mut world.rng).unwrap();
    let session_id = exchange.message().session_id().unwrap();
    world.run(exchange);
    world.sessions.remove(&session_id);
}
