//! What was deleted: nothing of it is promised any more, and none of it comes back.

use std::collections::BTreeSet;

use keystow::storage::{Change, Outcome, Transaction};
use keystow::{KeyId, UserId};

#[derive(Default)]
pub struct Gone {
    users: BTreeSet<UserId>,
    /// Tombstones.
    deleted: BTreeSet<(UserId, KeyId)>,
    /// Removed without a tombstone, on the way to the account's own end.
    purged: BTreeSet<(UserId, KeyId)>,
}

impl Gone {
    pub fn user(&self, user_id: UserId) -> bool {
        self.users.contains(&user_id)
    }

    pub fn secret(&self, user_id: UserId, key_id: KeyId) -> bool {
        let secret = &(user_id, key_id);
        self.user(user_id) || self.deleted.contains(secret) || self.purged.contains(secret)
    }

    pub fn tombstone(&self, user_id: UserId, key_id: KeyId) -> bool {
        self.deleted.contains(&(user_id, key_id))
    }

    /// Takes a transaction that the store applied. Rule 22: a tombstone is never stored over.
    pub fn record(&mut self, transaction: &Transaction, truth: Option<Outcome>) {
        if truth != Some(Outcome::Applied) {
            return;
        }
        for change in &transaction.changes {
            match change {
                Change::StoreSecret { user_id, key_id, .. } => {
                    assert!(!self.deleted.contains(&(*user_id, *key_id)), "the deleted secret {key_id} is back");
                }
                Change::DeleteSecret { user_id, key_id, .. } => drop(self.deleted.insert((*user_id, *key_id))),
                Change::PurgeSecret { user_id, key_id } => {
                    self.deleted.remove(&(*user_id, *key_id));
                    self.purged.insert((*user_id, *key_id));
                }
                Change::DeleteAccount { user_id, .. } => drop(self.users.insert(*user_id)),
                Change::CreateAccount { user_id, .. } => {
                    assert!(!self.user(*user_id), "the user ID of a deleted account is used again");
                }
                Change::ChargeAttempt { .. }
                | Change::RefundAttempt { .. }
                | Change::ReplaceCredential { .. }
                | Change::AppendHead { .. } => {}
            }
        }
    }
}
