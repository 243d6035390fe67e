//! Target `client_exchange`: what was before. Ada's vault at each of its epochs, what is in it, and a device that logged in
//! when two changes were still to come.

use std::collections::{BTreeMap, BTreeSet};

use keystow::operation::{Reply, log_in, retrieve};
use keystow::storage::StoredSession;
use keystow::testing::{InMemoryServer, MemoryStore, converse, hostile};
use keystow::{
    AccountName, Client, ClientMessage, ClientPolicy, ClientSession, FleetKey, KeyId, Kind, KsfProfile, Origin,
    PendingSecrets, PlainSecret, PublicComponent, RetrievedSecret, SealedHead, Server, ServerMessage, ServerPolicy,
    ServerSession, ServerSetup, SessionId, Timestamp, Unsettled, UserId, VaultPin, client,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::answers::Material;
use super::deployment::IDENTITY;
use super::forgery::sealed;
use super::formats::check_key;

pub const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
pub const PASSWORD: &str = "correct horse battery staple";
/// The epoch at which the device logged in.
pub const LOGIN: usize = 3;

pub type Host = InMemoryServer<MemoryStore>;

pub struct Story {
    pub ada: Client,
    pub new: Client,
    pub user_id: UserId,
    pub server: Server,
    /// The device, unless it has gone on since: then it logs in again.
    pub device: Option<ClientSession>,
    /// The store at each epoch.
    pub snapshots: Vec<MemoryStore>,
    pub chain: Vec<VaultPin>,
    pub live: Vec<BTreeSet<KeyId>>,
    pub known: BTreeMap<KeyId, Known>,
    pub batches: Vec<Batch>,
    /// Of another vault, and of none.
    pub strange_pins: [VaultPin; 2],
    pub material: Material,
    key: FleetKey,
    half: (SessionId, StoredSession),
}

/// What a secret is.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    pub kind: Kind,
    pub origin: Origin,
    pub public: Option<PublicComponent>,
    pub plaintext: Vec<u8>,
}

pub struct Batch {
    pub pending: PendingSecrets,
    /// The epoch of the head that took it up.
    pub stored_at: Option<usize>,
}

/// A device of the past, and the server that it talks to.
struct Teller {
    host: Host,
    session: ClientSession,
    rng: ChaCha20Rng,
}

impl Teller {
    fn run<O: client::Operation>(&mut self, exchange: client::Exchange<O>) -> O::Output {
        converse(exchange, &mut self.host, NOW).unwrap().unwrap()
    }

    fn settle<T, O: client::Operation<Output = Unsettled<T>>>(&mut self, exchange: client::Exchange<O>) -> T {
        let unsettled = self.run(exchange);
        self.session.settle(unsettled).unwrap()
    }

    fn generate(&mut self, kinds: &[Kind]) -> PendingSecrets {
        let exchange = self.session.generate(kinds, &mut self.rng).unwrap();
        self.run(exchange)
    }

    fn store(&mut self, pending: &PendingSecrets) {
        let exchange = self.session.store(pending).unwrap();
        self.settle(exchange);
    }
}

fn person(name: &str) -> Client {
    let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).unwrap();
    Client::new(AccountName::new(name).unwrap(), IDENTITY, policy).unwrap()
}

fn log_in(client: &Client, host: &mut Host) -> ClientSession {
    let rng = &mut ChaCha20Rng::seed_from_u64(7);
    converse(client.log_in(PASSWORD, None, rng).unwrap(), host, NOW).unwrap().unwrap()
}

/// What a login is granted with.
fn wrap(client: &Client, host: &mut Host) -> [u8; 48] {
    let mut login = client.log_in(PASSWORD, None, &mut ChaCha20Rng::seed_from_u64(8)).unwrap();
    loop {
        let answer = host.answer(login.message().clone(), NOW).unwrap();
        let session = &host.sessions[&answer.session_id()];
        if let Ok(Reply::Welcome(log_in::Welcome { wrap, .. })) = hostile::open_reply(session, answer.clone()) {
            return wrap;
        }
        assert!(login.receive(answer).unwrap().is_none());
    }
}

impl Story {
    pub fn new() -> Self {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let (setup, key) = (ServerSetup::generate(rng).unwrap(), FleetKey::generate(rng));
        let server_key = setup.server_key().unwrap();
        let server = Server::new(setup, IDENTITY, ServerPolicy::default()).unwrap();
        let mut host = InMemoryServer::new(server.clone(), MemoryStore::new(), 2);
        let [ada, bob] = ["ada", "bob"].map(|name| person(name).pin_server_key(server_key));
        let [registered, strange] = [&ada, &bob]
            .map(|client| converse(client.register(PASSWORD, rng).unwrap(), &mut host, NOW).unwrap().unwrap());
        let wrap = wrap(&ada, &mut host);

        let session = log_in(&bob, &mut host);
        let mut teller = Teller { host, session, rng: ChaCha20Rng::seed_from_u64(9) };
        let bobs = teller.generate(&[Kind::Ed25519]);
        teller.store(&bobs);
        let mut snapshots = vec![teller.host.store.clone()];
        teller.session = log_in(&ada, &mut teller.host);
        let mut batches = Vec::new();
        let mut keep = |teller: &Teller, pending: &PendingSecrets, snapshots: &mut Vec<MemoryStore>| {
            batches.push(Batch { pending: pending.clone(), stored_at: Some(snapshots.len()) });
            snapshots.push(teller.host.store.clone());
        };
        for kinds in [&[Kind::Bytes(32), Kind::Secp256k1, Kind::Ed25519, Kind::Bytes(1)][..], &[Kind::Secp256k1; 2]] {
            let pending = teller.generate(kinds);
            teller.store(&pending);
            keep(&teller, &pending, &mut snapshots);
        }
        let import = vec![PlainSecret::bytes("a seed phrase").unwrap()];
        let import = teller.session.import(import, &mut teller.rng).unwrap();
        let pending = teller.run(import);
        teller.store(&pending);
        keep(&teller, &pending, &mut snapshots);
        let before = teller.host.store.clone();
        let never = teller.generate(&[Kind::Ed25519, Kind::Bytes(7)]);
        let pending = teller.generate(&[Kind::Bytes(16)]);
        teller.store(&pending);
        keep(&teller, &pending, &mut snapshots);
        let first = batches[0].pending.key_ids().nth(1).unwrap();
        let delete = teller.session.delete(&[first]).unwrap();
        teller.settle(delete);
        snapshots.push(teller.host.store.clone());
        batches.push(Batch { pending: never, stored_at: None });

        let user_id = registered.user_id;
        let heads = heads(&teller.host.store, user_id);
        let chain = heads.iter().map(SealedHead::pin).collect();
        let live = snapshots.iter().map(|store| live(store, user_id)).collect();
        let secrets: Vec<_> = batches.iter().map(|batch| &batch.pending).chain([&bobs]).flat_map(sealed).collect();
        let key_ids = secrets.iter().map(|secret| secret.header.key_id()).chain([KeyId::from_bytes([1; 16])]).collect();
        let material = Material {
            user_ids: vec![user_id, strange.user_id],
            key_ids,
            secrets,
            heads: heads.into_iter().chain(self::heads(&teller.host.store, strange.user_id)).collect(),
            audit: teller.host.store.audit.values().cloned().collect(),
            wrap,
        };
        let mut host = InMemoryServer::new(server.clone(), before, 3);
        let device = log_in(&ada, &mut host);
        snapshots.iter_mut().skip(LOGIN).for_each(|store| store.attempts.clone_from(&host.store.attempts));
        let half = host.sessions.remove(&device.session_id()).unwrap().export(&key).unwrap().unwrap();
        let mut story = Self {
            new: person("new"),
            strange_pins: [strange.pin, VaultPin::from_bytes(&[9; VaultPin::LEN])],
            device: Some(device),
            known: BTreeMap::new(),
            ada,
            user_id,
            server,
            snapshots,
            chain,
            live,
            batches,
            material,
            key,
            half,
        };
        for i in 0..story.batches.len() {
            let pending = story.batches[i].pending.clone();
            for secret in story.open(&pending) {
                story.known.insert(secret.key_id(), Known::of(&secret));
            }
        }
        story
    }

    /// The device, as it was when it had logged in.
    pub fn device(&mut self) -> &mut ClientSession {
        let Self { ada, server, snapshots, device, .. } = self;
        device.get_or_insert_with(|| {
            let mut host = InMemoryServer::new(server.clone(), snapshots[LOGIN].clone(), 3);
            log_in(ada, &mut host)
        })
    }

    /// The server's half of its session.
    pub fn half(&self) -> (SessionId, ServerSession) {
        (self.half.0, self.server.import(&self.key, self.half.0, &self.half.1).unwrap())
    }

    /// What pending secrets are, on any device of Ada's. (That they are pending is no matter: a reply is made up.)
    pub fn open(&mut self, pending: &PendingSecrets) -> Vec<RetrievedSecret> {
        let (session_id, half) = self.half();
        let key_ids: Vec<_> = pending.key_ids().collect();
        let mut exchange = self.device().retrieve(&key_ids).unwrap();
        let ClientMessage::Frame(frame) = exchange.message() else { panic!("not in a session") };
        let reply = Reply::Retrieve(retrieve::Reply { secrets: sealed(pending) });
        let reply: ServerMessage = hostile::reply(&half, session_id, frame.sequence, &reply).unwrap();
        let secrets = exchange.receive(reply).unwrap().unwrap().unwrap();
        secrets.iter().for_each(check_key);
        secrets
    }

    pub fn pins(&self) -> Vec<VaultPin> {
        self.chain.iter().chain(&self.strange_pins).copied().collect()
    }
}

impl Known {
    pub fn of(secret: &RetrievedSecret) -> Self {
        let (kind, origin, public) = (secret.kind(), secret.origin(), secret.public().copied());
        Self { kind, origin, public, plaintext: secret.expose().to_vec() }
    }
}

/// A vault's heads in a store, behind each record's version.
fn heads(store: &MemoryStore, user_id: UserId) -> Vec<SealedHead> {
    let records = store.heads.range((user_id, 0)..=(user_id, u64::MAX));
    records.map(|(_, record)| SealedHead::from_bytes(record[1..].try_into().unwrap())).collect()
}

/// The secrets in a store that are not tombstones.
fn live(store: &MemoryStore, user_id: UserId) -> BTreeSet<KeyId> {
    let own = store.secrets.iter().filter(|((owner, _), record)| *owner == user_id && record[1] == 0);
    own.map(|((_, key_id), _)| *key_id).collect()
}
