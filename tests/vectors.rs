//! Vectors: the bytes of version 1, pinned. `docs/protocol.md`, section 29, says what is in each file of `tests/vectors/v1/`.
//!
//! **A byte that changes here is another protocol or another database format: it means a new version byte, not a new
//! file.** Only before the first release, or to add a vector, are the files written anew:
//!
//! ```text
//! KEYSTOW_WRITE_VECTORS=1 cargo test --test vectors
//! ```
//!
//! An update of a dependency that draws its random bytes in another order changes these bytes as well, and isn't another
//! format: then the last test still passes with the old files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

#[path = "vectors/file.rs"]
mod file;
#[path = "vectors/fleet.rs"]
mod fleet;
#[path = "vectors/messages.rs"]
mod messages;
#[path = "vectors/opaque.rs"]
mod opaque;
#[path = "vectors/page.rs"]
mod page;
#[path = "vectors/records.rs"]
mod records;
#[path = "vectors/replay.rs"]
mod replay;
#[path = "vectors/run.rs"]
mod run;
#[path = "vectors/schedule.rs"]
mod schedule;
#[path = "vectors/variants.rs"]
mod variants;
#[path = "vectors/vault.rs"]
mod vault;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use file::{assert_unchanged, hex, unhex};
use keystow::operation::{Reply, Request};
use keystow::testing::converse;
use keystow::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use run::{Message, Vectors, client, key_id, restored};
use serde_json::{Value, json};

/// The run, once.
static RUN: LazyLock<Vectors> = LazyLock::new(run::compute);
/// What a fleet stores of its sessions.
static FLEET: LazyLock<Value> = LazyLock::new(fleet::compute);

const WIRE: &str = "\
If that wasn't meant, undo it. If it was, it is another protocol: raise VERSION in src/suite.rs (and the labels' `v1`), \
keep tests/vectors/v1 as it is and write vectors of the new version beside it, say in docs/protocol.md what each version \
means, and say in CHANGELOG.md what becomes of records and devices of the old one. Only before the first release, or to add \
a vector: KEYSTOW_WRITE_VECTORS=1 cargo test --test vectors";

const SESSIONS: &str = "\
If that wasn't meant, undo it. A stored session lives for minutes, so it has a number of its own: raise LAYOUT in \
src/server/saved.rs, so that nodes of two builds refuse each other's sessions, and write the file anew: \
KEYSTOW_WRITE_VECTORS=1 cargo test --test vectors";

fn run_json() -> Value {
    serde_json::to_value(&*RUN).unwrap()
}

fn schedule_json() -> Value {
    let (mut book, heads) = schedule::compute(&RUN);
    fleet::open(&mut book, &FLEET);
    json!({ "about": schedule::ABOUT, "version": 1, "steps": book.0, "heads": heads })
}

type Compute = fn() -> Value;

/// The files, and what each should hold.
const FILES: [(&str, Compute); 5] = [
    ("run.json", run_json),
    ("schedule.json", schedule_json),
    ("messages.json", messages::compute),
    ("records.json", || records::compute(&RUN)),
    ("fleet.json", || FLEET.clone()),
];

/// What is committed, read once; written first if the environment says so.
static COMMITTED: LazyLock<BTreeMap<&str, Value>> =
    LazyLock::new(|| FILES.into_iter().map(|(name, compute)| (name, file::read(name, compute))).collect());

fn committed_run() -> Vectors {
    serde_json::from_value(COMMITTED["run.json"].clone()).unwrap()
}

/// The snapshot of one file.
fn check(name: &str, instead: &str) {
    let compute = FILES.iter().find(|(file, _)| *file == name).unwrap().1;
    assert_unchanged(name, &compute(), &COMMITTED[name], instead);
}

#[test]
fn every_byte_of_a_run_from_fixed_seeds_is_the_committed_one() {
    check("run.json", WIRE);
}

#[test]
fn every_step_of_the_key_schedule_is_the_committed_one_and_gives_what_the_run_has_by_the_protocols_page_alone() {
    check("schedule.json", WIRE);
}

#[test]
fn every_message_request_reply_and_refusal_is_encoded_as_committed() {
    check("messages.json", WIRE);
}

#[test]
fn every_record_header_key_id_and_pin_is_encoded_as_committed() {
    check("records.json", WIRE);
}

#[test]
fn every_session_that_a_fleet_stores_is_sealed_and_laid_out_as_committed() {
    check("fleet.json", SESSIONS);
}

#[test]
fn the_committed_run_has_every_message_and_kind() {
    let committed = &committed_run();
    let steps: Vec<_> = committed.messages.iter().map(|message| message.operation.as_str()).collect();
    let twice = |operation| [operation; 2];
    let expected = [twice("register"); 2].into_iter().chain([twice("log in"); 3]);
    let expected = expected.chain(["generate", "store", "retrieve", "list", "import", "store", "delete"].map(twice));
    let expected = expected.chain([twice("change password"); 2]).chain(["audit", "status", "log out"].map(twice));
    let expected = expected.chain([twice("log in"); 3]).chain([twice("delete account"); 2]);
    let expected = expected.chain([twice("log in as nobody")]).flatten();
    assert_eq!(steps, expected.collect::<Vec<_>>());
    let kinds: Vec<_> = committed.secrets.iter().map(|secret| secret.kind.as_str()).collect();
    assert_eq!(kinds, ["bytes(32)", "secp256k1", "ed25519"]);
    assert_eq!(committed.audit_entries.len(), 4, "register, log in, store, retrieve");
    assert_eq!(committed.custody.audit_entries.len(), 8, "and list, store, delete, change password");
}

#[test]
fn every_committed_value_decodes_and_encodes_to_the_same_bytes() {
    let committed = &committed_run();
    for Message { direction, bytes, body, .. } in &committed.messages {
        let again = match direction.as_str() {
            "client to server" => ClientMessage::decode(&unhex(bytes)).unwrap().encode(),
            _ => ServerMessage::decode(&unhex(bytes)).unwrap().encode(),
        };
        assert_eq!(hex(&again.unwrap()), *bytes);
        let Some(body) = body.as_deref().map(unhex) else { continue };
        let again = match direction.as_str() {
            "client to server" => postcard::to_allocvec(&postcard::from_bytes::<Request>(&body).unwrap()),
            _ => postcard::to_allocvec(&postcard::from_bytes::<Reply>(&body).unwrap()),
        };
        assert_eq!(again.unwrap(), body);
    }
    for pending in [&committed.pending, &committed.custody.pending_import] {
        assert_eq!(hex(&PendingSecrets::decode(&unhex(pending)).unwrap().encode().unwrap()), *pending);
    }
    let pending = PendingSecrets::decode(&unhex(&committed.pending)).unwrap();
    let key_ids: Vec<_> = pending.key_ids().map(|key_id| key_id.to_string()).collect();
    assert_eq!(key_ids, committed.secrets.iter().map(|secret| secret.key_id.as_str()).collect::<Vec<_>>());
    for entry in committed.audit_entries.iter().chain(&committed.custody.audit_entries) {
        let again = AuditEntry::from_bytes(&unhex(entry)).unwrap().to_record().unwrap();
        assert_eq!(hex(again.as_bytes()), *entry);
    }
}

/// Heads move with the changes and no others; each has its pin.
#[test]
fn the_committed_heads_say_what_the_changes_came_to_and_their_pins_read_back() {
    let (run, schedule) = (committed_run(), &COMMITTED["schedule.json"]);
    let heads = schedule["heads"].as_array().unwrap();
    let says: Vec<_> = heads.iter().map(|head| (head["sequence"].as_u64(), head["count"].as_u64())).collect();
    let expected = [(1, 0), (4, 3), (8, 4), (9, 3), (11, 3), (3, 0)];
    assert_eq!(says, expected.map(|(sequence, count)| (Some(sequence), Some(count))));
    assert_eq!(heads.len(), run.heads.len());
    for (head, record) in heads.iter().zip(&run.heads) {
        let [sealed, pin, pin_text] = ["head", "pin", "pin_text"].map(|field| head[field].as_str().unwrap());
        assert_eq!(*record, format!("01{sealed}"));
        let read = VaultPin::from_bytes(&unhex(pin).try_into().unwrap());
        assert_eq!(SealedHead::from_bytes(unhex(sealed).try_into().unwrap()).pin(), read);
        assert_eq!((hex(&read.to_bytes()).as_str(), pin_text.parse()), (pin, Ok(read)));
        assert_eq!(read.to_string(), pin_text);
    }
}

/// `Request::Heads` is variant 10, with an optional epoch; `Reply::Heads` is variant 12: a list of heads, and an epoch.
#[test]
fn the_committed_logins_ask_for_the_newest_head_and_for_those_behind_a_pin() {
    let committed = &committed_run();
    let bodies: Vec<_> = committed.messages.iter().filter(|message| message.operation == "log in").collect();
    let body = |number: usize| bodies[number].body.as_deref().unwrap();
    let heads: Vec<_> = committed.heads.iter().map(|record| record.strip_prefix("01").unwrap()).collect();
    assert_eq!((body(4), body(5)), ("0a00", ["0c01", heads[0], "00"].concat().as_str()));
    assert_eq!((body(10), body(11)), ("0a0101", ["0c04", &heads[1..5].concat(), "04"].concat().as_str()));
}

/// A database and a server setup of version 1, read from the file alone, serve their person still: one who has kept the
/// first pin.
#[test]
fn what_version_1_stored_still_opens_with_the_password() {
    let committed = &committed_run();
    let server_key = ServerSetup::from_bytes(&unhex(&committed.server_setup)).unwrap().server_key().unwrap();
    assert_eq!(server_key.to_string(), committed.server_key);
    let (mut server, mut rng) = (restored(committed), ChaCha20Rng::seed_from_u64(99));
    let now = Timestamp::from_millis(committed.inputs.now_millis + 1);
    let client = client().pin_server_key(server_key);
    let pin = |record: &String| SealedHead::from_bytes(unhex(record)[1..].try_into().unwrap()).pin();
    let pins: Vec<VaultPin> = committed.heads.iter().map(pin).collect();
    let login = client.log_in(&committed.inputs.password, Some(pins[0]), &mut rng).unwrap();
    let mut session = converse(login, &mut server, now).unwrap().unwrap();
    assert_eq!(session.pin(), pins[1]);
    let listed = converse(session.list().unwrap(), &mut server, now).unwrap().unwrap();
    assert_eq!(session.settle(listed).unwrap().len(), committed.secrets.len(), "the list is complete");
    let key_ids: Vec<KeyId> = committed.secrets.iter().map(key_id).collect();
    let opened = converse(session.retrieve(&key_ids).unwrap(), &mut server, now).unwrap().unwrap();
    for (opened, committed) in opened.iter().zip(&committed.secrets) {
        assert_eq!(hex(opened.expose()), committed.secret);
        assert_eq!(opened.public().map(ToString::to_string), committed.public);
    }
}
