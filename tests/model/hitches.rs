//! What comes in a device's way, at a chosen place of what it does.

use keystow::operation::{Request, store};
use keystow::testing::hostile;
use keystow::*;

use crate::event::{Act, DEVICES, Hitch, PEOPLE};
use crate::hostile_tools::{blank_head, sealed};
use crate::world::World;

/// More round trips than an act takes.
const ENOUGH: usize = 12;

impl World {
    pub fn stumble(&mut self, device: usize, act: &Act, trips: usize, hitch: &Hitch) {
        self.devices[device].drop_session();
        self.act(device, act, trips);
        match hitch {
            Hitch::Fails(fault) => self.site.database().fault = Some(*fault),
            Hitch::Outlived => self.outlive(device),
            Hitch::Slow(_) | Hitch::Twice => {}
        }
        for _ in 0..ENOUGH {
            if self.devices[device].is_idle() {
                return;
            }
            if let Hitch::Slow(duration) = hitch {
                self.pass(*duration);
            }
            let twice = matches!(hitch, Hitch::Twice);
            // No answer: it asks again.
            if !self.exchange(device, twice) && !self.exchange(device, twice) {
                return;
            }
        }
    }

    /// The person's other device changes the password.
    fn outlive(&mut self, device: usize) {
        let (person, other) = (self.devices[device].person, (device + PEOPLE) % DEVICES);
        let before = self.people[person].hint;
        self.devices[other].drop_session();
        self.act(other, &Act::ChangePassword, ENOUGH);
        if self.people[person].hint != before {
            self.note("devices outlived by a password");
            self.intrude(device);
        }
    }

    /// Somebody who has got hold of the session stores what is pending, behind the newest head.
    fn intrude(&mut self, device: usize) {
        let name = AccountName::new(&self.people[self.devices[device].person].name).unwrap();
        let Some(epoch) = self.site.database().inner.accounts.get(&name).map(|row| row.epoch) else { return };
        let Some(kept) = self.devices[device].pending.first() else { return };
        let secrets = sealed(&PendingSecrets::decode(kept).unwrap()).into();
        let Some(session) = &mut self.devices[device].session else { return };
        let request = Request::Store(store::Request { secrets, head: blank_head(epoch + 1) });
        let message = hostile::request(session, &request).unwrap().message().clone();
        self.note("stores in an outlived session");
        self.site.deliver(&message, 0, self.now, None);
    }
}
