//! Sizes: what a stored secret, an open session and a frame take, measured in bytes. The figures are printed:
//! `cargo test --test sizes -- --nocapture`.
//!
//! `allocation-counter` is this program's allocator: it counts the bytes that are asked for, by thread.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![allow(clippy::print_stdout)]

mod support;

use allocation_counter::measure;
use keystow::*;
use support::{PASSWORD, World, client, world};

/// What the issue allows.
const RECORD: usize = 192;
const SESSION: usize = 512;
const FRAME: usize = 40;

const KINDS_OF_32_BYTES: [Kind; 3] = [Kind::Bytes(32), Kind::Secp256k1, Kind::Ed25519];

/// The bytes on the heap that a value owns: those that are freed with it.
fn heap_of<T>(value: T) -> usize {
    let freed = measure(|| drop(value)).bytes_current;
    usize::try_from(-freed).unwrap()
}

#[test]
fn what_is_measured_is_the_heap_that_a_value_owns() {
    assert_eq!(heap_of(Box::new([0u8; 100])), 100);
    assert_eq!(heap_of(vec![Box::new(0u64), Box::new(1)]), 2 * size_of::<usize>() + 16);
    let shared = std::sync::Arc::new([0u8; 50]);
    assert_eq!(heap_of(shared.clone()), 0, "what others own as well stays");
}

#[test]
fn a_stored_secret_of_32_bytes_takes_at_most_192_bytes() {
    let mut world = world(1);
    let (_, mut session) = world.person("ada");
    for kind in KINDS_OF_32_BYTES {
        let new = world.secret(&mut session, kind);
        let record = world.server.store.secrets[&(session.user_id(), new.key_id)].len();
        println!("record of a stored {kind}: {record} bytes, at most {RECORD}");
        assert!((32..=RECORD).contains(&record));
    }
}

#[test]
fn an_open_session_takes_at_most_512_bytes_with_its_keys_and_the_cached_welcome() {
    let mut world = world(1);
    let client = client("a name that is longer than most, so that a session that kept it would be seen to");
    world.register(&client, PASSWORD).unwrap().unwrap();
    let mut exchange = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let reply = world.send(exchange.message()).unwrap();
    assert!(exchange.receive(reply).unwrap().is_none());
    let finish = exchange.message().clone();
    let welcome = world.send(&finish).unwrap();
    assert_eq!(world.send(&finish).unwrap(), welcome, "the Welcome is cached");

    let session = world.server.sessions.remove(&welcome.session_id()).unwrap();
    assert!(session.user_id().is_some());
    let (inline, heap) = (size_of::<ServerSession>(), heap_of(session));
    println!("open session: {} bytes ({inline} inline, {heap} on the heap), at most {SESSION}", inline + heap);
    assert!(heap > 2 * 32 + 32 + 64, "two frame keys, a seed and a Welcome are on the heap: {heap}");
    assert!(inline + heap <= SESSION);
}

/// Until the next request the login's heads are cached: the newest alone, or those that the device's pin lacks.
#[test]
fn an_open_session_takes_at_most_512_bytes_with_the_newest_head_cached_and_the_heads_that_it_was_asked_for() {
    let mut world = world(1);
    let (client, mut session) = world.person("ada");
    let first = session.pin();
    let of_login = |world: &mut World, pin| {
        let session = world.log_in_with(&client, PASSWORD, pin).unwrap().unwrap();
        size_of::<ServerSession>() + heap_of(world.server.sessions.remove(&session.session_id()).unwrap())
    };
    let newest = of_login(&mut world, None);
    println!("open session with its newest head: {newest} bytes, at most {SESSION}");
    assert!(newest <= SESSION);
    for _ in 0..9 {
        world.secret(&mut session, Kind::default());
    }
    let ten = of_login(&mut world, Some(first));
    println!("open session with ten heads: {ten} bytes");
    assert_eq!(ten - newest, 9 * SealedHead::LEN, "what the client makes the server keep is bounded by a page");
}

#[test]
fn a_stored_head_takes_141_bytes_and_a_pin_40_or_64_to_76_characters() {
    let mut world = world(1);
    let (_, mut session) = world.person("ada");
    world.secret(&mut session, Kind::default());
    let heads: Vec<usize> = world.server.store.heads.values().map(Vec::len).collect();
    assert_eq!(heads, [1 + SealedHead::LEN; 2]);
    assert_eq!((SealedHead::LEN, VaultPin::LEN, session.pin().to_bytes().len()), (140, 40, 40));
    let text = |epoch: u64| {
        let mut bytes = session.pin().to_bytes();
        bytes[..8].copy_from_slice(&epoch.to_be_bytes());
        VaultPin::from_bytes(&bytes).to_string().len()
    };
    let lengths = [0, 1, 255, 256, 65_536, 1 << 24, 1 << 32, 1 << 40, 1 << 48, u64::MAX].map(text);
    println!("a head: {} bytes stored; a pin: {} to {} characters", heads[0], lengths[0], lengths[9]);
    assert_eq!(lengths, [64, 65, 65, 67, 68, 70, 72, 73, 75, 76]);
}

/// What a message adds to what its frame carries.
fn added(message: &ClientMessage) -> usize {
    let ClientMessage::Frame(frame) = message else { panic!("no frame: {message:?}") };
    let inside = frame.sealed.len() - 16;
    message.encode().unwrap().len() - inside
}

fn added_to_reply(message: &ServerMessage) -> usize {
    let ServerMessage::Frame(frame) = message else { panic!("no frame: {message:?}") };
    message.encode().unwrap().len() - (frame.sealed.len() - 16)
}

#[test]
fn a_frame_adds_at_most_40_bytes_to_what_it_carries() {
    let mut world = world(1);
    let (_, mut session) = world.person("ada");
    let mut most = 0;
    for count in [1, 3, 256] {
        let kinds = vec![Kind::Secp256k1; count];
        let generate = session.generate(&kinds, &mut world.rng).unwrap();
        let mut frames = vec![(generate.message().clone(), world.send(generate.message()).unwrap())];
        let pending = world.run(generate).unwrap().unwrap();
        let store = session.store(&pending).unwrap();
        frames.push((store.message().clone(), world.send(store.message()).unwrap()));
        world.settled(&mut session, store).unwrap().unwrap();
        let key_ids: Vec<_> = pending.key_ids().collect();
        let retrieve = session.retrieve(&key_ids).unwrap();
        frames.push((retrieve.message().clone(), world.send(retrieve.message()).unwrap()));
        for (request, reply) in frames {
            most = most.max(added(&request)).max(added_to_reply(&reply));
        }
    }
    println!("frames of a run of up to 256 secrets add at most {most} bytes, at most {FRAME}");
    assert!((16..=FRAME).contains(&most));
}

/// What a frame carries.
fn carried(message: &ClientMessage) -> usize {
    message.encode().unwrap().len() - added(message)
}

fn carried_by_reply(message: &ServerMessage) -> usize {
    message.encode().unwrap().len() - added_to_reply(message)
}

/// The vault head costs every change 140 bytes, and every login a request of 2 to 12 bytes and what is new.
#[test]
fn heads_cross_in_140_bytes_each() {
    let mut world = world(1);
    let client = client("ada");
    let mut registration = client.register(PASSWORD, &mut world.rng).unwrap();
    let response = world.send(registration.message()).unwrap();
    registration.receive(response).unwrap();
    assert_eq!(registration.message().encode().unwrap().len(), 2 + 16 + 192 + 48 + 140 + 32);
    let pin = world.run(registration).unwrap().unwrap().pin;
    let mut session = world.log_in(&client, PASSWORD).unwrap().unwrap();

    let pending = world.generate(&mut session, &[Kind::Bytes(32)]).unwrap().unwrap();
    let store = session.store(&pending).unwrap();
    // variant, count, header behind its length, ciphertext behind its length
    assert_eq!(carried(store.message()), 2 + 90 + 49 + 140);
    world.settled(&mut session, store).unwrap().unwrap();
    let key_ids: Vec<_> = pending.key_ids().collect();
    let delete = session.delete(&key_ids).unwrap();
    assert_eq!(carried(delete.message()), 2 + 16 + 140);
    world.settled(&mut session, delete).unwrap().unwrap();
    assert_eq!(carried(session.delete_account().unwrap().message()), 2 + 140);

    for (pin, request, heads) in [(None, 2, 1), (Some(pin), 3, 3), (Some(session.pin()), 3, 1)] {
        let mut login = client.log_in(PASSWORD, pin, &mut world.rng).unwrap();
        for _ in 0..2 {
            let reply = world.send(login.message()).unwrap();
            assert!(login.receive(reply).unwrap().is_none());
        }
        let reply = world.send(login.message()).unwrap();
        assert_eq!((carried(login.message()), carried_by_reply(&reply)), (request, 2 + heads * 140 + 1));
    }
}

/// The bound's own condition: a sequence number below 2^21. (A message's length is bounded besides.)
#[test]
fn a_frame_adds_40_bytes_at_the_bound_and_more_beyond_it() {
    let frame = |sequence, len: usize| {
        let frame = Frame { session_id: SessionId::from_bytes([7; 16]), sequence, sealed: vec![0; len + 16] };
        let (request, reply) = (ClientMessage::Frame(frame.clone()), ServerMessage::Frame(frame));
        assert_eq!(added(&request), added_to_reply(&reply));
        added(&request)
    };
    assert_eq!(frame(1, 1), 36, "the least");
    assert_eq!(frame((1 << 21) - 1, 65_535), 40);
    assert_eq!(frame((1 << 21) - 1, (1 << 20) - 56), 40, "the longest message");
    assert_eq!(frame(1 << 21, 65_535), 41);
}
