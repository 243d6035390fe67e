//! A malicious client with a session of its own: requests that no honest client makes (rules 2, 16, 19, 21 and 23).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod hostile;
mod support;

use hostile::{ask, at, blank_head, frame, read_reply, rewrite, sealed};
use keystow::operation::{Reply, Request, delete, delete_account, generate, retrieve, store};
use keystow::testing::MemoryStore;
use keystow::*;
use support::{NOW, World};

const DENIED: Reply = Reply::Refused(Refusal::Denied);

/// Sends a request that must be denied, without a word more, and without a trace in the store.
fn denied(world: &mut World, session: &mut ClientSession, request: &Request, why: &str) {
    let before = world.server.store.clone();
    assert_eq!(ask(world, session, request), DENIED, "{why}");
    assert_eq!(world.server.store, before, "{why}");
}

/// Freshly generated secrets, as they would be sent.
fn unsent(world: &mut World, session: &mut ClientSession, kinds: &[Kind]) -> Vec<SealedSecret> {
    sealed(&world.generate(session, kinds).unwrap().unwrap())
}

/// The head is the right one for a vault that nothing was stored in: it is the secrets that are wrong.
fn store(secrets: Vec<SealedSecret>) -> Request {
    Request::Store(store::Request { secrets: secrets.into(), head: blank_head(1) })
}

fn retrieve(key_ids: Vec<KeyId>) -> Request {
    Request::Retrieve(retrieve::Request { key_ids })
}

fn generate(kinds: Vec<Kind>) -> Request {
    Request::Generate(generate::Request { kinds })
}

/// A secret with this public component in place of its own.
fn with_public(secret: &SealedSecret, public: &[u8]) -> SealedSecret {
    let header = rewrite(&secret.header, |bytes| bytes[at::PUBLIC..][..public.len()].copy_from_slice(public));
    SealedSecret { header, ..secret.clone() }
}

/// A header that nobody made honestly, of the greatest length that a record holds.
fn longest(user_id: UserId, index: u8) -> SealedSecret {
    let kind = [&[0][..], &Kind::MAX_STORED.to_be_bytes()].concat();
    let bytes = [&[1][..], user_id.as_bytes(), &kind, &[0], &[0; 32], &[0, index], &[0; 32]].concat();
    SealedSecret { header: Header::from_bytes(&bytes).unwrap(), ciphertext: vec![0; 65_536 + 16] }
}

#[test]
fn rule_2_a_secret_for_another_user_is_denied_and_the_store_stays_as_it_was() {
    let mut world = support::world(1);
    let (_, mut ada) = world.person("ada");
    let (_, mut bob) = world.person("bob");
    let own = unsent(&mut world, &mut ada, &[Kind::Ed25519, Kind::Ed25519]);
    let header = rewrite(&own[1].header, |bytes| {
        bytes[at::USER_ID..at::KIND].copy_from_slice(bob.user_id().as_bytes());
    });
    let planted = SealedSecret { header, ..own[1].clone() };
    denied(&mut world, &mut ada, &store(vec![planted.clone()]), "alone");
    denied(&mut world, &mut ada, &store(vec![own[0].clone(), planted]), "behind an honest one");
    let bobs = unsent(&mut world, &mut bob, &[Kind::Ed25519]);
    denied(&mut world, &mut ada, &store(bobs), "made by the other");
}

#[test]
fn rule_19_another_users_secret_looks_exactly_like_one_that_never_was() {
    let mut world = support::world(2);
    let (_, mut ada) = world.person("ada");
    let (_, mut bob) = world.person("bob");
    let own = world.secret(&mut ada, Kind::Ed25519).key_id;
    let bobs = world.secret(&mut bob, Kind::Ed25519).key_id;
    let missing = KeyId::from_bytes([9; 16]);
    let secrets = world.server.store.secrets.clone();

    let mut lengths = vec![];
    for other in [bobs, missing] {
        for key_ids in [vec![other], vec![own, other], vec![other, own]] {
            let exchange = testing::hostile::request(&mut ada, &retrieve(key_ids)).unwrap();
            let reply = world.send(exchange.message()).unwrap();
            assert_eq!(read_reply(&world, &reply), Reply::Refused(Refusal::NotFound));
            lengths.push(reply.encode().unwrap().len());
            let entry = world.server.store.audit.values().max_by_key(|entry| entry.sequence()).unwrap();
            assert_eq!((entry.user_id(), entry.granted()), (ada.user_id(), false));
        }
    }
    assert!(lengths.iter().all(|len| *len == lengths[0]), "{lengths:?}");
    assert_eq!(world.server.store.secrets, secrets);
}

#[test]
fn rule_16_a_ciphertext_of_another_length_than_its_kinds_is_denied() {
    let mut world = support::world(3);
    let (_, mut session) = world.person("ada");
    let honest = unsent(&mut world, &mut session, &[Kind::Bytes(1), Kind::Bytes(1024), Kind::Secp256k1, Kind::Ed25519]);
    for secret in &honest {
        let len = secret.ciphertext.len();
        for wrong in [0, 16, len - 1, len + 1, len + 1000].into_iter().filter(|wrong| *wrong != len) {
            let secret = SealedSecret { ciphertext: vec![7; wrong], ..secret.clone() };
            denied(&mut world, &mut session, &store(vec![secret]), "length");
        }
    }
    assert!(matches!(ask(&mut world, &mut session, &store(honest)), Reply::Store(_)));
}

#[test]
fn rule_16_a_secp256k1_component_that_is_no_compressed_point_of_the_curve_is_denied() {
    let mut world = support::world(4);
    let (_, mut session) = world.person("ada");
    let honest = unsent(&mut world, &mut session, &[Kind::Secp256k1]).remove(0);
    let own = honest.header.public().unwrap().as_bytes().to_vec();
    let off_curve = [&[2][..], &[0; 31], &[5]].concat();
    let not_reduced = [&[2][..], &[0xff; 32]].concat();
    let mut bad = vec![vec![0; 33], off_curve, not_reduced];
    bad.extend([0, 1, 4, 5, 6, 7, 0xff].map(|tag| [&[tag], &own[1..]].concat()));
    for public in &bad {
        denied(&mut world, &mut session, &store(vec![with_public(&honest, public)]), &format!("{public:02x?}"));
    }
}

/// Canonical encodings of the eight points of small order (RFC 8032's curve, y in 0, 1, -1 and the two of order 8).
fn small_order() -> Vec<[u8; 32]> {
    let order_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let mut one = [0; 32];
    one[0] = 1;
    let with_sign = |mut y: [u8; 32]| {
        y[31] |= 0x80;
        y
    };
    let y = [one, plus_prime(-1), [0; 32], order_8[0], order_8[1]];
    y.into_iter().chain([[0; 32], order_8[0], order_8[1]].map(with_sign)).collect()
}

/// `2^255 - 19 + k`, little-endian: from `k = 0` to 18 a second way to write `k`.
fn plus_prime(k: i16) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[0] = u8::try_from(0xed + k).unwrap();
    bytes[31] = 0x7f;
    bytes
}

#[test]
fn rule_16_an_ed25519_component_of_small_order_is_denied() {
    let mut world = support::world(5);
    let (_, mut session) = world.person("ada");
    let honest = unsent(&mut world, &mut session, &[Kind::Ed25519]).remove(0);
    for public in small_order() {
        denied(&mut world, &mut session, &store(vec![with_public(&honest, &public)]), &format!("{public:02x?}"));
    }
}

#[test]
fn rule_16_an_ed25519_component_that_is_not_written_canonically_is_denied() {
    let mut world = support::world(6);
    let (_, mut session) = world.person("ada");
    let honest = unsent(&mut world, &mut session, &[Kind::Ed25519]).remove(0);
    for (k, sign) in (0..=18).flat_map(|k| [(k, 0), (k, 0x80)]) {
        let mut public = plus_prime(k);
        public[31] |= sign;
        denied(&mut world, &mut session, &store(vec![with_public(&honest, &public)]), &format!("{public:02x?}"));
    }
    // x = 0 has no negative: the identity and the point of order 2 with a sign.
    for mut public in [small_order()[0], small_order()[1]] {
        public[31] |= 0x80;
        denied(&mut world, &mut session, &store(vec![with_public(&honest, &public)]), &format!("{public:02x?}"));
    }
}

#[test]
fn rule_16_a_batch_has_1_to_256_items_and_each_once() {
    let mut world = support::world(7);
    let (_, mut session) = world.person("ada");
    let kinds = [Kind::Bytes(1); 256];
    let mut secrets = unsent(&mut world, &mut session, &kinds);
    let full = secrets.clone();
    denied(&mut world, &mut session, &store(vec![]), "nothing to store");
    denied(&mut world, &mut session, &store(vec![secrets[0].clone(), secrets[1].clone(), secrets[0].clone()]), "twice");
    secrets.extend(unsent(&mut world, &mut session, &kinds[..1]));
    let key_ids: Vec<_> = secrets.iter().map(|secret| secret.header.key_id()).collect();
    denied(&mut world, &mut session, &store(secrets), "257 to store");

    assert!(matches!(ask(&mut world, &mut session, &store(full)), Reply::Store(_)), "256 to store");
    denied(&mut world, &mut session, &retrieve(vec![]), "nothing to retrieve");
    denied(&mut world, &mut session, &retrieve(vec![key_ids[0], key_ids[1], key_ids[0]]), "one twice");
    denied(&mut world, &mut session, &retrieve(key_ids.clone()), "257 to retrieve");
    assert!(matches!(ask(&mut world, &mut session, &retrieve(key_ids[..256].to_vec())), Reply::Retrieve(_)));
}

#[test]
fn rule_16_a_request_for_random_bytes_has_1_to_256_kinds_of_1_to_65536_bytes() {
    let mut world = support::world(8);
    let (_, mut session) = world.person("ada");
    for (kinds, why) in [
        (vec![], "no kinds"),
        (vec![Kind::Ed25519; 257], "257 kinds"),
        (vec![Kind::Bytes(0)], "no bytes"),
        (vec![Kind::Bytes(65_537)], "too many bytes"),
        (vec![Kind::Ed25519, Kind::Bytes(u32::MAX)], "far too many bytes, behind an honest kind"),
    ] {
        denied(&mut world, &mut session, &generate(kinds), why);
    }
    for kinds in [vec![Kind::Ed25519; 256], vec![Kind::Bytes(1), Kind::Bytes(1024)]] {
        assert!(matches!(ask(&mut world, &mut session, &generate(kinds)), Reply::Generate(_)));
    }
}

#[test]
fn rule_19_every_denial_looks_the_same_on_the_wire() {
    let mut world = support::world(9);
    let (_, mut session) = world.person("ada");
    let honest = unsent(&mut world, &mut session, &[Kind::Ed25519]).remove(0);
    let requests = [
        store(vec![]),
        store(vec![honest.clone(), honest.clone()]),
        store(vec![with_public(&honest, &small_order()[0])]),
        store(vec![SealedSecret { ciphertext: vec![], ..honest }]),
        retrieve(vec![]),
        generate(vec![Kind::Bytes(0)]),
    ];
    let lengths = requests.map(|request| {
        let exchange = testing::hostile::request(&mut session, &request).unwrap();
        let answer = world.send(exchange.message()).unwrap();
        assert_eq!(read_reply(&world, &answer), Reply::Refused(Refusal::Denied));
        answer.encode().unwrap().len()
    });
    assert!(lengths.iter().all(|len| *len == lengths[0]), "{lengths:?}");
}

/// The person's own device twice, or an embedder that sends a batch again while the first is under way.
#[test]
fn rule_21_two_sessions_that_store_the_same_secret_store_it_once() {
    let mut world = support::world(10);
    let (client, mut first) = world.person("ada");
    let mut second = world.log_in(&client, support::PASSWORD).unwrap().unwrap();
    let pending = world.generate(&mut first, &[Kind::Secp256k1]).unwrap().unwrap();
    let (a, b) = (first.store(&pending).unwrap(), second.store(&pending).unwrap());

    // Both are taken in before either has written.
    let server = &mut world.server;
    let mut session_a = server.sessions.remove(&first.session_id()).unwrap();
    let session_b = server.sessions.get_mut(&second.session_id()).unwrap();
    let (Step::Write(write_a), Step::Write(write_b)) =
        (session_a.receive(a.message().clone(), NOW).unwrap(), session_b.receive(b.message().clone(), NOW).unwrap())
    else {
        panic!("a store writes")
    };
    let [answer_a, answer_b] = [write_a, write_b].map(|write| {
        let outcome = testing::Store::apply(&mut server.store, write.transaction()).unwrap();
        write.settle(outcome).unwrap()
    });
    let (mut a, mut b) = (a, b);
    let stored = first.settle(hostile::ended(a.receive(answer_a)).unwrap()).unwrap();
    assert_eq!((Some(stored[0].key_id), stored[0].already_stored), (pending.key_ids().next(), false));
    let secrets = server.store.secrets.clone();
    let heads = server.store.heads.clone();
    assert_eq!((secrets.len(), heads.len()), (1, 2));

    // The second one's head is the same number as the first one's: it is told to look at that, finds its own secret in
    // it, and doesn't count it again.
    assert_eq!(read_reply(&world, &answer_b), Reply::Refused(Refusal::HeadMoved));
    assert!(b.receive(answer_b).unwrap().is_none());
    let stored = world.settled(&mut second, b).unwrap().unwrap();
    assert_eq!((Some(stored[0].key_id), stored[0].already_stored), (pending.key_ids().next(), true));
    assert_eq!((&world.server.store.secrets, &world.server.store.heads), (&secrets, &heads));
    assert_eq!(first.pin(), second.pin());
    assert_eq!(world.list(&mut second).unwrap().unwrap().len(), 1);
}

/// Whatever a client says its next head is, only the one right behind the newest is taken.
#[test]
fn rule_21_a_change_with_a_head_of_any_number_but_the_next_changes_nothing() {
    let mut world = support::world(12);
    let (_, mut session) = world.person("ada");
    for _ in 0..2 {
        world.secret(&mut session, Kind::Ed25519);
    }
    let key_ids: Vec<_> = world.list(&mut session).unwrap().unwrap().iter().map(|secret| secret.key_id).collect();
    let secrets = unsent(&mut world, &mut session, &[Kind::Ed25519]);
    let before = world.server.store.clone();
    for epoch in [0, 1, 2, 4, 5, u64::MAX] {
        for request in [
            Request::Store(store::Request { secrets: secrets.clone().into(), head: blank_head(epoch) }),
            Request::Delete(delete::Request { key_ids: key_ids.clone(), head: blank_head(epoch) }),
            Request::DeleteAccount(delete_account::Request { head: Some(blank_head(epoch)) }),
        ] {
            assert_eq!(ask(&mut world, &mut session, &request), Reply::Refused(Refusal::HeadMoved), "{epoch}");
            let MemoryStore { audit, .. } = &world.server.store;
            assert!(audit.iter().all(|(key, entry)| before.audit.contains_key(key) || !entry.granted()));
            assert_eq!(MemoryStore { audit: before.audit.clone(), ..world.server.store.clone() }, before, "{epoch}");
        }
    }
    let next = Request::Store(store::Request { secrets: secrets.into(), head: blank_head(3) });
    assert!(matches!(ask(&mut world, &mut session, &next), Reply::Store(_)));
}

#[test]
fn rule_23_an_answer_ends_at_512_kib() {
    let mut world = support::world(11);
    let (_, mut session) = world.person("ada");
    let secrets: Vec<_> = (0..9).map(|index| longest(session.user_id(), index)).collect();
    let key_ids: Vec<_> = secrets.iter().map(|secret| secret.header.key_id()).collect();
    assert!(matches!(ask(&mut world, &mut session, &store(secrets)), Reply::Store(_)));

    assert_eq!(ask(&mut world, &mut session, &retrieve(key_ids.clone())), Reply::Refused(Refusal::TooLarge));
    let exchange = testing::hostile::request(&mut session, &retrieve(key_ids[..7].to_vec())).unwrap();
    let reply = world.send(exchange.message()).unwrap();
    assert!(reply.encode().unwrap().len() < 512 * 1024 + 1024);
    assert_eq!(frame(&exchange).session_id, reply.session_id());
}
