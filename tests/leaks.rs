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
use keystow::operation::{Reply, store};
use keystow::testing::MemoryStore;
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
    for label in ["binder", "generation hedge", "vault head", "vault element"] {
        witness.must_not_see(label, &expand(&device.vault_key, label, &[]));
    }
    let (_, pending) = witness.use_account(&mut world);
    for sealed in hostile::sealed(&pending) {
        let header = sealed.header.to_bytes();
        witness.must_not_see("record key", &expand(&device.vault_key, "record", &[&header]));
    }
    witness.store(&world);
    assert_eq!(witness.leaks(), BTreeSet::new());
}

/// Ends an exchange that has moved the vault's head, or looked for it, and prints what there is on the way.
fn settle<T: core::fmt::Debug, O: client::Operation<Output = Unsettled<T>>>(
    witness: &mut Witness,
    world: &mut World,
    session: &mut ClientSession,
    exchange: Exchange<O>,
) -> T {
    let unsettled = witness.run(world, exchange).unwrap();
    witness.prints("unsettled", &unsettled);
    let output = session.settle(unsettled).unwrap();
    witness.prints("settled", &output);
    witness.prints("client session", session);
    output
}

/// What a vault comes to is known to its devices alone: each of its elements, and their sum before and after each change.
#[test]
fn rule_17_no_element_and_no_digest_of_the_vault_is_printed_sent_or_stored() {
    let mut witness = Witness::default();
    let mut world = world(&mut witness);
    let device = Device::register(&mut world, "ada", PASSWORD, VAULT_KEY);
    witness.secrets.clear();
    let (mut session, pending) = witness.use_account(&mut world);
    witness.secrets.clear();
    let key_ids: Vec<KeyId> = pending.key_ids().collect();
    for label in ["vault head", "vault element"] {
        witness.must_not_see(label, &expand(&device.vault_key, label, &[]));
    }
    for key_id in &key_ids {
        witness.must_not_see("element", &device.digest(&[*key_id]));
    }
    for live in [&key_ids[..], &key_ids[1..], &key_ids[..1]] {
        witness.must_not_see("digest", &device.digest(live));
    }

    let first = device.first_head.pin();
    let store = session.store(&pending).unwrap();
    settle(&mut witness, &mut world, &mut session, store);
    let list = session.list().unwrap();
    assert_eq!(settle(&mut witness, &mut world, &mut session, list).len(), KINDS.len());
    let salvage = session.salvage().unwrap();
    assert_eq!(witness.run(&mut world, salvage).unwrap().len(), KINDS.len());
    let verify = session.verify_pin(first).unwrap();
    settle(&mut witness, &mut world, &mut session, verify);
    let delete = session.delete(&key_ids[..1]).unwrap();
    settle(&mut witness, &mut world, &mut session, delete);
    let change = session.change_password("another pass phrase", &mut world.rng).unwrap();
    settle(&mut witness, &mut world, &mut session, change);
    assert_eq!(session.pin().epoch(), 3);
    witness.store(&world);
    let end = session.delete_account().unwrap();
    witness.run(&mut world, end).unwrap();
    assert_eq!(witness.leaks(), BTreeSet::new());
    for what in ["unsettled", "exchange", "ended exchange", "client session", "head"] {
        assert!(witness.seen.iter().any(|(seen, _)| seen == what), "{what}");
    }
}

/// The fault that an exchange ends with, printed. The store is put right again.
fn fault<O: client::Operation>(
    witness: &mut Witness,
    world: &mut World,
    exchange: Result<Exchange<O>, Error>,
    honest: &MemoryStore,
) -> VaultFault {
    let error = witness.run(world, exchange.unwrap()).map(|_| ()).unwrap_err();
    world.server.store = honest.clone();
    match error {
        Error::Peer(PeerFault::Vault(fault)) => {
            witness.displays("fault", &fault);
            fault
        }
        other => panic!("another error: {other:?}"),
    }
}

/// The same for what is said of a vault that was tampered with, in each of the ways that have a name.
#[test]
fn rule_17_no_element_and_no_digest_of_the_vault_is_in_a_fault() {
    let mut witness = Witness::default();
    let mut world = world(&mut witness);
    let device = Device::register(&mut world, "ada", PASSWORD, VAULT_KEY);
    let empty = world.server.store.clone();
    let (mut session, pending) = witness.use_account(&mut world);
    let unstored = witness.generate(&mut world, &mut session);
    let (strange, key_ids) = (hostile::sealed(&unstored), pending.key_ids().collect::<Vec<_>>());
    witness.secrets.clear();
    for label in ["vault head", "vault element"] {
        witness.must_not_see(label, &expand(&device.vault_key, label, &[]));
    }
    let exchanged: Vec<KeyId> = key_ids[1..].iter().copied().chain([strange[0].header.key_id()]).collect();
    for live in [&key_ids[..], &key_ids[1..], &key_ids[..1], &exchanged] {
        witness.must_not_see("digest", &device.digest(live));
    }
    let (honest, pin) = (world.server.store.clone(), session.pin());
    let (user_id, client, witness) = (device.user_id, client("ada"), &mut witness);

    world.server.store.secrets.remove(&(user_id, key_ids[0]));
    let found = fault(witness, &mut world, session.list(), &honest);
    assert_eq!(found, VaultFault::Count { expected: 4, listed: 3 });
    world.server.store.secrets.remove(&(user_id, key_ids[0]));
    world.server.store.secrets.insert((user_id, strange[0].header.key_id()), hostile::record(&strange[0]));
    assert_eq!(fault(witness, &mut world, session.list(), &honest), VaultFault::Digest);
    let claim = store::Reply { key_ids: unstored.key_ids().collect(), repeated: true };
    let mut claimed = session.store(&unstored).unwrap();
    let forged = hostile::forge(&world, &claimed, &Reply::Store(claim));
    assert!(claimed.receive(forged).unwrap().is_none());
    assert_eq!(fault(witness, &mut world, Ok(claimed), &honest), VaultFault::NotStored);
    let mut other = pin.to_bytes();
    other[39] ^= 1;
    let found = fault(witness, &mut world, session.verify_pin(VaultPin::from_bytes(&other)), &honest);
    assert_eq!(found, VaultFault::Forked { epoch: 1 });

    let log_in = client.log_in(PASSWORD, Some(pin), &mut world.rng);
    world.server.store = empty;
    assert_eq!(fault(witness, &mut world, log_in, &honest), VaultFault::RolledBack { known: 1, shown: 0 });
    *world.server.store.heads.get_mut(&(user_id, 1)).unwrap().last_mut().unwrap() ^= 1;
    let log_in = client.log_in(PASSWORD, None, &mut world.rng);
    assert_eq!(fault(witness, &mut world, log_in, &honest), VaultFault::DamagedHead { epoch: 1 });
    let change = session.change_password("another pass phrase", &mut world.rng).unwrap();
    settle(witness, &mut world, &mut session, change);
    let (name, old) = (client.account(), &honest.accounts[client.account()]);
    let row = world.server.store.accounts.get_mut(name).unwrap();
    (row.credential, row.record) = (old.credential, old.record.clone());
    let log_in = client.log_in(PASSWORD, Some(pin), &mut world.rng);
    assert_eq!(fault(witness, &mut world, log_in, &honest), VaultFault::Credential);
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
    let mut secrets = hostile::sealed(&pending);
    *secrets[0].ciphertext.last_mut().unwrap() ^= 1;
    let damaged = hostile::pending(&session, &secrets, session.pin());
    witness.displays("error", &session.store(&damaged).map(|_| ()).unwrap_err());
    let key_id = secrets[0].header.key_id();
    let record = hostile::record(&secrets[0]);
    for record in [record.clone(), record[..9].to_vec()] {
        world.server.store.secrets.insert((session.user_id(), key_id), record);
        let retrieve = session.retrieve(&[key_id]).unwrap();
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
    let mut public =
        vec![session.user_id().to_string(), session.server_key().to_string(), session.session_id().to_string()];
    for sealed in hostile::sealed(&pending) {
        public.push(sealed.header.key_id().to_string());
        public.extend(sealed.header.public().map(ToString::to_string));
    }
    // A pin's hash is that of a sealed head, which the server has.
    let heads =
        world.server.store.heads.values().map(|head| SealedHead::from_bytes(head[1..].try_into().unwrap()).pin());
    let pins: Vec<String> = heads.map(|pin| format!("{pin:?}")).collect();
    let holders =
        ["exchange", "ended exchange", "unsettled store", "client session", "server session", "server setup", "server"];
    let mut looked_at = 0;
    for (what, text) in witness.seen.iter().filter(|(what, _)| holders.contains(&what.as_str())) {
        let text = String::from_utf8(text.clone()).unwrap();
        let numbers = text.split(|c: char| !c.is_ascii_digit() && !c.is_ascii_whitespace() && c != ',');
        let longest = numbers.map(|run| run.split(',').count()).max();
        assert!(longest < Some(8), "a list of bytes in {what}: {text}");
        let of_another_session = |word: &str| world.server.sessions.keys().any(|id| id.to_string() == *word);
        for word in text.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() >= 16) {
            let public = public.iter().any(|name| name == word) || pins.iter().any(|pin| pin.contains(word));
            assert!(public || of_another_session(word), "{word} in {what}: {text}");
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
    for head in world.server.store.heads.values() {
        // From the nonce on, behind version and epoch.
        witness.must_not_see("head", &head[9..]);
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
