//! The seeds of `decode`: every message and stored value of an honest run.

use keystow::client;
use keystow::testing::{InMemoryServer, MemoryStore, hostile};
use keystow::{
    AccountName, Client, ClientMessage, ClientPolicy, Exchange, Kind, KsfProfile, RetrievedSecret, SealedHead,
    SealedSecret, Server, ServerMessage, ServerPolicy, ServerSetup, Timestamp,
};
use keystow_fuzz::harness::records;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// Texts whose checksum is right, and that are no pins all the same: an epoch with a leading zero byte, or of nine bytes; a
/// byte too few; the older checksum; another prefix.
const OTHER_SPELLINGS: [&str; 5] = [
    "kspin1qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qursqqgc6ar0y",
    "kspin1qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurszqgpqyqszqgpqyjjff9s",
    "kspin1qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qudrspxe",
    "kspin1qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswhcx0zf",
    "other1qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qursweh9p9g",
];

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

struct Tap {
    server: InMemoryServer<MemoryStore>,
    values: Vec<(String, Vec<u8>)>,
    /// What was in the frames.
    bodies: Vec<(String, Vec<u8>)>,
}

impl Tap {
    fn keep(&mut self, name: &str, bytes: Vec<u8>) {
        self.values.push((format!("{:02}-{name}", self.values.len()), bytes));
    }

    /// Runs an exchange to its end, and keeps what crosses. `None` if the server refuses.
    fn run<O: client::Operation>(&mut self, name: &str, mut exchange: Exchange<O>) -> Option<O::Output> {
        loop {
            let message = exchange.message().encode().expect("a message");
            let answer = self.server.handle(&message, NOW).expect("an answer");
            self.keep(&format!("{name}-request"), message);
            self.keep(&format!("{name}-reply"), answer.clone());
            let answer = ServerMessage::decode(&answer).expect("a reply");
            self.open(name, exchange.message(), &answer);
            if let Some(output) = exchange.receive(answer).ok()? {
                return output.ok();
            }
        }
    }

    fn open(&mut self, name: &str, message: &ClientMessage, answer: &ServerMessage) {
        let Some(session) = self.server.sessions.get(&answer.session_id()) else { return };
        if let Ok(request) = hostile::open_request(session, message.clone()) {
            let body = postcard::to_allocvec(&request).expect("an encoding");
            self.bodies.push((format!("{name}-request-body"), body));
        }
        if let Ok(reply) = hostile::open_reply(session, answer.clone()) {
            let body = postcard::to_allocvec(&reply).expect("an encoding");
            self.bodies.push((format!("{name}-reply-body"), body));
        }
    }

    fn keep_formats(&mut self, key: &RetrievedSecret) {
        let hex: String = key.expose().iter().map(|byte| format!("{byte:02X}")).collect();
        self.keep("raw-key", key.expose().to_vec());
        self.keep("hex-key", hex.into_bytes());
        self.keep("pkcs8-der", key.to_pkcs8_der().expect("a format").expose().to_vec());
        self.keep("pkcs8-pem", key.to_pkcs8_pem().expect("a format").as_bytes().to_vec());
        if let Ok(pem) = key.to_sec1_pem() {
            self.keep("sec1-pem", pem.as_bytes().to_vec());
            // The octets of version, private key, curve and public key, as PKCS#8 has them inside.
            let der = key.to_pkcs8_der().expect("a format").expose().to_vec();
            let inner = der.windows(2).rposition(|start| start == [0x30, 0x6b]).expect("an ECPrivateKey");
            self.keep("sec1-der", der[inner..].to_vec());
        }
    }
}

pub(crate) fn values() -> Vec<(String, Vec<u8>)> {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let setup = ServerSetup::generate(rng).expect("a setup");
    let setup_bytes = setup.to_bytes().expose().to_vec();
    let server = Server::new(setup, "keys.example.com", ServerPolicy::default()).expect("a server");
    let mut tap =
        Tap { server: InMemoryServer::new(server, MemoryStore::new(), 2), values: Vec::new(), bodies: Vec::new() };
    let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).expect("a policy");
    let client = Client::new(AccountName::new("ada").expect("a name"), "keys.example.com", policy).expect("a client");

    let registered = tap.run("register", client.register("password", rng).expect("a start")).expect("an account");
    tap.run("name-taken", client.register("password", rng).expect("a start"));
    let pin = Some(registered.pin);
    let mut session = tap.run("log-in", client.log_in("password", pin, rng).expect("a start")).expect("a session");
    let kinds = [Kind::Bytes(32), Kind::Secp256k1, Kind::Ed25519];
    let pending = tap.run("generate", session.generate(&kinds, rng).expect("a start")).expect("secrets");
    let stored = tap.run("store", session.store(&pending).expect("a start")).expect("storing");
    session.settle(stored).expect("its own");
    let rebased = session.rebase(&pending).and_then(|rebased| rebased.encode()).expect("an encoding");
    let key_ids: Vec<_> = pending.key_ids().collect();
    let keys = tap.run("retrieve", session.retrieve(&key_ids).expect("a start")).expect("secrets");
    let listed = tap.run("list", session.list().expect("a start")).expect("a list");
    session.settle(listed).expect("its own");
    let changed =
        tap.run("change-password", session.change_password("another", rng).expect("a start")).expect("a change");
    session.settle(changed).expect("its own");
    let deleted = tap.run("delete", session.delete(&key_ids).expect("a start")).expect("a deletion");
    session.settle(deleted).expect("its own");
    let newest = session.pin();
    tap.run("verify-pin", session.verify_pin(registered.pin).expect("a start"));
    tap.run("log-out", session.log_out().expect("a start"));

    tap.keep("server-setup", setup_bytes);
    let bytes = pending.encode().expect("an encoding");
    let (secrets, _): (Vec<SealedSecret>, _) = postcard::take_from_bytes(&bytes[1..]).expect("an encoding");
    for secret in secrets {
        tap.keep("header", secret.header.to_bytes());
    }
    tap.keep("pending-secrets", bytes);
    tap.keep("pending-secrets-rebased", rebased);
    for pin in [registered.pin, newest] {
        let text = pin.to_string();
        tap.keep("pin", pin.to_bytes().to_vec());
        tap.keep("pin-text", text.clone().into_bytes());
        let groups: Vec<_> = text.as_bytes().chunks(4).map(|group| group.to_ascii_uppercase()).collect();
        tap.keep("pin-text-in-groups", groups.join(&b' '));
        // Behind the pin's bytes: where its text is misspelled, and how.
        tap.keep("pin-misspelled", [&pin.to_bytes()[..], &[3, 9, 20, 1, 33, 30, 60, 0]].concat());
    }
    for text in OTHER_SPELLINGS {
        tap.keep("pin-otherwise", text.as_bytes().to_vec());
    }
    let entries: Vec<_> = tap.server.store.audit.values().cloned().collect();
    for entry in entries {
        tap.keep("audit-entry", entry.to_record().expect("a record").as_bytes().to_vec());
    }
    let bodies = core::mem::take(&mut tap.bodies);
    bodies.into_iter().for_each(|(name, body)| tap.keep(&name, body));
    for (name, record) in records::with_world(|world| world.values()) {
        tap.keep(name, record);
    }
    keys[1..].iter().for_each(|key| tap.keep_formats(key));
    tap.keep("key-id-text", key_ids[0].to_string().into_bytes());
    tap.keep("server-key-text", registered.server_key.to_string().to_ascii_uppercase().into_bytes());
    for profile in [KsfProfile::RECOMMENDED, KsfProfile::FLOOR, KsfProfile::CEILING] {
        let numbers = [profile.memory_kib(), profile.passes(), profile.lanes()];
        tap.keep("ksf-profile", numbers.map(u32::to_be_bytes).concat());
    }
    // It was taken for one that misses the next, which can't be.
    tap.keep("last-possible-head-record", [&[1][..], &[0xff; SealedHead::LEN]].concat());
    tap.values
}
