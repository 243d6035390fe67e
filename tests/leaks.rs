//! Rule 17: no secret in `Debug`, in an error, in a message or in a record. Every flow runs with known secrets, everything that
//! can be printed on the way is printed, and the output is searched for them in every form that bytes are printed in.
//! (What stays behind in freed memory can't be searched from here.)
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
use hostile::witness::{KINDS, PASSWORD, Witness};
use keystow::*;
use support::{IDENTITY, World, client};

const VAULT_KEY: [u8; 32] = *b"\xf0\xe1\xd2\xc3 a vault key of 28 odd bytes";

/// A world whose setup is a secret that the witness knows.
fn world(witness: &mut Witness) -> World {
    let mut world = support::world(1);
    let setup = ServerSetup::generate(&mut support::rng(7)).unwrap();
    // Version byte, OPRF seed of 64 bytes, private key of 32; what follows is a public key.
    witness.must_not_see("server setup", &setup.to_bytes().expose()[1..97]);
    witness.prints("server setup", &setup);
    witness.prints("server setup's bytes", &setup.to_bytes());
    world.server.server = Server::new(setup, IDENTITY, ServerPolicy::default()).unwrap();
    world
}

#[test]
fn rule_17_no_secret_is_printed_sent_or_stored_on_the_way_from_registration_to_retrieval() {
    let mut witness = Witness::default();
    let mut world = world(&mut witness);
    witness.register(&mut world);
    witness.use_account(&mut world);
    witness.store(&world);
    assert_eq!(witness.secrets.len(), 2 + 3 + 3 + 1 + KINDS.len(), "everything that is searched for");
    assert_eq!(witness.leaks(), BTreeSet::new());
}

/// The same with a vault key that the test has chosen, and all that is derived from it.
#[test]
fn rule_17_no_key_of_the_vault_is_printed_sent_or_stored() {
    let mut witness = Witness::default();
    let mut world = world(&mut witness);
    let device = Device::register(&mut world, "ada", PASSWORD, VAULT_KEY);
    witness.secrets.clear();
    witness.must_not_see("vault key", &device.vault_key);
    witness.must_not_see("export key", &device.export_key);
    witness.must_not_see("wrap key", &expand(&device.export_key, "vault wrap", &[device.user_id.as_bytes()]));
    for label in ["binder", "generation hedge"] {
        witness.must_not_see(label, &expand(&device.vault_key, label, &[]));
    }
    let (_, pending) = witness.use_account(&mut world);
    for pending in &pending {
        let header = hostile::sealed(pending).header.to_bytes();
        witness.must_not_see("record key", &expand(&device.vault_key, "record", &[&header]));
    }
    witness.store(&world);
    assert_eq!(witness.leaks(), BTreeSet::new());
}

#[test]
fn rule_17_no_secret_is_in_an_error_or_a_refusal() {
    let mut witness = Witness::default();
    let mut world = world(&mut witness);
    witness.register(&mut world);
    let (mut session, pending) = witness.use_account(&mut world);

    let wrong = "another pass phrase that is nowhere else";
    witness.must_not_see("wrong password", wrong.as_bytes());
    assert_eq!(witness.log_in(&mut world, wrong).map(|_| ()), Err(PeerFault::LoginFailed.into()));
    let long = PASSWORD.repeat(200);
    for password in ["", &long] {
        let log_in = client("ada").log_in(password, None, &mut world.rng).map(|_| ()).unwrap_err();
        let register = client("ada").register(password, &mut world.rng).map(|_| ()).unwrap_err();
        for error in [log_in, register] {
            assert!(matches!(error, Error::Caller(CallerFault::PasswordLength { .. })));
            witness.displays("error", &error);
        }
    }
    let again = client("ada").register(PASSWORD, &mut world.rng).unwrap();
    assert_eq!(witness.run(&mut world, again), Err(Refusal::NameTaken.into()));

    // A setup, a pending secret, a stored secret and an account that were damaged.
    let mut setup = ServerSetup::generate(&mut support::rng(7)).unwrap().to_bytes().expose().to_vec();
    setup[65..97].fill(0xff);
    witness.displays("error", &ServerSetup::from_bytes(&setup).map(|_| ()).unwrap_err());
    let mut bytes = pending[0].encode().unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let damaged = PendingSecret::decode(&bytes).unwrap();
    witness.displays("error", &session.store(&[damaged]).map(|_| ()).unwrap_err());
    let place = (session.user_id(), pending[0].key_id());
    for record in [[&[1, 0], &bytes[1..]].concat(), bytes[..9].to_vec()] {
        world.server.store.secrets.insert(place, record);
        let retrieve = session.retrieve(&[pending[0].key_id()]).unwrap();
        let error = witness.run(&mut world, retrieve).map(|_| ()).unwrap_err();
        witness.displays("error", &error);
    }
    let row = world.server.store.accounts.get_mut(client("ada").account()).unwrap();
    *row.record.last_mut().unwrap() ^= 1;
    assert_eq!(witness.log_in(&mut world, PASSWORD).map(|_| ()), Err(PeerFault::DamagedWrap.into()));
    assert_eq!(witness.leaks(), BTreeSet::new());
}

/// What holds keys that this test can't know prints no list of bytes, and no hexadecimal but names and public keys.
#[test]
fn rule_17_what_holds_keys_prints_no_bytes_but_names() {
    let mut witness = Witness::default();
    let mut world = world(&mut witness);
    witness.register(&mut world);
    let (session, pending) = witness.use_account(&mut world);
    let public = [
        session.user_id().to_string(),
        session.server_key().to_string(),
        session.session_id().to_string(),
        pending[0].key_id().to_string(),
    ];
    let holders = ["exchange", "ended exchange", "client session", "server session", "server setup", "server"];
    let mut looked_at = 0;
    for (what, text) in witness.seen.iter().filter(|(what, _)| holders.contains(&what.as_str())) {
        let text = String::from_utf8(text.clone()).unwrap();
        let numbers = text.split(|c: char| !c.is_ascii_digit() && !c.is_ascii_whitespace() && c != ',');
        let longest = numbers.map(|run| run.split(',').count()).max();
        assert!(longest < Some(8), "a list of bytes in {what}: {text}");
        let of_another_session = |word: &str| world.server.sessions.keys().any(|id| id.to_string() == *word);
        for word in text.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() >= 16) {
            assert!(public.iter().any(|name| name == word) || of_another_session(word), "{word} in {what}: {text}");
        }
        looked_at += 1;
    }
    assert!(looked_at > 40, "{looked_at}");
}

/// A record is worth a password guess to whoever has the server's setup too, so logs don't show it.
#[test]
fn rule_17_what_a_store_found_and_is_told_to_write_shows_no_record() {
    let mut witness = Witness::default();
    let mut world = world(&mut witness);
    witness.register(&mut world);
    witness.use_account(&mut world);
    witness.seen.retain(|(what, _)| ["query", "found", "transaction"].contains(&what.as_str()));
    witness.secrets.clear();
    let account = &world.server.store.accounts[client("ada").account()];
    // From the client's public key on: upload and wrap, behind names and identifiers.
    witness.must_not_see("account record", &account.record[53..]);
    for (_, record) in world.server.store.secrets.iter() {
        let ciphertext = &record[record.len() - 24..];
        witness.must_not_see("secret record", ciphertext);
    }
    assert_eq!(witness.leaks(), BTreeSet::new());
}

/// The search finds what it looks for, in each of its forms and in a part alone.
#[test]
fn rule_17_the_search_itself_finds_a_secret_in_every_form() {
    let secret: Vec<u8> = (200..232).collect();
    let lower: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let printed = [
        ("bytes", [b"before", &secret[..], b"after"].concat()),
        ("a part", [b"before", &secret[8..16], b"after"].concat()),
        ("hex", lower.clone().into_bytes()),
        ("upper-case hex", lower.to_uppercase().into_bytes()),
        ("Debug", format!("{:?}", Some(&secret)).into_bytes()),
        ("pretty Debug", format!("{:#?}", Some(&secret)).into_bytes()),
        ("Debug in hex", format!("{secret:x?}").into_bytes()),
        ("JSON", serde_json::to_vec(&secret).unwrap()),
    ];
    for (form, text) in printed {
        let mut witness = Witness::default();
        witness.must_not_see("secret", &secret);
        witness.bytes(form, &text);
        assert!(!witness.leaks().is_empty(), "{form}");
        witness.secrets = vec![("another", vec![7; 32])];
        assert_eq!(witness.leaks(), BTreeSet::new());
    }
}
