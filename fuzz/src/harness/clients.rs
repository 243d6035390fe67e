//! The clients' side of a run: people, their devices, exchanges under way, and the network between.

use std::collections::BTreeSet;
use std::rc::Rc;

use keystow::client::Operation;
use keystow::testing::hostile;
use keystow::{
    AccountName, CallerFault, Client, ClientPolicy, ClientSession, Error, Exchange, KeyId, KsfProfile, PendingSecret,
    ServerMessage,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::action::{Action, Forgery, Mishap, Randomness, Tamper, kinds};
use super::deployment::{Deployment, IDENTITY};
use super::forgery::{Material, sealed};
use super::ledger::Ledger;
use super::pick;
use super::under_way::{End, UnderWay};

const PASSWORD: &str = "correct horse battery staple";

pub struct Clients {
    deployment: Deployment,
    people: [Client; 2],
    devices: Vec<ClientSession>,
    exchanges: Vec<UnderWay>,
    /// Batches of pending secrets, kept as their encodings are, and the IDs of all of them.
    batches: Vec<Vec<PendingSecret>>,
    key_ids: Vec<KeyId>,
    /// All that ever crossed the network, untampered.
    messages: Vec<Vec<u8>>,
    answers: Vec<Vec<u8>>,
    ledger: Ledger,
    rng: ChaCha20Rng,
}

impl Clients {
    pub fn new() -> Self {
        let deployment = Deployment::new();
        let person = |name: &str| {
            let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).unwrap();
            let client = Client::new(AccountName::new(name).unwrap(), IDENTITY, policy).unwrap();
            client.pin_server_key(deployment.server_key())
        };
        Self {
            people: [person("ada"), person("bob")],
            deployment,
            devices: Vec::new(),
            exchanges: Vec::new(),
            batches: Vec::new(),
            key_ids: Vec::new(),
            messages: Vec::new(),
            answers: Vec::new(),
            ledger: Ledger::default(),
            rng: ChaCha20Rng::seed_from_u64(3),
        }
    }

    /// Does one thing; nothing if there is nothing to do it with.
    pub fn act(&mut self, action: Action) {
        let _ = self.try_act(action);
    }

    fn try_act(&mut self, action: Action) -> Option<()> {
        match action {
            Action::Register { person, randomness } => self.register(person, randomness),
            Action::LogIn { person, guess, randomness } => self.log_in(person, guess, randomness),
            Action::Generate { device, kinds: bits, randomness } => self.generate(device, bits, randomness)?,
            Action::Store { device, batch, take } => self.store(device, batch, take)?,
            Action::Retrieve { device, first, count } => self.retrieve(device, first, count)?,
            Action::Forge { device, forgery } => self.forge(device, forgery)?,
            Action::Run { exchange } => self.run(pick(&self.exchanges, exchange)?),
            Action::Send { exchange, tamper, mishap, answered } => {
                let exchange = pick(&self.exchanges, exchange)?;
                let answer = self.send(self.exchanges[exchange].message(), tamper, mishap)?;
                answered.then(|| self.answer(exchange, &answer));
            }
            Action::Replay { message, tamper, mishap } => {
                let message = self.messages[pick(&self.messages, message)?].clone();
                self.send(message, tamper, mishap)?;
            }
            Action::Answer { exchange, answer, tamper } => {
                let (exchange, answer) = (pick(&self.exchanges, exchange)?, pick(&self.answers, answer)?);
                let mut bytes = self.answers[answer].clone();
                // Rule 24: registration runs over a channel that authenticates the server. Damage is still damage.
                let is_forgery = matches!(tamper, Tamper::Reroute { .. });
                if is_forgery && matches!(self.exchanges[exchange], UnderWay::Register { .. }) {
                    return None;
                }
                tamper.apply(&mut bytes, &self.deployment.sessions());
                self.answer(exchange, &bytes);
            }
            Action::Wait(wait) => {
                self.deployment.now = self.deployment.now.after(core::time::Duration::from_millis(wait.millis()));
            }
            Action::Purge => self.deployment.purge(),
            Action::Crash => self.deployment.crash(),
        }
        Some(())
    }

    fn person(&self, person: u8) -> Client {
        self.people[usize::from(person) % self.people.len()].clone()
    }

    /// Runs an operation's start with its randomness.
    fn drawing<T>(&mut self, randomness: Randomness, start: impl FnOnce(&mut Self, &mut ChaCha20Rng) -> T) -> T {
        match randomness {
            Randomness::Repeated => start(self, &mut ChaCha20Rng::seed_from_u64(4)),
            Randomness::Fresh => {
                let mut rng = ChaCha20Rng::from_rng(&mut self.rng);
                start(self, &mut rng)
            }
        }
    }

    fn register(&mut self, person: u8, randomness: Randomness) {
        let client = self.person(person);
        let exchange = self.drawing(randomness, |_, rng| client.register(PASSWORD, rng).unwrap());
        self.start(UnderWay::Register { exchange, name: client.account().clone() });
    }

    fn log_in(&mut self, person: u8, guess: bool, randomness: Randomness) {
        let client = self.person(person);
        let password = if guess { "123456" } else { PASSWORD };
        let exchange = self.drawing(randomness, |_, rng| client.log_in(password, rng).unwrap());
        self.start(UnderWay::LogIn { exchange, name: client.account().clone(), guess });
    }

    fn generate(&mut self, device: u8, bits: u8, randomness: Randomness) -> Option<()> {
        let device = pick(&self.devices, device)?;
        let exchange = self.drawing(randomness, |clients, rng| clients.devices[device].generate(&kinds(bits), rng));
        self.start(UnderWay::Generate { exchange: exchange.unwrap() });
        Some(())
    }

    /// A batch goes to its owner's sessions alone: the client sees to that.
    fn store(&mut self, device: u8, batch: u8, take: u8) -> Option<()> {
        let device = pick(&self.devices, device)?;
        let batch = &self.batches[pick(&self.batches, batch)?];
        let batch = &batch[..=usize::from(take) % batch.len()];
        let (owner, user_id) = (sealed(&batch[0]).header.user_id(), self.devices[device].user_id());
        match self.devices[device].store(batch) {
            Ok(exchange) => {
                assert_eq!(owner, user_id, "another user's secrets are sent");
                self.start(UnderWay::Store { exchange, user_id });
            }
            Err(error) => {
                assert_eq!(error, Error::Caller(CallerFault::WrongUser { pending: owner }));
                assert_ne!(owner, user_id);
            }
        }
        Some(())
    }

    fn retrieve(&mut self, device: u8, first: u8, count: u8) -> Option<()> {
        let device = pick(&self.devices, device)?;
        let first = pick(&self.key_ids, first)?;
        let key_ids: Vec<KeyId> = self.key_ids[first..].iter().take(1 + usize::from(count)).copied().collect();
        let exchange = self.devices[device].retrieve(&key_ids).unwrap();
        let user_id = self.devices[device].user_id();
        self.start(UnderWay::Retrieve { exchange, user_id, key_ids });
        Some(())
    }

    fn forge(&mut self, device: u8, forgery: Forgery) -> Option<()> {
        let device = pick(&self.devices, device)?;
        let user_id = self.devices[device].user_id();
        let (batches, key_ids, store) = (&self.batches, &self.key_ids, &self.deployment.store);
        let forged = Rc::new(forgery.make(&Material { user_id, batches, key_ids, store })?);
        let exchange = hostile::request(&mut self.devices[device], &forged.request).unwrap();
        self.start(UnderWay::Forged { exchange, user_id, forged });
        Some(())
    }

    fn start(&mut self, exchange: UnderWay) {
        self.exchanges.push(exchange);
    }

    /// Runs an exchange until it ends, or gets no answer.
    fn run(&mut self, exchange: usize) {
        let under_way = self.exchanges.len();
        while self.exchanges.len() == under_way {
            let message = self.exchanges[exchange].message();
            let Some(answer) = self.send(message.clone(), Tamper::No, Mishap::No) else { return };
            self.answer(exchange, &answer);
            if self.exchanges.get(exchange).is_some_and(|exchange| exchange.message() == message) {
                return;
            }
        }
    }

    /// A message crosses to the server; gives the answer's bytes.
    fn send(&mut self, mut message: Vec<u8>, tamper: Tamper, mishap: Mishap) -> Option<Vec<u8>> {
        if self.deployment.sent.insert(message.clone()) {
            self.messages.push(message.clone());
        }
        tamper.apply(&mut message, &self.deployment.sessions());
        let answer = self.deployment.deliver(&message, mishap)?;
        self.answers.push(answer.clone());
        Some(answer)
    }

    /// An answer reaches an exchange.
    fn answer(&mut self, exchange: usize, answer: &[u8]) {
        let Ok(message) = ServerMessage::decode(answer) else { return };
        if let Some(end) = self.exchanges[exchange].receive(message) {
            assert!(self.answers.iter().any(|sent| sent == answer), "a tampered answer ends an exchange");
            self.exchanges.remove(exchange);
            self.end(end);
        }
    }

    fn end(&mut self, end: End) {
        let store = &self.deployment.store;
        match end {
            End::Registered(name, registered) => self.ledger.registered(&name, registered, store),
            End::LoggedIn(name, guess, session) => {
                assert!(!guess, "a guess at {name:?}'s password logs in");
                assert_eq!(store.accounts.get(&name).map(|row| row.user_id), Some(session.user_id()));
                self.devices.push(*session);
            }
            End::Generated(batch) => {
                self.key_ids.extend(batch.iter().map(PendingSecret::key_id));
                let mut known = BTreeSet::new();
                self.key_ids.retain(|key_id| known.insert(*key_id));
                self.batches.push(batch);
            }
            End::Stored(user_id, batch) => self.ledger.stored(user_id, &batch, store),
            End::Retrieved(user_id, asked, secrets) => self.ledger.retrieved(user_id, &asked, &secrets),
            End::Forged(user_id, forged, reply) => forged.check(&reply, user_id, store),
            End::Refused => {}
        }
    }

    /// The server crashes, a day goes by, and everybody logs in on a new device: what was promised is there.
    pub fn finish(mut self) {
        self.deployment.crash();
        self.deployment.now = self.deployment.now.after(core::time::Duration::from_secs(86_400));
        self.ledger.check_accounts(&self.deployment.store);
        for person in 0..self.people.len() {
            let Some(row) = self.deployment.store.accounts.get(self.people[person].account()) else { continue };
            let user_id = row.user_id;
            let exchange = self.people[person].log_in(PASSWORD, &mut self.rng).unwrap();
            let mut device = self.run_well(exchange);
            assert_eq!(device.user_id(), user_id);
            for key_ids in self.ledger.of(user_id).chunks(keystow::MAX_BATCH) {
                let secrets = self.run_well(device.retrieve(key_ids).unwrap());
                self.ledger.retrieved(user_id, key_ids, &secrets);
            }
        }
    }

    /// Runs an exchange that must succeed.
    fn run_well<O: Operation>(&mut self, mut exchange: Exchange<O>) -> O::Output {
        loop {
            let message = exchange.message().encode().unwrap();
            let answer = self.send(message, Tamper::No, Mishap::No).expect("an answer");
            if let Some(output) = exchange.receive(ServerMessage::decode(&answer).unwrap()).unwrap() {
                return output.unwrap();
            }
        }
    }
}
