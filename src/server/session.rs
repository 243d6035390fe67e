//! A session on the server's side: its state, and how a message is taken in.

use alloc::boxed::Box;
use core::fmt;
use core::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use super::step::{Answer, Asked, Endings, Turn, Work};
use super::{Server, ServerPolicy, Step};
use crate::error::{Error, PeerFault, Refusal};
use crate::id::{AccountName, CredentialId, SessionId, Timestamp, UserId};
use crate::message::{ClientMessage, Direction, Fingerprint, Frame, FrameKeys, ServerMessage, fingerprint};
use crate::operation::log_in::{AwaitingKe3, Requested};
use crate::operation::register::{self, Registering};
use crate::operation::{Becomes, Reply, Request};
use crate::secret::Key;
use crate::storage::Query;
use crate::suite::Draw;

/// One client's session: opened by its first message, ended by expiry or by a refusal that says so.
///
/// [`ServerSession::receive`] takes each message. *An `Err` means that nothing changed and that there is nothing to
/// send*; a step that is dropped leaves the session as it was.
pub struct ServerSession {
    pub(super) server: Server,
    /// Which session it is, and how many steps it has taken: none before its first.
    pub(super) taken: Option<(SessionId, NonZeroU64)>,
    pub(super) kept: Kept,
    pub(super) last: Option<Last>,
}

/// What a session is made of, but for its last reply.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    #[serde(with = "crate::secret::exposed")]
    pub(super) seed: Key,
    pub(super) state: State,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum State {
    New,
    Registering(Box<Registering>),
    AwaitingKe3(Box<AwaitingKe3>),
    Open(Box<Open>),
    Ended,
}

/// The last request and its reply, which a repeat gets again.
#[derive(Serialize, Deserialize)]
pub(super) struct Last {
    pub(super) sequence: u64,
    pub(super) fingerprint: Fingerprint,
    pub(super) reply: ServerMessage,
}

/// A session after its login.
#[derive(Serialize, Deserialize)]
pub(crate) struct Open {
    pub(super) account: AccountName,
    pub(super) user_id: UserId,
    pub(super) credential: CredentialId,
    /// The credential identifier that was evaluated for a change of password, boxed: few sessions have one.
    pub(super) offered: Option<Box<CredentialId>>,
    pub(super) keys: FrameKeys,
    pub(super) opened: Timestamp,
    expires: Timestamp,
    pub(super) idle: Timestamp,
    pub(super) ended: bool,
}

impl Open {
    pub(crate) fn new(
        policy: &ServerPolicy,
        account: AccountName,
        user_id: UserId,
        credential: CredentialId,
        keys: FrameKeys,
        now: Timestamp,
    ) -> Self {
        let (expires, idle) = (now.after(policy.session_lifetime), now.after(policy.idle_timeout));
        Self { account, user_id, credential, offered: None, keys, opened: now, expires, idle, ended: false }
    }

    /// When the session ends at the latest.
    pub(crate) fn expires(&self) -> Timestamp {
        self.expires
    }

    fn deadline(&self) -> Timestamp {
        self.expires.min(self.idle)
    }
}

impl ServerSession {
    pub(super) fn new(server: Server, seed: Key) -> Self {
        Self { server, taken: None, kept: Kept { seed, state: State::New }, last: None }
    }

    pub(super) fn id(&self) -> Option<SessionId> {
        self.taken.map(|(id, _)| id)
    }

    /// How many steps it has taken.
    pub(super) fn version(&self) -> u64 {
        self.taken.map_or(0, |(_, version)| version.get())
    }

    /// The user that is logged in, if one is.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        match &self.kept.state {
            State::Open(open) if !open.ended => Some(open.user_id),
            _ => None,
        }
    }

    /// The account that the session is about: proved once [`ServerSession::user_id`] gives its user, claimed before.
    #[must_use]
    pub fn account(&self) -> Option<&AccountName> {
        match &self.kept.state {
            State::Registering(registering) => Some(registering.account()),
            State::AwaitingKe3(awaiting) => Some(awaiting.account()),
            State::Open(open) => Some(&open.account),
            State::New | State::Ended => None,
        }
    }

    /// When the session can be dropped: after this time it answers no new request. `None` before its first message, and
    /// at once for a session that has ended (keep it a little all the same: a lost last reply is asked for again).
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        match &self.kept.state {
            State::New => None,
            State::Registering(registering) => Some(registering.until),
            State::AwaitingKe3(awaiting) => Some(awaiting.until),
            State::Open(open) if !open.ended => Some(open.deadline()),
            State::Open(_) | State::Ended => Some(Timestamp::from_millis(0)),
        }
    }

    /// Takes a message at the time `now`.
    ///
    /// Drive what it gives to its end: read for [`Step::Read`], write for [`Step::Write`], send [`Step::Reply`]. A repeat of
    /// the last request gets its reply again; a refusal is a reply.
    ///
    /// # Errors
    /// [`PeerFault`] for bytes that are not valid, not authentic or out of order. Nothing changed; there is nothing
    /// to send.
    pub fn receive(&mut self, message: ClientMessage, now: Timestamp) -> Result<Step<'_>, Error> {
        let session_id = message.session_id()?;
        if self.id().is_some_and(|id| id != session_id) {
            return Err(PeerFault::WrongSession.into());
        }
        match message {
            ClientMessage::Frame(frame) => self.receive_frame(session_id, frame, now),
            message => self.receive_handshake(session_id, message, now),
        }
    }

    /// A message of registration or login: no frame, numbered 0 and 1 by its place.
    fn receive_handshake(
        &mut self,
        session_id: SessionId,
        message: ClientMessage,
        now: Timestamp,
    ) -> Result<Step<'_>, Error> {
        let fingerprint = match message {
            // A first message's session ID is its fingerprint.
            ClientMessage::RegistrationRequest { .. } | ClientMessage::LoginRequest { .. } => *session_id.as_bytes(),
            _ => fingerprint(&message.encode()?),
        };
        if let Some(last) = self.last.as_ref().filter(|last| last.sequence < 2 && last.fingerprint == fingerprint) {
            return Ok(Step::Reply(last.reply.clone()));
        }
        let operation = match message {
            ClientMessage::RegistrationRequest { .. } | ClientMessage::RegistrationUpload { .. } => "register",
            _ => "log_in",
        };
        let asked = |sequence| Asked { sequence, fingerprint, now };
        let turn = |session, sequence| Turn { session, operation, session_id, asked: asked(sequence) };
        let over = Answer::Plain(ServerMessage::Refused { session_id, refusal: Refusal::SessionEnded });
        match (&self.kept.state, message) {
            (State::New, request @ ClientMessage::RegistrationRequest { .. }) => {
                let draw = &mut Draw::new(&self.kept.seed, &fingerprint)?;
                let (registering, response) = register::serve_request(&self.server, draw, now, &request)?;
                turn(self, 0).reply(
                    Some(State::Registering(Box::new(registering))),
                    Answer::Plain(response),
                    Becomes::Same,
                )
            }
            (State::New, ClientMessage::LoginRequest { account, profile, ke1 }) => {
                let requested = Requested::new(account, profile, &ke1)?;
                let query = Query::Account(requested.query().clone());
                Ok(turn(self, 0).read(Work::LogIn(Box::new(requested)), query))
            }
            (State::Registering(registering), ClientMessage::RegistrationUpload { .. }) if now > registering.until => {
                turn(self, 1).reply(Some(State::Ended), over, Becomes::Same)
            }
            (
                State::Registering(registering),
                ClientMessage::RegistrationUpload { upload, wrap, head, transcript, .. },
            ) => {
                let contents = (upload, wrap, &*head);
                let transaction = registering.serve_upload((session_id, fingerprint), now, contents, transcript)?;
                let applied = Answer::Plain(ServerMessage::Registered { session_id });
                let next = Some(State::Ended);
                let endings = Endings { next, applied, repeated: None, credential: Becomes::Same };
                turn(self, 1).write(transaction, endings)
            }
            (State::AwaitingKe3(awaiting), ClientMessage::LoginFinish { .. }) if now > awaiting.until => {
                turn(self, 1).reply(Some(State::Ended), over, Becomes::Same)
            }
            (State::AwaitingKe3(awaiting), ClientMessage::LoginFinish { ke3, .. }) => {
                let (open, transaction, welcome) =
                    awaiting.serve(&self.server, (session_id, fingerprint), now, &ke3)?;
                let next = Some(State::Open(Box::new(open)));
                let applied = Answer::Sealed(welcome);
                let endings = Endings { next, applied, repeated: None, credential: Becomes::Same };
                turn(self, 1).write(transaction, endings)
            }
            _ => Err(PeerFault::OutOfOrder.into()),
        }
    }

    /// A request of an open session.
    fn receive_frame(&mut self, session_id: SessionId, frame: Frame, now: Timestamp) -> Result<Step<'_>, Error> {
        let (State::Open(open), Some(last)) = (&self.kept.state, &self.last) else {
            return Err(PeerFault::OutOfOrder.into());
        };
        let (sequence, fingerprint) = (frame.sequence, frame.tag()?);
        if sequence < last.sequence {
            return Err(PeerFault::WrongSequence.into());
        }
        let request: Request = open.keys.open(Direction::ClientToServer, frame)?;
        if sequence == last.sequence {
            let repeat = last.fingerprint == fingerprint;
            return if repeat { Ok(Step::Reply(last.reply.clone())) } else { Err(PeerFault::WrongSequence.into()) };
        }
        if open.ended {
            return Err(PeerFault::OutOfOrder.into());
        }
        let expired = now > open.deadline();
        let operation = request.name();
        let asked = Asked { sequence, fingerprint, now };
        let turn = Turn { session: self, operation, session_id, asked };
        if expired {
            return turn.reply(None, Answer::Sealed(Reply::Refused(Refusal::SessionEnded)), Becomes::Same);
        }
        turn.serve(request)
    }
}

#[cfg(feature = "testing")]
impl ServerSession {
    /// The keys of an open session, for the hostile server of the tests.
    pub(crate) fn frame_keys(&self) -> Option<&FrameKeys> {
        match &self.kept.state {
            State::Open(open) => Some(&open.keys),
            _ => None,
        }
    }
}

impl fmt::Debug for ServerSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.kept.state {
            State::New => "new",
            State::Registering(_) => "registering",
            State::AwaitingKe3(_) => "awaiting KE3",
            State::Open(open) if !open.ended => "open",
            State::Open(_) | State::Ended => "ended",
        };
        f.debug_struct("ServerSession").field("id", &self.id()).field("state", &state).finish_non_exhaustive()
    }
}
