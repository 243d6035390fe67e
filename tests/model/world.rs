//! Runs a schedule: two people with two devices each, a network, a key server, and somebody who guesses.

use std::collections::{BTreeMap, BTreeSet};

use keystow::testing::MemoryStore;
use keystow::*;
use proptest::sample::Index;
use rand_chacha::ChaCha20Rng;

use crate::device::{Device, Talk, Task};
use crate::event::{Act, DEVICES, Event, PEOPLE, Schedule};
use crate::network::{Network, pick};
use crate::reference::{Life, Person, Property};
use crate::site::{Opened, Site, Step};
use crate::support::{NOW, client, rng};

/// Something that a device was told, and the step that did it.
#[derive(Clone, Debug)]
pub struct Deed {
    pub step: usize,
    pub session: Opened,
    pub user_id: UserId,
    /// The action of its audit entry, by its name.
    pub action: &'static str,
    pub granted: bool,
    pub key_ids: Vec<KeyId>,
}

/// All that a case leaves.
pub struct History {
    pub steps: Vec<Step>,
    pub deeds: Vec<Deed>,
    pub store: MemoryStore,
    /// The sessions whose login somebody began who knows a password.
    pub honest: BTreeSet<SessionId>,
    pub violations: Vec<(Property, String)>,
    pub notes: BTreeMap<&'static str, usize>,
    pub fleet: bool,
}

pub struct World {
    pub site: Site,
    pub network: Network,
    pub people: Vec<Person>,
    pub devices: Vec<Device>,
    pub now: Timestamp,
    pub tick: usize,
    pub rng: ChaCha20Rng,
    pub history: History,
}

pub fn run(schedule: &Schedule) -> History {
    let mut world = World::new(schedule);
    for device in 0..if schedule.warm { DEVICES } else { 0 } {
        world.act(device, &Act::LogIn, 6);
    }
    for event in &schedule.events {
        world.tick += 1;
        world.happen(event);
    }
    world.finish()
}

impl World {
    fn new(schedule: &Schedule) -> Self {
        let (steps, deeds, honest, violations, notes) = Default::default();
        let history = History { steps, deeds, store: MemoryStore::new(), honest, violations, notes, fleet: false };
        Self {
            site: Site::new(schedule.fleet, schedule.seed),
            network: Network::default(),
            people: ["ada", "bob"].map(Person::new).into(),
            devices: (0..DEVICES).map(|device| Device { person: device % PEOPLE, ..Device::default() }).collect(),
            now: NOW,
            tick: 0,
            rng: rng(schedule.seed),
            history,
        }
    }

    pub fn note(&mut self, what: &'static str) {
        *self.history.notes.entry(what).or_default() += 1;
    }

    pub fn violated(&mut self, property: Property, what: impl Into<String>) {
        self.history.violations.push((property, what.into()));
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Do { device, act, trips } => {
                self.act(*device, act, *trips);
                if self.devices[*device].talk.is_some()
                    && let Some(message) = self.transmit(*device)
                {
                    self.network.ask(message.encode().unwrap());
                }
            }
            Event::Duel { device, acts, trips, anew } => {
                if *anew {
                    self.devices[*device].drop_session();
                }
                self.duel([*device, (*device + PEOPLE) % DEVICES], acts, *trips);
            }
            Event::Stumble { device, act, trips, hitch } => self.stumble(*device, act, *trips, hitch),
            Event::Send { device } => {
                if let Some(message) = self.transmit(*device) {
                    self.network.ask(message.encode().unwrap());
                }
            }
            Event::ToServer { which, copy, node, twice } => {
                let Some(bytes) = pick(&mut self.network.requests, which, *copy) else { return };
                let message = ClientMessage::decode(&bytes).unwrap();
                let again = twice.then_some(&message);
                for reply in self.site.deliver(&message, *node, self.now, again) {
                    self.network.reply(reply.encode().unwrap());
                }
            }
            Event::ToClient { which, copy } => {
                let Some(bytes) = pick(&mut self.network.replies, which, *copy) else { return };
                let reply = ServerMessage::decode(&bytes).unwrap();
                let talks =
                    |device: &Device| device.talk.as_ref().and_then(Talk::session_id) == Some(reply.session_id());
                if let Some(device) = self.devices.iter().position(talks) {
                    self.receive(device, reply);
                }
            }
            Event::Lose { which, reply } => self.network.lose(which, *reply),
            Event::Splice { first, second, how, waiting } => self.splice(first, second, *how, *waiting),
            Event::Crash { device } => self.crash(*device),
            Event::WillCrash { device, settled } => self.devices[*device].will_crash = Some(*settled),
            Event::StoreFails(fault) => self.site.database().fault = Some(*fault),
            Event::ServerRestart { node } => self.site.restart(*node),
            Event::Pass(duration) => self.pass(*duration),
            Event::Guess { person, times } => {
                for _ in 0..*times {
                    self.guess(*person);
                }
            }
            Event::Haunt { device, which, act } => self.haunt(*device, which, act),
        }
    }

    pub fn crash(&mut self, device: usize) {
        if !self.devices[device].pending.is_empty() {
            self.note("crashes with pending secrets");
        }
        self.devices[device].crash();
    }

    /// Time passes; the database drops what has expired.
    pub fn pass(&mut self, duration: core::time::Duration) {
        self.now = self.now.after(duration);
        let now = self.now;
        self.site.database().inner.purge(now);
    }

    fn splice(&mut self, first: &Index, second: &Index, how: usize, waiting: Option<usize>) {
        let Some(waiting) = waiting else {
            let Some(message) = self.network.spliced_request(first, second, how) else { return };
            self.note("spliced requests delivered");
            for reply in self.site.deliver(&message, how % 2, self.now, None) {
                self.network.reply(reply.encode().unwrap());
            }
            return;
        };
        let waits = |device: &usize| self.devices[*device].talk.is_some();
        let Some(device) = (waiting..waiting + DEVICES).map(|device| device % DEVICES).find(waits) else { return };
        let Some(asked) = self.devices[device].talk.as_ref().map(|talk| talk.message().clone()) else { return };
        let Some(reply) = self.network.spliced_reply(&asked, first, second, how) else { return };
        self.note("spliced replies delivered");
        self.receive(device, reply);
    }

    /// A device begins something, whatever it was doing, and goes on for so many round trips.
    pub fn act(&mut self, device: usize, act: &Act, trips: usize) {
        self.devices[device].talk = None;
        self.devices[device].goal = Some(act.clone());
        for _ in 0..trips {
            if !self.round_trip(device) {
                break;
            }
        }
    }

    /// A device sends its message and gets the answer, if there is one. Somebody keeps copies of both.
    pub fn round_trip(&mut self, device: usize) -> bool {
        self.exchange(device, false)
    }

    /// The same, with the message once or twice.
    pub fn exchange(&mut self, device: usize, twice: bool) -> bool {
        let Some(message) = self.transmit(device) else { return false };
        self.network.ask(message.encode().unwrap());
        let mut replies = self.site.deliver(&message, device % 2, self.now, twice.then_some(&message));
        if twice && !self.site.is_fleet() {
            replies.extend(self.site.deliver(&message, 0, self.now, None));
        }
        let is_answered = !replies.is_empty();
        for reply in replies {
            self.network.reply(reply.encode().unwrap());
            self.receive(device, reply);
        }
        is_answered
    }

    /// Two devices go on in step.
    fn duel(&mut self, devices: [usize; 2], acts: &[Act; 2], trips: usize) {
        for (device, act) in devices.into_iter().zip(acts) {
            self.devices[device].talk = None;
            self.devices[device].goal = Some(act.clone());
        }
        for _ in 0..trips {
            let Some(first) = self.transmit(devices[0]) else { return };
            let second = self.transmit(devices[1]);
            for reply in self.site.deliver(&first, 0, self.now, second.as_ref()) {
                let talks = |device: &usize| {
                    self.devices[*device].talk.as_ref().and_then(Talk::session_id) == Some(reply.session_id())
                };
                if let Some(device) = devices.into_iter().find(talks) {
                    self.receive(device, reply);
                }
            }
            // A step without a write is not overtaken.
            if self.devices[devices[1]].talk.as_ref().map(Talk::message) == second.as_ref() {
                self.round_trip(devices[1]);
            }
        }
    }

    /// The message that a device has to send, after it has begun what it is up to.
    fn transmit(&mut self, device: usize) -> Option<ClientMessage> {
        if self.devices[device].talk.is_none() {
            self.begin(device);
        }
        let tick = self.tick;
        let Device { talk, session, person, .. } = &mut self.devices[device];
        let talk = talk.as_mut()?;
        let first = !core::mem::replace(&mut talk.sent, true);
        let person = &mut self.people[*person];
        let user_id = session.as_ref().map(ClientSession::user_id);
        if let (Task::LogIn(_), Some(session_id)) = (&talk.task, talk.session_id()) {
            self.history.honest.insert(session_id);
        }
        if let (true, Some(user_id)) = (first, user_id) {
            match &talk.task {
                Task::Store(_, key_ids) => person.life(user_id).sent.extend(key_ids),
                Task::Delete(key_id, _) => *person.life(user_id).doomed.entry(*key_id).or_default() += 1,
                Task::ChangePassword(number) => {
                    let password = &mut person.passwords[*number];
                    (password.of, password.asked) = (Some(user_id), Some(tick));
                }
                Task::DeleteAccount => {
                    person.life(user_id).closing = true;
                    person.closing = true;
                }
                _ => {}
            }
        }
        Some(talk.message().clone())
    }

    /// An answer, or something like it, reaches a device.
    fn receive(&mut self, device: usize, reply: ServerMessage) {
        let Some(talk) = &mut self.devices[device].talk else { return };
        let before = talk.message().clone();
        match talk.receive(reply.clone()) {
            Ok(None) => {}
            Ok(Some(outcome)) => {
                let Some(talk) = self.devices[device].talk.take() else { return };
                match outcome {
                    Ok(output) => self.achieved(device, talk, output, &reply),
                    Err(refusal) => self.refused(device, &talk.task, refusal, &reply),
                }
            }
            Err(error) => {
                let changed = *talk.message() != before;
                if changed {
                    self.violated(Property::EverybodyGetsThrough, format!("{error} has changed the exchange"));
                }
                self.failed(device, &error);
            }
        }
    }

    /// Somebody tries what may be a password of somebody else's, then a KE3 out of nowhere.
    fn guess(&mut self, person: usize) {
        let client = client(&self.people[person].name);
        let guess = format!("guess {}", self.tick);
        let mut exchange = client.log_in(&guess, None, &mut self.rng).unwrap();
        let message = exchange.message().clone();
        let session_id = message.session_id().unwrap();
        for reply in self.site.deliver(&message, 0, self.now, None) {
            self.note("guesses answered");
            if exchange.receive(reply).is_ok() {
                self.violated(Property::EveryAttemptIsCharged, "a wrong password goes on");
            }
        }
        let ke3 = Box::new(OpaqueMessage::from_bytes([7; 64]));
        let forged = ClientMessage::LoginFinish { session_id, ke3 };
        if !self.site.deliver(&forged, 1, self.now, None).is_empty() {
            self.violated(Property::EveryAttemptIsCharged, "a KE3 out of nowhere is answered");
        }
    }

    /// A request of an old session, which has ended, or has only been forgotten.
    fn haunt(&mut self, device: usize, which: &Index, act: &Act) {
        if self.devices[device].old.is_empty() {
            return;
        }
        let at = which.index(self.devices[device].old.len());
        let session = self.devices[device].old.swap_remove(at);
        // What it does is done by the device as it was: it keeps nothing of it.
        let living = self.devices[device].session.replace(session);
        let talk = self.devices[device].talk.take();
        let (goal, pin) = (self.devices[device].goal.replace(act.clone()), self.devices[device].pin);
        let person = self.devices[device].person;
        let accounts = self.people[person].forgotten;
        self.note("requests of old sessions");
        for _ in 0..4 {
            if self.devices[device].session.is_none() || !self.round_trip(device) {
                break;
            }
        }
        if self.people[person].forgotten > accounts {
            return;
        }
        let Device { session, talk: now_talk, goal: now_goal, pin: now_pin, old, .. } = &mut self.devices[device];
        old.extend(core::mem::replace(session, living));
        (*now_talk, *now_goal, *now_pin) = (talk, goal, pin);
    }

    /// What the person of a device has in the account of this user ID.
    pub fn life(&mut self, device: usize, user_id: UserId) -> &mut Life {
        self.people[self.devices[device].person].life(user_id)
    }
}
