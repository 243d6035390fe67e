//! Decoders: any bytes at all, and what damage makes of honest ones.

use std::sync::LazyLock;

use keystow::operation::Request;
use keystow::storage::AuditEntry;
use keystow::testing::hostile;
use keystow::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::tamper::{Tamper, tamper};
use crate::support::{PASSWORD, rng, world};

/// Reads bytes and gives those of what was read.
type Decoder = fn(&[u8]) -> Result<Vec<u8>, Error>;

/// Every decoder that takes bytes from outside.
const DECODERS: [Decoder; 6] = [
    |bytes| ClientMessage::decode(bytes)?.encode(),
    |bytes| ServerMessage::decode(bytes)?.encode(),
    |bytes| PendingSecret::decode(bytes)?.encode(),
    |bytes| Ok(Header::from_bytes(bytes)?.to_bytes()),
    |bytes| Ok(AuditEntry::from_bytes(bytes)?.to_record()?.as_bytes().to_vec()),
    |bytes| Ok(ServerSetup::from_bytes(bytes)?.to_bytes().expose().to_vec()),
];

/// Honest bytes for each of the decoders: everything that a run brings up.
static HONEST: LazyLock<[Vec<Vec<u8>>; 6]> = LazyLock::new(|| {
    let [mut requests, mut replies, mut headers] = [const { Vec::new() }; 3];
    let (mut world, client) = (world(1), crate::support::client("ada"));
    macro_rules! run {
        ($exchange:expr) => {{
            let mut exchange = $exchange.unwrap();
            loop {
                let reply = world.send(exchange.message()).unwrap();
                requests.push(exchange.message().encode().unwrap());
                replies.push(reply.encode().unwrap());
                if let Some(output) = exchange.receive(reply).unwrap() {
                    break output.unwrap();
                }
            }
        }};
    }
    run!(client.register(PASSWORD, &mut world.rng));
    let mut session = run!(client.log_in(PASSWORD, None, &mut world.rng));
    let kinds = [Kind::Bytes(300), Kind::Secp256k1, Kind::Ed25519];
    let pending = run!(session.generate(&kinds, &mut world.rng));
    let store = session.store(&pending).unwrap();
    let server_session = &world.server.sessions[&session.session_id()];
    if let Request::Store(request) = hostile::open_request(server_session, store.message().clone()).unwrap() {
        headers.extend(request.secrets.iter().map(|secret| secret.header.to_bytes()));
    }
    run!(Ok::<_, Error>(store));
    let key_ids: Vec<_> = pending.iter().map(PendingSecret::key_id).collect();
    run!(session.retrieve(&key_ids));
    let entries = world.server.store.audit.values();
    [
        requests,
        replies,
        pending.iter().map(|pending| pending.encode().unwrap()).collect(),
        headers,
        entries.map(|entry| entry.to_record().unwrap().as_bytes().to_vec()).collect(),
        (1..4).map(|seed| ServerSetup::generate(&mut rng(seed)).unwrap().to_bytes().expose().to_vec()).collect(),
    ]
});

/// Bytes that get past the first checks: a version, a small number where a variant stands.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let after = |start: &'static [u8]| vec(any::<u8>(), 0..400).prop_map(move |rest| [start, &rest].concat());
    prop_oneof![
        after(&[]),
        after(&[1]),
        (0..6u8, vec(any::<u8>(), 0..400)).prop_map(|(variant, rest)| [&[1, variant], &rest[..]].concat()),
        // a frame whose contents claim to be long
        (vec(any::<u8>(), 16), vec(0x80..=0xffu8, 0..12), vec(any::<u8>(), 0..40)).prop_map(|(id, claim, rest)| [
            &[1, 4],
            &id[..],
            &[7],
            &claim,
            &rest
        ]
        .concat()),
    ]
}

#[test]
fn the_honest_bytes_of_every_decoder_decode_to_themselves() {
    for (decoder, honest) in DECODERS.iter().zip(HONEST.iter()) {
        assert!(honest.len() >= 3);
        for bytes in honest {
            assert_eq!(decoder(bytes).as_ref(), Ok(bytes));
        }
    }
}

proptest! {
    #![proptest_config(crate::cases(4_000))]

    #[test]
    fn garbage_is_refused_without_a_panic_and_what_decodes_encodes_to_the_same_bytes(bytes in garbage()) {
        for decoder in DECODERS {
            if let Ok(again) = decoder(&bytes) {
                prop_assert_eq!(&again, &bytes);
            }
        }
    }

    #[test]
    fn a_flipped_bit_leaves_a_canonical_value_or_none_and_a_cut_or_longer_value_is_refused(
        which in any::<Index>(),
        tamper in tamper(),
    ) {
        for (decoder, honest) in DECODERS.iter().zip(HONEST.iter()) {
            let tampered = tamper.apply(&honest[which.index(honest.len())]);
            match (&tamper, decoder(&tampered)) {
                (_, Err(error)) => prop_assert!(!matches!(error, Error::Stored(_)), "{error}"),
                (Tamper::Flip { .. }, Ok(again)) => prop_assert_eq!(&again, &tampered),
                (_, Ok(_)) => prop_assert!(false, "{tamper:?} was taken"),
            }
        }
    }
}

proptest! {
    #![proptest_config(crate::cases(300))]

    #[test]
    fn a_message_that_is_no_message_names_the_version_or_the_form(bytes in garbage()) {
        let expected = match bytes.first() {
            Some(1) | None => PeerFault::Undecodable,
            Some(version) => PeerFault::Version(*version),
        };
        for decoder in &DECODERS[..2] {
            prop_assert!(decoder(&bytes).map_or_else(|error| error == expected.clone().into(), |again| again == bytes));
        }
    }
}
