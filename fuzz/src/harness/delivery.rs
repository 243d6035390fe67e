//! One message's way through the server, and what must hold of it.

use std::collections::BTreeMap;

use keystow::operation::{Reply, change_password, delete_account};
use keystow::storage::{Action, Change, Conflict, Guard, Outcome, Transaction};
use keystow::testing::{MemoryStore, hostile};
use keystow::{
    ClientMessage, CounterId, Error, RecordName, Refusal, ServerMessage, ServerSession, SessionId, Step, StoredFault,
    Timestamp, UserId,
};

use super::action::Mishap;
use super::deployment::{ATTEMPT_LIMIT, Deployment, Failure, RECENT_LOGIN, Slot};

/// A message, what the store did about it, and what came of it.
pub struct Delivery<'a> {
    pub id: SessionId,
    pub bytes: &'a [u8],
    pub message: ClientMessage,
    pub mishap: Mishap,
    pub before: Before,
    pub trace: Trace,
    pub result: Result<ServerMessage, Failure>,
}

/// What there was before the message: in the store, before its write.
pub struct Before {
    pub store: MemoryStore,
    session: Portrait,
}

/// What can be seen of a session. What can't be is seen by sending it its last message again.
#[derive(Debug, PartialEq, Eq)]
pub struct Portrait {
    state: String,
    user_id: Option<UserId>,
    expires: Option<Timestamp>,
}

/// What the step asked of the store.
#[derive(Default)]
pub struct Trace {
    pub read: bool,
    /// Whether the store lied to the read, and was believed.
    pub misread: bool,
    pub transaction: Option<Transaction>,
    /// Whether every secret of the transaction was there before, byte for byte.
    pub all_stored: bool,
    /// What the store did, if it did anything.
    pub truth: Option<Outcome>,
    /// What the server was told, if it was told anything.
    pub told: Option<Outcome>,
}

/// A message that was fit to be answered, and wasn't because of the store: it is answered when it comes again.
pub struct Owed {
    bytes: Vec<u8>,
    message: ClientMessage,
    now: Timestamp,
    store: MemoryStore,
    transaction: Option<Transaction>,
}

/// KE2s that left the server and attempts that were given back, by counter and window (rule 6).
#[derive(Default)]
pub struct Guesses(BTreeMap<(CounterId, Timestamp), (u32, u32)>);

impl Before {
    pub fn of(store: &MemoryStore, session: &ServerSession) -> Self {
        Self { store: store.clone(), session: Portrait::of(session) }
    }
}

impl Portrait {
    pub fn of(session: &ServerSession) -> Self {
        Self { state: format!("{session:?}"), user_id: session.user_id(), expires: session.expires() }
    }
}

impl Owed {
    /// Whether it is a first message, which any new session takes.
    pub fn opens_a_session(&self) -> bool {
        is_first(&self.message)
    }
}

impl Delivery<'_> {
    pub fn check(self, deployment: &mut Deployment, slot: &mut Slot) {
        self.check_outcome();
        self.check_repeated(deployment, slot);
        self.check_debt(deployment);
        self.check_guards();
        self.check_transaction(deployment, slot);
        deployment.guesses.count_refunds(&self.trace);
        if let Some(transaction) = &self.trace.transaction {
            deployment.gone.record(transaction, self.trace.truth);
            deployment.chains.record(self.bytes, transaction, &self.trace);
        }
        self.check_store(deployment);
        if self.trace.truth == Some(Outcome::Applied) {
            slot.applied.insert(self.bytes.to_vec());
        }
        match &self.result {
            Ok(reply) => {
                self.check_answer(reply, deployment, slot);
                deployment.owed.remove(&self.id);
                if matches!((&self.message, slot.session.user_id()), (ClientMessage::LoginFinish { .. }, Some(_))) {
                    slot.opened.get_or_insert(deployment.now);
                }
                slot.last = Some((self.message, reply.clone()));
            }
            Err(failure) => {
                self.check_failure(failure, deployment, slot);
                self.owe(deployment);
            }
        }
    }

    /// An outcome that the transaction can't have is the store's fault, and any other is taken.
    fn check_outcome(&self) {
        let (Some(transaction), Some(told)) = (&self.trace.transaction, self.trace.told) else { return };
        match &self.result {
            Ok(_) => assert!(is_possible(transaction, told), "{told:?} is taken for {transaction:?}"),
            Err(Failure::Protocol(Error::Stored(StoredFault { record: RecordName::Answer, .. }))) => {
                assert!(!is_possible(transaction, told), "{told:?} is refused for {transaction:?}");
            }
            Err(failure) => panic!("{told:?} ends in {failure:?}"),
        }
    }

    /// `Repeated` means that this very request was applied before, or that its secrets are there. Neither it nor a head
    /// that has moved writes anything.
    fn check_repeated(&self, deployment: &Deployment, slot: &Slot) {
        if self.trace.truth == Some(Outcome::Repeated) {
            let is_repeat = slot.applied.contains(self.bytes) || self.trace.all_stored;
            assert!(is_repeat, "another request's transaction is taken for this one's: {:?}", self.trace.transaction);
            assert!(deployment.store == self.before.store, "a repeat changed the store");
        }
        if self.trace.truth == Some(Outcome::Conflict(Conflict::Head)) {
            assert!(deployment.store == self.before.store, "a head that has moved leaves something behind");
        }
    }

    /// What was not answered because of the store is answered now, from the same transaction.
    fn check_debt(&self, deployment: &Deployment) {
        let Some(owed) = deployment.owed.get(&self.id) else { return };
        if self.mishap != Mishap::No || owed.bytes != self.bytes || owed.now != deployment.now {
            return;
        }
        assert!(self.result.is_ok(), "{:?} after a dropped step", self.result);
        if owed.store == self.before.store && owed.transaction.is_some() {
            assert_eq!(owed.transaction, self.trace.transaction, "a step that is run again writes the same");
        }
    }

    /// Rule 15: what is applied was guarded by the credential, and the newest head, that the account had.
    fn check_guards(&self) {
        let applied = self.trace.transaction.iter().filter(|_| self.trace.truth == Some(Outcome::Applied));
        for guard in applied.flat_map(|transaction| &transaction.guards) {
            let (Guard::Credential { user_id, .. } | Guard::Head { user_id, .. }) = guard;
            let row = self.before.store.accounts.values().find(|row| row.user_id == *user_id);
            let row = row.expect("an account that is written to");
            match guard {
                Guard::Credential { credential, .. } => {
                    assert_eq!(row.credential, *credential, "an old session, or an old login, writes");
                }
                Guard::Head { epoch, .. } => {
                    assert_eq!(row.epoch, *epoch, "a vault is read as a whole under an old head")
                }
            }
        }
    }

    /// Rules 2 and 15: a session writes under its own user and with its credential's guard, a page of a listing with its
    /// head's too; what needs a recent login has one.
    fn check_transaction(&self, deployment: &Deployment, slot: &Slot) {
        let (Some(transaction), ClientMessage::Frame(_)) = (&self.trace.transaction, &self.message) else { return };
        let user = self.before.session.user_id.expect("a session that writes has a user");
        let is_page = transaction.audit.as_ref().is_some_and(|entry| entry.action() == Action::List);
        // Its client says at which head, unless the vault is closed.
        let is_end = transaction.changes.iter().any(|change| matches!(change, Change::DeleteAccount { .. }));
        let is_guarded = match transaction.guards.as_slice() {
            [Guard::Credential { user_id, .. }] => *user_id == user && !is_page,
            [Guard::Credential { user_id, .. }, Guard::Head { user_id: other, .. }] => {
                [*user_id, *other] == [user; 2] && (is_page || is_end)
            }
            _ => false,
        };
        assert!(is_guarded, "{transaction:?}");
        assert!(transaction.changes.iter().all(|change| owner(change) == Some(user)), "{transaction:?}");
        let needs_recent = |change: &Change| {
            let purges = matches!(change, Change::PurgeSecret { .. } | Change::DeleteAccount { .. });
            purges || matches!(change, Change::ReplaceCredential { .. })
        };
        if transaction.changes.iter().any(needs_recent) {
            let opened = slot.opened.expect("a session that writes was opened");
            assert!(deployment.now <= opened.after(RECENT_LOGIN), "an old login does {transaction:?}");
        }
    }

    fn check_store(&self, deployment: &Deployment) {
        let store = &deployment.store;
        assert!(store.attempts.values().all(|attempts| attempts.count <= ATTEMPT_LIMIT), "{:?}", store.attempts);
        let mut user_ids: Vec<UserId> = store.accounts.values().map(|row| row.user_id).collect();
        user_ids.sort_unstable();
        user_ids.dedup();
        assert_eq!(user_ids.len(), store.accounts.len(), "two accounts with one user ID");
        let is_somebodys = |user_id: &UserId| user_ids.binary_search(user_id).is_ok();
        assert!(store.secrets.keys().all(|(user_id, _)| is_somebodys(user_id)), "a secret without an account");
        deployment.chains.check(store);
    }

    /// An `Err`, or a step that was dropped: the session is as it was, and the store too unless it had applied.
    fn check_failure(&self, failure: &Failure, deployment: &Deployment, slot: &mut Slot) {
        if self.trace.truth.is_none() {
            assert!(deployment.store == self.before.store, "{failure:?} changed the store");
        }
        assert_eq!(Portrait::of(&slot.session), self.before.session, "{failure:?} changed the session");
        if let Some((message, reply)) = &slot.last {
            match slot.session.receive(message.clone(), deployment.now) {
                Ok(Step::Reply(again)) => assert_eq!(&again, reply, "{failure:?} changed the last reply"),
                other => panic!("{failure:?} lost the last reply: {other:?}"),
            }
        }
    }

    fn check_answer(&self, reply: &ServerMessage, deployment: &mut Deployment, slot: &Slot) {
        if let Some((_, last)) = slot.last.as_ref().filter(|(message, _)| *message == self.message) {
            assert_eq!(reply, last, "a repeat gets another reply");
            assert!(!self.trace.read && self.trace.transaction.is_none(), "a repeat is served again");
            assert!(deployment.store == self.before.store, "a repeat changed the store");
            return;
        }
        let is_genuine = is_first(&self.message) || deployment.sent.contains(self.bytes);
        let expired = self.before.session.expires.is_some_and(|expires| deployment.now > expires);
        let is_over = is_refusal(&slot.session, reply, Refusal::SessionEnded);
        assert!(is_genuine || expired && is_over, "a tampered message is answered with {reply:?}");
        assert!(!expired || is_over && self.trace.transaction.is_none(), "a session that is over does something");
        if self.trace.truth.is_none() {
            assert!(deployment.store == self.before.store, "a reply without a write changed the store");
        }
        self.check_sequence(slot);
        self.check_written(reply, deployment, slot);
    }

    /// A request that is answered is newer than the last one.
    fn check_sequence(&self, slot: &Slot) {
        if let (ClientMessage::Frame(frame), Some((ClientMessage::Frame(last), _))) = (&self.message, &slot.last) {
            assert!(frame.sequence > last.sequence, "an old request is served");
        }
    }

    /// What the reply says was written before it left.
    fn check_written(&self, reply: &ServerMessage, deployment: &mut Deployment, slot: &Slot) {
        let is_done = matches!(self.trace.truth, Some(Outcome::Applied | Outcome::Repeated));
        match reply {
            ServerMessage::LoginResponse { .. } => {
                assert_eq!(self.trace.truth, Some(Outcome::Applied), "KE2 leaves before its charge");
                deployment.guesses.count_ke2(&self.trace);
            }
            ServerMessage::Registered { .. } => assert!(is_done, "Registered leaves before the account"),
            ServerMessage::Frame(_) => match hostile::open_reply(&slot.session, reply.clone()).unwrap() {
                Reply::Refused(_) => {}
                reply => assert!(is_done || self.needs_no_write(&reply, deployment), "{reply:?} leaves too early"),
            },
            ServerMessage::RegistrationResponse { .. } | ServerMessage::Refused { .. } => {}
        }
    }

    /// Whether a reply says nothing that a write must come before.
    fn needs_no_write(&self, reply: &Reply, deployment: &Deployment) -> bool {
        match reply {
            Reply::Generate(_) | Reply::Status(_) | Reply::LogOut(_) | Reply::Audit(_) => true,
            Reply::ChangePassword(reply) => matches!(reply, change_password::Reply::Evaluated { .. }),
            // Another device was faster, or this request itself was: the account is gone.
            Reply::DeleteAccount(delete_account::Reply { done }) => {
                *done && self.before.session.user_id.is_some_and(|user_id| deployment.gone.user(user_id))
            }
            _ => false,
        }
    }

    /// Remembers a message that only the store kept from being answered.
    fn owe(self, deployment: &mut Deployment) {
        if self.trace.read || self.trace.transaction.is_some() {
            let (bytes, now, store) = (self.bytes.to_vec(), deployment.now, deployment.store.clone());
            // What was applied may be composed otherwise the second time: a deletion finds its own tombstone.
            let transaction = self.trace.transaction.filter(|_| self.trace.truth.is_none());
            let owed = Owed { bytes, message: self.message, now, store, transaction };
            deployment.owed.insert(self.id, owed);
        }
    }

    pub fn all_stored(store: &MemoryStore, transaction: &Transaction) -> bool {
        let is_stored = |change: &Change| match change {
            Change::StoreSecret { user_id, key_id, record } => {
                store.secrets.get(&(*user_id, *key_id)).is_some_and(|stored| stored == record.as_bytes())
            }
            Change::AppendHead { .. } => true,
            _ => false,
        };
        transaction.changes.len() > 1 && transaction.changes.iter().all(is_stored)
    }
}

impl Guesses {
    fn count_refunds(&mut self, trace: &Trace) {
        let applied = trace.transaction.iter().filter(|_| trace.truth == Some(Outcome::Applied));
        for change in applied.flat_map(|transaction| &transaction.changes) {
            if let Change::RefundAttempt { counter, window_ends, .. } = change {
                self.0.entry((*counter, *window_ends)).or_default().1 += 1;
            }
        }
    }

    /// A window lets out no more KE2s than its limit and what was given back.
    fn count_ke2(&mut self, trace: &Trace) {
        let changes = trace.transaction.as_ref().map(|transaction| transaction.changes.as_slice());
        let Some([Change::ChargeAttempt { counter, window_ends, limit }]) = changes else {
            panic!("KE2 without a charge: {changes:?}");
        };
        let (ke2s, refunds) = self.0.entry((*counter, *window_ends)).or_default();
        *ke2s += 1;
        assert!(*limit == ATTEMPT_LIMIT && *ke2s <= *limit + *refunds, "{ke2s} guesses in one window");
    }
}

fn is_first(message: &ClientMessage) -> bool {
    matches!(message, ClientMessage::RegistrationRequest { .. } | ClientMessage::LoginRequest { .. })
}

fn is_refusal(session: &ServerSession, reply: &ServerMessage, expected: Refusal) -> bool {
    match reply {
        ServerMessage::Refused { refusal, .. } => *refusal == expected,
        ServerMessage::Frame(_) => hostile::open_reply(session, reply.clone()) == Ok(Reply::Refused(expected)),
        _ => false,
    }
}

/// Whether the contract lets the transaction end so.
fn is_possible(transaction: &Transaction, outcome: Outcome) -> bool {
    let Transaction { guards, changes, audit, .. } = transaction;
    let has = |is: fn(&Change) -> bool| changes.iter().any(is);
    match outcome {
        Outcome::Applied => true,
        Outcome::Repeated => audit.is_some(),
        Outcome::Moved => transaction.advance.is_some(),
        Outcome::Conflict(Conflict::Credential) => guards.iter().any(|guard| matches!(guard, Guard::Credential { .. })),
        Outcome::Conflict(Conflict::NameTaken | Conflict::UserIdTaken) => {
            has(|change| matches!(change, Change::CreateAccount { .. }))
        }
        Outcome::Conflict(Conflict::AttemptLimit) => has(|change| matches!(change, Change::ChargeAttempt { .. })),
        Outcome::Conflict(Conflict::Head) => {
            let is_guarded = guards.iter().any(|guard| matches!(guard, Guard::Head { .. }));
            is_guarded || has(|change| matches!(change, Change::AppendHead { .. }))
        }
        Outcome::Conflict(Conflict::SecretGone(gone)) => changes.iter().any(|change| match change {
            Change::DeleteSecret { key_id, .. } => *key_id == gone,
            _ => false,
        }),
        Outcome::Conflict(Conflict::KeyIdTaken(taken)) => changes.iter().any(|change| match change {
            Change::StoreSecret { key_id, .. } => *key_id == taken,
            _ => false,
        }),
    }
}

/// Whose data a change touches.
fn owner(change: &Change) -> Option<UserId> {
    match change {
        Change::CreateAccount { user_id, .. }
        | Change::StoreSecret { user_id, .. }
        | Change::DeleteSecret { user_id, .. }
        | Change::ReplaceCredential { user_id, .. }
        | Change::PurgeSecret { user_id, .. }
        | Change::DeleteAccount { user_id, .. }
        | Change::AppendHead { user_id, .. } => Some(*user_id),
        Change::ChargeAttempt { .. } | Change::RefundAttempt { .. } => None,
    }
}
