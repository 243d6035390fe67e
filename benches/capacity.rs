//! What a key server carries: its part of each operation, on all cores at once beside one alone.
//!
//! Each core has a server, a store and sessions of its own. Only the server's part is timed, from a message's bytes to the
//! answer's, without the store; the clients run in between, on the same core. So a server of N cores, on which nothing else
//! runs, carries N divided by this time, as far as the ratio says that the cores don't hold each other up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

mod support;

use std::thread;
use std::time::Duration;

use keystow::{ClientSession, Exchange, KeyId, Kind, ServerMessage, client};
use support::{Comparison, NOW, PASSWORD, World};

/// One core's deployment: a person with a session and a secret.
struct Core {
    world: World,
    session: ClientSession,
    key_id: KeyId,
}

impl Core {
    fn new() -> Self {
        let (mut world, mut session) = World::with_session(1);
        let exchange = session.generate(&[Kind::Secp256k1], &mut world.rng).unwrap();
        let pending = world.run(exchange);
        let exchange = session.store(&pending).unwrap();
        let key_id = world.settle(&mut session, exchange)[0].key_id;
        Self { world, session, key_id }
    }

    /// Three messages.
    fn log_in(&mut self) -> Duration {
        self.world.forget_history();
        let exchange = self.world.client.log_in(PASSWORD, None, &mut self.world.rng).unwrap();
        let (session, took) = served(&mut self.world, exchange);
        self.world.server.sessions.remove(&session.session_id());
        took
    }

    /// Of one secp256k1 key: two messages. It is deleted again.
    fn generate_and_store(&mut self) -> Duration {
        self.world.forget_history();
        let Self { world, session, .. } = self;
        let exchange = session.generate(&[Kind::Secp256k1], &mut world.rng).unwrap();
        let (pending, generated) = served(world, exchange);
        let exchange = session.store(&pending).unwrap();
        let (stored, took) = served(world, exchange);
        let key_id = session.settle(stored).unwrap()[0].key_id;
        let exchange = session.delete(&[key_id]).unwrap();
        world.settle(session, exchange);
        world.server.store.secrets.remove(&(session.user_id(), key_id));
        generated + took
    }

    fn retrieve(&mut self) -> Duration {
        self.world.forget_history();
        let exchange = self.session.retrieve(&[self.key_id]).unwrap();
        served(&mut self.world, exchange).1
    }

    fn status(&mut self) -> Duration {
        let exchange = self.session.status().unwrap();
        served(&mut self.world, exchange).1
    }
}

/// Runs an exchange to its end, and says how long the server took for its part, without the store.
fn served<O: client::Operation>(world: &mut World, mut exchange: Exchange<O>) -> (O::Output, Duration) {
    let mut took = Duration::ZERO;
    loop {
        let (request, mut answer) = (exchange.message().encode().unwrap(), Vec::new());
        took += world.timed(|world| answer = world.server.handle(&request, NOW).unwrap());
        if let Some(outcome) = exchange.receive(ServerMessage::decode(&answer).unwrap()).unwrap() {
            return (outcome.unwrap(), took);
        }
    }
}

/// So many times on each of these cores at once; the mean.
fn at_once(cores: &mut [Core], times: u32, operation: fn(&mut Core) -> Duration) -> Duration {
    let count = u32::try_from(cores.len()).unwrap();
    let of_one = |core: &mut Core| (0..times).map(|_| operation(core)).sum::<Duration>() / times;
    thread::scope(|scope| {
        let running: Vec<_> = cores.iter_mut().map(|core| scope.spawn(|| of_one(core))).collect();
        running.into_iter().map(|core| core.join().unwrap()).sum::<Duration>() / count
    })
}

fn row(name: &'static str, times: u32, operation: fn(&mut Core) -> Duration) -> Comparison<'static> {
    let count = thread::available_parallelism().map_or(1, usize::from);
    let (mut all, mut one) = ((0..count).map(|_| Core::new()).collect::<Vec<_>>(), [Core::new()]);
    Comparison {
        name,
        ours: ("all cores", Box::new(move || at_once(&mut all, times, operation))),
        other: ("one", Box::new(move || at_once(&mut one, times, operation))),
        at_most: None,
        calls: 100,
    }
}

fn main() {
    let mut comparisons = [
        row("login, server", 20, Core::log_in),
        row("generate and store one Secp256k1, server", 200, Core::generate_and_store),
        row("retrieve one Secp256k1, server", 500, Core::retrieve),
        row("status, server", 1_000, Core::status),
    ];
    support::run(&mut comparisons, |_| ());
}
