//! Target `lying_store`: the people, the server and its embedder's loop over the store.

use std::collections::{BTreeMap, VecDeque};

use keystow::operation::{Reply, heads};
use keystow::storage::Outcome;
use keystow::testing::hostile;
use keystow::{
    AccountName, CallerFault, Client, ClientMessage, ClientSession, Error, Exchange, KeyId, PeerFault, PendingSecrets,
    Refusal, SealedHead, Server, ServerMessage, ServerSession, SessionId, Step, Timestamp, Unsettled, UserId, VaultPin,
    client,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::delivery::Portrait;
use super::forest::Forest;
use super::ledger::Ledger;
use super::lies::{LyingStore, ReadLie, WriteLie};
use super::lying_store::Start;

pub const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// So often a client sends before it gives up.
const TRIES: usize = 12;

pub struct Scene {
    server: Server,
    pub people: [Client; 3],
    pub store: LyingStore,
    pub lies: VecDeque<(ReadLie, WriteLie)>,
    sessions: BTreeMap<SessionId, Half>,
    pub devices: Vec<ClientSession>,
    pub batches: Vec<PendingSecrets>,
    pub key_ids: Vec<KeyId>,
    pub pins: Vec<(AccountName, UserId, VaultPin)>,
    pub forest: Forest,
    pub ledger: Ledger,
    pub rng: ChaCha20Rng,
    /// Whether the pin that is asked about is another vault's.
    pub is_strange: bool,
}

/// The server's half of a session, and what it answered last.
struct Half {
    session: ServerSession,
    last: Option<(ClientMessage, ServerMessage)>,
    /// Whether that ended the session.
    is_over: bool,
}

impl Scene {
    pub fn new(start: &Start) -> Self {
        let mut forest = Forest::default();
        start.pins.iter().for_each(|(_, _, pin)| forest.plant(*pin));
        Self {
            server: start.server.clone(),
            people: start.people.clone(),
            store: LyingStore::new(start.store.clone()),
            lies: VecDeque::new(),
            sessions: BTreeMap::new(),
            devices: Vec::new(),
            batches: Vec::new(),
            key_ids: Vec::new(),
            pins: start.pins.clone(),
            forest,
            ledger: Ledger::default(),
            rng: ChaCha20Rng::seed_from_u64(3),
            is_strange: false,
        }
    }

    /// A message at the server; `None` if there is no answer.
    fn deliver(&mut self, message: &ClientMessage) -> Option<ServerMessage> {
        let id = message.session_id().unwrap();
        let mut half = self.sessions.remove(&id).unwrap_or_else(|| Half::new(self.server.accept(&mut self.rng)));
        let (before, lies) =
            (Portrait::of(&half.session), self.lies.pop_front().unwrap_or((ReadLie::No, WriteLie::No)));
        let mut told = None;
        let answer = self.drive(&mut half.session, message, lies, &mut told);
        match &answer {
            Ok(reply) => {
                half.check_granted(reply, told);
                half.is_over |= half.ends_with(reply);
                half.last = Some((message.clone(), reply.clone()));
            }
            Err(error) => {
                assert_eq!(Portrait::of(&half.session), before, "{error:?} changed the session");
                half.check_last();
                if let Some(error) = error {
                    let is_explained = self.store.lied && matches!(error, Error::Stored(_));
                    let is_late = half.is_over && matches!(error, Error::Peer(_));
                    assert!(is_explained || is_late, "the store's lie is blamed on another: {error}");
                }
            }
        }
        if answer.is_ok() || half.last.is_some() {
            self.sessions.insert(id, half);
        }
        answer.ok()
    }

    /// The embedder's loop; an `Err` without an error is a step that was dropped.
    fn drive(
        &mut self,
        session: &mut ServerSession,
        message: &ClientMessage,
        (read_lie, write_lie): (ReadLie, WriteLie),
        told: &mut Option<Outcome>,
    ) -> Result<ServerMessage, Option<Error>> {
        let mut step = session.receive(message.clone(), NOW).map_err(Some)?;
        loop {
            step = match step {
                Step::Read(read) => {
                    let found = self.store.read(read.query(), read_lie).ok_or(None)?;
                    read.found(found).map_err(Some)?
                }
                Step::Write(write) => {
                    *told = self.store.apply(write.transaction(), write_lie);
                    return write.settle(told.ok_or(None)?).map_err(Some);
                }
                Step::Reply(reply) => return Ok(reply),
            }
        }
    }

    /// Runs an exchange until it ends or gives up. Only a store that has lied keeps it from ending well.
    pub fn run<O: client::Operation>(
        &mut self,
        mut exchange: Exchange<O>,
        mut base: Option<VaultPin>,
    ) -> Option<O::Output> {
        for _ in 0..TRIES {
            let message = exchange.message().clone();
            self.note(&message, base);
            let Some(answer) = self.deliver(&message) else { continue };
            let heads = self.heads_in(&answer);
            match exchange.receive(answer) {
                Ok(None) => base = heads.or(base),
                Ok(Some(Ok(output))) => return Some(output),
                Ok(Some(Err(_refusal))) => return None,
                Err(error) => {
                    assert_eq!(*exchange.message(), message, "an error moves an exchange on");
                    let is_closed = error == Error::Caller(CallerFault::VaultClosed);
                    let is_explained =
                        self.store.lied || self.is_strange || matches!(error, Error::Peer(PeerFault::Refused(_)));
                    assert!(is_closed || is_explained && matches!(error, Error::Peer(_)), "{error}");
                }
            }
        }
        None
    }

    /// Remembers the head that a request proposes, as the one after `base`.
    fn note(&mut self, message: &ClientMessage, base: Option<VaultPin>) {
        let Some(half) = self.sessions.get(&message.session_id().unwrap()) else { return };
        if let (Some(base), Ok(request)) = (base, hostile::open_request(&half.session, message.clone())) {
            self.forest.grow(base, &request);
        }
    }

    /// The newest head that an answer shows.
    fn heads_in(&self, answer: &ServerMessage) -> Option<VaultPin> {
        let half = self.sessions.get(&answer.session_id())?;
        match hostile::open_reply(&half.session, answer.clone()) {
            Ok(Reply::Heads(heads::Reply { heads, .. })) => heads.last().map(SealedHead::pin),
            _ => None,
        }
    }

    pub fn start<O: client::Operation>(
        &mut self,
        device: usize,
        start: impl FnOnce(&mut ClientSession) -> Result<Exchange<O>, Error>,
    ) -> Option<O::Output> {
        let session = &mut self.devices[device];
        let base = session.pin();
        match start(session) {
            Ok(exchange) => self.run(exchange, Some(base)),
            Err(error) => {
                assert_eq!(error, CallerFault::VaultClosed.into());
                None
            }
        }
    }

    /// The same, and settles: the device's head goes on along one path of heads that devices have sealed.
    pub fn settle<T, O: client::Operation<Output = Unsettled<T>>>(
        &mut self,
        device: usize,
        start: impl FnOnce(&mut ClientSession) -> Result<Exchange<O>, Error>,
    ) -> Option<(T, VaultPin)> {
        let before = self.devices[device].pin();
        let unsettled = self.start(device, start)?;
        let session = &mut self.devices[device];
        let output = session.settle(unsettled).unwrap();
        let (after, user_id) = (session.pin(), session.user_id());
        assert!(self.forest.has(after), "a head that no device has sealed");
        assert!(self.forest.leads(before, after), "a device is led to another path");
        let name = self.pins.iter().find(|(_, owner, _)| *owner == user_id)?.0.clone();
        self.pins.push((name, user_id, after));
        Some((output, after))
    }
}

impl Half {
    fn new(session: ServerSession) -> Self {
        Self { session, last: None, is_over: false }
    }

    /// Whether this reply is the session's last.
    fn ends_with(&self, reply: &ServerMessage) -> bool {
        match hostile::open_reply(&self.session, reply.clone()) {
            Ok(Reply::Refused(Refusal::SessionEnded) | Reply::LogOut(_)) => true,
            Ok(Reply::DeleteAccount(reply)) => reply.done,
            _ => false,
        }
    }

    /// What is granted was written, by the store's own word.
    fn check_granted(&self, reply: &ServerMessage, told: Option<Outcome>) {
        let is_granted = match reply {
            ServerMessage::Refused { .. } => false,
            ServerMessage::Frame(_) => {
                !matches!(hostile::open_reply(&self.session, reply.clone()), Ok(Reply::Refused(_)))
            }
            _ => true,
        };
        let is_written = told.is_none_or(|told| matches!(told, Outcome::Applied | Outcome::Repeated));
        assert!(is_written || !is_granted, "{told:?} is answered with {reply:?}");
    }

    /// The last reply is still there.
    fn check_last(&mut self) {
        if let Some((message, reply)) = &self.last {
            match self.session.receive(message.clone(), NOW) {
                Ok(Step::Reply(again)) => assert_eq!(&again, reply, "an error changed the last reply"),
                other => panic!("an error lost the last reply: {other:?}"),
            }
        }
    }
}
