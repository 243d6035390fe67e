//! A device under load: it sends each message to another node, gives exchanges up at random moments as if it had crashed, and
//! goes on from what it had kept by then: its pin and its pending secrets.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use getrandom::SysRng;
use key_server::client::{ClientError, Connection};
use keystow::client::Operation;
use keystow::{CallerFault, ClientSession, Error, Exchange, KeyId, Kind, PendingSecrets, VaultPin};
use rand_core::UnwrapErr;

use crate::book::{Account, PASSWORD};
use crate::chance::Chance;

/// So many logins per account may be given up: the server allows ten charged attempts in a window.
const LOGINS_CUT_OFF: u32 = 4;
/// A device's work is bounded, however fast the machine is.
const ROUNDS: u32 = 1_000;

pub struct Device {
    pub account: Arc<Account>,
    pub connection: Connection,
    pub pin: VaultPin,
    pub chance: Chance,
    /// The batches that were made here, each by its first key ID.
    made: BTreeSet<KeyId>,
    /// The secrets that were made here and are stored: two devices of an account don't delete each other's.
    own: Vec<KeyId>,
    session: Option<ClientSession>,
    given_up: Option<Instant>,
}

/// How an exchange ended.
enum End<T> {
    Answered(T),
    /// Nobody knows whether it was carried out.
    Unknown,
}

impl Device {
    pub fn new(account: Arc<Account>, connection: Connection, chance: Chance) -> Self {
        let pin = account.first_pin;
        Self { account, connection, pin, chance, made: BTreeSet::new(), own: Vec::new(), session: None, given_up: None }
    }

    /// Works until `end`; gives what no client may ever see.
    pub async fn work(mut self, end: Instant) -> Result<(), String> {
        for round in 0..ROUNDS {
            if Instant::now() >= end {
                break;
            }
            match self.round().await {
                Err(ClientError::Protocol(Error::Caller(CallerFault::Unsettled))) if self.just_gave_up() => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                done => done.map_err(|error| format!("{}, round {round}: {error:?}", self.account.name))?,
            }
        }
        Ok(())
    }

    /// An exchange that was given up while it took an answer in is dropped when it has done so, on a thread of its own: until
    /// then the session refuses the next one.
    fn just_gave_up(&self) -> bool {
        self.given_up.is_some_and(|when| when.elapsed() < Duration::from_secs(10))
    }

    async fn round(&mut self) -> Result<(), ClientError> {
        if self.session.is_none() && !self.log_in().await? {
            return Ok(());
        }
        match self.below(16) {
            0 => self.session = None, // the device restarts
            1 => self.list().await?,
            2 | 3 => self.retrieve().await?,
            4 | 5 => self.delete().await?,
            6 => self.store_an_old_one().await?,
            _ => self.make().await?,
        }
        Ok(())
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.chance.below(bound)
    }

    fn session(&mut self) -> &mut ClientSession {
        self.session.as_mut().unwrap()
    }

    /// Runs an exchange, or gives it up on the way: one in `one_in` (0: none), within 40 ms, about what it would take.
    async fn run<O>(&mut self, exchange: Exchange<O>, one_in: u32) -> Result<End<O::Output>, ClientError>
    where
        O: Operation + Send + 'static,
        O::Output: Send,
    {
        self.connection.rotate();
        let gives_up = one_in > 0 && self.below(one_in) == 0;
        let patience =
            if gives_up { Duration::from_micros(self.below(40_000).into()) } else { Duration::from_secs(120) };
        let ended = tokio::time::timeout(patience, self.connection.run(exchange)).await;
        let mut book = self.account.book();
        match ended {
            Ok(Ok(output)) => Ok(End::Answered(output)),
            // Unanswered, with all the patience that a client has: not wrong, and not expected either.
            Ok(Err(ClientError::Network(problem))) => {
                eprintln!("{}: {problem}", self.account.name);
                book.counts.unanswered += 1;
                Ok(End::Unknown)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                book.counts.cut_off += 1;
                self.given_up = Some(Instant::now());
                Ok(End::Unknown)
            }
        }
    }

    /// After an exchange of unknown outcome, the device has crashed and lost its session, or it goes on in it.
    fn may_have_crashed(&mut self) {
        if self.below(2) == 0 {
            self.session = None;
        }
    }

    async fn log_in(&mut self) -> Result<bool, ClientError> {
        let exchange = self.account.client.log_in(PASSWORD, Some(self.pin), &mut UnwrapErr(SysRng))?;
        let one_in = if self.account.book().counts.logins_cut_off < LOGINS_CUT_OFF { 6 } else { 0 };
        // Counted before: two devices of an account decide at once.
        self.account.book().counts.logins_cut_off += 1;
        let End::Answered(session) = self.run(exchange, one_in).await? else { return Ok(false) };
        self.keep_pin(session.pin());
        self.session = Some(session);
        let mut book = self.account.book();
        book.counts.logins_cut_off -= 1;
        book.counts.logins += 1;
        Ok(true)
    }

    fn keep_pin(&mut self, pin: VaultPin) {
        self.pin = pin;
        self.account.book().pins.insert(pin.to_bytes());
    }

    async fn make(&mut self) -> Result<(), ClientError> {
        let kinds = [Kind::Secp256k1, Kind::Ed25519, Kind::Bytes(32)];
        let count = usize::try_from(self.below(3)).unwrap() + 1;
        let exchange = self.session().generate(&kinds[..count], &mut UnwrapErr(SysRng))?;
        let End::Answered(pending) = self.run(exchange, 6).await? else {
            self.may_have_crashed();
            return Ok(());
        };
        // Kept before it is sent, as bytes.
        let pending = PendingSecrets::decode(&pending.encode()?)?;
        let first = pending.key_ids().next().unwrap();
        self.account.book().pending.insert(first, pending.clone());
        self.made.insert(first);
        self.store(&pending).await
    }

    async fn store_an_old_one(&mut self) -> Result<(), ClientError> {
        let old =
            self.account.book().pending.iter().find(|(first, _)| self.made.contains(first)).map(|(_, old)| old.clone());
        match old {
            Some(old) => self.store(&old).await,
            None => self.make().await,
        }
    }

    async fn store(&mut self, pending: &PendingSecrets) -> Result<(), ClientError> {
        let exchange = self.session().store(pending)?;
        let End::Answered(stored) = self.run(exchange, 3).await? else {
            self.may_have_crashed();
            return Ok(());
        };
        let stored = self.session().settle(stored)?;
        let pin = self.session().pin();
        self.keep_pin(pin);
        let mut book = self.account.book();
        book.pending.remove(&stored[0].key_id);
        book.kept.extend(stored.iter().map(|secret| secret.key_id));
        self.own.extend(stored.iter().map(|secret| secret.key_id));
        book.counts.stores += 1;
        book.counts.found_stored += u32::from(stored[0].already_stored);
        Ok(())
    }

    async fn list(&mut self) -> Result<(), ClientError> {
        let (kept, deleted) = {
            let book = self.account.book();
            (self.own.iter().filter(|id| book.kept.contains(id)).copied().collect::<Vec<_>>(), book.deleted.clone())
        };
        let exchange = self.session().list()?;
        let End::Answered(listed) = self.run(exchange, 6).await? else {
            self.may_have_crashed();
            return Ok(());
        };
        let listed = self.session().settle(listed)?;
        let pin = self.session().pin();
        self.keep_pin(pin);
        let is_listed = |id: &KeyId| listed.iter().any(|secret| secret.key_id == *id);
        assert!(kept.iter().all(is_listed), "an acknowledged secret is missing");
        assert!(!deleted.iter().any(is_listed), "a deleted secret is back");
        self.account.book().counts.lists += 1;
        Ok(())
    }

    /// One of this device's own secrets.
    fn pick(&mut self) -> Option<KeyId> {
        let len = u32::try_from(self.own.len()).unwrap();
        let place = usize::try_from(self.below(len.max(1))).unwrap();
        self.own.get(place).copied()
    }

    async fn retrieve(&mut self) -> Result<(), ClientError> {
        let Some(key_id) = self.pick() else { return Ok(()) };
        let exchange = self.session().retrieve(&[key_id])?;
        match self.run(exchange, 6).await? {
            End::Answered(secrets) => assert_eq!(secrets[0].key_id(), key_id),
            End::Unknown => self.may_have_crashed(),
        }
        self.account.book().counts.retrievals += 1;
        Ok(())
    }

    async fn delete(&mut self) -> Result<(), ClientError> {
        let Some(key_id) = self.pick() else { return Ok(()) };
        self.own.retain(|id| *id != key_id);
        let exchange = self.session().delete(&[key_id])?;
        {
            let mut book = self.account.book();
            book.kept.remove(&key_id);
            book.doubtful.insert(key_id);
        }
        let End::Answered(deleted) = self.run(exchange, 6).await? else {
            self.may_have_crashed();
            return Ok(());
        };
        self.session().settle(deleted)?;
        let pin = self.session().pin();
        self.keep_pin(pin);
        let mut book = self.account.book();
        book.doubtful.remove(&key_id);
        book.deleted.insert(key_id);
        book.counts.deletes += 1;
        Ok(())
    }
}
