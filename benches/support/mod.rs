//! What the benches share: a deployment in memory with one person, and comparisons of two functions by turns.
#![allow(dead_code, reason = "no bench uses all of it")]

use std::hint::black_box;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use criterion::Criterion;
use keystow::storage::{Found, Outcome, Query, Transaction};
use keystow::testing::{InMemoryServer, MemoryStore, Store, converse};
use keystow::{
    AccountName, Client, ClientPolicy, ClientSession, Exchange, KsfProfile, Server, ServerPolicy, ServerSetup,
    Timestamp, Unsettled, client,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

pub(crate) const ACCOUNT: &str = "ada@example.com";
pub(crate) const IDENTITY: &str = "keys.example.com";
pub(crate) const PASSWORD: &str = "correct horse battery staple";
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A store whose own time is known: what is measured are the machines.
#[derive(Default)]
pub(crate) struct Apart<S> {
    store: S,
    took: Duration,
}

impl<S> Apart<S> {
    /// What its reads and writes took since this was last asked.
    pub(crate) fn took(&mut self) -> Duration {
        std::mem::take(&mut self.took)
    }
}

impl<S: Store> Store for Apart<S> {
    type Error = S::Error;

    fn read(&mut self, query: &Query) -> Result<Found, S::Error> {
        let begin = Instant::now();
        let found = self.store.read(query);
        self.took += begin.elapsed();
        found
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, S::Error> {
        let begin = Instant::now();
        let outcome = self.store.apply(transaction);
        self.took += begin.elapsed();
        outcome
    }
}

impl<S> Deref for Apart<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.store
    }
}

impl<S> DerefMut for Apart<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.store
    }
}

/// How long `f` takes, with the dropping of what it gives.
pub(crate) fn timed<T>(f: impl FnOnce() -> T) -> Duration {
    let begin = Instant::now();
    drop(black_box(f()));
    begin.elapsed()
}

/// Both machines, the store, and the generator that the client draws from.
pub(crate) struct World {
    pub(crate) server: InMemoryServer<Apart<MemoryStore>>,
    pub(crate) client: Client,
    pub(crate) rng: ChaCha20Rng,
}

impl World {
    /// One registered account, under the cheap key stretching profile: the client's Argon2 is not measured here.
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_profile(seed, KsfProfile::CHEAP_FOR_TESTS)
    }

    /// The same, under another profile.
    pub(crate) fn with_profile(seed: u64, profile: KsfProfile) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let setup = ServerSetup::generate(&mut rng).unwrap();
        let server = Server::new(setup, IDENTITY, ServerPolicy::default()).unwrap();
        let policy = ClientPolicy::new([profile]).unwrap();
        let client = Client::new(AccountName::new(ACCOUNT).unwrap(), IDENTITY, policy).unwrap();
        let server = InMemoryServer::new(server, Apart::default(), seed);
        let mut world = Self { server, client, rng };
        let exchange = world.client.register(PASSWORD, &mut world.rng).unwrap();
        world.run(exchange);
        world
    }

    /// The same, and a session of the account's.
    pub(crate) fn with_session(seed: u64) -> (Self, ClientSession) {
        let mut world = Self::new(seed);
        let exchange = world.client.log_in(PASSWORD, None, &mut world.rng).unwrap();
        let session = world.run(exchange);
        (world, session)
    }

    /// Runs an exchange to its end, every message crossing as bytes.
    pub(crate) fn run<O: client::Operation>(&mut self, exchange: Exchange<O>) -> O::Output {
        converse(exchange, &mut self.server, NOW).unwrap().unwrap()
    }

    /// Runs an exchange to its end, and settles what it gives.
    pub(crate) fn settle<T, O>(&mut self, session: &mut ClientSession, exchange: Exchange<O>) -> T
    where
        O: client::Operation<Output = Unsettled<T>>,
    {
        let unsettled = self.run(exchange);
        session.settle(unsettled).unwrap()
    }

    /// How long `f` takes without the store's reads and writes.
    pub(crate) fn timed<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> Duration {
        self.server.store.took();
        timed(|| f(self)) - self.server.store.took()
    }

    /// Empties the tables that grow with every run, so that the first and the last find the same store: no secrets, no
    /// trail, the newest vault head.
    pub(crate) fn forget(&mut self) {
        self.server.store.secrets.clear();
        self.forget_history();
    }

    /// The same, but for the secrets.
    pub(crate) fn forget_history(&mut self) {
        let MemoryStore { accounts, heads, audit, .. } = &mut *self.server.store;
        heads.retain(|(user_id, epoch), _| accounts.values().any(|row| row.user_id == *user_id && row.epoch == *epoch));
        audit.clear();
    }
}

/// Runs something once, and says how long the part of it took that counts.
pub(crate) type Run<'a> = Box<dyn FnMut() -> Duration + 'a>;

/// Ours beside what it is measured against.
pub(crate) struct Comparison<'a> {
    pub(crate) name: &'static str,
    pub(crate) ours: (&'static str, Run<'a>),
    pub(crate) other: (&'static str, Run<'a>),
    pub(crate) at_most: Option<f64>,
    /// How often each is called for the ratio.
    pub(crate) calls: usize,
}

impl Comparison<'_> {
    /// Both, in one criterion group.
    fn bench(&mut self, criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group(self.name);
        // What is called seldom takes long: criterion needn't call it a hundred times either.
        group.sample_size(self.calls.clamp(10, 100));
        for (name, run) in [&mut self.ours, &mut self.other] {
            group.bench_function(*name, |bencher| bencher.iter_custom(|n| (0..n).map(|_| run()).sum()));
        }
        group.finish();
    }

    /// Calls both by turns, so that a change of the machine's load meets both, and prints the median of the ratios of
    /// neighbours.
    fn print_ratio(&mut self) {
        let micros = |run: &mut Run<'_>| run().as_secs_f64() * 1e6;
        let pairs: Vec<_> = (0..self.calls).map(|_| (micros(&mut self.ours.1), micros(&mut self.other.1))).collect();
        let ours = median(pairs.iter().map(|pair| pair.0));
        let other = median(pairs.iter().map(|pair| pair.1));
        let ratio = median(pairs.iter().map(|pair| pair.0 / pair.1));
        let verdict = match self.at_most {
            None => String::new(),
            Some(most) if ratio <= most => format!(", target {most:.2}: reached"),
            Some(most) => format!(", target {most:.2}: MISSED"),
        };
        let names = (self.ours.0, self.other.0);
        println!("{}: {} {ours:.1} us, {} {other:.1} us, ratio {ratio:.3}{verdict}", self.name, names.0, names.1);
    }
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() >> 1]
}

/// Runs the comparisons through criterion, then prints their ratios, if this is `cargo bench` and not a trial run.
pub(crate) fn run(comparisons: &mut [Comparison<'_>], more: impl FnOnce(&mut Criterion)) {
    let mut criterion = Criterion::default().configure_from_args();
    comparisons.iter_mut().for_each(|comparison| comparison.bench(&mut criterion));
    more(&mut criterion);
    criterion.final_summary();
    if is_measured() {
        comparisons.iter_mut().for_each(Comparison::print_ratio);
    }
}

/// Whether an argument was given to `cargo bench`.
pub(crate) fn asked_for(name: &str) -> bool {
    std::env::args().any(|argument| argument == name)
}

/// Whether this is `cargo bench`, and neither a trial run nor one for a profiler.
pub(crate) fn is_measured() -> bool {
    asked_for("--bench") && !asked_for("--test") && !asked_for("--profile-time")
}
