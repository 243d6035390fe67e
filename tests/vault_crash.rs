//! Crashes of either side between sending, writing, settling and keeping the pin, with two devices of one person: a property
//! test beside a plain model. Whatever happens, honest devices and an honest server never raise a false alarm, lose nothing
//! that was acknowledged, and end with the same vault.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;

use std::collections::BTreeSet;

use keystow::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use support::{PASSWORD, World, world};

/// Where a device stops while it carries out an operation.
#[derive(Clone, Copy, Debug)]
enum Stop {
    /// It doesn't.
    Never,
    /// Before it sends its message number `n`.
    BeforeSending(usize),
    /// After the server has answered its message number `n`: the answer is lost.
    AfterSending(usize),
    /// After the last answer: what it gave is never settled.
    Unsettled,
    /// After settling: the pin is not kept.
    PinNotKept,
}

#[derive(Clone, Debug)]
enum Event {
    /// A device makes secrets, keeps them, and stores them.
    Store(usize, usize, Stop),
    /// A device stores again what it has kept, oldest first.
    Retry(usize, Stop),
    /// A device deletes one of the secrets that it believes in.
    Delete(usize, Index, Stop),
    /// A device lists.
    List(usize, Stop),
    /// A device changes the password.
    ChangePassword(usize, Stop),
    /// A device compares its pin with the one that the other has kept.
    Compare(usize, Stop),
    /// A device restarts, with the pin that it has kept.
    Restart(usize),
    /// The server restarts, without its sessions.
    ServerRestart,
}

fn stop() -> impl Strategy<Value = Stop> {
    prop_oneof![
        4 => Just(Stop::Never),
        1 => (0usize..4).prop_map(Stop::BeforeSending),
        3 => (0usize..4).prop_map(Stop::AfterSending),
        1 => Just(Stop::Unsettled),
        1 => Just(Stop::PinNotKept),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let device = || 0usize..2;
    prop_oneof![
        5 => (device(), 1usize..4, stop()).prop_map(|(device, count, stop)| Event::Store(device, count, stop)),
        4 => (device(), stop()).prop_map(|(device, stop)| Event::Retry(device, stop)),
        3 => (device(), any::<Index>(), stop()).prop_map(|(device, which, stop)| Event::Delete(device, which, stop)),
        3 => (device(), stop()).prop_map(|(device, stop)| Event::List(device, stop)),
        1 => (device(), stop()).prop_map(|(device, stop)| Event::ChangePassword(device, stop)),
        2 => (device(), stop()).prop_map(|(device, stop)| Event::Compare(device, stop)),
        2 => device().prop_map(Event::Restart),
        1 => Just(Event::ServerRestart),
    ]
}

/// A device: what it has kept survives a crash, the session doesn't.
struct Device {
    session: Option<ClientSession>,
    pin: VaultPin,
    pending: Vec<Vec<u8>>,
}

struct Family {
    world: World,
    client: Client,
    devices: [Device; 2],
    /// The password that works; while a change is in doubt, two may.
    passwords: Vec<String>,
    /// What was acknowledged as stored, and what was asked to be deleted.
    stored: BTreeSet<KeyId>,
    deleted: BTreeSet<KeyId>,
    /// All that was ever sent to be stored.
    sent: BTreeSet<KeyId>,
    /// How many passwords there have been.
    changes: usize,
}

/// How an operation ended for the device.
enum End<T> {
    Done(T),
    Refused(Refusal),
    /// The device or the server crashed, or its session was lost.
    Lost,
}

impl Family {
    fn new(seed: u64) -> Self {
        let mut world = world(seed);
        let client = support::client("ada");
        let registered = world.register(&client, PASSWORD).unwrap().unwrap();
        let device = || Device { session: None, pin: registered.pin, pending: vec![] };
        let (stored, deleted, sent) = Default::default();
        let passwords = vec![PASSWORD.to_owned()];
        Self { world, client, devices: [device(), device()], passwords, stored, deleted, sent, changes: 0 }
    }

    /// The device's session, after a login with the kept pin if it has none. It never fails with an honest server.
    fn session(&mut self, device: usize) -> ClientSession {
        if let Some(session) = self.devices[device].session.take() {
            return session;
        }
        let pin = self.devices[device].pin;
        let mut opened = vec![];
        for password in &self.passwords {
            match self.world.log_in_with(&self.client, password, Some(pin)) {
                Ok(session) => opened.push((password.clone(), session.unwrap())),
                Err(error) => assert_eq!(support::error::<(), _>(Err(error)), PeerFault::LoginFailed.into()),
            }
        }
        let (password, session) = opened.pop().expect("one password works");
        assert!(opened.is_empty(), "one password alone works");
        self.passwords = vec![password];
        session
    }

    /// Runs an exchange up to where the device stops.
    fn run<O: client::Operation>(&mut self, mut exchange: Exchange<O>, stop: Stop) -> End<O::Output> {
        for n in 0.. {
            if matches!(stop, Stop::BeforeSending(at) if at == n) {
                return End::Lost;
            }
            let answer = self.world.send(exchange.message());
            if matches!(stop, Stop::AfterSending(at) if at == n) {
                return End::Lost;
            }
            // A server that has restarted doesn't know the session.
            let Ok(answer) = answer else { return End::Lost };
            match exchange.receive(answer).expect("no false alarm") {
                None => {}
                Some(Ok(output)) => return End::Done(output),
                Some(Err(refusal)) => return End::Refused(refusal),
            }
        }
        panic!("it has no end")
    }

    /// Settles what an exchange gave and keeps the pin, unless the device stops before. A device that has stopped, or that
    /// has lost its session, goes on with a new one.
    fn settle<T>(&mut self, device: usize, mut session: ClientSession, end: End<Unsettled<T>>, stop: Stop) -> End<T> {
        match end {
            End::Done(_) if matches!(stop, Stop::Unsettled) => End::Lost,
            End::Done(unsettled) => {
                let output = session.settle(unsettled).unwrap();
                if matches!(stop, Stop::PinNotKept) {
                    return End::Lost;
                }
                self.devices[device].pin = session.pin();
                self.devices[device].session = Some(session);
                End::Done(output)
            }
            End::Refused(Refusal::SessionEnded) | End::Lost => End::Lost,
            End::Refused(refusal) => {
                self.devices[device].session = Some(session);
                End::Refused(refusal)
            }
        }
    }

    fn store(&mut self, device: usize, pending: &PendingSecrets, stop: Stop) {
        let mut session = self.session(device);
        self.sent.extend(pending.key_ids());
        let exchange = session.store(pending).unwrap();
        let end = self.run(exchange, stop);
        let forget = |family: &mut Self| {
            let kept = pending.encode().unwrap();
            family.devices[device].pending.retain(|other| *other != kept);
        };
        match self.settle(device, session, end, stop) {
            End::Done(secrets) => {
                assert!(secrets.iter().map(|secret| secret.key_id).eq(pending.key_ids()));
                self.stored.extend(pending.key_ids());
                forget(self);
            }
            End::Refused(refusal) => {
                // Stored before, and deleted since.
                assert!(matches!(refusal, Refusal::KeyIdTaken(key_id) if self.deleted.contains(&key_id)), "{refusal}");
                self.stored.extend(pending.key_ids());
                forget(self);
            }
            End::Lost => {}
        }
    }

    fn delete(&mut self, device: usize, which: &Index, stop: Stop) {
        let candidates: Vec<KeyId> = self.stored.iter().copied().collect();
        if candidates.is_empty() {
            return;
        }
        let key_id = candidates[which.index(candidates.len())];
        let mut session = self.session(device);
        let exchange = session.delete(&[key_id]).unwrap();
        let was_deleted = !self.deleted.insert(key_id);
        let end = self.run(exchange, stop);
        match self.settle(device, session, end, stop) {
            // Until it is acknowledged, it may be there or not.
            End::Lost if was_deleted => {}
            End::Lost => self.doubt(key_id),
            End::Done(()) => {}
            End::Refused(refusal) => assert_eq!(refusal, Refusal::AlreadyDeleted(key_id)),
        }
    }

    /// Finds out, with a third device, whether a deletion without an answer has been made.
    fn doubt(&mut self, key_id: KeyId) {
        if self.all().contains(&key_id) {
            self.deleted.remove(&key_id);
        }
    }

    /// What a device without a pin lists.
    fn all(&mut self) -> BTreeSet<KeyId> {
        let passwords = self.passwords.clone();
        let open = |password: &String| self.world.log_in(&self.client, password).ok();
        let mut session = passwords.iter().find_map(open).unwrap().unwrap();
        self.world.list(&mut session).unwrap().unwrap().iter().map(|secret| secret.key_id).collect()
    }

    fn check(&self, listed: &BTreeSet<KeyId>) {
        assert!(self.stored.difference(&self.deleted).all(|key_id| listed.contains(key_id)), "acknowledged, and lost");
        assert!(listed.is_disjoint(&self.deleted), "deleted, and there");
        assert!(listed.is_subset(&self.sent), "never sent, and there");
    }

    fn list(&mut self, device: usize, stop: Stop) {
        let mut session = self.session(device);
        let exchange = session.list().unwrap();
        let end = self.run(exchange, stop);
        match self.settle(device, session, end, stop) {
            End::Done(listed) => self.check(&listed.iter().map(|secret| secret.key_id).collect()),
            End::Refused(refusal) => panic!("{refusal}"),
            End::Lost => {}
        }
    }

    fn change_password(&mut self, device: usize, stop: Stop) {
        self.changes += 1;
        let new = format!("{PASSWORD} {}", self.changes);
        let mut session = self.session(device);
        let exchange = session.change_password(&new, &mut self.world.rng).unwrap();
        self.passwords.push(new.clone());
        let end = self.run(exchange, stop);
        if let End::Done(()) = self.settle(device, session, end, stop) {
            self.passwords = vec![new];
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Store(device, count, stop) => {
                let mut session = self.session(*device);
                let made = self.world.generate(&mut session, &vec![Kind::Bytes(32); *count]);
                self.devices[*device].session = Some(session);
                match made {
                    Ok(Ok(pending)) => {
                        self.devices[*device].pending.push(pending.encode().unwrap());
                        self.store(*device, &pending, *stop);
                    }
                    _ => self.devices[*device].session = None,
                }
            }
            Event::Retry(device, stop) => {
                if let Some(kept) = self.devices[*device].pending.first().cloned() {
                    self.store(*device, &PendingSecrets::decode(&kept).unwrap(), *stop);
                }
            }
            Event::Delete(device, which, stop) => self.delete(*device, which, *stop),
            Event::List(device, stop) => self.list(*device, *stop),
            Event::ChangePassword(device, stop) => self.change_password(*device, *stop),
            Event::Compare(device, stop) => {
                let mut session = self.session(*device);
                let exchange = session.verify_pin(self.devices[1 - *device].pin).unwrap();
                let end = self.run(exchange, *stop);
                let _ = self.settle(*device, session, end, *stop);
            }
            Event::Restart(device) => self.devices[*device].session = None,
            Event::ServerRestart => self.world.server.crash(),
        }
    }

    /// Everybody comes back, stores what is kept, and sees the same vault.
    fn finish(mut self) {
        self.world.server.crash();
        for device in 0..2 {
            self.devices[device].session = None;
            while let Some(kept) = self.devices[device].pending.first().cloned() {
                self.store(device, &PendingSecrets::decode(&kept).unwrap(), Stop::Never);
            }
        }
        let all = self.all();
        self.check(&all);
        assert_eq!(all, self.stored.difference(&self.deleted).copied().collect());
        for device in 0..2 {
            self.devices[device].session = None;
            self.list(device, Stop::Never);
        }
        assert_eq!(self.devices[0].pin, self.devices[1].pin);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_crash_raises_a_false_alarm_or_loses_what_was_acknowledged(
        seed in 0u64..1000,
        events in vec(event(), 1..30),
    ) {
        let mut family = Family::new(seed);
        for event in &events {
            family.happen(event);
        }
        family.finish();
    }
}
