//! The main job, end to end: register, log in, generate, store and retrieve, for every kind and size of batch; what a
//! pending secret survives; what is refused before anything is sent; and what the store ends up holding.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;

use keystow::operation::{Reply, Request, store};
use keystow::storage::{Action, Attempts};
use keystow::testing::hostile;
use keystow::*;
use sha2::{Digest, Sha256};
use support::{IDENTITY, PASSWORD, World, client, error, world};

/// Every kind, arbitrary bytes at the shortest, usual and greatest length.
const KINDS: [Kind; 5] = [Kind::Bytes(1), Kind::Bytes(32), Kind::Bytes(1_024), Kind::Secp256k1, Kind::Ed25519];

/// The public component, computed from the retrieved bytes alone: by libsecp256k1 and by ed25519-dalek.
fn public_of(kind: Kind, secret: &[u8]) -> Option<PublicComponent> {
    match kind {
        Kind::Bytes(_) => None,
        Kind::Secp256k1 => {
            let key = secp256k1::SecretKey::from_byte_array(secret.try_into().unwrap()).unwrap();
            Some(PublicComponent::Secp256k1(key.public_key(&secp256k1::Secp256k1::new()).serialize()))
        }
        Kind::Ed25519 => {
            let key = ed25519_dalek::SigningKey::from_bytes(secret.try_into().unwrap());
            Some(PublicComponent::Ed25519(key.verifying_key().to_bytes()))
        }
    }
}

/// The header inside a stored secret's record: version, variant, and the header behind its length byte.
fn header_of(record: &[u8]) -> &[u8] {
    &record[3..3 + usize::from(record[2])]
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Generates and stores on one device, retrieves on another, and compares everything that is known twice.
fn round_trip(world: &mut World, client: &Client, kinds: &[Kind]) {
    let mut first = world.log_in(client, PASSWORD).unwrap().unwrap();
    let pending = world.generate(&mut first, kinds).unwrap().unwrap();
    let stored = world.store(&mut first, &pending).unwrap().unwrap();
    let key_ids: Vec<_> = stored.iter().map(|secret| secret.key_id).collect();
    assert_eq!(key_ids, pending.key_ids().collect::<Vec<_>>());

    let mut second = world.log_in_with(client, PASSWORD, Some(first.pin())).unwrap().unwrap();
    assert_eq!((second.pin(), second.trust()), (first.pin(), VaultTrust::Pinned));
    let secrets = world.retrieve(&mut second, &key_ids).unwrap().unwrap();
    assert_eq!((stored.len(), secrets.len()), (kinds.len(), kinds.len()));
    for ((secret, new), kind) in secrets.iter().zip(&stored).zip(kinds) {
        let public = public_of(*kind, secret.expose());
        assert_eq!(*new, NewSecret { key_id: secret.key_id(), kind: *kind, public, already_stored: false });
        assert_eq!((secret.kind(), secret.origin(), secret.public()), (*kind, Origin::Generated, public.as_ref()));
        assert_eq!(u32::try_from(secret.expose().len()), Ok(kind.secret_len()));
    }
    let mut distinct: Vec<_> = secrets.iter().map(RetrievedSecret::expose).filter(|secret| secret.len() > 16).collect();
    let drawn = distinct.len();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), drawn, "each secret of a batch is its own");
}

#[test]
fn a_second_device_gets_every_kind_back_from_the_password_and_the_store_alone() {
    let mut world = world(1);
    let (client, _) = world.person("ada");
    for kind in KINDS {
        for len in [1, 3, 256] {
            round_trip(&mut world, &client, &vec![kind; len]);
        }
    }
    round_trip(&mut world, &client, &KINDS);
    assert_eq!(world.server.store.secrets.len(), KINDS.len() * (1 + 3 + 256 + 1));
}

#[test]
fn a_key_id_is_the_hash_of_the_header_that_is_stored_under_it() {
    let mut world = world(2);
    let (_, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &KINDS).unwrap().unwrap();
    world.store(&mut session, &pending).unwrap().unwrap();
    assert_eq!(world.server.store.secrets.len(), KINDS.len());
    for ((user_id, key_id), record) in &world.server.store.secrets {
        let bytes = header_of(record);
        let header = Header::from_bytes(bytes).unwrap();
        assert_eq!((header.user_id(), header.key_id()), (*user_id, *key_id));
        assert_eq!(header.user_id(), session.user_id());
        let hash = Sha256::new().chain_update(b"keystow v1 key id").chain_update(bytes).finalize();
        assert_eq!(hash[..16], key_id.as_bytes()[..]);
    }
}

#[test]
fn a_pending_secret_survives_every_way_of_keeping_it_with_the_same_key_id() {
    let mut world = world(3);
    let (client, mut session) = world.person("ada");
    let made = world.generate(&mut session, &KINDS).unwrap().unwrap();
    let through_json: PendingSecrets = serde_json::from_str(&serde_json::to_string(&made).unwrap()).unwrap();
    let through_bytes = PendingSecrets::decode(&made.encode().unwrap()).unwrap();
    assert_eq!((&through_json, &through_bytes), (&made, &made));

    world.server.crash();
    drop(session);
    let mut later = world.log_in(&client, PASSWORD).unwrap().unwrap();
    let stored = world.store(&mut later, &through_json).unwrap().unwrap();
    let key_ids: Vec<_> = made.key_ids().collect();
    assert_eq!((stored.len(), made.kinds().len()), (KINDS.len(), KINDS.len()));
    for ((new, key_id), kind) in stored.iter().zip(&key_ids).zip(made.kinds()) {
        assert_eq!((new.key_id, new.kind, new.already_stored), (*key_id, kind, false));
    }
    let secrets = world.retrieve(&mut later, &key_ids).unwrap().unwrap();
    assert!(secrets.iter().zip(&stored).all(|(secret, new)| secret.public() == new.public.as_ref()));
}

#[test]
fn what_is_stored_again_was_already_there_and_changes_no_byte() {
    let mut world = world(4);
    let (client, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &KINDS).unwrap().unwrap();
    let stored = world.store(&mut session, &pending).unwrap().unwrap();
    let again: Vec<_> = stored.iter().map(|secret| NewSecret { already_stored: true, ..*secret }).collect();

    let before = world.server.store.clone();
    assert_eq!(world.store(&mut session, &pending).unwrap().unwrap(), again, "in the same session");
    assert_eq!(world.server.store, before);
    world.server.crash();
    let mut later = world.log_in(&client, PASSWORD).unwrap().unwrap();
    let before = world.server.store.clone();
    assert_eq!(world.store(&mut later, &pending).unwrap().unwrap(), again, "in a new session");
    assert_eq!(world.server.store, before);

    assert_eq!((later.pin().epoch(), session.pin()), (1, later.pin()), "one change of the vault in all");
}

/// `PendingSecrets` stay together, so this takes a client of one's own: one that sends again what was stored, beside what
/// wasn't, under the head for the new one.
#[test]
fn only_a_whole_batch_counts_as_stored_before() {
    let mut world = world(15);
    let (_, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &KINDS).unwrap().unwrap();
    world.store(&mut session, &pending).unwrap().unwrap();
    let fresh = world.generate(&mut session, &[Kind::Ed25519]).unwrap().unwrap();
    let [mixed, other] = [&pending, &fresh].map(|pending| store_request(&world, &mut session, pending));
    let stays = session.pin();
    let key_ids: Vec<_> = pending.key_ids().take(1).chain(fresh.key_ids()).collect();
    let secrets = [&mixed.secrets[..1], &other.secrets].concat();
    let request = Request::Store(store::Request { secrets: secrets.into(), head: other.head });
    let exchange = hostile::request(&mut session, &request).unwrap();
    let reply = Reply::Store(store::Reply { key_ids, repeated: false });
    assert_eq!(world.run(exchange).unwrap(), Ok(reply));
    assert_eq!(world.server.store.secrets.len(), KINDS.len() + 1);

    // The session didn't see that head yet, and finds out by it that the fresh secret is there.
    assert_eq!(session.pin(), stays);
    assert!(world.store(&mut session, &fresh).unwrap().unwrap()[0].already_stored);
    assert_eq!((session.pin().epoch(), world.server.store.heads.len()), (2, 3));
    assert_eq!(world.list(&mut session).unwrap().unwrap().len(), KINDS.len() + 1);
}

/// The last request with which a client stores pending secrets, read with the server's keys.
fn store_request(world: &World, session: &mut ClientSession, pending: &PendingSecrets) -> store::Request {
    let bytes = pending.encode().unwrap();
    let (secrets, _, _): (Vec<SealedSecret>, Option<VaultPin>, [u8; 32]) = postcard::from_bytes(&bytes[1..]).unwrap();
    let fresh = hostile::pending(session, secrets, Some(session.pin()));
    let exchange = session.store(&fresh).unwrap();
    let server = &world.server.sessions[&session.session_id()];
    match hostile::open_request(server, exchange.message().clone()).unwrap() {
        Request::Store(request) => request,
        other => panic!("another request: {other:?}"),
    }
}

/// The sequence number that the session's next request has.
fn next_sequence(session: &mut ClientSession) -> u64 {
    match session.retrieve(&[KeyId::from_bytes([0; 16])]).unwrap().message() {
        ClientMessage::Frame(frame) => frame.sequence,
        other => panic!("no frame: {other:?}"),
    }
}

/// The bytes of pending secrets with one bit wrong in this byte.
fn damaged(bytes: &[u8], at: usize) -> Result<PendingSecrets, Error> {
    let mut damaged = bytes.to_vec();
    damaged[at] ^= 1;
    PendingSecrets::decode(&damaged)
}

/// How long the end of pending secrets is: a pin (that it is there, epoch 0 in one byte, the hash), and the tag.
const END: usize = 2 + 32 + 32;

#[test]
fn a_damaged_pending_secret_is_refused_before_anything_is_sent() {
    let mut world = world(5);
    let (_, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &[Kind::Ed25519]).unwrap().unwrap();
    let bytes = pending.encode().unwrap();
    for i in 0..bytes.len() {
        let refused = damaged(&bytes, i).and_then(|pending| session.store(&pending).map(drop));
        // Version, count, header length, header version; then the header's user ID.
        let expected = match i {
            4..20 => {
                let mut user_id: [u8; 16] = bytes[4..20].try_into().unwrap();
                user_id[i - 4] ^= 1;
                CallerFault::WrongUser { pending: UserId::from_bytes(user_id) }
            }
            _ => CallerFault::DamagedPending,
        };
        assert_eq!(refused, Err(expected.into()), "byte {i}");
    }
    // version ‖ count ‖ secret ‖ pin ‖ tag
    let (secret, end) = bytes[2..].split_at(bytes.len() - END - 2);
    let twice = PendingSecrets::decode(&[&[1, 2], secret, secret, end].concat()).unwrap();
    assert_eq!(session.store(&twice).map(drop), Err(CallerFault::Duplicate.into()));
    assert_eq!(next_sequence(&mut session), 4, "generate was request 3: no number was spent on the refused ones");
    assert_eq!(world.store(&mut session, &pending).unwrap().unwrap().len(), 1);
}

/// The tag holds them together, with the head that they were made at.
#[test]
fn pending_secrets_that_were_not_made_together_are_refused_before_anything_is_sent() {
    let mut world = world(16);
    let (_, mut session) = world.person("ada");
    let both = world.generate(&mut session, &[Kind::Ed25519, Kind::Ed25519]).unwrap().unwrap();
    let (bytes, before) = (both.encode().unwrap(), world.server.store.clone());
    let (secrets, end) = bytes[2..].split_at(bytes.len() - END - 2);
    let (one, other) = secrets.split_at(secrets.len().div_euclid(2));
    let [no_pin, tag] = [&[0][..], &end[END - 32..]];
    let taken_apart: [&[&[u8]]; 4] =
        [&[&[1, 1], one, end], &[&[1, 1], other, end], &[&[1, 2], other, one, end], &[&[1, 2], secrets, no_pin, tag]];
    for parts in taken_apart {
        let pending = PendingSecrets::decode(&parts.concat()).unwrap();
        assert_eq!(session.store(&pending).map(drop), Err(CallerFault::DamagedPending.into()));
        assert_eq!(session.rebase(&pending).map(drop), Err(CallerFault::DamagedPending.into()));
    }
    assert_eq!(world.server.store, before);
    assert_eq!(world.store(&mut session, &both).unwrap().unwrap().len(), 2);
}

#[test]
fn another_users_pending_secret_is_refused_before_anything_is_sent() {
    let mut world = world(6);
    let (_, mut ada) = world.person("ada");
    let (_, mut bob) = world.person("bob");
    let pending = world.generate(&mut ada, &[Kind::Secp256k1]).unwrap().unwrap();
    let expected = CallerFault::WrongUser { pending: ada.user_id() };
    assert_eq!(bob.store(&pending).map(drop), Err(expected.into()));
    assert_eq!(next_sequence(&mut bob), 3, "his login asked for heads under 2");
}

#[test]
fn the_server_stores_no_plaintext_and_a_pending_secret_holds_none() {
    let mut world = world(7);
    let (_, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &KINDS[1..]).unwrap().unwrap();
    let stored = world.store(&mut session, &pending).unwrap().unwrap();
    let key_ids: Vec<_> = stored.iter().map(|secret| secret.key_id).collect();
    let secrets = world.retrieve(&mut session, &key_ids).unwrap().unwrap();

    let store = &world.server.store;
    let mut held: Vec<Vec<u8>> = store.stored_bytes().map(|(_, bytes)| bytes.to_vec()).collect();
    held.extend(store.audit.values().map(|entry| entry.to_record().unwrap().as_bytes().to_vec()));
    held.push(pending.encode().unwrap());
    for (key_id, public) in stored.iter().filter_map(|secret| Some((secret.key_id, secret.public?))) {
        assert!(
            held.iter().any(|bytes| contains(bytes, public.as_bytes())),
            "the search finds what is there: {key_id}"
        );
    }
    for secret in &secrets {
        assert!(!held.iter().any(|bytes| contains(bytes, &secret.expose()[..16])), "{}", secret.kind());
    }
    assert!(!held.iter().any(|bytes| contains(bytes, PASSWORD.as_bytes())));
}

#[test]
fn a_name_is_registered_once() {
    let mut world = world(8);
    let (client, _) = world.person("ada");
    let before = world.server.store.clone();
    assert_eq!(error(world.register(&client, "another password")), PeerFault::Refused(Refusal::NameTaken).into());
    assert_eq!(world.server.store, before);
    assert!(world.log_in(&client, PASSWORD).unwrap().is_ok(), "the first password still opens the account");
}

#[test]
fn two_people_with_one_password_share_nothing() {
    let mut world = world(9);
    let (_, mut ada) = world.person("ada");
    let (_, mut bob) = world.person("bob");
    assert_ne!(ada.user_id(), bob.user_id());
    let (hers, his) = (world.secret(&mut ada, Kind::Ed25519), world.secret(&mut bob, Kind::Ed25519));
    assert_ne!(hers.public, his.public);
    assert_eq!(world.retrieve(&mut bob, &[hers.key_id]).unwrap().unwrap_err(), Refusal::NotFound);
    assert_eq!(world.retrieve(&mut bob, &[his.key_id, hers.key_id]).unwrap().unwrap_err(), Refusal::NotFound);
    let missing = KeyId::from_bytes([0; 16]);
    assert_eq!(world.retrieve(&mut bob, &[missing]).unwrap().unwrap_err(), Refusal::NotFound, "it looks the same");
    assert_eq!(world.retrieve(&mut ada, &[hers.key_id]).unwrap().unwrap()[0].public(), hers.public.as_ref());
}

/// Rule 5: what is evaluated at registration helps against no account, because its credential identifier is drawn anew.
#[test]
fn each_registration_gets_a_fresh_user_id_and_credential_identifier() {
    let mut world = world(10);
    let request = client("ada").register(PASSWORD, &mut world.rng).unwrap().message().clone();
    let mut answers = Vec::new();
    for _ in 0..2 {
        let ServerMessage::RegistrationResponse { user_id, evaluated, .. } = world.send(&request).unwrap() else {
            panic!("no response");
        };
        let (element, server_key) = evaluated.as_bytes().split_at(32);
        answers.push((user_id, element.to_vec(), server_key.to_vec()));
        world.server.crash();
    }
    assert_ne!(answers[0].0, answers[1].0);
    assert_ne!(answers[0].1, answers[1].1, "the same blinded element under another credential identifier");
    assert_eq!(answers[0].2, answers[1].2);

    world.person("ada");
    world.person("bob");
    let rows: Vec<_> = world.server.store.accounts.values().collect();
    assert_ne!(rows[0].user_id, rows[1].user_id);
    assert_ne!(rows[0].credential, rows[1].credential);
}

/// The last granted login's count of attempts, and the only counter's state: charged in the window, not yet reported.
fn last_login(world: &World) -> (u32, u32, u32) {
    let Attempts { count, unseen, .. } = *world.server.store.attempts.values().next().unwrap();
    let logins = world.server.store.audit.values().filter_map(|entry| match entry.action() {
        Action::LogIn { attempts_spent } => Some((entry.at(), attempts_spent)),
        _ => None,
    });
    let (_, spent) = logins.max_by_key(|(at, _)| *at).unwrap();
    (spent, count, unseen)
}

#[test]
fn a_login_under_an_older_profile_works_costs_one_more_attempt_and_says_so() {
    let mut world = world(11);
    let old = client("ada");
    world.register(&old, PASSWORD).unwrap().unwrap();
    let policy = ClientPolicy::new([KsfProfile::FLOOR, KsfProfile::CHEAP_FOR_TESTS]).unwrap();
    let newer = Client::new(old.account().clone(), IDENTITY, policy).unwrap();
    let session = world.log_in(&newer, PASSWORD).unwrap().unwrap();
    assert_eq!(session.ksf_profile(), KsfProfile::CHEAP_FOR_TESTS);
    assert_eq!(last_login(&world), (1, 1, 0), "the attempt under the first profile stays charged");

    world.pass(core::time::Duration::from_millis(1));
    let session = world.log_in(&old, PASSWORD).unwrap().unwrap();
    assert_eq!(session.ksf_profile(), KsfProfile::CHEAP_FOR_TESTS);
    assert_eq!(last_login(&world), (0, 1, 0), "a login under the right profile costs nothing");
    assert_eq!(error(world.log_in(&newer, "a wrong password")), PeerFault::LoginFailed.into());
    assert_eq!(last_login(&world), (0, 3, 2), "a wrong password is tried under both");
}

#[test]
fn a_server_with_another_key_than_the_pinned_one_gets_neither_a_ke3_nor_an_account() {
    let (mut home, mut elsewhere) = (world(12), world(13));
    let (pinned, session) = home.person("ada");
    let registered = elsewhere.register(&client("ada"), PASSWORD).unwrap().unwrap();
    assert_ne!(session.server_key(), registered.server_key);

    let mut exchange = pinned.log_in(PASSWORD, None, &mut elsewhere.rng).unwrap();
    let request = exchange.message().clone();
    let answer = elsewhere.send(&request).unwrap();
    assert_eq!(exchange.receive(answer).map(drop), Err(PeerFault::WrongServerKey.into()));
    assert_eq!(exchange.message(), &request, "no KE3 was made");
    assert!(elsewhere.log_in(&client("ada"), PASSWORD).unwrap().is_ok(), "without a pin, the same answer is taken");

    let stranger = client("bob").pin_server_key(session.server_key());
    assert_eq!(error(elsewhere.register(&stranger, PASSWORD)), PeerFault::WrongServerKey.into());
    assert_eq!(elsewhere.server.store.accounts.len(), 1);
}

#[test]
fn a_login_meant_for_another_deployment_fails() {
    let mut world = world(14);
    let (client, _) = world.person("ada");
    let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).unwrap();
    let elsewhere = Client::new(client.account().clone(), "keys.example.org", policy).unwrap();
    assert_eq!(error(world.log_in(&elsewhere, PASSWORD)), PeerFault::LoginFailed.into());
    assert!(world.log_in(&client, PASSWORD).unwrap().is_ok());
}
