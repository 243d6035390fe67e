//! The server under the attacker's control: an honest one, whose answers can be read and exchanged.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::client::{Client, ClientPolicy, ClientSession, Exchange, Operation};
use crate::codec::decode;
use crate::error::Error;
use crate::header::SealedSecret;
use crate::id::{AccountName, KeyId, SessionId, Timestamp, UserId};
use crate::message::{ClientMessage, Frame, ServerMessage};
use crate::operation::{Reply, Request};
use crate::server::{Server, ServerPolicy, ServerSetup};
use crate::storage::SecretRecord;
use crate::suite::KsfProfile;
use crate::testing::hostile::{Stop, Verdict, fail, forge};
use crate::testing::{InMemoryServer, MemoryStore};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// After so many messages for one act, there is no answer any more.
const ENDLESS: usize = 1000;

pub(super) struct World {
    pub(super) server: InMemoryServer<MemoryStore>,
    pub(super) rng: ChaCha20Rng,
    pub(super) identity: Vec<u8>,
    /// The profile of the last login request.
    pub(super) profile: KsfProfile,
    /// How many KE3 and how many registration requests came.
    pub(super) finishes: usize,
    pub(super) registrations: usize,
    /// Each request that begins a new secret.
    pub(super) generations: BTreeSet<(SessionId, u64)>,
    /// Each key ID that was to be stored.
    pub(super) proposed: BTreeSet<KeyId>,
    /// The messages of this act.
    asked: usize,
    /// The last answer that was given.
    pub(super) last: Option<ServerMessage>,
}

impl World {
    pub(super) fn new(identity: &[u8], seed: u64) -> Verdict<Self> {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let long = Duration::from_secs(1_000_000);
        // Nothing of what is played here is a question of time or of attempts.
        let policy = ServerPolicy {
            attempt_limit: u32::MAX,
            recent_login: long,
            idle_timeout: long,
            session_lifetime: long,
            ..ServerPolicy::default()
        };
        let server = Server::new(ServerSetup::generate(&mut rng)?, identity, policy)?;
        let server = InMemoryServer::new(server, MemoryStore::new(), seed.wrapping_add(0x5eed));
        let (profile, identity) = (KsfProfile::CHEAP_FOR_TESTS, identity.to_vec());
        let (generations, proposed) = (BTreeSet::new(), BTreeSet::new());
        Ok(Self {
            server,
            rng,
            identity,
            profile,
            finishes: 0,
            registrations: 0,
            generations,
            proposed,
            asked: 0,
            last: None,
        })
    }

    /// A new act begins.
    pub(super) fn begin(&mut self) {
        self.asked = 0;
    }

    pub(super) fn is_endless(&self) -> bool {
        self.asked > ENDLESS
    }

    /// Takes note of a message of the program's.
    pub(super) fn note(&mut self, bytes: &[u8]) {
        self.asked = self.asked.saturating_add(1);
        match ClientMessage::decode(bytes) {
            Ok(ClientMessage::RegistrationRequest { .. }) => self.registrations = self.registrations.saturating_add(1),
            Ok(ClientMessage::LoginRequest { profile, .. }) => self.profile = profile,
            Ok(ClientMessage::LoginFinish { .. }) => self.finishes = self.finishes.saturating_add(1),
            Ok(ClientMessage::Frame(frame)) => match self.request(bytes) {
                Some(Request::Generate(_)) => {
                    self.generations.insert((frame.session_id, frame.sequence));
                }
                Some(Request::Store(store)) => {
                    self.proposed.extend(store.secrets.iter().map(|secret| secret.header.key_id()));
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// The honest answer.
    pub(super) fn honest(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.is_endless() {
            return None;
        }
        let answer = self.server.handle(bytes, NOW).ok()?;
        self.last = ServerMessage::decode(&answer).ok();
        Some(answer)
    }

    /// What a frame of the program's asks for.
    pub(super) fn request(&self, bytes: &[u8]) -> Option<Request> {
        let message = ClientMessage::decode(bytes).ok()?;
        let session = self.server.sessions.get(&message.session_id().ok()?)?;
        forge::open_request(session, message).ok()
    }

    /// This reply, sealed in answer to a frame, `ahead` of the frame's number.
    pub(super) fn sealed<T: serde::Serialize>(&self, bytes: &[u8], ahead: u64, reply: &T) -> Option<Vec<u8>> {
        let ClientMessage::Frame(Frame { session_id, sequence, .. }) = ClientMessage::decode(bytes).ok()? else {
            return None;
        };
        let session = self.server.sessions.get(&session_id)?;
        forge::sealed(session, session_id, sequence.checked_add(ahead)?, reply).ok()?.encode().ok()
    }

    /// The honest answer with its reply changed, if it has one: handshake messages are left as they are.
    pub(super) fn altered(&mut self, bytes: &[u8], change: impl FnOnce(&mut Reply)) -> Option<Vec<u8>> {
        let honest = self.honest(bytes)?;
        let message = ServerMessage::decode(&honest).ok()?;
        let ServerMessage::Frame(Frame { session_id, sequence, .. }) = &message else { return Some(honest) };
        let (session_id, sequence) = (*session_id, *sequence);
        let session = self.server.sessions.get(&session_id)?;
        let mut reply = forge::open_reply(session, message).ok()?;
        change(&mut reply);
        forge::reply(session, session_id, sequence, &reply).ok()?.encode().ok()
    }

    /// A client of the attacker's own, for any account.
    fn client(&self, account: &str) -> Verdict<Client> {
        let policy = ClientPolicy::new([self.profile])?;
        Ok(Client::new(AccountName::new(account)?, &self.identity, policy)?)
    }

    /// Runs an exchange of the attacker's own.
    pub(super) fn run<O: Operation>(&mut self, mut exchange: Exchange<O>) -> Result<O::Output, Error> {
        loop {
            let bytes = exchange.message().encode()?;
            let answer = self.server.handle(&bytes, NOW).map_err(|error| match error {
                crate::testing::DriveError::Protocol(error) => error,
                crate::testing::DriveError::Store(never) => match never {},
            })?;
            if let Some(outcome) = exchange.receive(ServerMessage::decode(&answer)?)? {
                return Ok(outcome?);
            }
        }
    }

    /// Makes an account of the attacker's own.
    pub(super) fn enrol(&mut self, account: &str, password: &str) -> Verdict {
        let exchange = self.client(account)?.register(password, &mut self.rng)?;
        self.run(exchange)?;
        Ok(())
    }

    /// A session of the attacker's own.
    pub(super) fn log_in(&mut self, account: &str, password: &str) -> Result<ClientSession, Stop> {
        let exchange = self.client(account)?.log_in(password, None, &mut self.rng)?;
        Ok(self.run(exchange)?)
    }

    /// Stores a secret in a session of the attacker's own.
    pub(super) fn secret(&mut self, session: &mut ClientSession) -> Verdict<KeyId> {
        let exchange = session.generate(&[crate::Kind::Bytes(32)], &mut self.rng)?;
        let pending = self.run(exchange)?;
        let exchange = session.store(&pending)?;
        let stored = self.run(exchange)?;
        let stored = session.settle(stored)?;
        stored.first().map_or_else(|| fail("nothing was stored"), |secret| Ok(secret.key_id))
    }

    pub(super) fn has_account(&self, account: &str) -> bool {
        AccountName::new(account).is_ok_and(|name| self.server.store.accounts.contains_key(&name))
    }

    /// A record as it is stored.
    pub(super) fn record(&self, user_id: UserId, key_id: KeyId) -> Verdict<SealedSecret> {
        let record = self.server.store.secrets.get(&(user_id, key_id)).map(|bytes| decode::<SecretRecord>(bytes));
        match record {
            Some(Ok(SecretRecord::Live(secret))) => Ok(secret),
            _ => fail("the secret isn't stored"),
        }
    }
}

/// What the attacker answers a message with.
pub(super) type Lie<'a> = dyn FnMut(&mut World, &[u8]) -> Option<Vec<u8>> + 'a;

/// No lie.
pub(super) fn honest(world: &mut World, bytes: &[u8]) -> Option<Vec<u8>> {
    world.honest(bytes)
}

/// Names a lie that changes replies.
pub(super) fn changing<'a>(mut change: impl FnMut(&mut Reply) + 'a) -> Box<Lie<'a>> {
    Box::new(move |world, bytes| world.altered(bytes, &mut change))
}
