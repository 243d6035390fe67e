//! What a login costs either side: through keystow, with messages and sessions, beside bare `opaque-ke`. What the store takes
//! is taken off.
//!
//! One side's parts are timed at a time, since the other has to answer between them. Once as far as OPAQUE goes, up to the
//! sealed Welcome (the client: up to KE3), and once with all that a login ends with, the vault key and the vault's heads.
//!
//! The bare server is what a user of `opaque-ke` can't do without: KE1, record and KE3 from bytes, KE2 to bytes. Between the
//! messages it keeps its state as a value, as keystow's session does; nothing looks a session or a record up, counts
//! attempts or keeps an audit trail. The bare client is KE2 from bytes, KE1 and KE3 to bytes, and Argon2id.
//!
//! Argon2 costs more than all the rest: the client is measured under the cheap profile, where the rest shows, and under the
//! recommended one beside bare Argon2id. `docs/performance.md` has the figures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Params, Version};
use keystow::{ClientSession, Exchange, KsfProfile, ServerMessage, operation::log_in::LogIn};
use opaque_ke::errors::InternalError;
use opaque_ke::generic_array::{ArrayLength, GenericArray};
use opaque_ke::ksf::Ksf;
use opaque_ke::rand::{CryptoRng, Error, RngCore};
use opaque_ke::{
    CipherSuite, ClientLogin, ClientLoginFinishParameters, ClientRegistration, ClientRegistrationFinishParameters,
    CredentialFinalization, CredentialRequest, CredentialResponse, Identifiers, Ristretto255, ServerLogin,
    ServerLoginParameters, ServerRegistration, ServerSetup, TripleDh,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use support::{ACCOUNT, Comparison, IDENTITY, NOW, PASSWORD, World};

/// Whose part of a login is timed, and how much of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// From KE1 and KE3 to the answers to them.
    Server,
    /// The third message too, which asks for the vault's heads.
    ServerWithHeads,
    /// From the password to KE1, from KE2 to KE3.
    Client,
    /// From the password to the session.
    ClientToSession,
}

/// How long each side took for its steps: the client's 0 is the start, its 1 to 3 are the answers; the server has 0 to 2.
#[derive(Default)]
struct Took {
    client: [Duration; 4],
    server: [Duration; 3],
}

impl Took {
    fn part(&self, part: Part) -> Duration {
        let steps = match part {
            Part::Server => &self.server[..2],
            Part::ServerWithHeads => &self.server[..],
            Part::Client => &self.client[..2],
            Part::ClientToSession => &self.client[..],
        };
        steps.iter().sum()
    }
}

/// A login through both machines, every message from bytes and to bytes.
fn log_in(world: &mut World) -> Took {
    let mut took = Took::default();
    let begin = Instant::now();
    let mut exchange = world.client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let mut message = exchange.message().encode().unwrap();
    took.client[0] = begin.elapsed();
    for step in 0..3 {
        let mut answer = Vec::new();
        took.server[step] = world.timed(|world| answer = world.server.handle(&message, NOW).unwrap());

        let begin = Instant::now();
        let session = take(&mut exchange, &answer, &mut message);
        took.client[step + 1] = begin.elapsed();
        if let Some(session) = session {
            assert_eq!(step, 2);
            world.server.sessions.remove(&session.session_id());
        }
    }
    world.forget();
    took
}

/// The client takes an answer and gives the next message, or the session.
fn take(exchange: &mut Exchange<LogIn>, answer: &[u8], message: &mut Vec<u8>) -> Option<ClientSession> {
    let session = exchange.receive(ServerMessage::decode(answer).unwrap()).unwrap();
    if session.is_none() {
        *message = exchange.message().encode().unwrap();
    }
    session.map(Result::unwrap)
}

/// The suite of `src/suite/opaque.rs`.
struct Suite;

impl CipherSuite for Suite {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, sha2_opaque::Sha512>;
    type Ksf = Stretch;
}

/// Argon2id under the cheap profile, with memory from `argon2` itself.
#[derive(Default)]
struct Stretch;

impl Ksf for Stretch {
    fn hash<L: ArrayLength<u8>>(&self, input: GenericArray<u8, L>) -> Result<GenericArray<u8, L>, InternalError> {
        let mut output = GenericArray::default();
        argon2id(KsfProfile::CHEAP_FOR_TESTS, &input, &mut output);
        Ok(output)
    }
}

/// Bare Argon2id.
fn argon2id(profile: KsfProfile, input: &[u8], output: &mut [u8]) {
    let params = Params::new(profile.memory_kib(), profile.passes(), profile.lanes(), None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(black_box(input), &[0; 16], output).unwrap();
}

/// As long as keystow's OPAQUE context.
const CONTEXT: [u8; 103] = [1; 103];
const CREDENTIAL: [u8; 32] = [2; 32];
const IDENTIFIERS: Identifiers<'_> =
    Identifiers { client: Some(ACCOUNT.as_bytes()), server: Some(IDENTITY.as_bytes()) };

/// The same login with `opaque-ke` alone: KE1, record and KE3 from bytes, KE2 to bytes.
struct Bare {
    rng: Adapter,
    setup: ServerSetup<Suite>,
    record: Vec<u8>,
}

impl Bare {
    fn new() -> Self {
        let mut rng = Adapter(ChaCha20Rng::seed_from_u64(2));
        let setup = ServerSetup::<Suite>::new(&mut rng);
        let client = ClientRegistration::<Suite>::start(&mut rng, PASSWORD.as_bytes()).unwrap();
        let response = ServerRegistration::start(&setup, client.message, &CREDENTIAL).unwrap().message;
        let parameters = ClientRegistrationFinishParameters::new(IDENTIFIERS, None);
        let upload = client.state.finish(&mut rng, PASSWORD.as_bytes(), response, parameters).unwrap().message;
        let record = ServerRegistration::finish(upload).serialize().to_vec();
        Self { rng, setup, record }
    }

    fn log_in(&mut self) -> Took {
        let mut took = Took::default();
        let begin = Instant::now();
        let client = ClientLogin::<Suite>::start(&mut self.rng, PASSWORD.as_bytes()).unwrap();
        let ke1 = client.message.serialize().to_vec();
        took.client[0] = begin.elapsed();

        let begin = Instant::now();
        let (state, ke2) = self.start(&ke1);
        took.server[0] = begin.elapsed();

        let begin = Instant::now();
        let response = CredentialResponse::<Suite>::deserialize(&ke2).unwrap();
        let parameters = ClientLoginFinishParameters::new(Some(&CONTEXT), IDENTIFIERS, None);
        let result = client.state.finish(&mut self.rng, PASSWORD.as_bytes(), response, parameters).unwrap();
        let ke3 = result.message.serialize().to_vec();
        took.client[1] = begin.elapsed();

        let begin = Instant::now();
        let session_key = finish(state, &ke3);
        took.server[1] = begin.elapsed();

        assert_eq!(session_key, result.session_key.to_vec());
        took
    }

    fn start(&mut self, ke1: &[u8]) -> (ServerLogin<Suite>, Vec<u8>) {
        let record = ServerRegistration::deserialize(&self.record).unwrap();
        let request = CredentialRequest::deserialize(ke1).unwrap();
        let parameters = ServerLoginParameters { context: Some(&CONTEXT), identifiers: IDENTIFIERS };
        let started =
            ServerLogin::start(&mut self.rng, &self.setup, Some(record), request, &CREDENTIAL, parameters).unwrap();
        (started.state, started.message.serialize().to_vec())
    }
}

fn finish(state: ServerLogin<Suite>, ke3: &[u8]) -> Vec<u8> {
    let finalization = CredentialFinalization::deserialize(ke3).unwrap();
    state.finish(finalization, ServerLoginParameters::default()).unwrap().session_key.to_vec()
}

/// `opaque-ke` takes its randomness through an older `rand_core`.
struct Adapter(ChaCha20Rng);

impl RngCore for Adapter {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Adapter {}

/// A login beside bare `opaque-ke`, which ends with KE3.
fn beside_opaque_ke(name: &'static str, part: Part, at_most: Option<f64>) -> Comparison<'static> {
    let (mut world, mut bare) = (World::new(1), Bare::new());
    Comparison {
        name,
        ours: ("keystow", Box::new(move || log_in(&mut world).part(part))),
        other: ("opaque-ke", Box::new(move || bare.log_in().part(part))),
        at_most,
        calls: 2_000,
    }
}

/// The client's whole login under the recommended profile beside Argon2id alone.
fn beside_argon2(name: &'static str, profile: KsfProfile) -> Comparison<'static> {
    let mut world = World::with_profile(1, profile);
    let argon2 = move || {
        let (begin, mut output) = (Instant::now(), [0; 64]);
        argon2id(profile, &[7; 64], &mut output);
        black_box(output);
        begin.elapsed()
    };
    Comparison {
        name,
        ours: ("keystow", Box::new(move || log_in(&mut world).part(Part::ClientToSession))),
        other: ("argon2", Box::new(argon2)),
        at_most: None,
        calls: 20,
    }
}

/// The same, lanes on all threads beside lanes on one: the feature's gain.
#[cfg(feature = "parallel")]
fn in_parallel() -> Comparison<'static> {
    let (mut world, mut alone) =
        (World::with_profile(1, KsfProfile::RECOMMENDED), World::with_profile(1, KsfProfile::RECOMMENDED));
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    Comparison {
        name: "login, client, 64 MiB, 3 passes, 4 lanes, in parallel",
        ours: ("all threads", Box::new(move || log_in(&mut world).part(Part::ClientToSession))),
        other: ("one thread", Box::new(move || one.install(|| log_in(&mut alone).part(Part::ClientToSession)))),
        at_most: None,
        calls: 20,
    }
}

fn main() {
    let comparisons = &mut [
        #[cfg(feature = "parallel")]
        in_parallel(),
        beside_opaque_ke("login, server", Part::Server, Some(1.02)),
        beside_opaque_ke("login with its heads, server", Part::ServerWithHeads, None),
        beside_opaque_ke("login up to KE3, client, cheap profile", Part::Client, None),
        beside_opaque_ke("login up to the session, client, cheap profile", Part::ClientToSession, None),
        beside_argon2("login, client, 64 MiB, 3 passes, 4 lanes", KsfProfile::RECOMMENDED),
        beside_argon2("login, client, the floor: 19 MiB, 2 passes, 1 lane", KsfProfile::FLOOR),
    ];
    support::run(comparisons, |_| ());
}
