//! Bad input from the calling application: refused before any message is made, with the exact bound, and in words that
//! name the fault's side and the bound and repeat nothing secret.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;

use std::time::Duration;

use keystow::{
    AccountName, CallerFault, Client, ClientMessage, ClientPolicy, ClientSession, Error, FleetKey, KeyId, Kind,
    KsfProfile, OpaqueMessage, PeerFault, PendingSecrets, PublicComponent, RecordName, SealedHead, Server,
    ServerPolicy, ServerSetup, SessionId, StoredFault, UserId, VaultPin, client,
};
use rand_core::Rng;
use serde_json::Value;
use support::{IDENTITY, PASSWORD, rng, world};

/// A caller's fault, as what a call ends with.
fn caller<T>(fault: CallerFault) -> Result<T, Error> {
    Err(Error::Caller(fault))
}

/// The error of a call whose success can't be compared.
fn refused<T>(result: Result<T, Error>) -> Result<(), Error> {
    result.map(|_| ())
}

/// The sequence number of an exchange's frame.
fn sequence<O: client::Operation>(exchange: &keystow::Exchange<O>) -> u64 {
    match exchange.message() {
        ClientMessage::Frame(frame) => frame.sequence,
        other => panic!("no frame: {other:?}"),
    }
}

/// The number that the session's next request has. (It is used up by this.)
fn next_sequence(session: &mut ClientSession) -> u64 {
    sequence(&session.retrieve(&[KeyId::from_bytes([0; 16])]).unwrap())
}

/// Pending secrets as a program may have put them together from what was kept.
fn edited(pending: &PendingSecrets, edit: impl FnOnce(&[Value]) -> Vec<Value>) -> PendingSecrets {
    let mut json = serde_json::to_value(pending).unwrap();
    json["secrets"] = edit(json["secrets"].as_array().unwrap()).into();
    serde_json::from_value(json).unwrap()
}

/// One of them with a bit wrong in its ciphertext.
fn damaged(secret: &Value) -> Value {
    let mut damaged = secret.clone();
    let byte = &mut damaged["ciphertext"][0];
    *byte = (byte.as_u64().unwrap() ^ 1).into();
    damaged
}

// --- key stretching ------------------------------------------------------------------------------------

const BELOW: CallerFault = CallerFault::KsfBelowFloor { floor: KsfProfile::FLOOR };
const ABOVE: CallerFault = CallerFault::KsfAboveCeiling { ceiling: KsfProfile::CEILING };

#[test]
fn each_key_stretching_parameter_is_held_between_floor_and_ceiling() {
    let profile = KsfProfile::new(65_536, 3, 4).unwrap();
    assert_eq!((profile.memory_kib(), profile.passes(), profile.lanes()), (65_536, 3, 4));
    for (memory_kib, passes, lanes) in [(19_455, 2, 1), (19_456, 1, 1), (19_456, 2, 0), (0, 0, 0)] {
        assert_eq!(KsfProfile::new(memory_kib, passes, lanes), caller(BELOW));
    }
    for (memory_kib, passes, lanes) in [(2_097_153, 2, 1), (19_456, 17, 1), (19_456, 2, 17), (u32::MAX, 16, 16)] {
        assert_eq!(KsfProfile::new(memory_kib, passes, lanes), caller(ABOVE));
    }
    assert_eq!(KsfProfile::new(19_456, 2, 1), Ok(KsfProfile::FLOOR));
    assert_eq!(KsfProfile::new(2_097_152, 16, 16), Ok(KsfProfile::CEILING));
}

#[test]
fn a_profile_smuggled_in_by_serde_is_refused_by_the_policy() {
    let smuggle = |memory_kib: u32, passes: u32, lanes: u32| -> KsfProfile {
        let json = serde_json::json!({ "memory_kib": memory_kib, "passes": passes, "lanes": lanes });
        serde_json::from_value(json).unwrap()
    };
    assert_eq!(smuggle(65_536, 3, 4), KsfProfile::RECOMMENDED, "honest profiles come in the same way");
    for weak in [smuggle(19_455, 2, 1), smuggle(65_536, 1, 4), smuggle(65_536, 3, 0), smuggle(8, 1, 1)] {
        assert_eq!(ClientPolicy::new([weak]), caller(BELOW));
        assert_eq!(ClientPolicy::new([KsfProfile::RECOMMENDED, weak]), caller(BELOW), "in second place");
    }
    for heavy in [smuggle(u32::MAX, 3, 4), smuggle(65_536, u32::MAX, 4), smuggle(65_536, 3, u32::MAX)] {
        assert_eq!(ClientPolicy::new([heavy]), caller(ABOVE));
    }
}

#[test]
fn a_policy_names_one_to_eight_profiles_each_once() {
    let profiles = |count: u32| (0..count).map(|extra| KsfProfile::new(65_536 + extra, 3, 4).unwrap());
    let policy = |count| refused(ClientPolicy::new(profiles(count).collect::<Vec<_>>()));
    assert_eq!(policy(0), caller(CallerFault::KsfProfileCount { count: 0, max: 8 }));
    assert_eq!(policy(9), caller(CallerFault::KsfProfileCount { count: 9, max: 8 }));
    assert_eq!((policy(1), policy(8)), (Ok(()), Ok(())));
    let twice: Vec<_> = profiles(3).chain(profiles(1)).collect();
    assert_eq!(ClientPolicy::new(twice), caller(CallerFault::Duplicate));
}

// --- names and passwords -------------------------------------------------------------------------------

#[test]
fn an_account_name_has_1_to_255_bytes() {
    for len in [0, 256, 70_000] {
        let fault = CallerFault::AccountNameLength { len, max: 255 };
        assert_eq!(AccountName::new(vec![b'a'; len]), caller(fault));
    }
    for len in [1, 255] {
        assert_eq!(AccountName::new(vec![0xff; len]).unwrap().as_bytes(), vec![0xff; len]);
    }
}

#[test]
fn a_server_identity_has_1_to_255_bytes_on_both_sides() {
    let client =
        |identity: Vec<u8>| refused(Client::new(AccountName::new("ada").unwrap(), identity, ClientPolicy::default()));
    let server = |identity: Vec<u8>| {
        refused(Server::new(ServerSetup::generate(&mut rng(1)).unwrap(), identity, ServerPolicy::default()))
    };
    for len in [0, 256] {
        let fault = CallerFault::ServerIdentityLength { len, max: 255 };
        assert_eq!(client(vec![b'k'; len]), caller(fault.clone()));
        assert_eq!(server(vec![b'k'; len]), caller(fault));
    }
    for len in [1, 255] {
        assert_eq!((client(vec![b'k'; len]), server(vec![b'k'; len])), (Ok(()), Ok(())));
    }
}

#[test]
fn a_password_has_1_to_4096_bytes_and_a_refused_one_draws_nothing() {
    let client = support::client("ada");
    let mut drawn = rng(1);
    for len in [0, 4_097, 100_000] {
        let (password, fault) = (vec![b'p'; len], CallerFault::PasswordLength { len, max: 4_096 });
        assert_eq!(refused(client.register(&password, &mut drawn)), caller(fault.clone()));
        assert_eq!(refused(client.log_in(&password, None, &mut drawn)), caller(fault));
    }
    assert_eq!(drawn.next_u64(), rng(1).next_u64());
    for len in [1, 4_096] {
        assert_eq!(refused(client.register(vec![b'p'; len], &mut drawn)), Ok(()));
        assert_eq!(refused(client.log_in(vec![b'p'; len], None, &mut drawn)), Ok(()));
    }
}

// --- batches and kinds ---------------------------------------------------------------------------------

#[test]
fn a_generated_secret_has_1_to_1024_bytes_and_a_refused_one_takes_no_sequence_number() {
    let mut world = world(1);
    let (_, mut session) = world.person("ada");
    for len in [0, 1_025, 65_536, u32::MAX] {
        let fault = CallerFault::SecretLength { len, max: 1_024 };
        let bad = Kind::Bytes(len);
        assert_eq!(bad.check_generated(), caller(fault.clone()));
        assert_eq!(refused(session.generate(&[Kind::Ed25519, bad], &mut world.rng)), caller(fault));
    }
    assert_eq!(sequence(&session.generate(&[Kind::Bytes(1), Kind::Bytes(1_024)], &mut world.rng).unwrap()), 3);
}

#[test]
fn a_batch_has_1_to_256_items() {
    let mut world = world(1);
    let (_, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &[Kind::Bytes(1); 256]).unwrap().unwrap();
    let key_ids: Vec<KeyId> = pending.key_ids().collect();
    let before = next_sequence(&mut session);
    for len in [0, 257] {
        let fault = CallerFault::BatchLength { len, max: 256 };
        let pending = edited(&pending, |secrets| secrets.iter().cycle().take(len).cloned().collect());
        let key_ids: Vec<KeyId> = key_ids.iter().cycle().take(len).copied().collect();
        assert_eq!(refused(session.generate(&vec![Kind::Ed25519; len], &mut world.rng)), caller(fault.clone()));
        assert_eq!(refused(session.store(&pending)), caller(fault.clone()));
        assert_eq!(refused(session.retrieve(&key_ids)), caller(fault.clone()));
        assert_eq!(refused(session.delete(&key_ids)), caller(fault));
    }
    assert_eq!(next_sequence(&mut session), before + 1);
    assert_eq!(world.store(&mut session, &pending).unwrap().unwrap().len(), 256, "the greatest batch is stored");
    assert_eq!(world.retrieve(&mut session, &key_ids).unwrap().unwrap().len(), 256);
}

#[test]
fn an_item_stands_in_a_batch_once() {
    let mut world = world(1);
    let (_, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &[Kind::Ed25519; 3]).unwrap().unwrap();
    let twice = edited(&pending, |secrets| [secrets, &secrets[..1]].concat());
    let before = next_sequence(&mut session);
    assert_eq!(refused(session.store(&twice)), caller(CallerFault::Duplicate));
    let key_ids: Vec<KeyId> = twice.key_ids().collect();
    assert_eq!(refused(session.retrieve(&key_ids)), caller(CallerFault::Duplicate));
    assert_eq!(refused(session.delete(&key_ids)), caller(CallerFault::Duplicate));
    assert_eq!(next_sequence(&mut session), before + 1);
}

#[test]
fn a_pending_secret_of_another_user_or_a_damaged_one_is_not_sent() {
    let mut world = world(1);
    let (_, mut ada) = world.person("ada");
    let (_, mut bob) = world.person("bob");
    let pending = world.generate(&mut ada, &[Kind::Secp256k1]).unwrap().unwrap();
    let before = next_sequence(&mut bob);
    assert_eq!(refused(bob.store(&pending)), caller(CallerFault::WrongUser { pending: ada.user_id() }));
    assert_eq!(next_sequence(&mut bob), before + 1);

    let damaged = edited(&pending, |secrets| vec![secrets[0].clone(), damaged(&secrets[0])]);
    let before = next_sequence(&mut ada);
    assert_eq!(refused(ada.store(&damaged)), caller(CallerFault::DamagedPending));
    assert_eq!(next_sequence(&mut ada), before + 1);
    let bytes = damaged.encode().unwrap();
    assert_eq!(PendingSecrets::decode(&bytes), Ok(damaged), "it is found out when it is opened");
    for cut in [&bytes[..0], &bytes[..bytes.len() - 1], &[&bytes[..], &[0]].concat(), &[&[2], &bytes[1..]].concat()] {
        assert_eq!(PendingSecrets::decode(cut), caller(CallerFault::DamagedPending));
    }
}

// --- the server's own values ---------------------------------------------------------------------------

#[test]
fn a_server_setup_is_129_bytes_of_this_version_and_valid() {
    let bytes = ServerSetup::generate(&mut rng(1)).unwrap().to_bytes();
    let bytes = bytes.expose();
    let read = |bytes: &[u8]| refused(ServerSetup::from_bytes(bytes));
    let damaged = caller(CallerFault::DamagedValue("server setup"));
    assert_eq!((bytes.len(), read(bytes)), (129, Ok(())));
    for len in 0..129 {
        assert_eq!(read(&bytes[..len]), damaged, "{len} bytes");
    }
    assert_eq!(read(&[bytes, &[0]].concat()), damaged, "a trailing byte");
    for version in (0..=255).filter(|version| *version != 1) {
        assert_eq!(read(&[&[version], &bytes[1..]].concat()), damaged, "version {version}");
    }
    // version[1], OPRF seed[64] (any bytes will do), private key[32], unused public key[32]
    for (field, what) in [(65..97, "private key"), (97..129, "unused public key")] {
        for garbage in [0, 0xff] {
            let mut bytes = bytes.to_vec();
            bytes[field.clone()].fill(garbage);
            assert_eq!(read(&bytes), damaged, "{what} of {garbage:#x}");
        }
    }
}

#[test]
fn a_server_policy_has_no_zeroes() {
    let day = ServerPolicy { attempt_limit: 1, ..ServerPolicy::default() };
    let almost = Duration::from_nanos(999_999);
    let bad = [
        (ServerPolicy { attempt_limit: 0, ..day }, "attempt limit"),
        (ServerPolicy { attempt_window: almost, ..day }, "attempt window"),
        (ServerPolicy { handshake_timeout: almost, ..day }, "handshake timeout"),
        (ServerPolicy { idle_timeout: almost, ..day }, "idle timeout"),
        (ServerPolicy { session_lifetime: almost, ..day }, "session lifetime"),
    ];
    let server = |policy| refused(Server::new(ServerSetup::generate(&mut rng(1)).unwrap(), IDENTITY, policy));
    for (policy, name) in bad {
        assert_eq!(server(policy), caller(CallerFault::Policy(name)));
    }
    assert_eq!(server(day), Ok(()));
}

// --- words ---------------------------------------------------------------------------------------------

#[test]
fn errors_name_the_side_at_fault_and_the_bound() {
    let texts = [
        (refused(AccountName::new("")), "the caller: an account name has 1 to 255 bytes, not 0"),
        (
            refused(Client::new(AccountName::new("a").unwrap(), "", ClientPolicy::default())),
            "the caller: a server identity has 1 to 255 bytes, not 0",
        ),
        (
            refused(support::client("a").log_in([7; 4_097], None, &mut rng(1))),
            "the caller: a password has 1 to 4096 bytes, not 4097",
        ),
        (
            refused(KsfProfile::new(8, 1, 1)),
            "the caller: the key-stretching floor is Argon2id with 19456 KiB, 2 passes, 1 lanes",
        ),
        (
            refused(KsfProfile::new(u32::MAX, 3, 4)),
            "the caller: the key-stretching ceiling is Argon2id with 2097152 KiB, 16 passes, 16 lanes",
        ),
        (refused(ClientPolicy::new([])), "the caller: a policy names 1 to 8 key-stretching profiles, not 0"),
        (Kind::Bytes(1_025).check_generated(), "the caller: a secret of this kind has 1 to 1024 bytes, not 1025"),
        (refused(ServerSetup::from_bytes(&[])), "the caller: the saved server setup can't be read"),
        (refused("kspin1qqqqqq".parse::<VaultPin>()), "the caller: the saved vault pin can't be read"),
        (
            refused(ClientMessage::decode(&vec![1; (1 << 20) + 1])),
            "the peer: a message of 1048577 bytes, where 1048576 are allowed",
        ),
        (refused(ClientMessage::decode(&[9])), "the peer: version byte 9, which this crate doesn't speak"),
    ];
    for (result, text) in texts {
        assert_eq!(result.unwrap_err().to_string(), text);
    }
    let batch = Error::from(CallerFault::BatchLength { len: 257, max: 256 });
    assert_eq!(batch.to_string(), "the caller: a batch has 1 to 256 items, not 257");
}

#[test]
fn errors_of_the_stored_data_name_the_record_and_what_is_wrong_with_it() {
    let (user, key) = (UserId::from_bytes([0xab; 16]), KeyId::from_bytes([0xcd; 16]));
    let (user_text, key_text) = ("ab".repeat(16), "cd".repeat(16));
    let texts = [
        (RecordName::Account(AccountName::new(b"ad\xe0").unwrap()), "account \"ad\\xe0\"".to_owned()),
        (RecordName::Secret(user, key), format!("secret {key_text} of user {user_text}")),
        (RecordName::Head(user, 7), format!("vault head 7 of user {user_text}")),
        (RecordName::Session(SessionId::from_bytes([0x12; 16])), format!("session {}", "12".repeat(16))),
        (RecordName::Audit(user), format!("audit trail of user {user_text}")),
        (RecordName::Answer, "the store's answer".to_owned()),
    ];
    for (record, text) in texts {
        let error = Error::Stored(StoredFault { record, problem: "damaged" });
        assert_eq!(error.to_string(), format!("the stored data: {text}: damaged"));
    }
}

/// Names and numbers in full, of anything else the name or the length.
#[test]
fn values_print_what_they_are_for_debugging() {
    let texts = [
        (format!("{:?}", AccountName::new(b"ad\xe0").unwrap()), "AccountName(\"ad\\xe0\")".to_owned()),
        (format!("{:?}", KeyId::from_bytes([0xab; 16])), format!("KeyId({})", "ab".repeat(16))),
        (format!("{:?}", PublicComponent::Ed25519([0xab; 32])), format!("PublicComponent({})", "ab".repeat(32))),
        (format!("{:?}", OpaqueMessage::<32>::from_bytes([7; 32])), "OpaqueMessage(32 bytes)".to_owned()),
        (format!("{:?}", SealedHead::from_bytes([0; 140])), "SealedHead { epoch: 0, .. }".to_owned()),
        (
            format!("{:?}", VaultPin::from_bytes(&[&[0; 7][..], &[9], &[0xab; 32]].concat().try_into().unwrap())),
            format!("VaultPin(9, {})", "ab".repeat(32)),
        ),
        (format!("{:?}", FleetKey::generate(&mut rng(1))), "FleetKey(..)".to_owned()),
        (format!("{:?}", ServerSetup::generate(&mut rng(1)).unwrap()), "ServerSetup(..)".to_owned()),
    ];
    for (printed, text) in texts {
        assert_eq!(printed, text);
    }
}

#[test]
fn errors_about_secret_input_repeat_none_of_it() {
    let said = |error: Error| format!("{error} {error:?}");
    let marker = "open sesame ";
    let password = marker.repeat(400);
    let error = refused(support::client("ada").register(&password, &mut rng(1))).unwrap_err();
    assert!(!said(error).contains(marker));

    let mut world = world(1);
    let (client, mut session) = world.person("ada");
    let error = support::error(world.log_in(&client, "open sesame"));
    assert_eq!(error, PeerFault::LoginFailed.into());
    assert!(!said(error).contains("sesame"));

    let pending = world.generate(&mut session, &[Kind::Bytes(32)]).unwrap().unwrap();
    let new = world.store(&mut session, &pending).unwrap().unwrap();
    let secret = world.retrieve(&mut session, &[new[0].key_id]).unwrap().unwrap();
    let error = refused(session.store(&edited(&pending, |secrets| vec![damaged(&secrets[0])]))).unwrap_err();
    assert_eq!(error, CallerFault::DamagedPending.into());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for secret in [hex(secret[0].expose()), format!("{:?}", secret[0].expose()), PASSWORD.to_string()] {
        assert!(!said(error.clone()).contains(&secret));
    }
    let setup = ServerSetup::generate(&mut rng(1)).unwrap().to_bytes();
    let error = refused(ServerSetup::from_bytes(&setup.expose()[1..])).unwrap_err();
    assert_eq!(said(error), "the caller: the saved server setup can't be read Caller(DamagedValue(\"server setup\"))");
}
