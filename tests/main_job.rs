//! The main job, end to end: register, log in, generate, store, retrieve from a second device.

use keystow::testing::{InMemoryServer, MemoryStore, converse};
use keystow::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

#[test]
fn smoke() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let now = Timestamp::from_millis(1_000_000);
    let server =
        Server::new(ServerSetup::generate(&mut rng).unwrap(), "keys.example.com", ServerPolicy::default()).unwrap();
    let mut server = InMemoryServer::new(server, MemoryStore::new(), 2);
    let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).unwrap();
    let client = Client::new(AccountName::new("ada").unwrap(), "keys.example.com", policy).unwrap();
    let registered = converse(client.register("pw", &mut rng).unwrap(), &mut server, now).unwrap().unwrap();
    let client = client.pin_server_key(registered.server_key);
    let mut session = converse(client.log_in("pw", &mut rng).unwrap(), &mut server, now).unwrap().unwrap();
    let kinds = [Kind::default(), Kind::Secp256k1, Kind::Ed25519];
    let pending = converse(session.generate(&kinds, &mut rng).unwrap(), &mut server, now).unwrap().unwrap();
    let stored = converse(session.store(&pending).unwrap(), &mut server, now).unwrap().unwrap();
    let ids: Vec<KeyId> = stored.iter().map(|s| s.key_id).collect();
    let mut session = converse(client.log_in("pw", &mut rng).unwrap(), &mut server, now).unwrap().unwrap();
    let secrets = converse(session.retrieve(&ids).unwrap(), &mut server, now).unwrap().unwrap();
    for (s, n) in secrets.iter().zip(&stored) {
        assert_eq!(s.public(), n.public.as_ref());
    }
    for (t, b) in server.store.stored_bytes() {
        println!("{t} {}", b.len());
    }
    assert!(converse(client.log_in("no", &mut rng).unwrap(), &mut server, now).is_err());
    testing::conformance(MemoryStore::new).unwrap();
    for b in testing::Breakage::ALL {
        println!("{b:?} {}", testing::conformance(|| testing::BrokenStore::new(b)).unwrap_err());
    }
}
