//! How each operation starts, and what its output comes to.

use std::rc::Rc;

use keystow::testing::hostile;
use keystow::{AuditFilter, CallerFault, Error, KeyId, PlainSecret};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::action::{Forgery, Operation, Randomness, kind, kinds};
use super::clients::{Clients, PASSWORD};
use super::forgery::{Material, sealed};
use super::pick;
use super::under_way::{End, UnderWay, under_way};

/// An exchange that was started; `None` if there is nothing to start it with.
type Started = Option<Box<dyn UnderWay>>;

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
        Some(under_way(exchange, move |registered| End::Registered(name.clone(), registered)))
    }

    pub(super) fn log_in(&mut self, person: u8, guess: bool, randomness: Randomness) -> Started {
        let (client, rng) = (self.person(person), &mut self.draw(randomness));
        let name = client.account().clone();
        let exchange = client.log_in(if guess { "123456" } else { PASSWORD }, None, rng).unwrap();
        Some(under_way(exchange, move |session| End::LoggedIn(name.clone(), guess, Box::new(session))))
    }

    pub(super) fn generate(&mut self, device: u8, bits: u8, randomness: Randomness) -> Started {
        let (device, rng) = (pick(&self.devices, device)?, &mut self.draw(randomness));
        Some(under_way(self.devices[device].generate(&kinds(bits), rng).unwrap(), End::Pending))
    }

    /// A batch goes to its owner's sessions alone: the client sees to that.
    pub(super) fn store(&mut self, device: u8, batch: u8, take: u8) -> Started {
        let device = pick(&self.devices, device)?;
        let device = &mut self.devices[device];
        let batch = &self.batches[pick(&self.batches, batch)?];
        let batch = &batch[..=usize::from(take) % batch.len()];
        let (owner, user_id) = (sealed(&batch[0]).header.user_id(), device.user_id());
        match device.store(batch) {
            Ok(exchange) => {
                assert_eq!(owner, user_id, "another user's secrets are sent");
                Some(under_way(exchange, move |batch| End::Stored(user_id, batch)))
            }
            Err(error) => {
                assert_eq!(error, Error::Caller(CallerFault::WrongUser { pending: owner }));
                assert_ne!(owner, user_id);
                None
            }
        }
    }

    pub(super) fn retrieve(&mut self, device: u8, first: u8, count: u8) -> Started {
        let key_ids = self.some_key_ids(first, count)?;
        let device = pick(&self.devices, device)?;
        let device = &mut self.devices[device];
        let (exchange, user_id) = (device.retrieve(&key_ids).unwrap(), device.user_id());
        Some(under_way(exchange, move |secrets| End::Retrieved(user_id, key_ids.clone(), secrets)))
    }

    pub(super) fn operate(&mut self, device: u8, operation: Operation, randomness: Randomness) -> Started {
        let (number, rng) = (pick(&self.devices, device)?, &mut self.draw(randomness));
        let user_id = self.devices[number].user_id();
        if operation == Operation::LogOut {
            return Some(under_way(self.devices.remove(number).log_out().unwrap(), |()| End::Done));
        }
        let key_ids =
            if let Operation::Delete { first, count } = operation { self.some_key_ids(first, count)? } else { vec![] };
        let device = &mut self.devices[number];
        Some(match operation {
            Operation::Import { kind: number, byte } => {
                let bytes = vec![byte; kind(number).secret_len() as usize];
                let secret = PlainSecret::raw(kind(number), bytes).ok()?;
                under_way(device.import(vec![secret], rng).unwrap(), End::Pending)
            }
            Operation::List { limit } => {
                let exchange = device.list(None, u16::from(limit) + 1).unwrap();
                under_way(exchange, move |page| End::Listed(user_id, page))
            }
            Operation::Delete { .. } => {
                under_way(device.delete(&key_ids).unwrap(), move |()| End::Deleted(user_id, key_ids.clone()))
            }
            Operation::ChangePassword => under_way(device.change_password(PASSWORD, rng).unwrap(), |()| End::Done),
            Operation::Audit { limit } => {
                let exchange = device.audit(AuditFilter::default(), None, u16::from(limit) + 1).unwrap();
                under_way(exchange, move |page| End::Audited(user_id, page))
            }
            Operation::Status | Operation::LogOut => under_way(device.status().unwrap(), |_| End::Done),
            Operation::DeleteAccount => {
                under_way(device.delete_account().unwrap(), move |deleted| End::AccountDeleted(user_id, deleted))
            }
        })
    }

    pub(super) fn forge(&mut self, device: u8, forgery: Forgery) -> Started {
        let device = pick(&self.devices, device)?;
        let user_id = self.devices[device].user_id();
        let (batches, key_ids, store) = (&self.batches, &self.key_ids, &self.deployment.store);
        let forged = Rc::new(forgery.make(&Material { user_id, batches, key_ids, store })?);
        if forgery.spoils() {
            self.spoiled.insert(user_id);
        }
        let exchange = hostile::request(&mut self.devices[device], &forged.request).unwrap();
        Some(under_way(exchange, move |reply| End::Forged(user_id, Rc::clone(&forged), reply)))
    }

    /// 1 to 256 of all the key IDs that were ever made.
    fn some_key_ids(&self, first: u8, count: u8) -> Option<Vec<KeyId>> {
        let first = pick(&self.key_ids, first)?;
        Some(self.key_ids[first..].iter().take(1 + usize::from(count)).copied().collect())
    }
}
