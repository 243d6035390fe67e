//! Registration and login, up to the vault's newest head: a flipped bit may cost the attempt, and never wins an acceptance.

use keystow::*;
use proptest::prelude::*;

use super::tamper::{Tamper, flip};
use crate::support::{NOW, PASSWORD, World, client, rng, world};

/// The messages of a registration, in order: request, response, upload, end.
const REGISTRATION: usize = 4;

/// And of a login: request, response, KE3, Welcome, request for heads, heads.
const LOGIN: usize = 6;

/// The message number `at` crosses with one bit flipped. Whoever gets no usable answer sends again, five times.
fn converse_flipped<O: client::Operation>(
    world: &mut World,
    mut exchange: Exchange<O>,
    at: usize,
    flip: &Tamper,
) -> Option<O::Output> {
    let mut crossed = 0;
    let mut cross = |bytes: Vec<u8>| {
        crossed += 1;
        if crossed == at + 1 { flip.apply(&bytes) } else { bytes }
    };
    for _ in 0..7 {
        let request = cross(exchange.message().encode().unwrap());
        let Ok(reply) = world.server.handle(&request, NOW) else { continue };
        let taken = ServerMessage::decode(&cross(reply)).and_then(|reply| exchange.receive(reply));
        if let Ok(Some(outcome)) = taken {
            return outcome.ok();
        }
    }
    None
}

/// The sessions that the server holds open.
fn open_sessions(world: &World) -> Vec<SessionId> {
    let open = world.server.sessions.iter().filter(|(_, session)| session.user_id().is_some());
    open.map(|(session_id, _)| *session_id).collect()
}

/// The whole of custody works in this session.
fn keeps_a_secret(world: &mut World, session: &mut ClientSession) {
    let new = world.secret(session, Kind::Secp256k1);
    let secrets = world.retrieve(session, &[new.key_id]).unwrap().unwrap();
    assert_eq!(secrets[0].public(), new.public.as_ref());
}

proptest! {
    #![proptest_config(crate::cases(400))]

    #[test]
    fn a_bit_flipped_in_a_registration_leaves_no_account_or_one_that_can_be_logged_in_to(
        at in 0..REGISTRATION,
        flip in flip(),
    ) {
        let (mut world, client) = (world(1), client("ada"));
        let server_key = ServerSetup::generate(&mut rng(1)).unwrap().server_key().unwrap();
        let exchange = client.register(PASSWORD, &mut world.rng).unwrap();
        let said = converse_flipped(&mut world, exchange, at, &flip);

        let accounts = world.server.store.accounts.clone();
        prop_assert!(accounts.keys().all(|name| name == client.account()), "an account under another name");
        prop_assert!(open_sessions(&world).is_empty());
        let user_id = accounts.get(client.account()).map(|row| row.user_id);
        if let Some(registered) = said {
            prop_assert_eq!(Some(registered.user_id), user_id);
            prop_assert_eq!(registered.server_key, server_key);
        }
        if user_id.is_none() {
            // Nothing is in the way of a second try.
            world.register(&client, PASSWORD).unwrap().unwrap();
        }
        let (client, pin) = (client.pin_server_key(server_key), said.map(|registered| registered.pin));
        let mut session = world.log_in_with(&client, PASSWORD, pin).unwrap().unwrap();
        prop_assert_eq!(session.user_id(), user_id.unwrap_or(session.user_id()));
        keeps_a_secret(&mut world, &mut session);
    }

    #[test]
    fn a_bit_flipped_in_a_login_costs_an_attempt_at_the_most_and_the_session_that_comes_is_the_right_one(
        at in 0..LOGIN,
        flip in flip(),
    ) {
        let (mut world, client) = (world(1), client("ada"));
        let registered = world.register(&client, PASSWORD).unwrap().unwrap();
        let exchange = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
        let mut session = converse_flipped(&mut world, exchange, at, &flip).expect("honest messages follow");
        prop_assert_eq!((session.user_id(), session.server_key()), (registered.user_id, registered.server_key));
        prop_assert_eq!(open_sessions(&world), [session.session_id()]);
        keeps_a_secret(&mut world, &mut session);
        let lost: u32 = world.server.store.attempts.values().map(|attempts| attempts.count).sum();
        prop_assert!(lost == 0 || at == 0 && lost == 1, "{lost} attempts lost by message {at}");
    }

    #[test]
    fn a_bit_flipped_in_a_login_with_a_wrong_password_opens_no_session(at in 0..LOGIN, flip in flip()) {
        let (mut world, client) = (world(1), client("ada"));
        world.register(&client, PASSWORD).unwrap().unwrap();
        let before = world.server.store.clone();
        let exchange = client.log_in("correct horse battery stable", None, &mut world.rng).unwrap();
        prop_assert!(converse_flipped(&mut world, exchange, at, &flip).is_none());
        prop_assert!(open_sessions(&world).is_empty());
        let after = &world.server.store;
        prop_assert_eq!((&after.accounts, &after.secrets), (&before.accounts, &before.secrets));
        prop_assert_eq!(&after.audit, &before.audit);
        prop_assert!(after.attempts.values().map(|attempts| attempts.count).sum::<u32>() >= 1, "the guess is charged");
    }
}
