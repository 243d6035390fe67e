//! Target `decode`: records as a store gives them back, stored sessions, and what is in frames. They are read by the server
//! alone, so a server reads them here; what it must make of them is said by their layouts (`docs/protocol.md`).

use core::cell::RefCell;

use keystow::operation::{Reply, Request, heads, retrieve};
use keystow::storage::{Outcome, Query, Standing, StoredSession};
use keystow::testing::{InMemoryServer, MemoryStore, Store, converse, hostile};
use keystow::{
    AccountName, Client, ClientMessage, ClientPolicy, ClientSession, CredentialId, Error, FleetKey, Header, KeyId,
    Kind, KsfProfile, OpaqueMessage, PeerFault, RecordName, Refusal, SealedHead, SealedSecret, Server, ServerMessage,
    ServerPolicy, ServerSession, ServerSetup, SessionId, Step, StoredFault, Timestamp, UserId,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::decoding::{bounded, canonical};
use super::deployment::IDENTITY;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// The version byte of every record.
const VERSION: u8 = 1;
/// Of the stored session: so many steps.
const STEPS: u64 = 5;
/// The number of a request or reply that the session has not seen yet.
const NEXT: u64 = 1 << 40;

/// A server, and an account's session with it: a device's half, and the server's, sealed.
pub struct World {
    pub client: ClientSession,
    server: Server,
    store: MemoryStore,
    key: FleetKey,
    session_id: SessionId,
    stored: StoredSession,
    login: ClientMessage,
    /// A fleet's session in a step, which waits for its outcome.
    step: (SessionId, StoredSession),
    /// What was in sessions.
    plain: Vec<(&'static str, Vec<u8>)>,
}

/// An account's record: its name, its user and credential, OPAQUE's upload, the wrap of 48 bytes.
type Account = (AccountName, UserId, CredentialId, OpaqueMessage<192>, [u8; 32], [u8; 16]);

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

pub fn with_world<T>(run: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(run)
}

/// Any bytes as a record, as a stored session, as the contents of a frame.
pub fn decode(data: &[u8]) {
    with_world(|world| {
        world.frames(data);
        world.resolution(data);
        world.session(data);
        if data.first() == Some(&VERSION) {
            world.account(data);
            world.secret(data);
            world.head(data);
        }
    });
}

/// What was written so, and nothing else: decoded here by its layout.
fn laid_out<T: Serialize + DeserializeOwned>(record: &[u8]) -> Option<T> {
    let value: T = postcard::take_from_bytes(record).ok()?.0;
    (postcard::to_allocvec(&value).ok()? == record).then_some(value)
}

/// A session's messages, and its server's half before each.
fn tapped(server: &mut InMemoryServer<MemoryStore>, key: &FleetKey, client: &Client) -> Vec<(&'static str, Vec<u8>)> {
    let rng = &mut ChaCha20Rng::seed_from_u64(5);
    let mut opened = Vec::new();
    let mut login = client.log_in("password", None, rng).unwrap();
    let mut names = ["session-awaiting-ke3", "session-welcome", "session-open"].into_iter();
    loop {
        let answer = server.handle(&login.message().encode().unwrap(), NOW).unwrap();
        let done = login.receive(ServerMessage::decode(&answer).unwrap()).unwrap();
        let (id, session) = server.sessions.pop_last().unwrap();
        let (_, stored) = session.export(key).unwrap().unwrap();
        opened.push((names.next().unwrap(), hostile::open_session(key, id, &stored).unwrap()));
        server.sessions.insert(id, server.server.import(key, id, &stored).unwrap());
        if done.is_some() {
            server.sessions.clear();
            return opened;
        }
    }
}

/// A login's first step on a node of a fleet: the session as it is stored with it.
fn first_step(
    key: &FleetKey,
    setup: ServerSetup,
    store: &MemoryStore,
    login: &ClientMessage,
) -> (SessionId, StoredSession) {
    let key = FleetKey::from_bytes(key.to_bytes().expose()).unwrap();
    let node = Server::in_fleet(setup, IDENTITY, ServerPolicy::default(), key).unwrap();
    let mut session = node.accept(&mut ChaCha20Rng::seed_from_u64(4));
    let Ok(Step::Read(read)) = session.receive(login.clone(), NOW) else { panic!("no account is read") };
    let found = store.clone().read(read.query()).unwrap();
    let Ok(Step::Write(write)) = read.found(found) else { panic!("a step of a fleet is a write") };
    let advance = write.transaction().advance.clone().unwrap();
    let sealed = advance.sealed.as_bytes().to_vec();
    (advance.session_id, StoredSession { version: advance.from + 1, sealed, resolution: Vec::new() })
}

impl World {
    fn new() -> Self {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let (setup, key) = (ServerSetup::generate(rng).unwrap(), FleetKey::generate(rng));
        let setups = || ServerSetup::from_bytes(setup.to_bytes().expose()).unwrap();
        let server = Server::new(setups(), IDENTITY, ServerPolicy::default()).unwrap();
        let mut host = InMemoryServer::new(server.clone(), MemoryStore::new(), 2);
        let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).unwrap();
        let client = Client::new(AccountName::new("ada").unwrap(), IDENTITY, policy).unwrap();
        converse(client.register("password", rng).unwrap(), &mut host, NOW).unwrap().unwrap();
        let mut plain = tapped(&mut host, &key, &client);

        let login = client.log_in("password", None, rng).unwrap();
        let request = login.message().clone();
        let mut session = converse(login, &mut host, NOW).unwrap().unwrap();
        let kinds = [Kind::Bytes(5), Kind::Secp256k1, Kind::Ed25519, Kind::Bytes(1)];
        let pending = converse(session.generate(&kinds, rng).unwrap(), &mut host, NOW).unwrap().unwrap();
        let stored = converse(session.store(&pending).unwrap(), &mut host, NOW).unwrap().unwrap();
        session.settle(stored).unwrap();
        let last = pending.key_ids().last().unwrap();
        let deleted = converse(session.delete(&[last]).unwrap(), &mut host, NOW).unwrap().unwrap();
        session.settle(deleted).unwrap();

        let half = host.sessions.remove(&session.session_id()).unwrap();
        let (session_id, mut stored) = half.export(&key).unwrap().unwrap();
        let last = hostile::open_session(&key, session_id, &stored).unwrap();
        stored.version = STEPS;
        stored.sealed = hostile::seal_session(&key, session_id, STEPS, &last).unwrap();
        let step = first_step(&key, setups(), &host.store, &request);
        plain.push(("session-with-a-last-reply", last));
        plain.push(("session-in-a-step", hostile::open_session(&key, step.0, &step.1).unwrap()));
        Self { client: session, server, store: host.store, key, session_id, stored, login: request, step, plain }
    }

    /// What this target finds in a store, for its seeds.
    #[allow(dead_code)]
    pub fn values(&self) -> Vec<(&'static str, Vec<u8>)> {
        let row = self.store.accounts.first_key_value().unwrap().1;
        let secrets = self.store.secrets.values().map(|record| ("secret-record", record.clone()));
        let heads = self.store.heads.values().map(|record| ("head-record", record.clone()));
        let resolutions = [vec![1, 0], vec![1, 1], vec![1, 2, 0]].map(|resolution| ("resolution", resolution));
        let account = [("account-record", row.record.clone())];
        let values = account.into_iter().chain(secrets).chain(heads).chain(self.plain.clone()).chain(resolutions);
        values.chain(self.wrong()).collect()
    }

    /// Records that are as they should be, but for one thing.
    fn wrong(&self) -> [(&'static str, Vec<u8>); 4] {
        let (account, secrets) = (&self.store.accounts.first_key_value().unwrap().1.record, &self.store.secrets);
        let record = secrets.values().find(|record| record[1] == 0).unwrap();
        let secret: SealedSecret = laid_out(&record[2..]).unwrap();
        let (mut shorter, mut another, mut trailing) = (secret.clone(), secret.header.to_bytes(), account.clone());
        shorter.ciphertext.pop();
        another[1] ^= 1;
        trailing.push(0);
        let another = SealedSecret { header: Header::from_bytes(&another).unwrap(), ..secret };
        let encode = |secret: &SealedSecret| [&[VERSION, 0][..], &postcard::to_allocvec(secret).unwrap()].concat();
        let mut eve = account.clone();
        let at = eve.windows(3).position(|name| name == b"ada").unwrap();
        eve[at..at + 3].copy_from_slice(b"eve");
        [
            ("secret-record-shorter", encode(&shorter)),
            ("secret-record-of-another-user", encode(&another)),
            ("account-record-of-another-name", eve),
            ("account-record-trailing", trailing),
        ]
    }

    /// The server's half of the session, as it was kept.
    pub fn half(&self) -> ServerSession {
        self.server.import(&self.key, self.session_id, &self.stored).unwrap()
    }

    fn request(&self, half: &ServerSession, request: &Request) -> ClientMessage {
        let body = postcard::to_allocvec(request).unwrap();
        hostile::request_bytes(half, self.session_id, NEXT, &body).unwrap()
    }

    fn standing(&self, epoch: u64) -> Option<Standing> {
        let row = self.store.accounts.first_key_value().unwrap().1;
        Some(Standing { credential: row.credential, epoch })
    }

    /// A request or reply is canonical inside its frame too; what isn't one doesn't reach the session.
    fn frames(&self, data: &[u8]) {
        let mut half = self.half();
        let peer = |error: &Error| *error == Error::Peer(PeerFault::Undecodable);
        let reply = hostile::reply_bytes(&half, self.session_id, NEXT, data).unwrap();
        let read = |_: &[u8]| hostile::open_reply(&half, reply);
        canonical(data, read, |reply: &Reply| postcard::to_allocvec(reply).unwrap(), peer);
        let request = hostile::request_bytes(&half, self.session_id, NEXT, data).unwrap();
        let read = |_: &[u8]| hostile::open_request(&half, request.clone());
        canonical(data, read, |request: &Request| postcard::to_allocvec(request).unwrap(), peer);
        let is_request = hostile::open_request(&half, request.clone()).is_ok();
        assert_eq!(half.receive(request, NOW).is_ok(), is_request, "a request inside a frame");
    }

    /// The account's record: laid out so, and under its name.
    fn account(&self, data: &[u8]) {
        let name = self.store.accounts.first_key_value().unwrap().0.clone();
        let is_laid_out = laid_out::<Account>(&data[1..]).is_some_and(|record| record.0 == name);
        let mut session = self.server.accept(&mut ChaCha20Rng::seed_from_u64(3));
        let Ok(Step::Read(read)) = session.receive(self.login.clone(), NOW) else { panic!("no account is read") };
        let Query::Account(query) = read.query() else { panic!("no account is read") };
        let found = query.found(Some(data.to_vec()), None);
        match bounded(data, |_| read.found(found).map(drop)) {
            Ok(()) => assert!(is_laid_out, "something else is taken for an account"),
            Err(error) => self.check_blamed(&error, &RecordName::Account(name)),
        }
    }

    /// A secret's record: live under its user and key ID and of its length, or a tombstone.
    fn secret(&self, data: &[u8]) {
        let live = data[1..].strip_prefix(&[0]).and_then(laid_out::<SealedSecret>);
        let is_tombstone = data[1..].strip_prefix(&[1]).and_then(laid_out::<(SessionId, u64)>).is_some();
        let user_id = self.client.user_id();
        let key_id = live.as_ref().map_or(KeyId::from_bytes([7; 16]), |secret| secret.header.key_id());
        let fits = |secret: &&SealedSecret| {
            let len = usize::try_from(secret.header.kind().secret_len()).unwrap();
            secret.header.user_id() == user_id && secret.ciphertext.len() == len.saturating_add(16)
        };
        let mut half = self.half();
        let request = self.request(&half, &Request::Retrieve(retrieve::Request { key_ids: vec![key_id] }));
        let Ok(Step::Read(read)) = half.receive(request, NOW) else { panic!("no secret is read") };
        let Query::Secrets(query) = read.query() else { panic!("no secret is read") };
        let found = query.found(self.standing(2), vec![(key_id, data.to_vec())]);
        let reply = bounded(data, |_| self.ended(read.found(found)));
        match reply.map(|reply| hostile::open_reply(&half, reply).unwrap()) {
            Ok(Reply::Retrieve(retrieve::Reply { secrets })) => {
                assert_eq!(secrets, Vec::from_iter(live.filter(|live| fits(&live))), "another secret");
            }
            Ok(reply) => assert!(is_tombstone && reply == Reply::Refused(Refusal::NotFound), "{reply:?}"),
            Err(error) => {
                self.check_blamed(&error, &RecordName::Secret(user_id, key_id));
                assert!(!is_tombstone && live.as_ref().filter(fits).is_none(), "a good record is refused");
            }
        }
    }

    /// A head's record: of its length, and its epoch.
    fn head(&self, data: &[u8]) {
        let head = data[1..].first_chunk().filter(|_| data.len() == 1 + SealedHead::LEN);
        let head = head.map(|head: &[u8; SealedHead::LEN]| SealedHead::from_bytes(*head));
        let epoch = head.as_ref().map_or(2, SealedHead::epoch);
        let mut half = self.half();
        let request = self.request(&half, &Request::Heads(heads::Request { from: Some(epoch) }));
        let Ok(Step::Read(read)) = half.receive(request, NOW) else { panic!("no head is read") };
        let Query::Heads(query) = read.query() else { panic!("no head is read") };
        let found = query.found(self.standing(epoch), vec![data.to_vec()]);
        match self.ended(read.found(found)) {
            Ok(reply) => match hostile::open_reply(&half, reply) {
                Ok(Reply::Heads(heads::Reply { heads, newest })) => {
                    assert!(newest == epoch && Some(&heads[..]) == head.as_ref().map(core::slice::from_ref));
                }
                reply => panic!("{reply:?}"),
            },
            Err(error) => {
                self.check_blamed(&error, &RecordName::Head(self.client.user_id(), epoch));
                assert_eq!(head, None, "a good head is refused");
            }
        }
    }

    /// The reply of a step whose write, if it has one, is applied.
    fn ended(&self, step: Result<Step<'_>, Error>) -> Result<ServerMessage, Error> {
        match step? {
            Step::Write(write) => write.settle(Outcome::Applied),
            Step::Reply(reply) => Ok(reply),
            Step::Read(_) => panic!("a second read"),
        }
    }

    fn check_blamed(&self, error: &Error, expected: &RecordName) {
        let is_blamed = matches!(error, Error::Stored(StoredFault { record, .. }) if record == expected);
        assert!(is_blamed, "{expected} is damaged, and blamed is: {error}");
    }

    /// What is in a stored session: whatever was taken in is kept the same from then on.
    fn session(&self, data: &[u8]) {
        let import = |plain: &[u8]| {
            let sealed = hostile::seal_session(&self.key, self.session_id, STEPS, plain)?;
            let stored = StoredSession { version: STEPS, sealed, resolution: vec![VERSION, 0] };
            self.server.import(&self.key, self.session_id, &stored)
        };
        let kept = |session: ServerSession| {
            let (id, stored) = session.export(&self.key).unwrap().unwrap();
            assert_eq!((id, stored.version), (self.session_id, STEPS));
            hostile::open_session(&self.key, id, &stored).unwrap()
        };
        match bounded(data, import) {
            Ok(session) => {
                let once = kept(session);
                assert_eq!(kept(import(&once).unwrap()), once, "a session changes by being kept");
                assert!(import(&[data, &[0]].concat()).is_err(), "something follows a session");
            }
            Err(error) => self.check_blamed(&error, &RecordName::Session(self.session_id)),
        }
    }

    /// What isn't sealed with the fleet's key is no session; what isn't an outcome ends no step.
    fn resolution(&self, data: &[u8]) {
        let stored = StoredSession { version: STEPS, sealed: data.to_vec(), resolution: vec![VERSION, 0] };
        let error = self.server.import(&self.key, self.session_id, &stored).map(drop).unwrap_err();
        self.check_blamed(&error, &RecordName::Session(self.session_id));
        let (session_id, step) = &self.step;
        let stored = StoredSession { resolution: data.to_vec(), ..step.clone() };
        let is_outcome = match data {
            [VERSION, 0 | 1] => true,
            [VERSION, 2, refusal @ ..] => laid_out::<Refusal>(refusal).is_some(),
            _ => false,
        };
        match self.server.import(&self.key, *session_id, &stored) {
            Ok(_) => assert!(is_outcome, "another outcome is taken"),
            Err(error) => {
                self.check_blamed(&error, &RecordName::Session(*session_id));
                assert!(!is_outcome, "an outcome is refused: {error}");
            }
        }
    }
}
