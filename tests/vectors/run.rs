//! A whole run from fixed seeds, and everything that comes of it: what the committed file holds.

use keystow::testing::{AccountRow, InMemoryServer, MemoryStore, hostile};
use keystow::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use super::schedule::{Head, Step, Vault};

/// What the run is made from. All of it stands in the file, so that another implementation can repeat it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inputs {
    pub(crate) account: String,
    pub(crate) password: String,
    pub(crate) server_identity: String,
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
    pub(crate) vault: Vault,
}

/// What the rest of custody left in the store before the account was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Custody {
    pub(crate) new_password: String,
    pub(crate) account_record: String,
    pub(crate) tombstone: String,
    pub(crate) pending_import: String,
    pub(crate) audit_entries: Vec<String>,
}

const NEW_PASSWORD: &str = "another horse battery staple";

fn inputs() -> Inputs {
    let ksf = KsfProfile::CHEAP_FOR_TESTS;
    Inputs {
        account: "ada".into(),
        password: "correct horse battery staple".into(),
        server_identity: "keys.example.com".into(),
        ksf_memory_kib: ksf.memory_kib(),
        ksf_passes: ksf.passes(),
        ksf_lanes: ksf.lanes(),
        now_millis: 1_800_000_000_000,
        setup_seed: 1,
        server_seed: 2,
        client_seed: 3,
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    pairs.iter().map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

pub(crate) fn client() -> Client {
    let Inputs { account, server_identity, .. } = inputs();
    let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).unwrap();
    Client::new(AccountName::new(account).unwrap(), server_identity, policy).unwrap()
}

fn server(setup: ServerSetup, store: MemoryStore) -> InMemoryServer<MemoryStore> {
    let Inputs { server_identity, server_seed, .. } = inputs();
    let server = Server::new(setup, server_identity, ServerPolicy::default()).unwrap();
    InMemoryServer::new(server, store, server_seed)
}

/// The run, and a record of what crosses. Of each head: the place of its message, and its own record.
struct Run {
    server: InMemoryServer<MemoryStore>,
    messages: Vec<Message>,
    heads: Vec<(SessionId, u64, Vec<u8>)>,
}

impl Run {
    fn exchange<O: client::Operation>(&mut self, operation: &str, mut exchange: Exchange<O>) -> O::Output {
        loop {
            let message = exchange.message().clone();
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
            self.note_head(&message);
            if let Some(outcome) = exchange.receive(answer).unwrap() {
                return outcome.unwrap();
            }
        }
    }

    /// The head that this message has brought, if it has.
    fn note_head(&mut self, message: &ClientMessage) {
        let sequence = if let ClientMessage::Frame(frame) = message { frame.sequence } else { 1 };
        if let Some(record) = self.server.store.heads.values().nth(self.heads.len()) {
            self.heads.push((message.session_id().unwrap(), sequence, record.clone()));
        }
    }
}

/// The rest of custody after that, to the end of the account.
fn custody(
    run: &mut Run,
    client: &Client,
    mut session: ClientSession,
    rng: &mut ChaCha20Rng,
    key_ids: &[KeyId],
) -> Custody {
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
        pending_import: hex(&pending.encode().unwrap()),
        audit_entries: store.audit.values().map(|entry| hex(entry.to_record().unwrap().as_bytes())).collect(),
    };
    run.exchange("log out", session.log_out().unwrap());
    let mut session = run.exchange("log in", client.log_in(NEW_PASSWORD, Some(pin), rng).unwrap());
    run.exchange("delete account", session.delete_account().unwrap());
    custody
}

/// The vault, from its registration to its end, computed by `schedule` from what the person knows, what the server kept
/// after the main job, and the places of the messages that brought the heads.
pub(crate) fn vault(vectors: &Vectors, places: &[(SessionId, u64)]) -> Vault {
    let wrap = |record: &str| unhex(record).last_chunk::<48>().unwrap().to_vec();
    let (old, new) = (wrap(&vectors.account_record), wrap(&vectors.custody.account_record));
    let [batch, import] = [&vectors.pending, &vectors.custody.pending_import]
        .map(|pending| PendingSecrets::decode(&unhex(pending)).unwrap().key_ids().collect::<Vec<_>>());
    let stored = [batch, import].concat();
    // Registered, the batch stored, the import too, the first secret deleted, the password changed, the vault closed.
    let says: [(&[KeyId], _); 6] = [
        (&[], Some(&old)),
        (&stored[..3], Some(&old)),
        (&stored, Some(&old)),
        (&stored[1..], Some(&old)),
        (&stored[1..], Some(&new)),
        (&[], None),
    ];
    assert_eq!(places.len(), says.len());
    let mut steps = Vec::new();
    for ((session_id, sequence), (live, wrap)) in places.iter().zip(says) {
        steps.push(Step { session_id: *session_id, sequence: *sequence, live, wrap: wrap.map(Vec::as_slice) });
    }
    let mut server = restored(vectors);
    Vault::compute(&mut server, &vectors.inputs, user_id(vectors), &stored, &steps)
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
    let custody = custody(&mut run, &client, session, rng, &key_ids);

    let store = &stored_then;
    let secret = |(new, opened): (&NewSecret, &RetrievedSecret)| StoredSecret {
        kind: new.kind.to_string(),
        key_id: new.key_id.to_string(),
        public: new.public.map(|public| public.to_string()),
        record: hex(&store.secrets[&(registered.user_id, new.key_id)]),
        secret: hex(opened.expose()),
    };
    let row = &store.accounts[client.account()];
    let mut vectors = Vectors {
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
        vault: Vault::default(),
    };
    let places: Vec<_> = run.heads.iter().map(|(session_id, sequence, _)| (*session_id, *sequence)).collect();
    vectors.vault = vault(&vectors, &places);
    let records = run.heads.iter().map(|(.., record)| hex(record));
    assert!(vectors.vault.heads.iter().map(|head| &head.record).eq(records.collect::<Vec<_>>().iter()), "the heads");
    vectors
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
    let head = |(epoch, head): (u64, &Head)| ((user_id, epoch), unhex(&head.record));
    store.heads.extend((0..=1).zip(&vectors.vault.heads).map(head));
    server(ServerSetup::from_bytes(&unhex(&vectors.server_setup)).unwrap(), store)
}

pub(crate) fn key_id(secret: &StoredSecret) -> KeyId {
    KeyId::from_bytes(unhex(&secret.key_id).try_into().unwrap())
}
