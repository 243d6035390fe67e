//! What devices do: how each act begins, and what is made of its end.

use keystow::operation::Request;
use keystow::operation::{delete, log_out, retrieve, store};
use keystow::testing::hostile;
use keystow::*;
use proptest::sample::Index;

use crate::device::{Device, Output, Talk, Task};
use crate::event::{Act, DEVICES, PEOPLE};
use crate::hostile_tools::{blank_head, sealed};
use crate::reference::{Password, Property};
use crate::support::client;
use crate::world::{Deed, World};

/// How many changes of password a person tries, so that the candidates fit into an attempt window.
const CHANGES: usize = 4;

impl World {
    pub fn client(&self, device: usize) -> Client {
        let client = client(&self.people[self.devices[device].person].name);
        self.devices[device].server_key.map_or(client.clone(), |key| client.pin_server_key(key))
    }

    /// Begins what a device is up to: with a registration or a login, if that is missing.
    pub fn begin(&mut self, device: usize) {
        let person = self.devices[device].person;
        let Some(goal) = self.devices[device].goal.clone() else { return };
        if self.devices[device].session.is_some() {
            self.devices[device].goal = None;
            match self.start(device, &goal) {
                Ok(talk) => self.devices[device].talk = talk,
                Err(error) => self.cannot(device, &error),
            }
            return;
        }
        let client = self.client(device);
        let talk = if self.people[person].registered {
            let number = self.people[person].password(self.devices[device].tries);
            let password = &self.people[person].passwords[number].text;
            let exchange = client.log_in(password, self.devices[device].pin, &mut self.rng).unwrap();
            Talk::new(Task::LogIn(number), exchange, |session| Output::Session(Box::new(session)))
        } else {
            let exchange = client.register(&self.people[person].passwords[0].text, &mut self.rng).unwrap();
            Talk::new(Task::Register, exchange, Output::Registered)
        };
        self.devices[device].talk = Some(talk);
    }

    /// Starts an act in the device's session, if there is something to do.
    fn start(&mut self, device: usize, act: &Act) -> Result<Option<Talk>, Error> {
        let number = self.devices[device].person;
        let Some(mut session) = self.devices[device].session.take() else { return Ok(None) };
        let started = self.start_in(device, number, &mut session, act);
        self.devices[device].session = Some(session);
        started
    }

    fn start_in(
        &mut self,
        device: usize,
        number: usize,
        session: &mut ClientSession,
        act: &Act,
    ) -> Result<Option<Talk>, Error> {
        let user_id = session.user_id();
        let life = self.people[number].life(user_id).clone();
        let picked = |which: &Index| {
            let known: Vec<KeyId> = life.sent.iter().copied().collect();
            (!known.is_empty()).then(|| known[which.index(known.len())])
        };
        Ok(Some(match act {
            Act::LogIn => return Ok(None),
            Act::Make { count, import: false } => {
                let kinds = [Kind::Bytes(32), Kind::Ed25519, Kind::Secp256k1];
                let exchange = session.generate(&kinds[..*count], &mut self.rng)?;
                Talk::new(Task::Make(None), exchange, Output::Pending)
            }
            Act::Make { count, import: true } => {
                let person = &mut self.people[number];
                let mut own = || {
                    person.imports += 1;
                    format!("import {} of {}", person.imports, person.name).into_bytes()
                };
                let plain: Vec<Vec<u8>> = (0..*count).map(|_| own()).collect();
                let secrets = plain.iter().map(|plain| PlainSecret::bytes(plain).unwrap()).collect();
                Talk::new(Task::Make(Some(plain)), session.import(secrets, &mut self.rng)?, Output::Pending)
            }
            Act::Store => {
                let Some(kept) = self.devices[device].pending.first().cloned() else { return Ok(None) };
                let pending = PendingSecrets::decode(&kept)?;
                let task = Task::Store(kept, pending.key_ids().collect());
                Talk::new(task, session.store(&pending)?, Output::Stored)
            }
            Act::Retrieve(which) => {
                let Some(key_id) = picked(which) else { return Ok(None) };
                let task = Task::Retrieve(vec![key_id], life.there().contains(&key_id));
                Talk::new(task, session.retrieve(&[key_id])?, Output::Retrieved)
            }
            Act::RetrieveAll => {
                let key_ids: Vec<KeyId> = life.there().into_iter().collect();
                if key_ids.is_empty() {
                    return Ok(None);
                }
                let exchange = session.retrieve(&key_ids)?;
                Talk::new(Task::Retrieve(key_ids, true), exchange, Output::Retrieved)
            }
            Act::List => {
                let task = Task::List { there: life.there(), gone: life.deleted.clone() };
                Talk::new(task, session.list()?, Output::Listed)
            }
            Act::Delete(which) => {
                let Some(key_id) = picked(which) else { return Ok(None) };
                let task = Task::Delete(key_id, life.there().contains(&key_id));
                Talk::new(task, session.delete(&[key_id])?, Output::Changed)
            }
            Act::ChangePassword => {
                let person = &mut self.people[number];
                let changes = person.passwords.len();
                if changes > CHANGES {
                    return Ok(None);
                }
                let text = format!("{} {changes}", person.passwords[0].text);
                let exchange = session.change_password(&text, &mut self.rng)?;
                person.passwords.push(Password { text, of: None, asked: None, acknowledged: None });
                Talk::new(Task::ChangePassword(changes), exchange, Output::Changed)
            }
            Act::Compare => {
                let Some(pin) = self.devices[(device + PEOPLE) % self.devices.len()].pin else { return Ok(None) };
                Talk::new(Task::Compare, session.verify_pin(pin)?, Output::Changed)
            }
            Act::Audit => {
                let exchange = session.audit(AuditFilter::default(), None, 256)?;
                Talk::new(Task::Audit, exchange, Output::Audited)
            }
            Act::Status => Talk::new(Task::Status, session.status()?, |_| Output::Nothing),
            // As `ClientSession::log_out`, but for the session, which is to haunt the server.
            Act::LogOut => {
                let exchange = hostile::request(session, &Request::LogOut(log_out::Request {}))?;
                Talk::new(Task::LogOut, exchange, |_| Output::Nothing)
            }
            Act::DeleteAccount => Talk::new(Task::DeleteAccount, session.delete_account()?, |()| Output::Nothing),
            Act::Trespass(which, how) => return self.trespass(number, session, which, *how),
        }))
    }

    /// Asks for, deletes or stores what the other person has.
    fn trespass(
        &mut self,
        number: usize,
        session: &mut ClientSession,
        which: &Index,
        how: usize,
    ) -> Result<Option<Talk>, Error> {
        let other = (number + 1) % PEOPLE;
        let all = self.people[other].lives.values().flat_map(|life| life.stored.iter().copied());
        let all: Vec<KeyId> = all.collect();
        let kept = self.devices.iter().find(|device| device.person == other && !device.pending.is_empty());
        let kept = kept.map(|device| PendingSecrets::decode(&device.pending[0]).unwrap());
        let request = match (how, kept) {
            (2, Some(kept)) => {
                let (secrets, head) = (sealed(&kept).into(), blank_head(session.pin().epoch() + 1));
                Request::Store(store::Request { secrets, head })
            }
            _ if all.is_empty() => return Ok(None),
            (0, _) => Request::Retrieve(retrieve::Request { key_ids: vec![all[which.index(all.len())]] }),
            _ => {
                let (key_ids, head) = (vec![all[which.index(all.len())]], blank_head(session.pin().epoch() + 1));
                Request::Delete(delete::Request { key_ids, head })
            }
        };
        let exchange = hostile::request(session, &request)?;
        Ok(Some(Talk::new(Task::Trespass, exchange, |_| Output::Nothing)))
    }

    /// An act can't begin: the account is being deleted, or it is another one by now.
    fn cannot(&mut self, device: usize, error: &Error) {
        let person = self.devices[device].person;
        match error {
            Error::Caller(CallerFault::VaultClosed) if self.people[person].closing => {
                self.devices[device].goal = Some(Act::DeleteAccount);
            }
            Error::Caller(CallerFault::WrongUser { pending }) if self.people[person].life(*pending).closing => {
                self.devices[device].pending.remove(0);
            }
            _ => self.violated(Property::EverybodyGetsThrough, format!("can't begin: {error}")),
        }
    }

    /// An error of an exchange, which is still there. A program goes on waiting for noise, and gives up what is hopeless.
    pub fn failed(&mut self, device: usize, error: &Error) {
        let number = self.devices[device].person;
        match error {
            Error::Peer(
                PeerFault::WrongSession
                | PeerFault::WrongSequence
                | PeerFault::OutOfOrder
                | PeerFault::Unauthenticated
                | PeerFault::InvalidElement,
            ) => {}
            Error::Peer(PeerFault::LoginFailed) => {
                self.devices[device].talk = None;
                self.devices[device].tries += 1;
                // Nothing works any more, and the account was to be deleted.
                let person = &self.people[number];
                if person.closing && self.devices[device].tries >= person.passwords.len() {
                    self.forget(number);
                }
            }
            Error::Peer(PeerFault::Refused(refusal)) => {
                self.devices[device].drop_session();
                match refusal {
                    Refusal::NameTaken => self.people[number].registered = true,
                    Refusal::TryAgainAt(time) => {
                        self.note("attempts spent");
                        self.devices[device].waits = Some(*time);
                    }
                    _ => {}
                }
            }
            // The pin of an account that is gone is another vault's.
            Error::Peer(PeerFault::Vault(_)) if self.people[number].closing => self.forget(number),
            Error::Caller(CallerFault::VaultClosed) if self.people[number].closing => {
                self.devices[device].talk = None;
                self.devices[device].goal = Some(Act::DeleteAccount);
            }
            _ => {
                self.devices[device].talk = None;
                self.violated(Property::EverybodyGetsThrough, format!("a false alarm: {error}"));
            }
        }
    }

    /// The account is gone: so is all that devices keep of it.
    pub fn forget(&mut self, number: usize) {
        let person = &mut self.people[number];
        (person.registered, person.closing) = (false, false);
        person.forgotten += 1;
        for device in (0..DEVICES).filter(|device| device % PEOPLE == number) {
            let device = &mut self.devices[device];
            device.drop_session();
            (device.pin, device.pending, device.tries) = (None, vec![], 0);
        }
    }

    /// An authenticated refusal.
    pub fn refused(&mut self, device: usize, task: &Task, refusal: Refusal, reply: &ServerMessage) {
        let user_id = self.devices[device].session.as_ref().map(ClientSession::user_id);
        match (refusal, task, user_id) {
            (Refusal::SessionEnded, ..) => {
                self.note("sessions found to have ended");
                self.ended(device, reply, false);
                self.again(device, task);
            }
            (Refusal::LoginTooOld, Task::ChangePassword(_) | Task::DeleteAccount, _) => {
                self.devices[device].drop_session();
                self.again(device, task);
            }
            (Refusal::NotFound | Refusal::Denied, Task::Trespass, _) => self.note("trespasses refused"),
            (Refusal::KeyIdTaken(key_id), Task::Store(kept, key_ids), Some(user_id)) => {
                // Stored before, and deleted since.
                self.devices[device].pending.retain(|pending| pending != kept);
                if !self.life(device, user_id).doomed.contains_key(&key_id) {
                    self.violated(Property::NothingIsTwice, format!("{key_id} is taken by something else"));
                }
                self.did(device, reply, "Store", false, key_ids.clone());
            }
            (Refusal::AlreadyDeleted(gone), Task::Delete(key_id, _), Some(user_id)) => {
                let life = self.life(device, user_id);
                let twice = life.doomed.get(&gone).is_some_and(|times| *times > 1) && gone == *key_id;
                life.deleted.insert(*key_id);
                if !twice {
                    self.violated(Property::NothingIsTwice, format!("{gone} was asked to be deleted once"));
                }
                self.did(device, reply, "Delete", false, vec![*key_id]);
            }
            (Refusal::NotFound, Task::Retrieve(key_ids, there), Some(user_id)) => {
                let life = self.life(device, user_id);
                if *there && !life.closing && key_ids.iter().all(|key_id| !life.doomed.contains_key(key_id)) {
                    self.violated(Property::NothingIsLost, format!("{key_ids:?} are not found"));
                }
                self.did(device, reply, "Retrieve", false, key_ids.clone());
            }
            (Refusal::NotFound, Task::Delete(key_id, there), Some(user_id)) => {
                let life = self.life(device, user_id);
                let times = life.doomed.entry(*key_id).or_default();
                *times = times.saturating_sub(1);
                if *times == 0 {
                    life.doomed.remove(key_id);
                }
                if *there && !life.closing && !life.doomed.contains_key(key_id) {
                    self.violated(Property::NothingIsLost, format!("{key_id} is not found"));
                }
                self.did(device, reply, "Delete", false, vec![*key_id]);
            }
            (refusal, task, _) => {
                self.violated(Property::EverybodyGetsThrough, format!("{task:?} is refused: {refusal}"));
            }
        }
    }

    /// What a device does again in a new session.
    fn again(&mut self, device: usize, task: &Task) {
        let goal = match task {
            Task::Store(..) => Act::Store,
            Task::List { .. } => Act::List,
            Task::DeleteAccount => Act::DeleteAccount,
            Task::ChangePassword(_) => Act::ChangePassword,
            _ => return,
        };
        self.devices[device].goal.get_or_insert(goal);
    }

    /// The server has said that the session is over, because the device wanted it or not.
    pub fn ended(&mut self, device: usize, reply: &ServerMessage, wanted: bool) {
        self.did(device, reply, "End", wanted, vec![]);
        self.devices[device].drop_session();
    }

    /// Writes down what a device was told.
    pub fn did(
        &mut self,
        device: usize,
        reply: &ServerMessage,
        action: &'static str,
        granted: bool,
        key_ids: Vec<KeyId>,
    ) {
        let Some(user_id) = self.devices[device].session.as_ref().map(ClientSession::user_id) else { return };
        let Some((step, session)) = self.doing(reply) else {
            self.violated(Property::EverybodyGetsThrough, "an answer that the server never gave is taken");
            return;
        };
        self.history.deeds.push(Deed { step, session, user_id, action, granted, key_ids });
    }

    /// The step that did what a reply says: the first that took its message in.
    fn doing(&self, reply: &ServerMessage) -> Option<(usize, (SessionId, usize))> {
        let steps = &self.site.steps;
        let told = steps.iter().rev().find(|step| step.sent.as_ref() == Some(reply))?;
        let same = |step: &crate::site::Step| step.session == told.session && step.message == told.message;
        let first = steps.iter().position(|step| same(step) && step.is_taken_in(self.site.is_fleet()))?;
        Some((first, told.session))
    }

    /// Sees to a program that is to be gone when a change of the vault is answered. Gives what it was told, if it lives.
    pub fn settle<T>(&mut self, device: usize, unsettled: Unsettled<T>) -> Option<T> {
        let Device { session, pin, will_crash, .. } = &mut self.devices[device];
        let crash = will_crash.take();
        let session = session.as_mut()?;
        let settled = match crash {
            None => {
                let output = session.settle(unsettled).ok()?;
                *pin = Some(session.pin());
                return Some(output);
            }
            Some(true) => session.settle(unsettled).map(drop).is_ok(),
            Some(false) => false,
        };
        self.note(if settled { "crashes before the pin was kept" } else { "crashes before settling" });
        self.crash(device);
        None
    }
}
