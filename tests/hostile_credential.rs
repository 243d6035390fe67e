//! A session, or a login half done, that outlives a change of the account's credential (rule 15).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod hostile;
mod support;

use hostile::{ended, fault, lying, person, read_reply, record};
use keystow::operation::{Reply, Request, heads, list, retrieve};
use keystow::storage::{Query, Standing};
use keystow::testing::{MemoryStore, Store, hostile as peer};
use keystow::*;
use support::{PASSWORD, World, client};

/// What rule 15 is about: the account's credential identifier is another one, as after a change of password.
fn change_credential(store: &mut MemoryStore) {
    let row = store.accounts.get_mut(client("ada").account()).unwrap();
    row.credential = CredentialId::from_bytes([9; 32]);
}

#[test]
fn rule_15_a_session_from_before_a_password_change_neither_stores_nor_reads() {
    for change in [change_credential, |store: &mut MemoryStore| store.accounts.clear()] {
        let mut world = support::world(9);
        let (mut session, secrets) = person(&mut world, "ada");
        let mut second = world.log_in(&client("ada"), PASSWORD).unwrap().unwrap();
        let pending = world.generate(&mut session, &[Kind::Ed25519]).unwrap().unwrap();
        change(&mut world.server.store);
        let before = world.server.store.clone();

        assert_eq!(world.store(&mut session, &pending).unwrap(), Err(Refusal::SessionEnded));
        let read = world.retrieve(&mut second, &[secrets[0].header.key_id()]).unwrap();
        assert_eq!(read.unwrap_err(), Refusal::SessionEnded);
        assert_eq!(world.server.store.secrets, before.secrets);
        assert_eq!(world.server.store.accounts, before.accounts);
        // That was the end of both, whatever they ask for next.
        for session in [&mut session, &mut second] {
            let generate = world.generate(session, &[Kind::Ed25519]);
            assert_eq!(support::error(generate), PeerFault::OutOfOrder.into());
            assert_eq!(world.server.sessions[&session.session_id()].user_id(), None);
        }
    }
}

#[test]
fn rule_15_a_login_half_done_before_a_password_change_opens_no_session() {
    let mut world = support::world(10);
    world.register(&client("ada"), PASSWORD).unwrap().unwrap();
    let mut login = client("ada").log_in(PASSWORD, None, &mut world.rng).unwrap();
    let response = world.send(login.message()).unwrap();
    assert!(login.receive(response).unwrap().is_none());
    change_credential(&mut world.server.store);
    let before = world.server.store.clone();
    let answer = world.send(login.message()).unwrap();
    assert_eq!(world.server.store, before, "the charge stays, nothing is noted as granted");
    assert_eq!(world.server.sessions[&answer.session_id()].user_id(), None);
    assert_eq!(ended(login.receive(answer)).map(|_| ()), Err(Refusal::SessionEnded));
}

/// The same a moment later: between the Welcome and the vault's heads, which may be another credential's by then.
#[test]
fn rule_15_a_login_that_was_welcomed_before_a_password_change_gets_no_heads_and_opens_no_session() {
    for change in [change_credential, |store: &mut MemoryStore| store.accounts.clear()] {
        let mut world = support::world(13);
        let client = client("ada");
        world.register(&client, PASSWORD).unwrap().unwrap();
        // The change comes before the heads are read, and between that and the write that guards them.
        for between in [false, true] {
            let whole = world.server.store.clone();
            let mut login = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
            for _ in 0..2 {
                let answer = world.send(login.message()).unwrap();
                assert!(login.receive(answer).unwrap().is_none());
            }
            let mut changed = world.server.store.clone();
            change(&mut changed);
            let answer = if between {
                world.interrupted(login.message(), change)
            } else {
                change(&mut world.server.store);
                world.send(login.message()).unwrap()
            };
            assert_eq!(world.server.store, changed);
            assert_eq!(world.server.sessions[&answer.session_id()].user_id(), None);
            assert_eq!(ended(login.receive(answer)).map(|_| ()), Err(Refusal::SessionEnded));
            world.server.store = whole;
        }
    }
}

/// A replica that lags: reads see the old row, writes the new one.
#[test]
fn rule_15_an_old_row_logs_nobody_in() {
    let mut world = lying(11);
    world.register(&client("ada"), PASSWORD).unwrap().unwrap();
    let old = world.server.store.honest.clone();
    world.server.store.found = Some(Box::new(move |query| old.clone().read(query).unwrap()));
    change_credential(&mut world.server.store.honest);
    let outcome = world.log_in(&client("ada"), PASSWORD).unwrap();
    assert_eq!(outcome.map(|_| ()), Err(Refusal::SessionEnded));
    let counts: Vec<_> = world.server.store.honest.attempts.values().map(|attempts| attempts.count).collect();
    assert_eq!(counts, [1]);
}

/// The other way round: a session's own read finds the old credential identifier or none, while its guard would hold.
#[test]
fn rule_15_a_read_that_returns_another_credential_identifier_ends_the_session() {
    let other = Standing { credential: CredentialId::from_bytes([9; 32]), epoch: 1 };
    for (standing, asked) in
        [None, Some(other)].into_iter().flat_map(|standing| [0, 1, 2].map(|asked| (standing, asked)))
    {
        let mut world = lying(12);
        let (mut session, secrets) = person(&mut world, "ada");
        let (key_id, bytes) = (secrets[0].header.key_id(), record(&secrets[0]));
        let request = [
            Request::Retrieve(retrieve::Request { key_ids: vec![key_id] }),
            Request::List(list::Request { after: None, limit: 1 }),
            Request::Heads(heads::Request { from: Some(1) }),
        ][asked]
            .clone();
        let head = world.server.store.honest.heads[&(session.user_id(), 1)].clone();
        world.server.store.found = Some(Box::new(move |query| match query {
            Query::Secrets(query) => query.found(standing, vec![(key_id, bytes.clone())]),
            Query::SecretsPage(query) => query.found(standing, vec![(key_id, bytes.clone())]),
            Query::Heads(query) => query.found(standing, vec![head.clone()]),
            _ => panic!("nothing else is read"),
        }));
        let exchange = peer::request(&mut session, &request).unwrap();
        let before = world.server.store.honest.clone();
        assert_eq!(world.run(exchange).unwrap().unwrap_err(), Refusal::SessionEnded);
        assert_eq!(world.server.store.honest, before);
        let late = session.retrieve(&[key_id]).unwrap();
        let mut server = world.server.sessions.remove(&session.session_id()).unwrap();
        assert_eq!(fault(server.receive(late.message().clone(), world.now)), PeerFault::OutOfOrder.into());
    }
}

/// A change of password between a request's read and its write: the write is guarded, whatever it is, and a read has one.
#[test]
fn rule_15_a_read_or_write_that_a_password_change_overtakes_is_refused_whatever_it_is() {
    type Ask = fn(&mut World, &mut ClientSession, KeyId) -> ClientMessage;
    let requests: [Ask; 5] = [
        |_, session, key_id| session.retrieve(&[key_id]).unwrap().message().clone(),
        |_, session, _| session.list().unwrap().message().clone(),
        |_, session, key_id| session.delete(&[key_id]).unwrap().message().clone(),
        |_, session, _| session.delete_account().unwrap().message().clone(),
        |world, session, _| {
            let pending = world.generate(session, &[Kind::Ed25519]).unwrap().unwrap();
            session.store(&pending).unwrap().message().clone()
        },
    ];
    for ask in requests {
        let mut world = support::world(14);
        let (mut session, secrets) = person(&mut world, "ada");
        let message = ask(&mut world, &mut session, secrets[0].header.key_id());
        let mut changed = world.server.store.clone();
        change_credential(&mut changed);
        let answer = world.interrupted(&message, change_credential);
        assert_eq!(read_reply(&world, &answer), Reply::Refused(Refusal::SessionEnded));
        let after = &world.server.store;
        assert_eq!((&after.accounts, &after.secrets), (&changed.accounts, &changed.secrets));
        assert_eq!(after.heads, changed.heads);
    }
}
