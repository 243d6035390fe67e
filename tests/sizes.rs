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
use support::{PASSWORD, client, world};

/// What the issue allows.
const RECORD: usize = 192;
const SESSION: usize = 640;
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
fn an_open_session_takes_at_most_640_bytes_with_its_keys_and_the_cached_welcome() {
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
        let key_ids: Vec<_> = pending.iter().map(PendingSecret::key_id).collect();
        let retrieve = session.retrieve(&key_ids).unwrap();
        frames.push((retrieve.message().clone(), world.send(retrieve.message()).unwrap()));
        for (request, reply) in frames {
            most = most.max(added(&request)).max(added_to_reply(&reply));
        }
    }
    println!("frames of a run of up to 256 secrets add at most {most} bytes, at most {FRAME}");
    assert!((16..=FRAME).contains(&most));
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
