//! Rule 17 for the rest: imports and exports, a fleet's sessions, what an embedder denies. As `leaks.rs`, everything that can be
//! printed, sent or stored is searched for the secrets behind it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod hostile;
mod support;

use std::collections::BTreeSet;

use hostile::device::{Device, expand};
use hostile::witness::{PASSWORD, Witness};
use keystow::storage::{Query, SessionQuery};
use keystow::testing::{Fleet, MemoryStore, Store};
use keystow::*;
use support::{IDENTITY, NOW, World, client, rng};

const VAULT_KEY: [u8; 32] = *b"\xf0\xe1\xd2\xc3 a vault key of 28 odd bytes";
const FLEET_KEY: [u8; 32] = *b"\x9f a fleet's key of 31 odd bytes\x81";
/// A scalar of secp256k1, and a seed of Ed25519.
const KEY: [u8; 32] = *b"a key that a person has had long";

fn imports() -> Vec<PlainSecret> {
    vec![
        PlainSecret::bytes(KEY.repeat(3)).unwrap(),
        PlainSecret::raw(Kind::Secp256k1, KEY).unwrap(),
        PlainSecret::raw(Kind::Ed25519, KEY).unwrap(),
    ]
}

/// The lines of a PEM block that are the key's alone, without the name of the format, in pieces that a line holds.
fn base64(pem: &str) -> Vec<u8> {
    pem.lines().filter(|line| !line.starts_with('-')).flat_map(str::bytes).skip(24).collect()
}

#[test]
fn rule_17_no_imported_or_exported_secret_is_printed_sent_or_stored() {
    let mut witness = Witness::default();
    let mut world = support::world(1);
    let device = Device::register(&mut world, "ada", PASSWORD, VAULT_KEY);
    let mut session = witness.log_in(&mut world, PASSWORD).unwrap();
    witness.must_not_see("imported", &KEY);
    witness.prints("plain secrets", &imports());
    let import = session.import(imports(), &mut world.rng).unwrap();
    let pending = witness.run(&mut world, import).unwrap();
    witness.prints("pending secrets", &pending);
    witness.bytes("pending secrets' bytes", &pending.encode().unwrap());
    for sealed in hostile::sealed(&pending) {
        witness.must_not_see("record key", &expand(&device.vault_key, "record", &[&sealed.header.to_bytes()]));
        witness.prints("sealed secret", &sealed);
    }
    let store = session.store(&pending).unwrap();
    let unsettled = witness.run(&mut world, store).unwrap();
    witness.prints("unsettled store", &unsettled);
    let key_ids: Vec<KeyId> = session.settle(unsettled).unwrap().iter().map(|secret| secret.key_id).collect();
    let retrieve = session.retrieve(&key_ids).unwrap();
    let secrets = witness.run(&mut world, retrieve).unwrap();
    for key in &secrets[1..] {
        witness.prints("retrieved secret", key);
        witness.prints("PKCS#8", &key.to_pkcs8_der().unwrap());
        witness.must_not_see("PEM", &base64(&key.to_pkcs8_pem().unwrap()));
    }
    witness.must_not_see("PEM", &base64(&secrets[1].to_sec1_pem().unwrap()));
    witness.prints("signature", &secrets[1].sign_ecdsa(b"message").unwrap());
    for wrong in [secrets[0].to_pkcs8_der().map(|_| ()), secrets[0].to_pkcs8_pem().map(|_| ())] {
        witness.displays("error", &wrong.unwrap_err());
    }
    witness.displays("error", &secrets[2].sign_ecdsa(b"message").unwrap_err());

    let status = session.status().unwrap();
    let status = witness.run(&mut world, status).unwrap();
    witness.prints("status", &status);
    let audit = session.audit(AuditFilter::default(), None, 256).unwrap();
    let page = witness.run(&mut world, audit).unwrap();
    witness.prints("audit page", &page);
    let log_out = session.log_out().unwrap();
    witness.run(&mut world, log_out).unwrap();
    witness.store(&world);
    assert_eq!(witness.leaks(), BTreeSet::new());
    for what in ["plain secrets", "exchange", "PKCS#8", "signature", "audit page", "audit entry", "store"] {
        assert!(witness.seen.iter().any(|(seen, _)| seen == what), "{what}");
    }
}

#[test]
fn rule_17_what_can_not_be_imported_is_not_in_the_error() {
    let mut witness = Witness::default();
    let hex: String = KEY.iter().map(|byte| format!("{byte:02x}")).collect();
    witness.must_not_see("imported", &KEY);
    witness.must_not_see("hexadecimal", hex.as_bytes());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{hex}\n-----END PRIVATE KEY-----\n");
    let (secp256k1, ed25519) = (Kind::Secp256k1, Kind::Ed25519);
    let outcomes = [
        PlainSecret::bytes(b""),
        PlainSecret::raw(secp256k1, &KEY[1..]),
        PlainSecret::raw(Kind::Bytes(7), KEY),
        PlainSecret::hex(ed25519, hex.get(1..).unwrap()),
        PlainSecret::hex(ed25519, &[&hex, "zz"].concat()),
        PlainSecret::pkcs8_der(secp256k1, &KEY),
        PlainSecret::pkcs8_der(Kind::Bytes(32), &KEY),
        PlainSecret::pkcs8_pem(ed25519, &pem),
        PlainSecret::sec1_der(&KEY),
        PlainSecret::sec1_pem(&pem),
    ];
    for outcome in outcomes {
        witness.displays("error", &outcome.map(|_| ()).unwrap_err());
    }
    assert_eq!(witness.leaks(), BTreeSet::new());
}

/// A world and a fleet of one node that share a setup: an account that is registered in one is served by the other.
fn fleet(world: &World) -> Fleet<MemoryStore> {
    let key = FleetKey::from_bytes(&FLEET_KEY).unwrap();
    let setup = ServerSetup::generate(&mut rng(1)).unwrap();
    let node = Server::in_fleet(setup, IDENTITY, ServerPolicy::default(), key).unwrap();
    Fleet::new(vec![node], world.server.store.clone(), 5)
}

/// One message at a fleet's node, with everything on the way printed.
fn serve(witness: &mut Witness, fleet: &mut Fleet<MemoryStore>, message: &ClientMessage) -> ServerMessage {
    witness.prints("client message", message);
    let query = SessionQuery::new(message.session_id().unwrap());
    witness.prints("session query", &query);
    witness.prints("found session", &fleet.store.read(&Query::Session(query)).unwrap());
    let mut session = fleet.session(0, message).unwrap();
    witness.prints("resumed session", &session);
    let mut step = session.receive(message.clone(), NOW).unwrap();
    let answer = loop {
        witness.prints("step", &step);
        step = match step {
            Step::Read(read) => {
                let found = fleet.store.read(read.query()).unwrap();
                read.found(found).unwrap()
            }
            Step::Write(write) => {
                witness.prints("transaction", write.transaction());
                let advance = write.transaction().advance.as_ref().unwrap();
                witness.prints("advance", advance);
                witness.bytes("sealed session", advance.sealed.as_bytes());
                let outcome = fleet.store.apply(write.transaction()).unwrap();
                break write.settle(outcome).unwrap();
            }
            Step::Reply(reply) => break reply,
        };
    };
    witness.prints("fleet", fleet);
    witness.prints("node", &fleet.nodes[0]);
    witness.prints("server message", &answer);
    for row in fleet.store.sessions.values() {
        witness.prints("session's row", row);
    }
    answer
}

#[test]
fn rule_17_no_key_of_a_fleets_session_is_printed_or_stored() {
    let mut witness = Witness::default();
    let mut world = support::world(1);
    let device = Device::register(&mut world, "ada", PASSWORD, VAULT_KEY);
    let mut fleet = fleet(&world);
    witness.must_not_see("fleet key", &FLEET_KEY);
    witness.must_not_see("vault key", &device.vault_key);
    witness.must_not_see("password", PASSWORD.as_bytes());
    witness.prints("fleet key", &FleetKey::from_bytes(&FLEET_KEY).unwrap());
    witness.prints("fleet key's bytes", &FleetKey::from_bytes(&FLEET_KEY).unwrap().to_bytes());
    witness.displays("error", &FleetKey::from_bytes(&FLEET_KEY[1..]).map(|_| ()).unwrap_err());
    let mut exchange = client("ada").log_in(PASSWORD, None, &mut world.rng).unwrap();
    let id = exchange.message().session_id().unwrap();
    witness.must_not_see("key of the sealed session", &expand(&FLEET_KEY, "session", &[id.as_bytes()]));
    let mut session = loop {
        let answer = serve(&mut witness, &mut fleet, &exchange.message().clone());
        if let Some(session) = exchange.receive(answer).unwrap() {
            break session.unwrap();
        }
    };
    let list = session.list().unwrap();
    serve(&mut witness, &mut fleet, &list.message().clone());
    let first = client("ada").log_in(PASSWORD, None, &mut rng(6)).unwrap().message().clone();
    let mut damaged = fleet.store.sessions[&id].session.clone();
    damaged.sealed[0] ^= 1;
    let (node, key) = (&fleet.nodes[0], FleetKey::from_bytes(&FLEET_KEY).unwrap());
    witness.displays("error", &node.import(&key, id, &damaged).map(|_| ()).unwrap_err());
    let exported = fleet.session(0, &list.message().clone()).unwrap().export(&key).unwrap();
    witness.prints("exported session", &exported);
    witness.bytes("exported session's bytes", &exported.unwrap().1.sealed);
    assert!(fleet.session(0, &first).unwrap().export(&key).unwrap().is_none());
    assert_eq!(witness.leaks(), BTreeSet::new());
    assert!(witness.seen.iter().filter(|(what, _)| what == "session's row").count() >= 8);
}

/// An embedder that logs what it denies shows no reply: neither the one that would have gone, nor the refusal's frame.
#[test]
fn rule_17_a_denied_step_prints_no_secret_and_no_reply() {
    for fleet_node in [false, true] {
        let mut witness = Witness::default();
        let mut world = support::world(1);
        let device = Device::register(&mut world, "ada", PASSWORD, VAULT_KEY);
        witness.must_not_see("vault key", &device.vault_key);
        witness.must_not_see("fleet key", &FLEET_KEY);
        let record = &world.server.store.accounts[client("ada").account()].record;
        // From the client's public key on: upload and wrap.
        witness.must_not_see("account record", &record[53..]);
        let mut fleet = fleet(&world);
        let mut exchange = client("ada").log_in(PASSWORD, None, &mut world.rng).unwrap();
        let message = exchange.message().clone();
        let mut alone = world.server.server.accept(&mut world.rng);
        for at_the_write in [false, true] {
            let mut other = fleet.session(0, &message).unwrap();
            let session = if fleet_node { &mut other } else { &mut alone };
            let Step::Read(read) = session.receive(message.clone(), NOW).unwrap() else { panic!("no read") };
            let denied = if at_the_write {
                let found = fleet.store.read(read.query()).unwrap();
                let Step::Write(write) = read.found(found).unwrap() else { panic!("no write") };
                witness.prints("write", &write);
                write.deny().unwrap()
            } else {
                witness.prints("read", &read);
                read.deny().unwrap()
            };
            witness.prints("denied", &denied);
            match denied {
                Denied::Write(write) => witness.prints("denied write's transaction", write.transaction()),
                Denied::Reply(reply) => {
                    witness.prints("denial", &reply);
                    let error = exchange.receive(reply).unwrap_err();
                    witness.displays("error", &error);
                    alone = world.server.server.accept(&mut world.rng);
                }
            }
        }
        assert_eq!(witness.leaks(), BTreeSet::new());
        assert_eq!(witness.seen.iter().filter(|(what, _)| what == "denied").count(), 4, "two, plain and pretty");
    }
}
