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
    |bytes| PendingSecrets::decode(bytes)?.encode(),
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
    let one = run!(session.generate(&kinds[1..2], &mut world.rng));
    let store = session.store(&pending).unwrap();
    let server_session = &world.server.sessions[&session.session_id()];
    if let Request::Store(request) = hostile::open_request(server_session, store.message().clone()).unwrap() {
        headers.extend(request.secrets.iter().map(|secret| secret.header.to_bytes()));
    }
    let stored = run!(Ok::<_, Error>(store));
    session.settle(stored).unwrap();
    let key_ids: Vec<_> = pending.key_ids().collect();
    run!(session.retrieve(&key_ids));
    let entries = world.server.store.audit.values();
    [
        requests,
        replies,
        [pending, session.rebase(&one).unwrap(), one].map(|pending| pending.encode().unwrap()).to_vec(),
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

/// Any pin: heads in any number, many of them few.
fn pin() -> impl Strategy<Value = VaultPin> {
    (prop_oneof![0..300u64, any::<u64>()], any::<[u8; 32]>()).prop_map(|(epoch, hash)| {
        let bytes = [&epoch.to_be_bytes()[..], &hash].concat();
        VaultPin::from_bytes(&bytes.try_into().unwrap())
    })
}

/// A text without what may stand between its groups.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_whitespace() && *c != '-').collect()
}

const NO_PIN: Error = Error::Caller(CallerFault::DamagedValue("vault pin"));

proptest! {
    #![proptest_config(crate::cases(4_000))]

    #[test]
    fn any_pin_reads_back_from_its_bytes_and_its_text_in_groups_of_any_length_and_either_case(
        pin in pin(),
        group in 1..20usize,
        separator in prop_oneof![Just(" "), Just("-"), Just("\n"), Just(" - ")],
    ) {
        let text = pin.to_string();
        prop_assert!((64..=76).contains(&text.len()) && text.starts_with("kspin1"));
        prop_assert_eq!(&text, &text.to_ascii_lowercase());
        let groups: Vec<_> = text.as_bytes().chunks(group).map(|group| str::from_utf8(group).unwrap()).collect();
        for spelled in [text.clone(), text.to_ascii_uppercase(), groups.join(separator)] {
            prop_assert_eq!(spelled.parse(), Ok(pin));
        }
        prop_assert_eq!(VaultPin::from_bytes(&pin.to_bytes()), pin);
        prop_assert_eq!(&pin.to_bytes()[..8], &pin.epoch().to_be_bytes());
        prop_assert_eq!(serde_json::from_slice::<VaultPin>(&serde_json::to_vec(&pin).unwrap()).unwrap(), pin);
    }

    /// Nothing but what stands between the groups may differ.
    #[test]
    fn a_pins_text_that_was_damaged_is_that_pin_or_none(pin in pin(), tamper in tamper()) {
        let text = pin.to_string();
        if let Ok(tampered) = String::from_utf8(tamper.apply(text.as_bytes())) {
            let expected = if plain(&tampered) == text { Ok(pin) } else { Err(NO_PIN) };
            prop_assert_eq!(tampered.parse(), expected);
        }
    }

    #[test]
    fn a_text_is_no_pin_or_that_pins_own_spelling(
        text in prop_oneof![
            any::<String>(),
            "kspin1[qpzry9x8gf2tvdw0s3jn54khce6mua7l]{0,80}",
            "[a-zA-Z0-9 -]{0,90}",
        ],
    ) {
        match text.parse::<VaultPin>() {
            Ok(pin) => prop_assert_eq!(plain(&text).to_ascii_lowercase(), pin.to_string()),
            Err(error) => prop_assert_eq!(error, NO_PIN),
        }
    }

    /// Whether it is the client's shows when it is opened: a head has no other form than its 140 bytes.
    #[test]
    fn any_140_bytes_are_a_head_in_a_message_and_no_other_number_of_bytes_is(
        head in vec(any::<u8>(), SealedHead::LEN),
        tamper in tamper(),
    ) {
        // version ‖ variant ‖ session ID ‖ upload ‖ wrap, and after the head the transcript
        let (before, after) = ([&[1, 1][..], &[7; 16 + 192 + 48]].concat(), [9; 32]);
        let upload = |head: &[u8]| ClientMessage::decode(&[&before, head, &after].concat());
        let decoded = upload(&head).unwrap();
        let ClientMessage::RegistrationUpload { head: sealed, .. } = &decoded else { panic!("another message") };
        prop_assert_eq!(sealed.as_bytes().as_slice(), &head);
        prop_assert_eq!(&sealed.epoch().to_be_bytes(), &head[..8]);
        prop_assert_eq!(&sealed.pin().to_bytes()[..8], &head[..8]);
        prop_assert_eq!(decoded.encode().unwrap(), [&before, &head[..], &after].concat());
        prop_assert_eq!(serde_json::from_slice::<SealedHead>(&serde_json::to_vec(sealed).unwrap()).unwrap(), *sealed.clone());

        let tampered = tamper.apply(&head);
        let same_length = tampered.len() == SealedHead::LEN;
        prop_assert_eq!(upload(&tampered).err(), (!same_length).then_some(PeerFault::Undecodable.into()));
        prop_assert_eq!(serde_json::from_slice::<SealedHead>(&serde_json::to_vec(&tampered).unwrap()).is_ok(), same_length);
    }
}
