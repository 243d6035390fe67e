//! Vectors: the bytes of version 1, pinned. `tests/vectors/v1.json` holds a whole run from fixed seeds: every message,
//! record and value that somebody stores or sends.
//!
//! **A byte that changes here is another protocol or another database format: it means a new version byte, not a new
//! file.** Only before the first release, or to add a vector, is the file written anew:
//!
//! ```text
//! KEYSTOW_WRITE_VECTORS=1 cargo test --test vectors
//! ```
//!
//! An update of a dependency that draws its random bytes in another order changes these bytes as well, and isn't another
//! format: then the last test still passes with the old file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::fs;
use std::sync::LazyLock;

use keystow::operation::delete_account::Deleted;
use keystow::testing::{AccountRow, InMemoryServer, MemoryStore, converse};
use keystow::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/v1.json");

/// What the run is made from. All of it stands in the file, so that another implementation can repeat it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Inputs {
    account: String,
    password: String,
    server_identity: String,
    ksf_memory_kib: u32,
    ksf_passes: u32,
    ksf_lanes: u32,
    now_millis: u64,
    /// `ChaCha20Rng::seed_from_u64`: the server's setup, what sessions are seeded from, the client's operations.
    setup_seed: u64,
    server_seed: u64,
    client_seed: u64,
}

/// One message, as it crosses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Message {
    operation: String,
    direction: String,
    bytes: String,
}

/// One secret, from its pending form to its opened one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredSecret {
    kind: String,
    key_id: String,
    public: Option<String>,
    pending: String,
    record: String,
    secret: String,
}

/// A whole run. Bytes are in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Vectors {
    version: u8,
    inputs: Inputs,
    server_setup: String,
    server_key: String,
    user_id: String,
    session_id: String,
    credential: String,
    account_record: String,
    messages: Vec<Message>,
    secrets: Vec<StoredSecret>,
    audit_entries: Vec<String>,
    custody: Custody,
}

/// What the rest of custody left in the store before the account was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Custody {
    new_password: String,
    account_record: String,
    tombstone: String,
    pending_import: String,
    audit_entries: Vec<String>,
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    pairs.iter().map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn client() -> Client {
    let Inputs { account, server_identity, .. } = inputs();
    let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).unwrap();
    Client::new(AccountName::new(account).unwrap(), server_identity, policy).unwrap()
}

fn server(setup: ServerSetup, store: MemoryStore) -> InMemoryServer<MemoryStore> {
    let Inputs { server_identity, server_seed, .. } = inputs();
    let server = Server::new(setup, server_identity, ServerPolicy::default()).unwrap();
    InMemoryServer::new(server, store, server_seed)
}

/// The run, and a record of what crosses.
struct Run {
    server: InMemoryServer<MemoryStore>,
    messages: Vec<Message>,
}

impl Run {
    fn exchange<O: client::Operation>(&mut self, operation: &str, mut exchange: Exchange<O>) -> O::Output {
        loop {
            let request = exchange.message().encode().unwrap();
            let reply = self.server.handle(&request, Timestamp::from_millis(inputs().now_millis)).unwrap();
            for (direction, bytes) in [("client to server", &request), ("server to client", &reply)] {
                let (operation, direction) = (operation.to_string(), direction.to_string());
                self.messages.push(Message { operation, direction, bytes: hex(bytes) });
            }
            if let Some(outcome) = exchange.receive(ServerMessage::decode(&reply).unwrap()).unwrap() {
                return outcome.unwrap();
            }
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
    let imported = PlainSecret::raw(Kind::Ed25519, [0x42; 32]).unwrap();
    run.exchange("list", session.list(None, 256).unwrap());
    let pending = run.exchange("import", session.import(vec![imported], rng).unwrap());
    run.exchange("store", session.store(&pending).unwrap());
    run.exchange("delete", session.delete(&key_ids[..1]).unwrap());
    run.exchange("change password", session.change_password(NEW_PASSWORD, rng).unwrap());
    run.exchange("audit", session.audit(AuditFilter::default(), None, 256).unwrap());
    run.exchange("status", session.status().unwrap());
    let store = &run.server.store;
    let custody = Custody {
        new_password: NEW_PASSWORD.into(),
        account_record: hex(&store.accounts[client.account()].record),
        tombstone: hex(&store.secrets[&(session.user_id(), key_ids[0])]),
        pending_import: hex(&pending[0].encode().unwrap()),
        audit_entries: store.audit.values().map(|entry| hex(entry.to_record().unwrap().as_bytes())).collect(),
    };
    run.exchange("log out", session.log_out().unwrap());
    let mut session = run.exchange("log in", client.log_in(NEW_PASSWORD, None, rng).unwrap());
    for expected in [Deleted::Page, Deleted::All] {
        assert_eq!(run.exchange("delete account", session.delete_account().unwrap()), expected);
    }
    custody
}

/// Registers, logs in, generates one secret of each kind in one batch, stores and retrieves them; then the rest.
fn compute() -> Vectors {
    let inputs = inputs();
    let setup = ServerSetup::generate(&mut ChaCha20Rng::seed_from_u64(inputs.setup_seed)).unwrap();
    let (setup_bytes, server_key) = (setup.to_bytes(), setup.server_key().unwrap());
    let mut run = Run { server: server(setup, MemoryStore::new()), messages: Vec::new() };
    let (client, rng) = (client(), &mut ChaCha20Rng::seed_from_u64(inputs.client_seed));

    let registered = run.exchange("register", client.register(&inputs.password, rng).unwrap());
    let mut session = run.exchange("log in", client.log_in(&inputs.password, None, rng).unwrap());
    let kinds = [Kind::Bytes(32), Kind::Secp256k1, Kind::Ed25519];
    let pending = run.exchange("generate", session.generate(&kinds, rng).unwrap());
    let stored = run.exchange("store", session.store(&pending).unwrap());
    let key_ids: Vec<KeyId> = stored.iter().map(|secret| secret.key_id).collect();
    let opened = run.exchange("retrieve", session.retrieve(&key_ids).unwrap());
    let session_id = session.session_id().to_string();
    let stored_then = run.server.store.clone();
    let custody = custody(&mut run, &client, session, rng, &key_ids);

    let store = &stored_then;
    let secret = |((pending, new), opened): ((&PendingSecret, &NewSecret), &RetrievedSecret)| StoredSecret {
        kind: new.kind.to_string(),
        key_id: new.key_id.to_string(),
        public: new.public.map(|public| public.to_string()),
        pending: hex(&pending.encode().unwrap()),
        record: hex(&store.secrets[&(registered.user_id, new.key_id)]),
        secret: hex(opened.expose()),
    };
    let row = &store.accounts[client.account()];
    Vectors {
        version: 1,
        server_setup: hex(setup_bytes.expose()),
        server_key: server_key.to_string(),
        user_id: registered.user_id.to_string(),
        session_id,
        credential: row.credential.to_string(),
        account_record: hex(&row.record),
        secrets: pending.iter().zip(&stored).zip(&opened).map(secret).collect(),
        audit_entries: store.audit.values().map(|entry| hex(entry.to_record().unwrap().as_bytes())).collect(),
        custody,
        messages: run.messages,
        inputs,
    }
}

/// The committed vectors; written first if the environment says so.
static COMMITTED: LazyLock<Vectors> = LazyLock::new(|| {
    if std::env::var_os("KEYSTOW_WRITE_VECTORS").is_some_and(|value| value == "1") {
        let text = serde_json::to_string_pretty(&compute()).unwrap();
        fs::write(FILE, text + "\n").unwrap();
    }
    serde_json::from_str(&fs::read_to_string(FILE).unwrap()).unwrap()
});

const CHANGED: &str = "the bytes of version 1 have changed: that takes a new version byte (see tests/vectors.rs)";

/// Field by field, so that a failure names the first thing that differs.
#[test]
fn every_byte_of_a_run_from_fixed_seeds_is_the_committed_one() {
    let (computed, committed) = (compute(), &*COMMITTED);
    assert_eq!(computed.inputs, committed.inputs, "the vectors were made from other inputs");
    assert_eq!(computed.server_setup, committed.server_setup, "{CHANGED}: server setup");
    for (computed, committed) in computed.messages.iter().zip(&committed.messages) {
        assert_eq!(computed, committed, "{CHANGED}: message");
    }
    assert_eq!(computed.account_record, committed.account_record, "{CHANGED}: account record");
    for (computed, committed) in computed.secrets.iter().zip(&committed.secrets) {
        assert_eq!(computed, committed, "{CHANGED}: secret");
    }
    assert_eq!(computed.audit_entries, committed.audit_entries, "{CHANGED}: audit entries");
    assert_eq!(computed, *committed, "{CHANGED}");
}

#[test]
fn the_committed_run_has_every_message_and_kind() {
    let committed = &*COMMITTED;
    let steps: Vec<_> = committed.messages.iter().map(|message| message.operation.as_str()).collect();
    let twice = |operation| [operation; 2];
    let expected = [twice("register"); 2].into_iter().chain([twice("log in"); 2]);
    let expected = expected.chain(["generate", "store", "retrieve", "list", "import", "store", "delete"].map(twice));
    let expected = expected.chain([twice("change password"); 2]).chain(["audit", "status", "log out"].map(twice));
    let expected = expected.chain([twice("log in"); 2]).chain([twice("delete account"); 2]).flatten();
    assert_eq!(steps, expected.collect::<Vec<_>>());
    let kinds: Vec<_> = committed.secrets.iter().map(|secret| secret.kind.as_str()).collect();
    assert_eq!(kinds, ["bytes(32)", "secp256k1", "ed25519"]);
    assert_eq!(committed.audit_entries.len(), 4, "register, log in, store, retrieve");
    assert_eq!(committed.custody.audit_entries.len(), 8, "and list, store, delete, change password");
}

#[test]
fn every_committed_value_decodes_and_encodes_to_the_same_bytes() {
    let committed = &*COMMITTED;
    for Message { direction, bytes, .. } in &committed.messages {
        let again = match direction.as_str() {
            "client to server" => ClientMessage::decode(&unhex(bytes)).unwrap().encode(),
            _ => ServerMessage::decode(&unhex(bytes)).unwrap().encode(),
        };
        assert_eq!(hex(&again.unwrap()), *bytes);
    }
    for StoredSecret { pending, key_id, .. } in &committed.secrets {
        let decoded = PendingSecret::decode(&unhex(pending)).unwrap();
        assert_eq!((hex(&decoded.encode().unwrap()), decoded.key_id().to_string()), (pending.clone(), key_id.clone()));
    }
    let import = PendingSecret::decode(&unhex(&committed.custody.pending_import)).unwrap();
    assert_eq!(hex(&import.encode().unwrap()), committed.custody.pending_import);
    for entry in committed.audit_entries.iter().chain(&committed.custody.audit_entries) {
        let again = AuditEntry::from_bytes(&unhex(entry)).unwrap().to_record().unwrap();
        assert_eq!(hex(again.as_bytes()), *entry);
    }
}

/// A database and a server setup of version 1, read from the file alone, serve their person still.
#[test]
fn what_version_1_stored_still_opens_with_the_password() {
    let committed = &*COMMITTED;
    let array = |text: &str| <[u8; 16]>::try_from(unhex(text)).unwrap();
    let user_id = UserId::from_bytes(array(&committed.user_id));
    let key_id = |secret: &StoredSecret| KeyId::from_bytes(array(&secret.key_id));

    let mut store = MemoryStore::new();
    let credential = CredentialId::from_bytes(unhex(&committed.credential).try_into().unwrap());
    let row = AccountRow { user_id, credential, record: unhex(&committed.account_record) };
    store.accounts.insert(AccountName::new(&committed.inputs.account).unwrap(), row);
    store.secrets.extend(committed.secrets.iter().map(|secret| ((user_id, key_id(secret)), unhex(&secret.record))));

    let setup = ServerSetup::from_bytes(&unhex(&committed.server_setup)).unwrap();
    let server_key = setup.server_key().unwrap();
    assert_eq!(server_key.to_string(), committed.server_key);
    let (mut server, mut rng) = (server(setup, store), ChaCha20Rng::seed_from_u64(99));
    let now = Timestamp::from_millis(committed.inputs.now_millis + 1);
    let client = client().pin_server_key(server_key);
    let login = client.log_in(&committed.inputs.password, None, &mut rng).unwrap();
    let mut session = converse(login, &mut server, now).unwrap().unwrap();
    let key_ids: Vec<KeyId> = committed.secrets.iter().map(key_id).collect();
    let opened = converse(session.retrieve(&key_ids).unwrap(), &mut server, now).unwrap().unwrap();
    for (opened, committed) in opened.iter().zip(&committed.secrets) {
        assert_eq!(hex(opened.expose()), committed.secret);
        assert_eq!(opened.public().map(ToString::to_string), committed.public);
    }
}
