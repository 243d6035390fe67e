//! The ledger: what the store must hold besides what the undisturbed run leaves there, and why. It is kept by what has reached
//! the store under which message, not by what the store says that it did.

use std::collections::{BTreeMap, BTreeSet};

use keystow::storage::{Action, AuditEntry};
use keystow::testing::MemoryStore;

/// What a run leaves behind in excess of its one effect.
#[derive(Clone, Debug, Default, Hash)]
pub struct Ledger {
    /// The messages whose write was reached, by their hashes.
    reached: BTreeSet<u64>,
    /// Entries of the trail: the action, and whether it was granted.
    entries: BTreeMap<(&'static str, bool), i64>,
    /// Attempts that were charged and not given back.
    charges: i64,
    /// Attempts that two logins report: one was granted after the other had taken its attempt for a spent one.
    reported_twice: i64,
    pub deleted: bool,
    /// Another device has stored a secret.
    pub raced: bool,
}

impl Ledger {
    fn enter(&mut self, action: &'static str, granted: bool) {
        *self.entries.entry((action, granted)).or_default() += 1;
    }

    /// A message's write has reached the store, and no condition was in its way.
    pub fn reach(&mut self, operation: &str, is_first: bool, message: u64) {
        // A charge alone is charged whenever it is written; all else counts once, however often it is.
        if is_first && operation == "log_in" {
            self.charges += 1;
            return;
        }
        if !self.reached.insert(message) {
            return;
        }
        match operation {
            "log_in" => {
                self.charges -= 1;
                self.enter("LogIn", true);
            }
            "retrieve" => self.enter("Retrieve", true),
            "list" => self.enter("List", true),
            // The first is what the person wanted; another message finds the tombstones.
            "delete" if std::mem::replace(&mut self.deleted, true) => self.enter("Delete", false),
            // Changes of the vault are made once in a run, whichever message makes them.
            "register" | "store" | "delete" | "change_password" | "delete_account" | "heads" => {}
            other => panic!("an operation that the ledger doesn't know: {other}"),
        }
    }

    /// A login was granted so late that another one has reported its attempt, and those before it. It takes as many away from
    /// the unreported ones, if there are any.
    pub fn granted_late(&mut self, attempts_spent: u32, unseen: u32) {
        self.reported_twice += i64::from((attempts_spent + 1).saturating_sub(unseen));
    }

    /// A message's write was refused, with this entry beside the refusal; or with none, if the vault's head was in its way.
    pub fn refuse(&mut self, otherwise: Option<&AuditEntry>, message: u64) {
        if let Some(entry) = otherwise
            && self.reached.insert(!message)
        {
            self.enter(name(entry.action()), false);
        }
    }
}

fn name(action: Action) -> &'static str {
    match action {
        Action::Register => "Register",
        Action::LogIn { .. } => "LogIn",
        Action::Store => "Store",
        Action::Retrieve => "Retrieve",
        Action::List => "List",
        Action::Delete => "Delete",
        Action::ChangePassword => "ChangePassword",
        Action::DeleteAccount => "DeleteAccount",
    }
}

/// A store in figures, less what the ledger explains.
#[derive(Debug, PartialEq, Eq)]
pub struct Figures {
    accounts: usize,
    epochs: u64,
    heads: usize,
    live: usize,
    tombstones: usize,
    gone: usize,
    entries: BTreeMap<(&'static str, bool), i64>,
    charges: i64,
    /// Attempts that a login has reported as spent, or that the next one will.
    spent: Option<i64>,
}

impl Figures {
    pub fn of(store: &MemoryStore, ledger: &Ledger) -> Self {
        let live = store.secrets.values().filter(|record| record[1] == 0).count();
        let attempts = || store.attempts.values();
        let mut entries: BTreeMap<_, i64> = BTreeMap::new();
        let mut spent: i64 = attempts().map(|attempts| i64::from(attempts.unseen)).sum();
        for entry in store.audit.values() {
            *entries.entry((name(entry.action()), entry.granted())).or_default() += 1;
            if let Action::LogIn { attempts_spent } = entry.action() {
                spent += i64::from(attempts_spent);
            }
        }
        // The trail goes with the account, and what was reported there.
        let is_there = store.accounts.len() > 1;
        let raced = is_there && ledger.raced;
        if raced {
            *entries.entry(("Store", true)).or_default() -= 1;
        }
        if is_there {
            for (kind, count) in &ledger.entries {
                *entries.entry(*kind).or_default() -= count;
            }
        }
        entries.retain(|_, count| *count != 0);
        Self {
            epochs: store.accounts.values().map(|row| row.epoch).sum::<u64>() - u64::from(raced),
            accounts: store.accounts.len(),
            heads: store.heads.len() - usize::from(raced),
            live: live - usize::from(raced),
            tombstones: store.secrets.len() - live,
            gone: store.gone.len(),
            entries,
            charges: attempts().map(|attempts| i64::from(attempts.count)).sum::<i64>() - ledger.charges,
            spent: is_there.then_some(spent - ledger.charges - ledger.reported_twice),
        }
    }
}
