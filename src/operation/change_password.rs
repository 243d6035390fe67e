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
use crate::client::{Amend, Amending, CHANGE, ClientSession, Exchange, Line, Next, Operation, Unsettled};
use crate::error::{Error, PeerFault};
use crate::head::SealedHead;
use crate::message::{ServerMessage, Wrap};
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
        /// The vault's next head, which names the new wrap.
        head: Box<SealedHead>,
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

use crate::client::Established;
use crate::vault::chain::{Head, HeadChange, credential_tag};

/// A change of password under way, on the client's side.
pub struct ChangePassword(State);

enum State {
    Started(Started),
    Finishing(Amending<NewCredential>),
}

/// Between the new password and its evaluation.
struct Started {
    session: Established,
    line: Line,
    tip: Arc<Head>,
    seed: Key,
    registration: opaque::Registration,
}

/// The change that puts a new wrap in the old one's place.
#[doc(hidden)]
pub struct NewCredential {
    upload: Box<Upload>,
    wrap: Wrap,
    change: HeadChange,
}

impl ClientSession {
    /// Starts to change the account's password to `password`, 1 to 4,096 bytes, under the policy's first profile. All
    /// secrets stay as they are: the same vault key is wrapped anew. This session goes on; every other session of the
    /// account ends at its next request that touches the store. [`ClientSession::settle`] what it gives.
    ///
    /// Needs a recent login ([`crate::Refusal::LoginTooOld`]). Of two devices that change it at once, one wins; the
    /// other gets [`crate::Refusal::SessionEnded`]. A crash leaves exactly one password that works: if no answer came, or
    /// the session ended on the way, try both. An answer runs Argon2 in [`Exchange::receive`].
    ///
    /// The old password, with an old copy of the server's record, still opens the vault key. A server that shows the old
    /// record to somebody with the new vault head is found out ([`crate::VaultFault::Credential`]).
    ///
    /// # Errors
    /// [`crate::CallerFault::PasswordLength`], [`crate::CallerFault::SequenceExhausted`],
    /// [`crate::CallerFault::Unsettled`], [`crate::CallerFault::VaultClosed`].
    pub fn change_password(
        &mut self,
        password: impl AsRef<[u8]>,
        rng: &mut impl CryptoRng,
    ) -> Result<Exchange<ChangePassword>, Error> {
        let input = self.established().config.password_input(password.as_ref())?;
        let tip = Arc::clone(self.open_tip()?);
        let (session, line) = (self.established().clone(), self.vault_line(CHANGE)?);
        let seed = opaque::seed(rng);
        let (registration, blinded) = opaque::Registration::start(&mut Draw::new(&seed, b"request")?, input)?;
        let message = line.send(&AnyRequest::ChangePassword(Request::Start { blinded }))?;
        let started = Started { session, line, tip, seed, registration };
        Ok(Exchange::new(ChangePassword(State::Started(started)), message))
    }
}

impl Operation for ChangePassword {
    type Output = Unsettled<()>;

    fn advance(&self, message: ServerMessage) -> Result<Next<Self>, Error> {
        match &self.0 {
            State::Started(started) => match started.line.receive(message)? {
                AnyReply::Refused(refusal) => Ok(Next::Done(Err(refusal))),
                AnyReply::ChangePassword(Reply::Evaluated { evaluated }) => started.upload(&evaluated),
                _ => Err(PeerFault::OutOfOrder.into()),
            },
            State::Finishing(finishing) => Ok(match finishing.advance(message)? {
                Next::Send(finishing, message) => Next::Send(Self(State::Finishing(finishing)), message),
                Next::Done(outcome) => Next::Done(outcome),
            }),
        }
    }
}

impl Started {
    /// Finishes OPAQUE's registration and wraps the session's vault key under the new `export_key`.
    fn upload(&self, evaluated: &Evaluated) -> Result<Next<ChangePassword>, Error> {
        let Established { config, vault, server_key, .. } = &self.session;
        let profile = config.policy.profile(0).ok_or(PeerFault::OutOfOrder)?;
        let draw = &mut Draw::new(&self.seed, b"upload")?;
        let result = self.registration.finish(draw, evaluated, config.identity(), profile)?;
        // Rule 4: the server that is registered with is the one that was logged in to.
        if result.server_key != *server_key {
            return Err(PeerFault::WrongServerKey.into());
        }
        let wrap = vault.wrap(&result.export_key)?;
        let change = HeadChange::Credential(credential_tag(&wrap));
        let new = NewCredential { upload: result.upload, wrap, change };
        let (vault, tip) = (Arc::clone(vault), Arc::clone(&self.tip));
        let (finishing, message) = Amending::begin(self.line.next()?, vault, tip, new)?;
        Ok(Next::Send(ChangePassword(State::Finishing(finishing)), message))
    }
}

impl Amend for NewCredential {
    type Output = ();

    fn change(&self) -> &HeadChange {
        &self.change
    }

    fn request(&self, head: Box<SealedHead>) -> AnyRequest {
        AnyRequest::ChangePassword(Request::Finish { upload: self.upload.clone(), wrap: self.wrap, head })
    }

    fn output(&self, reply: AnyReply, _: bool) -> Result<(), Error> {
        match reply {
            AnyReply::ChangePassword(Reply::Changed) => Ok(()),
            _ => Err(PeerFault::OutOfOrder.into()),
        }
    }
}

impl fmt::Debug for NewCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewCredential(..)")
    }
}

impl fmt::Debug for ChangePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChangePassword(..)")
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
            Self::Finish { upload, wrap, head } => match context.offered {
                Some(credential) => replace(context, credential, (upload, wrap), &head),
                None => Ok(Effect::refuse(Refusal::Denied)),
            },
        }
    }
}

/// Rule 5: a fresh credential identifier, which stays in the session and is evaluated once.
fn evaluate(context: &Context<'_>, blinded: &Blinded) -> Result<Effect, Error> {
    let credential = CredentialId::from_bytes(context.draw()?);
    match context.server.setup().evaluate(blinded, &credential) {
        Ok(evaluated) => {
            let reply = AnyReply::ChangePassword(Reply::Evaluated { evaluated });
            Ok(Effect { credential: Becomes::Offered(credential), ..Effect::reply(reply) })
        }
        Err(_) => Ok(Effect::refuse(Refusal::Denied)),
    }
}

/// The one write: the account has the new record, if it still has the credential that this session logged in with.
fn replace(
    context: &Context<'_>,
    credential: CredentialId,
    (upload, wrap): (Box<Upload>, Wrap),
    head: &SealedHead,
) -> Result<Effect, Error> {
    if opaque::check_upload(&upload).is_err() {
        return Ok(Effect::refuse(Refusal::Denied));
    }
    let (name, user_id) = (context.account.clone(), context.user_id);
    let record = Record::encode(&AccountRecord { name: name.clone(), user_id, credential, upload, wrap })?;
    let transaction = Transaction {
        advance: None,
        guards: vec![context.guard()],
        changes: vec![Change::ReplaceCredential { name, user_id, credential, record }, context.append(head)?],
        audit: Some(context.audit(Action::ChangePassword, true, vec![])),
        otherwise: None,
    };
    let reply = AnyReply::ChangePassword(Reply::Changed);
    Ok(Effect { credential: Becomes::Changed(credential), ..Effect::write(transaction, reply) })
}
