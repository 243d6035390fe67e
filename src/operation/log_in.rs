//! Log in: two exchanges; the attempt is charged before KE2 leaves (`docs/protocol.md`, "Authenticate").

use alloc::sync::Arc;
use alloc::vec;
use core::fmt;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

use super::Reply;
use crate::client::{Client, ClientSession, Exchange, Next, Operation};
use crate::error::{Error, PeerFault};
use crate::id::{ServerKey, SessionId, Timestamp, UserId};
use crate::message::{ClientMessage, FrameKeys, ServerMessage, Wrap};
use crate::secret::Key;
use crate::suite::{Draw, KsfProfile, opaque};

/// The reply to a granted login: the first thing of the vault that leaves the server, sealed in a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Whose account it is.
    pub user_id: UserId,
    /// The vault key, sealed under a key from `export_key`, 48 bytes.
    #[serde(with = "BigArray")]
    pub wrap: [u8; 48],
    /// When the session ends at the latest.
    pub expires: Timestamp,
}

// --- client half ---------------------------------------------------------------------------------------

use super::heads::{Follow, Followed};
use crate::client::{Config, Established, Line, check_session};
use crate::error::VaultFault;
use crate::head::{VaultPin, VaultTrust};
use crate::secret::SecretBytes;
use crate::suite::opaque::LongKey;
use crate::vault::Vault;

/// A login under way, on the client's side.
pub struct LogIn(State);

enum State {
    Requested(Attempt),
    Finishing(Finishing),
    Entering(Entering),
}

/// One attempt, under one profile of the policy.
struct Attempt {
    config: Arc<Config>,
    pin: Option<VaultPin>,
    seed: Arc<Key>,
    number: u8,
    profile: KsfProfile,
    session_id: SessionId,
    login: opaque::Login,
}

/// Between KE3 and the Welcome.
struct Finishing {
    config: Arc<Config>,
    pin: Option<VaultPin>,
    line: Line,
    export_key: LongKey,
    server_key: ServerKey,
    profile: KsfProfile,
}

/// In the session, on the way to the vault's newest head.
struct Entering {
    established: Established,
    wrap: Wrap,
    follow: Follow,
}

impl Client {
    /// Starts to log in. Gives a [`ClientSession`] with the person's vault opened, and its chain of heads followed from
    /// `pin` to the newest.
    ///
    /// `pin` is what the device kept of this vault: [`ClientSession::pin`] of an earlier session, or
    /// [`crate::Registered::pin`]. [`VaultFault::RolledBack`] and [`VaultFault::Forked`] say that the server shows an older
    /// vault or another history. **Without a pin, a vault that was put back whole can't be told from the newest**
    /// ([`VaultTrust::FirstUse`]). [`VaultFault::Credential`] says that the account's record, which the password fits, is not
    /// the newest.
    ///
    /// The answer to a login request runs Argon2 in [`Exchange::receive`]. Under a policy of several profiles, a failed
    /// attempt goes on with the next profile: a new message, a new session ID, one more charged attempt.
    ///
    /// [`PeerFault::LoginFailed`] says that the password is wrong, or the account unknown, or the answer not the
    /// server's: OPAQUE can't tell. [`crate::Refusal::TryAgainAt`] says that too many attempts failed: start a new
    /// login then, since the same message gets the same refusal.
    ///
    /// # Errors
    /// [`crate::CallerFault::PasswordLength`].
    pub fn log_in(
        &self,
        password: impl AsRef<[u8]>,
        pin: Option<VaultPin>,
        rng: &mut impl CryptoRng,
    ) -> Result<Exchange<LogIn>, Error> {
        let config = Arc::clone(self.config());
        let input = config.password_input(password.as_ref())?;
        let seed = Arc::new(opaque::seed(rng));
        let profile = config.policy.profile(0).ok_or(PeerFault::OutOfOrder)?;
        let (attempt, message) = Attempt::start(config, pin, seed, input, (0, profile))?;
        Ok(Exchange::new(LogIn(State::Requested(attempt)), message))
    }
}

impl Attempt {
    fn start(
        config: Arc<Config>,
        pin: Option<VaultPin>,
        seed: Arc<Key>,
        input: Arc<SecretBytes>,
        (number, profile): (u8, KsfProfile),
    ) -> Result<(Self, ClientMessage), Error> {
        let (login, ke1) = opaque::Login::start(&mut step(&seed, b"KE1", number)?, input)?;
        let message = ClientMessage::LoginRequest { account: config.account.clone(), profile, ke1 };
        let session_id = message.session_id()?;
        Ok((Self { config, pin, seed, number, profile, session_id, login }, message))
    }

    /// The attempt under the policy's next profile, if it has one.
    fn next(&self) -> Option<Result<(Self, ClientMessage), Error>> {
        let number = self.number.checked_add(1)?;
        let profile = self.config.policy.profile(usize::from(number))?;
        let (config, seed) = (Arc::clone(&self.config), Arc::clone(&self.seed));
        Some(Self::start(config, self.pin, seed, self.login.input(), (number, profile)))
    }

    fn finish(&self, message: &ServerMessage) -> Result<(Finishing, ClientMessage), Error> {
        let ke2 = match message {
            ServerMessage::LoginResponse { ke2, .. } => ke2,
            ServerMessage::Refused { refusal, .. } => return Err(PeerFault::Refused(*refusal).into()),
            _ => return Err(PeerFault::OutOfOrder.into()),
        };
        let draw = &mut step(&self.seed, b"KE3", self.number)?;
        let result = self.login.finish(draw, ke2, self.config.identity(), self.profile)?;
        // Rule 4: another server's KE3 is never sent.
        if !self.config.accepts(&result.server_key) {
            return Err(PeerFault::WrongServerKey.into());
        }
        let message = ClientMessage::LoginFinish { session_id: self.session_id, ke3: result.ke3 };
        let keys = Arc::new(FrameKeys::derive(&result.session_key)?);
        let finishing = Finishing {
            config: Arc::clone(&self.config),
            pin: self.pin,
            line: Line::new(self.session_id, keys, LOGIN_SEQUENCE, u64::MAX),
            export_key: result.export_key,
            server_key: result.server_key,
            profile: self.profile,
        };
        Ok((finishing, message))
    }
}

/// What a step of the attempt `number` draws.
fn step(seed: &Key, name: &[u8], number: u8) -> Result<Draw, Error> {
    Draw::new(seed, &[name, &[number]].concat())
}

impl Operation for LogIn {
    type Output = ClientSession;

    fn advance(&self, message: ServerMessage) -> Result<Next<Self>, Error> {
        match &self.0 {
            State::Requested(attempt) => {
                check_session(&message, attempt.session_id)?;
                match attempt.finish(&message) {
                    Ok((finishing, message)) => Ok(Next::Send(Self(State::Finishing(finishing)), message)),
                    Err(Error::Peer(PeerFault::LoginFailed)) => {
                        let (attempt, message) = attempt.next().ok_or(PeerFault::LoginFailed)??;
                        Ok(Next::Send(Self(State::Requested(attempt)), message))
                    }
                    Err(error) => Err(error),
                }
            }
            State::Finishing(finishing) => finishing.welcome(message),
            State::Entering(entering) => entering.heads(message),
        }
    }
}

impl Finishing {
    /// Opens the vault key, and asks for the vault's heads.
    fn welcome(&self, message: ServerMessage) -> Result<Next<LogIn>, Error> {
        let Welcome { user_id, wrap, expires } = match self.line.receive(message)? {
            Reply::Welcome(welcome) => welcome,
            Reply::Refused(refusal) => return Ok(Next::Done(Err(refusal))),
            _ => return Err(PeerFault::OutOfOrder.into()),
        };
        let established = Established {
            session_id: self.line.session_id(),
            keys: Arc::clone(self.line.keys()),
            vault: Arc::new(Vault::unwrap(&self.export_key, user_id, &wrap)?),
            trust: if self.pin.is_some() { VaultTrust::Pinned } else { VaultTrust::FirstUse },
            server_key: self.server_key,
            profile: self.profile,
            expires,
            config: Arc::clone(&self.config),
        };
        let follow = Follow::from(self.line.next()?, Arc::clone(&established.vault), self.pin);
        let message = follow.ask()?;
        Ok(Next::Send(LogIn(State::Entering(Entering { established, wrap, follow })), message))
    }
}

impl Entering {
    /// The session begins once the newest head is reached, and is of the record that was logged in with.
    fn heads(&self, message: ServerMessage) -> Result<Next<LogIn>, Error> {
        let Self { established, wrap, follow } = self;
        let (established, wrap) = (established.clone(), *wrap);
        match follow.receive(message, None)? {
            Followed::More(follow, message) => {
                Ok(Next::Send(LogIn(State::Entering(Self { established, wrap, follow: *follow })), message))
            }
            Followed::Refused(refusal) => Ok(Next::Done(Err(refusal))),
            Followed::Done { head, .. } if !head.has_credential(&wrap) => Err(VaultFault::Credential.into()),
            Followed::Done { line, head, .. } => {
                Ok(Next::Done(Ok(ClientSession::new(established, head, line.after()))))
            }
        }
    }
}

impl fmt::Debug for LogIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogIn(..)")
    }
}

// --- server half ---------------------------------------------------------------------------------------

use crate::error::RecordName;
use crate::id::{AccountName, CounterId, CredentialId};
use crate::message::Fingerprint;
use crate::server::{Open, Server};
use crate::storage::{AccountQuery, Action, AuditEntry, Change, Found, Guard, Transaction};
use crate::suite::opaque::{AwaitedLogin, CheckedKe1, Ke1, Ke3};
use crate::suite::{label, sha256};

/// The login's place in its session's numbering: its reply is sealed under this number, requests begin after it.
const LOGIN_SEQUENCE: u64 = 1;

/// A login request that waits for its account to be read.
pub(crate) struct Requested {
    query: AccountQuery,
    profile: KsfProfile,
    ke1: CheckedKe1,
}

/// A login between KE2 and KE3.
#[derive(Serialize, Deserialize)]
pub(crate) struct AwaitingKe3 {
    login: AwaitedLogin,
    account: AccountName,
    user_id: UserId,
    credential: CredentialId,
    #[serde(with = "BigArray")]
    wrap: Wrap,
    counter: CounterId,
    window_ends: Timestamp,
    attempts_spent: u32,
    pub(crate) until: Timestamp,
}

impl Requested {
    /// Takes a login request. KE1 is validated before anything is read for it.
    pub(crate) fn new(account: AccountName, profile: KsfProfile, ke1: &Ke1) -> Result<Self, Error> {
        Ok(Self { query: AccountQuery::new(account), profile, ke1: CheckedKe1::decode(ke1)? })
    }

    pub(crate) fn query(&self) -> &AccountQuery {
        &self.query
    }

    /// Makes KE2, and the transaction that charges the attempt before KE2 leaves.
    ///
    /// Rule 8: a name without an account takes the same path, with a record that nobody has the password of and a
    /// credential identifier that stays the same for the name.
    pub(crate) fn serve(
        self,
        server: &Server,
        draw: &mut Draw,
        session_id: SessionId,
        now: Timestamp,
        found: Found,
    ) -> Result<(AwaitingKe3, Transaction, ServerMessage), Error> {
        let account = self.query.name();
        let found = found.account(&self.query, server.dummy())?;
        let unknown = CredentialId::from_bytes(sha256(&[label::UNKNOWN_ACCOUNT, account.as_bytes()]));
        let credential = if found.exists { found.record.credential } else { unknown };
        let identity = opaque::Identity { account, server: server.identity() };
        // KE1 was checked: only the record can be at fault now.
        let (login, ke2) = server
            .setup()
            .start_login(draw, &found.record.upload, self.ke1, &credential, identity, self.profile)
            .map_err(|_| Error::stored(RecordName::Account(account.clone()), "holds an invalid upload"))?;
        let policy = server.policy();
        let counter = self.query.counter();
        let window_ends = policy.window_ends(&counter, now);
        let charge = Change::ChargeAttempt { counter, window_ends, limit: policy.attempt_limit };
        let awaiting = AwaitingKe3 {
            login,
            account: account.clone(),
            user_id: found.record.user_id,
            credential,
            wrap: found.record.wrap,
            counter,
            window_ends,
            attempts_spent: found.attempts.unseen,
            until: now.after(policy.handshake_timeout),
        };
        let transaction =
            Transaction { advance: None, guards: vec![], changes: vec![charge], audit: None, otherwise: None };
        Ok((awaiting, transaction, ServerMessage::LoginResponse { session_id, ke2 }))
    }
}

impl AwaitingKe3 {
    /// The name that is claimed.
    pub(crate) fn account(&self) -> &AccountName {
        &self.account
    }

    /// Compares KE3 with what is expected, opens the session, and composes the transaction that gives the charge back.
    /// A wrong KE3 is an error and writes nothing.
    pub(crate) fn serve(
        &self,
        server: &Server,
        (session_id, request): (SessionId, Fingerprint),
        now: Timestamp,
        ke3: &Ke3,
    ) -> Result<(Open, Transaction, Reply), Error> {
        let session_key = self.login.finish(ke3)?;
        let (user_id, credential) = (self.user_id, self.credential);
        let keys = FrameKeys::derive(&session_key)?;
        let open = Open::new(server.policy(), self.account.clone(), user_id, credential, keys, now);
        let welcome = Welcome { user_id, wrap: self.wrap, expires: open.expires() };
        let transaction = Transaction {
            advance: None,
            guards: vec![Guard::Credential { user_id, credential }],
            changes: vec![Change::RefundAttempt {
                counter: self.counter,
                window_ends: self.window_ends,
                seen: self.attempts_spent.saturating_add(1),
            }],
            audit: Some(AuditEntry {
                user_id,
                session_id,
                sequence: LOGIN_SEQUENCE,
                request,
                at: now,
                action: Action::LogIn { attempts_spent: self.attempts_spent },
                granted: true,
                key_ids: vec![],
            }),
            otherwise: None,
        };
        Ok((open, transaction, Reply::Welcome(welcome)))
    }
}
