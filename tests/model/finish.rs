//! The end of a case: the network heals, time passes, every device finishes what it has, and a new device looks at it all.

use std::collections::BTreeSet;
use std::time::Duration;

use keystow::testing::MemoryStore;
use keystow::*;

use crate::device::Device;
use crate::event::{Act, DEVICES, PEOPLE};
use crate::reference::{Life, Property};
use crate::world::{History, World};

/// More round trips than any device needs to finish.
const ENOUGH: usize = 120;

impl World {
    pub fn finish(mut self) -> History {
        self.late_messages();
        self.site.database().fault = None;
        self.pass(Duration::from_secs(75 * 60));
        self.devices.iter_mut().for_each(|device| device.will_crash = None);
        // What one device finishes, the others see the second time.
        for device in (0..DEVICES).chain(0..DEVICES) {
            self.get_through(device, Act::List);
        }
        for person in 0..PEOPLE {
            self.look(person);
        }
        for complaint in std::mem::take(&mut self.site.complaints) {
            self.violated(
                Property::EverybodyGetsThrough,
                format!("the server finds fault with its store: {complaint}"),
            );
        }
        let fleet = self.site.is_fleet();
        self.history.notes.insert("unknown outcomes and other faults", self.site.failures);
        self.history.notes.insert("steps overtaken between read and write", self.site.overtaken);
        self.history.store = self.site.database().inner.clone();
        History { steps: self.site.steps, fleet, ..self.history }
    }

    /// What is still under way arrives, in any session that is still there.
    fn late_messages(&mut self) {
        for bytes in std::mem::take(&mut self.network.requests) {
            if let Ok(message) = ClientMessage::decode(&bytes) {
                self.site.deliver(&message, 0, self.now, None);
            }
        }
        self.network.replies.clear();
    }

    /// A device goes on until it has finished what it was doing, stored what it keeps, and done this.
    fn get_through(&mut self, device: usize, last: Act) {
        let (lists, mut last) = (self.devices[device].lists, Some(last));
        for _ in 0..ENOUGH {
            self.tick += 1;
            if let Some(time) = self.devices[device].waits.take() {
                self.now = self.now.max(time);
            }
            if self.devices[device].is_idle() {
                let state = &self.devices[device];
                let next = match &last {
                    _ if !state.pending.is_empty() => Some(Act::Store),
                    Some(Act::List) if state.lists == lists => Some(Act::List),
                    Some(Act::List) => None,
                    _ => last.take(),
                };
                match next {
                    Some(act) => self.devices[device].goal = Some(act),
                    None => return,
                }
            }
            // What isn't answered twice is given up; so is a session that the server has lost.
            if !self.round_trip(device) && self.devices[device].talk.is_some() && !self.round_trip(device) {
                self.devices[device].drop_session();
            }
        }
        let state = format!("device {device} doesn't get through with {:?}", self.devices[device].goal);
        self.violated(Property::EverybodyGetsThrough, state);
    }

    /// A new device, with nothing but the password, sees everything that was acknowledged, and nothing else.
    fn look(&mut self, person: usize) {
        let name = AccountName::new(&self.people[person].name).unwrap();
        let old: Vec<Device> = std::mem::take(&mut self.devices);
        self.devices = vec![Device { person, ..Device::default() }];
        for act in [Act::List, Act::RetrieveAll, Act::Audit] {
            self.get_through(0, act);
        }
        let new = std::mem::replace(&mut self.devices, old).remove(0);
        let store = self.site.database().inner.clone();
        let account = store.accounts.get(&name);
        // Whatever a client makes of it: what was acknowledged is there.
        let lives: Vec<(UserId, Life)> =
            self.people[person].lives.iter().map(|(id, life)| (*id, life.clone())).collect();
        for (user_id, life) in &lives {
            self.compare(*user_id, life, account.is_some_and(|account| account.user_id == *user_id), &store);
        }
        let session = new.session.as_ref();
        let (Some(account), Some(session)) = (account, session.filter(|_| new.lists > 0)) else {
            self.violated(Property::EverybodyGetsThrough, format!("{name:?} has no account, or sees no vault"));
            return;
        };
        let pins = self.devices.iter().filter(|device| device.person == person).map(|device| device.pin);
        if pins.into_iter().any(|pin| pin != Some(session.pin())) {
            self.violated(Property::EverybodyGetsThrough, "devices end with different vaults");
        }
        if account.user_id != session.user_id() {
            self.violated(Property::NothingCrosses, "a session of another account");
        }
        let reference = &self.people[person];
        if !reference.may_be(account.user_id, reference.hint) {
            self.violated(Property::NothingIsLost, "a password works that was replaced");
        }
        self.trails(&new.trail, account.user_id);
    }

    /// What the store has of an account, beside what its person was told.
    fn compare(&mut self, user_id: UserId, life: &Life, lives: bool, store: &MemoryStore) {
        let secrets = store.secrets.iter().filter(|((owner, _), _)| *owner == user_id);
        // A tombstone is the second variant of the record.
        let live: BTreeSet<KeyId> = secrets.filter(|(_, record)| record[1] == 0).map(|((_, id), _)| *id).collect();
        if lives && life.closed {
            self.violated(Property::NothingIsLost, "a deleted account is back");
        }
        if !lives && !life.closing && !life.stored.is_empty() {
            self.violated(Property::NothingIsLost, "an account is gone");
        }
        if !lives && !live.is_empty() {
            self.violated(Property::NothingIsLost, "a deleted account has left secrets");
        }
        if lives && !life.there().is_subset(&live) {
            self.violated(Property::NothingIsLost, "an acknowledged secret is not in the store");
        }
        if live.iter().any(|key_id| life.deleted.contains(key_id)) {
            self.violated(Property::NothingIsLost, "a deleted secret is in the store");
        }
        if !live.is_subset(&life.sent) {
            self.violated(Property::NothingCrosses, "the store has a secret that its person never sent");
        }
        if life.fresh.values().any(|times| *times > 1) {
            self.violated(Property::NothingIsTwice, "a secret was newly stored twice");
        }
    }

    /// The trail that the person sees has an entry for everything that any of the devices was told.
    fn trails(&mut self, trail: &[AuditEntry], user_id: UserId) {
        let missing = |deed: &&crate::world::Deed| {
            let is_it = |entry: &AuditEntry| {
                let action = match entry.action() {
                    Action::LogIn { .. } => "LogIn".to_owned(),
                    action => format!("{action:?}"),
                };
                // What is acknowledged as stored before was stored by another session.
                let stored = action == "Store" && entry.granted();
                action == deed.action
                    && entry.granted() == deed.granted
                    && entry.key_ids() == deed.key_ids
                    && (stored || entry.session_id() == deed.session.0)
            };
            let silent = ["Compare", "Audit", "Status", "End"].contains(&deed.action);
            deed.user_id == user_id && !silent && !trail.iter().any(is_it)
        };
        let missing: Vec<String> = self.history.deeds.iter().filter(missing).map(|deed| format!("{deed:?}")).collect();
        for deed in missing {
            self.violated(Property::EveryTransactionIsAudited, format!("no entry of {deed}"));
        }
        if trail.iter().filter(|entry| entry.action() == Action::Register).count() != 1 {
            self.violated(Property::EveryTransactionIsAudited, "no entry of the registration, or two");
        }
    }
}
