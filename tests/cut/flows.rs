//! The flows: what a person wants, as a program runs it the first time and every time after something went wrong. A new
//! operation's flow is a row of the table, and its program.

use keystow::*;

use crate::scene::{Disk, Scene, Stop};

/// The pin that the device has in the beginning.
#[derive(Clone, Copy, PartialEq)]
pub enum Pin {
    None,
    Oldest,
    Newest,
}

/// Where pairs of cuts are tried besides single ones: the flows whose writes last, each kind of them once. Another device is one
/// of the cuts: the flows behind one, which would be the longest, need no pairs.
#[derive(Clone, Copy, PartialEq)]
pub enum Pairs {
    None,
    OneNode,
    FleetToo,
}

type Program = fn(&mut Scene<'_>) -> Result<(), Stop>;

pub struct Flow {
    pub name: &'static str,
    /// The operations that it is about, by their files.
    pub of: &'static [&'static str],
    /// The account is there, with so many secrets; or not.
    pub secrets: Option<usize>,
    pub pin: Pin,
    pub pairs: Pairs,
    pub program: Program,
}

impl Flow {
    /// With an account, whose newest pin the device has.
    const fn new(name: &'static str, of: &'static [&'static str], secrets: usize, program: Program) -> Self {
        Self { name, of, secrets: Some(secrets), pin: Pin::Newest, pairs: Pairs::None, program }
    }

    const fn pairs(self, pairs: Pairs) -> Self {
        Self { pairs, ..self }
    }

    const fn pin(self, pin: Pin) -> Self {
        Self { pin, ..self }
    }
}

const NEW_PASSWORD: &str = "a newer one";
const FEW: &[Kind] = &[Kind::Bytes(32), Kind::Ed25519];

use Pairs::{FleetToo, OneNode};

pub const FLOWS: &[Flow] = &[
    Flow { secrets: None, ..Flow::new("register", &["register"], 0, register).pin(Pin::None).pairs(FleetToo) },
    Flow::new("log in without a pin", &["log_in", "heads"], 1, log_in).pin(Pin::None),
    Flow::new("log in with a pin", &["log_in", "heads"], 1, log_in),
    Flow::new("log in with heads to follow", &["log_in", "heads"], 2, log_in).pin(Pin::Oldest).pairs(OneNode),
    Flow::new("generate", &["generate"], 1, generate),
    Flow::new("store one", &["store"], 1, |scene| store(scene, &FEW[..1])),
    Flow::new("store a batch", &["store"], 1, |scene| store(scene, FEW)).pairs(FleetToo),
    Flow::new("store behind another device", &["store", "heads"], 1, store_behind),
    Flow::new("import", &["import", "store"], 1, import),
    Flow::new("retrieve", &["retrieve"], 2, retrieve),
    Flow::new("list one page", &["list"], 2, |scene| list(scene, false)).pairs(OneNode),
    Flow::new("list two pages", &["list"], 257, |scene| list(scene, false)),
    Flow::new("list behind another device", &["list", "heads"], 2, |scene| list(scene, true)),
    Flow::new("salvage", &["list"], 2, salvage),
    Flow::new("verify a pin", &["verify", "heads"], 2, verify_pin),
    Flow::new("delete", &["delete"], 2, |scene| delete(scene, false)).pairs(FleetToo),
    Flow::new("delete behind another device", &["delete", "heads"], 2, |scene| delete(scene, true)),
    Flow::new("change the password", &["change_password"], 1, |scene| change_password(scene, false)).pairs(FleetToo),
    Flow::new("change it behind another device", &["change_password"], 1, |scene| change_password(scene, true)),
    Flow::new("audit", &["audit"], 1, audit),
    Flow::new("status", &["status"], 1, status),
    Flow::new("log out", &["log_out"], 1, log_out),
    Flow::new("delete the account", &["delete_account"], 2, |scene| delete_account(scene, false)).pairs(OneNode),
    Flow::new("delete an empty account", &["delete_account"], 0, |scene| delete_account(scene, false)).pairs(OneNode),
    Flow::new("delete it behind another device", &["delete_account"], 0, |scene| delete_account(scene, true)),
];

const LOGIN_FAILED: Error = Error::Peer(PeerFault::LoginFailed);

/// Whoever has sent the last message and got no answer tries to log in.
fn register(scene: &mut Scene<'_>) -> Result<(), Stop> {
    if scene.disk.uploaded {
        match scene.log_in() {
            Err(Stop::Refused(LOGIN_FAILED)) => scene.disk.uploaded = false,
            other => return other.map(drop),
        }
    }
    let exchange = scene.client.register(scene.disk.passwords[0], &mut scene.rng).unwrap();
    let registered = scene.run_keeping(exchange, |disk| disk.uploaded = true)?;
    scene.keep_pin(registered.pin)
}

fn log_in(scene: &mut Scene<'_>) -> Result<(), Stop> {
    scene.log_in().map(drop)
}

fn done(disk: &mut Disk) {
    disk.done = true;
}

type Make = fn(&mut Scene<'_>, &mut ClientSession, &[Kind]) -> Result<PendingSecrets, Stop>;

fn make(scene: &mut Scene<'_>, session: &mut ClientSession, kinds: &[Kind]) -> Result<PendingSecrets, Stop> {
    let exchange = session.generate(kinds, &mut scene.rng).unwrap();
    scene.run(exchange)
}

/// The pending secrets on the disk, or new ones, which are kept before they are sent.
fn pending(
    scene: &mut Scene<'_>,
    session: &mut ClientSession,
    make: Make,
    kinds: &[Kind],
) -> Result<PendingSecrets, Stop> {
    if let Some(kept) = &scene.disk.pending {
        return Ok(PendingSecrets::decode(kept).unwrap());
    }
    let pending = make(scene, session, kinds)?;
    scene.keep(|disk| disk.pending = Some(pending.encode().unwrap()))?;
    Ok(pending)
}

fn generate(scene: &mut Scene<'_>) -> Result<(), Stop> {
    if scene.disk.pending.is_some() {
        return Ok(());
    }
    let mut session = scene.enter()?;
    pending(scene, &mut session, make, FEW).map(drop)
}

fn store_made(scene: &mut Scene<'_>, made: Make, kinds: &[Kind], races: bool) -> Result<(), Stop> {
    if scene.disk.done {
        return Ok(());
    }
    let mut session = scene.enter()?;
    let pending = pending(scene, &mut session, made, kinds)?;
    scene.expect(&pending);
    let exchange = session.store(&pending).unwrap();
    if races {
        scene.race();
    }
    let new = scene.settled(&mut session, exchange)?;
    assert!(new.iter().map(|secret| secret.key_id).eq(pending.key_ids()));
    scene.keep_pin(session.pin())?;
    scene.keep(done)
}

fn store(scene: &mut Scene<'_>, kinds: &[Kind]) -> Result<(), Stop> {
    store_made(scene, make, kinds, false)
}

fn store_behind(scene: &mut Scene<'_>) -> Result<(), Stop> {
    store_made(scene, make, FEW, true)
}

fn import(scene: &mut Scene<'_>) -> Result<(), Stop> {
    let made: Make = |scene, session, _| {
        let secrets = vec![PlainSecret::bytes(b"a person's own").unwrap()];
        let exchange = session.import(secrets, &mut scene.rng).unwrap();
        scene.run(exchange)
    };
    store_made(scene, made, &[], false)
}

fn key_ids(scene: &Scene<'_>) -> Vec<KeyId> {
    scene.truth.keys().copied().collect()
}

fn retrieve(scene: &mut Scene<'_>) -> Result<(), Stop> {
    let mut session = scene.enter()?;
    let key_ids = key_ids(scene);
    let exchange = session.retrieve(&key_ids).unwrap();
    let secrets = scene.run(exchange)?;
    assert!(secrets.iter().map(RetrievedSecret::key_id).eq(key_ids));
    Ok(())
}

fn list(scene: &mut Scene<'_>, races: bool) -> Result<(), Stop> {
    let mut session = scene.enter()?;
    let exchange = session.list().unwrap();
    if races {
        scene.race();
    }
    let listed = scene.settled(&mut session, exchange)?;
    assert!(listed.iter().map(|secret| secret.key_id).eq(key_ids(scene)));
    scene.keep_pin(session.pin())
}

fn salvage(scene: &mut Scene<'_>) -> Result<(), Stop> {
    let mut session = scene.enter()?;
    let exchange = session.salvage().unwrap();
    let listed = scene.run(exchange)?;
    assert!(listed.iter().map(|secret| secret.key_id).eq(key_ids(scene)));
    Ok(())
}

/// Compared with the pin of a device that has been off for long: the first one.
fn verify_pin(scene: &mut Scene<'_>) -> Result<(), Stop> {
    let mut session = scene.enter()?;
    let other = scene.pin_of(0);
    let exchange = session.verify_pin(other).unwrap();
    scene.settled(&mut session, exchange)?;
    scene.keep_pin(session.pin())
}

/// A person who is told that it was deleted before knows by whom: it was asked for once.
fn delete(scene: &mut Scene<'_>, races: bool) -> Result<(), Stop> {
    if scene.disk.done {
        return Ok(());
    }
    let mut session = scene.enter()?;
    let key_ids = scene.old.clone();
    let exchange = session.delete(&key_ids).unwrap();
    if races {
        scene.race();
    }
    match scene.settled(&mut session, exchange) {
        Err(Stop::Refused(Error::Peer(PeerFault::Refused(Refusal::AlreadyDeleted(first))))) if scene.ledger.deleted => {
            assert_eq!(first, key_ids[0]);
        }
        Err(stop) => return Err(stop),
        Ok(()) => scene.keep_pin(session.pin())?,
    }
    scene.truth.retain(|key_id, _| !key_ids.contains(key_id));
    scene.keep(done)
}

/// If the session is lost, both passwords are tried: one works.
fn change_password(scene: &mut Scene<'_>, races: bool) -> Result<(), Stop> {
    if scene.disk.done {
        return Ok(());
    }
    let mut session = if core::mem::replace(&mut scene.entered, true) {
        let (session, password) = scene.log_in()?;
        if password == NEW_PASSWORD {
            return scene.keep(done);
        }
        session
    } else {
        scene.asleep(Scene::log_in)?.0
    };
    let exchange = session.change_password(NEW_PASSWORD, &mut scene.rng).unwrap();
    if races {
        scene.race();
    }
    let old = scene.disk.passwords.last().copied().unwrap();
    scene.keep(|disk| disk.passwords = vec![NEW_PASSWORD, old])?;
    scene.settled(&mut session, exchange)?;
    scene.keep_pin(session.pin())?;
    scene.keep(|disk| {
        disk.passwords = vec![NEW_PASSWORD];
        disk.done = true;
    })
}

fn audit(scene: &mut Scene<'_>) -> Result<(), Stop> {
    let mut session = scene.enter()?;
    let (mut after, mut entries) = (None, Vec::new());
    loop {
        let exchange = session.audit(AuditFilter::default(), after, 2).unwrap();
        let page = scene.run(exchange)?;
        entries.extend(page.entries);
        after = page.next;
        if after.is_none() {
            let stored = scene.store.audit.values().filter(|entry| entry.user_id() == session.user_id());
            assert_eq!(entries.len(), stored.count());
            return Ok(());
        }
    }
}

fn status(scene: &mut Scene<'_>) -> Result<(), Stop> {
    let mut session = scene.enter()?;
    let exchange = session.status().unwrap();
    scene.run(exchange).map(drop)
}

/// Whatever comes of it, the session is gone from the device.
fn log_out(scene: &mut Scene<'_>) -> Result<(), Stop> {
    if scene.disk.done {
        return Ok(());
    }
    let session = scene.enter()?;
    let exchange = session.log_out().unwrap();
    done(&mut scene.disk);
    scene.run(exchange)
}

/// After a crash: log in and go on. If nobody can log in any more, it is done.
fn delete_account(scene: &mut Scene<'_>, races: bool) -> Result<(), Stop> {
    if scene.disk.done {
        return Ok(());
    }
    let mut session = match scene.enter() {
        Err(Stop::Refused(LOGIN_FAILED)) if scene.disk.deleting => return gone(scene),
        other => other?,
    };
    let exchange = session.delete_account().unwrap();
    if races {
        scene.race();
    }
    scene.keep(|disk| disk.deleting = true)?;
    scene.run(exchange)?;
    gone(scene)
}

fn gone(scene: &mut Scene<'_>) -> Result<(), Stop> {
    scene.truth.clear();
    scene.keep(|disk| {
        disk.pin = None;
        disk.done = true;
    })
}
