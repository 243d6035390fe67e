//! Open sessions, and what they add to the process.

use std::collections::{HashMap, VecDeque};

use keystow::operation::{Reply, Request, retrieve, status};
use keystow::testing::hostile;
use keystow::{KeyId, Kind, ServerMessage, ServerSession, SessionId};

use crate::world::{Took, World, person, register, shuffled};

/// What the issue allows: the bytes of an open session.
const SESSION: usize = 512;

/// Which requests are sealed and ready.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// A request for the status in each session, in a random order: the least that a request can be, without a store.
    Status,
    /// The same, all of them in one session.
    SameSession,
    /// The retrieval of a `Bytes(32)` in each session, in the same random order.
    Retrieval,
}

/// KE3 was a session's first message, the request for heads its second.
const FIRST_SEQUENCE: u64 = 3;

/// So many open sessions of one account.
pub(crate) struct Sessions {
    world: World,
    key_id: KeyId,
    order: Vec<SessionId>,
    ready: Ready,
    requests: VecDeque<Vec<u8>>,
    next_sequence: u64,
}

/// What so many sessions took.
pub(crate) struct Resident {
    count: usize,
    bytes: usize,
    slots: usize,
}

impl Sessions {
    /// Opens them through whole logins; says what they have added to the process. With `used`, each has answered a small
    /// request since.
    pub(crate) fn new(count: usize, used: bool) -> (Self, Option<Resident>) {
        let mut world = World::new(3);
        register(&mut world, &person(0));
        let mut session = world.log_in(&person(0));
        let key_id = world.store(&mut session, &[Kind::Bytes(32)])[0];
        // Until the allocator has what a login takes and gives back.
        (0..100).for_each(|_| _ = Self::open(&mut world, used));
        world.sessions = HashMap::with_capacity(count);
        let mut order = Vec::with_capacity(count);
        order.resize(count, SessionId::from_bytes([1; 16]));

        let before = resident();
        order.iter_mut().for_each(|session_id| *session_id = Self::open(&mut world, used));
        let bytes = before.and_then(|before| Some(resident()?.saturating_sub(before)));

        let resident = bytes.map(|bytes| Resident { count, bytes, slots: slots(world.sessions.capacity()) });
        let order = shuffled(&mut world.rng, count).into_iter().map(|i| order[i]).collect();
        let (ready, requests) = (Ready::Status, VecDeque::new());
        (Self { world, key_id, order, ready, requests, next_sequence: FIRST_SEQUENCE + u64::from(used) }, resident)
    }

    fn open(world: &mut World, used: bool) -> SessionId {
        let session_id = world.log_in(&person(0)).session_id();
        if used {
            let body = postcard::to_allocvec(&Request::Status(status::Request {})).unwrap();
            let session = &world.sessions[&session_id];
            let request = hostile::request_bytes(session, session_id, FIRST_SEQUENCE, &body).unwrap().encode().unwrap();
            let answer = world.serve(&request);
            granted(world, &answer);
        }
        world.store.forget(0);
        session_id
    }

    /// Seals requests, as many as there are sessions. The server's keys are the clients', so no client is needed, and all are
    /// sealed before the first is served: a session is touched again after all the others.
    fn prepare(&mut self, ready: Ready) {
        let request = match ready {
            Ready::Status | Ready::SameSession => Request::Status(status::Request {}),
            Ready::Retrieval => Request::Retrieve(retrieve::Request { key_ids: vec![self.key_id] }),
        };
        let (body, sequence) = (postcard::to_allocvec(&request).unwrap(), self.next_sequence);
        let sealed = |session_id: SessionId, sequence| {
            let session = &self.world.sessions[&session_id];
            hostile::request_bytes(session, session_id, sequence, &body).unwrap().encode().unwrap()
        };
        (self.requests, self.next_sequence) = match ready {
            Ready::SameSession => {
                let next = sequence + 1_000;
                ((sequence..next).map(|sequence| sealed(self.order[0], sequence)).collect(), next)
            }
            _ => (self.order.iter().map(|session_id| sealed(*session_id, sequence)).collect(), sequence + 1),
        };
        self.ready = ready;
    }

    /// The server's part of the next request.
    pub(crate) fn request(&mut self, ready: Ready) -> Took {
        if self.ready != ready || self.requests.is_empty() {
            self.prepare(ready);
        }
        // A request comes from the network, and is in the caches.
        let request = self.requests.pop_front().unwrap().clone();
        self.world.of_server();
        let answer = self.world.serve(&request);
        let took = self.world.of_server();
        if self.requests.is_empty() {
            granted(&self.world, &answer);
        }
        self.world.store.at(0).audit.clear();
        took
    }
}

/// What is measured is no refusal.
fn granted(world: &World, answer: &[u8]) {
    let answer = ServerMessage::decode(answer).unwrap();
    let reply = hostile::open_reply(&world.sessions[&answer.session_id()], answer).unwrap();
    assert!(!matches!(reply, Reply::Refused(_)), "{reply:?}");
}

/// The slots of the standard library's hash map: a power of two, of which seven eighths are its capacity.
fn slots(capacity: usize) -> usize {
    (capacity * 8).div_ceil(7).next_power_of_two()
}

/// This process's resident memory in bytes (Linux).
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok()? * 1_024)
}

pub(crate) fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "MISSED" }
}

impl Resident {
    pub(crate) fn print(&self) {
        let Self { count, bytes, slots } = *self;
        let slot = size_of::<(SessionId, ServerSession)>() + 1;
        let (all, map, inline) = (bytes.div_ceil(count), (slots * slot).div_ceil(count), size_of::<ServerSession>());
        let alone = (all + inline).saturating_sub(map);
        println!(
            "  all in, inline ({inline}) and on the heap: {alone} bytes each, target {SESSION}: {}",
            verdict(alone <= SESSION)
        );
        println!(
            "  with the hash map that holds them: {all} bytes each, target {SESSION}: {}",
            verdict(all <= SESSION)
        );
        println!(
            "  the map has {slots} slots of {slot} bytes, {map} bytes a session; the heap is the rest, {}",
            all.saturating_sub(map)
        );
    }
}
