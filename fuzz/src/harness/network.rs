//! Target `network`: honest clients, an honest server and store, and between them a network that loses, repeats, reorders,
//! splices and damages what it carries.

use arbitrary::Unstructured;
use keystow::{ClientMessage, Refusal};

use super::action::{Action, Mishap, Operation, Randomness, Settle, flip};
use super::clients::{Clients, Whose};
use super::deployment::ATTEMPT_LIMIT;
use super::input::input;
use super::pick;

/// The most moves that one input makes.
const MAX_MOVES: usize = 48;

input! {
    /// What happens next. An index counts from the newest thing of its sort, and round the end.
    pub enum Move {
        /// Somebody starts something, and gives up what the same device had under way.
        Start { who: u8, begin: Begin },
        /// An exchange's message reaches the server; the answer is on its way.
        Up { exchange: u8, fault: Fault },
        /// A message from before reaches the server.
        Again { message: u8, fault: Fault },
        /// An answer reaches an exchange, its own or another's, for the first time or again.
        Down { exchange: u8, answer: u8, fault: Fault },
        /// An exchange runs to its end on a good day.
        Run { exchange: u8 },
    }
}

input! {
    pub enum Begin {
        Register,
        LogIn { guess: bool, pin: Option<u8> },
        Generate { kinds: u8 },
        Import { kind: u8, byte: u8 },
        Store { batch: u8, rebased: bool },
        Retrieve { first: u8, count: u8 },
        List { verified: bool },
        Delete { first: u8, count: u8 },
        VerifyPin { pin: u8 },
        ChangePassword,
        Audit { limit: u8 },
        Status,
        LogOut,
        DeleteAccount,
    }
}

input! {
    /// What becomes of a message's bytes.
    pub enum Fault {
        No,
        Flip { at: u16, xor: u8 },
        Cut { at: u16 },
        Extend { bytes: [u8; 4] },
        /// The rest of another one that crossed in the same direction stands behind its beginning.
        Splice { other: u8, at: u16 },
        /// The beginning of another one stands before its end.
        Spliced { other: u8, at: u16 },
        /// Two of its bytes change places.
        Swap { at: u16, with: u16 },
    }
}

/// What an input stands for.
pub fn moves(data: &[u8]) -> Vec<Move> {
    let mut rest = Unstructured::new(data);
    let next = || (!rest.is_empty()).then(|| rest.arbitrary().ok()).flatten();
    core::iter::from_fn(next).take(MAX_MOVES).collect()
}

/// Target `network`: whatever the network does, nobody is told anything untrue, and once it carries again, what is under way
/// gets through.
pub fn network(data: &[u8]) {
    let mut clients = Clients::new();
    let mut has_ended = false;
    for happens in moves(data) {
        has_ended |= happens.ends_sessions();
        let _nothing_to_do_it_with = clients.carry(happens);
        clients.check_refusals(has_ended);
    }
    clients.heal(has_ended);
    clients.finish();
}

impl Begin {
    fn action(self, who: u8) -> Action {
        let randomness = Randomness::Fresh;
        let operation = match self {
            Self::Register => return Action::Register { person: who, randomness },
            Self::LogIn { guess, pin } => return Action::LogIn { person: who, guess, pin, randomness },
            Self::Generate { kinds } => return Action::Generate { device: who, kinds, randomness },
            Self::Store { batch, rebased } => {
                return Action::Store { device: who, batch, rebased, settle: Settle::AtOnce };
            }
            Self::Retrieve { first, count } => return Action::Retrieve { device: who, first, count },
            Self::Import { kind, byte } => Operation::Import { kind, byte },
            Self::List { verified } => Operation::List { verified },
            Self::Delete { first, count } => Operation::Delete { first, count },
            Self::VerifyPin { pin } => Operation::VerifyPin { pin },
            Self::ChangePassword => Operation::ChangePassword,
            Self::Audit { limit } => Operation::Audit { limit },
            Self::Status => Operation::Status,
            Self::LogOut => Operation::LogOut,
            Self::DeleteAccount => Operation::DeleteAccount,
        };
        Action::Operate { device: who, operation, settle: Settle::AtOnce, randomness }
    }
}

impl Fault {
    fn apply(self, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
        match self {
            Self::No => {}
            Self::Flip { at, xor } => flip(bytes, at, xor),
            Self::Cut { at } => bytes.truncate(usize::from(at) % (bytes.len() + 1)),
            Self::Extend { bytes: more } => bytes.extend(more),
            Self::Splice { other, at } | Self::Spliced { other, at } => {
                let Some(other) = pick(others, other).map(|other| others[other].clone()) else { return };
                let at = usize::from(at) % (bytes.len().min(other.len()) + 1);
                let (one, rest) =
                    if matches!(self, Self::Splice { .. }) { (&*bytes, &other) } else { (&other, &*bytes) };
                *bytes = [&one[..at], &rest[at..]].concat();
            }
            Self::Swap { at, with } => {
                if !bytes.is_empty() {
                    let len = bytes.len();
                    bytes.swap(usize::from(at) % len, usize::from(with) % len);
                }
            }
        }
    }
}

impl Move {
    /// Whether sessions may be over from now on.
    fn ends_sessions(self) -> bool {
        matches!(self, Self::Start { begin: Begin::ChangePassword | Begin::LogOut | Begin::DeleteAccount, .. })
    }
}

impl Clients {
    fn carry(&mut self, happens: Move) -> Option<()> {
        match happens {
            Move::Start { who, begin } => {
                if !matches!(begin, Begin::Register | Begin::LogIn { .. }) {
                    let number = self.devices[pick(&self.devices, who)?].number;
                    self.exchanges.retain(|entry| !entry.whose.is_device(number));
                }
                self.act(begin.action(who));
            }
            Move::Up { exchange, fault } => {
                let exchange = pick(&self.exchanges, exchange)?;
                let message = self.message(exchange);
                self.up(message, fault);
            }
            Move::Again { message, fault } => {
                let message = self.messages[pick(&self.messages, message)?].clone();
                self.up(message, fault);
            }
            Move::Down { exchange, answer, fault } => {
                let (exchange, answer) = (pick(&self.exchanges, exchange)?, pick(&self.answers, answer)?);
                self.down(exchange, answer, fault);
            }
            Move::Run { exchange } => self.run(pick(&self.exchanges, exchange)?),
        }
        Some(())
    }

    fn up(&mut self, message: Vec<u8>, fault: Fault) {
        let mut crossing = message.clone();
        fault.apply(&mut crossing, &self.messages);
        self.cross(message, &crossing, Mishap::No);
    }

    /// Rule 24: a registration runs over a channel that authenticates the server. What comes over that is what was sent there.
    fn down(&mut self, exchange: usize, answer: usize, fault: Fault) {
        let (message, mut answer) = self.answers[answer].clone();
        let is_registration = matches!(self.exchanges[exchange].whose, Whose::Nobodys);
        if is_registration && (fault != Fault::No || message != self.message(exchange)) {
            return;
        }
        let answers: Vec<_> = self.answers.iter().map(|(_, answer)| answer.clone()).collect();
        fault.apply(&mut answer, &answers);
        self.answer(exchange, &answer);
    }

    /// A refusal has a reason that has nothing to do with the network.
    fn check_refusals(&mut self, has_ended: bool) {
        let gone = |key_id| {
            let mut users = self.devices.iter().map(|device| device.session.user_id());
            has_ended || users.any(|user_id| self.deployment.gone.secret(user_id, key_id))
        };
        for refusal in &self.refusals {
            let is_explained = match refusal {
                Refusal::NameTaken => !self.deployment.store.accounts.is_empty() || has_ended,
                // Of what is only pending, or somebody else's.
                Refusal::NotFound => true,
                Refusal::SessionEnded => has_ended,
                Refusal::AlreadyDeleted(key_id) | Refusal::KeyIdTaken(key_id) => gone(*key_id),
                _ => false,
            };
            assert!(is_explained, "an honest client is refused: {refusal:?}");
        }
        self.refusals.clear();
    }

    /// The network carries again: what is under way ends.
    fn heal(&mut self, has_ended: bool) {
        while let Some(exchange) = self.exchanges.len().checked_sub(1) {
            let is_excused = self.is_stuck(exchange, has_ended);
            self.run(exchange);
            self.check_refusals(has_ended);
            if self.exchanges.len() > exchange {
                let message = ClientMessage::decode(&self.message(exchange)).unwrap();
                assert!(is_excused || self.is_stuck(exchange, has_ended), "it doesn't get through: {message:?}");
                self.exchanges.pop();
            }
        }
    }

    /// Whether an exchange may be left without an answer that ends it: a name that is taken; a wrong password, an unknown
    /// account, no attempt left; a vault that is closed; another vault's pin.
    fn is_stuck(&self, exchange: usize, has_ended: bool) -> bool {
        let (store, entry) = (&self.deployment.store, &self.exchanges[exchange]);
        match &entry.whose {
            Whose::Nobodys => {
                has_ended || entry.registers.as_ref().is_some_and(|name| store.accounts.contains_key(name))
            }
            Whose::Persons(name, _) => {
                let is_spent = store.attempts.values().any(|attempts| attempts.count >= ATTEMPT_LIMIT);
                has_ended || is_spent || !store.accounts.contains_key(name) || entry.is_vain
            }
            Whose::Devices { user_id, pinned, .. } => {
                self.deployment.chains.is_closed(*user_id) || pinned.is_some_and(|pinned| pinned != *user_id)
            }
        }
    }
}
