//! Audit: what each operation leaves in its account's trail, how the trail is read, and what a malicious server can't
//! put into it.
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

use hostile::{ask, ended, fault, forge};
use keystow::operation::{Reply, Request, audit, status};
use keystow::*;
use support::{PASSWORD, World, client, error, world};

const MISSING: KeyId = KeyId::from_bytes([0x5a; 16]);

/// What an entry says beside its user and its time.
type Said = (Action, bool, Vec<KeyId>, SessionId);

fn said(entry: &AuditEntry) -> Said {
    (entry.action(), entry.granted(), entry.key_ids().to_vec(), entry.session_id())
}

fn trail(world: &mut World, session: &mut ClientSession, filter: AuditFilter) -> Vec<AuditEntry> {
    world.audit(session, filter).unwrap().unwrap().entries
}

/// A person with two stored secrets, one retrieved after a second: registration, login, two entries a second apart.
fn person(world: &mut World, account: &str) -> (ClientSession, Vec<KeyId>, Vec<AuditEntry>) {
    let (_, mut session) = world.person(account);
    world.pass(Duration::from_secs(1));
    let pending = world.generate(&mut session, &[Kind::Bytes(1); 2]).unwrap().unwrap();
    world.store(&mut session, &pending).unwrap().unwrap();
    let key_ids: Vec<_> = pending.key_ids().collect();
    world.pass(Duration::from_secs(1));
    world.retrieve(&mut session, &key_ids[..1]).unwrap().unwrap();
    let entries = trail(world, &mut session, AuditFilter::default());
    assert_eq!(entries.len(), 4);
    (session, key_ids, entries)
}

#[test]
fn each_operation_leaves_its_entry_in_order_of_time() {
    let mut world = world(1);
    let client = client("ada");
    let tick = |world: &mut World| world.pass(Duration::from_millis(1));
    let registration = client.register(PASSWORD, &mut world.rng).unwrap();
    let registered = registration.message().session_id().unwrap();
    world.run(registration).unwrap().unwrap();
    tick(&mut world);
    let mut session = world.log_in(&client, PASSWORD).unwrap().unwrap();
    let id = session.session_id();
    let mut expected =
        vec![(Action::Register, true, vec![], registered), (Action::LogIn { attempts_spent: 0 }, true, vec![], id)];

    tick(&mut world);
    let pending = world.generate(&mut session, &[Kind::Bytes(1); 2]).unwrap().unwrap();
    let key_ids: Vec<_> = pending.key_ids().collect();
    world.store(&mut session, &pending).unwrap().unwrap();
    expected.push((Action::Store, true, key_ids.clone(), id));
    tick(&mut world);
    world.retrieve(&mut session, &key_ids).unwrap().unwrap();
    expected.push((Action::Retrieve, true, key_ids.clone(), id));
    tick(&mut world);
    world.retrieve(&mut session, &[MISSING]).unwrap().unwrap_err();
    expected.push((Action::Retrieve, false, vec![MISSING], id));
    tick(&mut world);
    world.list(&mut session).unwrap().unwrap();
    expected.push((Action::List, true, vec![], id));
    tick(&mut world);
    world.delete(&mut session, &key_ids[..1]).unwrap().unwrap();
    expected.push((Action::Delete, true, key_ids[..1].to_vec(), id));
    tick(&mut world);
    world.delete(&mut session, &key_ids).unwrap().unwrap_err();
    expected.push((Action::Delete, false, key_ids.clone(), id));
    tick(&mut world);
    world.store(&mut session, &pending).unwrap().unwrap_err();
    expected.push((Action::Store, false, key_ids, id));
    tick(&mut world);
    world.change_password(&mut session, "another").unwrap().unwrap();
    expected.push((Action::ChangePassword, true, vec![], id));
    tick(&mut world);
    let mut deletion = session.delete_account().unwrap();
    assert_eq!(holdings::step(&mut world, &mut deletion), None, "the secrets are gone, the account is not");
    expected.push((Action::DeleteAccount, true, vec![], id));

    world.status(&mut session).unwrap().unwrap();
    let entries = trail(&mut world, &mut session, AuditFilter::default());
    assert_eq!(entries.iter().map(said).collect::<Vec<_>>(), expected);
    let times: Vec<_> = entries.iter().map(|entry| entry.at().as_millis() - support::NOW.as_millis()).collect();
    assert_eq!(times, (0..11).collect::<Vec<_>>());
    assert!(entries.iter().all(|entry| entry.user_id() == session.user_id()));
    assert_eq!(trail(&mut world, &mut session, AuditFilter::default()), entries, "reading the trail leaves no entry");
}

#[test]
fn a_granted_login_says_how_many_attempts_were_spent_since_the_last() {
    let mut world = world(2);
    let (client, _) = world.person("ada");
    for wrong in [2, 0, 1] {
        for _ in 0..wrong {
            assert_eq!(error(world.log_in(&client, "a wrong password")), PeerFault::LoginFailed.into());
        }
        world.pass(Duration::from_millis(1));
        world.log_in(&client, PASSWORD).unwrap().unwrap();
    }
    world.pass(Duration::from_millis(1));
    let mut session = world.log_in(&client, PASSWORD).unwrap().unwrap();
    let entries = trail(&mut world, &mut session, AuditFilter::default());
    let spent: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry.action() {
            Action::LogIn { attempts_spent } => Some(attempts_spent),
            _ => None,
        })
        .collect();
    assert_eq!(spent, [0, 2, 0, 1, 0]);
}

#[test]
fn a_filter_takes_by_subject_key_ids_and_a_time_range_that_is_open_at_its_end() {
    let mut world = world(3);
    let (mut session, key_ids, all) = person(&mut world, "ada");
    let any = AuditFilter::default;
    let (account, secrets) = all.iter().cloned().partition::<Vec<_>, _>(|entry| !entry.action().is_about_secrets());
    assert_eq!((account.len(), secrets.len()), (2, 2));
    let (stored, retrieved) = (secrets[0].at(), secrets[1].at());
    for (filter, expected) in [
        (AuditFilter { about: AuditAbout::Account, ..any() }, &account[..]),
        (AuditFilter { about: AuditAbout::Secrets, ..any() }, &secrets),
        (AuditFilter { key_ids: key_ids.clone(), ..any() }, &secrets),
        (AuditFilter { key_ids: vec![key_ids[1], MISSING], ..any() }, &secrets[..1]),
        (AuditFilter { key_ids: vec![MISSING], ..any() }, &[]),
        (AuditFilter { from: Some(stored), ..any() }, &secrets),
        (AuditFilter { from: Some(retrieved), ..any() }, &secrets[1..]),
        (AuditFilter { until: Some(stored), ..any() }, &account),
        (AuditFilter { from: Some(stored), until: Some(retrieved), ..any() }, &secrets[..1]),
        (AuditFilter { about: AuditAbout::Account, key_ids: key_ids.clone(), ..any() }, &[]),
    ] {
        assert_eq!(trail(&mut world, &mut session, filter.clone()), expected, "{filter:?}");
    }
}

#[test]
fn pages_of_any_limit_give_each_entry_once_in_order() {
    let mut world = world(4);
    let (mut session, _, all) = person(&mut world, "ada");
    for (limit, lens) in [(1, &[1, 1, 1, 1, 0][..]), (2, &[2, 2, 0]), (3, &[3, 1]), (256, &[4])] {
        let (mut after, mut entries, mut found) = (None, Vec::new(), Vec::new());
        loop {
            let exchange = session.audit(AuditFilter::default(), after, limit).unwrap();
            let page = world.run(exchange).unwrap().unwrap();
            found.push(page.entries.len());
            entries.extend(page.entries);
            after = page.next;
            match after {
                Some(next) => assert_eq!(entries.last().map(AuditEntry::place), Some(next)),
                None => break,
            }
        }
        assert_eq!((&entries, &found[..]), (&all, lens), "limit {limit}");
    }
}

#[test]
fn another_users_trail_is_invisible_and_an_ended_session_reads_nothing() {
    let mut world = world(5);
    let (mut bob, others, his) = person(&mut world, "bob");
    let (mut ada, _, hers) = person(&mut world, "ada");
    assert!(hers.iter().all(|entry| entry.user_id() == ada.user_id()));
    let about_his = AuditFilter { key_ids: others, ..AuditFilter::default() };
    assert_eq!(trail(&mut world, &mut ada, about_his), []);
    assert_eq!(trail(&mut world, &mut bob, AuditFilter::default()), his);
    let mut other = world.log_in(&client("bob"), PASSWORD).unwrap().unwrap();
    world.change_password(&mut bob, "another").unwrap().unwrap();
    assert_eq!(world.audit(&mut other, AuditFilter::default()).unwrap(), Err(Refusal::SessionEnded));
}

#[test]
fn a_limit_or_filter_of_too_much_is_refused_on_both_sides() {
    let mut world = world(6);
    let (mut session, _, _) = person(&mut world, "ada");
    let many = AuditFilter { key_ids: vec![MISSING; 257], ..AuditFilter::default() };
    for (filter, limit, len) in [(AuditFilter::default(), 0, 0), (AuditFilter::default(), 257, 257), (many, 1, 257)] {
        let fault = CallerFault::BatchLength { len, max: 256 };
        assert_eq!(session.audit(filter.clone(), None, limit).map(drop), Err(fault.into()));
        let request = Request::Audit(audit::Request { filter, after: None, limit });
        assert_eq!(ask(&mut world, &mut session, &request), Reply::Refused(Refusal::Denied));
    }
}

/// What the client says to a forged page. The error has changed nothing: the honest page is still taken.
fn told(
    world: &mut World,
    session: &mut ClientSession,
    (filter, after, limit): (&AuditFilter, Option<AuditPlace>, u16),
    forged: &Reply,
) -> Error {
    let mut exchange = session.audit(filter.clone(), after, limit).unwrap();
    let error = fault(exchange.receive(forge(world, &exchange, forged)));
    let honest = world.send(exchange.message()).unwrap();
    ended(exchange.receive(honest)).unwrap();
    error
}

fn page(entries: &[AuditEntry], next: Option<AuditPlace>) -> Reply {
    Reply::Audit(audit::Reply { entries: entries.to_vec(), next })
}

#[test]
fn a_malicious_server_shows_no_foreign_entry_and_none_outside_of_the_filter() {
    let mut world = world(7);
    let (_, _, his) = person(&mut world, "bob");
    let (mut ada, key_ids, hers) = person(&mut world, "ada");
    let mismatch = Error::from(PeerFault::Mismatch("audit entry"));
    let any = AuditFilter::default();
    for entry in his {
        let forged = page(&[entry], None);
        assert_eq!(told(&mut world, &mut ada, (&any, None, 256), &forged), mismatch);
    }
    let retrieved = hers[3].at();
    for (filter, entry) in [
        (AuditFilter { about: AuditAbout::Secrets, ..any.clone() }, &hers[0]),
        (AuditFilter { about: AuditAbout::Account, ..any.clone() }, &hers[2]),
        (AuditFilter { key_ids: key_ids[1..].to_vec(), ..any.clone() }, &hers[3]),
        (AuditFilter { from: Some(retrieved), ..any.clone() }, &hers[2]),
        (AuditFilter { until: Some(retrieved), ..any.clone() }, &hers[3]),
    ] {
        let forged = page(std::slice::from_ref(entry), None);
        assert_eq!(told(&mut world, &mut ada, (&filter, None, 256), &forged), mismatch, "{filter:?}");
    }
}

#[test]
fn a_malicious_servers_trail_is_in_order_and_ends() {
    let mut world = world(8);
    let (mut ada, _, hers) = person(&mut world, "ada");
    let any = AuditFilter::default();
    let mismatch = |what| Error::from(PeerFault::Mismatch(what));
    let place = |index: usize| Some(hers[index].place());
    let swapped = [hers[1].clone(), hers[0].clone()];
    let doubled = [hers[0].clone(), hers[0].clone()];
    for (after, limit, entries, next, what) in [
        (None, 256, &swapped[..], None, "order of entries"),
        (None, 256, &doubled, None, "order of entries"),
        (place(1), 256, &hers[..1], None, "order of entries"),
        (place(1), 256, &hers[1..], None, "order of entries"),
        (None, 256, &hers[..2], place(0), "next page"),
        (None, 256, &hers[..2], place(3), "next page"),
        (place(1), 256, &[], place(1), "next page"),
        (None, 3, &hers, None, "number of entries"),
    ] {
        let forged = page(entries, next);
        assert_eq!(told(&mut world, &mut ada, (&any, after, limit), &forged), mismatch(what));
    }
    let other = Reply::Status(status::Reply { lifetime: 0, idle: 0, recent: 0 });
    assert_eq!(told(&mut world, &mut ada, (&any, None, 1), &other), PeerFault::OutOfOrder.into());
}

#[test]
fn rule_23_a_page_of_the_trail_ends_at_512_kib() {
    let mut world = world(9);
    let (mut ada, _, hers) = person(&mut world, "ada");
    let ids: Vec<KeyId> = (0..=255).map(|byte| KeyId::from_bytes([byte; 16])).collect();
    for _ in 0..200 {
        assert_eq!(world.retrieve(&mut ada, &ids).unwrap().unwrap_err(), Refusal::NotFound);
    }
    // An entry with 256 key IDs counts 64 + 256 * 16 bytes, one of the first four 64, 80 or 96.
    let first = trail(&mut world, &mut ada, AuditFilter::default());
    assert_eq!(first.len(), hers.len() + 125);
    let exchange = ada.audit(AuditFilter::default(), Some(first.last().unwrap().place()), 256).unwrap();
    let rest = world.run(exchange).unwrap().unwrap();
    assert_eq!((rest.entries.len(), rest.next), (75, None));
}
