//! Every flow of both sides, once, in one thread: what the client does and what the server does are told apart.

use std::collections::BTreeMap;

use freed::Search;
use keystow::client::Operation;
use keystow::storage::{Query, SessionQuery, StoredSession};
use keystow::testing::{MemoryStore, Store};
use keystow::*;
use rand_chacha::ChaCha20Rng;

use super::imports::Imports;
use super::known::{self, Secrets, next_draw};
use super::support::{IDENTITY, NOW, client, rng};

pub(crate) const PASSWORD: &str = "a pass phrase that is nowhere else 7391";
pub(crate) const NEW_PASSWORD: &str = "quite another of them, as long 28645";
pub(crate) const WRONG_PASSWORD: &str = "what somebody else tries: 53017 of 9";
/// Two keys of secp256k1: their public components are computed together.
pub(crate) const KINDS: [Kind; 5] =
    [Kind::Bytes(64), Kind::Bytes(1_000), Kind::Secp256k1, Kind::Ed25519, Kind::Secp256k1];

/// Where a server's sessions are between two messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sessions {
    /// In the process.
    Alone,
    /// Sealed in the store.
    Fleet,
    /// Exported after each message, and imported for the next.
    HandedOver,
}

/// One deployment and one person, watched if there is a search.
pub(crate) struct Run<'s> {
    search: Option<&'s Search>,
    sessions: Sessions,
    server: Server,
    fleet_key: FleetKey,
    store: MemoryStore,
    open: BTreeMap<SessionId, ServerSession>,
    handed_over: BTreeMap<SessionId, StoredSession>,
    client_rng: ChaCha20Rng,
    server_rng: ChaCha20Rng,
    /// What each session's draws come from.
    seeds: BTreeMap<SessionId, [u8; 32]>,
    /// The first answer of the exchange that ran last.
    answer: Option<ServerMessage>,
    /// Everything that crossed.
    pub(crate) traffic: Vec<Vec<u8>>,
    /// The secrets, computed in the run that isn't watched: what a test leaves on its stack would be found too.
    pub(crate) known: Secrets,
}

pub(crate) const FLEET_KEY: [u8; 32] = *b"\x9f a fleet's key of 31 odd bytes\x81";

impl<'s> Run<'s> {
    pub(crate) fn new(search: Option<&'s Search>, sessions: Sessions) -> Self {
        let during = |flow, run: &mut dyn FnMut() -> Server| match search {
            Some(search) => search.during("server", flow, run),
            None => run(),
        };
        let known = if search.is_none() { known::setup() } else { Secrets::new() };
        let mut setup_rng = rng(7);
        let server = during("setup", &mut || {
            let setup = ServerSetup::generate(&mut setup_rng).unwrap().to_bytes();
            let setup = ServerSetup::from_bytes(setup.expose()).unwrap();
            let (policy, key) = (ServerPolicy::default(), FleetKey::from_bytes(&FLEET_KEY).unwrap());
            match sessions {
                Sessions::Fleet => Server::in_fleet(setup, IDENTITY, policy, key).unwrap(),
                _ => Server::new(setup, IDENTITY, policy).unwrap(),
            }
        });
        Self {
            search,
            sessions,
            server,
            fleet_key: FleetKey::from_bytes(&FLEET_KEY).unwrap(),
            store: MemoryStore::new(),
            open: BTreeMap::new(),
            handed_over: BTreeMap::new(),
            client_rng: rng(8),
            server_rng: rng(9),
            seeds: BTreeMap::new(),
            answer: None,
            traffic: vec![],
            known,
        }
    }

    fn during<T>(&mut self, side: &'static str, flow: &'static str, run: impl FnOnce(&mut Self) -> T) -> T {
        match self.search {
            Some(search) => search.during(side, flow, || run(self)),
            None => run(self),
        }
    }

    fn learn<T>(&mut self, compute: impl FnOnce(&mut Self, &mut Secrets) -> T) -> Option<T> {
        let mut known = std::mem::take(&mut self.known);
        let learnt = self.search.is_none().then(|| compute(self, &mut known));
        self.known = known;
        learnt
    }

    /// The seed that the client's next operation draws.
    fn next_seed(&mut self) -> [u8; 32] {
        self.learn(|this, _| next_draw(&this.client_rng)).unwrap_or_default()
    }

    /// What the client does alone.
    pub(crate) fn client<T>(&mut self, flow: &'static str, run: impl FnOnce(&mut ChaCha20Rng) -> T) -> T {
        self.during("client", flow, |this| run(&mut this.client_rng))
    }

    /// The server's session of a message, as it is between two messages.
    fn take_session(&mut self, id: SessionId) -> ServerSession {
        match self.sessions {
            Sessions::Alone => self.open.remove(&id),
            Sessions::Fleet => {
                let query = SessionQuery::new(id);
                let found = self.store.read(&Query::Session(query.clone())).unwrap();
                Some(self.server.resume(&query, found, &mut self.server_rng).unwrap())
            }
            Sessions::HandedOver => {
                let stored = self.handed_over.remove(&id);
                stored.map(|stored| self.server.import(&self.fleet_key, id, &stored).unwrap())
            }
        }
        .unwrap_or_else(|| self.server.accept(&mut self.server_rng))
    }

    fn keep_session(&mut self, id: SessionId, session: ServerSession) {
        match self.sessions {
            Sessions::Alone => drop(self.open.insert(id, session)),
            Sessions::Fleet => drop(session),
            Sessions::HandedOver => {
                if let Some((id, stored)) = session.export(&self.fleet_key).unwrap() {
                    self.handed_over.insert(id, stored);
                }
            }
        }
    }

    /// One message at the server. An error is no answer.
    fn serve(&mut self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let message = ClientMessage::decode(message)?;
        let id = message.session_id()?;
        let mut session = self.take_session(id);
        let answer = answer(&mut session, &mut self.store, message);
        self.keep_session(id, session);
        answer?.encode()
    }

    /// The same from outside, with what the server draws for it.
    fn send(&mut self, flow: &'static str, bytes: &[u8]) -> Result<ServerMessage, Error> {
        self.learn(|this, known| {
            let message = ClientMessage::decode(bytes).unwrap();
            let id = message.session_id().unwrap();
            let seed = *this.seeds.entry(id).or_insert_with(|| next_draw(&this.server_rng));
            known.push(("server session's seed", seed.to_vec()));
            known::server_draw(&seed, &message, known);
        });
        let answer = self.during("server", flow, |this| this.serve(bytes))?;
        self.traffic.push(bytes.to_vec());
        self.traffic.push(answer.clone());
        ServerMessage::decode(&answer)
    }

    /// A login with a KE3 that isn't the password's.
    fn wrong_ke3(&mut self) {
        let flow = "log in, wrong KE3";
        let mut exchange = self.client(flow, |rng| client("ada").log_in(PASSWORD, None, rng).unwrap());
        let answer = self.send(flow, &exchange.message().encode().unwrap()).unwrap();
        self.client(flow, |_| assert!(exchange.receive(answer).unwrap().is_none()));
        let mut message = exchange.message().encode().unwrap();
        *message.last_mut().unwrap() ^= 1;
        assert_eq!(self.send(flow, &message), Err(PeerFault::WrongKe3.into()));
        self.client(flow, |_| drop(exchange));
    }

    /// An exchange, to its end.
    pub(crate) fn run<O: Operation>(
        &mut self,
        flow: &'static str,
        start: impl FnOnce(&mut ChaCha20Rng) -> Result<Exchange<O>, Error>,
    ) -> Result<O::Output, Error> {
        self.answer = None;
        let mut exchange = self.client(flow, |rng| start(rng))?;
        loop {
            let message = self.client(flow, |_| exchange.message().encode().unwrap());
            let message = self.send(flow, &message)?;
            self.answer.get_or_insert_with(|| message.clone());
            let outcome = self.client(flow, |_| exchange.receive(message));
            if let Some(outcome) = outcome.transpose() {
                self.client(flow, |_| drop(exchange));
                return Ok(outcome??);
            }
        }
    }

    fn settled<T, O: Operation<Output = Unsettled<T>>>(
        &mut self,
        flow: &'static str,
        session: &mut ClientSession,
        start: impl FnOnce(&mut ClientSession, &mut ChaCha20Rng) -> Result<Exchange<O>, Error>,
    ) -> T {
        let unsettled = self.run(flow, |rng| start(session, rng)).unwrap();
        self.client(flow, |_| session.settle(unsettled).unwrap())
    }

    fn log_in(&mut self, password: &str, pin: Option<VaultPin>) -> (ClientSession, Option<known::Session>) {
        let seed = self.next_seed();
        let session = self.run("log in", |rng| client("ada").log_in(password, pin, rng)).unwrap();
        let keys = self.learn(|this, known| known::logged_in(&seed, password, this.answer.as_ref().unwrap(), known));
        (session, keys)
    }

    /// A person's whole life with keystow. Gives the secrets in all formats, to be imported.
    pub(crate) fn live(&mut self, imports: &Imports) -> Imports {
        for password in [PASSWORD, NEW_PASSWORD, WRONG_PASSWORD] {
            self.known.push(("password", password.as_bytes().to_vec()));
        }
        let seed = self.next_seed();
        let registered = self.run("register", |rng| client("ada").register(PASSWORD, rng)).unwrap();
        let device = self.learn(|this, known| known::registered(&seed, PASSWORD, this.answer.as_ref().unwrap(), known));

        let wrong = self.run("log in, wrong password", |rng| client("ada").log_in(WRONG_PASSWORD, None, rng));
        assert_eq!(wrong.map(|_| ()), Err(PeerFault::LoginFailed.into()));
        self.client("log in, given up", |rng| drop(client("ada").log_in(PASSWORD, None, rng).unwrap()));
        self.wrong_ke3();
        let (mut session, keys) = self.log_in(PASSWORD, Some(registered.pin));

        self.client("generate, given up", |rng| drop(session.generate(&KINDS, rng).unwrap()));
        let random = self.next_seed().to_vec();
        self.learn(|_, known| known.extend(known::generation(device.as_ref().unwrap(), random)));
        let generated = self.run("generate", |rng| session.generate(&KINDS, rng)).unwrap();
        let stored = self.settled("store", &mut session, |session, _| session.store(&generated));
        self.client("import formats, wrong", |_| imports.parse_wrongly());
        let own = self.client("import formats", |_| imports.parse());
        let imported = self.run("import", |rng| session.import(own, rng)).unwrap();
        let again = self.settled("store", &mut session, |session, _| session.store(&imported));
        self.learn(|_, known| known::held(device.as_ref().unwrap(), &[&generated, &imported], known));

        let key_ids: Vec<KeyId> = stored.iter().chain(&again).map(|secret| secret.key_id).collect();
        let secrets = self.run("retrieve", |_| session.retrieve(&key_ids)).unwrap();
        self.learn(|_, known| secrets.iter().for_each(|secret| known.extend(known::secret(secret))));
        let (secp256k1, ed25519) = (&secrets[2], &secrets[3]);
        let (der, pem, sec1) = self.client("export", |_| {
            let ders = [secp256k1, ed25519].map(|key| key.to_pkcs8_der().unwrap().expose().to_vec());
            let pems = [secp256k1, ed25519].map(|key| key.to_pkcs8_pem().unwrap().to_string());
            (ders, pems, secp256k1.to_sec1_pem().unwrap().to_string())
        });
        self.client("sign", |_| {
            secp256k1.sign_ecdsa(b"message").unwrap();
            ed25519.sign_ed25519(b"message").unwrap();
        });
        let exported = Imports::of(secrets.iter().map(RetrievedSecret::expose), der, pem, sec1);
        self.client("retrieve", |_| drop(secrets));

        assert_eq!(self.settled("list", &mut session, |session, _| session.list()).len(), key_ids.len());
        self.run("salvage", |_| session.salvage()).unwrap();
        self.settled("verify", &mut session, |session, _| session.verify_pin(registered.pin));
        self.learn(|this, _| known::check(device.as_ref().unwrap(), &this.store, &key_ids));
        self.settled("delete", &mut session, |session, _| session.delete(&key_ids[..1]));
        self.damaged(&mut session, key_ids[3]);
        self.run("status", |_| session.status()).unwrap();
        self.run("audit", |_| session.audit(AuditFilter::default(), None, 256)).unwrap();
        let seed = self.next_seed();
        self.settled("change password", &mut session, |session, rng| session.change_password(NEW_PASSWORD, rng));
        self.learn(|this, known| {
            known::changed(&seed, NEW_PASSWORD, keys.as_ref().unwrap(), this.answer.as_ref().unwrap(), known);
        });
        self.run("log out", move |_| session.log_out()).unwrap();

        let (mut session, _) = self.log_in(NEW_PASSWORD, Some(registered.pin));
        self.run("delete account", |_| session.delete_account()).unwrap();
        self.client("delete account", |_| drop(session));
        exported
    }

    /// A secret whose record was damaged.
    fn damaged(&mut self, session: &mut ClientSession, key_id: KeyId) {
        let row = (session.user_id(), key_id);
        *self.store.secrets.get_mut(&row).unwrap().last_mut().unwrap() ^= 1;
        let outcome = self.run("retrieve, damaged", |_| session.retrieve(&[key_id])).map(|_| ());
        assert_eq!(outcome, Err(PeerFault::DamagedSecret { key_id }.into()));
        *self.store.secrets.get_mut(&row).unwrap().last_mut().unwrap() ^= 1;
    }

    /// The process of the server ends.
    pub(crate) fn end(mut self) -> (Secrets, Vec<Vec<u8>>) {
        self.during("server", "end", |this| {
            this.open.clear();
            this.handed_over.clear();
        });
        let Self { server, known, traffic, search, .. } = self;
        match search {
            Some(search) => search.during("server", "end", || drop(server)),
            None => drop(server),
        }
        (known, traffic)
    }
}

/// The embedder's loop.
fn answer(
    session: &mut ServerSession,
    store: &mut MemoryStore,
    message: ClientMessage,
) -> Result<ServerMessage, Error> {
    let mut step = session.receive(message, NOW)?;
    loop {
        step = match step {
            Step::Read(read) => {
                let found = store.read(read.query()).unwrap();
                read.found(found)?
            }
            Step::Write(write) => {
                let outcome = store.apply(write.transaction()).unwrap();
                break write.settle(outcome);
            }
            Step::Reply(reply) => break Ok(reply),
        }
    }
}
