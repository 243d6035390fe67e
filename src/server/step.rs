//! A step: what one message comes to, suspended around the store.
//!
//! The reply is sealed inside the write: there is no way to it but [`Write::settle`].

use alloc::boxed::Box;
use core::fmt;
use core::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use super::ServerSession;
use super::denied::{Denied, DeniedWrite};
use super::session::{Last, State};
use crate::error::{Error, PeerFault, Refusal};
use crate::id::{SessionId, Timestamp};
use crate::message::{Direction, Fingerprint, ServerMessage};
use crate::operation::log_in::Requested;
use crate::operation::{Becomes, Context, Effect, Reply, Request, Serve};
use crate::storage::{Found, Outcome, Query, Resolution, Transaction};
use crate::suite::Draw;

/// What a message comes to: at most one read, one atomic write, one reply.
///
/// A reply can't be had before its write. This compiles:
///
/// ```
/// # fn apply(_: &keystow::storage::Transaction) -> keystow::storage::Outcome { keystow::storage::Outcome::Applied }
/// fn answer(write: keystow::Write<'_>) -> Result<keystow::ServerMessage, keystow::Error> {
///     let outcome = apply(write.transaction());
///     write.settle(outcome)
/// }
/// ```
///
/// and its twin, which would send without having written, does not: a write has no reply to give.
///
/// ```compile_fail,E0599
/// fn answer(write: keystow::Write<'_>) -> Result<keystow::ServerMessage, keystow::Error> {
///     write.reply()
/// }
/// ```
///
/// Nor can a write be forgotten and taken for a step that needed none:
///
/// ```compile_fail,E0308
/// fn answer(step: keystow::Step<'_>) -> keystow::ServerMessage {
///     match step {
///         keystow::Step::Reply(reply) => reply,
///         keystow::Step::Write(write) => write,
///         keystow::Step::Read(_) => unimplemented!(),
///     }
/// }
/// ```
#[derive(Debug)]
#[must_use = "a step that is dropped changes nothing and answers nothing"]
pub enum Step<'s> {
    /// Read, and go on with what was found.
    Read(Read<'s>),
    /// Write, and go on with the outcome.
    Write(Write<'s>),
    /// Send. The session has gone on.
    Reply(ServerMessage),
}

/// A step that waits for a read.
#[must_use = "a step that is dropped changes nothing and answers nothing"]
pub struct Read<'s> {
    turn: Turn<'s>,
    work: Work,
    query: Box<Query>,
}

/// A step that waits for a write. It holds the reply to each outcome.
#[must_use = "a step that is dropped changes nothing and answers nothing"]
pub struct Write<'s> {
    turn: Turn<'s>,
    transaction: Box<Transaction>,
    endings: Box<Endings>,
}

/// What is done with what was found.
pub(super) enum Work {
    LogIn(Box<Requested>),
    Request(Request),
}

/// The session's next state, and the reply to each outcome of a write. A conflict is refused, as
/// [`Transaction::refusal`] says, in the same way as the reply would have gone.
#[derive(Serialize, Deserialize)]
pub(super) struct Endings {
    pub(super) next: Option<State>,
    pub(super) applied: Answer,
    /// If it is another than to a write that is applied.
    pub(super) repeated: Option<Answer>,
    pub(super) credential: Becomes,
}

/// A reply before it is sealed.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Answer {
    Plain(ServerMessage),
    Sealed(Reply),
}

impl Answer {
    fn refused_plainly(session_id: SessionId) -> Self {
        Self::Plain(ServerMessage::Refused { session_id, refusal: Refusal::Denied })
    }

    /// A refusal in this answer's place.
    fn refuse(&self, session_id: SessionId, refusal: Refusal) -> Self {
        match self {
            Self::Plain(_) => Self::Plain(ServerMessage::Refused { session_id, refusal }),
            Self::Sealed(_) => Self::Sealed(Reply::Refused(refusal)),
        }
    }
}

impl Endings {
    /// The step's answer to an outcome.
    fn answer(self, session_id: SessionId, resolution: Resolution) -> (Option<State>, Answer, Becomes) {
        let answer = match resolution {
            Resolution::Applied => self.applied,
            Resolution::Repeated => self.repeated.unwrap_or(self.applied),
            Resolution::Refused(refusal) => self.applied.refuse(session_id, refusal),
        };
        (self.next, answer, self.credential)
    }
}

/// Which request a step answers, and when.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) sequence: u64,
    pub(super) fingerprint: Fingerprint,
    pub(super) now: Timestamp,
}

/// One message's turn in its session. Nothing is taken in until [`Turn::commit`].
pub(super) struct Turn<'s> {
    pub(super) session: &'s mut ServerSession,
    pub(super) operation: &'static str,
    pub(super) session_id: SessionId,
    pub(super) asked: Asked,
}

impl<'s> Turn<'s> {
    /// Serves the request of a frame, up to its read.
    pub(super) fn serve(self, request: Request) -> Result<Step<'s>, Error> {
        match request.query(&self.context()?) {
            Err(refusal) => self.reply(None, Answer::Sealed(Reply::Refused(refusal)), Becomes::Same),
            Ok(Some(query)) => Ok(self.read(Work::Request(request), query)),
            Ok(None) => self.go_on(request, None),
        }
    }

    /// Serves the request of a frame, from its read on.
    fn go_on(self, request: Request, found: Option<Found>) -> Result<Step<'s>, Error> {
        let Effect { transaction, applied, repeated, credential } = request.serve(&self.context()?, found)?;
        let (applied, repeated) = (Answer::Sealed(applied), repeated.map(Answer::Sealed));
        match transaction {
            None => self.reply(None, applied, credential),
            Some(transaction) => self.write(transaction, Endings { next: None, applied, repeated, credential }),
        }
    }

    fn context(&self) -> Result<Context<'_>, Error> {
        let State::Open(open) = &self.session.kept.state else {
            return Err(PeerFault::OutOfOrder.into());
        };
        Ok(Context {
            server: &self.session.server,
            account: &open.account,
            offered: open.offered.as_deref().copied(),
            opened: open.opened,
            expires: open.expires(),
            user_id: open.user_id,
            credential: open.credential,
            session_id: self.session_id,
            sequence: self.asked.sequence,
            now: self.asked.now,
            seed: &self.session.kept.seed,
            fingerprint: self.asked.fingerprint,
        })
    }

    pub(super) fn read(self, work: Work, query: Query) -> Step<'s> {
        Step::Read(Read { turn: self, work, query: Box::new(query) })
    }

    /// A write; in a fleet, with the session's next version.
    pub(super) fn write(self, transaction: Transaction, endings: Endings) -> Result<Step<'s>, Error> {
        Ok(Step::Write(self.suspend(transaction, endings)?))
    }

    fn suspend(self, mut transaction: Transaction, endings: Endings) -> Result<Write<'s>, Error> {
        transaction.advance = self.session.advance(self.session_id, &self.asked, &endings)?;
        Ok(Write { turn: self, transaction: Box::new(transaction), endings: Box::new(endings) })
    }

    /// A reply; in a fleet, after a write of nothing but the session's next version.
    pub(super) fn reply(self, next: Option<State>, answer: Answer, credential: Becomes) -> Result<Step<'s>, Error> {
        Ok(match self.answer(next, answer, credential)? {
            Denied::Reply(reply) => Step::Reply(reply),
            Denied::Write(DeniedWrite(write)) => Step::Write(write),
        })
    }

    /// The same, as it can't be denied.
    fn answer(self, next: Option<State>, answer: Answer, credential: Becomes) -> Result<Denied<'s>, Error> {
        if self.session.server.fleet().is_some() {
            let endings = Endings { next, applied: answer, repeated: None, credential };
            return Ok(Denied::Write(DeniedWrite(self.suspend(Transaction::default(), endings)?)));
        }
        Ok(Denied::Reply(self.commit(next, answer, credential)?))
    }

    fn commit(self, next: Option<State>, answer: Answer, credential: Becomes) -> Result<ServerMessage, Error> {
        self.session.commit(self.session_id, &self.asked, (next, answer, credential))
    }
}

impl ServerSession {
    /// Takes a step in: the next state, the reply that a repeat will get, the clock of idleness. Everything that can fail
    /// comes first.
    pub(super) fn commit(
        &mut self,
        session_id: SessionId,
        asked: &Asked,
        (next, answer, credential): (Option<State>, Answer, Becomes),
    ) -> Result<ServerMessage, Error> {
        let (ends, refused) = match &answer {
            Answer::Plain(message) => (matches!(message, ServerMessage::Refused { .. }), false),
            Answer::Sealed(reply) => (reply.ends_session(), matches!(reply, Reply::Refused(_))),
        };
        let reply = match answer {
            Answer::Plain(message) => message,
            Answer::Sealed(reply) => {
                let State::Open(open) = next.as_ref().unwrap_or(&self.kept.state) else {
                    return Err(PeerFault::OutOfOrder.into());
                };
                let direction = Direction::ServerToClient;
                ServerMessage::Frame(open.keys.seal(direction, session_id, asked.sequence, &reply)?)
            }
        };
        self.taken = Some((session_id, NonZeroU64::MIN.saturating_add(self.version())));
        if let Some(next) = next {
            self.kept.state = next;
        }
        match &mut self.kept.state {
            State::Open(open) => {
                open.idle = asked.now.after(self.server.policy().idle_timeout);
                open.ended = ends;
                match credential {
                    Becomes::Offered(offered) if !refused => open.offered = Some(Box::new(offered)),
                    Becomes::Changed(changed) if !refused => {
                        open.credential = changed;
                        open.offered = None;
                    }
                    _ => {}
                }
            }
            state if ends => *state = State::Ended,
            _ => {}
        }
        let Asked { sequence, fingerprint, .. } = *asked;
        self.last = Some(Last { sequence, fingerprint, reply: reply.clone() });
        Ok(reply)
    }

    /// Takes a step in that another node has written, with the outcome that it came to.
    pub(super) fn take_in(
        &mut self,
        session_id: SessionId,
        (asked, endings): (Asked, Endings),
        resolution: Resolution,
    ) -> Result<(), Error> {
        self.commit(session_id, &asked, endings.answer(session_id, resolution))?;
        Ok(())
    }
}

impl<'s> Read<'s> {
    /// What to read.
    #[must_use]
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// The operation's name, for the embedder's own authorisation and metrics: "register", "log_in", "retrieve".
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.turn.operation
    }

    /// The session: who asks.
    #[must_use]
    pub fn session(&self) -> &ServerSession {
        self.turn.session
    }

    /// Refuses the request for reasons of the embedder's own, without a reason given. Nothing is read; nothing is written
    /// but, in a fleet, the session.
    ///
    /// # Errors
    /// None in practice.
    pub fn deny(self) -> Result<Denied<'s>, Error> {
        let refused = match self.work {
            Work::LogIn(_) => Answer::refused_plainly(self.turn.session_id),
            Work::Request(_) => Answer::Sealed(Reply::Refused(Refusal::Denied)),
        };
        self.turn.answer(None, refused, Becomes::Same)
    }

    /// Goes on with what was found, built by the query itself ([`crate::storage::AccountQuery::found`] and its like).
    ///
    /// # Errors
    /// [`Error::Stored`] if it can't be right: the answer to another query, another row, a damaged record. The record
    /// is named; nothing changed, there is nothing to send.
    pub fn found(self, found: Found) -> Result<Step<'s>, Error> {
        let turn = self.turn;
        match self.work {
            Work::Request(request) => turn.go_on(request, Some(found)),
            Work::LogIn(requested) => {
                let draw = &mut Draw::new(&turn.session.kept.seed, &turn.asked.fingerprint)?;
                let (awaiting, transaction, response) =
                    requested.serve(&turn.session.server, draw, turn.session_id, turn.asked.now, found)?;
                let next = Some(State::AwaitingKe3(Box::new(awaiting)));
                let response = Answer::Plain(response);
                // A lone charge can't be recognised as repeated: Write::settle refuses that outcome.
                let (repeated, credential) = (None, Becomes::Same);
                turn.write(transaction, Endings { next, applied: response, repeated, credential })
            }
        }
    }
}

impl<'s> Write<'s> {
    /// What to write: all or nothing, durably, before [`Write::settle`].
    #[must_use]
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// The operation's name, for the embedder's own authorisation and metrics: "register", "log_in", "store".
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.turn.operation
    }

    /// The session: who asks. (A login is only granted with its write; until then the session has no user.)
    #[must_use]
    pub fn session(&self) -> &ServerSession {
        self.turn.session
    }

    /// Refuses the request for reasons of the embedder's own, without a reason given. Nothing of the transaction is written
    /// but, in a fleet, the session; a registration or login is over.
    ///
    /// In a fleet, a write of the session alone is what a [`Step::Reply`] is on one node, and can't be denied either: this
    /// gives it as it is. So a session that has ended stays ended.
    ///
    /// # Errors
    /// None in practice.
    pub fn deny(self) -> Result<Denied<'s>, Error> {
        if self.transaction.is_advance_alone() {
            return Ok(Denied::Write(DeniedWrite(self)));
        }
        let Endings { next, applied, .. } = *self.endings;
        let refusal = if matches!(next, Some(State::Open(_))) { Refusal::SessionEnded } else { Refusal::Denied };
        let answer = applied.refuse(self.turn.session_id, refusal);
        self.turn.answer(next, answer, Becomes::Same)
    }

    /// Goes on with the outcome: the session takes the step in, and the reply comes out.
    ///
    /// If the outcome is unknown (a timeout, a lost connection to the database), drop the step and send nothing: the
    /// client will ask again.
    ///
    /// # Errors
    /// [`Error::Stored`] for an outcome that this transaction can't have; [`Error::Moved`] for [`Outcome::Moved`]. Nothing
    /// changed, there is nothing to send.
    pub fn settle(self, outcome: Outcome) -> Result<ServerMessage, Error> {
        let Self { turn, transaction, endings } = self;
        let (next, answer, credential) = endings.answer(turn.session_id, transaction.resolve(outcome)?);
        turn.commit(next, answer, credential)
    }
}

impl fmt::Debug for Read<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read").field("query", &self.query).finish_non_exhaustive()
    }
}

impl fmt::Debug for Write<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write").field("transaction", &self.transaction).finish_non_exhaustive()
    }
}
