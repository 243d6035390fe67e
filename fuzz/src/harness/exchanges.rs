//! Target `client_exchange`: an honest client's exchange against a server that says anything.

use core::cell::RefCell;

use arbitrary::Unstructured;
use keystow::operation::{Request, change_password, list::ListedSecret};
use keystow::storage::{AuditAbout, AuditFilter};
use keystow::testing::{InMemoryServer, MemoryStore, hostile};
use keystow::{
    ClientMessage, ClientSession, Error, Exchange, NewSecret, PlainSecret, Refusal, ServerMessage, Unsettled, VaultPin,
    VaultTrust, client,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::action::{flip, kind, kinds};
use super::answers::Answer;
use super::input::input;
use super::pick;
use super::story::{Host, Known, LOGIN, NOW, PASSWORD, Story};

/// The most answers that one input gives.
const MAX_ANSWERS: usize = 24;
/// More than any exchange here has messages.
const ENOUGH: usize = 16;

input! {
    /// The exchange.
    pub enum Start {
        Register,
        LogIn { wrong: bool, pin: Option<u8> },
        Generate { kinds: u8 },
        Import { kind: u8, byte: u8 },
        Store { batch: u8, rebased: bool },
        Retrieve { first: u8, count: u8 },
        List,
        Salvage,
        Delete { first: u8, count: u8 },
        VerifyPin { pin: u8 },
        ChangePassword,
        Audit { limit: u8, about: u8, after: Option<u8> },
        Status,
        LogOut,
        DeleteAccount,
    }
}

/// How a message came to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Honest,
    /// Sealed with the session's keys for the message's number, or said before.
    Peer,
    /// Neither.
    Stranger,
}

struct Meeting<'a> {
    story: &'a mut Story,
    host: Host,
    answers: Vec<Answer>,
    said: Vec<ServerMessage>,
    /// The heads that the exchange proposed.
    proposed: Vec<VaultPin>,
    /// Whether all that it has taken so far was an honest server's.
    honest: bool,
    /// The epoch of the server's vault; none if it was put back or forward meanwhile.
    vault: Option<usize>,
}

/// What an exchange ended with.
type Ended<T> = Option<Result<T, Refusal>>;

/// Target `client_exchange`.
pub fn client_exchange(data: &[u8]) {
    thread_local! {
        static STORY: RefCell<Story> = RefCell::new(Story::new());
    }
    let Some((vault, start, answers)) = meeting(data) else { return };
    STORY.with_borrow_mut(|story| Meeting::new(story, vault, answers).hold(start));
}

/// What an input stands for: the epoch of the server's vault, the exchange, and the answers.
pub fn meeting(data: &[u8]) -> Option<(u8, Start, Vec<Answer>)> {
    let mut rest = Unstructured::new(data);
    let (vault, start) = (rest.arbitrary().ok()?, rest.arbitrary().ok()?);
    let next = || (!rest.is_empty()).then(|| rest.arbitrary().ok()).flatten();
    Some((vault, start, core::iter::from_fn(next).take(MAX_ANSWERS).collect()))
}

impl<'a> Meeting<'a> {
    fn new(story: &'a mut Story, vault: u8, answers: Vec<Answer>) -> Self {
        let host = InMemoryServer::new(story.server.clone(), MemoryStore::new(), 4);
        let mut meeting =
            Self { story, host, answers, said: Vec::new(), proposed: Vec::new(), honest: true, vault: None };
        meeting.vault = Some(meeting.put(vault.into()));
        meeting
    }

    /// The server has this vault now, and the session as it was when it began.
    fn put(&mut self, epoch: usize) -> usize {
        let epoch = epoch % self.story.snapshots.len();
        self.host.store.clone_from(&self.story.snapshots[epoch]);
        let (session_id, half) = self.story.half();
        self.host.sessions.insert(session_id, half);
        epoch
    }

    /// Starts an exchange that a server with a vault from `epoch` on can answer, and runs it.
    fn start<O: client::Operation>(
        &mut self,
        epoch: usize,
        start: impl FnOnce(&mut ClientSession) -> Result<Exchange<O>, Error>,
    ) -> Ended<O::Output> {
        let exchange = start(self.story.device()).unwrap();
        self.run(exchange, epoch)
    }

    /// Gives all answers, and honest ones at the end. If nobody else's was taken, and the vault stayed what it was, at `epoch`
    /// or later, the exchange gets through.
    fn run<O: client::Operation>(&mut self, mut exchange: Exchange<O>, epoch: usize) -> Ended<O::Output> {
        self.note(exchange.message());
        for answer in core::mem::take(&mut self.answers) {
            if let Some((said, source)) = self.say(exchange.message(), answer)
                && let Some(end) = self.hear(&mut exchange, said, source)
            {
                return Some(end);
            }
        }
        if !self.honest || self.vault.is_none_or(|vault| vault < epoch) {
            return None;
        }
        for _ in 0..ENOUGH {
            let (said, source) = self.say(exchange.message(), Answer::Honest).expect("an honest answer");
            if let Some(end) = self.hear(&mut exchange, said, source) {
                return Some(end);
            }
        }
        panic!("an exchange that nothing has happened to doesn't get through");
    }

    fn say(&mut self, message: &ClientMessage, answer: Answer) -> Option<(ServerMessage, Source)> {
        if let Answer::Vault { epoch } = answer {
            self.put(epoch.into());
            self.vault = None;
            return None;
        }
        let honest = self.host.answer(message.clone(), NOW).ok();
        let session_id = message.session_id().unwrap();
        let sequence = if let ClientMessage::Frame(frame) = message { frame.sequence } else { 1 };
        let (half, material) = (self.host.sessions.get(&session_id), &self.story.material);
        let said = match answer {
            Answer::Vault { .. } => return None,
            Answer::Honest => (honest?, Source::Honest),
            Answer::Altered { how } => {
                let reply = hostile::open_reply(half?, honest?).ok()?;
                let body = how.body(reply, material);
                (hostile::reply_bytes(half?, session_id, sequence, &body).ok()?, Source::Peer)
            }
            Answer::Reply { said, ahead } => {
                let reply =
                    hostile::reply(half?, session_id, sequence + u64::from(ahead), &said.reply(material)).ok()?;
                (reply, if ahead == 0 { Source::Peer } else { Source::Stranger })
            }
            Answer::Body { reply, bytes } => {
                let body = [&[reply % 14][..], &bytes].concat();
                (hostile::reply_bytes(half?, session_id, sequence, &body).ok()?, Source::Peer)
            }
            Answer::Damaged { at, xor } => {
                let mut bytes = honest?.encode().unwrap();
                flip(&mut bytes, at, xor);
                (ServerMessage::decode(&bytes).ok()?, Source::Stranger)
            }
            Answer::Plain { said } => (said.message(session_id, material), Source::Stranger),
            Answer::Again { answer } => (self.said[pick(&self.said, answer)?].clone(), Source::Peer),
        };
        self.said.push(said.0.clone());
        Some(said)
    }

    /// An `Err` leaves the exchange as it was, and nobody but the peer is blamed.
    fn hear<O: client::Operation>(
        &mut self,
        exchange: &mut Exchange<O>,
        said: ServerMessage,
        source: Source,
    ) -> Ended<O::Output> {
        let before = exchange.message().clone();
        // Registration runs over a channel that authenticates the server.
        let is_trusting =
            matches!(before, ClientMessage::RegistrationRequest { .. } | ClientMessage::RegistrationUpload { .. });
        let heard = exchange.receive(said.clone());
        let is_taken = heard.is_ok();
        self.honest &= !is_taken || source == Source::Honest;
        assert!(!is_taken || is_trusting || source != Source::Stranger, "a stranger's {said:?} is taken");
        match heard {
            Ok(None) => {
                assert_ne!(*exchange.message(), before, "an answer that leads nowhere");
                self.note(exchange.message());
                None
            }
            Ok(end) => end,
            Err(error) => {
                assert!(matches!(error, Error::Peer(_)), "a server's lie is blamed on another: {error}");
                assert_eq!(*exchange.message(), before, "an error moves an exchange on");
                None
            }
        }
    }

    /// Remembers the head that a request proposes.
    fn note(&mut self, message: &ClientMessage) {
        let Some(half) = self.host.sessions.get(&message.session_id().unwrap()) else { return };
        self.proposed.extend(match hostile::open_request(half, message.clone()) {
            Ok(Request::Store(request)) => Some(request.head.pin()),
            Ok(Request::Delete(request)) => Some(request.head.pin()),
            Ok(Request::ChangePassword(change_password::Request::Finish { head, .. })) => Some(head.pin()),
            Ok(Request::DeleteAccount(request)) => request.head.map(|head| head.pin()),
            _ => None,
        });
    }

    fn hold(mut self, start: Start) {
        let rng = &mut ChaCha20Rng::seed_from_u64(5);
        let key_ids = |first: u8, count: u8| {
            let all = &self.story.material.key_ids;
            let first = usize::from(first) % all.len();
            all[first..].iter().take(1 + usize::from(count)).copied().collect::<Vec<_>>()
        };
        match start {
            Start::Register => self.register(),
            Start::LogIn { wrong, pin } => self.log_in(wrong, pin),
            Start::Generate { kinds: bits } => {
                let pending = self.start(LOGIN, |device| device.generate(&kinds(bits), rng));
                let Some(Ok(pending)) = pending else { return };
                assert!(pending.kinds().eq(kinds(bits)), "others than were asked for");
                let secrets = self.story.open(&pending);
                assert!(secrets.iter().map(|secret| secret.key_id()).eq(pending.key_ids()));
                assert!(secrets.iter().all(|secret| secret.origin() == keystow::Origin::Generated));
            }
            Start::Import { kind: number, byte } => {
                let bytes = vec![byte; kind(number).secret_len() as usize];
                let Ok(plain) = PlainSecret::raw(kind(number), &bytes) else { return };
                let Some(Ok(pending)) = self.start(LOGIN, |device| device.import(vec![plain], rng)) else { return };
                let secrets = self.story.open(&pending);
                assert!(secrets.len() == 1 && secrets[0].expose() == bytes && secrets[0].kind() == kind(number));
            }
            Start::Store { batch, rebased } => self.store(batch, rebased),
            Start::Retrieve { first, count } => {
                let key_ids = key_ids(first, count);
                let Some(Ok(secrets)) = self.start(LOGIN, |device| device.retrieve(&key_ids)) else { return };
                assert!(secrets.iter().map(|secret| secret.key_id()).eq(key_ids), "others than were asked for");
                let is_known = |secret| self.story.known.get(&secret_id(secret)) == Some(&Known::of(secret));
                assert!(secrets.iter().all(is_known), "another secret than was stored: {secrets:?}");
            }
            Start::List => {
                let Some(Ok((listed, pin))) = self.settled(LOGIN, ClientSession::list) else { return };
                let epoch = self.on_chain(pin);
                assert!(epoch >= LOGIN, "an old list");
                assert!(listed.iter().map(|secret| &secret.key_id).eq(&self.story.live[epoch]), "another list");
                self.check_listed(&listed);
            }
            Start::Salvage => {
                let Some(Ok(listed)) = self.start(LOGIN, ClientSession::salvage) else { return };
                assert!(listed.is_sorted_by_key(|secret| secret.key_id), "a list out of order");
                self.check_listed(&listed);
            }
            Start::Delete { first, count } => {
                let key_ids = key_ids(first, count);
                let Some(Ok(((), pin))) = self.settled(LOGIN, |device| device.delete(&key_ids)) else { return };
                assert_eq!(self.proposed.last(), Some(&pin), "a head that isn't the deletion's");
            }
            Start::VerifyPin { pin } => {
                let pins = self.story.pins();
                let shown = pins[usize::from(pin) % pins.len()];
                let epoch = self.since(Some(shown)).max(LOGIN);
                let Some(Ok(((), pin))) = self.settled(epoch, |device| device.verify_pin(shown)) else { return };
                assert!(self.on_chain(pin) >= self.on_chain(shown), "a pin that is not on the chain");
            }
            Start::ChangePassword => {
                let Some(Ok(((), pin))) = self.settled(LOGIN, |device| device.change_password("another", rng)) else {
                    return;
                };
                assert_eq!(self.proposed.last(), Some(&pin), "a head that isn't the change's");
            }
            Start::Audit { limit, about, after } => self.audit(limit, about, after),
            Start::Status => drop(self.start(LOGIN, ClientSession::status)),
            Start::LogOut => {
                self.story.device();
                let exchange = self.story.device.take().unwrap().log_out().unwrap();
                self.run(exchange, LOGIN);
            }
            Start::DeleteAccount => drop(self.start(LOGIN, ClientSession::delete_account)),
        }
    }

    /// Runs and settles: gives what there was, and the pin that the device keeps then. The device starts anew after it.
    fn settled<T, O: client::Operation<Output = Unsettled<T>>>(
        &mut self,
        epoch: usize,
        start: impl FnOnce(&mut ClientSession) -> Result<Exchange<O>, Error>,
    ) -> Ended<(T, VaultPin)> {
        let unsettled = match self.start(epoch, start)? {
            Ok(unsettled) => unsettled,
            Err(refusal) => return Some(Err(refusal)),
        };
        let mut device = self.story.device.take().unwrap();
        let before = device.pin();
        let output = device.settle(unsettled).unwrap();
        let after = device.pin();
        assert!(after.epoch() > before.epoch() || after == before, "a device goes back, or over to another chain");
        let is_proposed = self.proposed.contains(&after);
        assert!(is_proposed || self.story.chain.contains(&after), "a head that no device has sealed");
        Some(Ok((output, after)))
    }

    /// Since which epoch a vault has the pin's head: never, if it is another's.
    fn since(&self, pin: Option<VaultPin>) -> usize {
        let place = |pin| self.story.chain.iter().position(|other| *other == pin);
        pin.map_or(0, |pin| place(pin).unwrap_or(usize::MAX))
    }

    /// The place of a pin that must be on the chain.
    fn on_chain(&self, pin: VaultPin) -> usize {
        self.story.chain.iter().position(|other| *other == pin).expect("a pin of the vault's chain")
    }

    fn check_listed(&self, listed: &[ListedSecret]) {
        for secret in listed {
            let known = self.story.known.get(&secret.key_id).expect("a secret that a device has made");
            let (kind, origin, public) = (secret.kind, secret.origin, secret.public);
            assert_eq!((kind, origin, public), (known.kind, known.origin, known.public), "another secret is listed");
        }
    }

    fn register(&mut self) {
        let new = self.story.new.clone();
        let exchange = new.register(PASSWORD, &mut ChaCha20Rng::seed_from_u64(5)).unwrap();
        if let Some(Ok(registered)) = self.run(exchange, 0) {
            assert_eq!(registered.pin.epoch(), 0, "a new vault is not empty");
            let row = self.host.store.accounts.get(new.account());
            assert!(
                !self.honest || self.vault.is_none() || row.is_some_and(|row| row.user_id == registered.user_id),
                "no account"
            );
        }
    }

    fn log_in(&mut self, wrong: bool, pin: Option<u8>) {
        let pins = self.story.pins();
        let pin = pin.map(|pin| pins[usize::from(pin) % pins.len()]);
        let password = if wrong { "123456" } else { PASSWORD };
        let exchange = self.story.ada.log_in(password, pin, &mut ChaCha20Rng::seed_from_u64(5)).unwrap();
        let epoch = if wrong { usize::MAX } else { self.since(pin) };
        let Some(Ok(session)) = self.run(exchange, epoch) else { return };
        assert!(!wrong, "a guess logs in");
        assert_eq!(session.user_id(), self.story.user_id, "a login to another account");
        let epoch = self.on_chain(session.pin());
        assert_eq!(session.trust(), if pin.is_some() { VaultTrust::Pinned } else { VaultTrust::FirstUse });
        assert!(pin.is_none_or(|pin| self.on_chain(pin) <= epoch), "a vault that was put back is not noticed");
    }

    /// A batch is called stored before if a head has taken it up, and new if none has that the device knows of.
    fn store(&mut self, batch: u8, rebased: bool) {
        let batch = usize::from(batch) % self.story.batches.len();
        let (pending, stored_at) = (self.story.batches[batch].pending.clone(), self.story.batches[batch].stored_at);
        let pending = if rebased { self.story.device().rebase(&pending).unwrap() } else { pending };
        let Some(Ok((stored, pin))) = self.settled(LOGIN, |device| device.store(&pending)) else { return };
        assert!(stored.iter().map(|secret| secret.key_id).eq(pending.key_ids()), "other secrets are stored");
        for NewSecret { key_id, kind, public, already_stored } in stored {
            let known = &self.story.known[&key_id];
            assert_eq!((kind, public), (known.kind, known.public), "another public component");
            if already_stored {
                // A head of this very exchange may have, under a reply that was another.
                let is_taken_up = stored_at.is_some() || self.proposed.contains(&pin);
                assert!(is_taken_up, "what no head has taken up is called stored");
            } else {
                let taken_up_at = stored_at.map_or(u64::MAX, |epoch| epoch as u64);
                assert!(self.proposed.last() == Some(&pin) && pin.epoch() <= taken_up_at, "a batch is made twice");
            }
        }
    }

    fn audit(&mut self, limit: u8, about: u8, after: Option<u8>) {
        let about = [AuditAbout::All, AuditAbout::Account, AuditAbout::Secrets][usize::from(about) % 3];
        let filter = AuditFilter { about, ..AuditFilter::default() };
        let entries = &self.story.material.audit;
        let after = after.map(|after| entries[usize::from(after) % entries.len()].place());
        let limit = u16::from(limit) + 1;
        let Some(Ok(page)) = self.start(LOGIN, |device| device.audit(filter.clone(), after, limit)) else { return };
        let is_ours = page.entries.iter().all(|entry| entry.user_id() == self.story.user_id && filter.takes(entry));
        assert!(is_ours && page.entries.len() <= usize::from(limit), "not what was asked for");
        let places: Vec<_> = after.into_iter().chain(page.entries.iter().map(|entry| entry.place())).collect();
        assert!(places.is_sorted_by(|a, b| a < b), "a trail that goes back");
    }
}

fn secret_id(secret: &keystow::RetrievedSecret) -> keystow::KeyId {
    secret.key_id()
}
