//! A malicious server that changes, hides or puts back a vault. Every single mutation of its answers, in every operation
//! that shows or changes the vault, is enumerated: each is harmless, caught at once, or caught by the next verified list.
//! `cargo test --test hostile_vault -- --nocapture` prints which.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic_in_result_fn,
    clippy::print_stdout
)]

mod support;
mod vault;

use std::collections::{BTreeMap, BTreeSet};

use keystow::*;
use vault::{Lie, NEW_PASSWORD, Scene};

/// The operations that show or change a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    LogIn,
    LogInAfterOthers,
    GenerateAndStore,
    StoreFresh,
    StoreOlder,
    StoreAgain,
    Retrieve,
    List,
    Delete,
    ChangePassword,
    VerifyPin,
    DeleteAccount,
}

const ACTS: [Act; 12] = [
    Act::LogIn,
    Act::LogInAfterOthers,
    Act::GenerateAndStore,
    Act::StoreFresh,
    Act::StoreOlder,
    Act::StoreAgain,
    Act::Retrieve,
    Act::List,
    Act::Delete,
    Act::ChangePassword,
    Act::VerifyPin,
    Act::DeleteAccount,
];

/// What the person believes to be in the vault after the operation has succeeded.
type Belief = BTreeSet<KeyId>;

/// Runs an operation, with a lie in it. `Err` is what the person is told instead of success.
fn act(scene: &mut Scene, act: Act, lie: &mut Lie) -> Result<Belief, String> {
    let mut belief = scene.live.clone();
    let text = |error: Error| error.to_string();
    match act {
        Act::LogIn | Act::LogInAfterOthers => {
            let pin = if act == Act::LogIn { scene.session.pin() } else { scene.other_pin };
            let exchange = scene.client.log_in(NEW_PASSWORD, Some(pin), &mut scene.world.rng).map_err(text)?;
            scene.session = scene.drive(exchange, lie)?;
        }
        Act::GenerateAndStore => {
            let exchange = scene.session.generate(&[Kind::Ed25519], &mut scene.world.rng).map_err(text)?;
            let pending = scene.drive(exchange, lie)?;
            belief.extend(pending.key_ids());
            let exchange = scene.session.store(&pending).map_err(text)?;
            let stored = scene.drive(exchange, lie)?;
            let stored = scene.session.settle(stored).unwrap();
            assert!(stored.iter().map(|new| new.key_id).eq(pending.key_ids()));
        }
        Act::StoreFresh | Act::StoreOlder | Act::StoreAgain => {
            let pending = match act {
                Act::StoreFresh => scene.fresh.clone(),
                Act::StoreOlder => scene.older.clone(),
                _ => scene.stored.clone(),
            };
            let exchange = scene.session.store(&pending).map_err(text)?;
            let stored = scene.drive(exchange, lie)?;
            belief.extend(scene.session.settle(stored).unwrap().iter().map(|new| new.key_id));
        }
        Act::Retrieve => {
            let exchange = scene.session.retrieve(&scene.kept).map_err(text)?;
            let secrets = scene.drive(exchange, lie)?;
            assert!(secrets.iter().map(|secret| secret.key_id()).eq(scene.kept), "other secrets than asked for");
        }
        Act::List => {
            let exchange = scene.session.list().map_err(text)?;
            let listed = scene.drive(exchange, lie)?;
            let listed: Belief = scene.session.settle(listed).unwrap().iter().map(|secret| secret.key_id).collect();
            assert_eq!(listed, belief, "a list that isn't the vault's");
        }
        Act::Delete => {
            let exchange = scene.session.delete(&scene.kept).map_err(text)?;
            let deleted = scene.drive(exchange, lie)?;
            scene.session.settle(deleted).unwrap();
            belief.retain(|key_id| !scene.kept.contains(key_id));
        }
        Act::ChangePassword => {
            let exchange = scene.session.change_password("newest", &mut scene.world.rng).map_err(text)?;
            let changed = scene.drive(exchange, lie)?;
            scene.session.settle(changed).unwrap();
        }
        Act::VerifyPin => {
            let exchange = scene.session.verify_pin(scene.other_pin).map_err(text)?;
            let verified = scene.drive(exchange, lie)?;
            scene.session.settle(verified).unwrap();
        }
        Act::DeleteAccount => {
            let exchange = scene.session.delete_account().map_err(text)?;
            scene.drive(exchange, lie)?;
        }
    }
    Ok(belief)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Harmless,
    CaughtAtOnce,
    CaughtByTheNextList,
    Uncaught,
}

/// What the server does about its store while it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    /// It keeps what was written.
    Kept,
    /// It forgets what the operation wrote.
    Forgotten,
}

/// Runs an operation with a lie on a new vault, and then the next verified list.
fn judge(act_: Act, lie: &mut Lie, store: Store) -> (Verdict, String) {
    let mut scene = Scene::new(1);
    let (before, live) = (scene.world.server.store.clone(), scene.live.clone());
    let outcome = act(&mut scene, act_, lie);
    if store == Store::Forgotten {
        scene.put_back(before);
    }
    match outcome {
        Err(told) => {
            if store == Store::Kept {
                assert_honest_again(&mut scene, act_, &live);
            }
            (Verdict::CaughtAtOnce, told)
        }
        // Nothing is believed of an account that is gone.
        Ok(_) if act_ == Act::DeleteAccount => (Verdict::Harmless, String::new()),
        Ok(belief) => match scene.list() {
            Err(told) => (Verdict::CaughtByTheNextList, told),
            Ok(listed) if listed == belief => (Verdict::Harmless, String::new()),
            Ok(listed) => (Verdict::Uncaught, format!("listed {listed:?}, believed {belief:?}")),
        },
    }
}

/// After a lie that was caught, an honest server's vault is what it was, or what the operation made of it: no lie leaves a
/// device in a state that raises alarms for ever.
fn assert_honest_again(scene: &mut Scene, act: Act, live: &BTreeSet<KeyId>) {
    let passwords: &[&str] = if act == Act::ChangePassword { &[NEW_PASSWORD, "newest"] } else { &[NEW_PASSWORD] };
    let pin = Some(scene.session.pin());
    let mut sessions: Vec<ClientSession> = passwords
        .iter()
        .filter_map(|password| scene.world.log_in_with(&scene.client, password, pin).ok()?.ok())
        .collect();
    if act == Act::DeleteAccount {
        return;
    }
    let (session, none) = (sessions.pop(), sessions.pop());
    assert!(none.is_none(), "two passwords work");
    scene.session = session.expect("one password works");
    let listed = scene.list().unwrap();
    assert!(live.difference(&listed).all(|key_id| act == Act::Delete && scene.kept.contains(key_id)));
}

#[test]
fn every_single_lie_of_the_server_about_a_vault_is_harmless_or_caught() {
    let mut verdicts = BTreeMap::<(Act, Verdict), usize>::new();
    let mut uncaught = Vec::<String>::new();
    for act_ in ACTS {
        let mut honest = Lie::none();
        let (verdict, told) = judge(act_, &mut honest, Store::Kept);
        assert_eq!(verdict, Verdict::Harmless, "{act_:?}: {told}");
        let about = |(reply, choices): (usize, &usize)| (0..*choices).map(move |number| (reply, number));
        let lies: Vec<_> = honest.choices.iter().enumerate().flat_map(about).collect();
        let kept = lies.iter().map(|at| (Some(*at), Store::Kept));
        let forgotten = lies.iter().map(|at| Some(*at)).chain([None]).map(|at| (at, Store::Forgotten));
        for (at, store) in kept.chain(forgotten) {
            let mut lie = at.map_or_else(Lie::none, |(reply, number)| Lie::at(reply, number));
            let (verdict, told) = judge(act_, &mut lie, store);
            let name = match at {
                None => "no reply changed".to_owned(),
                Some((reply, _)) => format!("reply {reply}, {}", lie.told.expect("the lie was told")),
            };
            let line = format!("{act_:?}, {name}, {store:?}: {verdict:?} {told}");
            println!("{line}");
            *verdicts.entry((act_, verdict)).or_default() += 1;
            uncaught.extend((verdict == Verdict::Uncaught).then_some(line));
        }
    }
    for ((act, verdict), count) in &verdicts {
        println!("{act:?}: {count} {verdict:?}");
    }
    println!("{} lies", verdicts.values().sum::<usize>());
    assert_eq!(uncaught, Vec::<String>::new());
}
