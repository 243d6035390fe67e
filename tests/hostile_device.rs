//! A device of the person's own that has every key and lies: what is sealed as it should be and still isn't true (rules 2, 3,
//! 13 and 16). It is written from `docs/protocol.md` alone, so that it also says whether that page is complete.
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

use hostile::device::{Device, HeadContents, Line, credential_tag, head_hash, head_nonce, header};
use hostile::{ask, ended, fault, forge, record, stretched, truncated};
use keystow::operation::{Reply, Request, generate, heads, retrieve, store};
use keystow::*;
use support::{PASSWORD, World, client};

/// The order of secp256k1's group (SEC 2, section 2.4.1).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xba, 0xae, 0xdc,
    0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
];

/// The key of the scalar 1: the generator.
const ONE: [u8; 32] = {
    let mut one = [0; 32];
    one[31] = 1;
    one
};

fn generator() -> Vec<u8> {
    k256::SecretKey::from_slice(&ONE).unwrap().public_key().to_sec1_bytes().to_vec()
}

fn ed25519(seed: [u8; 32]) -> [u8; 32] {
    ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().to_bytes()
}

/// What an honest client makes of a secret that another device has sealed and stored.
fn retrieved(
    world: &mut World,
    user_id: UserId,
    session: &mut ClientSession,
    secret: &SealedSecret,
) -> Result<KeyId, Error> {
    let key_id = secret.header.key_id();
    world.server.store.secrets.insert((user_id, key_id), record(secret));
    let mut exchange = session.retrieve(&[key_id]).unwrap();
    let answer = world.send(exchange.message()).unwrap();
    exchange.receive(answer).map(|outcome| outcome.unwrap().unwrap()[0].key_id())
}

fn damaged(secret: &SealedSecret) -> Result<KeyId, Error> {
    Err(PeerFault::DamagedSecret { key_id: secret.header.key_id() }.into())
}

#[test]
fn rule_3_a_public_component_is_computed_from_the_secret_again_however_well_it_is_sealed() {
    let mut world = support::world(1);
    let device = Device::register(&mut world, "ada", PASSWORD, [7; 32]);
    let mut session = world.log_in(&client("ada"), PASSWORD).unwrap().unwrap();
    let user_id = device.user_id;
    for (kind, secret, own, other) in [
        (Kind::Ed25519, [3; 32], ed25519([3; 32]).to_vec(), ed25519([4; 32]).to_vec()),
        (Kind::Secp256k1, ONE, generator(), [&[3], &generator()[1..]].concat()),
    ] {
        let honest = device.seal(header(user_id, kind, &own, [0; 32]), &secret);
        assert_eq!(retrieved(&mut world, user_id, &mut session, &honest), Ok(honest.header.key_id()));
        let lying = device.seal(header(user_id, kind, &other, [0; 32]), &secret);
        assert_eq!(retrieved(&mut world, user_id, &mut session, &lying), damaged(&lying));
    }
}

#[test]
fn rule_16_a_sealed_scalar_that_is_zero_or_not_below_the_order_is_an_error() {
    let mut world = support::world(2);
    let device = Device::register(&mut world, "ada", PASSWORD, [7; 32]);
    let mut session = world.log_in(&client("ada"), PASSWORD).unwrap().unwrap();
    let user_id = device.user_id;
    for scalar in [[0; 32], ORDER, [0xff; 32]] {
        let sealed = device.seal(header(user_id, Kind::Secp256k1, &generator(), [0; 32]), &scalar);
        assert_eq!(retrieved(&mut world, user_id, &mut session, &sealed), damaged(&sealed));
    }
}

/// The vault key is the same, so nothing but the user ID tells the two people's secrets apart.
#[test]
fn rule_2_the_user_id_in_a_header_is_the_sessions_own_whatever_key_it_is_sealed_under() {
    let mut world = support::world(3);
    let ada = Device::register(&mut world, "ada", PASSWORD, [7; 32]);
    let bob = Device::register(&mut world, "bob", PASSWORD, [7; 32]);
    assert_ne!(ada.user_id, bob.user_id);
    let mut session = world.log_in(&client("ada"), PASSWORD).unwrap().unwrap();
    let answer = |secret: &SealedSecret| Reply::Retrieve(retrieve::Reply { secrets: vec![secret.clone()] });

    let [own, bobs] =
        [&ada, &bob].map(|device| device.seal(header(device.user_id, Kind::Bytes(3), &[], [0; 32]), b"abc"));
    let mut exchange = session.retrieve(&[bobs.header.key_id()]).unwrap();
    let forged = forge(&world, &exchange, &answer(&bobs));
    assert_eq!(fault(exchange.receive(forged)), damaged(&bobs).unwrap_err());
    let mut exchange = session.retrieve(&[own.header.key_id()]).unwrap();
    let honest = forge(&world, &exchange, &answer(&own));
    assert_eq!(ended(exchange.receive(honest)).unwrap()[0].expose(), b"abc");
}

#[test]
fn rule_13_a_second_plaintext_under_a_stored_header_is_a_conflict() {
    let mut world = support::world(4);
    let device = Device::register(&mut world, "ada", PASSWORD, [7; 32]);
    let mut session = world.log_in(&client("ada"), PASSWORD).unwrap().unwrap();
    let header = header(device.user_id, Kind::Bytes(3), &[], [0; 32]);
    let key_id = header.key_id();
    let [first, second] = [b"abc", b"xyz"].map(|secret| device.seal(header.clone(), secret));
    // Each goes on from the vault's newest head: it is the header that can't be had twice.
    let first_head = device.head_with(&device.first_head, &[key_id], session.session_id(), 3);
    let second_head = device.head_with(&first_head, &[key_id], session.session_id(), 4);
    let store = |secret: &SealedSecret, head: &SealedHead| {
        Request::Store(store::Request { secrets: vec![secret.clone()].into(), head: Box::new(head.clone()) })
    };
    let stored = Reply::Store(store::Reply { key_ids: vec![key_id], repeated: false });
    assert_eq!(ask(&mut world, &mut session, &store(&first, &first_head)), stored);
    let refused = Reply::Refused(Refusal::KeyIdTaken(key_id));
    assert_eq!(ask(&mut world, &mut session, &store(&second, &second_head)), refused);
    assert_eq!(world.server.store.secrets[&(device.user_id, key_id)], record(&first));
    assert_eq!(world.server.store.heads.len(), 2);
}

#[test]
fn rule_16_a_request_has_one_spelling_inside_its_frame_too() {
    let mut world = support::world(5);
    let device = Device::register(&mut world, "ada", PASSWORD, [7; 32]);
    let line = Line::log_in(&mut world, "ada", PASSWORD);
    let secret = device.seal(header(device.user_id, Kind::Bytes(3), &[], [0; 32]), b"abc");
    let key_ids = vec![secret.header.key_id()];
    let head = Box::new(device.head_with(&device.first_head, &key_ids, line.session_id, 3));
    let requests = [
        Request::Generate(generate::Request { kinds: vec![Kind::Bytes(300), Kind::Ed25519] }),
        Request::Store(store::Request { secrets: vec![secret].into(), head }),
        Request::Retrieve(retrieve::Request { key_ids }),
        Request::Heads(heads::Request { from: Some(300) }),
    ];
    let before = world.server.store.clone();
    let undecodable = Error::from(PeerFault::Undecodable);
    let mut sequence = 1;
    for request in &requests {
        sequence += 1;
        let body = postcard::to_allocvec(request).unwrap();
        for wrong in truncated(&body).chain(stretched(&body)) {
            // A list that is cut off and a byte that is shifted can be another request, in its own spelling.
            let other = postcard::from_bytes::<Request>(&wrong).ok();
            if other.is_none_or(|other| postcard::to_allocvec(&other).unwrap() != wrong) {
                assert_eq!(line.refused(&mut world, sequence, &wrong), undecodable, "{wrong:02x?}");
            }
        }
    }
    let huge_count = [&[0][..], &[0xff; 9], &[1]].concat();
    for nonsense in [&[][..], &[3], &[0xff; 40], &huge_count] {
        assert_eq!(line.refused(&mut world, 2, nonsense), undecodable, "{nonsense:02x?}");
    }
    assert_eq!(world.server.store, before);
    // None of it has used up a number: the requests themselves are answered under the same ones.
    for (sequence, request) in (2..).zip(&requests) {
        let body = postcard::to_allocvec(request).unwrap();
        assert!(matches!(world.send(&line.frame(sequence, &body)), Ok(ServerMessage::Frame(_))));
    }
}

/// The chain that a device makes which was written from the page is the client's own, and the other way round: the two take
/// turns at one vault, each with its own key schedule, and the pin that the client keeps is the hash that anyone computes.
#[test]
fn the_vault_heads_of_the_page_and_of_the_client_are_one_chain() {
    let mut world = support::world(6);
    let device = Device::register(&mut world, "ada", PASSWORD, [7; 32]);
    let user_id = device.user_id;
    let pin = |head: &SealedHead| {
        VaultPin::from_bytes(&[&head.epoch().to_be_bytes()[..], &head_hash(head)].concat().try_into().unwrap())
    };
    let stored_head = |world: &World, epoch: u64| -> SealedHead {
        postcard::from_bytes(&world.server.store.heads[&(user_id, epoch)][1..]).unwrap()
    };
    assert_eq!(stored_head(&world, 0), device.first_head);
    let mut session = world.log_in_with(&client("ada"), PASSWORD, Some(pin(&device.first_head))).unwrap().unwrap();
    assert_eq!((session.trust(), session.pin()), (VaultTrust::Pinned, pin(&device.first_head)));

    // The client stores two secrets and deletes one: numbers 1 and 2 are the login's, 3 the generation's.
    let pending = world.generate(&mut session, &[Kind::Bytes(3), Kind::Ed25519]).unwrap().unwrap();
    world.store(&mut session, &pending).unwrap().unwrap();
    let key_ids: Vec<_> = pending.key_ids().collect();
    world.delete(&mut session, &key_ids[..1]).unwrap().unwrap();
    let (added, removed) = (stored_head(&world, 1), stored_head(&world, 2));
    assert_eq!(added, device.head_with(&device.first_head, &key_ids, session.session_id(), 4));
    let credential = device.open_head(&added).credential;
    let contents = HeadContents { prev: head_hash(&added), count: 1, digest: device.digest(&key_ids[1..]), credential };
    assert_eq!(removed, device.seal_head(2, head_nonce(session.session_id(), 5), contents));
    assert_eq!(session.pin(), pin(&removed));

    // The device stores one of its own; the client's list is complete with it.
    let line = Line::log_in(&mut world, "ada", PASSWORD);
    let own = device.seal(header(user_id, Kind::Bytes(3), &[], [0; 32]), b"abc");
    let own_id = own.header.key_id();
    let head = device.head_with(&removed, &[own_id], line.session_id, 2);
    let request = Request::Store(store::Request { secrets: vec![own].into(), head: Box::new(head.clone()) });
    let answer = world.send(&line.frame(2, &postcard::to_allocvec(&request).unwrap())).unwrap();
    let stored = Reply::Store(store::Reply { key_ids: vec![own_id], repeated: false });
    assert_eq!(hostile::read_reply(&world, &answer), stored);
    let listed: BTreeSet<_> = world.list(&mut session).unwrap().unwrap().iter().map(|secret| secret.key_id).collect();
    assert_eq!((listed, session.pin()), (BTreeSet::from([key_ids[1], own_id]), pin(&head)));

    // A new wrap, and the end.
    world.change_password(&mut session, "another password").unwrap().unwrap();
    let Reply::Welcome(welcome) = welcomed(&mut world, "another password") else { panic!("no Welcome") };
    let after = HeadContents { credential: credential_tag(&welcome.wrap), ..device.open_head(&head) };
    assert_eq!(device.open_head(&stored_head(&world, 4)), HeadContents { prev: head_hash(&head), ..after });
    let mut deletion = session.delete_account().unwrap();
    let part = world.send(deletion.message()).unwrap();
    assert!(deletion.receive(part).unwrap().is_none());
    let prev = head_hash(&stored_head(&world, 4));
    let closed = HeadContents { prev, count: 0, digest: [0; 32], credential: [0; 32] };
    assert_eq!(device.open_head(&stored_head(&world, 5)), closed);
}

/// What a login's Welcome says.
fn welcomed(world: &mut World, password: &str) -> Reply {
    let mut login = client("ada").log_in(password, None, &mut world.rng).unwrap();
    let response = world.send(login.message()).unwrap();
    assert!(login.receive(response).unwrap().is_none());
    let welcome = world.send(login.message()).unwrap();
    hostile::read_reply(world, &welcome)
}
