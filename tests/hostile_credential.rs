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

use hostile::{ended, fault, lying, person, record};
use keystow::storage::Query;
use keystow::testing::{MemoryStore, Store};
use keystow::*;
use support::{PASSWORD, client};

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
    for credential in [None, Some(CredentialId::from_bytes([9; 32]))] {
        let mut world = lying(12);
        let (mut session, secrets) = person(&mut world, "ada");
        let (key_id, bytes) = (secrets[0].header.key_id(), record(&secrets[0]));
        world.server.store.found = Some(Box::new(move |query| match query {
            Query::Secrets(query) => query.found(credential, vec![(key_id, bytes.clone())]),
            _ => panic!("a retrieval reads secrets"),
        }));
        let exchange = session.retrieve(&[key_id]).unwrap();
        let before = world.server.store.honest.clone();
        assert_eq!(world.run(exchange).unwrap().unwrap_err(), Refusal::SessionEnded);
        assert_eq!(world.server.store.honest, before);
        let late = session.retrieve(&[key_id]).unwrap();
        let mut server = world.server.sessions.remove(&session.session_id()).unwrap();
        assert_eq!(fault(server.receive(late.message().clone(), world.now)), PeerFault::OutOfOrder.into());
    }
}
