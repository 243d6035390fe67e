//! List, against a malicious server: each lie about what is in the vault has its exact error, and the honest answer is
//! still taken after it. (`custody_list_time.rs`: a vault that was put back, a database that isn't what it was.)
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

use holdings::listing::{
    Scene, after, count, damaged, held, key_id, key_ids, mismatch, page, page_of, rest, sorted, told, vault,
};
use holdings::{ids, settled};
use hostile::{at, fault, forge, rewrite};
use keystow::operation::{Reply, heads, status};
use keystow::*;
use support::world;

// --- a page --------------------------------------------------------------------------------------------

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
            let secrets = sorted([&own[..], std::slice::from_ref(&foreign)].concat());
            assert_eq!(told(&mut world, &mut session, &own, &[], &page(&secrets, None)), damaged(&foreign));
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
            let mut exchange = session.list().unwrap();
            let forged = forge(&world, &exchange, &page(std::slice::from_ref(&touched), None));
            assert_eq!(fault(exchange.receive(forged)), damaged(secret));
        }
        let bytes = secret.header.to_bytes();
        for header in hostile::flipped(&bytes).step_by(8).filter_map(|bytes| Header::from_bytes(&bytes).ok()) {
            let touched = SealedSecret { header, ..secret.clone() };
            let mut exchange = session.list().unwrap();
            let forged = forge(&world, &exchange, &page(std::slice::from_ref(&touched), None));
            assert_eq!(fault(exchange.receive(forged)), damaged(&touched));
        }
    }
    assert_eq!(ids(&world.list(&mut session).unwrap().unwrap()), key_ids(&own));
}

#[test]
fn a_page_in_descending_or_doubled_order_is_refused() {
    let mut world = world(10);
    let (mut session, own) = held(&mut world, "ada");
    let reversed: Vec<_> = own.iter().rev().cloned().collect();
    let doubled = [own[0].clone(), own[1].clone(), own[1].clone()];
    for secrets in [&reversed[..], &doubled] {
        let told = told(&mut world, &mut session, &own, &[], &page(secrets, None));
        assert_eq!(told, mismatch("order of secrets"));
    }
    let first = page(&own[..2], Some(key_id(&own[1])));
    for secrets in [&own[..1], &own[1..2], &own[1..]] {
        let told = told(&mut world, &mut session, &own, std::slice::from_ref(&first), &page(secrets, None));
        assert_eq!(told, mismatch("order of secrets"), "a page begins behind the one before");
    }
}

#[test]
fn a_page_that_goes_backwards_or_does_not_advance_is_refused_so_a_listing_ends() {
    let mut world = world(11);
    let (mut session, own) = held(&mut world, "ada");
    let key_ids = key_ids(&own);
    let first = Some(key_ids[0]);
    let up_to = |len: usize| [page(&own[..len], Some(key_ids[len - 1]))];
    for (truth, secrets, next) in [
        (&[][..], &own[..2], first),
        (&up_to(1), &own[1..], Some(key_ids[1])),
        (&up_to(1), &[], first),
        (&up_to(2), &[], first),
        (&up_to(2), &own[2..], first),
    ] {
        let told = told(&mut world, &mut session, &own, truth, &page(secrets, next));
        assert_eq!(told, mismatch("next page"));
    }
    // Behind the last secret, it is what a page ending in tombstones looks like.
    let [before_last, last] = [1, 0].map(|less| KeyId::from_bytes(minus(key_ids[2], less)));
    let further = [&up_to(1)[..], &[page(&own[1..2], Some(before_last))]].concat();
    let exchange = after(&world, &mut session, &further);
    assert_eq!(rest(&mut world, &mut session, exchange), key_ids);
    // But no secret may have stood there.
    let too_far = [&up_to(1)[..], &[page(&own[1..2], Some(last))]].concat();
    let mut exchange = after(&world, &mut session, &too_far);
    let answer = world.send(exchange.message()).unwrap();
    assert_eq!(fault(exchange.receive(answer)), count(3, 2));
}

/// The key ID so many places before this one.
fn minus(key_id: KeyId, less: u128) -> [u8; 16] {
    (u128::from_be_bytes(*key_id.as_bytes()) - less).to_be_bytes()
}

#[test]
fn more_secrets_than_were_asked_for_or_another_reply_is_refused() {
    let mut world = world(12);
    let (mut session, own) = held(&mut world, "ada");
    let many = vec![own[0].clone(); 257];
    for (truth, many) in [(vec![], &many[..]), (vec![page(&own[..1], Some(key_id(&own[0])))], &many)] {
        let told = told(&mut world, &mut session, &own, &truth, &page(many, None));
        assert_eq!(told, mismatch("number of secrets"));
    }
    let heads = Reply::Heads(heads::Reply { heads: vec![], newest: 1 });
    for other in [Reply::Status(status::Reply { lifetime: 0, idle: 0, recent: 0 }), heads] {
        assert_eq!(told(&mut world, &mut session, &own, &[], &other), PeerFault::OutOfOrder.into());
    }
    // A refusal is an answer. It says nothing about the vault.
    let mut exchange = session.list().unwrap();
    let refused = forge(&world, &exchange, &Reply::Refused(Refusal::Denied));
    assert_eq!(settled(&mut session, exchange.receive(refused)), Err(Refusal::Denied));
}

// --- the whole list ------------------------------------------------------------------------------------

#[test]
fn every_other_set_of_the_vaults_own_records_is_refused_by_its_number_or_its_digest() {
    let Scene { mut world, mut session, own, deleted, unstored, .. } = Scene::new(20);
    let all = sorted([&own[..], &[deleted, unstored]].concat());
    let mut seen = [0; 3];
    for set in 0..32u32 {
        let secrets: Vec<_> = (0..5).filter(|i| set & (1 << i) != 0).map(|i| all[i].clone()).collect();
        // On one page, or on two that end anywhere.
        for split in 0..=secrets.len() {
            let (first, last) = secrets.split_at(split);
            let first: Vec<_> = first.last().map(|end| page_of(3, first, Some(key_id(end)))).into_iter().collect();
            let mut exchange = after(&world, &mut session, &first);
            let answer = exchange.receive(forge(&world, &exchange, &page_of(3, last, None)));
            if secrets == own {
                seen[0] += 1;
                assert_eq!(settled(&mut session, answer).map(|listed| ids(&listed)), Ok(key_ids(&own)));
            } else if secrets.len() == own.len() {
                seen[1] += 1;
                assert_eq!(fault(answer), vault(VaultFault::Digest));
            } else {
                seen[2] += 1;
                assert_eq!(fault(answer), count(3, u64::from(set.count_ones())));
            }
        }
    }
    assert_eq!(seen, [4, 36, 72], "of 32 sets, by the places where the first page can end");
    assert_eq!(ids(&world.list(&mut session).unwrap().unwrap()), key_ids(&own));
}

#[test]
fn a_last_page_that_lies_about_the_rest_is_refused_and_the_honest_one_still_taken() {
    let Scene { mut world, mut session, own, deleted, unstored, .. } = Scene::new(21);
    // A first page of tombstones, before all that is there.
    let first = [page_of(3, &[], Some(KeyId::from_bytes([0; 16])))];
    for stranger in [deleted, unstored] {
        let added = sorted([&own[..], std::slice::from_ref(&stranger)].concat());
        let exchanged = sorted([&own[..2], &[stranger]].concat());
        for (secrets, expected) in [
            (&[][..], count(3, 0)),
            (&own[..2], count(3, 2)),
            (&own[1..], count(3, 2)),
            (&added, count(3, 4)),
            (&exchanged, vault(VaultFault::Digest)),
        ] {
            let lie = page_of(3, secrets, None);
            assert_eq!(told(&mut world, &mut session, &own, &first, &lie), expected);
        }
    }
}
