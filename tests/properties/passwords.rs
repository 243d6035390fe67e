//! Two passwords, alike or not, open no more than one account between them.

use keystow::{Client, PeerFault};
use proptest::collection::vec;
use proptest::prelude::*;

use super::tamper::{Tamper, tamper};
use crate::support::{World, client, error, world};

/// Two different passwords: unrelated ones, or one and what a small damage makes of it.
fn two_passwords() -> impl Strategy<Value = [Vec<u8>; 2]> {
    let password = || vec(any::<u8>(), 1..=80);
    let close = (password(), tamper()).prop_map(|(password, tamper): (Vec<u8>, Tamper)| {
        let other = tamper.apply(&password);
        [password, other]
    });
    prop_oneof![(password(), password()).prop_map(|(one, other)| [one, other]), close]
        .prop_filter("two different ones", |[one, other]| one != other && !one.is_empty() && !other.is_empty())
}

fn registered(name: &str, password: &[u8]) -> (World, Client) {
    let (mut world, client) = (world(1), client(name));
    let exchange = client.register(password, &mut world.rng).unwrap();
    world.run(exchange).unwrap().unwrap();
    (world, client)
}

proptest! {
    #![proptest_config(crate::cases(160))]

    #[test]
    fn two_different_passwords_never_log_in_to_each_others_account(passwords in two_passwords()) {
        let [one, other] = &passwords;
        for (right, wrong) in [(one, other), (other, one)] {
            let (mut world, client) = registered("ada", right);
            let exchange = client.log_in(wrong, None, &mut world.rng).unwrap();
            prop_assert_eq!(error(world.run(exchange)), PeerFault::LoginFailed.into());
            prop_assert!(world.server.sessions.values().all(|session| session.user_id().is_none()));
            let spent: Vec<_> = world.server.store.attempts.values().map(|attempts| attempts.count).collect();
            prop_assert_eq!(spent, [1], "a wrong guess is charged");
            let exchange = client.log_in(right, None, &mut world.rng).unwrap();
            prop_assert!(world.run(exchange).unwrap().is_ok());
        }
    }
}
