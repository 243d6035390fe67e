//! What a fleet stores of its sessions: registration, login, requests, log-out; a session that was handed over.

use keystow::storage::{Conflict, Outcome};
use keystow::testing::{Fleet, MemoryStore};
use keystow::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::{Value, json};

use super::file::{hex, unhex};
use super::page::{Book, nonce};
use super::run;

const ABOUT: &str = "A fleet's sessions as they are stored after each step, in hexadecimal: what the servers of one deployment \
    share. Their contents are the implementation's own matter (schedule.json has them opened); a client never sees them.";

const KEY: [u8; 32] = [0xf1; 32];
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

struct World {
    fleet: Fleet<MemoryStore>,
    rows: Vec<Value>,
}

impl World {
    fn run<O: client::Operation>(&mut self, name: &str, mut exchange: Exchange<O>) -> O::Output {
        loop {
            let answer = self.fleet.answer(0, exchange.message().clone(), NOW).unwrap();
            let session_id = answer.session_id();
            let row = &self.fleet.store.sessions[&session_id];
            let expires = row.expires.as_millis();
            self.note(name, session_id, &row.session.clone(), Some(expires));
            if let Some(outcome) = exchange.receive(answer).unwrap() {
                return outcome.unwrap();
            }
        }
    }

    fn note(&mut self, name: &str, session_id: SessionId, stored: &storage::StoredSession, expires: Option<u64>) {
        self.rows.push(json!({
            "name": format!("{name}, version {}", stored.version),
            "session_id": session_id.to_string(),
            "version": stored.version,
            "sealed": hex(&stored.sealed),
            "resolution": hex(&stored.resolution),
            "expires": expires,
        }));
    }

    /// The session of a message, taken out of the store to be handed over.
    fn export(&mut self, name: &str, message: &ClientMessage) {
        let session = self.fleet.session(0, message).unwrap();
        let key = FleetKey::from_bytes(&KEY).unwrap();
        let (session_id, stored) = session.export(&key).unwrap().unwrap();
        self.note(name, session_id, &stored, None);
    }

    /// What is stored beside a session for each kind of outcome.
    fn resolutions(&mut self, message: &ClientMessage) -> Value {
        let mut session = self.fleet.session(0, message).unwrap();
        let Step::Write(write) = session.receive(message.clone(), NOW).unwrap() else { panic!("no write") };
        let outcomes = [Outcome::Applied, Outcome::Repeated, Outcome::Conflict(Conflict::NameTaken)];
        let bytes = outcomes.map(|outcome| hex(write.transaction().resolution(outcome).unwrap().as_bytes()));
        assert_eq!(bytes, ["0100", "0101", "010201"], "section 25");
        let names = outcomes.map(|outcome| format!("{outcome:?}"));
        names.iter().zip(&bytes).map(|(name, bytes)| json!({ "name": name, "bytes": bytes })).collect()
    }
}

pub(crate) fn compute() -> Value {
    let setup = ServerSetup::generate(&mut ChaCha20Rng::seed_from_u64(1)).unwrap();
    let key = FleetKey::from_bytes(&KEY).unwrap();
    let node = Server::in_fleet(setup, "keys.example.com", ServerPolicy::default(), key).unwrap();
    let mut world = World { fleet: Fleet::new(vec![node], MemoryStore::new(), 2), rows: Vec::new() };
    let (client, rng) = (run::client(), &mut ChaCha20Rng::seed_from_u64(3));

    let mut registration = client.register("a password", rng).unwrap();
    let answer = world.fleet.answer(0, registration.message().clone(), NOW).unwrap();
    let row = world.fleet.store.sessions[&answer.session_id()].clone();
    world.note("register", answer.session_id(), &row.session, Some(row.expires.as_millis()));
    registration.receive(answer).unwrap();
    world.export("handed over: registering", registration.message());
    let resolutions = world.resolutions(registration.message());
    let upload = registration.message().clone();
    world.run("register", registration);
    world.export("handed over: ended", &upload);

    let mut session = world.run("log in", client.log_in("a password", None, rng).unwrap());
    world.run("status", session.status().unwrap());
    let pending = world.run("generate", session.generate(&[Kind::Bytes(1)], rng).unwrap());
    let stored = world.run("store", session.store(&pending).unwrap());
    session.settle(stored).unwrap();
    let changed = world.run("change password", session.change_password("another", rng).unwrap());
    session.settle(changed).unwrap();
    world.export("handed over: open", session.status().unwrap().message());
    world.run("log out", session.log_out().unwrap());
    json!({ "about": ABOUT, "version": 1, "fleet_key": hex(&KEY), "sessions": world.rows, "resolutions": resolutions })
}

/// Section 25: each session's key, nonce and associated data, and what is inside.
pub(crate) fn open(book: &mut Book, fleet: &Value) {
    for row in fleet["sessions"].as_array().unwrap() {
        let text = |field: &str| row[field].as_str().unwrap();
        let (name, session_id, version) = (text("name"), unhex(text("session_id")), row["version"].as_u64().unwrap());
        let key = book.key(&format!("{name}: session key"), &KEY, "session", &[&session_id]);
        let aad = [&[1, 1][..], &session_id, &version.to_be_bytes()].concat();
        book.open(&format!("stored session: {name}"), &key, &nonce(version), &aad, &unhex(text("sealed")));
    }
}
