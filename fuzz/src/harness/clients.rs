//! The clients' side of a run: people, their devices, exchanges under way, and the network between.

use std::collections::BTreeSet;
use std::time::Duration;

use keystow::client::Operation;
use keystow::operation::delete_account::Deleted;
use keystow::{
    AccountName, AuditFilter, Client, ClientPolicy, ClientSession, Exchange, KeyId, KsfProfile, PendingSecret,
    ServerMessage, UserId,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::action::{Action, Mishap, Tamper};
use super::deployment::{Deployment, IDENTITY};
use super::ledger::Ledger;
use super::pick;
use super::under_way::{End, UnderWay};

pub const PASSWORD: &str = "correct horse battery staple";

pub struct Clients {
    pub(super) deployment: Deployment,
    pub(super) devices: Vec<ClientSession>,
    /// Batches of pending secrets, and the IDs of all of them.
    pub(super) batches: Vec<PendingSecrets>,
    pub(super) key_ids: Vec<KeyId>,
    /// Who has stored records that no client can open.
    pub(super) spoiled: BTreeSet<UserId>,
    pub(super) rng: ChaCha20Rng,
    people: [Client; 2],
    exchanges: Vec<Entry>,
    /// All that ever crossed the network, untampered.
    messages: Vec<Vec<u8>>,
    answers: Vec<Vec<u8>>,
    ledger: Ledger,
}

struct Entry {
    exchange: Box<dyn UnderWay>,
    is_registration: bool,
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
            spoiled: BTreeSet::new(),
            messages: Vec::new(),
            answers: Vec::new(),
            ledger: Ledger::default(),
            rng: ChaCha20Rng::seed_from_u64(3),
        }
    }

    /// Does one thing; nothing if there is nothing to do it with.
    pub fn act(&mut self, action: Action) {
        let started = match action {
            Action::Register { person, randomness } => self.register(person, randomness),
            Action::LogIn { person, guess, randomness } => self.log_in(person, guess, randomness),
            Action::Generate { device, kinds, randomness } => self.generate(device, kinds, randomness),
            Action::Store { device, batch, take } => self.store(device, batch, take),
            Action::Retrieve { device, first, count } => self.retrieve(device, first, count),
            Action::Operate { device, operation, randomness } => self.operate(device, operation, randomness),
            Action::Forge { device, forgery } => self.forge(device, forgery),
            happening => {
                let _nothing_to_do_it_with = self.happen(happening);
                None
            }
        };
        let is_registration = matches!(action, Action::Register { .. });
        self.exchanges.extend(started.map(|exchange| Entry { exchange, is_registration }));
    }

    /// What the network, the time and the embedder do.
    fn happen(&mut self, action: Action) -> Option<()> {
        match action {
            Action::Run { exchange } => self.run(pick(&self.exchanges, exchange)?),
            Action::Send { exchange, tamper, mishap, answered } => {
                let exchange = pick(&self.exchanges, exchange)?;
                let answer = self.send(self.message(exchange), tamper, mishap)?;
                answered.then(|| self.answer(exchange, &answer));
            }
            Action::Replay { message, tamper, mishap } => {
                let message = self.messages[pick(&self.messages, message)?].clone();
                self.send(message, tamper, mishap)?;
            }
            Action::Answer { exchange, answer, tamper } => {
                self.late_answer(pick(&self.exchanges, exchange)?, pick(&self.answers, answer)?, tamper);
            }
            Action::Wait(wait) => self.deployment.now = self.deployment.now.after(Duration::from_millis(wait.millis())),
            Action::Purge => self.deployment.purge(),
            Action::Crash => self.deployment.crash(),
            _ => {}
        }
        Some(())
    }

    pub(super) fn person(&self, person: u8) -> Client {
        self.people[usize::from(person) % self.people.len()].clone()
    }

    fn message(&self, exchange: usize) -> Vec<u8> {
        self.exchanges[exchange].exchange.message()
    }

    /// Runs an exchange until it ends, or gets no answer.
    fn run(&mut self, exchange: usize) {
        let under_way = self.exchanges.len();
        while self.exchanges.len() == under_way {
            let message = self.message(exchange);
            let Some(answer) = self.send(message.clone(), Tamper::No, Mishap::No) else { return };
            self.answer(exchange, &answer);
            if self.exchanges.len() == under_way && self.message(exchange) == message {
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

    /// An answer from long ago reaches an exchange. Rule 24: registration runs over a channel that authenticates the
    /// server, so there nothing is forged; damage is still damage.
    fn late_answer(&mut self, exchange: usize, answer: usize, tamper: Tamper) {
        if self.exchanges[exchange].is_registration && matches!(tamper, Tamper::Reroute { .. }) {
            return;
        }
        let mut bytes = self.answers[answer].clone();
        tamper.apply(&mut bytes, &self.deployment.sessions());
        self.answer(exchange, &bytes);
    }

    /// An answer reaches an exchange.
    fn answer(&mut self, exchange: usize, answer: &[u8]) {
        let Ok(message) = ServerMessage::decode(answer) else { return };
        if let Some(end) = self.exchanges[exchange].exchange.receive(message) {
            assert!(self.answers.iter().any(|sent| sent == answer), "a tampered answer ends an exchange");
            self.exchanges.remove(exchange);
            self.end(end);
        }
    }

    fn end(&mut self, end: End) {
        let (store, gone) = (&self.deployment.store, &self.deployment.gone);
        match end {
            End::Registered(name, registered) => self.ledger.registered(&name, registered, store, gone),
            End::LoggedIn(name, guess, session) => {
                assert!(!guess, "a guess at {name:?}'s password logs in");
                let user_id = session.user_id();
                let is_account = store.accounts.get(&name).is_some_and(|row| row.user_id == user_id);
                assert!(is_account || gone.user(user_id), "a login to another account");
                self.devices.push(*session);
            }
            End::Pending(batch) => {
                self.key_ids.extend(batch.iter().map(PendingSecret::key_id));
                let mut known = BTreeSet::new();
                self.key_ids.retain(|key_id| known.insert(*key_id));
                self.batches.push(batch);
            }
            End::Stored(user_id, batch) => self.ledger.stored(user_id, &batch, store, gone),
            End::Retrieved(user_id, asked, secrets) => self.ledger.retrieved(user_id, &asked, &secrets),
            End::Listed(user_id, page) => self.ledger.listed(user_id, &page.secrets),
            End::Deleted(user_id, key_ids) => {
                assert!(key_ids.iter().all(|key_id| gone.secret(user_id, *key_id)), "a deletion that wasn't");
            }
            End::Audited(user_id, page) => assert!(page.entries.iter().all(|entry| entry.user_id() == user_id)),
            End::AccountDeleted(user_id, deleted) => {
                assert!(deleted == Deleted::Page || gone.user(user_id), "an account that was not deleted");
            }
            End::Forged(user_id, forged, reply) => forged.check(&reply, user_id, store, gone),
            End::Done | End::Refused => {}
        }
    }

    /// The server crashes, a day goes by, and everybody logs in on a new device: what was promised is there.
    pub fn finish(mut self) {
        self.deployment.crash();
        self.deployment.now = self.deployment.now.after(Duration::from_secs(86_400));
        self.ledger.check_accounts(&self.deployment.store, &self.deployment.gone);
        for person in self.people.clone() {
            if let Some(row) = self.deployment.store.accounts.get(person.account()) {
                let user_id = row.user_id;
                let exchange = person.log_in(PASSWORD, None, &mut self.rng).unwrap();
                let device = self.run_well(exchange);
                assert_eq!(device.user_id(), user_id);
                self.look_round(device);
            }
        }
    }

    fn look_round(&mut self, mut device: ClientSession) {
        let user_id = device.user_id();
        let promised = self.ledger.of(user_id, &self.deployment.gone);
        for key_ids in promised.chunks(keystow::MAX_BATCH) {
            let secrets = self.run_well(device.retrieve(key_ids).unwrap());
            self.ledger.retrieved(user_id, key_ids, &secrets);
        }
        // A forged record ends a listing: the hostile client has only itself to blame.
        if !self.spoiled.contains(&user_id) {
            let listed = self.list(&mut device);
            assert!(promised.iter().all(|key_id| listed.contains(key_id)), "a promised secret is not listed");
            let gone = &self.deployment.gone;
            assert!(!listed.iter().any(|key_id| gone.tombstone(user_id, *key_id)), "a deleted secret is listed");
        }
        let written = self.deployment.store.audit.values().filter(|entry| entry.user_id() == user_id).count();
        assert_eq!(self.audit(&mut device), written, "the trail is read whole");
    }

    /// All pages, short ones.
    fn list(&mut self, device: &mut ClientSession) -> Vec<KeyId> {
        let (mut key_ids, mut after) = (Vec::new(), None);
        loop {
            let page = self.run_well(device.list(after, 3).unwrap());
            self.ledger.listed(device.user_id(), &page.secrets);
            key_ids.extend(page.secrets.iter().map(|secret| secret.key_id));
            match page.next {
                Some(next) => after = Some(next),
                None => return key_ids,
            }
        }
    }

    /// All pages, short ones; gives the number of entries.
    fn audit(&mut self, device: &mut ClientSession) -> usize {
        let (mut count, mut after) = (0, None);
        loop {
            let page = self.run_well(device.audit(AuditFilter::default(), after, 5).unwrap());
            count += page.entries.len();
            match page.next {
                Some(next) => after = Some(next),
                None => return count,
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
