//! The key server's side of a run: the embedder's loop over a store that fails on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use keystow::storage::{Found, Outcome, Query, Standing, Transaction};
use keystow::testing::{MemoryStore, Store};
use keystow::{
    ClientMessage, Denied, Error, Server, ServerKey, ServerMessage, ServerPolicy, ServerSession, ServerSetup,
    SessionId, Step, Timestamp, UserId,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::action::{Mishap, flip};
use super::chain::Chains;
use super::delivery::{Before, Delivery, Guesses, Owed, Trace};
use super::gone::Gone;
use super::pick;

pub const IDENTITY: &str = "keys.example.com";
/// Few enough to be spent within a run.
pub const ATTEMPT_LIMIT: u32 = 3;
/// Shorter than the idle time, so that a session can outlive it.
pub const RECENT_LOGIN: Duration = Duration::from_secs(60);

pub struct Deployment {
    pub store: MemoryStore,
    pub now: Timestamp,
    /// Every message that a client made, untampered.
    pub sent: BTreeSet<Vec<u8>>,
    pub gone: Gone,
    pub chains: Chains,
    pub(super) owed: BTreeMap<SessionId, Owed>,
    pub(super) guesses: Guesses,
    server: Server,
    slots: BTreeMap<SessionId, Slot>,
    queries: Vec<Query>,
    rng: ChaCha20Rng,
}

/// The embedder's place for one session.
pub struct Slot {
    pub session: ServerSession,
    /// The last message that was answered, and its answer.
    pub last: Option<(ClientMessage, ServerMessage)>,
    /// The messages whose transactions were applied, answered or not.
    pub applied: BTreeSet<Vec<u8>>,
    /// When its login was granted.
    pub opened: Option<Timestamp>,
}

/// An answer's bytes.
pub struct Answer {
    pub bytes: Vec<u8>,
    /// Whether the store lied on the way to it: to the read, which was believed, or about the write.
    pub misread: bool,
    pub lied: bool,
}

/// What becomes of a message on its way through the server.
#[derive(Clone, Copy)]
pub struct Course<'a> {
    pub mishap: Mishap,
    /// Another message, which is served whole between this one's read and its write.
    pub meanwhile: Option<&'a [u8]>,
}

/// Why a message got no answer.
#[derive(Debug)]
pub enum Failure {
    Protocol(Error),
    /// The store failed, and the embedder dropped the step.
    Dropped,
}

/// The one server of all runs: making it takes as long as a login.
fn server() -> &'static (Server, ServerKey) {
    static SERVER: OnceLock<(Server, ServerKey)> = OnceLock::new();
    SERVER.get_or_init(|| {
        let setup = ServerSetup::generate(&mut ChaCha20Rng::seed_from_u64(1)).unwrap();
        let server_key = setup.server_key().unwrap();
        let policy =
            ServerPolicy { attempt_limit: ATTEMPT_LIMIT, recent_login: RECENT_LOGIN, ..ServerPolicy::default() };
        (Server::new(setup, IDENTITY, policy).unwrap(), server_key)
    })
}

impl Deployment {
    pub fn new() -> Self {
        Self {
            store: MemoryStore::new(),
            now: Timestamp::from_millis(1_800_000_000_000),
            sent: BTreeSet::new(),
            gone: Gone::default(),
            chains: Chains::default(),
            owed: BTreeMap::new(),
            guesses: Guesses::default(),
            server: server().0.clone(),
            slots: BTreeMap::new(),
            queries: Vec::new(),
            rng: ChaCha20Rng::seed_from_u64(2),
        }
    }

    pub fn server_key(&self) -> ServerKey {
        server().1
    }

    pub fn sessions(&self) -> Vec<[u8; 16]> {
        self.slots.keys().map(|id| *id.as_bytes()).collect()
    }

    /// The session under this ID.
    pub fn session(&self, id: SessionId) -> Option<&ServerSession> {
        self.slots.get(&id).map(|slot| &slot.session)
    }

    /// Takes a message's bytes as an embedder does, and checks what must hold whatever they are.
    pub fn deliver(&mut self, bytes: &[u8], course: Course<'_>) -> Option<Answer> {
        let message = ClientMessage::decode(bytes).ok()?;
        let id = message.session_id().unwrap();
        let known = self.slots.remove(&id);
        let fresh = known.is_none();
        let session = |rng: &mut ChaCha20Rng| self.server.accept(rng);
        let mut slot = known.unwrap_or_else(|| Slot::new(session(&mut self.rng)));
        let mut before = Before::of(&self.store, &slot.session);
        let mut trace = Trace::default();
        let result = self.drive(&mut slot.session, message.clone(), course, &mut before, &mut trace);
        let (misread, lied) = (trace.misread, trace.misread || trace.told != trace.truth);
        let answer = result.as_ref().ok().map(|reply| Answer { bytes: reply.encode().unwrap(), misread, lied });
        let delivery = Delivery { id, bytes, message, mishap: course.mishap, before, trace, result };
        delivery.check(self, &mut slot);
        // A session is kept once it has answered (rule 23).
        if answer.is_some() || !fresh {
            self.slots.insert(id, slot);
        }
        answer
    }

    /// Loses all sessions.
    pub fn crash(&mut self) {
        self.slots.clear();
        self.owed.clear();
    }

    /// Drops what has expired.
    pub fn purge(&mut self) {
        self.store.purge(self.now);
        let now = self.now;
        self.slots.retain(|_, slot| slot.session.expires().is_none_or(|expires| expires >= now));
        self.owed.retain(|id, owed| owed.opens_a_session() || self.slots.contains_key(id));
    }

    /// The embedder's loop.
    fn drive(
        &mut self,
        session: &mut ServerSession,
        message: ClientMessage,
        course: Course<'_>,
        before: &mut Before,
        trace: &mut Trace,
    ) -> Result<ServerMessage, Failure> {
        let (id, mishap) = (message.session_id().unwrap(), course.mishap);
        let mut step = session.receive(message, self.now).map_err(Failure::Protocol)?;
        loop {
            step = match step {
                Step::Reply(reply) => return Ok(reply),
                Step::Read(read) => {
                    assert!(!trace.read && trace.transaction.is_none(), "more than one read, or one after a write");
                    trace.read = true;
                    if mishap == (Mishap::Denied { read: true }) {
                        return denied(read.deny());
                    }
                    let (found, is_honest) = self.read(read.query(), mishap).ok_or(Failure::Dropped)?;
                    trace.misread = !is_honest;
                    // Another message of this very session waits: there is one exclusive slot per ID.
                    if let Some(other) = course.meanwhile.filter(|other| session_id(other) != Some(id)) {
                        self.deliver(other, Course::good());
                        before.store = self.store.clone();
                    }
                    read.found(found).map_err(|error| {
                        assert!(!is_honest, "an honest answer is refused: {error}");
                        assert!(matches!(error, Error::Stored(_)), "the store's fault is blamed on another: {error}");
                        Failure::Protocol(error)
                    })?
                }
                Step::Write(write) => {
                    if mishap == (Mishap::Denied { read: false }) {
                        return denied(write.deny());
                    }
                    let outcome = self.write(write.transaction(), mishap, trace).ok_or(Failure::Dropped)?;
                    return write.settle(outcome).map_err(Failure::Protocol);
                }
            }
        }
    }

    /// Answers a query, well or badly, and says whether it was well; `None` if the read fails.
    fn read(&mut self, query: &Query, mishap: Mishap) -> Option<(Found, bool)> {
        self.queries.push(query.clone());
        match mishap {
            Mishap::ReadFails => None,
            Mishap::ReadMissing => Some((self.altered(query, |_| None), false)),
            Mishap::ReadDamaged { at, xor } => {
                let damaged = |record: &[u8]| {
                    let mut record = record.to_vec();
                    flip(&mut record, at, xor);
                    Some(record)
                };
                Some((self.altered(query, damaged), false))
            }
            Mishap::ReadForeign { query: which } => {
                let other = self.queries[pick(&self.queries, which)?].clone();
                Some((self.store.read(&other).unwrap(), other == *query))
            }
            _ => Some((self.store.read(query).unwrap(), true)),
        }
    }

    /// The right answer with its records altered.
    fn altered(&self, query: &Query, alter: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Found {
        match query {
            Query::Account(query) => {
                let record = self.store.accounts.get(query.name()).and_then(|row| alter(&row.record));
                query.found(record, self.store.attempts.get(&query.counter()).copied())
            }
            Query::Secrets(query) => {
                let record = |key_id| Some((key_id, alter(self.store.secrets.get(&(query.user_id(), key_id))?)?));
                let records = query.key_ids().iter().copied().filter_map(record).collect();
                query.found(self.standing(query.user_id()), records)
            }
            Query::SecretsPage(query) => {
                let of_user = self.store.secrets.iter().filter(|((owner, _), _)| *owner == query.user_id());
                let later = of_user.filter(|((_, key_id), _)| query.after().is_none_or(|after| *key_id > after));
                let page = later.take(query.limit().into());
                let records = page.filter_map(|((_, key_id), record)| Some((*key_id, alter(record)?))).collect();
                query.found(self.standing(query.user_id()), records)
            }
            Query::Audit(query) => {
                let entries = self.store.audit.values().filter(|entry| query.takes(entry));
                let later = entries.filter(|entry| query.after().is_none_or(|after| entry.place() > after));
                let page = later.take(query.limit().into());
                let entries = page.filter_map(|entry| alter(entry.to_record().ok()?.as_bytes())).collect();
                query.found(self.standing(query.user_id()), entries)
            }
            Query::Heads(query) => {
                let (user_id, standing) = (query.user_id(), self.standing(query.user_id()));
                let later = self.store.heads.range((user_id, query.first(standing))..=(user_id, u64::MAX));
                query.found(standing, later.take(query.limit().into()).filter_map(|(_, head)| alter(head)).collect())
            }
            Query::Session(_) => panic!("no session of one node is stored"),
        }
    }

    fn standing(&self, user_id: UserId) -> Option<Standing> {
        let row = self.store.accounts.values().find(|row| row.user_id == user_id)?;
        Some(Standing { credential: row.credential, epoch: row.epoch })
    }

    /// Applies a transaction, or doesn't, and says what the server is told; `None` if it is told nothing.
    fn write(&mut self, transaction: &Transaction, mishap: Mishap, trace: &mut Trace) -> Option<Outcome> {
        let is_applied = !matches!(mishap, Mishap::WriteFailsBefore | Mishap::Lie { applied: false, .. });
        trace.all_stored = Delivery::all_stored(&self.store, transaction);
        trace.truth = is_applied.then(|| self.store.apply(transaction).unwrap());
        trace.transaction = Some(transaction.clone());
        trace.told = match mishap {
            Mishap::WriteFailsBefore | Mishap::WriteFailsAfter => None,
            Mishap::Lie { lie, .. } => Some(lie.outcome(transaction)),
            _ => trace.truth,
        };
        trace.told
    }
}

fn session_id(message: &[u8]) -> Option<SessionId> {
    ClientMessage::decode(message).ok()?.session_id().ok()
}

impl Course<'_> {
    /// Nothing goes wrong.
    pub fn good() -> Self {
        Self { mishap: Mishap::No, meanwhile: None }
    }
}

impl Slot {
    fn new(session: ServerSession) -> Self {
        Self { session, last: None, applied: BTreeSet::new(), opened: None }
    }
}

/// What a denial comes to on one node.
fn denied(denied: Result<Denied<'_>, Error>) -> Result<ServerMessage, Failure> {
    match denied.map_err(Failure::Protocol)? {
        Denied::Reply(reply) => Ok(reply),
        Denied::Write(_) => panic!("a write, on one node"),
    }
}
