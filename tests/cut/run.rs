//! A run of a flow: what was there before, the program through its cuts, and what must be there afterwards.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

use keystow::storage::{Query, SessionQuery};
use keystow::testing::MemoryStore;
use keystow::*;

use crate::fate::{Blow, Count, Fate, Run, explore};
use crate::flows::{Flow, Pairs, Pin};
use crate::hostile::{record, sealed};
use crate::ledger::Figures;
use crate::lies::Stranger;
use crate::scene::{Disk, Faster, Scene, Stop, nodes};
use crate::support::{PASSWORD, client};

/// What is there before a flow.
struct Before {
    nodes: Vec<Server>,
    store: MemoryStore,
    disk: Disk,
    truth: BTreeMap<KeyId, Vec<u8>>,
    stranger: Rc<Stranger>,
    faster: Option<Faster>,
}

/// More programs than two cuts can end.
const STARTS: usize = 4;

/// Bob, who has one of everything.
fn stranger(scene: &mut Scene<'_>) -> Result<Stranger, Stop> {
    let ada = core::mem::replace(&mut scene.client, client("bob"));
    let exchange = scene.client.register(PASSWORD, &mut scene.rng).unwrap();
    scene.run(exchange)?;
    let (mut session, _) = scene.log_in()?;
    scene.store_new(&mut session, &[Kind::Bytes(1)])?;
    let exchange = session.list().unwrap();
    scene.settled(&mut session, exchange)?;
    let key_ids: Vec<KeyId> = scene.truth.keys().copied().collect();
    let exchange = session.retrieve(&key_ids).unwrap();
    scene.run(exchange)?;
    let exchange = session.audit(AuditFilter::default(), None, 3).unwrap();
    scene.run(exchange)?;
    let mut queries = vec![Query::Session(SessionQuery::new(SessionId::from_bytes([7; 16])))];
    let mut kinds = BTreeSet::new();
    for query in scene.queries.drain(..) {
        if kinds.insert(kind(&query)) {
            queries.push(query);
        }
    }
    assert_eq!(queries.len(), 6, "a query of each kind");
    let user_id = session.user_id();
    let store = &scene.store;
    let stranger = Stranger {
        user_id,
        record: store.accounts[scene.client.account()].record.clone(),
        secret: store.secrets[&(user_id, key_ids[0])].clone(),
        head: store.heads[&(user_id, 1)].clone(),
        entry: store.audit.values().next().unwrap().to_record().unwrap().as_bytes().to_vec(),
        queries,
    };
    scene.client = ada;
    scene.truth.clear();
    scene.disk.pin = None;
    Ok(stranger)
}

fn kind(query: &Query) -> &'static str {
    match query {
        Query::Account(_) => "account",
        Query::Secrets(_) => "secrets",
        Query::SecretsPage(_) => "page",
        Query::Audit(_) => "audit",
        Query::Heads(_) => "heads",
        Query::Session(_) => "session",
    }
}

fn before(flow: &Flow, fleet: bool) -> Before {
    let known = HashSet::new();
    let mut scene = Scene::new(nodes(fleet), &known);
    let stranger = Rc::new(stranger(&mut scene).unwrap());
    let Some(secrets) = flow.secrets else {
        return Before {
            nodes: scene.nodes,
            store: scene.store,
            disk: scene.disk,
            truth: scene.truth,
            stranger,
            faster: None,
        };
    };
    let exchange = scene.client.register(PASSWORD, &mut scene.rng).unwrap();
    scene.run(exchange).unwrap();
    let (mut session, _) = scene.log_in().unwrap();
    for batch in vec![Kind::Bytes(1); secrets].chunks(if secrets > 2 { MAX_BATCH } else { 1 }) {
        scene.store_new(&mut session, batch).unwrap();
    }
    scene.disk.pin = match flow.pin {
        Pin::None => None,
        Pin::Oldest => Some(scene.pin_of(0).to_bytes()),
        Pin::Newest => Some(session.pin().to_bytes()),
    };
    let (disk, truth) = (scene.disk.clone(), scene.truth.clone());
    let (store, faster) = faster(&mut scene, &mut session);
    Before { nodes: scene.nodes, store, disk, truth, stranger, faster: Some(faster) }
}

/// What another device does later: it has made a secret, and is about to store it.
fn faster(scene: &mut Scene<'_>, session: &mut ClientSession) -> (MemoryStore, Faster) {
    let exchange = session.generate(&[Kind::Bytes(2)], &mut scene.rng).unwrap();
    let pending = scene.run(exchange).unwrap();
    let store = scene.store.clone();
    let exchange = session.store(&pending).unwrap();
    scene.settled(session, exchange).unwrap();
    let secret = &sealed(&pending)[0];
    (store, (scene.applied.take().unwrap(), (secret.header.key_id(), record(secret))))
}

/// Runs the program until it is through.
fn get_through(scene: &mut Scene<'_>, flow: &Flow) -> Result<(), Stop> {
    for _ in 0..STARTS {
        match (flow.program)(scene) {
            Ok(()) => return Ok(()),
            Err(Stop::Known) => return Err(Stop::Known),
            Err(Stop::Crash) => {}
            Err(Stop::Refused(error)) => {
                let lost = scene.crashes > 0 && !scene.is_fleet() && error == Refusal::SessionEnded.into();
                assert!(lost || scene.provoked.contains(&error), "told for no reason: {error:?}");
            }
        }
        scene.trace = 0;
    }
    panic!("it doesn't get through");
}

/// What was late arrives: on the server that is there now.
fn deliver_late(scene: &mut Scene<'_>) {
    for message in core::mem::take(&mut scene.late) {
        let before: BTreeSet<_> = scene.store.audit.keys().copied().collect();
        let unseen = scene.store.attempts.values().map(|attempts| attempts.unseen).sum();
        // Its session may be over, or its place taken.
        let _ = scene.asleep(|scene| scene.take(&message));
        for (_, entry) in scene.store.audit.iter().filter(|(key, _)| !before.contains(*key)) {
            if let Action::LogIn { attempts_spent } = entry.action() {
                scene.ledger.granted_late(attempts_spent, unseen);
            }
        }
    }
}

fn live(store: &MemoryStore, but: UserId) -> BTreeMap<KeyId, Vec<u8>> {
    let own = store.secrets.iter().filter(|((owner, _), record)| *owner != but && record[1] == 0);
    own.map(|((_, key_id), record)| (*key_id, record.clone())).collect()
}

/// Each secret is there once, as it was made; the kept pin is the newest head's; a new device finds it all.
fn check(scene: &mut Scene<'_>, whole: bool) {
    assert_eq!(live(&scene.store, scene.stranger.as_ref().unwrap().user_id), scene.truth);
    let Some(row) = scene.store.accounts.get(scene.client.account()) else {
        assert_eq!(scene.disk.pin, None);
        return;
    };
    let newest = scene.pin_of(row.epoch);
    assert!(scene.pin().is_some_and(|pin| pin == newest || scene.ledger.raced), "{:?} {newest:?}", scene.pin());
    if !whole {
        return;
    }
    scene
        .asleep(|scene| {
            let (mut session, _) = scene.log_in()?;
            if scene.disk.deleting {
                return Ok(());
            }
            assert_eq!(session.pin(), newest);
            let exchange = session.list().unwrap();
            let listed = scene.settled(&mut session, exchange)?;
            assert!(listed.iter().map(|secret| secret.key_id).eq(scene.truth.keys().copied()));
            Ok(())
        })
        .unwrap();
}

/// The uncut run's end, with which every other is compared.
type End = Option<Figures>;

fn run(
    flow: &Flow,
    before: &Before,
    end: &mut End,
    script: &[Blow],
    known: &HashSet<u64>,
) -> (Run, BTreeSet<&'static str>) {
    let mut scene = Scene::new(before.nodes.clone(), known);
    scene.fate = Fate::new(script);
    scene.store = before.store.clone();
    scene.disk = before.disk.clone();
    scene.truth = before.truth.clone();
    scene.old = before.truth.keys().copied().collect();
    scene.faster = before.faster.clone();
    scene.stranger = Some(Rc::clone(&before.stranger));
    scene.rng.set_stream(1);
    scene.tells_nonsense = script.len() < 2;
    let through = get_through(&mut scene, flow);
    let state = scene.state.unwrap_or_else(|| scene.hash_of("over"));
    let result = |scene: Scene<'_>| {
        let run = Run { points: scene.fate.points, lies: scene.nonsense, state };
        (run, scene.operations)
    };
    if through.is_err() {
        return result(scene);
    }
    assert!(scene.fate.is_over(), "a cut that didn't happen");
    scene.fate.asleep = true;
    deliver_late(&mut scene);
    let figures = Figures::of(&scene.store, &scene.ledger);
    match end {
        None => *end = Some(figures),
        Some(uncut) => assert_eq!(figures, *uncut, "{:?}", scene.ledger),
    }
    check(&mut scene, script.len() < 2);
    result(scene)
}

/// A flow with all its cuts, and the operations that were met with.
pub fn count(flow: &Flow, fleet: bool) -> (Count, BTreeSet<&'static str>) {
    let before = before(flow, fleet);
    let (mut end, mut operations) = (None, BTreeSet::new());
    let pairs = flow.pairs == Pairs::FleetToo || flow.pairs == Pairs::OneNode && !fleet;
    let count = explore(pairs, &mut |script, known| {
        let act = || run(flow, &before, &mut end, script, known);
        let (run, met) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).unwrap_or_else(|panic| {
            println!("{} (fleet: {fleet}), cut at {script:?}", flow.name);
            std::panic::resume_unwind(panic)
        });
        operations.extend(met);
        run
    });
    (count, operations)
}
