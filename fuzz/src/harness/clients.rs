//! The clients' side of a run: people, their devices, exchanges under way, and the network between.

use std::collections::BTreeMap;
use std::time::Duration;

use keystow::{
    AccountName, Client, ClientMessage, ClientPolicy, ClientSession, KeyId, KsfProfile, PendingSecrets, Refusal,
    ServerMessage, UserId, VaultPin,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::action::{Action, Mishap, Tamper};
use super::deployment::{Course, Deployment, IDENTITY};
use super::ledger::Ledger;
use super::pick;
use super::under_way::{PutOff, Received, UnderWay};

pub const PASSWORD: &str = "correct horse battery staple";

pub struct Clients {
    pub(super) deployment: Deployment,
    pub(super) devices: Vec<Device>,
    /// Batches of pending secrets, and the IDs of all of them.
    pub(super) batches: Vec<PendingSecrets>,
    pub(super) key_ids: Vec<KeyId>,
    /// Every pin that a device ever had, to be kept late, early or never.
    pub(super) pins: Vec<Pin>,
    /// What devices have put off settling.
    pub(super) put_off: Vec<PutOff>,
    pub(super) ledger: Ledger,
    pub(super) people: [Client; 2],
    pub(super) rng: ChaCha20Rng,
    /// How many devices there were.
    pub(super) numbers: usize,
    pub(super) exchanges: Vec<Entry>,
    /// All that ever crossed the network, untampered: answers with the message that they answer.
    pub(super) messages: Vec<Vec<u8>>,
    pub(super) answers: Vec<(Vec<u8>, Vec<u8>)>,
    /// What the server has refused, proven to be the server.
    pub(super) refusals: Vec<Refusal>,
    /// What each device sealed under each of its sequence numbers.
    sealed: BTreeMap<(usize, u64), Vec<u8>>,
    /// The answers behind which the store lied, and whether it did to a read.
    lies: BTreeMap<Vec<u8>, bool>,
}

/// A device in a session.
pub struct Device {
    pub number: usize,
    pub session: ClientSession,
}

/// A pin, and whose vault it is of.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin {
    pub name: AccountName,
    pub user_id: UserId,
    pub pin: VaultPin,
}

/// An exchange under way.
pub struct Entry {
    exchange: Box<dyn UnderWay>,
    pub(super) whose: Whose,
    /// The name that it registers.
    pub(super) registers: Option<AccountName>,
    /// Whether it is a login that can't succeed: with a wrong password, or before the account was there.
    pub(super) is_vain: bool,
    /// Whether it is one of those that a device has one of at a time.
    is_with_vault: bool,
    /// Whether it took an answer behind which the store lied, to a read, or at all.
    misread: bool,
    lied_to: bool,
}

/// Whose exchange it is.
pub enum Whose {
    /// Somebody's who registers.
    Nobodys,
    /// Who logs in, and whose pin with, if with one.
    Persons(AccountName, Option<UserId>),
    /// The user of the device's session, and whose pin it is about, if about one.
    Devices { device: usize, user_id: UserId, pinned: Option<UserId> },
}

impl Device {
    /// That an exchange is this device's.
    pub fn whose(&self) -> Whose {
        Whose::Devices { device: self.number, user_id: self.session.user_id(), pinned: None }
    }
}

impl Whose {
    /// Whether it is this device's.
    pub fn is_device(&self, number: usize) -> bool {
        matches!(self, Self::Devices { device, .. } if *device == number)
    }

    /// The same, about a pin.
    pub fn about(self, owner: UserId) -> Self {
        match self {
            Self::Devices { device, user_id, .. } => Self::Devices { device, user_id, pinned: Some(owner) },
            other => other,
        }
    }
}

impl Entry {
    pub fn new(whose: Whose, exchange: Box<dyn UnderWay>) -> Self {
        Self { exchange, whose, registers: None, is_vain: false, is_with_vault: false, misread: false, lied_to: false }
    }

    pub fn registration(name: AccountName, exchange: Box<dyn UnderWay>) -> Self {
        Self { registers: Some(name), ..Self::new(Whose::Nobodys, exchange) }
    }

    pub fn login(whose: Whose, exchange: Box<dyn UnderWay>, is_vain: bool) -> Self {
        Self { is_vain, ..Self::new(whose, exchange) }
    }

    pub fn with_vault(whose: Whose, exchange: Box<dyn UnderWay>) -> Self {
        Self { is_with_vault: true, ..Self::new(whose, exchange) }
    }
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
            numbers: 0,
            exchanges: Vec::new(),
            batches: Vec::new(),
            key_ids: Vec::new(),
            pins: Vec::new(),
            put_off: Vec::new(),
            messages: Vec::new(),
            answers: Vec::new(),
            refusals: Vec::new(),
            sealed: BTreeMap::new(),
            lies: BTreeMap::new(),
            ledger: Ledger::default(),
            rng: ChaCha20Rng::seed_from_u64(3),
        }
    }

    /// Does one thing; nothing if there is nothing to do it with.
    pub fn act(&mut self, action: Action) {
        let started = match action {
            Action::Register { person, randomness } => self.register(person, randomness),
            Action::LogIn { person, guess, pin, randomness } => self.log_in(person, guess, pin, randomness),
            Action::Generate { device, kinds, randomness } => self.generate(device, kinds, randomness),
            Action::Store { device, batch, rebased, settle } => self.store(device, batch, rebased, settle),
            Action::Retrieve { device, first, count } => self.retrieve(device, first, count),
            Action::Operate { device, operation, settle, randomness } => {
                self.operate(device, operation, settle, randomness)
            }
            Action::Forge { device, forgery } => self.forge(device, forgery),
            happening => {
                let _nothing_to_do_it_with = self.happen(happening);
                None
            }
        };
        if let Some(entry) = started {
            self.exchanges.push(entry);
            self.begin(self.exchanges.len() - 1);
        }
    }

    /// What a device starts, it seals under a number greater than all before: the server would not take another.
    fn begin(&mut self, exchange: usize) {
        let Whose::Devices { device, .. } = self.exchanges[exchange].whose else { return };
        let last = self.sealed.range((device, 0)..=(device, u64::MAX)).next_back().map(|((_, sequence), _)| *sequence);
        self.message(exchange);
        let first =
            self.sealed.range((device, last.map_or(0, |last| last + 1))..).next().map(|((device, _), _)| *device);
        assert_eq!(first, Some(device), "a device goes back to a number that it has passed");
    }

    /// What the network, the time and the embedder do, and what devices do late.
    fn happen(&mut self, action: Action) -> Option<()> {
        match action {
            Action::Run { exchange } => self.run(pick(&self.exchanges, exchange)?),
            Action::Send { exchange, tamper, mishap, answered } => {
                let exchange = pick(&self.exchanges, exchange)?;
                let message = self.message(exchange);
                let answer = self.send(message, tamper, mishap)?;
                answered.then(|| self.answer(exchange, &answer));
            }
            Action::Replay { message, tamper, mishap } => {
                let message = self.messages[pick(&self.messages, message)?].clone();
                self.send(message, tamper, mishap)?;
            }
            Action::Answer { exchange, answer, tamper } => {
                self.late_answer(pick(&self.exchanges, exchange)?, pick(&self.answers, answer)?, tamper);
            }
            Action::Settle { unsettled } => {
                let put_off = self.put_off.remove(pick(&self.put_off, unsettled)?);
                self.settle(put_off);
            }
            Action::Wait(wait) => self.deployment.now = self.deployment.now.after(Duration::from_millis(wait.millis())),
            Action::Purge => self.deployment.purge(),
            Action::Crash => self.deployment.crash(),
            _ => {}
        }
        Some(())
    }

    /// A device gives up the exchange with its vault that it has under way, or what that gave; says whether there was one.
    pub(super) fn give_up(&mut self, number: usize) -> bool {
        let before = self.exchanges.len() + self.put_off.len();
        let is_its = |whose: &Whose| matches!(whose, Whose::Devices { device, .. } if *device == number);
        self.exchanges.retain(|entry| !(entry.is_with_vault && is_its(&entry.whose)));
        self.put_off.retain(|put_off| put_off.device != number);
        self.exchanges.len() + self.put_off.len() < before
    }

    pub(super) fn person(&self, person: u8) -> Client {
        self.people[usize::from(person) % self.people.len()].clone()
    }

    /// An exchange's message. A number is never sealed under twice: that would be the same nonce for two messages.
    pub(super) fn message(&mut self, exchange: usize) -> Vec<u8> {
        let Entry { exchange, whose, .. } = &self.exchanges[exchange];
        let message = exchange.message();
        if let (Whose::Devices { device, .. }, Ok(ClientMessage::Frame(frame))) =
            (whose, ClientMessage::decode(&message))
        {
            let sealed = self.sealed.entry((*device, frame.sequence)).or_insert_with(|| message.clone());
            assert!(*sealed == message, "two messages under the number {}", frame.sequence);
        }
        message
    }

    /// Runs an exchange until it ends, or gets no answer.
    pub(super) fn run(&mut self, exchange: usize) {
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
    pub(super) fn send(&mut self, message: Vec<u8>, tamper: Tamper, mishap: Mishap) -> Option<Vec<u8>> {
        let mut crossing = message.clone();
        tamper.apply(&mut crossing, &self.deployment.sessions());
        self.cross(message, &crossing, mishap)
    }

    /// The same for a message whose bytes are others when they arrive.
    pub(super) fn cross(&mut self, message: Vec<u8>, crossing: &[u8], mishap: Mishap) -> Option<Vec<u8>> {
        let meanwhile = match mishap {
            Mishap::Meanwhile { exchange } => {
                let other = pick(&self.exchanges, exchange)?;
                Some(self.message(other))
            }
            _ => None,
        };
        for message in [Some(&message), meanwhile.as_ref()].into_iter().flatten() {
            if self.deployment.sent.insert(message.clone()) {
                self.messages.push(message.clone());
            }
        }
        let answer = self.deployment.deliver(crossing, Course { mishap, meanwhile: meanwhile.as_deref() })?;
        if answer.lied {
            self.lies.insert(answer.bytes.clone(), answer.misread);
        }
        self.answers.push((message, answer.bytes.clone()));
        Some(answer.bytes)
    }

    /// An answer from long ago reaches an exchange. Rule 24: registration runs over a channel that authenticates the
    /// server, so there nothing is forged, nor taken from another connection; damage is still damage.
    fn late_answer(&mut self, exchange: usize, answer: usize, tamper: Tamper) {
        let (message, answer) = self.answers[answer].clone();
        let is_forged = matches!(tamper, Tamper::Reroute { .. }) || message != self.message(exchange);
        if matches!(self.exchanges[exchange].whose, Whose::Nobodys) && is_forged {
            return;
        }
        let mut bytes = answer;
        tamper.apply(&mut bytes, &self.deployment.sessions());
        self.answer(exchange, &bytes);
    }

    /// An answer reaches an exchange.
    pub(super) fn answer(&mut self, exchange: usize, answer: &[u8]) {
        let Ok(message) = ServerMessage::decode(answer) else { return };
        let entry = &mut self.exchanges[exchange];
        let received = entry.exchange.receive(message);
        // A registration's first answer proves nothing: the upload's transcript does.
        let is_unproven = matches!((&received, &entry.whose), (Received::Another, Whose::Nobodys));
        if !is_unproven && !matches!(received, Received::Nothing) {
            assert!(self.answers.iter().any(|(_, sent)| sent == answer), "a tampered answer is believed");
        }
        if let Some(misread) = self.lies.get(answer).filter(|_| !matches!(received, Received::Nothing)) {
            entry.lied_to = true;
            entry.misread |= misread;
        }
        match received {
            Received::Nothing | Received::Another => {}
            Received::Wrong(fault) => assert!(self.is_excused(exchange, true), "an honest client sees {fault}"),
            Received::Fault(fault) => assert!(self.is_excused(exchange, false), "an honest client sees {fault}"),
            Received::Closed => assert!(self.is_closed(exchange), "an open vault is called closed"),
            Received::Ended(end) => {
                let Entry { misread, .. } = self.exchanges.remove(exchange);
                self.end(end, misread);
            }
        }
    }

    /// Whether somebody is to blame for a fault that an exchange sees: the store, which lied to a read (for other faults
    /// than the vault's, at all); the user's own hostile device; or whoever gave it another vault's pin.
    fn is_excused(&self, exchange: usize, by_any_lie: bool) -> bool {
        let entry = &self.exchanges[exchange];
        let (user_id, pinned) = self.user_of(&entry.whose);
        let is_other = pinned.is_some_and(|pinned| Some(pinned) != user_id);
        let is_spoiled = user_id.is_some_and(|user_id| self.deployment.chains.is_spoiled(user_id));
        entry.misread || by_any_lie && entry.lied_to || is_other || is_spoiled
    }

    fn is_closed(&self, exchange: usize) -> bool {
        let (user_id, _) = self.user_of(&self.exchanges[exchange].whose);
        user_id.is_some_and(|user_id| self.deployment.chains.is_closed(user_id))
    }

    /// Whose vault an exchange is about, and whose pin it goes by.
    fn user_of(&self, whose: &Whose) -> (Option<UserId>, Option<UserId>) {
        match whose {
            Whose::Nobodys => (None, None),
            Whose::Persons(name, pinned) => (self.deployment.store.accounts.get(name).map(|row| row.user_id), *pinned),
            Whose::Devices { user_id, pinned, .. } => (Some(*user_id), *pinned),
        }
    }
}
