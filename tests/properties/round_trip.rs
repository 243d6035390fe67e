//! The main job, for any name, password and kinds.

use keystow::testing::InMemoryServer;
use keystow::*;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{IDENTITY, NOW, World, rng};

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![2 => (1..=1_024u32).prop_map(Kind::Bytes), 1 => Just(Kind::Secp256k1), 1 => Just(Kind::Ed25519)]
}

fn client(account: &[u8]) -> Client {
    let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).unwrap();
    Client::new(AccountName::new(account).unwrap(), IDENTITY, policy).unwrap()
}

/// A server over this store: what a restart makes of the setup's bytes.
fn world(setup: &[u8], store: testing::MemoryStore, seed: u64) -> World {
    let setup = ServerSetup::from_bytes(setup).unwrap();
    let server = Server::new(setup, IDENTITY, ServerPolicy::default()).unwrap();
    World { server: InMemoryServer::new(server, store, seed), rng: rng(seed), now: NOW }
}

proptest! {
    #![proptest_config(crate::cases(160))]

    /// The second client is on another device, at a server that was restarted: it has the password and the store alone.
    #[test]
    fn any_name_password_and_batch_of_kinds_is_generated_stored_and_retrieved_by_a_second_client(
        account in vec(any::<u8>(), 1..=255),
        password in prop_oneof![vec(any::<u8>(), 1..=64), vec(any::<u8>(), 1..=4_096)],
        kinds in vec(kind(), 1..=8),
        seed in any::<u64>(),
    ) {
        let setup = ServerSetup::generate(&mut rng(seed)).unwrap().to_bytes();
        let mut world_1 = world(setup.expose(), testing::MemoryStore::new(), 1);
        let exchange = client(&account).register(&password, &mut world_1.rng).unwrap();
        let registered = world_1.run(exchange).unwrap().unwrap();
        let exchange = client(&account).log_in(&password, None, &mut world_1.rng).unwrap();
        let mut session = world_1.run(exchange).unwrap().unwrap();
        let pending = world_1.generate(&mut session, &kinds).unwrap().unwrap();
        let new = world_1.store(&mut session, &pending).unwrap().unwrap();

        let mut world_2 = world(setup.expose(), world_1.server.store.clone(), 2);
        let second = client(&account).pin_server_key(registered.server_key);
        let exchange = second.log_in(&password, Some(registered.pin), &mut world_2.rng).unwrap();
        let mut session = world_2.run(exchange).unwrap().unwrap();
        prop_assert_eq!(session.user_id(), registered.user_id);
        prop_assert_eq!((session.trust(), session.pin().epoch()), (VaultTrust::Pinned, 1));
        let key_ids: Vec<_> = pending.key_ids().collect();
        let secrets = world_2.retrieve(&mut session, &key_ids).unwrap().unwrap();

        prop_assert_eq!((new.len(), secrets.len()), (kinds.len(), kinds.len()));
        for (((new, secret), kind), key_id) in new.iter().zip(&secrets).zip(&kinds).zip(&key_ids) {
            let public = secret.public().copied();
            prop_assert_eq!(new, &NewSecret { key_id: *key_id, kind: *kind, public, already_stored: false });
            prop_assert_eq!((secret.key_id(), secret.kind(), secret.origin()), (*key_id, *kind, Origin::Generated));
            prop_assert_eq!(secret.expose().len(), usize::try_from(kind.secret_len()).unwrap());
            prop_assert_eq!(secret.public().map_or(0, |public| public.as_bytes().len()), kind.public_len());
        }
        // Nothing of it lies in the store in the clear. (A few bytes may be found anywhere.)
        let long = secrets.iter().map(RetrievedSecret::expose).chain([&password[..]]);
        for needle in long.filter(|needle| needle.len() >= 8) {
            for (table, bytes) in world_2.server.store.stored_bytes() {
                prop_assert!(bytes.windows(needle.len()).all(|window| window != needle), "in a record of {}", table);
            }
        }
    }
}
