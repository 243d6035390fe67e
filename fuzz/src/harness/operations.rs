//! How each operation starts, and what its output comes to.

use std::rc::Rc;

use keystow::operation::{Request, delete};
use keystow::testing::hostile;
use keystow::{
    AuditFilter, CallerFault, ClientSession, Error, Exchange, KeyId, PendingSecrets, PlainSecret, SealedHead, client,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::action::{Forgery, Head, Operation, Randomness, Settle, kind, kinds};
use super::clients::{Clients, Entry, PASSWORD, Whose};
use super::forgery::{Material, sealed};
use super::pick;
use super::under_way::{End, LoggedIn, under_way, unsettled};

/// An exchange that was started; `None` if there is nothing to start it with.
type Started = Option<Entry>;

impl Clients {
    /// What an operation draws from.
    fn draw(&mut self, randomness: Randomness) -> ChaCha20Rng {
        match randomness {
            Randomness::Repeated => ChaCha20Rng::seed_from_u64(4),
            Randomness::Fresh => ChaCha20Rng::from_rng(&mut self.rng),
        }
    }

    pub(super) fn register(&mut self, person: u8, randomness: Randomness) -> Started {
        let (client, rng) = (self.person(person), &mut self.draw(randomness));
        let name = client.account().clone();
        let exchange = client.register(PASSWORD, rng).unwrap();
        let registers = name.clone();
        let exchange = under_way(exchange, move |registered| End::Registered(name.clone(), registered));
        Some(Entry::registration(registers, exchange))
    }

    pub(super) fn log_in(&mut self, person: u8, guess: bool, pin: Option<u8>, randomness: Randomness) -> Started {
        let (client, rng) = (self.person(person), &mut self.draw(randomness));
        let name = client.account().clone();
        let kept: Vec<_> = self.pins.iter().filter(|pin| pin.name == name).map(|pin| (pin.user_id, pin.pin)).collect();
        let pin = pin.and_then(|pin| Some(kept[pick(&kept, pin)?]));
        let password = if guess { "123456" } else { PASSWORD };
        let exchange = client.log_in(password, pin.map(|(_, pin)| pin), rng).unwrap();
        let whose = Whose::Persons(name.clone(), pin.map(|(whose, _)| whose));
        let exchange = under_way(exchange, move |session| {
            End::LoggedIn(LoggedIn { name: name.clone(), guess, pin, session: Box::new(session) })
        });
        let is_vain = guess || !self.deployment.store.accounts.contains_key(client.account());
        Some(Entry::login(whose, exchange, is_vain))
    }

    /// Starts something on a device, unless it has seen that the account is being deleted. Of what changes the vault or
    /// compares with it there is one at a time: the one before is given up.
    fn start<O: client::Operation>(
        &mut self,
        device: usize,
        start: impl Fn(&mut ClientSession) -> Result<Exchange<O>, Error>,
    ) -> Option<(Exchange<O>, Whose)> {
        let number = self.devices[device].number;
        let mut started = start(&mut self.devices[device].session);
        if let Err(Error::Caller(CallerFault::Unsettled)) = started {
            assert!(self.give_up(number), "nothing is unsettled");
            started = start(&mut self.devices[device].session);
        }
        let device = &self.devices[device];
        if let Err(Error::Caller(CallerFault::VaultClosed)) = started {
            assert!(self.deployment.chains.is_closed(device.session.user_id()), "an open vault is called closed");
            return None;
        }
        Some((started.unwrap(), device.whose()))
    }

    pub(super) fn generate(&mut self, device: u8, bits: u8, randomness: Randomness) -> Started {
        let (device, rng) = (pick(&self.devices, device)?, self.draw(randomness));
        let (exchange, whose) = self.start(device, |session| session.generate(&kinds(bits), &mut rng.clone()))?;
        Some(Entry::new(whose, under_way(exchange, End::Pending)))
    }

    /// A batch goes to its owner's sessions alone: the client sees to that. It is read back from what was kept, as after
    /// a crash.
    pub(super) fn store(&mut self, device: u8, batch: u8, rebased: bool, settle: Settle) -> Started {
        let device = pick(&self.devices, device)?;
        let kept = self.batches[pick(&self.batches, batch)?].encode().unwrap();
        let batch = PendingSecrets::decode(&kept).unwrap();
        let (owner, session) = (sealed(&batch)[0].header.user_id(), &self.devices[device].session);
        let user_id = session.user_id();
        if owner != user_id {
            let error = Error::Caller(CallerFault::WrongUser { pending: owner });
            assert_eq!(session.rebase(&batch), Err(error.clone()));
            let started = self.devices[device].session.store(&batch);
            assert_eq!(started.map(|_| ()), Err(error), "another user's secrets are sent");
            return None;
        }
        let batch = if rebased { session.rebase(&batch).unwrap() } else { batch };
        let (exchange, whose) = self.start(device, |session| session.store(&batch))?;
        let exchange = unsettled(&self.devices[device], exchange, settle, move |batch| End::Stored(user_id, batch));
        Some(Entry::with_vault(whose, exchange))
    }

    pub(super) fn retrieve(&mut self, device: u8, first: u8, count: u8) -> Started {
        let key_ids = self.some_key_ids(first, count)?;
        let device = pick(&self.devices, device)?;
        let whose = self.devices[device].whose();
        let session = &mut self.devices[device].session;
        let (exchange, user_id) = (session.retrieve(&key_ids).unwrap(), session.user_id());
        let exchange = under_way(exchange, move |secrets| End::Retrieved(user_id, key_ids.clone(), secrets));
        Some(Entry::new(whose, exchange))
    }

    pub(super) fn operate(
        &mut self,
        device: u8,
        operation: Operation,
        settle: Settle,
        randomness: Randomness,
    ) -> Started {
        let (device, rng) = (pick(&self.devices, device)?, self.draw(randomness));
        let user_id = self.devices[device].session.user_id();
        Some(match operation {
            Operation::Import { kind: number, byte } => {
                let bytes = vec![byte; kind(number).secret_len() as usize];
                PlainSecret::raw(kind(number), bytes.clone()).ok()?;
                let secrets = || vec![PlainSecret::raw(kind(number), bytes.clone()).unwrap()];
                let (exchange, whose) = self.start(device, |session| session.import(secrets(), &mut rng.clone()))?;
                Entry::new(whose, under_way(exchange, End::Pending))
            }
            Operation::Audit { limit } => {
                let limit = u16::from(limit) + 1;
                let (exchange, whose) =
                    self.start(device, |session| session.audit(AuditFilter::default(), None, limit))?;
                Entry::new(whose, under_way(exchange, move |page| End::Audited(user_id, page)))
            }
            Operation::Status => {
                let (exchange, whose) = self.start(device, ClientSession::status)?;
                Entry::new(whose, under_way(exchange, |_| End::Done))
            }
            Operation::LogOut => {
                let whose = self.devices[device].whose();
                let exchange = self.devices.remove(device).session.log_out().unwrap();
                Entry::new(whose, under_way(exchange, |()| End::Done))
            }
            operation => self.operate_on_vault(device, operation, settle, &rng)?,
        })
    }

    /// The operations that change the vault, or compare with it.
    fn operate_on_vault(&mut self, device: usize, operation: Operation, settle: Settle, rng: &ChaCha20Rng) -> Started {
        let user_id = self.devices[device].session.user_id();
        let epoch = self.devices[device].session.pin().epoch();
        let (exchange, whose) = match operation {
            Operation::List { verified: true } => {
                let (exchange, whose) = self.start(device, ClientSession::list)?;
                let listed = move |list| End::Listed(user_id, list);
                (unsettled(&self.devices[device], exchange, settle, listed), whose)
            }
            Operation::Delete { first, count } => {
                let key_ids = self.some_key_ids(first, count)?;
                let (exchange, whose) = self.start(device, |session| session.delete(&key_ids))?;
                let deleted = move |()| End::Deleted(user_id, key_ids.clone());
                (unsettled(&self.devices[device], exchange, settle, deleted), whose)
            }
            Operation::VerifyPin { pin } => {
                let pin = self.pins[pick(&self.pins, pin)?].clone();
                let (exchange, whose) = self.start(device, |session| session.verify_pin(pin.pin))?;
                let verified = move |()| End::Verified(user_id, pin.user_id, pin.pin);
                (unsettled(&self.devices[device], exchange, settle, verified), whose.about(pin.user_id))
            }
            Operation::ChangePassword => {
                let change = |session: &mut ClientSession| session.change_password(PASSWORD, &mut rng.clone());
                let (exchange, whose) = self.start(device, change)?;
                (unsettled(&self.devices[device], exchange, settle, |()| End::Done), whose)
            }
            Operation::DeleteAccount => {
                let (exchange, whose) = self.start(device, ClientSession::delete_account)?;
                (under_way(exchange, move |()| End::AccountDeleted(user_id)), whose)
            }
            _ => {
                let (exchange, whose) = self.start(device, ClientSession::salvage)?;
                (under_way(exchange, move |list| End::Salvaged(user_id, epoch, list)), whose)
            }
        };
        Some(Entry::with_vault(whose, exchange))
    }

    pub(super) fn forge(&mut self, device: u8, forgery: Forgery) -> Started {
        let device = pick(&self.devices, device)?;
        let user_id = self.devices[device].session.user_id();
        let head = match forgery.head() {
            None => None,
            Some(Head::Sealed) => Some(self.sealed_head(device)?),
            Some(Head::Garbage { after, byte }) => {
                let epoch = self.deployment.chains.newest(user_id)? + u64::from(after) % 3;
                let bytes = [&epoch.to_be_bytes()[..], &[byte; SealedHead::LEN - 8]].concat();
                Some(SealedHead::from_bytes(bytes.try_into().unwrap()))
            }
        };
        let (batches, key_ids, store) = (&self.batches, &self.key_ids, &self.deployment.store);
        let whose = self.devices[device].whose();
        let forged = Rc::new(forgery.make(&Material { user_id, batches, key_ids, store, head })?);
        let exchange = hostile::request(&mut self.devices[device].session, &forged.request).unwrap();
        let is_garbage = matches!(forgery.head(), Some(Head::Garbage { .. }));
        self.deployment.chains.forge(exchange.message().encode().unwrap(), is_garbage);
        let exchange = under_way(exchange, move |reply| End::Forged(user_id, Rc::clone(&forged), reply));
        Some(Entry::new(whose, exchange))
    }

    /// The next head of a device's vault as the device would seal it for a deletion, which is not what it is used for.
    fn sealed_head(&mut self, device: usize) -> Option<SealedHead> {
        let (exchange, _) = self.start(device, |session| session.delete(&[KeyId::from_bytes([0; 16])]))?;
        let session_id = self.devices[device].session.session_id();
        match hostile::open_request(self.deployment.session(session_id)?, exchange.message().clone()) {
            Ok(Request::Delete(delete::Request { head, .. })) => Some(*head),
            _ => None,
        }
    }

    /// 1 to 256 of all the key IDs that were ever made.
    fn some_key_ids(&self, first: u8, count: u8) -> Option<Vec<KeyId>> {
        let first = pick(&self.key_ids, first)?;
        Some(self.key_ids[first..].iter().take(1 + usize::from(count)).copied().collect())
    }
}
