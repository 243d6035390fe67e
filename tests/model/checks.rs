//! What must hold of every history: of each step that the server took, and of what the store has at the end.

use std::collections::{BTreeMap, BTreeSet};

use keystow::storage::{AccountQuery, Change, Conflict, Guard, Outcome, Transaction};
use keystow::*;

use crate::reference::Property;
use crate::site::{Step, Written};
use crate::world::History;

impl History {
    /// What speaks against a property.
    pub fn against(&self, property: Property) -> Vec<String> {
        let told = self.violations.iter().filter(|(violated, _)| *violated == property);
        let mut against: Vec<String> = told.map(|(_, what)| what.clone()).collect();
        against.extend(match property {
            Property::NothingIsLost => self.stale(),
            Property::NothingIsTwice => [self.twice(), self.served_again()].concat(),
            Property::NothingCrosses => self.crossed(),
            Property::NoSessionSurvives => self.survived(),
            Property::EveryAttemptIsCharged => self.uncharged(),
            Property::EveryTransactionIsAudited => self.unaudited(),
            Property::EverybodyGetsThrough => self.cut_off(),
        });
        against
    }

    /// The transactions that were applied, with the number of their steps.
    pub fn applied(&self) -> impl Iterator<Item = (usize, &Step, &Transaction)> {
        let applied = |step: &'_ Step| step.wrote.as_ref().is_some_and(Written::is_applied);
        let applied = self.steps.iter().enumerate().filter(move |(_, step)| applied(step));
        applied.filter_map(|(number, step)| Some((number, step, &step.wrote.as_ref()?.transaction)))
    }

    pub fn changes(&self) -> impl Iterator<Item = (usize, &Step, &Change)> {
        self.applied().flat_map(|(number, step, transaction)| {
            transaction.changes.iter().map(move |change| (number, step, change))
        })
    }

    /// A page is what the vault held when the page's entry was written: no change came between.
    fn stale(&self) -> Vec<String> {
        let mut against = vec![];
        for (number, step, transaction) in self.applied() {
            let Some(entry) = transaction.audit.as_ref().filter(|entry| entry.action() == Action::List) else {
                continue;
            };
            let between = |(other, _, change): (usize, &Step, &Change)| {
                let is_own = matches!(change, Change::AppendHead { user_id, .. } if *user_id == entry.user_id());
                is_own && step.began <= other && other < number
            };
            if self.changes().any(between) {
                against.push(format!("step {number} lists what has changed since"));
            }
        }
        against
    }

    fn twice(&self) -> Vec<String> {
        let (mut against, mut stored, mut made) = (vec![], BTreeSet::new(), BTreeSet::new());
        let mut heads = BTreeSet::new();
        for (number, _, change) in self.changes() {
            let again = match change {
                Change::StoreSecret { user_id, key_id, .. } => !stored.insert((*user_id, *key_id)),
                Change::CreateAccount { user_id, .. } => !made.insert(*user_id),
                Change::AppendHead { user_id, epoch, .. } => !heads.insert((*user_id, *epoch)),
                _ => false,
            };
            if again {
                against.push(format!("step {number} does again: {change:?}"));
            }
        }
        for (name, account) in &self.store.accounts {
            let epochs = heads.iter().filter(|(user_id, _)| *user_id == account.user_id).count();
            if u64::try_from(epochs) != Ok(account.epoch) {
                against.push(format!("{name:?} stands at epoch {} after {epochs} changes", account.epoch));
            }
        }
        against
    }

    fn crossed(&self) -> Vec<String> {
        let (mut against, mut owners) = (vec![], BTreeMap::new());
        for (number, step, change) in self.changes() {
            let (Change::StoreSecret { user_id, .. } | Change::DeleteSecret { user_id, .. }) = change else { continue };
            if *owners.entry(step.session).or_insert(*user_id) != *user_id {
                against.push(format!("step {number}: a session changes two people's secrets"));
            }
        }
        for ((user_id, key_id), record) in &self.store.secrets {
            // Version, variant, length of the header, its version, then its user ID.
            if record[1] == 0 && record[4..20] != user_id.as_bytes()[..] {
                against.push(format!("{key_id} lies with {user_id}, and isn't that user's"));
            }
        }
        against
    }

    /// Every login response that left was charged before, every refund belongs to one granted login, and no window has more
    /// failed attempts than the limit.
    fn uncharged(&self) -> Vec<String> {
        let limit = ServerPolicy::default().attempt_limit;
        let (mut against, mut charged, mut refunded) = (vec![], BTreeSet::new(), BTreeSet::new());
        let mut windows: BTreeMap<(CounterId, Timestamp), u32> = BTreeMap::new();
        for (number, step) in self.steps.iter().enumerate() {
            let written = step.wrote.as_ref().filter(|wrote| wrote.is_applied());
            for change in written.iter().flat_map(|wrote| &wrote.transaction.changes) {
                match change {
                    Change::ChargeAttempt { counter, window_ends, .. } => {
                        charged.insert((step.session, *counter));
                        let spent = windows.entry((*counter, *window_ends)).or_default();
                        *spent += 1;
                        if *spent > limit {
                            against.push(format!("step {number}: {spent} attempts in a window"));
                        }
                    }
                    Change::RefundAttempt { counter, window_ends, .. } => {
                        if !charged.contains(&(step.session, *counter)) || !refunded.insert(step.session) {
                            against.push(format!("step {number}: a refund too many"));
                        }
                        if !self.honest.contains(&step.session.0) {
                            against.push(format!("step {number}: a stranger logs in"));
                        }
                        let spent = windows.entry((*counter, *window_ends)).or_default();
                        *spent = spent.saturating_sub(1);
                    }
                    _ => {}
                }
            }
            if let (ClientMessage::LoginRequest { account, .. }, Some(ServerMessage::LoginResponse { .. })) =
                (&step.message, &step.sent)
                && !charged.contains(&(step.session, AccountQuery::new(account.clone()).counter()))
            {
                against.push(format!("step {number}: a login response leaves before its charge"));
            }
        }
        for (counter, attempts) in &self.store.attempts {
            let spent = windows.get(&(*counter, attempts.window_ends)).copied();
            if spent != Some(attempts.count) {
                against.push(format!("{} attempts are counted where {spent:?} were charged", attempts.count));
            }
        }
        against
    }

    /// The trail is what the applied transactions left in it, each with the entry of its kind.
    fn unaudited(&self) -> Vec<String> {
        let (mut against, mut trail) = (vec![], BTreeSet::new());
        for (number, step) in self.steps.iter().enumerate() {
            let Some(Written { transaction, outcome, .. }) = &step.wrote else { continue };
            let entry = match outcome {
                Outcome::Applied => transaction.audit.as_ref(),
                Outcome::Conflict(conflict) if *conflict != Conflict::Head => transaction.otherwise.as_ref(),
                _ => None,
            };
            trail.extend(entry.map(|entry| (entry.user_id(), entry.key())));
            if *outcome == Outcome::Applied {
                for change in &transaction.changes {
                    if let Change::DeleteAccount { user_id, .. } = change {
                        trail.retain(|(owner, _)| owner != user_id);
                    }
                }
                if !is_audited(transaction) {
                    against.push(format!("step {number} has no entry, or a wrong one: {transaction:?}"));
                }
            }
        }
        if !trail.iter().map(|(_, key)| key).eq(self.store.audit.keys()) {
            against.push("the store's trail is not what the transactions left".to_owned());
        }
        against
    }
}

/// Whether a transaction has the entry that `docs/protocol.md`, "Transactions", says.
fn is_audited(transaction: &Transaction) -> bool {
    let is = |action: &str| {
        let entry = transaction.audit.as_ref().filter(|entry| entry.granted());
        entry.is_some_and(|entry| format!("{:?}", entry.action()).starts_with(action))
    };
    let gone = transaction.changes.iter().any(|change| matches!(change, Change::DeleteAccount { .. }));
    transaction.changes.iter().all(|change| match change {
        Change::CreateAccount { .. } => is("Register"),
        Change::RefundAttempt { .. } => is("LogIn"),
        Change::StoreSecret { .. } => is("Store"),
        Change::DeleteSecret { .. } => is("Delete"),
        Change::ReplaceCredential { .. } => is("ChangePassword"),
        Change::PurgeSecret { .. } => is("DeleteAccount") || gone,
        Change::ChargeAttempt { .. } | Change::DeleteAccount { .. } => transaction.audit.is_none(),
        Change::AppendHead { .. } => transaction.audit.is_some(),
    })
}

/// What a session is guarded on: the account of a user.
pub fn user_of(transaction: &Transaction) -> Option<UserId> {
    let guarded = transaction.guards.iter().map(|guard| match guard {
        Guard::Credential { user_id, .. } | Guard::Head { user_id, .. } => *user_id,
    });
    guarded.chain(transaction.audit.iter().map(AuditEntry::user_id)).next()
}
