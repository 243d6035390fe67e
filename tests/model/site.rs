//! The key server of the model: one node with its sessions in memory, or a fleet of two over one store. Its store fails on
//! demand. Whatever a message comes to is written down as a [`Step`].

use std::collections::BTreeMap;
use std::fmt;

use keystow::storage::{Found, Outcome, Query, SessionQuery, Transaction};
use keystow::testing::{Fleet, MemoryStore, Store};
use keystow::*;
use rand_chacha::ChaCha20Rng;

use crate::support::{IDENTITY, rng};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    ReadFails,
    NothingIsApplied,
    AppliedButUnknown,
    /// The node that writes is gone before it has the outcome.
    CrashAfterWriting,
}

/// The store, the fault that comes next, and what was written last.
pub struct Database {
    pub inner: MemoryStore,
    pub fault: Option<Fault>,
    written: Option<Written>,
}

#[derive(Clone, Debug)]
pub struct Written {
    pub transaction: Transaction,
    pub outcome: Outcome,
}

impl Written {
    pub fn is_applied(&self) -> bool {
        self.outcome == Outcome::Applied
    }
}

#[derive(Debug)]
pub struct Failed(Fault);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Store for Database {
    type Error = Failed;

    fn read(&mut self, query: &Query) -> Result<Found, Failed> {
        match self.fault.take_if(|fault| *fault == Fault::ReadFails) {
            Some(fault) => Err(Failed(fault)),
            None => Ok(self.inner.read(query).unwrap()),
        }
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, Failed> {
        let fault = self.fault.take_if(|fault| *fault != Fault::ReadFails);
        if fault == Some(Fault::NothingIsApplied) {
            return Err(Failed(Fault::NothingIsApplied));
        }
        let outcome = self.inner.apply(transaction).unwrap();
        self.written = Some(Written { transaction: transaction.clone(), outcome });
        fault.map_or(Ok(outcome), |fault| Err(Failed(fault)))
    }
}

/// A session of the server: its ID, and which of those that were opened under it (the first message may come again when
/// the first session is lost).
pub type Opened = (SessionId, usize);

/// What became of one message.
#[derive(Clone, Debug)]
pub struct Step {
    /// How many steps there were when it began: less than its own number, if others came between its read and its write.
    pub began: usize,
    pub at: Timestamp,
    pub session: Opened,
    pub message: ClientMessage,
    pub wrote: Option<Written>,
    pub sent: Option<ServerMessage>,
}

impl Step {
    /// Whether the session has gone on with it: in a fleet, as soon as the store has its next version.
    pub fn is_taken_in(&self, fleet: bool) -> bool {
        let written = self.wrote.as_ref().is_some_and(|wrote| wrote.outcome != Outcome::Moved);
        self.sent.is_some() || fleet && written
    }
}

enum Nodes {
    Single(Server),
    Fleet(Box<Fleet<Database>>),
}

pub struct Site {
    nodes: Nodes,
    single: Database,
    sessions: BTreeMap<SessionId, ServerSession>,
    openings: BTreeMap<SessionId, usize>,
    count: usize,
    rng: ChaCha20Rng,
    pub steps: Vec<Step>,
    /// What no honest store may lead to.
    pub complaints: Vec<Error>,
    pub overtaken: usize,
    pub failures: usize,
}

fn node() -> Server {
    let setup = ServerSetup::generate(&mut rng(1)).unwrap();
    let key = FleetKey::from_bytes(&[1; 32]).unwrap();
    Server::in_fleet(setup, IDENTITY, ServerPolicy::default(), key).unwrap()
}

impl Site {
    pub fn new(fleet: bool, seed: u64) -> Self {
        let database = || Database { inner: MemoryStore::new(), fault: None, written: None };
        let nodes = if fleet {
            Nodes::Fleet(Box::new(Fleet::new(vec![node(), node()], database(), seed)))
        } else {
            let setup = ServerSetup::generate(&mut rng(1)).unwrap();
            Nodes::Single(Server::new(setup, IDENTITY, ServerPolicy::default()).unwrap())
        };
        let (sessions, openings) = Default::default();
        let (steps, complaints) = Default::default();
        Self {
            nodes,
            single: database(),
            sessions,
            openings,
            count: 0,
            rng: rng(seed + 1),
            steps,
            complaints,
            overtaken: 0,
            failures: 0,
        }
    }

    pub fn is_fleet(&self) -> bool {
        matches!(self.nodes, Nodes::Fleet(_))
    }

    pub fn database(&mut self) -> &mut Database {
        match &mut self.nodes {
            Nodes::Single(_) => &mut self.single,
            Nodes::Fleet(fleet) => &mut fleet.store,
        }
    }

    pub fn restart(&mut self, number: usize) {
        self.sessions.clear();
        if let Nodes::Fleet(fleet) = &mut self.nodes {
            fleet.nodes[number] = node();
        }
    }

    /// Takes a message at a node. Another one may come between its read and its write. Gives the replies that leave.
    pub fn deliver(
        &mut self,
        message: &ClientMessage,
        number: usize,
        now: Timestamp,
        meanwhile: Option<&ClientMessage>,
    ) -> Vec<ServerMessage> {
        let Ok(session_id) = message.session_id() else { return vec![] };
        let Some((mut session, fresh)) = self.open(session_id, number, message) else { return vec![] };
        self.count += usize::from(fresh);
        let opened = (session_id, if fresh { self.count } else { self.openings[&session_id] });
        // One node has one exclusive slot for each session.
        let meanwhile = meanwhile.filter(|other| self.is_fleet() || other.session_id() != Ok(session_id));
        let began = self.steps.len();
        let mut replies = Vec::new();
        let crashes = self.drive(&mut session, message, now, |site| {
            if let Some(other) = meanwhile {
                site.overtaken += 1;
                replies = site.deliver(other, 1 - number, now, None);
            }
        });
        let wrote = self.database().written.take();
        let (sent, crashed) = match crashes {
            Ok(sent) => (sent, false),
            Err(()) => (None, true),
        };
        if crashed {
            self.restart(number);
        } else if !self.is_fleet() && (sent.is_some() || !fresh) {
            self.sessions.insert(session_id, session);
        }
        let step = Step { began, at: now, session: opened, message: message.clone(), wrote, sent: sent.clone() };
        // Two nodes may open one session: the one that writes it has opened it.
        if fresh && step.is_taken_in(self.is_fleet()) {
            self.openings.insert(session_id, opened.1);
        }
        self.steps.push(step);
        replies.extend(sent);
        replies
    }

    /// The session of a message, and whether it is a new one.
    fn open(&mut self, session_id: SessionId, number: usize, message: &ClientMessage) -> Option<(ServerSession, bool)> {
        let (session, fresh) = match &mut self.nodes {
            Nodes::Single(server) => match self.sessions.remove(&session_id) {
                Some(session) => (session, false),
                None => (server.accept(&mut self.rng), true),
            },
            Nodes::Fleet(fleet) => {
                let query = Query::Session(SessionQuery::new(session_id));
                let fresh = !fleet.store.inner.sessions.contains_key(&session_id);
                if fleet.store.fault == Some(Fault::ReadFails) {
                    let _ = fleet.store.read(&query);
                    return None;
                }
                (fleet.session(number, message).unwrap(), fresh)
            }
        };
        Some((session, fresh))
    }

    /// The embedder's loop. `Err` if the node is gone.
    fn drive(
        &mut self,
        session: &mut ServerSession,
        message: &ClientMessage,
        now: Timestamp,
        meanwhile: impl FnOnce(&mut Self),
    ) -> Result<Option<ServerMessage>, ()> {
        let (mut step, mut meanwhile) = (session.receive(message.clone(), now), Some(meanwhile));
        loop {
            step = match step {
                Ok(keystow::Step::Read(read)) => match self.database().read(read.query()) {
                    Ok(found) => read.found(found),
                    Err(_) => return self.failed(Ok(None)),
                },
                Ok(keystow::Step::Write(write)) => {
                    if let Some(meanwhile) = meanwhile.take() {
                        meanwhile(self);
                    }
                    match self.database().apply(write.transaction()) {
                        Ok(outcome) => write.settle(outcome).map(keystow::Step::Reply),
                        Err(Failed(Fault::CrashAfterWriting)) => return self.failed(Err(())),
                        Err(_) => return self.failed(Ok(None)),
                    }
                }
                Ok(keystow::Step::Reply(reply)) => return Ok(Some(reply)),
                Err(error @ Error::Stored(_)) => {
                    self.complaints.push(error);
                    return Ok(None);
                }
                Err(_) => return Ok(None),
            }
        }
    }

    fn failed<T>(&mut self, result: T) -> T {
        self.failures += 1;
        result
    }
}
