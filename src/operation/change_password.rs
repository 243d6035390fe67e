//! Change password: a registration inside frames, ended by one conditional write (`docs/protocol.md`, "Change password").

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use core::fmt;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

use super::Reply as AnyReply;
use super::Request as AnyRequest;
use crate::client::{ClientSession, Exchange, Next, Operation};
use crate::error::{Error, PeerFault};
use crate::message::{ClientMessage, Direction, ServerMessage, Wrap};
use crate::secret::Key;
use crate::suite::opaque::{Blinded, Evaluated, Upload};
use crate::suite::{Draw, opaque};

/// One of the two steps. The variant's position is its number on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The new password, blinded.
    Start {
        /// OPAQUE's registration request, 32 bytes.
        blinded: Box<Blinded>,
    },
    /// The new record.
    Finish {
        /// OPAQUE's registration upload, 192 bytes.
        upload: Box<Upload>,
        /// The same vault key, sealed under a key from the new `export_key`, 48 bytes.
        #[serde(with = "BigArray")]
        wrap: [u8; 48],
    },
}

/// The answer to a step. The variant's position is its number on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The evaluation, under a credential identifier that has never been used.
    Evaluated {
        /// OPAQUE's registration response, 64 bytes.
        evaluated: Box<Evaluated>,
    },
    /// The new password holds.
    Changed,
}

// --- client half ---------------------------------------------------------------------------------------

use crate::client::{Established, open_reply};

/// A change of password under way, on the client's side.
pub struct ChangePassword {
    session: Established,
    sequence: u64,
    state: State,
}

enum State {
    Started { seed: Arc<Key>, registration: Arc<opaque::Registration> },
    Finishing,
}

impl ClientSession {
    /// Starts to change the account's password to `password`, 1 to 4,096 bytes, under the policy's first profile. All
    /// secrets stay as they are: the same vault key is wrapped anew. This session goes on; every other session of the
    /// account ends at its next request that touches the store.
    ///
    /// Needs a recent login ([`crate::Refusal::LoginTooOld`]). Of two devices that change it at once, one wins; the
    /// other gets [`crate::Refusal::SessionEnded`]. A crash leaves exactly one password that works: if no answer came, or
    /// the session ended on the way, try both. An answer runs Argon2 in [`Exchange::receive`].
    ///
    /// The old password, with an old copy of the server's record, still opens the vault key.
    ///
    /// # Errors
    /// [`crate::CallerFault::PasswordLength`], [`crate::CallerFault::SequenceExhausted`].
    pub fn change_password(
        &mut self,
        password: impl AsRef<[u8]>,
        rng: &mut impl CryptoRng,
    ) -> Result<Exchange<ChangePassword>, Error> {
        let input = self.established().config.password_input(password.as_ref())?;
        let seed = opaque::seed(rng);
        let (registration, blinded) = opaque::Registration::start(&mut Draw::new(&seed, b"request")?, input)?;
        let sequence = self.reserve(2)?;
        let session = self.established().clone();
        let message = session.frame(sequence, &AnyRequest::ChangePassword(Request::Start { blinded }))?;
        let state = State::Started { seed: Arc::new(seed), registration: Arc::new(registration) };
        Ok(Exchange::new(ChangePassword { session, sequence, state }, message))
    }
}

impl Established {
    fn frame(&self, sequence: u64, request: &AnyRequest) -> Result<ClientMessage, Error> {
        let frame = self.keys.seal(Direction::ClientToServer, self.session_id, sequence, request)?;
        Ok(ClientMessage::Frame(frame))
    }
}

impl Operation for ChangePassword {
    type Output = ();

    fn advance(&self, message: ServerMessage) -> Result<Next<Self>, Error> {
        let Established { keys, session_id, .. } = &self.session;
        match (&self.state, open_reply(keys, *session_id, self.sequence, message)?) {
            (_, AnyReply::Refused(refusal)) => Ok(Next::Done(Err(refusal))),
            (State::Finishing, AnyReply::ChangePassword(Reply::Changed)) => Ok(Next::Done(Ok(()))),
            (State::Started { seed, registration }, AnyReply::ChangePassword(Reply::Evaluated { evaluated })) => {
                self.upload(seed, registration, &evaluated)
            }
            _ => Err(PeerFault::OutOfOrder.into()),
        }
    }
}

impl ChangePassword {
    /// Finishes OPAQUE's registration and wraps the session's vault key under the new `export_key`.
    fn upload(
        &self,
        seed: &Key,
        registration: &opaque::Registration,
        evaluated: &Evaluated,
    ) -> Result<Next<Self>, Error> {
        let Established { config, vault, server_key, .. } = &self.session;
        let profile = config.policy.profile(0).ok_or(PeerFault::OutOfOrder)?;
        let result = registration.finish(&mut Draw::new(seed, b"upload")?, evaluated, config.identity(), profile)?;
        // Rule 4: the server that is registered with is the one that was logged in to.
        if result.server_key != *server_key {
            return Err(PeerFault::WrongServerKey.into());
        }
        let wrap = vault.wrap(&result.export_key)?;
        let sequence = self.sequence.checked_add(1).ok_or(PeerFault::WrongSequence)?;
        let request = AnyRequest::ChangePassword(Request::Finish { upload: result.upload, wrap });
        let message = self.session.frame(sequence, &request)?;
        Ok(Next::Send(Self { session: self.session.clone(), sequence, state: State::Finishing }, message))
    }
}

impl fmt::Debug for ChangePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangePassword").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

// --- server half ---------------------------------------------------------------------------------------

use super::{Becomes, Context, Effect, Serve};
use crate::error::Refusal;
use crate::id::CredentialId;
use crate::storage::{AccountRecord, Action, Change, Found, Query, Record, Transaction};

impl Serve for Request {
    fn query(&self, context: &Context<'_>) -> Result<Option<Query>, Refusal> {
        match (self, context.check_recent()) {
            // This may be the repeat of a change that was made: the refusal must not say that it wasn't.
            (Self::Finish { .. }, Err(_)) => Err(Refusal::SessionEnded),
            (_, recent) => recent.map(|()| None),
        }
    }

    fn serve(self, context: &Context<'_>, _: Option<Found>) -> Result<Effect, Error> {
        match self {
            Self::Start { blinded } => evaluate(context, &blinded),
            Self::Finish { upload, wrap } => match context.offered {
                Some(credential) => replace(context, credential, upload, wrap),
                None => Ok(Effect::refuse(Refusal::Denied)),
            },
        }
    }
}

/// Rule 5: a fresh credential identifier, which stays in the session and is evaluated once.
fn evaluate(context: &Context<'_>, blinded: &Blinded) -> Result<Effect, Error> {
    let credential = CredentialId::from_bytes(context.draw()?.bytes());
    match context.server.setup().evaluate(blinded, &credential) {
        Ok(evaluated) => {
            let reply = AnyReply::ChangePassword(Reply::Evaluated { evaluated });
            Ok(Effect { credential: Becomes::Offered(credential), ..Effect::reply(reply) })
        }
        Err(_) => Ok(Effect::refuse(Refusal::Denied)),
    }
}

/// The one write: the account has the new record, if it still has the credential that this session logged in with.
fn replace(context: &Context<'_>, credential: CredentialId, upload: Box<Upload>, wrap: Wrap) -> Result<Effect, Error> {
    if opaque::check_upload(&upload).is_err() {
        return Ok(Effect::refuse(Refusal::Denied));
    }
    let (name, user_id) = (context.account.clone(), context.user_id);
    let record = Record::encode(&AccountRecord { name: name.clone(), user_id, credential, upload, wrap })?;
    let transaction = Transaction {
        guards: vec![context.guard()],
        changes: vec![Change::ReplaceCredential { name, user_id, credential, record }],
        audit: Some(context.audit(Action::ChangePassword, true, vec![])),
        otherwise: None,
    };
    let reply = AnyReply::ChangePassword(Reply::Changed);
    Ok(Effect { credential: Becomes::Changed(credential), ..Effect::write(transaction, reply) })
}
