//! Rule 17: no secret in freed memory. Every flow of both sides runs with secrets that the test knows, under an allocator that
//! searches each block for them when it is freed. The stack is searched too, for what must not be there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

#[path = "memory/flows.rs"]
mod flows;
mod hostile;
#[path = "memory/imports.rs"]
mod imports;
#[path = "memory/known.rs"]
mod known;
mod support;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::mem::ManuallyDrop;

use flows::{Run, Sessions};
use freed::{Hit, Search};
use hmac::{Hmac, KeyInit};
use imports::Imports;
use sha2::Sha256;

#[global_allocator]
static ALLOCATOR: freed::Searching = freed::Searching;

/// A stack of its own: what the tests' own computations leave on theirs gets into unused bytes of other blocks.
const STACK: usize = 2 << 20;

/// Runs everything unwatched, to learn the secrets, then the same once more, watched.
fn searched(sessions: Sessions) -> Search {
    let imports = Run::new(None, sessions).live(&Imports::default());
    let mut dry = Run::new(None, sessions);
    dry.live(&imports);
    let (mut secrets, traffic) = dry.end();
    secrets.extend(imports.texts());
    let search = Search::new(&secrets);
    let again = freed::on_own_stack(STACK, || {
        let mut run = Run::new(Some(&search), sessions);
        run.live(&imports);
        run.end().1
    });
    assert!(again == traffic, "the same seeds, the same bytes, the same secrets");
    search
}

/// Each flow on one node, in a fleet, and handed over from node to node after each message. There is no exception: neither
/// ours nor that of a crate that we use.
#[test]
fn rule_17_no_secret_is_left_in_freed_memory() {
    for sessions in [Sessions::Alone, Sessions::Fleet, Sessions::HandedOver] {
        assert_eq!(searched(sessions).found(), BTreeMap::new(), "{sessions:?}");
    }
}

/// What the crates beneath leave on the stack is overwritten when they return; everything else is boxed from the first write
/// to the wipe. (`docs/threat-model.md`, "Memory and hardware", says why this is no promise about another compiler.)
#[test]
fn rule_17_no_secret_is_left_on_the_stack() {
    for sessions in [Sessions::Alone, Sessions::Fleet, Sessions::HandedOver] {
        assert_eq!(searched(sessions).residue(), BTreeMap::new(), "{sessions:?}");
    }
}

/// A call that leaves a copy behind.
#[inline(never)]
fn leave(secret: &[u8; 32]) {
    black_box(*black_box(secret));
}

#[test]
fn rule_17_the_search_sees_what_is_left_on_the_stack() {
    let secret: [u8; 32] = std::array::from_fn(|i| 100 + u8::try_from(i).unwrap());
    let search = Search::new(&[("secret", secret.to_vec())]);
    freed::on_own_stack(STACK, || {
        search.during("client", "left", || leave(&secret));
        search.during("client", "nothing", || ());
    });
    let residue = search.residue();
    assert_eq!(residue.keys().copied().collect::<Vec<_>>(), [(("client", "left"), "secret")]);
}

/// The search finds a secret that is freed: whole, in part, in each order of its bytes, in a block that grew, and nowhere else.
#[test]
fn rule_17_the_search_finds_what_is_freed_unwiped() {
    let secret: Vec<u8> = (100..132).collect();
    let [inner, outer] = known::mac_states(&secret);
    let search = Search::new(&[
        ("secret", secret.clone()),
        ("another", (200..232).collect()),
        ("state", inner),
        ("state", outer),
    ]);
    let hit = |flow, size| (Hit { side: "client", flow, secret: "secret", size }, 1);
    search.during("client", "whole", || drop(secret.clone()));
    search.during("client", "part", || drop(secret[5..20].to_vec()));
    search.during("client", "limbs", || drop(secret.iter().rev().copied().collect::<Box<[u8]>>()));
    let words: Vec<u8> = secret.chunks(4).flat_map(|word| word.iter().rev().copied()).collect();
    search.during("client", "words", || drop(words));
    search.during("client", "grown", || {
        let mut grown = secret.clone();
        grown.reserve_exact(1_000);
        grown.fill(0);
    });
    search.during("client", "wiped", || {
        let mut wiped = secret.clone();
        zeroize::Zeroize::zeroize(&mut wiped);
    });
    let mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
    search.during("client", "HMAC", || drop(black_box(Box::new(ManuallyDrop::new(mac)))));
    drop(secret.clone());
    let expected = [hit("whole", 32), hit("part", 15), hit("limbs", 32), hit("words", 32), hit("grown", 32)];
    let state = Hit { side: "client", flow: "HMAC", secret: "state", size: size_of::<Hmac<Sha256>>() };
    assert_eq!(search.found(), BTreeMap::from_iter(expected.into_iter().chain([(state, 2)])));
    assert_eq!(search.found(), BTreeMap::new(), "each is told once");
}
