//! Register: two exchanges, one transaction that makes the whole account (`docs/protocol.md`, "Register").

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use core::fmt;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use crate::client::{Client, Exchange, Next, Operation};
use crate::error::{Error, PeerFault};
use crate::head::{SealedHead, VaultPin};
use crate::id::{ServerKey, SessionId, UserId};
use crate::message::{ClientMessage, RegistrationTranscript, ServerMessage};
use crate::secret::Key;
use crate::suite::{Draw, opaque};

// --- client half ---------------------------------------------------------------------------------------

use crate::client::{Config, check_session, head_nonce};
use crate::vault::Vault;

/// A registration under way, on the client's side.
pub struct Register(State);

enum State {
    Requested { config: Arc<Config>, seed: Key, registration: opaque::Registration, request: Box<ClientMessage> },
    Uploaded { session_id: SessionId, registered: Registered },
}

/// What a registration gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The new account's user ID.
    pub user_id: UserId,
    /// The server's public key: keep it on the device, for [`Client::pin_server_key`].
    pub server_key: ServerKey,
    /// The empty vault: keep it on the device, for [`Client::log_in`].
    pub pin: VaultPin,
}

impl Client {
    /// Starts to register the account, with a password of 1 to 4,096 bytes and the policy's first profile.
    ///
    /// **Precondition: the messages cross a channel that authenticates the server and keeps secrets, such as TLS**
    /// (RFC 9807, section 3.2 requires it). Everything after registration protects itself.
    ///
    /// An answer to the first message runs Argon2 in [`Exchange::receive`]. A crash on the way leaves either no account
    /// or a whole one: try to log in if the last message was sent and no answer came.
    ///
    /// # Errors
    /// [`crate::CallerFault::PasswordLength`].
    pub fn register(&self, password: impl AsRef<[u8]>, rng: &mut impl CryptoRng) -> Result<Exchange<Register>, Error> {
        let config = Arc::clone(self.config());
        let input = config.password_input(password.as_ref())?;
        let seed = opaque::seed(rng);
        let (registration, blinded) = opaque::Registration::start(&mut Draw::new(&seed, b"request")?, input)?;
        let message = ClientMessage::RegistrationRequest { account: config.account.clone(), blinded };
        let request = Box::new(message.clone());
        Ok(Exchange::new(Register(State::Requested { config, seed, registration, request }), message))
    }
}

impl Operation for Register {
    type Output = Registered;

    fn advance(&self, message: ServerMessage) -> Result<Next<Self>, Error> {
        match &self.0 {
            State::Requested { config, seed, registration, request } => {
                let session_id = request.session_id()?;
                check_session(&message, session_id)?;
                let (upload, registered) = upload(config, seed, registration, request, &message)?;
                Ok(Next::Send(Self(State::Uploaded { session_id, registered }), upload))
            }
            State::Uploaded { session_id, registered } => {
                check_session(&message, *session_id)?;
                match message {
                    ServerMessage::Registered { .. } => Ok(Next::Done(Ok(*registered))),
                    ServerMessage::Refused { refusal, .. } => Err(PeerFault::Refused(refusal).into()),
                    _ => Err(PeerFault::OutOfOrder.into()),
                }
            }
        }
    }
}

/// Finishes OPAQUE's registration, makes the vault key and wraps it under `export_key`.
fn upload(
    config: &Config,
    seed: &Key,
    registration: &opaque::Registration,
    request: &ClientMessage,
    response: &ServerMessage,
) -> Result<(ClientMessage, Registered), Error> {
    let (session_id, user_id, evaluated) = match response {
        ServerMessage::RegistrationResponse { session_id, user_id, evaluated } => (*session_id, *user_id, evaluated),
        ServerMessage::Refused { refusal, .. } => return Err(PeerFault::Refused(*refusal).into()),
        _ => return Err(PeerFault::OutOfOrder.into()),
    };
    let profile = config.policy.profile(0).ok_or(PeerFault::OutOfOrder)?;
    let draw = &mut Draw::new(seed, b"upload")?;
    let result = registration.finish(draw, evaluated, config.identity(), profile)?;
    if !config.accepts(&result.server_key) {
        return Err(PeerFault::WrongServerKey.into());
    }
    let (vault, wrap) = Vault::create(&result.export_key, user_id, draw)?;
    let head = Box::new(vault.first_head(&wrap, head_nonce(session_id, 1))?);
    let registered = Registered { user_id, server_key: result.server_key, pin: head.pin() };
    let transcript = RegistrationTranscript::new(&config.server_identity, request, response)?.with_upload(
        &result.upload,
        &wrap,
        &head,
    );
    let message = ClientMessage::RegistrationUpload { session_id, upload: result.upload, wrap, head, transcript };
    Ok((message, registered))
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Register(..)")
    }
}

// --- server half ---------------------------------------------------------------------------------------

use subtle::ConstantTimeEq;

use crate::id::{AccountName, CredentialId, Timestamp};
use crate::message::{Fingerprint, Wrap};
use crate::server::Server;
use crate::storage::{AccountRecord, Action, AuditEntry, Change, Record, Transaction};
use crate::suite::opaque::Upload;

/// A registration under way, on the server's side. The user ID and the credential identifier stay here: they are
/// never taken from the upload.
#[derive(Serialize, Deserialize)]
pub(crate) struct Registering {
    account: AccountName,
    user_id: UserId,
    credential: CredentialId,
    transcript: RegistrationTranscript,
    pub(crate) until: Timestamp,
}

/// Answers a registration request: nothing is read and nothing is written.
///
/// Rule 5: the fresh credential identifier makes the evaluation useless against any account.
pub(crate) fn serve_request(
    server: &Server,
    draw: &mut Draw,
    now: Timestamp,
    request: &ClientMessage,
) -> Result<(Registering, ServerMessage), Error> {
    let ClientMessage::RegistrationRequest { account, blinded } = request else {
        return Err(PeerFault::OutOfOrder.into());
    };
    let session_id = request.session_id()?;
    let user_id = UserId::from_bytes(draw.bytes());
    let credential = CredentialId::from_bytes(draw.bytes());
    let evaluated = server.setup().evaluate(blinded, &credential)?;
    let response = ServerMessage::RegistrationResponse { session_id, user_id, evaluated };
    let transcript = RegistrationTranscript::new(server.identity(), request, &response)?;
    let until = now.after(server.policy().handshake_timeout);
    Ok((Registering { account: account.clone(), user_id, credential, transcript, until }, response))
}

impl Registering {
    /// The name that is asked for.
    pub(crate) fn account(&self) -> &AccountName {
        &self.account
    }

    /// Checks the upload and composes the one transaction that makes the account.
    pub(crate) fn serve_upload(
        &self,
        (session_id, request): (SessionId, Fingerprint),
        now: Timestamp,
        (upload, wrap, head): (Box<Upload>, Wrap, &SealedHead),
        transcript: [u8; 32],
    ) -> Result<Transaction, Error> {
        if !bool::from(self.transcript.with_upload(&upload, &wrap, head).ct_eq(&transcript)) {
            return Err(PeerFault::Transcript.into());
        }
        opaque::check_upload(&upload)?;
        if head.epoch() != 0 {
            return Err(PeerFault::Undecodable.into());
        }
        let (user_id, credential) = (self.user_id, self.credential);
        let record = Record::encode(&AccountRecord { name: self.account.clone(), user_id, credential, upload, wrap })?;
        let (name, head) = (self.account.clone(), Record::encode(head)?);
        Ok(Transaction {
            advance: None,
            guards: vec![],
            changes: vec![Change::CreateAccount { name, user_id, credential, record, head }],
            audit: Some(AuditEntry {
                user_id,
                session_id,
                sequence: 1,
                request,
                at: now,
                action: Action::Register,
                granted: true,
                key_ids: vec![],
            }),
            otherwise: None,
        })
    }
}
