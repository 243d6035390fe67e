//! The main job, end to end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;

use keystow::Kind;

#[test]
fn a_second_device_gets_every_kind_back_from_the_password_and_the_store_alone() {
    let mut world = support::world(1);
    let (client, mut session) = world.person("ada");
    let kinds = [Kind::default(), Kind::Secp256k1, Kind::Ed25519];
    let pending = world.generate(&mut session, &kinds).unwrap().unwrap();
    let stored = world.store(&mut session, &pending).unwrap().unwrap();
    let key_ids: Vec<_> = stored.iter().map(|secret| secret.key_id).collect();

    let mut second = world.log_in(&client, support::PASSWORD).unwrap().unwrap();
    let secrets = world.retrieve(&mut second, &key_ids).unwrap().unwrap();
    for ((secret, new), kind) in secrets.iter().zip(&stored).zip(kinds) {
        assert_eq!((secret.key_id(), secret.kind(), secret.public()), (new.key_id, kind, new.public.as_ref()));
    }
}
