//! List, against a server that shows another time than its own: pages of an older head, heads that aren't there, a
//! database that lost, exchanged or brought back something, or was put back whole.
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

use core::slice;

use holdings::listing::{Scene, after, count, damaged, key_id, key_ids, mismatch, page_of, rest, sorted, told, vault};
use holdings::{ids, request};
use hostile::{fault, forge, read_reply, record, tombstone};
use keystow::operation::{Reply, Request, heads, list};
use keystow::testing::MemoryStore;
use keystow::*;
use support::{PASSWORD, World, error};

#[test]
fn a_page_of_an_older_head_is_a_vault_that_was_put_back() {
    let Scene { mut world, mut session, own, deleted, .. } = Scene::new(22);
    let before = sorted([&own[..], &[deleted]].concat());
    let first = [page_of(3, &own[..1], Some(key_id(&own[0])))];
    for (shown, secrets) in [(0, &[][..]), (1, &own[..]), (2, &before)] {
        for truth in [&[][..], &first] {
            let lie = page_of(shown, secrets, None);
            let expected = vault(VaultFault::RolledBack { known: 3, shown });
            assert_eq!(told(&mut world, &mut session, &own, truth, &lie), expected);
        }
    }
}

// --- heads ---------------------------------------------------------------------------------------------

fn head(world: &World, user_id: UserId, epoch: u64) -> SealedHead {
    postcard::from_bytes(&world.server.store.heads[&(user_id, epoch)][1..]).unwrap()
}

/// The head of this epoch in a branch that goes on from an earlier store: another device stores secrets, one by one.
fn branched(world: &mut World, client: &Client, from: &MemoryStore, epoch: u64) -> SealedHead {
    let honest = std::mem::replace(&mut world.server.store, from.clone());
    let mut other = world.log_in(client, PASSWORD).unwrap().unwrap();
    while other.pin().epoch() < epoch {
        world.secret(&mut other, Kind::Bytes(1));
    }
    let head = head(world, other.user_id(), epoch);
    world.server.store = honest;
    head
}

#[test]
fn a_page_of_a_newer_head_or_a_head_that_is_said_to_have_moved_must_be_shown_or_the_list_begins_again() {
    let Scene { mut world, client, mut session, own, deleted, past, .. } = Scene::new(23);
    let (_, mut bob) = world.person("bob");
    let [foreign, foreign_next] = [3, 4].map(|epoch| {
        while bob.pin().epoch() < epoch {
            world.secret(&mut bob, Kind::Bytes(1));
        }
        head(&world, bob.user_id(), epoch)
    });
    let (before, known) = (head(&world, session.user_id(), 2), head(&world, session.user_id(), 3));
    let next = branched(&mut world, &client, &past[3], 4);
    // Two links of another branch from here, and one of a branch from before.
    let unlinked = branched(&mut world, &client, &past[3], 5);
    let fork = branched(&mut world, &client, &past[2], 3);
    let garbled = |head: &SealedHead| {
        let mut bytes = *head.as_bytes();
        bytes[139] ^= 1;
        SealedHead::from_bytes(bytes)
    };
    let exchanged = sorted([&own[1..], &[deleted]].concat());
    let lost = |epoch| vault(VaultFault::DamagedHead { epoch });
    let forked = vault(VaultFault::Forked { epoch: 3 });
    let lies = [
        (vec![], 4, mismatch("number of heads")),
        (vec![&known; 257], 4, mismatch("number of heads")),
        (vec![&known], 2, vault(VaultFault::RolledBack { known: 3, shown: 2 })),
        (vec![&known, &next], 3, mismatch("epoch")),
        (vec![&before, &known], 4, lost(3)),
        (vec![&next], 4, lost(3)),
        (vec![&foreign], 3, forked.clone()),
        (vec![&garbled(&known)], 3, forked.clone()),
        (vec![&fork], 3, forked),
        (vec![&known, &known], 4, lost(4)),
        (vec![&known, &garbled(&next)], 4, lost(4)),
        (vec![&known, &foreign_next], 4, lost(4)),
        (vec![&known, &unlinked], 5, lost(4)),
        (vec![&known, &next, &unlinked], 5, lost(5)),
    ]
    .map(|(heads, newest, told)| {
        let heads = heads.into_iter().cloned().collect();
        (Reply::Heads(heads::Reply { heads, newest }), told)
    });
    for truth in [page_of(4, &own, None), Reply::Refused(Refusal::HeadMoved)] {
        let truth = [truth];
        for (lie, told) in &lies {
            let mut exchange = after(&world, &mut session, &truth);
            assert_eq!(fault(exchange.receive(forge(&world, &exchange, lie))), *told);
        }
        // The honest answer: there is no newer head. The list begins again under the one that is known, with nothing
        // of the page that was shown, and is complete.
        let nothing_new = Reply::Heads(heads::Reply { heads: vec![known.clone()], newest: 3 });
        let mut exchange = after(&world, &mut session, &truth);
        let answer = world.send(exchange.message()).unwrap();
        assert_eq!(read_reply(&world, &answer), nothing_new);
        assert!(exchange.receive(answer).unwrap().is_none());
        assert_eq!(request(&world, &exchange), Request::List(list::Request { after: None, limit: 256 }));
        assert_eq!(rest(&mut world, &mut session, exchange), key_ids(&own));
        assert_eq!(session.pin(), known.pin());
        // What is listed then is compared with it all the same.
        for (secrets, told) in [(&own[1..], count(3, 2)), (&exchanged, vault(VaultFault::Digest))] {
            let mut exchange = after(&world, &mut session, &[&truth[..], slice::from_ref(&nothing_new)].concat());
            assert_eq!(fault(exchange.receive(forge(&world, &exchange, &page_of(3, secrets, None)))), told);
        }
        // More heads are said to be there than were shown: then they must come.
        let more = Reply::Heads(heads::Reply { heads: vec![known.clone()], newest: 4 });
        let mut exchange = after(&world, &mut session, &[&truth[..], &[more]].concat());
        let answer = world.send(exchange.message()).unwrap();
        assert_eq!(fault(exchange.receive(answer)), mismatch("number of heads"));
        drop(exchange);
        // A newer head is shown, with the secrets of the older one.
        let newer = Reply::Heads(heads::Reply { heads: vec![known.clone(), next.clone()], newest: 4 });
        let mut exchange = after(&world, &mut session, &[&truth[..], &[newer]].concat());
        let old = forge(&world, &exchange, &page_of(4, &own, None));
        assert_eq!(fault(exchange.receive(old)), count(4, 3));
        let older = forge(&world, &exchange, &page_of(3, &own, None));
        assert_eq!(fault(exchange.receive(older)), vault(VaultFault::RolledBack { known: 4, shown: 3 }));
    }
    assert_eq!(ids(&world.list(&mut session).unwrap().unwrap()), key_ids(&own), "nothing of it was taken over");
}

// --- the database --------------------------------------------------------------------------------------

#[test]
fn a_database_that_lost_exchanged_or_brought_back_a_secret_is_found_out() {
    let Scene { mut world, mut session, own, deleted, unstored, .. } = Scene::new(24);
    let (user_id, honest) = (session.user_id(), world.server.store.clone());
    let at = |secret: &SealedSecret| (user_id, key_id(secret));
    let mut found = |change: &dyn Fn(&mut MemoryStore)| {
        change(&mut world.server.store);
        let error = error(world.list(&mut session));
        world.server.store.secrets.clone_from(&honest.secrets);
        assert_eq!(ids(&world.list(&mut session).unwrap().unwrap()), key_ids(&own));
        error
    };
    let put = |store: &mut MemoryStore, secret: &SealedSecret| drop(store.secrets.insert(at(secret), record(secret)));
    let remove = |store: &mut MemoryStore, secret: &SealedSecret| drop(store.secrets.remove(&at(secret)).unwrap());
    let grave = tombstone(SessionId::from_bytes([9; 16]), 9);
    for secret in &own {
        assert_eq!(found(&|store| remove(store, secret)), count(3, 2));
        let buried = |store: &mut MemoryStore| store.secrets.get_mut(&at(secret)).unwrap().clone_from(&grave);
        assert_eq!(found(&buried), count(3, 2));
        let garbled = |store: &mut MemoryStore| *store.secrets.get_mut(&at(secret)).unwrap().last_mut().unwrap() ^= 1;
        assert_eq!(found(&garbled), damaged(secret));
        for stranger in [&deleted, &unstored] {
            let exchanged = |store: &mut MemoryStore| {
                remove(store, secret);
                put(store, stranger);
            };
            assert_eq!(found(&exchanged), vault(VaultFault::Digest));
        }
    }
    for stranger in [&deleted, &unstored] {
        assert_eq!(found(&|store| put(store, stranger)), count(3, 4));
    }
    assert_eq!(found(&|store| store.secrets.clear()), count(3, 0));
}

#[test]
fn a_database_that_was_put_back_whole_or_in_part_is_found_out() {
    let Scene { mut world, mut session, own, past, .. } = Scene::new(25);
    let account = AccountName::new("ada").unwrap();
    // What the secrets of then are, under the heads of now: the first change's are the same as the third's.
    for (shown, secrets) in [(0, Some(count(3, 0))), (1, None), (2, Some(count(3, 4)))] {
        let (then, now) = (&past[usize::try_from(shown).unwrap()], &past[3]);
        let rolled_back = vault(VaultFault::RolledBack { known: 3, shown });
        let mut listed = |store: MemoryStore| {
            world.server.store = store;
            world.list(&mut session).map(|listed| ids(&listed.unwrap()))
        };
        assert_eq!(error(listed(then.clone())), rolled_back, "all of it");
        let in_part = listed(MemoryStore { secrets: then.secrets.clone(), ..now.clone() });
        match secrets {
            Some(told) => assert_eq!(error(in_part), told),
            None => assert_eq!(in_part, Ok(key_ids(&own))),
        }
        assert_eq!(error(listed(MemoryStore { accounts: then.accounts.clone(), ..now.clone() })), rolled_back);
        // Heads that nobody asks for aren't missed: this session knows the newest.
        assert_eq!(listed(MemoryStore { heads: then.heads.clone(), ..now.clone() }), Ok(key_ids(&own)));
    }
    world.server.store.clone_from(&past[3]);
    world.server.store.accounts.get_mut(&account).unwrap().epoch = 4;
    let missing = StoredFault { record: RecordName::Head(session.user_id(), 4), problem: "is missing" };
    assert_eq!(error(world.list(&mut session)), Error::Stored(missing), "said to have moved on");
    world.server.store.clone_from(&past[3]);
    assert_eq!(ids(&world.list(&mut session).unwrap().unwrap()), key_ids(&own));
}
