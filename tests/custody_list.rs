//! List: every secret once, in order, through pages of any size; complete, whatever another device does meanwhile.
//! (`custody_list_lies.rs`: what a malicious server can't make of it.)
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

use core::convert::Infallible;

use holdings::{counted, ids, person, request, settled, step};
use hostile::ask;
use keystow::operation::list::{List, ListedSecret};
use keystow::operation::{Reply, Request, heads, list};
use keystow::storage::{Found, Outcome, Query, Transaction};
use keystow::testing::{MemoryStore, Store};
use keystow::*;
use support::{PASSWORD, World, world, world_with};

/// The page of this limit after this key ID, as the server gives it.
fn page(world: &mut World, session: &mut ClientSession, after: Option<KeyId>, limit: u16) -> list::Reply {
    match ask(world, session, &Request::List(list::Request { after, limit })) {
        Reply::List(page) => page,
        other => panic!("no page: {other:?}"),
    }
}

fn sealed_ids(page: &list::Reply) -> Vec<KeyId> {
    page.secrets.iter().map(|secret| secret.header.key_id()).collect()
}

/// All pages of this limit: the key IDs and where the next begins.
fn pages(world: &mut World, session: &mut ClientSession, limit: u16) -> Vec<(Vec<KeyId>, Option<KeyId>)> {
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = page(world, session, after, limit);
        assert_eq!(page.epoch, session.pin().epoch());
        pages.push((sealed_ids(&page), page.next));
        after = page.next;
        if after.is_none() {
            return pages;
        }
    }
}

/// All secrets, and how many messages the list took.
fn listed(world: &mut World, session: &mut ClientSession) -> (Vec<ListedSecret>, usize) {
    let mut exchange = session.list().unwrap();
    let (outcome, count) = counted(world, &mut exchange);
    (session.settle(outcome.unwrap()).unwrap(), count)
}

/// The same by their key IDs.
fn listed_ids(world: &mut World, session: &mut ClientSession) -> (Vec<KeyId>, usize) {
    let (secrets, count) = listed(world, session);
    (ids(&secrets), count)
}

#[test]
fn an_empty_vault_is_one_empty_page_of_any_limit() {
    let mut world = world(1);
    let (_, mut session, _) = person(&mut world, 0);
    for limit in [1, 2, 256] {
        let empty = list::Reply { secrets: vec![], next: None, epoch: 0 };
        assert_eq!(page(&mut world, &mut session, None, limit), empty);
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
    assert_eq!(world.list(&mut session).unwrap().unwrap(), expected);
}

#[test]
fn pages_of_any_limit_give_each_secret_once_in_order_and_a_full_page_says_where_to_go_on() {
    let mut world = world(3);
    let (_, mut session, all) = person(&mut world, 5);
    for (limit, lens) in [(1, &[1, 1, 1, 1, 1, 0][..]), (2, &[2, 2, 1]), (5, &[5, 0]), (256, &[5])] {
        let pages = pages(&mut world, &mut session, limit);
        assert_eq!(pages.iter().map(|(ids, _)| ids.len()).collect::<Vec<_>>(), lens, "limit {limit}");
        assert_eq!(pages.iter().flat_map(|(ids, _)| ids).copied().collect::<Vec<_>>(), all);
        let (last, full) = pages.split_last().unwrap();
        assert!(full.iter().all(|(ids, next)| *next == ids.last().copied()));
        assert_eq!(last.1, None);
    }
    let page = page(&mut world, &mut session, Some(all[2]), 256);
    assert_eq!(sealed_ids(&page), all[3..], "after a key ID: not that one again");
}

#[test]
fn a_deleted_secret_is_skipped_and_a_page_of_nothing_else_is_empty_but_goes_on() {
    let mut world = world(4);
    let (_, mut session, all) = person(&mut world, 6);
    world.delete(&mut session, &[all[0], all[2], all[3]]).unwrap().unwrap();
    let expected = vec![(vec![all[1]], Some(all[1])), (vec![], Some(all[3])), (all[4..].to_vec(), Some(all[5]))];
    assert_eq!(pages(&mut world, &mut session, 2), [expected, vec![(vec![], None)]].concat());
    let ones: Vec<_> = pages(&mut world, &mut session, 1).into_iter().flat_map(|(ids, _)| ids).collect();
    assert_eq!(ones, [all[1], all[4], all[5]]);
    assert_eq!(listed_ids(&mut world, &mut session), (ones, 1));
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
    assert_eq!(listed_ids(&mut world, &mut session), (all, 2));
}

#[test]
fn six_hundred_secrets_are_three_pages_of_a_listing() {
    let mut world = world(6);
    let (_, mut session, all) = person(&mut world, 600);
    assert_eq!(listed_ids(&mut world, &mut session), (all.clone(), 3));
    assert_eq!(all.len(), 600);
}

#[test]
fn a_list_is_complete_on_both_sides_of_a_pages_end() {
    let mut world = world(13);
    let (_, mut session, mut all) = person(&mut world, 255);
    // A full page doesn't know that it is the last one.
    for messages in [1, 2, 2] {
        assert_eq!(listed_ids(&mut world, &mut session), (all.clone(), messages), "{} secrets", all.len());
        all.push(world.secret(&mut session, Kind::Bytes(1)).key_id);
        all.sort();
    }
}

#[test]
fn tombstones_at_and_between_the_ends_of_pages_cost_pages_and_hide_nothing() {
    let mut world = world(14);
    let (_, mut session, all) = person(&mut world, 600);
    let mut left = all.clone();
    // Around the first page's end, the rest of the second page, of the first, and of the last.
    for gone in [&all[255..257], &all[257..512], &all[..255], &all[512..]] {
        world.delete(&mut session, gone).unwrap().unwrap();
        left.retain(|key_id| !gone.contains(key_id));
        assert_eq!(listed_ids(&mut world, &mut session), (left.clone(), 3));
    }
    assert_eq!((left, world.server.store.secrets.len()), (vec![], 600));
}

#[test]
fn a_limit_of_nothing_or_too_much_is_refused_and_the_client_asks_for_whole_pages() {
    let mut world = world(7);
    let (_, mut session, _) = person(&mut world, 1);
    let before = world.server.store.clone();
    for limit in [0, 257, u16::MAX] {
        let request = Request::List(list::Request { after: None, limit });
        assert_eq!(ask(&mut world, &mut session, &request), Reply::Refused(Refusal::Denied));
    }
    assert_eq!(world.server.store, before);
    let exchange = session.list().unwrap();
    assert_eq!(request(&world, &exchange), Request::List(list::Request { after: None, limit: 256 }));
}

// --- another device ------------------------------------------------------------------------------------

/// A person with so many secrets, and a second device.
fn two_devices(world: &mut World, count: usize) -> (ClientSession, ClientSession, Vec<KeyId>) {
    let (client, session, all) = person(world, count);
    let other = world.log_in(&client, PASSWORD).unwrap().unwrap();
    (session, other, all)
}

/// A list up to the request for its second page.
fn first_page(world: &mut World, session: &mut ClientSession) -> Exchange<List> {
    let mut exchange = session.list().unwrap();
    assert!(step(world, &mut exchange).is_none());
    exchange
}

/// What is left of a list, by key IDs, and how many messages it took.
fn rest(world: &mut World, session: &mut ClientSession, mut exchange: Exchange<List>) -> (Vec<KeyId>, usize) {
    let (outcome, count) = counted(world, &mut exchange);
    (ids(&session.settle(outcome.unwrap()).unwrap()), count)
}

#[test]
fn a_list_during_which_another_device_changes_the_vault_begins_again_and_is_complete() {
    let mut world = world(15);
    let (mut session, mut other, mut all) = two_devices(&mut world, 300);
    for change in 0..3 {
        let exchange = first_page(&mut world, &mut session);
        match change {
            // On the page that was listed, and on the one that comes.
            0 => world.delete(&mut other, &[all.remove(0)]).unwrap().unwrap(),
            1 => world.delete(&mut other, &[all.remove(298)]).unwrap().unwrap(),
            _ => all.push(world.secret(&mut other, Kind::Bytes(1)).key_id),
        }
        all.sort();
        // The second page of a newer head, the heads, and both pages again.
        assert_eq!(rest(&mut world, &mut session, exchange), (all.clone(), 4));
        assert_eq!(session.pin(), other.pin(), "the newer head was taken over");
        assert_eq!(listed_ids(&mut world, &mut session), (all.clone(), 2), "nothing to catch up with");
    }
}

#[test]
fn a_list_ends_as_soon_as_the_vault_stands_still_for_its_pages() {
    let mut world = world(16);
    let (mut session, mut other, mut all) = two_devices(&mut world, 257);
    let mut exchange = first_page(&mut world, &mut session);
    for _ in 0..5 {
        all.push(world.secret(&mut other, Kind::Bytes(1)).key_id);
        // The page of a newer head, the heads, the first page again.
        let asked = [(); 3].map(|()| {
            let asked = request(&world, &exchange);
            assert!(step(&mut world, &mut exchange).is_none());
            asked
        });
        let first = Request::List(list::Request { after: None, limit: 256 });
        assert!(matches!(asked[0], Request::List(list::Request { after: Some(_), limit: 256 })));
        assert_eq!(asked[1], Request::Heads(heads::Request { from: Some(other.pin().epoch() - 1) }));
        assert_eq!(asked[2], first);
    }
    all.sort();
    assert_eq!(rest(&mut world, &mut session, exchange), (all, 1));
    assert_eq!(session.pin(), other.pin());
}

#[test]
fn a_page_whose_vault_moves_on_between_its_read_and_its_write_is_not_shown() {
    let mut world = world(17);
    let (mut session, mut other, mut all) = two_devices(&mut world, 300);
    for at_page in [0, 1] {
        let mut exchange = session.list().unwrap();
        for _ in 0..at_page {
            assert!(step(&mut world, &mut exchange).is_none());
        }
        let before = world.server.store.clone();
        world.delete(&mut other, &[all.remove(7)]).unwrap().unwrap();
        let changed = std::mem::replace(&mut world.server.store, before);
        let refused = world.interrupted(exchange.message(), |store| *store = changed.clone());
        assert_eq!(hostile::read_reply(&world, &refused), Reply::Refused(Refusal::HeadMoved));
        assert_eq!(world.server.store, changed, "nothing was shown, nothing is in the trail");
        assert!(exchange.receive(refused).unwrap().is_none());
        assert_eq!(rest(&mut world, &mut session, exchange), (all.clone(), 3), "the heads, both pages");
        assert_eq!(session.pin(), other.pin());
    }
}

#[test]
fn a_list_catches_up_with_more_changes_than_a_page_of_heads_holds() {
    let mut world = world(18);
    let (mut session, mut other, mut all) = two_devices(&mut world, 300);
    let exchange = first_page(&mut world, &mut session);
    all.extend((0..256).map(|_| world.secret(&mut other, Kind::Bytes(1)).key_id));
    all.sort();
    // The head that is known comes again: 257 heads are two pages. Then three pages of secrets.
    assert_eq!(rest(&mut world, &mut session, exchange), (all, 1 + 2 + 3));
    assert_eq!(session.pin(), other.pin());
}

#[test]
fn a_list_that_is_not_settled_leaves_the_head_to_the_next_exchange() {
    let mut world = world(19);
    let (mut session, mut other, all) = two_devices(&mut world, 3);
    world.delete(&mut other, &all[..1]).unwrap().unwrap();
    let before = session.pin();
    let dropped = session.list().unwrap();
    drop(world.run(dropped).unwrap().unwrap());
    assert_eq!(session.pin(), before);
    let mut exchange = session.list().unwrap();
    assert!(step(&mut world, &mut exchange).is_none(), "a page of a newer head");
    assert!(step(&mut world, &mut exchange).is_none(), "the heads");
    let answer = world.send(exchange.message()).unwrap();
    assert_eq!(settled(&mut session, exchange.receive(answer)).map(|secrets| ids(&secrets)), Ok(all[1..].to_vec()));
    assert_eq!(session.pin(), other.pin());
}

/// An honest store that reads where the account stands first and the records later, as it may: with `standing`, something
/// was written between the two.
#[derive(Default)]
struct Slow {
    now: MemoryStore,
    standing: Option<MemoryStore>,
}

impl Store for Slow {
    type Error = Infallible;

    fn read(&mut self, query: &Query) -> Result<Found, Infallible> {
        match (query, self.standing.take()) {
            (Query::SecretsPage(_), Some(before)) => {
                MemoryStore { secrets: self.now.secrets.clone(), ..before }.read(query)
            }
            _ => self.now.read(query),
        }
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, Infallible> {
        self.now.apply(transaction)
    }
}

/// The entry of the first attempt is there, so that nothing compares the epoch of what the second one reads.
#[test]
fn a_page_whose_outcome_was_lost_is_not_shown_with_another_heads_secrets_when_it_is_repeated() {
    let mut world = world_with(20, Slow::default(), ServerPolicy::default());
    let (client, mut session) = world.person("ada");
    let mut other = world.log_in(&client, PASSWORD).unwrap().unwrap();
    let pending = world.generate(&mut session, &[Kind::Bytes(1); 256]).unwrap().unwrap();
    let mut all: Vec<_> = pending.key_ids().collect();
    world.store(&mut session, &pending).unwrap().unwrap();
    all.sort();
    // A full page, and one behind it; a secret comes, or goes.
    for (at_page, stored) in [(0, true), (0, false), (1, true), (1, false)] {
        let mut exchange = session.list().unwrap();
        for _ in 0..at_page {
            let answer = world.send(exchange.message()).unwrap();
            assert!(exchange.receive(answer).unwrap().is_none());
        }
        world.applied_but_unknown(exchange.message());
        let before = world.server.store.now.clone();
        if stored {
            all.push(world.secret(&mut other, Kind::Bytes(1)).key_id);
            all.sort();
        } else {
            world.delete(&mut other, &[all.remove(255)]).unwrap().unwrap();
        }
        let changed = world.server.store.now.clone();
        world.server.store.standing = Some(before);
        let repeated = world.send(exchange.message()).unwrap();
        assert_eq!(world.server.store.standing, None, "it was read again");
        assert_eq!(hostile::read_reply(&world, &repeated), Reply::Refused(Refusal::HeadMoved));
        assert_eq!(world.server.store.now, changed);
        assert!(exchange.receive(repeated).unwrap().is_none());
        assert_eq!(ids(&world.settled(&mut session, exchange).unwrap().unwrap()), all);
        assert_eq!(session.pin(), other.pin());
    }
}
