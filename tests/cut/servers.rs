//! The server's side of a message, as `docs/embedding.md` has it, cut wherever it is suspended; and nonsense at each of its reads
//! and writes.

use keystow::storage::{Change, Found, Outcome, Query, SessionQuery, Transaction};
use keystow::testing::{Store, hostile};
use keystow::*;

use crate::fate::Cut;
use crate::lies::{impossible, lies, possible, provoke, session_lies, told};
use crate::scene::{Scene, Slot, Stop, hash};
use crate::support::{NOW, rng};

/// The answer to a message, or silence.
type Answer = Result<Option<ServerMessage>, Stop>;

fn opens(message: &ClientMessage) -> bool {
    matches!(message, ClientMessage::RegistrationRequest { .. } | ClientMessage::LoginRequest { .. })
}

impl Scene<'_> {
    /// The process is gone. In a fleet, another node goes on with what is stored.
    fn crash(&mut self) {
        self.slots.clear();
        self.crashes += 1;
        self.up = (self.up + 1) % self.nodes.len();
    }

    /// A message on its way to the server.
    pub fn deliver(&mut self, message: &ClientMessage) -> Answer {
        use Cut::{ClientCrashes, ClientCrashesAndItsMessageIsLate, MessageIsLost, ServerCrashes};
        let possible = [ServerCrashes, MessageIsLost, ClientCrashes, ClientCrashesAndItsMessageIsLate];
        match self.point("on its way", &possible)? {
            Some(ServerCrashes) => self.crash(),
            Some(MessageIsLost) => return Ok(None),
            Some(ClientCrashes) => {
                self.asleep(|scene| scene.take(message))?;
                return Err(Stop::Crash);
            }
            Some(_) => {
                self.late.push(message.clone());
                return Err(Stop::Crash);
            }
            None => {}
        }
        self.take(message)
    }

    /// Does something that isn't cut.
    pub fn asleep<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, Stop> {
        let was = core::mem::replace(&mut self.fate.asleep, true);
        let outcome = act(self);
        self.fate.asleep = was;
        outcome
    }

    /// The session of a message, out of its slot, or out of the store.
    fn session(&mut self, message: &ClientMessage) -> Option<Slot> {
        let id = message.session_id().unwrap();
        let mut draws = rng(hash((id.as_bytes(), self.crashes)));
        let server = self.nodes[self.up].clone();
        if self.is_fleet() {
            let query = SessionQuery::new(id);
            if self.tells() {
                let stranger = self.stranger.clone().unwrap();
                for (lie, error) in session_lies(&mut self.store, &query, &stranger) {
                    assert_eq!(server.resume(&query, lie, &mut draws).map(drop), Err(error));
                    self.nonsense += 1;
                }
            }
            let found = self.store.read(&Query::Session(query.clone())).unwrap();
            return Some(Slot { session: server.resume(&query, found, &mut draws).unwrap(), taken: 0 });
        }
        let open = || opens(message).then(|| Slot { session: server.accept(&mut draws), taken: 0 });
        self.slots.remove(&id).or_else(open)
    }

    fn tells(&self) -> bool {
        self.tells_nonsense && !self.fate.asleep && self.fate.is_over()
    }

    /// A message at the server.
    pub fn take(&mut self, message: &ClientMessage) -> Answer {
        let id = message.session_id().unwrap();
        let Some(mut slot) = self.session(message) else {
            return Ok(Some(ServerMessage::Refused { session_id: id, refusal: Refusal::SessionEnded }));
        };
        if let Ok(request) = hostile::open_request(&slot.session, message.clone()) {
            self.operations.insert(request.name());
        }
        slot = self.tell_nonsense(slot, message);
        let crashes = self.crashes;
        let reply = self.step(&mut slot.session, message)?;
        if self.crashes > crashes {
            return Ok(None);
        }
        if let Some(reply) = &reply {
            slot.taken = hash((slot.taken, message.encode().unwrap(), reply.encode().unwrap()));
        }
        if !self.is_fleet() {
            self.slots.insert(id, slot);
        }
        if reply.is_some() {
            match self.point("settled", &[Cut::ServerCrashes, Cut::AnswerIsLost])? {
                Some(Cut::ServerCrashes) => {
                    self.crash();
                    return Ok(None);
                }
                Some(_) => return Ok(None),
                None => {}
            }
        }
        Ok(reply)
    }

    fn step(&mut self, session: &mut ServerSession, message: &ClientMessage) -> Answer {
        let mut step = session.receive(message.clone(), NOW).map_err(Stop::Refused)?;
        if let Step::Read(read) = step {
            self.operations.insert(read.operation());
            if self.fails("read")? {
                return Ok(None);
            }
            self.queries.push(read.query().clone());
            let found = self.store.read(read.query()).unwrap();
            step = read.found(found).unwrap();
        }
        match step {
            Step::Read(_) => panic!("a second read"),
            Step::Reply(reply) => Ok(Some(reply)),
            Step::Write(write) => self.write(write, message),
        }
    }

    /// Whether the store, or the whole server, fails here.
    fn fails(&mut self, place: &'static str) -> Result<bool, Stop> {
        let cut = self.point(place, &[Cut::ServerCrashes, Cut::StoreFails])?;
        if cut == Some(Cut::ServerCrashes) {
            self.crash();
        }
        Ok(cut.is_some())
    }

    fn write(&mut self, write: Write<'_>, message: &ClientMessage) -> Answer {
        self.operations.insert(write.operation());
        let transaction = write.transaction();
        // What was applied before is a repeat, whatever has become of its conditions.
        let is_repeat = transaction.audit.as_ref().is_some_and(|entry| self.store.audit.contains_key(&entry.key()));
        let conflicts = possible(transaction).into_iter().filter(|_| !is_repeat).map(Cut::Conflict);
        // What only moves a session on meets no other device.
        let races = !is_alone(transaction);
        let faster = |scene: &Self| (races && scene.may_race()).then_some(Cut::AnotherDevice);
        let fails = [Cut::ServerCrashes, Cut::StoreFails];
        let possible: Vec<Cut> = fails.into_iter().chain(conflicts).chain(faster(self)).collect();
        let name = hash(message.encode().unwrap());
        let cut = self.point("write", &possible)?;
        if cut == Some(Cut::AnotherDevice) {
            self.race();
        }
        let outcome = match cut {
            Some(Cut::ServerCrashes) => {
                self.crash();
                return Ok(None);
            }
            Some(Cut::Conflict(conflict)) => {
                self.provoked.push(told(transaction, conflict));
                let entry = transaction.otherwise.as_ref();
                self.ledger.refuse(entry.filter(|_| conflict != storage::Conflict::Head), name);
                provoke(&mut self.store, transaction, conflict);
                Outcome::Conflict(conflict)
            }
            Some(Cut::StoreFails) => return Ok(None),
            _ => {
                let outcome = self.apply(transaction);
                if !matches!(outcome, Outcome::Conflict(_)) && !is_alone(transaction) {
                    self.ledger.reach(write.operation(), opens(message), name);
                }
                outcome
            }
        };
        let unknown = [Cut::ServerCrashes, Cut::OutcomeIsUnknown];
        // In a fleet the step is over: its answer is stored.
        let faster = faster(self).filter(|_| !self.is_fleet());
        let possible: Vec<Cut> = unknown.into_iter().chain(faster).collect();
        match self.point("written", &possible)? {
            Some(Cut::ServerCrashes) => self.crash(),
            Some(Cut::AnotherDevice) => self.race(),
            Some(_) => {}
            None => return Ok(Some(write.settle(outcome).unwrap())),
        }
        Ok(None)
    }

    /// Applies a transaction. An account goes when it is empty.
    fn apply(&mut self, transaction: &Transaction) -> Outcome {
        let before = self.store.secrets.len();
        let outcome = self.store.apply(transaction).unwrap();
        if transaction.changes.iter().any(|change| matches!(change, Change::DeleteAccount { .. })) {
            assert_eq!(self.store.secrets.len(), before, "an account is deleted with secrets that nobody has seen");
        }
        self.applied = Some(transaction.clone());
        outcome
    }

    /// The same session twice.
    fn fork(&mut self, slot: Slot, message: &ClientMessage) -> (ServerSession, ServerSession) {
        let (server, id) = (&self.nodes[self.up], message.session_id().unwrap());
        let draws = &mut rng(hash((id.as_bytes(), self.crashes)));
        if self.is_fleet() {
            let query = SessionQuery::new(id);
            let found = self.store.read(&Query::Session(query.clone())).unwrap();
            return (slot.session, server.resume(&query, found, draws).unwrap());
        }
        if slot.taken == 0 {
            return (slot.session, server.accept(draws));
        }
        let key = FleetKey::from_bytes(&[2; 32]).unwrap();
        let (_, stored) = slot.session.export(&key).unwrap().unwrap();
        let import = || server.import(&key, id, &stored).unwrap();
        (import(), import())
    }

    /// Tells the session everything that can't be, at its read and at its write. It must name the store, say nothing to the
    /// client, and ask for the same afterwards.
    fn tell_nonsense(&mut self, slot: Slot, message: &ClientMessage) -> Slot {
        if !self.tells() {
            return slot;
        }
        let taken = slot.taken;
        let (mut session, mut other) = self.fork(slot, message);
        let as_it_was =
            |session: &ServerSession| format!("{session:?} {:?} {:?}", session.expires(), session.user_id());
        let before = as_it_was(&session);
        let queries = self.queries_of(&mut other, message);
        if let Some(query) = &queries {
            let stranger = self.stranger.clone().unwrap();
            for (lie, error) in lies(&mut self.store, query, &stranger) {
                assert_eq!(tell(&mut session, message, query, lie), error);
                assert_eq!(as_it_was(&session), before);
                self.nonsense += 1;
            }
        }
        let (asked, _) = self.up_to_write(&mut other, message, None);
        for (lie, error) in asked.iter().flat_map(impossible) {
            let (again, settled) = self.up_to_write(&mut session, message, Some(lie));
            assert_eq!(again, asked, "in a fleet, the session's whole state is in it");
            assert_eq!(settled, Some(error), "{lie:?}");
            assert_eq!(as_it_was(&session), before);
            self.nonsense += 1;
        }
        Slot { session, taken }
    }

    fn queries_of(&self, session: &mut ServerSession, message: &ClientMessage) -> Option<Query> {
        match session.receive(message.clone(), NOW).unwrap() {
            Step::Read(read) => Some(read.query().clone()),
            _ => None,
        }
    }

    /// The transaction of a message, if it has one, and the error that this outcome of it gets.
    fn up_to_write(
        &mut self,
        session: &mut ServerSession,
        message: &ClientMessage,
        outcome: Option<Outcome>,
    ) -> (Option<Transaction>, Option<Error>) {
        let mut step = session.receive(message.clone(), NOW).unwrap();
        if let Step::Read(read) = step {
            let found = self.store.read(read.query()).unwrap();
            step = read.found(found).unwrap();
        }
        let Step::Write(write) = step else { return (None, None) };
        let transaction = write.transaction().clone();
        (Some(transaction), outcome.and_then(|outcome| write.settle(outcome).err()))
    }
}

/// Whether it does nothing but move a fleet's session on.
fn is_alone(transaction: &Transaction) -> bool {
    transaction.guards.is_empty() && transaction.changes.is_empty() && transaction.audit.is_none()
}

/// What a session makes of an answer that can't be.
fn tell(session: &mut ServerSession, message: &ClientMessage, query: &Query, lie: Found) -> Error {
    let Step::Read(read) = session.receive(message.clone(), NOW).unwrap() else { panic!("it read before") };
    assert_eq!(read.query(), query);
    match read.found(lie) {
        Err(error) => error,
        Ok(step) => panic!("it was believed: {step:?}"),
    }
}
