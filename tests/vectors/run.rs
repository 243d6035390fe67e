//! A whole run from fixed seeds, and everything that comes of it: what the committed file holds.

use keystow::testing::{AccountRow, InMemoryServer, MemoryStore, hostile};
use keystow::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use super::file::{hex, unhex};

/// What the run is made from. All of it stands in the file, so that another implementation can repeat it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inputs {
    pub(crate) account: String,
    pub(crate) password: String,
    pub(crate) server_identity: String,
    /// A name that nobody has registered.
    pub(crate) unknown_account: String,
    pub(crate) ksf_memory_kib: u32,
    pub(crate) ksf_passes: u32,
    pub(crate) ksf_lanes: u32,
    pub(crate) now_millis: u64,
    /// `ChaCha20Rng::seed_from_u64`: the server's setup, what sessions are seeded from, the client's operations.
    pub(crate) setup_seed: u64,
    pub(crate) server_seed: u64,
    pub(crate) client_seed: u64,
}

/// One message, as it crosses, and what is in its frame (unless the session had ended by then).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    #[serde(rename = "name")]
    pub(crate) operation: String,
    pub(crate) direction: String,
    pub(crate) bytes: String,
    pub(crate) body: Option<String>,
}

/// One secret, stored and opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredSecret {
    pub(crate) kind: String,
    pub(crate) key_id: String,
    pub(crate) public: Option<String>,
    pub(crate) record: String,
    pub(crate) secret: String,
}

/// A whole run. Bytes are in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Vectors {
    pub(crate) about: String,
    pub(crate) version: u8,
    pub(crate) inputs: Inputs,
    pub(crate) server_setup: String,
    pub(crate) server_key: String,
    pub(crate) user_id: String,
    pub(crate) session_id: String,
    pub(crate) credential: String,
    pub(crate) account_record: String,
    pub(crate) messages: Vec<Message>,
    pub(crate) pending: String,
    pub(crate) secrets: Vec<StoredSecret>,
    pub(crate) audit_entries: Vec<String>,
    pub(crate) custody: Custody,
    /// The records of the vault's heads, from epoch 0 on.
    pub(crate) heads: Vec<String>,
    /// Of each name, its counter and the end of its window.
    pub(crate) attempts: Vec<(String, u64)>,
}

/// What the rest of custody left in the store before the account was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Custody {
    pub(crate) new_password: String,
    pub(crate) account_record: String,
    pub(crate) tombstone: String,
    pub(crate) pending_import: String,
    pub(crate) imported_record: String,
    /// The first batch, as it is after [`ClientSession::rebase`].
    pub(crate) pending_without_pin: String,
    pub(crate) audit_entries: Vec<String>,
}

const ABOUT: &str = "A whole run from the seeds of `inputs`: every message as it crosses, what is in its frame, and what the \
    store holds after the main job (`account_record`, `secrets`, `audit_entries`) and before the account was deleted \
    (`custody`). schedule.json derives every byte of it.";

const NEW_PASSWORD: &str = "another horse battery staple";

fn inputs() -> Inputs {
    let ksf = KsfProfile::CHEAP_FOR_TESTS;
    Inputs {
        account: "ada".into(),
        password: "correct horse battery staple".into(),
        server_identity: "keys.example.com".into(),
        unknown_account: "nobody".into(),
        ksf_memory_kib: ksf.memory_kib(),
        ksf_passes: ksf.passes(),
        ksf_lanes: ksf.lanes(),
        now_millis: 1_800_000_000_000,
        setup_seed: 1,
        server_seed: 2,
        client_seed: 3,
    }
}

pub(crate) fn client() -> Client {
    person(&inputs().account)
}

fn person(account: &str) -> Client {
    let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).unwrap();
    Client::new(AccountName::new(account).unwrap(), inputs().server_identity, policy).unwrap()
}

fn server(setup: ServerSetup, store: MemoryStore) -> InMemoryServer<MemoryStore> {
    let Inputs { server_identity, server_seed, .. } = inputs();
    let server = Server::new(setup, server_identity, ServerPolicy::default()).unwrap();
    InMemoryServer::new(server, store, server_seed)
}

/// The run, and a record of what crosses and of each head.
struct Run {
    server: InMemoryServer<MemoryStore>,
    messages: Vec<Message>,
    heads: Vec<String>,
}

impl Run {
    fn exchange<O: client::Operation>(&mut self, operation: &str, mut exchange: Exchange<O>) -> O::Output {
        loop {
            let answer = self.send(operation, exchange.message());
            if let Some(outcome) = exchange.receive(answer).unwrap() {
                return outcome.unwrap();
            }
        }
    }

    /// One message and its answer.
    fn send(&mut self, operation: &str, message: &ClientMessage) -> ServerMessage {
        let request = self.server.sessions.get(&message.session_id().unwrap()).and_then(|session| {
            Some(hex(&postcard::to_allocvec(&hostile::open_request(session, message.clone()).ok()?).unwrap()))
        });
        let now = Timestamp::from_millis(inputs().now_millis);
        let answer = self.server.answer(message.clone(), now).unwrap();
        let session = &self.server.sessions[&answer.session_id()];
        let reply = hostile::open_reply(session, answer.clone()).ok();
        let reply = reply.map(|reply| hex(&postcard::to_allocvec(&reply).unwrap()));
        for (direction, bytes, body) in [
            ("client to server", message.encode().unwrap(), request),
            ("server to client", answer.encode().unwrap(), reply),
        ] {
            let (operation, direction) = (operation.to_string(), direction.to_string());
            self.messages.push(Message { operation, direction, bytes: hex(&bytes), body });
        }
        self.heads.extend(self.server.store.heads.values().skip(self.heads.len()).map(|record| hex(record)));
        answer
    }
}

/// The rest of custody after that, to the end of the account.
fn custody(
    run: &mut Run,
    client: &Client,
    mut session: ClientSession,
    rng: &mut ChaCha20Rng,
    batch: &PendingSecrets,
) -> Custody {
    let key_ids: Vec<_> = batch.key_ids().collect();
    let pin = session.pin();
    let imported = PlainSecret::raw(Kind::Ed25519, [0x42; 32]).unwrap();
    let listed = run.exchange("list", session.list().unwrap());
    assert_eq!(session.settle(listed).unwrap().len(), key_ids.len());
    let pending = run.exchange("import", session.import(vec![imported], rng).unwrap());
    let stored = run.exchange("store", session.store(&pending).unwrap());
    session.settle(stored).unwrap();
    let deleted = run.exchange("delete", session.delete(&key_ids[..1]).unwrap());
    session.settle(deleted).unwrap();
    let changed = run.exchange("change password", session.change_password(NEW_PASSWORD, rng).unwrap());
    session.settle(changed).unwrap();
    run.exchange("audit", session.audit(AuditFilter::default(), None, 256).unwrap());
    run.exchange("status", session.status().unwrap());
    let store = &run.server.store;
    let custody = Custody {
        new_password: NEW_PASSWORD.into(),
        account_record: hex(&store.accounts[client.account()].record),
        tombstone: hex(&store.secrets[&(session.user_id(), key_ids[0])]),
        imported_record: hex(&store.secrets[&(session.user_id(), pending.key_ids().next().unwrap())]),
        pending_import: hex(&pending.encode().unwrap()),
        pending_without_pin: hex(&session.rebase(batch).unwrap().encode().unwrap()),
        audit_entries: store.audit.values().map(|entry| hex(entry.to_record().unwrap().as_bytes())).collect(),
    };
    run.exchange("log out", session.log_out().unwrap());
    let mut session = run.exchange("log in", client.log_in(NEW_PASSWORD, Some(pin), rng).unwrap());
    run.exchange("delete account", session.delete_account().unwrap());
    custody
}

/// Registers, logs in, generates one secret of each kind in one batch, stores and retrieves them; then the rest.
pub(crate) fn compute() -> Vectors {
    let inputs = inputs();
    let setup = ServerSetup::generate(&mut ChaCha20Rng::seed_from_u64(inputs.setup_seed)).unwrap();
    let (setup_bytes, server_key) = (setup.to_bytes(), setup.server_key().unwrap());
    let mut run = Run { server: server(setup, MemoryStore::new()), messages: Vec::new(), heads: Vec::new() };
    let (client, rng) = (client(), &mut ChaCha20Rng::seed_from_u64(inputs.client_seed));

    let registered = run.exchange("register", client.register(&inputs.password, rng).unwrap());
    let mut session = run.exchange("log in", client.log_in(&inputs.password, None, rng).unwrap());
    let kinds = [Kind::Bytes(32), Kind::Secp256k1, Kind::Ed25519];
    let pending = run.exchange("generate", session.generate(&kinds, rng).unwrap());
    let stored = run.exchange("store", session.store(&pending).unwrap());
    let stored = session.settle(stored).unwrap();
    let key_ids: Vec<KeyId> = stored.iter().map(|secret| secret.key_id).collect();
    let opened = run.exchange("retrieve", session.retrieve(&key_ids).unwrap());
    let session_id = session.session_id().to_string();
    let stored_then = run.server.store.clone();
    let custody = custody(&mut run, &client, session, rng, &pending);
    let nobody = person(&inputs.unknown_account).log_in(&inputs.password, None, rng).unwrap();
    run.send("log in as nobody", nobody.message());

    let store = &stored_then;
    let secret = |(new, opened): (&NewSecret, &RetrievedSecret)| StoredSecret {
        kind: new.kind.to_string(),
        key_id: new.key_id.to_string(),
        public: new.public.map(|public| public.to_string()),
        record: hex(&store.secrets[&(registered.user_id, new.key_id)]),
        secret: hex(opened.expose()),
    };
    let row = &store.accounts[client.account()];
    let attempts = run.server.store.attempts.iter();
    Vectors {
        about: ABOUT.into(),
        version: 1,
        server_setup: hex(setup_bytes.expose()),
        server_key: server_key.to_string(),
        user_id: registered.user_id.to_string(),
        session_id,
        credential: row.credential.to_string(),
        account_record: hex(&row.record),
        pending: hex(&pending.encode().unwrap()),
        secrets: stored.iter().zip(&opened).map(secret).collect(),
        audit_entries: store.audit.values().map(|entry| hex(entry.to_record().unwrap().as_bytes())).collect(),
        custody,
        messages: run.messages,
        inputs,
        heads: run.heads,
        attempts: attempts.map(|(counter, row)| (counter.to_string(), row.window_ends.as_millis())).collect(),
    }
}

fn user_id(vectors: &Vectors) -> UserId {
    UserId::from_bytes(unhex(&vectors.user_id).try_into().unwrap())
}

/// The server as it was after the main job, from the file alone.
pub(crate) fn restored(vectors: &Vectors) -> InMemoryServer<MemoryStore> {
    let (mut store, user_id) = (MemoryStore::new(), user_id(vectors));
    let credential = CredentialId::from_bytes(unhex(&vectors.credential).try_into().unwrap());
    let row = AccountRow { user_id, credential, epoch: 1, record: unhex(&vectors.account_record) };
    store.accounts.insert(AccountName::new(&vectors.inputs.account).unwrap(), row);
    let secret = |secret: &StoredSecret| ((user_id, key_id(secret)), unhex(&secret.record));
    store.secrets.extend(vectors.secrets.iter().map(secret));
    let head = |(epoch, head): (u64, &String)| ((user_id, epoch), unhex(head));
    store.heads.extend((0..=1).zip(&vectors.heads).map(head));
    server(ServerSetup::from_bytes(&unhex(&vectors.server_setup)).unwrap(), store)
}

pub(crate) fn key_id(secret: &StoredSecret) -> KeyId {
    KeyId::from_bytes(unhex(&secret.key_id).try_into().unwrap())
}
