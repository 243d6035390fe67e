//! A store that lies about a page, of a user's secrets or of the audit trail (rule 20).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod hostile;
mod support;

use hostile::{Lying, lying, person, read_reply, record, standing, stored, under_lie};
use keystow::client::Operation;
use keystow::operation::{Reply, Request, audit, list};
use keystow::storage::Query;
use keystow::testing::{Store, hostile as peer};
use keystow::*;
use support::World;

#[test]
fn rule_20_a_page_of_secrets_that_is_too_long_or_out_of_order_is_named_and_not_sent() {
    let mut world = lying(1);
    let (mut session, secrets) = person(&mut world, "ada");
    let (user_id, standing) = (session.user_id(), Some(standing(&world)));
    let mut records: Vec<_> = secrets.iter().map(|secret| (secret.header.key_id(), record(secret))).collect();
    records.sort_unstable();
    let [first, second] = [records[0].clone(), records[1].clone()];
    let request = Request::List(list::Request { after: None, limit: 2 });
    let exchange = peer::request(&mut session, &request).unwrap();
    let behind = Request::List(list::Request { after: Some(first.0), limit: 2 });
    let behind = peer::request(&mut session, &behind).unwrap();
    let out_of_order = |key_id| stored(RecordName::Secret(user_id, key_id), "is out of order");
    let too_long = stored(RecordName::Answer, "has more records than were asked for");
    for (exchange, records, fault) in [
        (&exchange, vec![second.clone(), first.clone()], out_of_order(first.0)),
        (&exchange, vec![first.clone(), first.clone()], out_of_order(first.0)),
        (&behind, vec![first.clone()], out_of_order(first.0)),
        (&exchange, vec![first.clone(), second.clone(), second], too_long),
    ] {
        world.server.store.found = Some(Box::new(move |query| match query {
            Query::SecretsPage(query) => query.found(standing, records.clone()),
            _ => panic!("a list reads a page"),
        }));
        assert_eq!(under_lie(&mut world, exchange), fault);
    }
    world.server.store.found = None;
    let answer = world.send(exchange.message()).unwrap();
    let Reply::List(page) = read_reply(&world, &answer) else { panic!("no page") };
    assert_eq!(page.secrets.len(), 2);
}

/// What the server would read for a message.
fn query<O: Operation>(world: &mut World<Lying>, exchange: &Exchange<O>) -> Query {
    let message = exchange.message().clone();
    let session = world.server.sessions.get_mut(&message.session_id().unwrap()).unwrap();
    match session.receive(message, world.now).unwrap() {
        Step::Read(read) => read.query().clone(),
        other => panic!("it doesn't read: {other:?}"),
    }
}

/// Each of them is the person's own, and as honest as the one that was asked for.
#[test]
fn rule_20_another_page_than_the_one_that_was_asked_for_is_refused() {
    let mut world = lying(3);
    let (mut session, secrets) = person(&mut world, "ada");
    let after = Some(secrets[0].header.key_id());
    let audit = |limit| Request::Audit(audit::Request { filter: AuditFilter::default(), after: None, limit });
    let list = |after, limit| Request::List(list::Request { after, limit });
    let requests = [list(None, 2), list(None, 1), list(after, 2), audit(2), audit(1)];
    let exchanges = requests.map(|request| peer::request(&mut session, &request).unwrap());
    let queries: Vec<Query> = exchanges.iter().map(|exchange| query(&mut world, exchange)).collect();
    let another = stored(RecordName::Answer, "answers another query");
    for (asked, exchange) in exchanges.iter().enumerate() {
        for (_, other) in queries.iter().enumerate().filter(|(answered, _)| *answered != asked) {
            let (honest, other) = (world.server.store.honest.clone(), other.clone());
            world.server.store.found = Some(Box::new(move |_| honest.clone().read(&other).unwrap()));
            assert_eq!(under_lie(&mut world, exchange), another);
        }
    }
    world.server.store.found = None;
    for exchange in &exchanges {
        assert!(world.send(exchange.message()).is_ok());
    }
}

#[test]
fn rule_20_a_trail_that_is_garbled_anothers_out_of_order_or_too_long_is_named_and_not_sent() {
    let mut world = lying(2);
    let (mut session, _) = person(&mut world, "ada");
    let (_, _) = person(&mut world, "bob");
    let (user_id, standing) = (session.user_id(), Some(standing(&world)));
    let mut trail: Vec<_> = world.server.store.honest.audit.values().cloned().collect();
    trail.sort_unstable_by_key(AuditEntry::place);
    let (hers, his): (Vec<_>, Vec<_>) = trail.iter().partition(|entry| entry.user_id() == user_id);
    let bytes = |entry: &AuditEntry| entry.to_record().unwrap().as_bytes().to_vec();
    let (first, second, foreign) = (bytes(hers[0]), bytes(hers[1]), bytes(his[0]));
    let exchange = session.audit(AuditFilter::default(), None, 2).unwrap();
    for (entries, problem) in [
        (vec![first[..first.len() - 1].to_vec()], "can't be decoded"),
        (vec![foreign], "has an entry that was not asked for"),
        (vec![second.clone(), first.clone()], "is out of order"),
        (vec![first.clone(), first.clone()], "is out of order"),
        (vec![first, second.clone(), second], "has more entries than were asked for"),
    ] {
        world.server.store.found = Some(Box::new(move |query| match query {
            Query::Audit(query) => query.found(standing, entries.clone()),
            _ => panic!("an audit reads the trail"),
        }));
        assert_eq!(under_lie(&mut world, &exchange), stored(RecordName::Audit(user_id), problem));
    }
    world.server.store.found = None;
    assert_eq!(world.run(exchange).unwrap().unwrap().entries.len(), 2);
}
