//! Vectors: the bytes of version 1, pinned. `tests/vectors/v1.json` holds a whole run from fixed seeds: every message,
//! record and value that somebody stores or sends, and the vault's heads with the keys behind them, which
//! `tests/vectors/schedule.rs` computes once more from the protocol's page alone.
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

#[path = "vectors/run.rs"]
mod run;
#[path = "vectors/schedule.rs"]
mod schedule;

use std::fs;
use std::sync::LazyLock;

use keystow::operation::{Reply, Request};
use keystow::testing::converse;
use keystow::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use run::{Message, Vectors, client, compute, hex, key_id, restored, unhex, vault};
use schedule::Head;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/v1.json");

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
    assert_eq!(computed.vault, committed.vault, "{CHANGED}: vault keys and heads");
    assert_eq!(computed, *committed, "{CHANGED}");
}

#[test]
fn the_committed_run_has_every_message_and_kind() {
    let committed = &*COMMITTED;
    let steps: Vec<_> = committed.messages.iter().map(|message| message.operation.as_str()).collect();
    let twice = |operation| [operation; 2];
    let expected = [twice("register"); 2].into_iter().chain([twice("log in"); 3]);
    let expected = expected.chain(["generate", "store", "retrieve", "list", "import", "store", "delete"].map(twice));
    let expected = expected.chain([twice("change password"); 2]).chain(["audit", "status", "log out"].map(twice));
    let expected = expected.chain([twice("log in"); 3]).chain([twice("delete account"); 2]).flatten();
    assert_eq!(steps, expected.collect::<Vec<_>>());
    let kinds: Vec<_> = committed.secrets.iter().map(|secret| secret.kind.as_str()).collect();
    assert_eq!(kinds, ["bytes(32)", "secp256k1", "ed25519"]);
    assert_eq!(committed.audit_entries.len(), 4, "register, log in, store, retrieve");
    assert_eq!(committed.custody.audit_entries.len(), 8, "and list, store, delete, change password");
}

#[test]
fn every_committed_value_decodes_and_encodes_to_the_same_bytes() {
    let committed = &*COMMITTED;
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
    for Head { sealed, pin, pin_text, .. } in &committed.vault.heads {
        let head = SealedHead::from_bytes(unhex(sealed).try_into().unwrap()).pin();
        let read = VaultPin::from_bytes(&unhex(pin).try_into().unwrap());
        assert_eq!((head, hex(&read.to_bytes()), pin_text.parse()), (read, pin.clone(), Ok(read)));
        assert_eq!(read.to_string(), *pin_text);
    }
    for entry in committed.audit_entries.iter().chain(&committed.custody.audit_entries) {
        let again = AuditEntry::from_bytes(&unhex(entry)).unwrap().to_record().unwrap();
        assert_eq!(hex(again.as_bytes()), *entry);
    }
}

/// The page's words for it: nothing but the password, the server's setup and records, and the messages' places goes in.
#[test]
fn the_committed_vault_keys_and_heads_are_what_the_protocol_says() {
    let committed = &*COMMITTED;
    let session_id = |head: &Head| SessionId::from_bytes(unhex(&head.session_id).try_into().unwrap());
    let places: Vec<_> = committed.vault.heads.iter().map(|head| (session_id(head), head.sequence)).collect();
    assert_eq!(vault(committed, &places), committed.vault);
    let says = committed.vault.heads.iter().map(|head| (head.sequence, head.count)).collect::<Vec<_>>();
    assert_eq!(says, [(1, 0), (4, 3), (8, 4), (9, 3), (11, 3), (3, 0)], "heads move with the changes and no others");
}

/// `Request::Heads` is variant 10, with an optional epoch; `Reply::Heads` is variant 12: a list of heads, and an epoch.
#[test]
fn the_committed_logins_ask_for_the_newest_head_and_for_those_behind_a_pin() {
    let committed = &*COMMITTED;
    let bodies: Vec<_> = committed.messages.iter().filter(|message| message.operation == "log in").collect();
    let body = |number: usize| bodies[number].body.as_deref().unwrap();
    let heads: Vec<_> = committed.vault.heads.iter().map(|head| head.sealed.as_str()).collect();
    assert_eq!((body(4), body(5)), ("0a00", ["0c01", heads[0], "00"].concat().as_str()));
    assert_eq!((body(10), body(11)), ("0a0101", ["0c04", &heads[1..5].concat(), "04"].concat().as_str()));
}

/// A database and a server setup of version 1, read from the file alone, serve their person still: one who has kept the
/// first pin.
#[test]
fn what_version_1_stored_still_opens_with_the_password() {
    let committed = &*COMMITTED;
    let server_key = ServerSetup::from_bytes(&unhex(&committed.server_setup)).unwrap().server_key().unwrap();
    assert_eq!(server_key.to_string(), committed.server_key);
    let (mut server, mut rng) = (restored(committed), ChaCha20Rng::seed_from_u64(99));
    let now = Timestamp::from_millis(committed.inputs.now_millis + 1);
    let client = client().pin_server_key(server_key);
    let pins: Vec<VaultPin> = committed.vault.heads.iter().map(|head| head.pin_text.parse().unwrap()).collect();
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
