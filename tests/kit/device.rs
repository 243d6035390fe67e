//! A client program as `docs/embedding.md` says it, and the habits of careless ones.

use std::error::Error as StdError;

use keystow::client::Operation;
use keystow::testing::hostile::{Act, ClientProgram, Shown, Told, Wire};
use keystow::*;
use rand_chacha::ChaCha20Rng;

use crate::support::{IDENTITY, rng};

/// What a program does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Nothing.
    Careful,
    /// Logs in without the pin that it has kept.
    DropsPin,
    /// Doesn't pin the server's key.
    IgnoresServerKey,
    /// Generates again when storing failed.
    GeneratesAgain,
    /// Shows a new secret before its pin is kept.
    ShowsBeforeThePin,
    /// Forgets pending secrets as soon as they are sent.
    ForgetsPending,
    /// Shows what it made before it is stored.
    ShowsTooEarly,
    /// Shows what is left if a list doesn't verify.
    ShowsWhatIsLeft,
    /// Takes a failed deletion for done.
    DeletesAnyway,
    /// Registers again when a login fails.
    RegistersAgain,
    /// Asks for ever while no answer comes that fits.
    NeverGivesUp,
}

pub struct Device {
    habit: Habit,
    rng: ChaCha20Rng,
    server_key: Option<ServerKey>,
    pin: Option<VaultPin>,
    pending: Option<PendingSecrets>,
    session: Option<ClientSession>,
}

type Outcome<T> = Result<T, Box<dyn StdError>>;

impl Device {
    pub fn new(habit: Habit) -> Self {
        Self { habit, rng: rng(0xde71ce), server_key: None, pin: None, pending: None, session: None }
    }

    fn client(&self, account: &str) -> Outcome<Client> {
        let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS])?;
        let client = Client::new(AccountName::new(account)?, IDENTITY, policy)?;
        Ok(match self.server_key {
            Some(key) if self.habit != Habit::IgnoresServerKey => client.pin_server_key(key),
            _ => client,
        })
    }

    fn run<O: Operation>(&self, mut exchange: Exchange<O>, wire: &mut Wire<'_>) -> Outcome<O::Output> {
        let mut tries = 0;
        while tries < 3 || self.habit == Habit::NeverGivesUp && tries < 2000 {
            tries += 1;
            let Some(bytes) = wire(&exchange.message().encode()?) else { continue };
            match ServerMessage::decode(&bytes).and_then(|answer| exchange.receive(answer)) {
                Ok(None) => tries = 0,
                Ok(Some(outcome)) => return Ok(outcome?),
                Err(Error::Peer(PeerFault::WrongSession | PeerFault::WrongSequence | PeerFault::OutOfOrder)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err("no answer".into())
    }

    fn register(&mut self, account: &str, password: &str, wire: &mut Wire<'_>) -> Told {
        let exchange = self.client(account)?.register(password, &mut self.rng)?;
        let registered = self.run(exchange, wire)?;
        (self.server_key, self.pin) = (Some(registered.server_key), Some(registered.pin));
        Ok(Shown::Done)
    }

    fn log_in(&mut self, account: &str, password: &str, wire: &mut Wire<'_>) -> Told {
        self.session = None;
        let pin = self.pin.filter(|_| self.habit != Habit::DropsPin);
        let exchange = self.client(account)?.log_in(password, pin, &mut self.rng)?;
        let outcome = self.run(exchange, wire);
        if outcome.is_err() && self.habit == Habit::RegistersAgain {
            return self.register(account, password, wire);
        }
        let session = outcome?;
        (self.server_key, self.pin) = (Some(session.server_key()), Some(session.pin()));
        self.session = Some(session);
        Ok(Shown::Done)
    }

    /// Stores what is pending.
    fn store(&mut self, session: &mut ClientSession, wire: &mut Wire<'_>) -> Told {
        let Some(pending) = self.pending.clone() else { return Ok(Shown::Done) };
        if self.habit == Habit::ForgetsPending {
            self.pending = None;
        }
        let outcome = self.run(session.store(&pending)?, wire);
        if outcome.is_err() && self.habit == Habit::ShowsTooEarly {
            return Ok(Shown::New(pending.key_ids().map(|key_id| (key_id, None)).collect()));
        }
        let stored = outcome?;
        let stored = session.settle(stored)?;
        if self.habit != Habit::ShowsBeforeThePin {
            self.pin = Some(session.pin());
        }
        self.pending = None;
        Ok(Shown::new(&stored))
    }

    fn make(&mut self, session: &mut ClientSession, kind: Kind, wire: &mut Wire<'_>) -> Told {
        let exchange = session.generate(&[kind], &mut self.rng)?;
        self.pending = Some(self.run(exchange, wire)?);
        self.store(session, wire)
    }

    fn in_session(&mut self, session: &mut ClientSession, act: Act<'_>, wire: &mut Wire<'_>) -> Told {
        match act {
            Act::Generate(kind) => match self.make(session, kind, wire) {
                Err(_) if self.habit == Habit::GeneratesAgain => self.make(session, kind, wire),
                told => told,
            },
            Act::Import(bytes) => {
                let exchange = session.import(vec![PlainSecret::bytes(bytes)?], &mut self.rng)?;
                self.pending = Some(self.run(exchange, wire)?);
                self.store(session, wire)
            }
            Act::StorePending => self.store(session, wire),
            Act::Retrieve(key_id) => Ok(Shown::secret(&self.run(session.retrieve(&[key_id])?, wire)?)),
            Act::List => {
                let listed = match self.run(session.list()?, wire) {
                    Err(_) if self.habit == Habit::ShowsWhatIsLeft => {
                        let left = self.run(session.salvage()?, wire)?;
                        return Ok(Shown::list(&left));
                    }
                    listed => listed?,
                };
                let listed = session.settle(listed)?;
                self.pin = Some(session.pin());
                Ok(Shown::list(&listed))
            }
            Act::Delete(key_id) => {
                let deleted = self.run(session.delete(&[key_id])?, wire);
                if deleted.is_err() && self.habit == Habit::DeletesAnyway {
                    return Ok(Shown::Done);
                }
                session.settle(deleted?)?;
                self.pin = Some(session.pin());
                Ok(Shown::Done)
            }
            Act::ChangePassword(password) => {
                let exchange = session.change_password(password, &mut self.rng)?;
                let changed = self.run(exchange, wire)?;
                session.settle(changed)?;
                self.pin = Some(session.pin());
                Ok(Shown::Done)
            }
            Act::Register { .. } | Act::LogIn { .. } => Ok(Shown::NotOffered),
        }
    }
}

impl ClientProgram for Device {
    fn act(&mut self, act: Act<'_>, wire: &mut Wire<'_>) -> Told {
        match act {
            Act::Register { account, password } => self.register(account, password, wire),
            Act::LogIn { account, password } => self.log_in(account, password, wire),
            act => {
                let mut session = self.session.take().ok_or("not logged in")?;
                let told = self.in_session(&mut session, act, wire);
                self.session = Some(session);
                told
            }
        }
    }
}
