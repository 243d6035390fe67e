//! Crashes, enumerated: either side goes down, or the store fails, before and after every message and every store
//! operation of a whole job; then the person starts again, is struck once more, and gets through. Nothing is lost and
//! nothing is doubled.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

mod support;

use core::fmt;
use std::collections::{BTreeMap, VecDeque};

use keystow::storage::{Action, AuditEntry, Found, Outcome, Query, Transaction};
use keystow::testing::{DriveError, MemoryStore, Store};
use keystow::*;
use support::{PASSWORD, World, client, world_with};

/// What becomes of the server when its store fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Aftermath {
    Survives,
    Crashes,
}
use Aftermath::{Crashes, Survives};

/// What goes wrong, at one message or one store operation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    ClientCrashesBeforeSending,
    ServerCrashesBeforeReceiving,
    ReadFails(Aftermath),
    NothingIsApplied(Aftermath),
    AppliedButUnknown(Aftermath),
    ServerCrashesBeforeReplying,
    ReplyIsLost,
    ServerCrashesAfterReplying,
    ClientCrashesBeforeReceiving,
    ClientCrashesAfterReceiving,
}

const FAULTS: [Fault; 13] = [
    Fault::ClientCrashesBeforeSending,
    Fault::ServerCrashesBeforeReceiving,
    Fault::ReadFails(Survives),
    Fault::ReadFails(Crashes),
    Fault::NothingIsApplied(Survives),
    Fault::NothingIsApplied(Crashes),
    Fault::AppliedButUnknown(Survives),
    Fault::AppliedButUnknown(Crashes),
    Fault::ServerCrashesBeforeReplying,
    Fault::ReplyIsLost,
    Fault::ServerCrashesAfterReplying,
    Fault::ClientCrashesBeforeReceiving,
    Fault::ClientCrashesAfterReceiving,
];

/// A fault and the number of its opportunities that pass by before it strikes.
type Blow = (Fault, usize);

/// Blows to come, one after the other.
struct Fate {
    coming: VecDeque<Blow>,
    /// What is going on, and what was when each blow struck.
    flow: &'static str,
    struck: Vec<&'static str>,
}

impl Fate {
    fn strikes(&mut self, fault: Fault) -> bool {
        match self.coming.front_mut() {
            Some((next, passing)) if *next == fault && *passing > 0 => *passing -= 1,
            Some((next, _)) if *next == fault => {
                self.coming.pop_front();
                self.struck.push(self.flow);
                return true;
            }
            _ => {}
        }
        false
    }
}

/// A store whose operations fail by fate.
struct Fragile {
    inner: MemoryStore,
    fate: Fate,
}

#[derive(Debug)]
struct Failed(Aftermath);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the database is gone")
    }
}

impl Fragile {
    fn fails(&mut self, fault: fn(Aftermath) -> Fault) -> Result<(), Failed> {
        match [Survives, Crashes].into_iter().find(|aftermath| self.fate.strikes(fault(*aftermath))) {
            Some(aftermath) => Err(Failed(aftermath)),
            None => Ok(()),
        }
    }
}

impl Store for Fragile {
    type Error = Failed;

    fn read(&mut self, query: &Query) -> Result<Found, Failed> {
        self.fails(Fault::ReadFails)?;
        Ok(self.inner.read(query).unwrap())
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, Failed> {
        self.fails(Fault::NothingIsApplied)?;
        let outcome = self.inner.apply(transaction).unwrap();
        self.fails(Fault::AppliedButUnknown)?;
        Ok(outcome)
    }
}

/// Why an operation didn't come to its end.
#[derive(Debug, PartialEq)]
enum Broken {
    /// The device's program is gone, and all that isn't on its disk.
    Crash,
    /// No answer, twice.
    Silence,
    Refused(Error),
}

/// A person's device: what survives a crash of its program.
#[derive(Default)]
struct Disk {
    registered_once: bool,
    pending: Option<String>,
    /// What is known of the vault. It is kept after the answer that brought it: a crash in between leaves an older one.
    pin: Option<VaultPin>,
}

struct Scene {
    world: World<Fragile>,
    client: Client,
    disk: Disk,
}

/// Two kinds, so that a torn batch would show.
const KINDS: [Kind; 2] = [Kind::Bytes(32), Kind::Ed25519];

impl Scene {
    fn new(blows: &[Blow]) -> Self {
        let fate = Fate { coming: blows.iter().copied().collect(), flow: "", struck: Vec::new() };
        let world = world_with(1, Fragile { inner: MemoryStore::new(), fate }, ServerPolicy::default());
        Self { world, client: client("ada"), disk: Disk::default() }
    }

    fn fate(&mut self) -> &mut Fate {
        &mut self.world.server.store.fate
    }

    fn strikes(&mut self, fault: Fault) -> bool {
        self.fate().strikes(fault)
    }

    fn client_crashes(&mut self, fault: Fault) -> Result<(), Broken> {
        if self.strikes(fault) { Err(Broken::Crash) } else { Ok(()) }
    }

    fn server_crashes(&mut self, fault: Fault) -> bool {
        let strikes = self.strikes(fault);
        if strikes {
            self.world.server.crash();
        }
        strikes
    }

    /// One message on its way there, and its answer on its way back, if one comes.
    fn send(&mut self, message: &ClientMessage) -> Result<Option<ServerMessage>, Broken> {
        self.client_crashes(Fault::ClientCrashesBeforeSending)?;
        self.server_crashes(Fault::ServerCrashesBeforeReceiving);
        let reply = match self.world.send(message) {
            Ok(reply) => reply,
            Err(DriveError::Protocol(_) | DriveError::Store(Failed(Survives))) => return Ok(None),
            Err(DriveError::Store(Failed(Crashes))) => {
                self.world.server.crash();
                return Ok(None);
            }
        };
        if self.server_crashes(Fault::ServerCrashesBeforeReplying) || self.strikes(Fault::ReplyIsLost) {
            return Ok(None);
        }
        self.server_crashes(Fault::ServerCrashesAfterReplying);
        self.client_crashes(Fault::ClientCrashesBeforeReceiving)?;
        Ok(Some(reply))
    }

    /// An operation as a program runs it: what isn't answered is sent again, once, and then given up.
    fn operate<O: client::Operation>(
        &mut self,
        flow: &'static str,
        exchange: Result<Exchange<O>, Error>,
    ) -> Result<O::Output, Broken> {
        self.fate().flow = flow;
        let mut exchange = exchange.unwrap();
        loop {
            let reply = match self.send(exchange.message())? {
                Some(reply) => reply,
                None => self.send(exchange.message())?.ok_or(Broken::Silence)?,
            };
            let outcome = exchange.receive(reply).map_err(Broken::Refused)?;
            self.client_crashes(Fault::ClientCrashesAfterReceiving)?;
            if let Some(outcome) = outcome {
                return outcome.map_err(|refusal| Broken::Refused(refusal.into()));
            }
        }
    }

    fn register(&mut self) -> Result<(), Broken> {
        let exchange = self.client.register(PASSWORD, &mut self.world.rng);
        self.disk.pin = Some(self.operate("register", exchange)?.pin);
        Ok(())
    }

    fn log_in(&mut self) -> Result<ClientSession, Broken> {
        let exchange = self.client.log_in(PASSWORD, self.disk.pin, &mut self.world.rng);
        let session = self.operate("log in", exchange)?;
        self.disk.pin = Some(session.pin());
        Ok(session)
    }

    /// The pending secrets on the disk, or new ones, which are kept before they are sent.
    fn pending(&mut self, session: &mut ClientSession) -> Result<PendingSecrets, Broken> {
        if let Some(kept) = &self.disk.pending {
            return Ok(serde_json::from_str(kept).unwrap());
        }
        let exchange = session.generate(&KINDS, &mut self.world.rng);
        let pending = self.operate("generate", exchange)?;
        self.disk.pending = Some(serde_json::to_string(&pending).unwrap());
        Ok(pending)
    }

    /// The whole job, as the person runs it the first time and every time after something went wrong. The account is
    /// registered again only if a login doesn't find it.
    fn job(&mut self) -> Result<(Vec<NewSecret>, Vec<RetrievedSecret>), Broken> {
        if !core::mem::replace(&mut self.disk.registered_once, true) {
            self.register()?;
        }
        let mut session = match self.log_in() {
            Err(Broken::Refused(Error::Peer(PeerFault::LoginFailed))) => {
                self.register()?;
                self.log_in()?
            }
            other => other?,
        };
        let pending = self.pending(&mut session)?;
        let exchange = session.store(&pending);
        let new = self.operate("store", exchange)?;
        let new = session.settle(new).unwrap();
        self.disk.pin = Some(session.pin());
        let key_ids: Vec<_> = new.iter().map(|secret| secret.key_id).collect();
        let exchange = session.retrieve(&key_ids);
        let secrets = self.operate("retrieve", exchange)?;
        Ok((new, secrets))
    }

    /// Runs the job until it is done. Nothing but a crash or silence may have been in its way.
    fn get_through(&mut self) -> Vec<NewSecret> {
        loop {
            let before = self.fate().struck.len();
            match self.job() {
                Ok((new, secrets)) => {
                    expect_same(&new, &secrets);
                    return new;
                }
                Err(Broken::Crash | Broken::Silence) => assert!(self.fate().struck.len() > before, "for no reason"),
                Err(refused) => panic!("{refused:?}"),
            }
        }
    }

    /// One account, one record for each secret that was kept, all of it in the hands of a second device.
    fn check(&mut self, new: &[NewSecret], blows: usize) {
        let kept: PendingSecrets = serde_json::from_str(self.disk.pending.as_ref().unwrap()).unwrap();
        assert!(new.iter().map(|secret| secret.key_id).eq(kept.key_ids()));
        let store = &self.world.server.store.inner;
        assert_eq!(store.accounts.len(), 1);
        assert_eq!((store.secrets.len(), store.heads.len()), (KINDS.len(), 2), "one change of the vault");
        let done = |action| store.audit.values().filter(|entry| entry.granted() && entry.action() == action).count();
        assert_eq!((done(Action::Register), done(Action::Store)), (1, 1));
        assert!(store.audit.values().all(AuditEntry::granted), "nothing was refused on the way");
        let spent = store.attempts.values().map(|attempts| attempts.count).sum::<u32>();
        let blows = u32::try_from(blows).unwrap();
        assert!(spent <= 2 * blows, "{spent} attempts for {blows} blows: a charge counted twice, a login in vain");

        self.world.server.crash();
        let mut second = self.world.log_in_with(&self.client, PASSWORD, self.disk.pin).unwrap().unwrap();
        assert_eq!((Some(second.pin()), second.pin().epoch()), (self.disk.pin, 1));
        let listed = self.world.list(&mut second).unwrap().unwrap();
        assert_eq!(listed.len(), KINDS.len(), "and the vault's head says the same");
        let key_ids: Vec<_> = new.iter().map(|secret| secret.key_id).collect();
        let secrets = self.world.retrieve(&mut second, &key_ids).unwrap().unwrap();
        expect_same(new, &secrets);
    }
}

fn expect_same(new: &[NewSecret], secrets: &[RetrievedSecret]) {
    let new = new.iter().map(|secret| (secret.key_id, secret.public.as_ref()));
    assert!(secrets.iter().map(|secret| (secret.key_id(), secret.public())).eq(new));
}

/// Runs the job through these blows and checks what it comes to. Gives what was going on at each.
fn survive(blows: &[Blow]) -> Vec<&'static str> {
    let mut scene = Scene::new(blows);
    let new = scene.get_through();
    let struck = core::mem::take(&mut scene.fate().struck);
    scene.fate().coming.clear();
    scene.check(&new, struck.len());
    struck
}

/// Every blow that an undisturbed run offers an opportunity for, and what is going on there.
fn single_blows() -> Vec<(Blow, &'static str)> {
    let mut blows = Vec::new();
    for fault in FAULTS {
        for passing in 0.. {
            match survive(&[(fault, passing)])[..] {
                [flow] => blows.push(((fault, passing), flow)),
                _ => break,
            }
        }
    }
    blows
}

#[test]
fn one_crash_anywhere_loses_nothing_and_doubles_nothing() {
    let mut points = BTreeMap::new();
    for (_, flow) in single_blows() {
        *points.entry(flow).or_insert(0) += 1;
    }
    println!("points of one crash: {points:?}");
    // Seven faults at each message, two at each read, four at each write.
    let expected = [
        ("register", 2 * 7 + 4),
        ("log in", 3 * 7 + 2 * 2 + 3 * 4),
        ("generate", 7),
        ("store", 7 + 4),
        ("retrieve", 7 + 2 + 4),
    ];
    assert_eq!(points, BTreeMap::from(expected));
}

#[test]
fn a_second_crash_on_the_way_back_loses_nothing_and_doubles_nothing() {
    let mut pairs = 0;
    for (first, _) in single_blows() {
        for second in FAULTS {
            pairs += usize::from(survive(&[first, (second, 0)]).len() == 2);
        }
    }
    println!("pairs of crashes: {pairs}");
    assert!(pairs > 1_050, "{pairs}: after most of 86 crashes there is an opportunity for each of 13 others");
}
