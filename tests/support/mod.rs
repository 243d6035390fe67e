//! What the tests share: one deployment with a store in memory, a person, and a clock that stands still unless moved.
#![allow(dead_code, unreachable_pub, missing_docs, missing_debug_implementations)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use keystow::operation::audit::AuditPage;
use keystow::operation::list::ListedSecret;
use keystow::operation::status::SessionStatus;
use keystow::testing::{DriveError, InMemoryServer, MemoryStore, Store, converse};
use keystow::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

pub const IDENTITY: &str = "keys.example.com";
pub const PASSWORD: &str = "correct horse battery staple";
pub const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

pub type Answer<T, S = MemoryStore> = Result<Result<T, Refusal>, DriveError<<S as Store>::Error>>;

/// A deployment and the generator that all its clients draw from.
pub struct World<S = MemoryStore> {
    pub server: InMemoryServer<S>,
    pub rng: ChaCha20Rng,
    pub now: Timestamp,
}

pub fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

pub fn world(seed: u64) -> World {
    world_with(seed, MemoryStore::new(), ServerPolicy::default())
}

pub fn world_with<S: Store>(seed: u64, store: S, policy: ServerPolicy) -> World<S> {
    let mut rng = rng(seed);
    let server = Server::new(ServerSetup::generate(&mut rng).unwrap(), IDENTITY, policy).unwrap();
    World { server: InMemoryServer::new(server, store, seed + 1), rng, now: NOW }
}

/// A client under the cheap profile.
pub fn client(account: &str) -> Client {
    let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).unwrap();
    Client::new(AccountName::new(account).unwrap(), IDENTITY, policy).unwrap()
}

impl<S: Store> World<S> {
    /// Runs an exchange to its end.
    pub fn run<O: client::Operation>(&mut self, exchange: Exchange<O>) -> Answer<O::Output, S> {
        converse(exchange, &mut self.server, self.now)
    }

    pub fn register(&mut self, client: &Client, password: &str) -> Answer<Registered, S> {
        let exchange = client.register(password, &mut self.rng).unwrap();
        self.run(exchange)
    }

    pub fn log_in(&mut self, client: &Client, password: &str) -> Answer<ClientSession, S> {
        self.log_in_with(client, password, None)
    }

    /// A login on a device that has kept a pin.
    pub fn log_in_with(&mut self, client: &Client, password: &str, pin: Option<VaultPin>) -> Answer<ClientSession, S> {
        let exchange = client.log_in(password, pin, &mut self.rng).unwrap();
        self.run(exchange)
    }

    /// Runs an exchange to its end, and settles what it gives.
    pub fn settled<T, O>(&mut self, session: &mut ClientSession, exchange: Exchange<O>) -> Answer<T, S>
    where
        O: client::Operation<Output = Unsettled<T>>,
    {
        Ok(self.run(exchange)?.map(|unsettled| session.settle(unsettled).unwrap()))
    }

    pub fn generate(&mut self, session: &mut ClientSession, kinds: &[Kind]) -> Answer<PendingSecrets, S> {
        let exchange = session.generate(kinds, &mut self.rng).unwrap();
        self.run(exchange)
    }

    pub fn store(&mut self, session: &mut ClientSession, pending: &PendingSecrets) -> Answer<Vec<NewSecret>, S> {
        let exchange = session.store(pending).unwrap();
        self.settled(session, exchange)
    }

    pub fn retrieve(&mut self, session: &mut ClientSession, key_ids: &[KeyId]) -> Answer<Vec<RetrievedSecret>, S> {
        let exchange = session.retrieve(key_ids).unwrap();
        self.run(exchange)
    }

    /// A registered person with a session.
    pub fn person(&mut self, account: &str) -> (Client, ClientSession)
    where
        S::Error: core::fmt::Debug,
    {
        let client = client(account);
        let registered = self.register(&client, PASSWORD).unwrap().unwrap();
        let client = client.pin_server_key(registered.server_key);
        let session = self.log_in(&client, PASSWORD).unwrap().unwrap();
        (client, session)
    }

    /// One stored secret of this kind.
    pub fn secret(&mut self, session: &mut ClientSession, kind: Kind) -> NewSecret {
        let pending = self.generate(session, &[kind]).unwrap().unwrap();
        self.store(session, &pending).unwrap().unwrap()[0]
    }

    /// One message to the server, as bytes there and back.
    pub fn send(&mut self, message: &ClientMessage) -> Result<ServerMessage, DriveError<S::Error>> {
        let answer = self.server.handle(&message.encode().unwrap(), self.now)?;
        Ok(ServerMessage::decode(&answer).unwrap())
    }

    pub fn pass(&mut self, duration: core::time::Duration) {
        self.now = self.now.after(duration);
    }
}

/// Custody, an exchange each.
impl<S: Store> World<S> {
    pub fn import(&mut self, session: &mut ClientSession, secrets: Vec<PlainSecret>) -> Answer<PendingSecrets, S> {
        let exchange = session.import(secrets, &mut self.rng).unwrap();
        self.run(exchange)
    }

    pub fn list(&mut self, session: &mut ClientSession) -> Answer<Vec<ListedSecret>, S> {
        let exchange = session.list().unwrap();
        self.settled(session, exchange)
    }

    pub fn delete(&mut self, session: &mut ClientSession, key_ids: &[KeyId]) -> Answer<(), S> {
        let exchange = session.delete(key_ids).unwrap();
        self.settled(session, exchange)
    }

    pub fn change_password(&mut self, session: &mut ClientSession, password: &str) -> Answer<(), S> {
        let exchange = session.change_password(password, &mut self.rng).unwrap();
        self.settled(session, exchange)
    }

    pub fn audit(&mut self, session: &mut ClientSession, filter: AuditFilter) -> Answer<AuditPage, S> {
        let exchange = session.audit(filter, None, 256).unwrap();
        self.run(exchange)
    }

    pub fn status(&mut self, session: &mut ClientSession) -> Answer<SessionStatus, S> {
        let exchange = session.status().unwrap();
        self.run(exchange)
    }

    pub fn delete_account(&mut self, session: &mut ClientSession) -> Answer<(), S> {
        let exchange = session.delete_account().unwrap();
        self.run(exchange)
    }
}

/// Takes a message up to its write.
pub fn up_to_write<'s, S: Store>(
    session: &'s mut ServerSession,
    store: &mut S,
    message: &ClientMessage,
    now: Timestamp,
) -> Write<'s> {
    let mut step = session.receive(message.clone(), now).unwrap();
    loop {
        step = match step {
            Step::Read(read) => {
                let found = store.read(read.query()).unwrap();
                read.found(found).unwrap()
            }
            Step::Write(write) => return write,
            Step::Reply(reply) => panic!("no write, but a reply: {reply:?}"),
        }
    }
}

impl<S: Store> World<S> {
    /// A message in an open session, with something that happens to the store between its read and its write.
    pub fn interrupted(&mut self, message: &ClientMessage, between: impl FnOnce(&mut S)) -> ServerMessage {
        let InMemoryServer { sessions, store, .. } = &mut self.server;
        let session = sessions.get_mut(&message.session_id().unwrap()).unwrap();
        let write = up_to_write(session, store, message, self.now);
        between(store);
        let outcome = store.apply(write.transaction()).unwrap();
        write.settle(outcome).unwrap()
    }

    /// A message in an open session whose write is applied while its outcome stays unknown: the step is dropped.
    pub fn applied_but_unknown(&mut self, message: &ClientMessage) {
        let InMemoryServer { sessions, store, .. } = &mut self.server;
        let session = sessions.get_mut(&message.session_id().unwrap()).unwrap();
        let write = up_to_write(session, store, message, self.now);
        store.apply(write.transaction()).unwrap();
    }
}

/// The protocol error inside an answer that must be one.
pub fn error<T, E: core::fmt::Debug>(answer: Result<T, DriveError<E>>) -> Error {
    match answer {
        Err(DriveError::Protocol(error)) => error,
        Err(other) => panic!("another error: {other:?}"),
        Ok(_) => panic!("no error"),
    }
}
