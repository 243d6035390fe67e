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

use hostile::device::{Device, Line, header};
use hostile::{ask, ended, fault, forge, record, stretched, truncated};
use keystow::operation::{Reply, Request, generate, retrieve, store};
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
    let store = |secret: &SealedSecret| Request::Store(store::Request { secrets: vec![secret.clone()] });
    let stored = Reply::Store(store::Reply { key_ids: vec![key_id], repeated: false });
    assert_eq!(ask(&mut world, &mut session, &store(&first)), stored);
    assert_eq!(ask(&mut world, &mut session, &store(&second)), Reply::Refused(Refusal::KeyIdTaken(key_id)));
    assert_eq!(world.server.store.secrets[&(device.user_id, key_id)], record(&first));
}

#[test]
fn rule_16_a_request_has_one_spelling_inside_its_frame_too() {
    let mut world = support::world(5);
    let device = Device::register(&mut world, "ada", PASSWORD, [7; 32]);
    let line = Line::log_in(&mut world, "ada", PASSWORD);
    let secret = device.seal(header(device.user_id, Kind::Bytes(3), &[], [0; 32]), b"abc");
    let key_ids = vec![secret.header.key_id()];
    let requests = [
        Request::Generate(generate::Request { kinds: vec![Kind::Bytes(300), Kind::Ed25519] }),
        Request::Store(store::Request { secrets: vec![secret] }),
        Request::Retrieve(retrieve::Request { key_ids }),
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
