//! The hostile client: what it has in hand, and the table of its attacks on a key server.

mod bytes;
mod custody;
mod flood;
mod guesses;
mod network;
mod registration;
mod sessions;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::{Attack, Stop, Tally, Target, Verdict, fail, forge};
use crate::client::{Client, ClientPolicy, ClientSession, Exchange, Operation, Unsettled};
use crate::error::{Error, PeerFault, Refusal};
use crate::id::{AccountName, KeyId, SessionId, Timestamp};
use crate::kind::Kind;
use crate::message::{ClientMessage, ServerMessage};
use crate::operation::list::ListedSecret;
use crate::operation::retrieve::RetrievedSecret;
use crate::operation::store::{NewSecret, PendingSecrets};
use crate::operation::{Reply, Request};
use crate::server::ServerPolicy;
use crate::suite::{KsfProfile, sha256};
use crate::testing::Failure;

/// An embedder's key server, as the hostile client meets it. A closure from a message and the time to an answer is one.
pub trait KeyServer {
    /// Takes a message's bytes and gives the answer's, or nothing. `now` is for a server whose clock is an argument; one
    /// that has a clock of its own says so in [`Deployment::own_clock`].
    fn handle(&mut self, message: &[u8], now: Timestamp) -> Option<Vec<u8>>;

    /// How many sessions it keeps, if it can tell: floods must leave none.
    fn sessions(&self) -> Option<usize> {
        None
    }
}

impl<F: FnMut(&[u8], Timestamp) -> Option<Vec<u8>>> KeyServer for F {
    fn handle(&mut self, message: &[u8], now: Timestamp) -> Option<Vec<u8>> {
        self(message, now)
    }
}

/// How the key server under attack is set up.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The server's identity.
    pub identity: Vec<u8>,
    /// The server's policy. Attacks play with the attempt limit: keep it small. Switch limits by source off.
    pub policy: ServerPolicy,
    /// The profile that the hostile client registers under: the cheap one, unless it is changed.
    pub profile: KsfProfile,
    /// What the names of the accounts begin with: another one in each run, if the store isn't emptied between them.
    pub names: String,
    /// The server has a clock of its own: attacks that need time to pass are left out.
    pub own_clock: bool,
}

impl Deployment {
    /// A server of this identity and policy, whose clock is an argument and whose store is empty in the beginning.
    #[must_use]
    pub fn new(identity: impl AsRef<[u8]>, policy: ServerPolicy) -> Self {
        let (identity, names) = (identity.as_ref().to_vec(), "hostile-".to_string());
        Self { identity, policy, profile: KsfProfile::CHEAP_FOR_TESTS, names, own_clock: false }
    }
}

/// A row of the table.
type Row = (u8, &'static str, fn(&mut Bench<'_>) -> Verdict);

/// All attacks on a server.
fn rows() -> impl Iterator<Item = &'static Row> {
    [
        registration::ATTACKS,
        guesses::ATTACKS,
        network::ATTACKS,
        bytes::ATTACKS,
        sessions::ATTACKS,
        custody::ATTACKS,
        flood::ATTACKS,
    ]
    .into_iter()
    .flatten()
}

/// Their descriptions.
pub(super) fn attacks() -> impl Iterator<Item = Attack> {
    rows().map(|(rule, name, _)| Attack { rule: *rule, target: Target::Server, name })
}

/// Plays the attacks that `which` picks, each against a server from `make`. Gives the number of attacks that were played.
///
/// First an honest person uses the server. If they don't get through, nothing else is played.
///
/// # Errors
/// One [`Failure`] for each attack that got through.
pub fn attack_server<K: KeyServer>(
    deployment: &Deployment,
    mut make: impl FnMut() -> K,
    which: impl Fn(&Attack) -> bool,
) -> Result<usize, Vec<Failure>> {
    let mut tally = Tally::default();
    let mut play = |number: usize, attack: fn(&mut Bench<'_>) -> Verdict| {
        let server = &mut make();
        let prefix = format!("{}{number}-", deployment.names);
        let rng = ChaCha20Rng::from_seed(sha256(&[prefix.as_bytes()]));
        attack(&mut Bench { server, deployment, prefix, now: START, rng, tape: Vec::new(), around: Around::Nothing })
    };
    if let Err(Stop::Broken(problem)) = play(0, |bench| bench.whole_run("ada").map(|_| ())) {
        return Err(alloc::vec![Failure { check: "an honest person is served", problem }]);
    }
    for (number, (attack, (_, name, run))) in (1..).zip(attacks().zip(rows())) {
        if which(&attack) {
            tally.add(name, play(number, *run));
        }
    }
    tally.result()
}

/// When the attacks begin.
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

const PASSWORD: &str = "correct horse battery staple";

/// A server under attack, and what the attacker has in hand.
struct Bench<'a> {
    server: &'a mut dyn KeyServer,
    deployment: &'a Deployment,
    prefix: String,
    now: Timestamp,
    rng: ChaCha20Rng,
    /// Every message that was answered, and its answer.
    tape: Vec<(ClientMessage, ServerMessage)>,
    around: Around,
}

/// What is sent besides each message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Around {
    Nothing,
    /// The same message, twice more.
    Repeats,
    /// Damaged copies of it, before.
    Damage,
}

/// A registered person with a session.
struct Person {
    client: Client,
    session: ClientSession,
}

impl Bench<'_> {
    /// Sends bytes.
    fn send_bytes(&mut self, bytes: &[u8]) -> Verdict<Option<ServerMessage>> {
        let Some(answer) = self.server.handle(bytes, self.now) else { return Ok(None) };
        match ServerMessage::decode(&answer) {
            Ok(answer) => Ok(Some(answer)),
            Err(error) => fail(format!("an answer that is no message: {error}")),
        }
    }

    fn send(&mut self, message: &ClientMessage) -> Verdict<Option<ServerMessage>> {
        self.send_bytes(&message.encode()?)
    }

    /// Sends bytes that must get no answer, but perhaps the hint that the session is over.
    fn expect_nothing(&mut self, what: &str, bytes: &[u8]) -> Verdict {
        match self.send_bytes(bytes)? {
            None | Some(ServerMessage::Refused { .. }) => Ok(()),
            Some(answer) => fail(format!("{what}: answered with {}", name(&answer))),
        }
    }

    fn expect_no_answer(&mut self, what: &str, message: &ClientMessage) -> Verdict {
        self.expect_nothing(what, &message.encode()?)
    }

    /// Sends a message that must be answered.
    fn answer(&mut self, message: &ClientMessage) -> Verdict<ServerMessage> {
        if self.around == Around::Damage {
            bytes::damage(self, message)?;
        }
        let Some(answer) = self.send(message)? else { return fail("an honest message got no answer") };
        if self.around == Around::Repeats {
            for _ in 0..2 {
                if self.send(message)?.as_ref() != Some(&answer) {
                    return fail(format!("a repeated message got another answer than the first {}", name(&answer)));
                }
            }
        }
        self.tape.push((message.clone(), answer.clone()));
        Ok(answer)
    }

    /// Runs an exchange to its end; a refusal is what it ends with, in a frame or not.
    fn run<O: Operation>(&mut self, mut exchange: Exchange<O>) -> Verdict<Result<O::Output, Refusal>> {
        loop {
            let answer = self.answer(exchange.message())?;
            match exchange.receive(answer) {
                Ok(None) => {}
                Ok(Some(outcome)) => return Ok(outcome),
                Err(Error::Peer(PeerFault::Refused(refusal))) => return Ok(Err(refusal)),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Runs an exchange of a session, and settles it.
    fn settled<T, O>(&mut self, session: &mut ClientSession, exchange: Exchange<O>) -> Verdict<Result<T, Refusal>>
    where
        O: Operation<Output = Unsettled<T>>,
    {
        Ok(match self.run(exchange)? {
            Ok(unsettled) => Ok(session.settle(unsettled)?),
            Err(refusal) => Err(refusal),
        })
    }

    /// A client for one of the attack's accounts.
    fn client(&self, account: &str) -> Verdict<Client> {
        self.client_of(account, &self.deployment.identity)
    }

    fn client_of(&self, account: &str, identity: &[u8]) -> Verdict<Client> {
        let policy = ClientPolicy::new([self.deployment.profile])?;
        Ok(Client::new(AccountName::new(format!("{}{account}", self.prefix))?, identity, policy)?)
    }

    fn register(&mut self, account: &str) -> Verdict<Client> {
        let client = self.client(account)?;
        let exchange = client.register(PASSWORD, &mut self.rng)?;
        let registered = self.run(exchange)??;
        Ok(client.pin_server_key(registered.server_key))
    }

    fn log_in(&mut self, client: &Client, password: &str) -> Verdict<Result<ClientSession, Refusal>> {
        let exchange = client.log_in(password, None, &mut self.rng)?;
        self.run(exchange)
    }

    fn person(&mut self, account: &str) -> Verdict<Person> {
        let client = self.register(account)?;
        let session = self.log_in(&client, PASSWORD)??;
        Ok(Person { client, session })
    }

    fn generate(&mut self, session: &mut ClientSession, kind: Kind) -> Verdict<PendingSecrets> {
        let exchange = session.generate(&[kind], &mut self.rng)?;
        Ok(self.run(exchange)??)
    }

    fn store(
        &mut self,
        session: &mut ClientSession,
        pending: &PendingSecrets,
    ) -> Verdict<Result<Vec<NewSecret>, Refusal>> {
        let exchange = session.store(pending)?;
        self.settled(session, exchange)
    }

    /// A stored secret, and how it was stored.
    fn secret(&mut self, session: &mut ClientSession, kind: Kind) -> Verdict<(KeyId, PendingSecrets)> {
        let pending = self.generate(session, kind)?;
        let stored = self.store(session, &pending)??;
        match stored.first() {
            Some(secret) => Ok((secret.key_id, pending)),
            None => fail("nothing was stored"),
        }
    }

    fn retrieve(
        &mut self,
        session: &mut ClientSession,
        key_id: KeyId,
    ) -> Verdict<Result<Vec<RetrievedSecret>, Refusal>> {
        let exchange = session.retrieve(&[key_id])?;
        self.run(exchange)
    }

    fn list(&mut self, session: &mut ClientSession) -> Verdict<Result<Vec<ListedSecret>, Refusal>> {
        let exchange = session.list()?;
        self.settled(session, exchange)
    }

    /// The list must have these secrets, in any order.
    fn expect_list(&mut self, session: &mut ClientSession, expected: &[KeyId]) -> Verdict {
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        let listed = self.list(session)??;
        if listed.iter().map(|secret| secret.key_id).eq(expected.iter().copied()) {
            return Ok(());
        }
        fail(format!("the vault has {} secrets, or others, in place of {}", listed.len(), expected.len()))
    }

    /// Any request in a session.
    fn ask(&mut self, session: &mut ClientSession, request: &Request) -> Verdict<Reply> {
        let exchange = forge::request(session, request)?;
        Ok(self.run(exchange)?.unwrap_or_else(Reply::Refused))
    }

    fn expect_refused(&mut self, what: &str, session: &mut ClientSession, request: &Request) -> Verdict<Refusal> {
        match self.ask(session, request)? {
            Reply::Refused(refusal) => Ok(refusal),
            _ => fail(format!("{what}: not refused")),
        }
    }

    fn expect_refusal(
        &mut self,
        what: &str,
        session: &mut ClientSession,
        request: &Request,
        expected: Refusal,
    ) -> Verdict {
        let refusal = self.expect_refused(what, session, request)?;
        if refusal == expected { Ok(()) } else { fail(format!("{what}: {refusal:?} in place of {expected:?}")) }
    }

    /// Lets time pass, if that is ours to do.
    fn pass(&mut self, duration: Duration) -> Verdict {
        if self.deployment.own_clock {
            return Err(Stop::NotPlayed);
        }
        self.now = self.now.after(duration).after(Duration::from_millis(1));
        Ok(())
    }

    /// Registration, login, generation, store, retrieval and list, as an honest client does it.
    fn whole_run(&mut self, account: &str) -> Verdict<(Person, KeyId)> {
        let mut person = self.person(account)?;
        let (key_id, _) = self.secret(&mut person.session, Kind::Ed25519)?;
        let retrieved = self.retrieve(&mut person.session, key_id)??;
        if !retrieved.iter().map(RetrievedSecret::key_id).eq([key_id]) {
            return fail("another secret was retrieved");
        }
        self.expect_list(&mut person.session, &[key_id])?;
        Ok((person, key_id))
    }
}

/// The session of the newest message on the tape that opened one by a login.
fn last_login(tape: &[(ClientMessage, ServerMessage)]) -> Option<SessionId> {
    let is_login =
        |(message, _): &&(ClientMessage, ServerMessage)| matches!(message, ClientMessage::LoginRequest { .. });
    tape.iter().rfind(is_login).map(|(_, answer)| answer.session_id())
}

/// What a message is, without what is in it.
fn name(message: &ServerMessage) -> &'static str {
    match message {
        ServerMessage::RegistrationResponse { .. } => "a registration response",
        ServerMessage::Registered { .. } => "\"registered\"",
        ServerMessage::LoginResponse { .. } => "a login response",
        ServerMessage::Refused { .. } => "a refusal",
        ServerMessage::Frame(_) => "a frame",
    }
}
