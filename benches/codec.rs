//! What encoding and decoding cost, and how many bytes cross: every kind of message, and every request and reply in its frame.
//!
//! The peer is bare `postcard` on the same values, without the version byte, the bound on the length, and the comparison that
//! makes the encoding canonical (what was decoded is encoded again): the ratio is their price. A frame's contents are encoded
//! and sealed, the message encoded; on the way back the message decoded, its frame opened, its contents decoded. The peer
//! does the same with `postcard` and `aes-gcm-siv`.
//!
//! The values are those of honest runs. What is measured takes less than a clock can tell, so each sample is of many calls.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

mod support;

use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use aes_gcm_siv::{AeadInOut, Aes256GcmSiv, KeyInit, Nonce};
use criterion::Criterion;
use keystow::operation::{Reply, Request};
use keystow::testing::hostile;
use keystow::{
    AccountName, AuditFilter, Client, ClientMessage, ClientPolicy, ClientSession, Error, Exchange, Frame, Kind,
    KsfProfile, Refusal, ServerMessage, ServerSession, SessionId, client,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use support::{IDENTITY, NOW, PASSWORD, World, is_measured, median};

/// The length of AES-256-GCM-SIV's tag.
const TAG: usize = 16;

/// What the issue allows a frame to add to what it carries.
const FRAME: usize = 40;

/// How long a sample takes, about, and how many samples of each side are taken.
const SAMPLE: Duration = Duration::from_micros(20);
const SAMPLES: usize = 500;

// --- honest runs ----------------------------------------------------------------------------------------

/// A message and its answer.
struct Crossed {
    name: String,
    request: ClientMessage,
    reply: ServerMessage,
}

/// A person's runs, every operation once, and some with a full batch.
struct Runs {
    world: World,
    crossed: Vec<Crossed>,
}

impl Runs {
    fn new() -> Self {
        let mut runs = Self { world: World::new(1), crossed: Vec::new() };
        let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).unwrap();
        let client = Client::new(AccountName::new("eve@example.com").unwrap(), IDENTITY, policy).unwrap();
        let exchange = client.register(PASSWORD, &mut runs.world.rng).unwrap();
        runs.run("", exchange);
        let mut session = runs.log_in(&client);
        runs.custody(&mut session);
        let exchange = session.audit(AuditFilter::default(), None, 256).unwrap();
        runs.run("", exchange);
        runs.run("", session.status().unwrap());
        let exchange = session.change_password("another good password", &mut runs.world.rng).unwrap();
        let changed = runs.run("", exchange);
        session.settle(changed).unwrap();
        runs.run("", session.log_out().unwrap());
        let exchange = client.log_in("another good password", None, &mut runs.world.rng).unwrap();
        let mut session = runs.world.run(exchange);
        let exchange = session.delete_account().unwrap();
        runs.run("", exchange);
        runs
    }

    fn log_in(&mut self, client: &Client) -> ClientSession {
        let exchange = client.log_in(PASSWORD, None, &mut self.world.rng).unwrap();
        self.run("", exchange)
    }

    /// One `Bytes(32)` from its generation to its deletion; and 256 `Secp256k1`, with a page of a list.
    fn custody(&mut self, session: &mut ClientSession) {
        for (note, kinds) in [(", 1 Bytes(32)", vec![Kind::Bytes(32)]), (", 256 Secp256k1", vec![Kind::Secp256k1; 256])]
        {
            let exchange = session.generate(&kinds, &mut self.world.rng).unwrap();
            let pending = self.run(note, exchange);
            let exchange = session.store(&pending).unwrap();
            let stored = self.run(note, exchange);
            let key_ids: Vec<_> = session.settle(stored).unwrap().iter().map(|secret| secret.key_id).collect();
            self.run(note, session.retrieve(&key_ids).unwrap());
            let exchange = session.list().unwrap();
            let listed = self.run(note, exchange);
            session.settle(listed).unwrap();
            let exchange = session.delete(&key_ids).unwrap();
            let deleted = self.run(note, exchange);
            session.settle(deleted).unwrap();
        }
    }

    /// Runs an exchange to its end and keeps what crosses.
    fn run<O: client::Operation>(&mut self, note: &str, mut exchange: Exchange<O>) -> O::Output {
        loop {
            let request = exchange.message().clone();
            let reply = self.world.server.answer(request.clone(), NOW).unwrap();
            let name = format!("{}{note}", self.name(&request));
            // Of several alike, as the pages of a list, the first.
            if self.crossed.iter().all(|crossed| crossed.name != name) {
                self.crossed.push(Crossed { name, request, reply: reply.clone() });
            }
            if let Some(outcome) = exchange.receive(reply).unwrap() {
                return outcome.unwrap();
            }
        }
    }

    fn name(&self, message: &ClientMessage) -> &'static str {
        match message {
            ClientMessage::RegistrationRequest { .. } => "registration request",
            ClientMessage::RegistrationUpload { .. } => "registration upload",
            ClientMessage::LoginRequest { .. } => "login request",
            ClientMessage::LoginFinish { .. } => "login finish",
            ClientMessage::Frame(_) => hostile::open_request(self.session_of(message), message.clone()).unwrap().name(),
        }
    }

    fn session_of(&self, message: &ClientMessage) -> &ServerSession {
        &self.world.server.sessions[&message.session_id().unwrap()]
    }
}

// --- what is measured -----------------------------------------------------------------------------------

/// The same done by both sides.
struct Row {
    name: String,
    /// Of the message.
    bytes: usize,
    /// Of what is in its frame.
    carried: Option<usize>,
    ours: Box<dyn FnMut()>,
    other: Box<dyn FnMut()>,
}

impl Row {
    fn bench(&mut self, criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group(&self.name);
        group.sample_size(10).warm_up_time(Duration::from_millis(50)).measurement_time(Duration::from_millis(200));
        group.bench_function("keystow", |bencher| bencher.iter(|| (self.ours)()));
        group.bench_function("postcard", |bencher| bencher.iter(|| (self.other)()));
        group.finish();
    }

    /// Calls both by turns, and prints the nanoseconds of a call and the median of the ratios of neighbours.
    fn print(&mut self) {
        let calls =
            [&mut self.ours, &mut self.other].map(|run| SAMPLE.as_nanos().div_ceil(sample(run, 3).as_nanos().max(1)));
        let [ours, other] = calls.map(|calls| u32::try_from(calls).unwrap().clamp(1, 1_000));
        let nanos = |run: &mut Box<dyn FnMut()>, calls| sample(run, calls).as_secs_f64() * 1e9 / f64::from(calls);
        let pairs: Vec<_> =
            (0..SAMPLES).map(|_| (nanos(&mut self.ours, ours), nanos(&mut self.other, other))).collect();
        let [ours, other] = [median(pairs.iter().map(|pair| pair.0)), median(pairs.iter().map(|pair| pair.1))];
        let ratio = median(pairs.iter().map(|pair| pair.0 / pair.1));
        let Self { name, bytes, .. } = &*self;
        println!(
            "{name}: {bytes} bytes, keystow {ours:.0} ns, postcard {other:.0} ns, ratio {ratio:.2}{}",
            self.added()
        );
    }

    fn added(&self) -> String {
        self.carried.map_or_else(String::new, |carried| {
            let added = self.bytes - carried;
            let verdict = if added <= FRAME { "reached" } else { "MISSED" };
            format!("; {added} bytes more than it carries, target {FRAME}: {verdict}")
        })
    }
}

fn sample(run: &mut Box<dyn FnMut()>, calls: u32) -> Duration {
    let begin = Instant::now();
    (0..calls).for_each(|_| run());
    begin.elapsed()
}

/// `run` on a value that the compiler knows nothing of.
fn on<T: 'static, U>(value: T, mut run: impl FnMut(&T) -> U + 'static) -> Box<dyn FnMut()> {
    Box::new(move || drop(black_box(run(black_box(&value)))))
}

/// A message to its bytes and back.
fn message<M: Serialize + DeserializeOwned + Clone + PartialEq + 'static>(
    name: &str,
    message: &M,
    encode: fn(&M) -> Result<Vec<u8>, Error>,
    decode: fn(&[u8]) -> Result<M, Error>,
) -> [Row; 2] {
    let (ours, theirs) = (encode(message).unwrap(), postcard::to_allocvec(message).unwrap());
    assert!(decode(&ours).unwrap() == *message && ours[1..] == theirs);
    let (bytes, carried) = (ours.len(), None);
    let encoded = Row {
        name: format!("{name}, encode"),
        bytes,
        carried,
        ours: on(message.clone(), move |message| encode(message).unwrap()),
        other: on(message.clone(), |message| postcard::to_allocvec(message).unwrap()),
    };
    let decoded = Row {
        name: format!("{name}, decode"),
        bytes,
        carried,
        ours: on(ours, move |bytes| decode(bytes).unwrap()),
        other: on(theirs, |bytes| postcard::from_bytes::<M>(bytes).unwrap()),
    };
    [encoded, decoded]
}

/// From a value to a message's bytes.
type Sealing<T> = Box<dyn FnMut(&T) -> Vec<u8>>;

/// The way back.
type Opening<T> = Box<dyn FnMut(&[u8]) -> T>;

/// How keystow seals and opens what a frame carries.
struct Framed<T> {
    seal: Sealing<T>,
    open: Opening<T>,
}

/// A request or reply to its message's bytes and back; `wrap` and `unwrap` make a message of a frame and a frame of a message.
fn framed<T, M>(name: &str, carried: &T, keystow: Framed<T>, wrap: fn(Frame) -> M, unwrap: fn(M) -> Frame) -> [Row; 2]
where
    T: Serialize + DeserializeOwned + Clone + PartialEq + 'static,
    M: Serialize + DeserializeOwned + 'static,
{
    let Framed { mut seal, mut open } = keystow;
    let bare_seal = move |value: &T| {
        let mut sealed = postcard::to_allocvec(value).unwrap();
        let cipher = Aes256GcmSiv::new(black_box(&[7; 32]).into());
        let tag = cipher.encrypt_inout_detached(&Nonce::from([1; 12]), &[0; 10], sealed.as_mut_slice().into()).unwrap();
        sealed.extend_from_slice(&tag);
        postcard::to_allocvec(&wrap(Frame { session_id: SessionId::from_bytes([7; 16]), sequence: 3, sealed })).unwrap()
    };
    let bare_open = move |bytes: &[u8]| {
        let mut sealed = unwrap(postcard::from_bytes(bytes).unwrap()).sealed;
        let (body, tag) = sealed.split_last_chunk_mut::<TAG>().unwrap();
        let cipher = Aes256GcmSiv::new(black_box(&[7; 32]).into());
        cipher.decrypt_inout_detached(&Nonce::from([1; 12]), &[0; 10], (&mut *body).into(), &(*tag).into()).unwrap();
        postcard::from_bytes::<T>(body).unwrap()
    };
    let (ours, theirs) = (seal(carried), bare_seal(carried));
    assert!(open(&ours) == *carried && bare_open(&theirs) == *carried);
    let (bytes, inside) = (ours.len(), Some(postcard::to_allocvec(carried).unwrap().len()));
    let sealed = Row {
        name: format!("{name}, seal"),
        bytes,
        carried: inside,
        ours: on(carried.clone(), seal),
        other: on(carried.clone(), bare_seal),
    };
    let opened = Row {
        name: format!("{name}, open"),
        bytes,
        carried: inside,
        ours: on(ours, move |bytes| open(bytes)),
        other: on(theirs, move |bytes| bare_open(bytes)),
    };
    [sealed, opened]
}

/// A session that is open on both sides, to seal and open anything in.
struct Open {
    session_id: SessionId,
    client: RefCell<ClientSession>,
    server: ServerSession,
}

impl Open {
    fn new() -> Rc<Self> {
        let mut world = World::new(2);
        let exchange = world.client.log_in(PASSWORD, None, &mut world.rng).unwrap();
        let client = world.run(exchange);
        let session_id = client.session_id();
        let server = world.server.sessions.remove(&session_id).unwrap();
        Rc::new(Self { session_id, client: RefCell::new(client), server })
    }

    /// On the client's side an exchange is begun for each request.
    fn requests(self: &Rc<Self>) -> Framed<Request> {
        let (sealing, opening) = (Rc::clone(self), Rc::clone(self));
        let seal = move |request: &Request| {
            hostile::request(&mut sealing.client.borrow_mut(), request).unwrap().message().encode().unwrap()
        };
        let open =
            move |bytes: &[u8]| hostile::open_request(&opening.server, ClientMessage::decode(bytes).unwrap()).unwrap();
        Framed { seal: Box::new(seal), open: Box::new(open) }
    }

    fn replies(self: &Rc<Self>) -> Framed<Reply> {
        let (sealing, opening) = (Rc::clone(self), Rc::clone(self));
        let seal = move |reply: &Reply| {
            hostile::reply(&sealing.server, sealing.session_id, 3, reply).unwrap().encode().unwrap()
        };
        let open =
            move |bytes: &[u8]| hostile::open_reply(&opening.server, ServerMessage::decode(bytes).unwrap()).unwrap();
        Framed { seal: Box::new(seal), open: Box::new(open) }
    }
}

/// The rows of a message and its answer: as they cross, and if that is in frames, with what they carry.
fn rows(runs: &Runs, open: &Rc<Open>, crossed: &Crossed) -> Vec<Row> {
    let Crossed { name, request, reply } = crossed;
    let session = runs.session_of(request);
    let asked = match request {
        ClientMessage::Frame(_) => {
            let carried = hostile::open_request(session, request.clone()).unwrap();
            let unwrap = |message| match message {
                ClientMessage::Frame(frame) => frame,
                _ => panic!("no frame"),
            };
            framed(&format!("request, {name}"), &carried, open.requests(), ClientMessage::Frame, unwrap)
        }
        _ => message(name, request, ClientMessage::encode, ClientMessage::decode),
    };
    let answered = match reply {
        ServerMessage::Frame(_) => {
            let carried = hostile::open_reply(session, reply.clone()).unwrap();
            let unwrap = |message| match message {
                ServerMessage::Frame(frame) => frame,
                _ => panic!("no frame"),
            };
            framed(&format!("reply, {name}"), &carried, open.replies(), ServerMessage::Frame, unwrap)
        }
        _ => message(&format!("answer to a {name}"), reply, ServerMessage::encode, ServerMessage::decode),
    };
    asked.into_iter().chain(answered).collect()
}

/// Frames as such, and what is said before there is a key.
fn others(runs: &Runs) -> Vec<Row> {
    let session_id = SessionId::from_bytes([7; 16]);
    let refused = ServerMessage::Refused { session_id, refusal: Refusal::TryAgainAt(NOW) };
    let rows = message("refusal", &refused, ServerMessage::encode, ServerMessage::decode);
    let frames = runs.crossed.iter().filter(|crossed| matches!(crossed.request, ClientMessage::Frame(_)));
    let asked = frames.filter(|crossed| ["status", "store, 256 Secp256k1"].contains(&crossed.name.as_str()));
    let frames = asked.flat_map(|Crossed { name, request, .. }| {
        message(&format!("a frame around {name}"), request, ClientMessage::encode, ClientMessage::decode)
    });
    rows.into_iter().chain(frames).collect()
}

fn main() {
    let (runs, open) = (Runs::new(), Open::new());
    let mut rows: Vec<Row> = runs.crossed.iter().flat_map(|crossed| rows(&runs, &open, crossed)).collect();
    rows.extend(others(&runs));

    let mut criterion = Criterion::default().configure_from_args();
    rows.iter_mut().for_each(|row| row.bench(&mut criterion));
    criterion.final_summary();
    if is_measured() {
        rows.iter_mut().for_each(Row::print);
    }
}
