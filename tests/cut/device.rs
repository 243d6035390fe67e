//! A device: its programs do what `docs/embedding.md` says, again and again, until what the person wants is done.

use keystow::client::Operation;
use keystow::storage::{Change, Outcome};
use keystow::testing::Store;
use keystow::*;

use crate::hostile::{record, sealed};
use crate::scene::{Disk, Scene, Stop};

/// More silence than two cuts explain.
const TRIES: usize = 4;

impl Scene<'_> {
    /// Sends a message until an answer comes.
    fn ask(&mut self, message: &ClientMessage) -> Result<ServerMessage, Stop> {
        self.trace(message.encode().unwrap());
        for _ in 0..TRIES {
            self.client_point("before sending")?;
            if let Some(answer) = self.deliver(message)? {
                self.client_point("arrived")?;
                self.trace(answer.encode().unwrap());
                return Ok(answer);
            }
            self.trace("silence");
        }
        panic!("no answer");
    }

    /// An exchange, to its end.
    pub fn run<O: Operation>(&mut self, exchange: Exchange<O>) -> Result<O::Output, Stop> {
        self.run_keeping(exchange, |_| {})
    }

    /// The same, with something that is kept before the second message is sent.
    pub fn run_keeping<O: Operation>(
        &mut self,
        mut exchange: Exchange<O>,
        keep: fn(&mut Disk),
    ) -> Result<O::Output, Stop> {
        loop {
            let answer = self.ask(exchange.message())?;
            match exchange.receive(answer).map_err(Stop::Refused)? {
                None => keep(&mut self.disk),
                Some(outcome) => {
                    self.client_point("received")?;
                    return outcome.map_err(|refusal| Stop::Refused(refusal.into()));
                }
            }
        }
    }

    pub fn settled<T, O>(&mut self, session: &mut ClientSession, exchange: Exchange<O>) -> Result<T, Stop>
    where
        O: Operation<Output = Unsettled<T>>,
    {
        let unsettled = self.run(exchange)?;
        Ok(session.settle(unsettled).unwrap())
    }

    /// Writes to the disk.
    pub fn keep(&mut self, write: impl FnOnce(&mut Disk)) -> Result<(), Stop> {
        write(&mut self.disk);
        self.client_point("kept")
    }

    pub fn pin(&self) -> Option<VaultPin> {
        self.disk.pin.as_ref().map(VaultPin::from_bytes)
    }

    /// The vault only goes forward.
    pub fn keep_pin(&mut self, pin: VaultPin) -> Result<(), Stop> {
        assert!(self.pin().is_none_or(|kept| kept.epoch() <= pin.epoch()));
        self.keep(|disk| disk.pin = Some(pin.to_bytes()))
    }

    /// A login with what is on the disk. The password that it gives is the account's.
    pub fn log_in(&mut self) -> Result<(ClientSession, &'static str), Stop> {
        let mut failed = Stop::Refused(PeerFault::LoginFailed.into());
        for password in self.disk.passwords.clone() {
            let exchange = self.client.log_in(password, self.pin(), &mut self.rng).unwrap();
            match self.run(exchange) {
                Ok(session) => {
                    self.keep_pin(session.pin())?;
                    return Ok((session, password));
                }
                Err(Stop::Refused(Error::Peer(PeerFault::LoginFailed))) => {}
                Err(stop) => {
                    failed = stop;
                    break;
                }
            }
        }
        Err(failed)
    }

    /// A login that is no part of the flow the first time: what comes before it is a flow of its own.
    pub fn enter(&mut self) -> Result<ClientSession, Stop> {
        if core::mem::replace(&mut self.entered, true) {
            return Ok(self.log_in()?.0);
        }
        self.asleep(Self::log_in).map(|(session, _)| session)
    }

    /// The secrets that must be there from now on.
    pub fn expect(&mut self, pending: &PendingSecrets) {
        self.truth.extend(sealed(pending).iter().map(|secret| (secret.header.key_id(), record(secret))));
    }

    /// Whether another device can still do so: it knows the newest head.
    pub fn may_race(&self) -> bool {
        let Some((transaction, _)) = self.faster.as_ref().filter(|_| !self.ledger.raced) else { return false };
        let epoch = self.store.accounts.get(self.client.account()).map(|row| row.epoch + 1);
        transaction
            .changes
            .iter()
            .any(|change| matches!(change, Change::AppendHead { epoch: next, .. } if Some(*next) == epoch))
    }

    /// Once: another device of the person stores a secret.
    pub fn race(&mut self) {
        if !core::mem::replace(&mut self.ledger.raced, true) {
            let (transaction, secret) = self.faster.clone().unwrap();
            assert_eq!(self.store.apply(&transaction).unwrap(), Outcome::Applied);
            self.truth.extend([secret]);
        }
    }

    /// Secrets are made and stored.
    pub fn store_new(&mut self, session: &mut ClientSession, kinds: &[Kind]) -> Result<(), Stop> {
        let exchange = session.generate(kinds, &mut self.rng).unwrap();
        let pending = self.run(exchange)?;
        let exchange = session.store(&pending).unwrap();
        self.settled(session, exchange)?;
        self.expect(&pending);
        self.keep_pin(session.pin())
    }
}
