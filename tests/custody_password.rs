//! Change password: the same vault under a new password, by one conditional write; whatever happens, exactly one password
//! works, and no older session or login outlives it (rules 4, 5, 10, 15, 21).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod holdings;
mod hostile;
mod support;

use core::time::Duration;

use holdings::{request, settled, step};
use hostile::{ask, ended, fault, forge};
use keystow::operation::change_password::{ChangePassword, Reply as Changing, Request as Change};
use keystow::operation::{Reply, Request};
use keystow::*;
use support::{IDENTITY, PASSWORD, World, client, error, world};

const NEW: &str = "another good password";
const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Which of the passwords open the account, in a server that lost its sessions.
fn working<const N: usize>(world: &mut World, client: &Client, passwords: [&str; N]) -> [bool; N] {
    world.server.crash();
    passwords.map(|password| world.log_in(client, password).is_ok_and(|login| login.is_ok()))
}

/// A change up to its second message.
fn started(world: &mut World, session: &mut ClientSession, password: &str) -> Exchange<ChangePassword> {
    let mut exchange = session.change_password(password, &mut world.rng).unwrap();
    let evaluated = world.send(exchange.message()).unwrap();
    assert!(exchange.receive(evaluated).unwrap().is_none());
    exchange
}

#[test]
fn the_new_password_opens_the_same_vault_and_the_old_one_nothing() {
    let mut world = world(1);
    let (client, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &[Kind::Ed25519]).unwrap().unwrap();
    let stored = world.secret(&mut session, Kind::Secp256k1);
    let (secrets, account) = (world.server.store.secrets.clone(), world.server.store.accounts.clone());
    world.change_password(&mut session, NEW).unwrap().unwrap();
    assert_eq!(world.server.store.secrets, secrets, "no secret was touched");
    let (old, new) = (account.values().next().unwrap(), world.server.store.accounts.values().next().unwrap());
    assert_eq!(old.user_id, new.user_id);
    assert_ne!(old.credential, new.credential, "a fresh credential identifier");
    assert_eq!((old.epoch, new.epoch), (1, 2), "the vault's head names the new wrap");

    assert!(world.retrieve(&mut session, &[stored.key_id]).unwrap().is_ok(), "this session goes on");
    assert_eq!(error(world.log_in(&client, PASSWORD)), PeerFault::LoginFailed.into());
    let mut later = world.log_in(&client, NEW).unwrap().unwrap();
    let secret = world.retrieve(&mut later, &[stored.key_id]).unwrap().unwrap();
    assert_eq!(secret[0].public(), stored.public.as_ref());
    let late = world.store(&mut later, &pending).unwrap().unwrap();
    let sealed_before = pending.key_ids().next().unwrap();
    assert_eq!(late[0].key_id, sealed_before, "what was sealed before still opens: the vault key is the same");
    world.change_password(&mut session, PASSWORD).unwrap().unwrap();
    assert_eq!(working(&mut world, &client, [PASSWORD, NEW]), [true, false], "and back again");
}

#[test]
fn rule_15_every_other_session_ends_at_its_next_request_that_touches_the_store() {
    let mut world = world(2);
    let (client, mut session) = world.person("ada");
    let key_ids = [world.secret(&mut session, Kind::Ed25519).key_id];
    let pending = world.generate(&mut session, &[Kind::Bytes(1)]).unwrap().unwrap();
    let mut others: Vec<_> = (0..5).map(|_| world.log_in(&client, PASSWORD).unwrap().unwrap()).collect();
    world.change_password(&mut session, NEW).unwrap().unwrap();
    let mut after = world.server.store.clone();
    let ended = Refusal::SessionEnded;
    assert!(world.status(&mut others[0]).unwrap().is_ok(), "this one doesn't touch it");
    assert_eq!(world.retrieve(&mut others[0], &key_ids).unwrap().unwrap_err(), ended);
    assert_eq!(world.store(&mut others[1], &pending).unwrap(), Err(ended));
    assert_eq!(world.server.store.audit.len(), after.audit.len() + 1, "the account's trail shows that it was tried");
    after.audit = world.server.store.audit.clone();
    assert_eq!(world.list(&mut others[2]).unwrap(), Err(ended));
    assert_eq!(world.delete(&mut others[3], &key_ids).unwrap(), Err(ended));
    assert_eq!(world.change_password(&mut others[4], "a third password").unwrap(), Err(ended));
    for other in &mut others {
        assert_eq!(error(world.status(other)), PeerFault::OutOfOrder.into(), "it is over");
    }
    assert_eq!(world.server.store, after);
    assert!(world.delete(&mut session, &key_ids).unwrap().is_ok());
}

#[test]
fn rule_15_a_login_half_done_with_the_old_password_is_refused_at_its_ke3() {
    let mut world = world(3);
    let (client, mut session) = world.person("ada");
    let mut login = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let ke2 = world.send(login.message()).unwrap();
    assert!(login.receive(ke2).unwrap().is_none());
    world.change_password(&mut session, NEW).unwrap().unwrap();
    let after = world.server.store.clone();
    let answer = world.send(login.message()).unwrap();
    assert_eq!(ended(login.receive(answer)).map(drop), Err(Refusal::SessionEnded));
    assert_eq!(world.server.store, after);
}

#[test]
fn both_steps_take_a_login_of_at_most_five_minutes_ago() {
    let mut world = world(4);
    let (client, mut session) = world.person("ada");
    let opened = world.now;
    world.pass(4 * MINUTE);
    let mut late = started(&mut world, &mut session, NEW);
    world.now = opened.after(5 * MINUTE + MILLISECOND);
    let before = world.server.store.clone();
    let refused = world.send(late.message()).unwrap();
    let refused = settled(&mut session, late.receive(refused));
    assert_eq!(refused, Err(Refusal::SessionEnded), "the second: it may be a repeat");
    assert_eq!(world.server.store, before);

    world.now = opened;
    let mut session = world.log_in(&client, PASSWORD).unwrap().unwrap();
    world.now = opened.after(5 * MINUTE + MILLISECOND);
    let status = session.status().unwrap();
    assert!(world.run(status).unwrap().is_err(), "idle for too long");
    world.now = opened;
    let mut session = world.log_in(&client, PASSWORD).unwrap().unwrap();
    world.pass(4 * MINUTE);
    let status = session.status().unwrap();
    world.run(status).unwrap().unwrap();
    world.now = opened.after(5 * MINUTE + MILLISECOND);
    assert_eq!(world.change_password(&mut session, NEW).unwrap(), Err(Refusal::LoginTooOld), "the first");
    world.now = opened.after(5 * MINUTE);
    assert_eq!(world.change_password(&mut session, NEW).unwrap(), Ok(()), "at five minutes sharp");
    assert_eq!(working(&mut world, &client, [PASSWORD, NEW]), [false, true]);
}

#[test]
fn rule_21_of_two_devices_that_change_it_at_once_one_wins_and_the_other_is_told() {
    let mut world = world(5);
    let (client, mut first) = world.person("ada");
    let mut second = world.log_in(&client, PASSWORD).unwrap().unwrap();
    let mut loser = started(&mut world, &mut first, "the loser's password");
    let mut winner = started(&mut world, &mut second, NEW);
    let changed = world.send(winner.message()).unwrap();
    assert_eq!(settled(&mut second, winner.receive(changed)), Ok(()));
    let after = world.server.store.clone();
    let refused = world.send(loser.message()).unwrap();
    assert_eq!(settled(&mut first, loser.receive(refused)), Err(Refusal::SessionEnded));
    assert_eq!(world.server.store, after);
    assert_eq!(working(&mut world, &client, [PASSWORD, "the loser's password", NEW]), [false, false, true]);
}

/// How far a change comes before the server loses all sessions.
#[derive(Clone, Copy, Debug)]
enum Crash {
    BeforeTheFirstMessage,
    AfterTheFirst,
    BeforeTheWriteIsApplied,
    AfterTheWriteBeforeTheReply,
    AfterTheReply,
}

#[test]
fn a_crash_anywhere_leaves_exactly_one_password() {
    use Crash::{AfterTheFirst, AfterTheReply, AfterTheWriteBeforeTheReply, BeforeTheFirstMessage};
    let crashes = [
        (BeforeTheFirstMessage, false),
        (AfterTheFirst, false),
        (Crash::BeforeTheWriteIsApplied, false),
        (AfterTheWriteBeforeTheReply, true),
        (AfterTheReply, true),
    ];
    for (crash, is_new) in crashes {
        let mut world = world(6);
        let (client, mut session) = world.person("ada");
        let key_id = world.secret(&mut session, Kind::Ed25519).key_id;
        if !matches!(crash, BeforeTheFirstMessage) {
            let exchange = started(&mut world, &mut session, NEW);
            match crash {
                AfterTheWriteBeforeTheReply => world.applied_but_unknown(exchange.message()),
                AfterTheReply => drop(world.send(exchange.message()).unwrap()),
                Crash::BeforeTheWriteIsApplied => {
                    let server = world.server.sessions.get_mut(&session.session_id()).unwrap();
                    drop(support::up_to_write(server, &mut world.server.store, exchange.message(), world.now));
                }
                AfterTheFirst | BeforeTheFirstMessage => {}
            }
        }
        assert_eq!(working(&mut world, &client, [PASSWORD, NEW]), [!is_new, is_new], "{crash:?}");
        // The pin that was kept before is as good as ever.
        let password = if is_new { NEW } else { PASSWORD };
        let mut later = world.log_in_with(&client, password, Some(session.pin())).unwrap().unwrap();
        assert_eq!(later.pin().epoch(), session.pin().epoch() + u64::from(is_new));
        assert!(world.retrieve(&mut later, &[key_id]).unwrap().is_ok());
    }
}

#[test]
fn a_change_whose_outcome_was_lost_is_done_once_and_the_session_goes_on() {
    let mut world = world(7);
    let (client, mut session) = world.person("ada");
    let key_id = world.secret(&mut session, Kind::Ed25519).key_id;
    let mut exchange = started(&mut world, &mut session, NEW);
    world.applied_but_unknown(exchange.message());
    let after = world.server.store.clone();
    let reply = world.send(exchange.message()).unwrap();
    assert_eq!(world.send(exchange.message()), Ok(reply.clone()));
    assert_eq!(settled(&mut session, exchange.receive(reply)), Ok(()));
    assert_eq!(world.server.store, after);
    assert!(world.retrieve(&mut session, &[key_id]).unwrap().is_ok());
    assert_eq!(working(&mut world, &client, [PASSWORD, NEW]), [false, true]);
}

#[test]
fn a_change_that_another_devices_store_overtakes_goes_on_behind_it_and_is_made_once() {
    let mut world = world(14);
    let (client, mut session) = world.person("ada");
    let mut other = world.log_in(&client, PASSWORD).unwrap().unwrap();
    let mut exchange = started(&mut world, &mut session, NEW);
    let Request::ChangePassword(Change::Finish { upload, wrap, .. }) = request(&world, &exchange) else { panic!() };
    let secret = world.secret(&mut other, Kind::Ed25519);
    let before = world.server.store.clone();
    assert!(step(&mut world, &mut exchange).is_none(), "the head has moved");
    assert_eq!(world.server.store, before);
    assert!(step(&mut world, &mut exchange).is_none(), "the heads");
    let again = request(&world, &exchange);
    let Request::ChangePassword(Change::Finish { head, .. }) = &again else { panic!("no record") };
    assert_eq!(head.epoch(), 2);
    let same = Change::Finish { upload, wrap, head: head.clone() };
    assert_eq!(again, Request::ChangePassword(same), "the same record behind the other's head");
    assert_eq!(world.settled(&mut session, exchange).unwrap(), Ok(()));
    assert_eq!(session.pin(), head.pin());
    assert_eq!(world.list(&mut session).unwrap().unwrap()[0].key_id, secret.key_id);
    assert_eq!(working(&mut world, &client, [PASSWORD, NEW]), [false, true]);
}

#[test]
fn a_change_that_was_made_is_never_answered_as_if_it_had_not_been() {
    let mut world = world(13);
    let (client, mut session) = world.person("ada");
    world.pass(5 * MINUTE);
    let mut exchange = started(&mut world, &mut session, NEW);
    world.applied_but_unknown(exchange.message());
    world.pass(MILLISECOND);
    let reply = world.send(exchange.message()).unwrap();
    assert_ne!(settled(&mut session, exchange.receive(reply)), Err(Refusal::LoginTooOld));
    assert_eq!(working(&mut world, &client, [PASSWORD, NEW]), [false, true]);
}

#[test]
fn rule_5_a_record_is_taken_only_after_an_evaluation_and_once() {
    let mut world = world(8);
    let (client, mut session) = world.person("ada");
    let mut other = world.log_in(&client, PASSWORD).unwrap().unwrap();
    let mut exchange = started(&mut world, &mut session, NEW);
    let finish = request(&world, &exchange);
    let denied = Reply::Refused(Refusal::Denied);
    let before = world.server.store.clone();
    assert_eq!(ask(&mut world, &mut other, &finish), denied, "another session's evaluation is none of its own");
    assert_eq!(world.server.store, before);
    let reply = world.send(exchange.message()).unwrap();
    settled(&mut session, exchange.receive(reply)).unwrap();
    let after = world.server.store.clone();
    assert_eq!(ask(&mut world, &mut session, &finish), denied, "its evaluation is used up");
    assert_eq!(world.server.store, after);
}

#[test]
fn a_second_start_takes_the_first_ones_place() {
    let mut world = world(9);
    let (client, mut session) = world.person("ada");
    let first = started(&mut world, &mut session, "given up");
    // The client has one change at a time; its message may still be on the way when it is given up.
    assert_eq!(session.change_password(NEW, &mut world.rng).map(drop), Err(CallerFault::Unsettled.into()));
    let late = first.message().clone();
    drop(first);
    let mut second = started(&mut world, &mut session, NEW);
    let before = world.server.store.clone();
    assert_eq!(error(world.send(&late)), PeerFault::WrongSequence.into());
    assert_eq!(world.server.store, before);
    let reply = world.send(second.message()).unwrap();
    assert_eq!(settled(&mut session, second.receive(reply)), Ok(()));
    assert_eq!(working(&mut world, &client, [PASSWORD, "given up", NEW]), [false, false, true]);
}

#[test]
fn rule_4_an_evaluation_by_another_server_key_gets_no_record() {
    let (mut home, mut elsewhere) = (world(10), world(11));
    let (_, mut session) = home.person("ada");
    let mut exchange = session.change_password(NEW, &mut home.rng).unwrap();
    let asked = exchange.message().clone();
    home.send(&asked).unwrap();
    let Request::ChangePassword(Change::Start { blinded }) = request(&home, &exchange) else { panic!("no start") };
    let registration = ClientMessage::RegistrationRequest { account: AccountName::new("ada").unwrap(), blinded };
    let ServerMessage::RegistrationResponse { evaluated, .. } = elsewhere.send(&registration).unwrap() else {
        panic!("no evaluation");
    };
    let forged = forge(&home, &exchange, &Reply::ChangePassword(Changing::Evaluated { evaluated }));
    assert_eq!(fault(exchange.receive(forged)), PeerFault::WrongServerKey.into());
    assert_eq!(exchange.message(), &asked, "no record was made");
    let early = forge(&home, &exchange, &Reply::ChangePassword(Changing::Changed));
    assert_eq!(fault(exchange.receive(early)), PeerFault::OutOfOrder.into(), "nothing was changed yet");
}

#[test]
fn a_change_is_done_only_when_the_server_says_so() {
    let mut world = world(12);
    let (_, mut session) = world.person("ada");
    let mut exchange = started(&mut world, &mut session, NEW);
    let deleted = Reply::DeleteAccount(operation::delete_account::Reply { done: true });
    let forged = forge(&world, &exchange, &deleted);
    assert_eq!(fault(exchange.receive(forged)), PeerFault::OutOfOrder.into());
    let honest = step(&mut world, &mut exchange).unwrap();
    assert_eq!(session.settle(honest.unwrap()), Ok(()));
}

#[test]
fn rule_10_the_new_record_is_under_the_policys_first_profile() {
    let mut world = world(12);
    let (old, _) = world.person("ada");
    let with = |profiles: &[KsfProfile]| {
        let policy = ClientPolicy::new(profiles).unwrap();
        Client::new(old.account().clone(), IDENTITY, policy).unwrap()
    };
    let both = with(&[KsfProfile::FLOOR, KsfProfile::CHEAP_FOR_TESTS]);
    let mut session = world.log_in(&both, PASSWORD).unwrap().unwrap();
    assert_eq!(session.ksf_profile(), KsfProfile::CHEAP_FOR_TESTS);
    world.change_password(&mut session, NEW).unwrap().unwrap();
    let session = world.log_in(&with(&[KsfProfile::FLOOR]), NEW).unwrap().unwrap();
    assert_eq!(session.ksf_profile(), KsfProfile::FLOOR);
    assert_eq!(error(world.log_in(&client("ada"), NEW)), PeerFault::LoginFailed.into());
}

/// What registration does for rule 5, a change of password does too: the element that a guesser could compare is never evaluated
/// under the account's own identifier, nor twice under one.
#[test]
fn rule_5_a_change_of_password_evaluates_nothing_that_helps_to_guess_the_old_one() {
    let mut world = world(13);
    let (client, mut session) = world.person("ada");
    let login = client.log_in("a guess", None, &mut world.rng).unwrap();
    let ClientMessage::LoginRequest { ke1, .. } = login.message() else { panic!("no login request") };
    let blinded = Box::new(OpaqueMessage::from_bytes(*ke1.as_bytes().first_chunk().unwrap()));
    let ServerMessage::LoginResponse { ke2, .. } = world.send(login.message()).unwrap() else { panic!("no KE2") };
    let mut seen: Vec<[u8; 32]> = vec![*ke2.as_bytes().first_chunk().unwrap()];
    for _ in 0..4 {
        let start = Request::ChangePassword(Change::Start { blinded: blinded.clone() });
        match ask(&mut world, &mut session, &start) {
            Reply::ChangePassword(Changing::Evaluated { evaluated }) => {
                let element = *evaluated.as_bytes().first_chunk().unwrap();
                assert!(!seen.contains(&element), "evaluated under one identifier twice");
                seen.push(element);
            }
            other => panic!("no evaluation: {other:?}"),
        }
    }
}

#[test]
fn rule_16_a_record_with_an_invalid_public_key_is_denied_and_the_old_one_stays() {
    let mut world = world(14);
    let (client, mut session) = world.person("ada");
    let exchange = started(&mut world, &mut session, NEW);
    let Request::ChangePassword(Change::Finish { upload, wrap, head }) = request(&world, &exchange) else {
        panic!("no record")
    };
    let before = world.server.store.clone();
    for point in [[0; 32], [0xff; 32], [1; 32]] {
        let mut bytes = *upload.as_bytes();
        bytes[..32].copy_from_slice(&point);
        let upload = Box::new(OpaqueMessage::from_bytes(bytes));
        let finish = Request::ChangePassword(Change::Finish { upload, wrap, head: head.clone() });
        assert_eq!(ask(&mut world, &mut session, &finish), Reply::Refused(Refusal::Denied));
        assert_eq!(world.server.store, before);
    }
    assert_eq!(working(&mut world, &client, [PASSWORD, NEW]), [true, false]);
}
