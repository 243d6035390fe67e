//! How exchanges end, and how a run does: what people were told is compared with what is there.

use std::ops::RangeInclusive;
use std::time::Duration;

use keystow::client::Operation;
use keystow::operation::list::ListedSecret;
use keystow::{
    AccountName, AuditFilter, Client, ClientSession, Error, Exchange, KeyId, PeerFault, ServerMessage, UserId,
    VaultFault, VaultPin, VaultTrust,
};

use super::action::{Mishap, Settle, Tamper};
use super::clients::{Clients, Device, PASSWORD, Pin};
use super::under_way::{End, LoggedIn, PutOff};

impl Clients {
    /// `misread` says whether the store lied to a read on the way.
    pub(super) fn end(&mut self, end: End, misread: bool) {
        match end {
            End::Registered(name, registered) => {
                let (store, gone) = (&self.deployment.store, &self.deployment.gone);
                self.ledger.registered(&name, registered, store, gone);
                self.pinned(&name, registered.user_id, registered.pin);
            }
            End::LoggedIn(login) => self.logged_in(login),
            End::Pending(batch) => {
                let fresh = batch.key_ids().filter(|key_id| !self.key_ids.contains(key_id)).collect::<Vec<_>>();
                self.key_ids.extend(fresh);
                self.batches.push(batch);
            }
            End::Retrieved(user_id, asked, secrets) => self.ledger.retrieved(user_id, &asked, &secrets),
            End::Audited(user_id, page) => assert!(page.entries.iter().all(|entry| entry.user_id() == user_id)),
            End::AccountDeleted(user_id) => {
                assert!(self.deployment.gone.user(user_id), "an account that wasn't deleted")
            }
            End::Forged(user_id, forged, reply) => forged.check(&reply, user_id, &self.deployment),
            End::Unsettled(put_off) => match put_off.when {
                Settle::AtOnce => self.settle(put_off),
                Settle::Late => self.put_off.push(put_off),
                Settle::Never => {}
            },
            End::Refused(refusal) => self.refusals.push(refusal),
            End::Done => {}
            // What nobody has compared with the head, the store may have hidden.
            End::Salvaged(user_id, _, listed) if misread => self.ledger.listed(user_id, &listed),
            End::Salvaged(user_id, start, listed) => {
                let newest = self.deployment.chains.newest(user_id).unwrap_or(u64::MAX);
                self.listed(user_id, &listed, start..=newest);
            }
            End::Stored(..) | End::Listed(..) | End::Deleted(..) | End::Verified(..) => panic!("not settled"),
        }
    }

    /// A pin is of the vault's chain, and somebody may keep it.
    fn pinned(&mut self, name: &AccountName, user_id: UserId, pin: VaultPin) {
        if self.deployment.gone.user(user_id) {
            return; // a late answer
        }
        assert!(self.deployment.chains.has(user_id, pin), "a pin of no head: {pin:?}");
        let pin = Pin { name: name.clone(), user_id, pin };
        if !self.pins.contains(&pin) {
            self.pins.push(pin);
        }
    }

    fn logged_in(&mut self, LoggedIn { name, guess, pin, session }: LoggedIn) {
        assert!(!guess, "a guess at {name:?}'s password logs in");
        let user_id = session.user_id();
        let is_account = self.deployment.store.accounts.get(&name).is_some_and(|row| row.user_id == user_id);
        assert!(is_account || self.deployment.gone.user(user_id), "a login to another account");
        match pin {
            None => assert_eq!(session.trust(), VaultTrust::FirstUse),
            Some((pinned, pin)) => {
                assert_eq!(session.trust(), VaultTrust::Pinned);
                assert_eq!(pinned, user_id, "another vault is taken for the pinned one");
                assert!(session.pin().epoch() >= pin.epoch(), "a vault that was put back is not noticed");
            }
        }
        self.pinned(&name, user_id, session.pin());
        let number = self.numbers;
        self.numbers += 1;
        self.devices.push(Device { number, session: *session });
    }

    /// A device settles what an exchange gave, if it is still there.
    pub(super) fn settle(&mut self, put_off: PutOff) {
        let is_its = |device: &&mut Device| device.number == put_off.device;
        let Some(Device { session, .. }) = self.devices.iter_mut().find(is_its) else { return };
        let (before, user_id) = (session.pin(), session.user_id());
        let end = (put_off.settle)(session);
        let after = session.pin();
        assert!(after.epoch() >= before.epoch(), "a device goes back to an older head");
        self.settled(end, after.epoch());
        if let Some(name) = self.name_of(user_id) {
            self.pinned(&name, user_id, after);
        }
    }

    fn name_of(&self, user_id: UserId) -> Option<AccountName> {
        let (name, _) = self.deployment.store.accounts.iter().find(|(_, row)| row.user_id == user_id)?;
        Some(name.clone())
    }

    /// What was settled is so at the head that the device has taken over.
    fn settled(&mut self, end: End, epoch: u64) {
        let (store, gone, chains) = (&self.deployment.store, &self.deployment.gone, &self.deployment.chains);
        match end {
            End::Stored(user_id, batch) => {
                let mut new = batch.iter().filter(|secret| !secret.already_stored);
                assert!(new.all(|secret| chains.had(user_id, epoch, secret.key_id)), "a head without the new secrets");
                self.ledger.stored(user_id, &batch, store, gone);
            }
            End::Listed(user_id, listed) => {
                let is_open = chains.was_open(user_id, epoch) || chains.is_spoiled(user_id);
                assert!(is_open, "a closed vault is listed");
                self.listed(user_id, &listed, epoch..=epoch);
            }
            End::Deleted(user_id, key_ids) => {
                assert!(key_ids.iter().all(|key_id| gone.secret(user_id, *key_id)), "a deletion that wasn't");
                let mut deleted = key_ids.iter();
                assert!(!deleted.any(|key_id| chains.had(user_id, epoch, *key_id)), "a head without the deletion");
            }
            End::Verified(user_id, whose, pin) => {
                assert_eq!(user_id, whose, "another vault's pin is found on the chain");
                assert!(gone.user(user_id) || chains.has(user_id, pin), "a pin of no head is found on the chain");
            }
            End::Done => {}
            _ => panic!("not to be settled"),
        }
    }

    /// A list is what the vault had at one of these heads, neither more nor less.
    fn listed(&mut self, user_id: UserId, listed: &[ListedSecret], epochs: RangeInclusive<u64>) {
        let (chains, key_ids) =
            (&self.deployment.chains, listed.iter().map(|secret| secret.key_id).collect::<Vec<_>>());
        assert!(key_ids.is_sorted(), "a list out of order");
        let is_exact = chains.had_exactly(user_id, epochs.clone(), &key_ids);
        assert!(is_exact || chains.is_spoiled(user_id), "another list than {epochs:?} had: {listed:?}");
        self.ledger.listed(user_id, listed);
    }

    /// The server crashes, a day goes by, and everybody logs in on a new device: what was promised is there.
    pub fn finish(mut self) {
        self.deployment.crash();
        self.deployment.now = self.deployment.now.after(Duration::from_secs(86_400));
        self.ledger.check_accounts(&self.deployment.store, &self.deployment.gone);
        for person in self.people.clone() {
            if let Some(row) = self.deployment.store.accounts.get(person.account()) {
                let user_id = row.user_id;
                self.return_to(&person, user_id);
            }
        }
    }

    /// With the oldest pin that anybody kept; all the others are on the chain.
    fn return_to(&mut self, person: &Client, user_id: UserId) {
        let pins: Vec<VaultPin> = self.pins.iter().filter(|pin| pin.user_id == user_id).map(|pin| pin.pin).collect();
        let oldest = pins.iter().copied().min_by_key(VaultPin::epoch);
        let login = person.log_in(PASSWORD, oldest, &mut self.rng).unwrap();
        let device = self.try_well(login);
        if self.deployment.chains.is_broken(user_id) {
            let error = device.map(|device| device.user_id()).unwrap_err();
            assert!(matches!(error, Error::Peer(PeerFault::Vault(VaultFault::DamagedHead { .. }))), "{error}");
            return;
        }
        let mut device = device.unwrap();
        assert_eq!(device.user_id(), user_id);
        assert_eq!(Some(device.pin().epoch()), self.deployment.chains.newest(user_id), "an old head");
        for pin in pins {
            let exchange = device.verify_pin(pin).unwrap();
            let verified = self.run_well(exchange);
            device.settle(verified).unwrap();
        }
        self.look_round(device);
    }

    fn look_round(&mut self, mut device: ClientSession) {
        let user_id = device.user_id();
        let promised = self.ledger.of(user_id, &self.deployment.gone);
        for key_ids in promised.chunks(keystow::MAX_BATCH) {
            let secrets = self.run_well(device.retrieve(key_ids).unwrap());
            self.ledger.retrieved(user_id, key_ids, &secrets);
        }
        // A forged record or head ends a listing: the hostile client has only itself to blame.
        if !self.deployment.chains.is_spoiled(user_id) && !self.deployment.chains.is_closed(user_id) {
            self.list(&mut device, &promised);
        }
        let written = self.deployment.store.audit.values().filter(|entry| entry.user_id() == user_id).count();
        assert_eq!(self.audit(&mut device), written, "the trail is read whole");
    }

    /// The list is what the newest head had, with all that was promised and nothing that was deleted.
    fn list(&mut self, device: &mut ClientSession, promised: &[KeyId]) {
        let (user_id, exchange) = (device.user_id(), device.list().unwrap());
        let listed = self.run_well(exchange);
        let listed = device.settle(listed).unwrap();
        let newest = device.pin().epoch();
        self.listed(user_id, &listed, newest..=newest);
        let key_ids: Vec<KeyId> = listed.iter().map(|secret| secret.key_id).collect();
        let gone = &self.deployment.gone;
        assert!(promised.iter().all(|key_id| key_ids.contains(key_id)), "a promised secret is not listed");
        assert!(!key_ids.iter().any(|key_id| gone.tombstone(user_id, *key_id)), "a deleted secret is listed");
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
    fn run_well<O: Operation>(&mut self, exchange: Exchange<O>) -> O::Output {
        self.try_well(exchange).unwrap()
    }

    /// Runs an exchange whose every message gets its answer.
    fn try_well<O: Operation>(&mut self, mut exchange: Exchange<O>) -> Result<O::Output, Error> {
        loop {
            let message = exchange.message().encode().unwrap();
            let answer = self.send(message, Tamper::No, Mishap::No).expect("an answer");
            if let Some(output) = exchange.receive(ServerMessage::decode(&answer).unwrap())? {
                return Ok(output.unwrap());
            }
        }
    }
}
