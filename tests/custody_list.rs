//! List: every secret once, in order, page by page, whatever the pages' size; and what a malicious server can't make
//! of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod hostile;
mod support;

use hostile::{ask, at, ended, fault, forge, rewrite, sealed};
use keystow::operation::list::{ListedPage, ListedSecret, Listing};
use keystow::operation::{Reply, Request, list, status};
use keystow::*;
use support::{World, world};

/// A person with so many stored secrets of a byte each, in order of their key IDs.
fn person(world: &mut World, count: usize) -> (ClientSession, Vec<KeyId>) {
    let (_, mut session) = world.person("ada");
    let mut key_ids = Vec::new();
    for batch in vec![Kind::Bytes(1); count].chunks(MAX_BATCH) {
        let pending = world.generate(&mut session, batch).unwrap().unwrap();
        key_ids.extend(world.store(&mut session, &pending).unwrap().unwrap().iter().map(|secret| secret.key_id));
    }
    key_ids.sort();
    (session, key_ids)
}

fn ids(page: &ListedPage) -> Vec<KeyId> {
    page.secrets.iter().map(|secret| secret.key_id).collect()
}

/// All pages of this limit: the key IDs and where the next begins.
fn pages(world: &mut World, session: &mut ClientSession, limit: u16) -> Vec<(Vec<KeyId>, Option<KeyId>)> {
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = world.list(session, after, limit).unwrap().unwrap();
        pages.push((ids(&page), page.next));
        after = page.next;
        if after.is_none() {
            return pages;
        }
    }
}

/// All secrets through [`Listing`], and how many pages it took.
fn listed(world: &mut World, session: &mut ClientSession) -> (Vec<ListedSecret>, usize) {
    let (mut listing, mut secrets, mut count) = (Listing::new(), Vec::new(), 0);
    while let Some(exchange) = listing.next_page(session).unwrap() {
        secrets.extend(listing.take(world.run(exchange).unwrap().unwrap()));
        count += 1;
    }
    (secrets, count)
}

#[test]
fn an_empty_vault_is_one_empty_page_of_any_limit() {
    let mut world = world(1);
    let (mut session, _) = person(&mut world, 0);
    for limit in [1, 2, 256] {
        let page = world.list(&mut session, None, limit).unwrap().unwrap();
        assert_eq!(page, ListedPage { secrets: vec![], next: None });
    }
    assert_eq!(listed(&mut world, &mut session), (vec![], 1));
}

#[test]
fn a_listing_says_of_each_secret_what_it_is_and_where_it_came_from_and_nobody_elses() {
    let mut world = world(2);
    let (_, mut bob) = world.person("bob");
    world.secret(&mut bob, Kind::Ed25519);
    let (_, mut session) = world.person("ada");
    let kinds = [Kind::Bytes(1_024), Kind::Secp256k1, Kind::Ed25519];
    let generated = world.generate(&mut session, &kinds).unwrap().unwrap();
    let own = vec![PlainSecret::bytes([7; 5]).unwrap(), PlainSecret::raw(Kind::Ed25519, [9; 32]).unwrap()];
    let imported = world.import(&mut session, own).unwrap().unwrap();
    let mut expected = Vec::new();
    for (pending, origin) in [(generated, Origin::Generated), (imported, Origin::Imported)] {
        for NewSecret { key_id, kind, public, .. } in world.store(&mut session, &pending).unwrap().unwrap() {
            expected.push(ListedSecret { key_id, kind, origin, public });
        }
    }
    expected.sort_by_key(|secret| secret.key_id);
    assert_eq!(expected.iter().filter(|secret| secret.public.is_some()).count(), 3);
    assert_eq!(world.list(&mut session, None, 256).unwrap().unwrap(), ListedPage { secrets: expected, next: None });
}

#[test]
fn pages_of_any_limit_give_each_secret_once_in_order_and_a_full_page_says_where_to_go_on() {
    let mut world = world(3);
    let (mut session, all) = person(&mut world, 5);
    for (limit, lens) in [(1, &[1, 1, 1, 1, 1, 0][..]), (2, &[2, 2, 1]), (5, &[5, 0]), (256, &[5])] {
        let pages = pages(&mut world, &mut session, limit);
        assert_eq!(pages.iter().map(|(ids, _)| ids.len()).collect::<Vec<_>>(), lens, "limit {limit}");
        assert_eq!(pages.iter().flat_map(|(ids, _)| ids).copied().collect::<Vec<_>>(), all);
        let (last, full) = pages.split_last().unwrap();
        assert!(full.iter().all(|(ids, next)| *next == ids.last().copied()));
        assert_eq!(last.1, None);
    }
    let page = world.list(&mut session, Some(all[2]), 256).unwrap().unwrap();
    assert_eq!(ids(&page), all[3..], "after a key ID: not that one again");
}

#[test]
fn a_deleted_secret_is_skipped_and_a_page_of_nothing_else_is_empty_but_goes_on() {
    let mut world = world(4);
    let (mut session, all) = person(&mut world, 6);
    world.delete(&mut session, &[all[0], all[2], all[3]]).unwrap().unwrap();
    let expected = vec![(vec![all[1]], Some(all[1])), (vec![], Some(all[3])), (all[4..].to_vec(), Some(all[5]))];
    assert_eq!(pages(&mut world, &mut session, 2), [expected, vec![(vec![], None)]].concat());
    let ones: Vec<_> = pages(&mut world, &mut session, 1).into_iter().flat_map(|(ids, _)| ids).collect();
    assert_eq!(ones, [all[1], all[4], all[5]]);
    world.delete(&mut session, &[all[1], all[4], all[5]]).unwrap().unwrap();
    assert_eq!(listed(&mut world, &mut session), (vec![], 1));
}

#[test]
fn a_page_ends_at_512_kib_before_its_limit() {
    let mut world = world(5);
    let (_, mut session) = world.person("ada");
    let own = (0..8).map(|byte| PlainSecret::bytes(vec![byte; 65_536]).unwrap()).collect();
    let pending = world.import(&mut session, own).unwrap().unwrap();
    let mut all: Vec<_> =
        world.store(&mut session, &pending).unwrap().unwrap().iter().map(|secret| secret.key_id).collect();
    all.sort();
    // Header and ciphertext are 65,641 bytes: the eighth would end behind 512 KiB.
    let expected = [(all[..7].to_vec(), Some(all[6])), (all[7..].to_vec(), None)];
    assert_eq!(pages(&mut world, &mut session, 256), expected);
    assert_eq!(listed(&mut world, &mut session).1, 2);
}

#[test]
fn six_hundred_secrets_are_three_pages_of_a_listing() {
    let mut world = world(6);
    let (mut session, all) = person(&mut world, 600);
    let (secrets, count) = listed(&mut world, &mut session);
    assert_eq!(secrets.iter().map(|secret| secret.key_id).collect::<Vec<_>>(), all);
    assert_eq!((all.len(), count), (600, 3));
}

#[test]
fn a_limit_of_nothing_or_too_much_is_refused_on_both_sides() {
    let mut world = world(7);
    let (mut session, _) = person(&mut world, 1);
    let before = world.server.store.clone();
    for limit in [0, 257, u16::MAX] {
        let fault = CallerFault::BatchLength { len: usize::from(limit), max: 256 };
        assert_eq!(session.list(None, limit).map(drop), Err(fault.into()));
        let request = Request::List(list::Request { after: None, limit });
        assert_eq!(ask(&mut world, &mut session, &request), Reply::Refused(Refusal::Denied));
    }
    assert_eq!(world.server.store, before);
}

// --- the malicious server ------------------------------------------------------------------------------

/// A person with a secret of each kind, as the server holds them, in order of their key IDs.
fn held(world: &mut World, account: &str) -> (ClientSession, Vec<SealedSecret>) {
    let (_, mut session) = world.person(account);
    let kinds = [Kind::Bytes(32), Kind::Secp256k1, Kind::Ed25519];
    let pending = world.generate(&mut session, &kinds).unwrap().unwrap();
    world.store(&mut session, &pending).unwrap().unwrap();
    let mut secrets: Vec<_> = pending.iter().map(sealed).collect();
    secrets.sort_by_key(|secret| secret.header.key_id());
    (session, secrets)
}

fn page(secrets: &[SealedSecret], next: Option<KeyId>) -> Reply {
    Reply::List(list::Reply { secrets: secrets.to_vec(), next })
}

/// What the client says to a forged page. The error has changed nothing: the honest page is still taken.
fn told(world: &mut World, session: &mut ClientSession, asked: (Option<KeyId>, u16), forged: &Reply) -> Error {
    let mut exchange = session.list(asked.0, asked.1).unwrap();
    let error = fault(exchange.receive(forge(world, &exchange, forged)));
    let honest = world.send(exchange.message()).unwrap();
    ended(exchange.receive(honest)).unwrap();
    error
}

fn mismatch(what: &'static str) -> Error {
    PeerFault::Mismatch(what).into()
}

fn damaged(secret: &SealedSecret) -> Error {
    PeerFault::DamagedSecret { key_id: secret.header.key_id() }.into()
}

#[test]
fn rule_2_a_page_with_another_users_record_is_refused_whole() {
    let mut world = world(8);
    let (mut session, own) = held(&mut world, "ada");
    let (_, others) = held(&mut world, "bob");
    for other in &others {
        let relabelled = rewrite(&other.header, |bytes| {
            bytes[at::USER_ID..at::KIND].copy_from_slice(session.user_id().as_bytes());
        });
        for foreign in [other.clone(), SealedSecret { header: relabelled, ..other.clone() }] {
            let mut secrets = [&own[..], std::slice::from_ref(&foreign)].concat();
            secrets.sort_by_key(|secret| secret.header.key_id());
            assert_eq!(told(&mut world, &mut session, (None, 256), &page(&secrets, None)), damaged(&foreign));
        }
    }
}

#[test]
fn rule_3_a_header_or_ciphertext_that_was_touched_leaves_nothing_of_its_page() {
    let mut world = world(9);
    let (mut session, own) = held(&mut world, "ada");
    for secret in &own {
        let ciphertexts = hostile::flipped(&secret.ciphertext).step_by(8).chain(hostile::truncated(&secret.ciphertext));
        for ciphertext in ciphertexts {
            let touched = SealedSecret { ciphertext, ..secret.clone() };
            let mut exchange = session.list(None, 256).unwrap();
            let forged = forge(&world, &exchange, &page(std::slice::from_ref(&touched), None));
            assert_eq!(fault(exchange.receive(forged)), damaged(secret));
        }
        let bytes = secret.header.to_bytes();
        for header in hostile::flipped(&bytes).step_by(8).filter_map(|bytes| Header::from_bytes(&bytes).ok()) {
            let touched = SealedSecret { header, ..secret.clone() };
            let mut exchange = session.list(None, 256).unwrap();
            let forged = forge(&world, &exchange, &page(std::slice::from_ref(&touched), None));
            assert_eq!(fault(exchange.receive(forged)), damaged(&touched));
        }
    }
}

#[test]
fn a_page_in_descending_or_doubled_order_is_refused() {
    let mut world = world(10);
    let (mut session, own) = held(&mut world, "ada");
    let reversed: Vec<_> = own.iter().rev().cloned().collect();
    let doubled = [own[0].clone(), own[1].clone(), own[1].clone()];
    for secrets in [&reversed[..], &doubled] {
        let told = told(&mut world, &mut session, (None, 256), &page(secrets, None));
        assert_eq!(told, mismatch("order of secrets"));
    }
    let after = Some(own[1].header.key_id());
    for secrets in [&own[..1], &own[1..2], &own[1..]] {
        let told = told(&mut world, &mut session, (after, 256), &page(secrets, None));
        assert_eq!(told, mismatch("order of secrets"), "a page begins behind the one before");
    }
}

#[test]
fn a_page_that_goes_backwards_or_does_not_advance_is_refused_so_a_listing_ends() {
    let mut world = world(11);
    let (mut session, own) = held(&mut world, "ada");
    let key_ids: Vec<_> = own.iter().map(|secret| secret.header.key_id()).collect();
    let first = Some(key_ids[0]);
    for (after, secrets, next) in [
        (None, &own[..2], first),
        (first, &own[1..], Some(key_ids[1])),
        (first, &[], first),
        (Some(key_ids[1]), &[], first),
        (Some(key_ids[1]), &own[2..], first),
    ] {
        let told = told(&mut world, &mut session, (after, 256), &page(secrets, next));
        assert_eq!(told, mismatch("next page"));
    }
    // Behind the last secret, it is what a page ending in tombstones looks like.
    let mut exchange = session.list(first, 2).unwrap();
    let further = forge(&world, &exchange, &page(&own[1..2], Some(key_ids[2])));
    let taken = ended(exchange.receive(further)).unwrap();
    assert_eq!((ids(&taken), taken.next), (vec![key_ids[1]], Some(key_ids[2])));
}

#[test]
fn more_secrets_than_were_asked_for_or_another_reply_is_refused() {
    let mut world = world(12);
    let (mut session, own) = held(&mut world, "ada");
    assert_eq!(told(&mut world, &mut session, (None, 2), &page(&own, None)), mismatch("number of secrets"));
    let other = Reply::Status(status::Reply { lifetime: 0, idle: 0, recent: 0 });
    assert_eq!(told(&mut world, &mut session, (None, 2), &other), PeerFault::OutOfOrder.into());
}
