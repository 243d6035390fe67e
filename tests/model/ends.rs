//! What is made of the end of an exchange that was granted.

use std::collections::BTreeSet;

use keystow::*;

use crate::device::{Device, Output, Talk, Task};
use crate::event::Act;
use crate::reference::Property;
use crate::world::World;

impl World {
    pub fn achieved(&mut self, device: usize, talk: Talk, output: Output, reply: &ServerMessage) {
        let person = self.devices[device].person;
        match (talk.task, output) {
            (Task::Register, Output::Registered(registered)) => {
                self.note("registrations acknowledged");
                self.people[person].registered = true;
                self.people[person].life(registered.user_id);
                let Device { pin, server_key, .. } = &mut self.devices[device];
                (*pin, *server_key) = (Some(registered.pin), Some(registered.server_key));
            }
            (Task::LogIn(number), Output::Session(session)) => {
                self.logged_in(device, number, *session);
                self.did(device, reply, "LogIn", true, vec![]);
            }
            (Task::Make(plain), Output::Pending(pending)) => {
                self.devices[device].pending.push(pending.encode().unwrap());
                let user_id = self.devices[device].session.as_ref().map(ClientSession::user_id);
                if let (Some(plain), Some(user_id)) = (plain, user_id) {
                    self.life(device, user_id).plain.extend(pending.key_ids().zip(plain));
                }
                self.devices[device].goal.get_or_insert(Act::Store);
            }
            (Task::Store(kept, key_ids), Output::Stored(unsettled)) => {
                self.did(device, reply, "Store", true, key_ids.clone());
                if let Some(secrets) = self.settle(device, unsettled) {
                    self.stored(device, &kept, &key_ids, &secrets);
                }
            }
            (Task::Retrieve(key_ids, _), Output::Retrieved(secrets)) => {
                self.did(device, reply, "Retrieve", true, key_ids.clone());
                self.retrieved(device, &key_ids, &secrets);
            }
            (Task::List { there, gone }, Output::Listed(unsettled)) => {
                self.did(device, reply, "List", true, vec![]);
                if let Some(listed) = self.settle(device, unsettled) {
                    self.devices[device].lists += 1;
                    self.listed(device, &there, &gone, &listed.iter().map(|secret| secret.key_id).collect());
                }
            }
            (Task::Delete(key_id, _), Output::Changed(unsettled)) => {
                self.did(device, reply, "Delete", true, vec![key_id]);
                if let (Some(()), Some(user_id)) = (self.settle(device, unsettled), self.user_id(device)) {
                    self.note("deletions acknowledged");
                    self.life(device, user_id).deleted.insert(key_id);
                }
            }
            (Task::ChangePassword(number), Output::Changed(unsettled)) => {
                self.note("changes of password acknowledged");
                self.did(device, reply, "ChangePassword", true, vec![]);
                if self.settle(device, unsettled).is_some() {
                    let tick = self.tick;
                    let person = &mut self.people[person];
                    person.passwords[number].acknowledged = Some(tick);
                    person.hint = number;
                }
            }
            (Task::Compare, Output::Changed(unsettled)) => {
                self.did(device, reply, "Compare", true, vec![]);
                let _ = self.settle(device, unsettled);
            }
            (Task::Audit, Output::Audited(page)) => {
                self.did(device, reply, "Audit", true, vec![]);
                let user_id = self.user_id(device);
                if page.entries.iter().any(|entry| Some(entry.user_id()) != user_id) {
                    self.violated(Property::NothingCrosses, "another one's audit entry");
                }
                self.devices[device].trail = page.entries;
            }
            (Task::Status, _) => self.did(device, reply, "Status", true, vec![]),
            (Task::LogOut, _) => {
                self.note("log-outs acknowledged");
                self.ended(device, reply, true);
            }
            (Task::DeleteAccount, _) => {
                self.note("deletions of accounts acknowledged");
                if let Some(user_id) = self.user_id(device) {
                    self.life(device, user_id).closed = true;
                }
                self.ended(device, reply, true);
                self.forget(person);
            }
            (Task::Trespass, _) => self.violated(Property::NothingCrosses, "a trespass is granted"),
            _ => unreachable!("an exchange ends with its own output"),
        }
    }

    fn user_id(&self, device: usize) -> Option<UserId> {
        self.devices[device].session.as_ref().map(ClientSession::user_id)
    }

    fn logged_in(&mut self, device: usize, number: usize, session: ClientSession) {
        self.note("logins");
        let person = self.devices[device].person;
        let others = self.devices.iter().filter(|other| other.person == person && other.session.is_some());
        if others.count() > 0 {
            self.note("logins with another session open");
        }
        self.people[person].hint = number;
        let Device { pin, server_key, tries, session: now, .. } = &mut self.devices[device];
        (*pin, *server_key, *tries) = (Some(session.pin()), Some(session.server_key()), 0);
        *now = Some(session);
    }

    fn stored(&mut self, device: usize, kept: &[u8], key_ids: &[KeyId], secrets: &[NewSecret]) {
        let Some(user_id) = self.user_id(device) else { return };
        self.devices[device].pending.retain(|pending| pending != kept);
        let again = secrets.iter().any(|secret| secret.already_stored);
        self.note(if again { "lost acknowledgements that turn out repeated" } else { "stores acknowledged" });
        if !secrets.iter().map(|secret| secret.key_id).eq(key_ids.iter().copied()) {
            self.violated(Property::NothingIsLost, "other secrets are acknowledged than were sent");
        }
        let life = self.life(device, user_id);
        life.stored.extend(key_ids);
        for secret in secrets.iter().filter(|secret| !secret.already_stored) {
            *life.fresh.entry(secret.key_id).or_default() += 1;
        }
    }

    fn retrieved(&mut self, device: usize, key_ids: &[KeyId], secrets: &[RetrievedSecret]) {
        let Some(user_id) = self.user_id(device) else { return };
        let mut wrong = Vec::new();
        let life = self.life(device, user_id);
        for (key_id, secret) in key_ids.iter().zip(secrets) {
            let plain = life.plain.entry(*key_id).or_insert_with(|| secret.expose().to_vec());
            if plain != secret.expose() {
                wrong.push((Property::NothingIsLost, format!("{key_id} holds another secret")));
            }
        }
        if secrets.iter().map(RetrievedSecret::key_id).ne(key_ids.iter().copied()) {
            wrong.push((Property::NothingIsLost, "other secrets are given than were asked for".to_owned()));
        }
        self.history.violations.extend(wrong);
    }

    fn listed(&mut self, device: usize, there: &BTreeSet<KeyId>, gone: &BTreeSet<KeyId>, listed: &BTreeSet<KeyId>) {
        let Some(user_id) = self.user_id(device) else { return };
        let life = self.life(device, user_id).clone();
        let mut missing = there.difference(listed).filter(|key_id| !life.doomed.contains_key(key_id));
        if let Some(key_id) = missing.next() {
            self.violated(Property::NothingIsLost, format!("{key_id} was acknowledged, and is not listed"));
        }
        if let Some(key_id) = listed.intersection(gone).next() {
            self.violated(Property::NothingIsLost, format!("{key_id} was deleted, and is listed"));
        }
        self.life(device, user_id).seen.extend(listed);
        if let Some(key_id) = listed.difference(&life.sent).next() {
            self.violated(Property::NothingCrosses, format!("{key_id} was never sent, and is listed"));
        }
    }
}
