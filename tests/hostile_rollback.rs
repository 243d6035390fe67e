//! A malicious server, or a restored backup, that shows an older vault, an older password's record, or different
//! histories to different devices.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;
mod vault;

use keystow::operation::{Reply, heads};
use keystow::testing::{MemoryStore, hostile};
use keystow::*;
use support::{PASSWORD, World, error};
use vault::{Lie, NEW_PASSWORD, Scene};

fn fault(fault: VaultFault) -> Error {
    fault.into()
}

/// A login on a device with this pin that must fail.
fn login_fault(scene: &mut Scene, password: &str, pin: Option<VaultPin>) -> Error {
    let Scene { world, client, .. } = scene;
    error(world.log_in_with(client, password, pin))
}

#[test]
fn a_vault_that_is_put_back_to_any_earlier_state_is_noticed_by_the_next_pinned_login() {
    let steps = Scene::new(1).past.len();
    for step in 0..steps {
        let mut scene = Scene::new(1);
        let known = scene.session.pin();
        let past = scene.past[step].clone();
        let shown = past.accounts[scene.client.account()].epoch;
        // The password that the record was made with works: OPAQUE has nothing to say about the age of a record.
        let password = if shown < 5 { PASSWORD } else { NEW_PASSWORD };
        scene.world.server.store = past;
        let rolled_back = fault(VaultFault::RolledBack { known: known.epoch(), shown });
        assert_eq!(login_fault(&mut scene, password, Some(known)), rolled_back, "step {step}");
    }
    assert_eq!(steps, 6);
}

#[test]
fn a_vault_that_is_put_back_during_a_session_is_noticed_by_the_next_list_and_the_next_change() {
    for step in 0..6 {
        let mut scene = Scene::new(1);
        let known = scene.session.pin().epoch();
        let past = scene.past[step].clone();
        let shown = past.accounts[scene.client.account()].epoch;
        scene.put_back(past);
        let rolled_back = fault(VaultFault::RolledBack { known, shown });
        assert_eq!(scene.list(), Err(rolled_back.to_string()), "step {step}");
        let exchange = scene.session.store(&scene.fresh).unwrap();
        let told = scene.drive(exchange, &mut Lie::none()).map(|_| ());
        assert_eq!(told, Err(rolled_back.to_string()), "step {step}");
    }
}

/// The limit that the documents name: there is nothing to compare with.
#[test]
fn without_a_pin_a_vault_that_was_put_back_whole_looks_like_the_newest_and_the_login_says_so() {
    let mut scene = Scene::new(1);
    let known = scene.session.pin();
    scene.world.server.store = scene.past[5].clone();
    let mut session = scene.world.log_in(&scene.client, NEW_PASSWORD).unwrap().unwrap();
    assert_eq!(session.trust(), VaultTrust::FirstUse);
    assert_eq!(scene.world.list(&mut session).unwrap().unwrap().len(), 3);
    // Another device's pin, compared, says what happened.
    let exchange = session.verify_pin(known).unwrap();
    let rolled_back = VaultFault::RolledBack { known: known.epoch(), shown: session.pin().epoch() };
    assert_eq!(error(scene.world.run(exchange)), fault(rolled_back));
}

/// Rule 15's gap: the old password with an old copy of the record still opens the vault key.
#[test]
fn an_old_passwords_record_beside_the_newest_heads_is_noticed_with_and_without_a_pin() {
    for pinned in [true, false] {
        let mut scene = Scene::new(1);
        let name = scene.client.account().clone();
        let old = scene.past[4].accounts[&name].clone();
        let row = scene.world.server.store.accounts.get_mut(&name).unwrap();
        (row.credential, row.record) = (old.credential, old.record);
        let pin = pinned.then_some(scene.session.pin());
        assert_eq!(login_fault(&mut scene, PASSWORD, pin), fault(VaultFault::Credential));
    }
}

#[test]
fn the_newest_record_beside_older_heads_is_noticed_even_without_a_pin() {
    for (epoch, noticed) in [(4, true), (3, true), (0, true), (5, false)] {
        let mut scene = Scene::new(1);
        let (name, user_id) = (scene.client.account().clone(), scene.session.user_id());
        let MemoryStore { accounts, heads, .. } = &mut scene.world.server.store;
        accounts.get_mut(&name).unwrap().epoch = epoch;
        heads.retain(|(owner, at), _| *owner != user_id || *at <= epoch);
        let outcome = scene.world.log_in(&scene.client, NEW_PASSWORD);
        match outcome {
            // Epoch 5 is the change of password itself: older, but of the same record.
            Ok(session) => assert!(!noticed && session.unwrap().trust() == VaultTrust::FirstUse),
            outcome => assert!(noticed && error(outcome) == fault(VaultFault::Credential), "epoch {epoch}"),
        }
    }
}

/// Two devices of one person that the server has shown two histories: each has stored a secret that the other doesn't see.
struct Fork {
    world: World,
    client: Client,
    one: ClientSession,
    other: ClientSession,
    /// The store that the other device was shown.
    others_store: MemoryStore,
}

impl Fork {
    fn new(longer_by: usize) -> Self {
        let mut world = support::world(7);
        let (client, mut one) = world.person("ada");
        world.secret(&mut one, Kind::Bytes(32));
        let pin = Some(one.pin());
        let mut other = world.log_in_with(&client, PASSWORD, pin).unwrap().unwrap();
        let common = world.server.store.clone();
        world.secret(&mut one, Kind::Bytes(32));
        let ones_store = std::mem::replace(&mut world.server.store, common);
        for _ in 0..=longer_by {
            world.secret(&mut other, Kind::Bytes(32));
        }
        let others_store = std::mem::replace(&mut world.server.store, ones_store);
        Self { world, client, one, other, others_store }
    }

    fn show_the_others_store(&mut self) {
        self.world.server.store = self.others_store.clone();
    }
}

#[test]
fn a_fork_is_noticed_by_whichever_device_sees_the_others_branch() {
    for longer_by in [0, 1] {
        let forked = fault(VaultFault::Forked { epoch: 2 });
        // By a login with the pin,
        let mut fork = Fork::new(longer_by);
        let pin = Some(fork.one.pin());
        fork.show_the_others_store();
        assert_eq!(error(fork.world.log_in_with(&fork.client, PASSWORD, pin)), forked);
        // by the next change of a session,
        let mut fork = Fork::new(longer_by);
        let pending = fork.world.generate(&mut fork.one, &[Kind::Bytes(32)]).unwrap().unwrap();
        fork.show_the_others_store();
        let stored = fork.world.store(&mut fork.one, &pending);
        // Where both branches are as long, nothing is in the way of a change; the list behind it shows the other's secret.
        if longer_by == 0 {
            assert!(stored.unwrap().is_ok());
            assert_eq!(error(fork.world.list(&mut fork.one)), fault(VaultFault::Digest));
        } else {
            assert_eq!(error(stored), forked);
        }
        // by the next list of a session,
        let mut fork = Fork::new(longer_by);
        fork.show_the_others_store();
        let listed = error(fork.world.list(&mut fork.one));
        assert_eq!(listed, if longer_by == 0 { fault(VaultFault::Digest) } else { forked.clone() });
        // or by the other device, on the one's branch.
        let mut fork = Fork::new(longer_by);
        let known = fork.other.pin().epoch();
        let listed = error(fork.world.list(&mut fork.other));
        let rolled_back = fault(VaultFault::RolledBack { known, shown: 2 });
        assert_eq!(listed, if longer_by == 0 { fault(VaultFault::Digest) } else { rolled_back });
    }
}

#[test]
fn a_fork_is_noticed_when_pins_are_compared_from_either_side() {
    for longer_by in [0, 1] {
        let mut fork = Fork::new(longer_by);
        let exchange = fork.one.verify_pin(fork.other.pin()).unwrap();
        let (known, shown) = (fork.other.pin().epoch(), fork.one.pin().epoch());
        let hidden = fault(VaultFault::RolledBack { known, shown });
        let forked = fault(VaultFault::Forked { epoch: 2 });
        assert_eq!(error(fork.world.run(exchange)), if longer_by == 0 { forked.clone() } else { hidden });
        fork.show_the_others_store();
        let exchange = fork.other.verify_pin(fork.one.pin()).unwrap();
        assert_eq!(error(fork.world.run(exchange)), forked);
    }
}

/// A head that lost its race is as well sealed as the one that won.
#[test]
fn a_head_that_lost_its_race_does_not_pass_for_the_one_that_won() {
    let mut world = support::world(8);
    let (client, mut one) = world.person("ada");
    let mut other = world.log_in_with(&client, PASSWORD, Some(one.pin())).unwrap().unwrap();
    let lost = world.generate(&mut one, &[Kind::Bytes(32)]).unwrap().unwrap();
    // The server keeps what the first proposal would have written, and tells its device that another was faster.
    let before = world.server.store.clone();
    let mut exchange = one.store(&lost).unwrap();
    world.send(exchange.message()).unwrap();
    let branch = std::mem::replace(&mut world.server.store, before);
    world.secret(&mut other, Kind::Bytes(32));
    let refused = head_moved(&world, &exchange);
    assert!(exchange.receive(refused).unwrap().is_none());
    let stored = world.run(exchange).unwrap().unwrap();
    one.settle(stored).unwrap();
    assert_eq!(one.pin().epoch(), 2);
    assert_eq!(world.list(&mut one).unwrap().unwrap().len(), 2);
    // Either device notices the branch: the lost head is not the one of epoch 1 that it knows.
    let (ones, others) = (one.pin(), other.pin());
    world.server.store = branch;
    let rolled_back = fault(VaultFault::RolledBack { known: 2, shown: 1 });
    assert_eq!(error(world.log_in_with(&client, PASSWORD, Some(ones))), rolled_back);
    assert_eq!(error(world.log_in_with(&client, PASSWORD, Some(others))), fault(VaultFault::Forked { epoch: 1 }));
}

/// Any reply to an exchange's request.
fn forged<O: client::Operation>(world: &World, exchange: &Exchange<O>, reply: &Reply) -> ServerMessage {
    let ClientMessage::Frame(Frame { session_id, sequence, .. }) = exchange.message() else { panic!("no frame") };
    hostile::reply(&world.server.sessions[session_id], *session_id, *sequence, reply).unwrap()
}

/// The refusal that tells a device that another was faster.
fn head_moved<O: client::Operation>(world: &World, exchange: &Exchange<O>) -> ServerMessage {
    forged(world, exchange, &Reply::Refused(Refusal::HeadMoved))
}

/// The lost head opens, and has the right number: only the link says that it is not part of the chain.
#[test]
fn a_head_that_lost_its_race_does_not_link_with_what_came_after_the_winner() {
    let mut world = support::world(9);
    let (client, mut one) = world.person("ada");
    let (pin, user_id) = (one.pin(), one.user_id());
    let lost = world.generate(&mut one, &[Kind::Bytes(32)]).unwrap().unwrap();
    let before = world.server.store.clone();
    world.send(one.store(&lost).unwrap().message()).unwrap();
    let branch = std::mem::replace(&mut world.server.store, before);
    let mut other = world.log_in_with(&client, PASSWORD, Some(pin)).unwrap().unwrap();
    world.secret(&mut other, Kind::Bytes(32));
    world.secret(&mut other, Kind::Bytes(32));
    world.server.store.heads.insert((user_id, 1), branch.heads[&(user_id, 1)].clone());
    let damaged = fault(VaultFault::DamagedHead { epoch: 2 });
    assert_eq!(error(world.log_in_with(&client, PASSWORD, Some(pin))), damaged);
}

/// The way from an old pin must lead through what the session knows, not only to somewhere newer.
#[test]
fn a_way_from_an_older_pin_that_goes_around_the_sessions_own_head_is_a_fork() {
    let mut fork = Fork::new(1);
    let old = fork.world.log_in(&fork.client, PASSWORD).unwrap().unwrap().pin();
    assert_eq!((old, old.epoch()), (fork.one.pin(), 2));
    let pending = fork.world.generate(&mut fork.one, &[Kind::Bytes(32)]).unwrap().unwrap();
    let early = fork.world.generate(&mut fork.one, &[Kind::Bytes(32)]).unwrap().unwrap();
    let common = fork.world.server.store.clone();
    fork.world.store(&mut fork.one, &pending).unwrap().unwrap();
    // Another branch behind the same head of epoch 2.
    let mut third = {
        fork.world.server.store = common;
        fork.world.log_in_with(&fork.client, PASSWORD, Some(old)).unwrap().unwrap()
    };
    fork.world.secret(&mut third, Kind::Bytes(32));
    fork.world.secret(&mut third, Kind::Bytes(32));
    let forked = fault(VaultFault::Forked { epoch: 3 });
    let exchange = fork.one.verify_pin(old).unwrap();
    assert_eq!(error(fork.world.run(exchange)), forked, "compared");
    assert_eq!(error(fork.world.store(&mut fork.one, &early)), forked, "stored");
}

#[test]
fn a_head_that_is_said_to_have_moved_and_has_not_is_an_error() {
    let mut world = support::world(10);
    let (_, mut session) = world.person("ada");
    let pending = world.generate(&mut session, &[Kind::Bytes(32)]).unwrap().unwrap();
    let mut exchange = session.store(&pending).unwrap();
    let refused = head_moved(&world, &exchange);
    assert!(exchange.receive(refused).unwrap().is_none());
    assert_eq!(error(world.run(exchange)), PeerFault::Mismatch("epoch").into());
    // A listing only begins again: a page may have been read twice under one number.
    let mut exchange = session.list().unwrap();
    let refused = head_moved(&world, &exchange);
    assert!(exchange.receive(refused).unwrap().is_none());
    assert!(world.settled(&mut session, exchange).unwrap().unwrap().is_empty());
}

#[test]
fn a_page_of_no_heads_or_too_many_is_an_error() {
    let mut world = support::world(11);
    let (_, mut session) = world.person("ada");
    let newest = session.pin().epoch();
    let mut exchange = session.verify_pin(session.pin()).unwrap();
    let bytes = world.server.store.heads[&(session.user_id(), newest)].clone();
    let head = SealedHead::from_bytes(bytes[1..].try_into().unwrap());
    for count in [0, 257] {
        let reply = Reply::Heads(heads::Reply { heads: vec![head.clone(); count], newest });
        let forged = forged(&world, &exchange, &reply);
        assert_eq!(exchange.receive(forged).map(drop), Err(PeerFault::Mismatch("number of heads").into()), "{count}");
    }
    assert!(world.run(exchange).unwrap().is_ok());
}

/// An old head that is shown as the newest, without a pin and with nothing before it that it would have to link with.
#[test]
fn a_head_under_another_number_than_it_was_sealed_for_does_not_open() {
    let mut world = support::world(12);
    let (client, mut session) = world.person("ada");
    world.secret(&mut session, Kind::Bytes(32));
    world.secret(&mut session, Kind::Bytes(32));
    let user_id = session.user_id();
    let mut renumbered = world.server.store.heads[&(user_id, 1)].clone();
    renumbered[1..9].copy_from_slice(&2u64.to_be_bytes());
    world.server.store.heads.insert((user_id, 2), renumbered);
    let damaged = fault(VaultFault::DamagedHead { epoch: 2 });
    assert_eq!(error(world.log_in(&client, PASSWORD)), damaged);
}
