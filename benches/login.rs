//! What a login costs the server: through keystow, with store, messages and sessions, beside bare `opaque-ke`.
//!
//! Only the server's parts are timed: the client has to answer KE2 between them. Once as far as OPAQUE goes, up to the
//! sealed Welcome, and once with the request for the vault's heads that every login ends with. `docs/performance.md` has
//! the figures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

mod support;

use std::time::{Duration, Instant};

use keystow::{ClientSession, Exchange, ServerMessage, operation::log_in::LogIn};
use opaque_ke::rand::{CryptoRng, Error, RngCore};
use opaque_ke::{
    CipherSuite, ClientLogin, ClientLoginFinishParameters, ClientRegistration, ClientRegistrationFinishParameters,
    CredentialFinalization, CredentialRequest, CredentialResponse, Identifiers, Ristretto255, ServerLogin,
    ServerLoginParameters, ServerRegistration, ServerSetup, TripleDh,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use support::{ACCOUNT, Comparison, IDENTITY, NOW, PASSWORD, World};

/// A login through both machines; gives the server's part of the time: two messages, from bytes to bytes, or the third
/// too, which asks for the vault's heads.
struct Keystow {
    world: World,
    heads: bool,
}

impl Keystow {
    fn run(&mut self) -> Duration {
        let Self { world, heads } = self;
        let mut exchange = world.client.log_in(PASSWORD, None, &mut world.rng).unwrap();
        let (start, _) = Self::cross(world, &mut exchange);
        let (finish, none) = Self::cross(world, &mut exchange);
        let (follow, session) = Self::cross(world, &mut exchange);
        assert!(none.is_none());
        world.server.sessions.remove(&session.unwrap().session_id());
        world.forget();
        if *heads { start + finish + follow } else { start + finish }
    }

    fn cross(world: &mut World, exchange: &mut Exchange<LogIn>) -> (Duration, Option<ClientSession>) {
        let message = exchange.message().encode().unwrap();
        let start = Instant::now();
        let answer = world.server.handle(&message, NOW).unwrap();
        let took = start.elapsed();
        let session = exchange.receive(ServerMessage::decode(&answer).unwrap()).unwrap();
        (took, session.map(Result::unwrap))
    }
}

/// The suite of `src/suite/opaque.rs`; the server doesn't stretch keys.
struct Suite;

impl CipherSuite for Suite {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, sha2_opaque::Sha512>;
    type Ksf = opaque_ke::ksf::Identity;
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

    fn run(&mut self) -> Duration {
        let client = ClientLogin::<Suite>::start(&mut self.rng, PASSWORD.as_bytes()).unwrap();
        let ke1 = client.message.serialize();

        let begin = Instant::now();
        let (state, ke2) = self.start(&ke1);
        let start = begin.elapsed();

        let response = CredentialResponse::<Suite>::deserialize(&ke2).unwrap();
        let parameters = ClientLoginFinishParameters::new(Some(&CONTEXT), IDENTIFIERS, None);
        let result = client.state.finish(&mut self.rng, PASSWORD.as_bytes(), response, parameters).unwrap();
        let ke3 = result.message.serialize();

        let begin = Instant::now();
        let session_key = finish(state, &ke3);
        let finish = begin.elapsed();

        assert_eq!(session_key, result.session_key.to_vec());
        start + finish
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

fn main() {
    let comparison = |name, heads, at_most| {
        let (mut keystow, mut bare) = (Keystow { world: World::new(1), heads }, Bare::new());
        Comparison {
            name,
            ours: ("keystow", Box::new(move || keystow.run())),
            other: ("opaque-ke", Box::new(move || bare.run())),
            at_most,
            calls: 2_000,
        }
    };
    let comparisons =
        &mut [comparison("login, server", false, Some(1.05)), comparison("login with its heads, server", true, None)];
    support::run(comparisons, |_| ());
}
