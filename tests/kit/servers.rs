//! Key servers: the loop of `docs/embedding.md`, and what careless embedders make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use keystow::storage::{Change, Found, Outcome, Query, Transaction};
use keystow::testing::hostile::KeyServer;
use keystow::testing::{MemoryStore, Store};
use keystow::*;
use rand_chacha::ChaCha20Rng;

use crate::support::{IDENTITY, rng};

/// What an embedder does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neglect {
    /// Nothing.
    Careful,
    /// Takes a new session for each message.
    SessionForEachMessage,
    /// Takes a new session for a first message that comes again.
    SessionForEachRepeat,
    /// Has one session for everybody.
    OneSession,
    /// Keeps the session of a first message that was refused.
    KeepsRefused,
    /// The same, and has room for few.
    KeepsRefusedWithoutRoom,
    /// Goes on as if a conflict were none.
    IgnoresConflict,
    /// Has a clock that stands.
    StandingClock,
    /// Answers with the error's text.
    SendsErrors,
    /// Says that it doesn't know a name.
    SendsUnknown,
    /// Answers with the last reply when a message is refused.
    SendsLastReply,
}

/// A server over a store, its sessions, and its habits.
pub struct Careless<S> {
    neglect: Neglect,
    server: Server,
    store: S,
    sessions: BTreeMap<SessionId, ServerSession>,
    rng: ChaCha20Rng,
    last: Option<Vec<u8>>,
    names: BTreeSet<AccountName>,
}

/// So many sessions has a small server room for.
const ROOM: usize = 100;

impl<S: Store> Careless<S> {
    pub fn new(neglect: Neglect, store: S) -> Self {
        let mut rng = rng(0x5e7);
        let server = Server::new(ServerSetup::generate(&mut rng).unwrap(), IDENTITY, ServerPolicy::default()).unwrap();
        Self { neglect, server, store, sessions: BTreeMap::new(), rng, last: None, names: BTreeSet::new() }
    }

    fn answer(&mut self, bytes: &[u8], now: Timestamp) -> Result<Vec<u8>, Error> {
        let message = ClientMessage::decode(bytes)?;
        let first = matches!(message, ClientMessage::RegistrationRequest { .. } | ClientMessage::LoginRequest { .. });
        let id = match self.neglect {
            Neglect::OneSession => SessionId::from_bytes([0; 16]),
            _ => message.session_id()?,
        };
        if self.neglect == Neglect::SendsUnknown
            && let ClientMessage::LoginRequest { account, .. } = &message
            && !self.names.contains(account)
        {
            return ServerMessage::Refused { session_id: id, refusal: Refusal::NotFound }.encode();
        }
        if let ClientMessage::RegistrationRequest { account, .. } = &message {
            self.names.insert(account.clone());
        }
        let known = self.sessions.contains_key(&id);
        let anew = match self.neglect {
            Neglect::SessionForEachMessage => true,
            Neglect::SessionForEachRepeat => first,
            _ => false,
        };
        if !known && self.neglect == Neglect::KeepsRefusedWithoutRoom && self.sessions.len() >= ROOM {
            return Err(PeerFault::OutOfOrder.into());
        }
        if anew || !known {
            self.sessions.insert(id, self.server.accept(&mut self.rng));
        }
        let session = self.sessions.get_mut(&id).unwrap();
        let reply = drive(self.neglect, session, &mut self.store, message, now);
        let keeps = matches!(self.neglect, Neglect::KeepsRefused | Neglect::KeepsRefusedWithoutRoom);
        if reply.is_err() && !known && !keeps {
            self.sessions.remove(&id);
        }
        reply?.encode()
    }
}

fn drive<S: Store>(
    neglect: Neglect,
    session: &mut ServerSession,
    store: &mut S,
    message: ClientMessage,
    now: Timestamp,
) -> Result<ServerMessage, Error> {
    let mut step = session.receive(message, now)?;
    loop {
        step = match step {
            Step::Read(read) => {
                let found = store.read(read.query()).unwrap();
                read.found(found)?
            }
            Step::Write(write) => {
                let outcome = match store.apply(write.transaction()).unwrap() {
                    Outcome::Conflict(_) if neglect == Neglect::IgnoresConflict => Outcome::Applied,
                    outcome => outcome,
                };
                return write.settle(outcome);
            }
            Step::Reply(reply) => return Ok(reply),
        }
    }
}

impl<S: Store> KeyServer for Careless<S> {
    fn handle(&mut self, message: &[u8], now: Timestamp) -> Option<Vec<u8>> {
        let now = if self.neglect == Neglect::StandingClock { crate::support::NOW } else { now };
        match self.answer(message, now) {
            Ok(answer) => {
                self.last = Some(answer.clone());
                Some(answer)
            }
            Err(error) if self.neglect == Neglect::SendsErrors => Some(error.to_string().into_bytes()),
            Err(_) if self.neglect == Neglect::SendsLastReply => self.last.clone(),
            Err(_) => None,
        }
    }

    fn sessions(&self) -> Option<usize> {
        (self.neglect != Neglect::KeepsRefusedWithoutRoom).then_some(self.sessions.len())
    }
}

/// What a careless embedder makes of the two functions over its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortcut {
    /// Writes one change after the other.
    ChangeByChange,
    /// Writes charges later, in a batch.
    ChargesLater,
    /// Reads from a copy that lags.
    ReadsFromCopy,
    /// Keeps no tombstones.
    NoTombstones,
    /// Looks secrets up by their key ID alone.
    AnybodysSecrets,
    /// Takes all charges back with a login that is granted.
    RefundsAll,
}

pub struct Hasty {
    shortcut: Shortcut,
    inner: MemoryStore,
    copy: MemoryStore,
}

impl Hasty {
    pub fn new(shortcut: Shortcut) -> Self {
        Self { shortcut, inner: MemoryStore::new(), copy: MemoryStore::new() }
    }

    fn change_by_change(&mut self, transaction: &Transaction) -> Outcome {
        for change in &transaction.changes {
            let alone = Transaction { changes: vec![change.clone()], audit: None, ..transaction.clone() };
            match self.inner.apply(&alone) {
                Ok(Outcome::Applied | Outcome::Repeated) => {}
                Ok(outcome) => return outcome,
            }
        }
        let rest = Transaction { changes: vec![], ..transaction.clone() };
        self.inner.apply(&rest).unwrap()
    }
}

impl Store for Hasty {
    type Error = Infallible;

    fn read(&mut self, query: &Query) -> Result<Found, Infallible> {
        match (self.shortcut, query) {
            (Shortcut::ReadsFromCopy, _) => self.copy.read(query),
            (Shortcut::AnybodysSecrets, Query::Secrets(query)) => {
                let record = |key_id: &KeyId| {
                    let found = self.inner.secrets.iter().find(|((_, id), _)| id == key_id);
                    found.map(|((_, id), record)| (*id, record.clone()))
                };
                let account = self.inner.accounts.values().find(|row| row.user_id == query.user_id());
                let standing = account.map(|row| storage::Standing { credential: row.credential, epoch: row.epoch });
                Ok(query.found(standing, query.key_ids().iter().filter_map(record).collect()))
            }
            _ => self.inner.read(query),
        }
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, Infallible> {
        let charges = transaction.changes.iter().any(|change| matches!(change, Change::ChargeAttempt { .. }));
        let outcome = match self.shortcut {
            Shortcut::ChangeByChange => self.change_by_change(transaction),
            Shortcut::ChargesLater if charges => Outcome::Applied,
            Shortcut::RefundsAll => {
                let refund = |change: &Change| matches!(change, Change::RefundAttempt { .. });
                if transaction.changes.iter().any(refund) {
                    self.inner.attempts.clear();
                }
                self.inner.apply(transaction)?
            }
            _ => self.inner.apply(transaction)?,
        };
        if self.shortcut == Shortcut::NoTombstones {
            self.inner.secrets.retain(|_, record| record.get(1) == Some(&0));
        }
        // The copy is made with the next write but a deletion or a change of password.
        let lags = |change: &Change| matches!(change, Change::DeleteSecret { .. } | Change::ReplaceCredential { .. });
        if !transaction.changes.iter().any(lags) {
            self.copy = self.inner.clone();
        }
        Ok(outcome)
    }
}
