//! A device: what it keeps through a crash, what it doesn't, and the exchange that it is in, whichever it is.

use std::collections::BTreeSet;

use keystow::client::Operation;
use keystow::operation::audit::AuditPage;
use keystow::operation::list::ListedSecret;
use keystow::*;

use crate::event::Act;

/// What exchanges end with.
pub enum Output {
    Registered(Registered),
    Session(Box<ClientSession>),
    Pending(PendingSecrets),
    Stored(Unsettled<Vec<NewSecret>>),
    Retrieved(Vec<RetrievedSecret>),
    Listed(Unsettled<Vec<ListedSecret>>),
    Changed(Unsettled<()>),
    Audited(AuditPage),
    Nothing,
}

trait Running {
    fn message(&self) -> &ClientMessage;
    fn receive(&mut self, message: ServerMessage) -> Result<Option<Result<Output, Refusal>>, Error>;
}

struct Run<O: Operation>(Exchange<O>, fn(O::Output) -> Output);

impl<O: Operation> Running for Run<O> {
    fn message(&self) -> &ClientMessage {
        self.0.message()
    }

    fn receive(&mut self, message: ServerMessage) -> Result<Option<Result<Output, Refusal>>, Error> {
        Ok(self.0.receive(message)?.map(|outcome| outcome.map(self.1)))
    }
}

/// What an exchange is for.
#[derive(Clone, Debug)]
pub enum Task {
    Register,
    /// With the password of this number.
    LogIn(usize),
    /// Secrets that are made, or these.
    Make(Option<Vec<Vec<u8>>>),
    Store(Vec<u8>, Vec<KeyId>),
    /// These, and whether they were there for sure when it began.
    Retrieve(Vec<KeyId>, bool),
    /// What was there for sure when it began, and what was gone.
    List {
        there: BTreeSet<KeyId>,
        gone: BTreeSet<KeyId>,
    },
    Delete(KeyId, bool),
    /// To the password of this number.
    ChangePassword(usize),
    Compare,
    Audit,
    Status,
    LogOut,
    DeleteAccount,
    /// Something that must be refused.
    Trespass,
}

/// An exchange under way.
pub struct Talk {
    exchange: Box<dyn Running>,
    pub task: Task,
    pub sent: bool,
}

impl Talk {
    pub fn new<O: Operation + 'static>(task: Task, exchange: Exchange<O>, output: fn(O::Output) -> Output) -> Self {
        Self { exchange: Box::new(Run(exchange, output)), task, sent: false }
    }

    pub fn message(&self) -> &ClientMessage {
        self.exchange.message()
    }

    pub fn receive(&mut self, message: ServerMessage) -> Result<Option<Result<Output, Refusal>>, Error> {
        self.exchange.receive(message)
    }

    pub fn session_id(&self) -> Option<SessionId> {
        self.message().session_id().ok()
    }
}

#[derive(Default)]
pub struct Device {
    pub person: usize,
    // Kept.
    pub pin: Option<VaultPin>,
    pub server_key: Option<ServerKey>,
    pub pending: Vec<Vec<u8>>,
    // Gone with a crash.
    pub session: Option<ClientSession>,
    pub talk: Option<Talk>,
    pub goal: Option<Act>,
    /// How many passwords have failed in a row.
    pub tries: usize,
    /// Whether its program will be gone when its next change is answered, and whether before or after that is settled.
    pub will_crash: Option<bool>,
    /// Sessions that it has forgotten, or that are over.
    pub old: Vec<ClientSession>,
    /// How often it has seen the whole vault.
    pub lists: usize,
    /// The audit trail that it saw last.
    pub trail: Vec<AuditEntry>,
    /// When it may try again.
    pub waits: Option<Timestamp>,
}

impl Device {
    pub fn drop_session(&mut self) {
        self.talk = None;
        self.old.extend(self.session.take());
    }

    pub fn crash(&mut self) {
        self.drop_session();
        self.goal = None;
        self.tries = 0;
        self.will_crash = None;
    }

    pub fn is_idle(&self) -> bool {
        self.talk.is_none() && self.goal.is_none()
    }
}
