//! What happens, in which order: the schedule of a case.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::site::Fault;

pub const PEOPLE: usize = 2;
/// Device `d` is person `d % PEOPLE`'s.
pub const DEVICES: usize = 2 * PEOPLE;

/// A case: who serves, what the generators begin from, and what happens.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub fleet: bool,
    /// Whether everybody is registered and logged in to begin with.
    pub warm: bool,
    pub seed: u64,
    pub events: Vec<Event>,
}

#[derive(Clone, Debug)]
pub enum Event {
    /// A device gives up what it does, begins something else, and goes on for so many undisturbed round trips; if that is not
    /// the end, its next message is under way.
    Do {
        device: usize,
        act: Act,
        trips: usize,
    },
    /// A device logs in anew and begins something; after so many undisturbed round trips there is a hitch.
    Stumble {
        device: usize,
        act: Act,
        trips: usize,
        hitch: Hitch,
    },
    /// A device sends its message, for the first time or again.
    Send {
        device: usize,
    },
    /// Both devices of a person begin something, and go on in step for so many round trips: the message of one comes between the
    /// read and the write of the other's. The first may have to log in.
    Duel {
        device: usize,
        acts: [Act; 2],
        trips: usize,
        anew: bool,
    },
    /// A request reaches a node; a copy may stay under way, or come again between the step's read and its write.
    ToServer {
        which: Index,
        copy: bool,
        node: usize,
        twice: bool,
    },
    /// A reply reaches its device; a copy may stay under way.
    ToClient {
        which: Index,
        copy: bool,
    },
    Lose {
        which: Index,
        reply: bool,
    },
    /// A message arrives that is put together from two; for a reply, at a device that waits for one, this or the next.
    Splice {
        first: Index,
        second: Index,
        how: usize,
        waiting: Option<usize>,
    },
    /// A device's program is gone: its exchange and its session.
    Crash {
        device: usize,
    },
    /// A device's program will be gone when the next change of the vault is answered: before it is settled, or before the pin
    /// is kept.
    WillCrash {
        device: usize,
        settled: bool,
    },
    /// The server's next operation on the store fails.
    StoreFails(Fault),
    /// One node loses its sessions; a node of a fleet has none.
    ServerRestart {
        node: usize,
    },
    Pass(Duration),
    /// A stranger tries passwords on a name, and after each a KE3 that was never asked for.
    Guess {
        person: usize,
        times: usize,
    },
    /// Something that a device has forgotten goes on with an old session.
    Haunt {
        device: usize,
        which: Index,
        act: Act,
    },
}

/// What comes in a device's way.
#[derive(Clone, Debug)]
pub enum Hitch {
    /// Time passes before each of its messages.
    Slow(Duration),
    /// The store fails; the device asks again.
    Fails(Fault),
    /// Each message comes again: in a fleet at the other node, in the midst of the step.
    Twice,
    /// The person's other device changes the password.
    Outlived,
}

#[derive(Clone, Debug)]
pub enum Act {
    LogIn,
    /// Makes secrets, or brings its own, keeps them, then stores them.
    Make {
        count: usize,
        import: bool,
    },
    /// Stores what is kept, oldest first.
    Store,
    Retrieve(Index),
    /// What must be there, all of it: only at the end.
    RetrieveAll,
    List,
    Delete(Index),
    ChangePassword,
    /// Compares its vault with the pin that the person's other device has kept.
    Compare,
    Audit,
    Status,
    LogOut,
    DeleteAccount,
    /// Asks for, deletes or stores the other person's secrets.
    Trespass(Index, usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        1 => Just(Act::LogIn),
        10 => (1usize..4, any::<bool>()).prop_map(|(count, import)| Act::Make { count, import }),
        5 => Just(Act::Store),
        3 => any::<Index>().prop_map(Act::Retrieve),
        4 => Just(Act::List),
        6 => any::<Index>().prop_map(Act::Delete),
        3 => Just(Act::ChangePassword),
        2 => Just(Act::Compare),
        1 => Just(Act::Audit),
        1 => Just(Act::Status),
        2 => Just(Act::LogOut),
        1 => Just(Act::DeleteAccount),
        3 => (any::<Index>(), 0usize..3).prop_map(|(which, how)| Act::Trespass(which, how)),
    ]
}

/// What another device had better not be overtaken by.
fn rival() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => act(),
        3 => Just(Act::ChangePassword),
        1 => any::<Index>().prop_map(Act::Delete),
        1 => Just(Act::Store),
    ]
}

/// Seconds that cross nothing, the wait for a KE3, idleness, an attempt window, a session's life.
fn pause() -> impl Strategy<Value = Duration> {
    let seconds = prop_oneof![4 => Just(20), 2 => Just(61), 2 => Just(301), 1 => Just(901), 1 => Just(3_601)];
    seconds.prop_map(Duration::from_secs)
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        1 => Just(Fault::ReadFails),
        1 => Just(Fault::NothingIsApplied),
        3 => Just(Fault::AppliedButUnknown),
        2 => Just(Fault::CrashAfterWriting),
    ]
}

/// What tells whether a session is still good for it.
fn stumbler() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => act(),
        2 => Just(Act::ChangePassword),
        2 => Just(Act::Make { count: 1, import: false }),
        1 => Just(Act::Audit),
        1 => Just(Act::List),
    ]
}

/// Seconds that cross the wait for a KE3; a recent login, in two steps, and not idleness; idleness.
fn hitch() -> impl Strategy<Value = Hitch> {
    let seconds = prop_oneof![1 => Just(61), 2 => Just(160), 1 => Just(301)];
    prop_oneof![
        3 => seconds.prop_map(|seconds| Hitch::Slow(Duration::from_secs(seconds))),
        2 => fault().prop_map(Hitch::Fails),
        2 => Just(Hitch::Twice),
        3 => Just(Hitch::Outlived),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let device = || 0..DEVICES;
    let index = || any::<Index>();
    let trips = || prop_oneof![3 => Just(12usize), 2 => 0..6usize];
    prop_oneof![
        20 => (device(), act(), trips()).prop_map(|(device, act, trips)| Event::Do { device, act, trips }),
        10 => (device(), act(), rival(), trips(), any::<bool>())
            .prop_map(|(device, act, rival, trips, anew)| Event::Duel { device, acts: [act, rival], trips, anew }),
        8 => (device(), stumbler(), 1..6usize, hitch())
            .prop_map(|(device, act, trips, hitch)| Event::Stumble { device, act, trips, hitch }),
        4 => device().prop_map(|device| Event::Send { device }),
        8 => (index(), any::<bool>(), 0..2usize, any::<bool>())
            .prop_map(|(which, copy, node, twice)| Event::ToServer { which, copy, node, twice }),
        6 => (index(), any::<bool>()).prop_map(|(which, copy)| Event::ToClient { which, copy }),
        1 => (index(), any::<bool>()).prop_map(|(which, reply)| Event::Lose { which, reply }),
        5 => (index(), index(), 0..3usize, prop::option::of(device()))
            .prop_map(|(first, second, how, waiting)| Event::Splice { first, second, how, waiting }),
        3 => device().prop_map(|device| Event::Crash { device }),
        3 => (device(), any::<bool>()).prop_map(|(device, settled)| Event::WillCrash { device, settled }),
        5 => fault().prop_map(Event::StoreFails),
        1 => (0..2usize).prop_map(|node| Event::ServerRestart { node }),
        3 => pause().prop_map(Event::Pass),
        1 => (0..PEOPLE, 1..12usize).prop_map(|(person, times)| Event::Guess { person, times }),
        3 => (device(), index(), act()).prop_map(|(device, which, act)| Event::Haunt { device, which, act }),
    ]
}

pub fn schedule() -> impl Strategy<Value = Schedule> {
    (any::<bool>(), prop::bool::weighted(0.75), 0u64..1_000_000, vec(event(), 10..70))
        .prop_map(|(fleet, warm, seed, events)| Schedule { fleet, warm, seed, events })
}
