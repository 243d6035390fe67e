//! One account under load: its session, its loop, and what it counts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use getrandom::SysRng;
use keystow::client::Operation;
use keystow::{Client, ClientSession, Exchange, KeyId, Kind, ServerMessage, VaultPin};
use rand_core::UnwrapErr;

use crate::Failure;
use crate::link::Link;

/// A list comes with every round of this number.
const LIST_EVERY: u64 = 8;
/// So many errors end a client.
const PATIENCE: u32 = 5;
const PASSWORD: &str = "load: this password protects nothing";

/// An account that is logged in.
pub struct Person {
    client: Client,
    link: Link,
    session: ClientSession,
    pin: VaultPin,
    tally: Tally,
}

/// What a client, or all of them, did.
#[derive(Default)]
pub struct Tally {
    /// How long each operation took, by its name.
    pub took: BTreeMap<&'static str, Vec<Duration>>,
    /// How much of that was the client's own work: making and sealing requests, opening and checking answers.
    pub own: Duration,
    /// Errors by their text.
    pub errors: BTreeMap<String, u64>,
    /// Clients that gave up.
    pub gave_up: u32,
}

impl Tally {
    fn count(&mut self, name: &'static str, begun: Instant, own: Own) {
        self.took.entry(name).or_default().push(begun.elapsed());
        self.own += own.0;
    }

    /// Takes another's counts in.
    pub fn add(&mut self, other: Self) {
        for (name, took) in other.took {
            self.took.entry(name).or_default().extend(took);
        }
        for (error, count) in other.errors {
            *self.errors.entry(error).or_default() += count;
        }
        self.own += other.own;
        self.gave_up += other.gave_up;
    }
}

/// The client's own time in one operation.
#[derive(Default)]
struct Own(Duration);

impl Own {
    fn of<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = work();
        self.0 += begun.elapsed();
        result
    }
}

/// The client's loop: every operation is this.
async fn run<O: Operation>(link: &mut Link, own: &mut Own, mut exchange: Exchange<O>) -> Result<O::Output, Failure> {
    loop {
        let message = own.of(|| exchange.message().encode())?;
        let answer = link.ask(&message).await?;
        let answer = own.of(|| ServerMessage::decode(&answer))?;
        let stretches =
            matches!(answer, ServerMessage::RegistrationResponse { .. } | ServerMessage::LoginResponse { .. });
        let receive = || own.of(|| exchange.receive(answer));
        // Argon2 must not keep the executor's thread from the other clients.
        let outcome = if stretches { tokio::task::block_in_place(receive) } else { receive() };
        if let Some(outcome) = outcome? {
            return Ok(outcome?);
        }
    }
}

impl Person {
    /// Registers and logs in.
    pub async fn start(client: Client, mut link: Link) -> Result<Self, Failure> {
        let (own, rng) = (&mut Own::default(), &mut UnwrapErr(SysRng));
        let registered = run(&mut link, own, client.register(PASSWORD, rng)?).await?;
        let client = client.pin_server_key(registered.server_key);
        let session = run(&mut link, own, client.log_in(PASSWORD, Some(registered.pin), rng)?).await?;
        Ok(Self { client, link, pin: session.pin(), session, tally: Tally::default() })
    }

    /// Works until the time is up, or there were too many errors.
    pub async fn work(mut self, until: Instant) -> Tally {
        let (mut round, mut failures) = (0_u64, 0);
        while Instant::now() < until {
            round = round.saturating_add(1);
            let Err(error) = self.round(round.is_multiple_of(LIST_EVERY)).await else { continue };
            *self.tally.errors.entry(error.to_string()).or_default() += 1;
            failures += 1;
            if failures >= PATIENCE || self.log_in_again().await.is_err() {
                self.tally.gave_up = 1;
                break;
            }
        }
        self.tally
    }

    /// A secret's life.
    async fn round(&mut self, lists: bool) -> Result<(), Failure> {
        let key_id = self.make().await?;
        let (link, mut own, begun) = (&mut self.link, Own::default(), Instant::now());
        let exchange = own.of(|| self.session.retrieve(&[key_id]))?;
        drop(run(link, &mut own, exchange).await?);
        self.tally.count("retrieve", begun, own);
        if lists {
            let (mut own, begun) = (Own::default(), Instant::now());
            let exchange = own.of(|| self.session.list())?;
            let listed = run(link, &mut own, exchange).await?;
            own.of(|| self.session.settle(listed))?;
            self.tally.count("list", begun, own);
        }
        let (mut own, begun) = (Own::default(), Instant::now());
        let exchange = own.of(|| self.session.delete(&[key_id]))?;
        let deleted = run(link, &mut own, exchange).await?;
        own.of(|| self.session.settle(deleted))?;
        self.tally.count("delete", begun, own);
        self.pin = self.session.pin();
        Ok(())
    }

    /// Generates a secret and stores it: two exchanges, counted as one operation.
    async fn make(&mut self) -> Result<KeyId, Failure> {
        let (link, mut own, begun) = (&mut self.link, Own::default(), Instant::now());
        let exchange = own.of(|| self.session.generate(&[Kind::Secp256k1], &mut UnwrapErr(SysRng)))?;
        let pending = run(link, &mut own, exchange).await?;
        let exchange = own.of(|| self.session.store(&pending))?;
        let stored = run(link, &mut own, exchange).await?;
        let stored = own.of(|| self.session.settle(stored))?;
        self.tally.count("generate and store", begun, own);
        self.pin = self.session.pin();
        Ok(stored.first().ok_or("a store without a secret")?.key_id)
    }

    /// After an error: whatever became of the session, a new one goes on from the pin.
    async fn log_in_again(&mut self) -> Result<(), Failure> {
        let exchange = self.client.log_in(PASSWORD, Some(self.pin), &mut UnwrapErr(SysRng))?;
        self.session = run(&mut self.link, &mut Own::default(), exchange).await?;
        Ok(())
    }
}
