//! The vaults' chains of heads, as the transactions wrote them: what a device may be told, and what a verified list holds.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use keystow::storage::{Action, Change, Outcome, Transaction};
use keystow::testing::MemoryStore;
use keystow::{KeyId, SealedHead, UserId, VaultPin};

use super::delivery::Trace;

#[derive(Default)]
pub struct Chains {
    /// The records of the heads of all accounts that are there.
    heads: BTreeMap<(UserId, u64), Vec<u8>>,
    /// The secrets that each head stands for, deleted accounts' too.
    live: BTreeMap<(UserId, u64), BTreeSet<KeyId>>,
    /// Whose deletion was begun, and the head that closed the vault.
    closed: BTreeMap<UserId, u64>,
    /// Messages of hostile devices, and whether the head in them is none.
    forged: BTreeMap<Vec<u8>, bool>,
    /// Whose hostile device has changed the vault otherwise than its head says.
    spoiled: BTreeSet<UserId>,
    /// Whose hostile device has appended a head that is none.
    broken: BTreeSet<UserId>,
}

/// The head in a record: behind the version.
fn sealed(record: &[u8]) -> SealedHead {
    SealedHead::from_bytes(record[1..].try_into().unwrap())
}

impl Chains {
    /// A message that a hostile device will send.
    pub fn forge(&mut self, message: Vec<u8>, is_garbage: bool) {
        self.forged.insert(message, is_garbage);
    }

    /// Whether the user's own hostile device has made vault faults possible.
    pub fn is_spoiled(&self, user_id: UserId) -> bool {
        self.spoiled.contains(&user_id)
    }

    /// Whether nobody can log in any more, for the same reason.
    pub fn is_broken(&self, user_id: UserId) -> bool {
        self.broken.contains(&user_id)
    }

    /// Whether the account is being deleted, or was.
    pub fn is_closed(&self, user_id: UserId) -> bool {
        self.closed.contains_key(&user_id)
    }

    /// Whether the vault was still open at this head.
    pub fn was_open(&self, user_id: UserId, epoch: u64) -> bool {
        self.closed.get(&user_id).is_none_or(|closed| epoch < *closed)
    }

    /// The epoch of the newest head.
    pub fn newest(&self, user_id: UserId) -> Option<u64> {
        Some(self.heads.range((user_id, 0)..=(user_id, u64::MAX)).next_back()?.0.1)
    }

    /// Whether the pin is of this very chain.
    pub fn has(&self, user_id: UserId, pin: VaultPin) -> bool {
        self.heads.get(&(user_id, pin.epoch())).is_some_and(|record| sealed(record).pin() == pin)
    }

    /// Whether the heads are links of this very chain, one after the other.
    pub fn has_links(&self, user_id: UserId, heads: &[SealedHead]) -> bool {
        let follows = heads.windows(2).all(|pair| pair[0].epoch() + 1 == pair[1].epoch());
        follows && heads.iter().all(|head| self.has(user_id, head.pin()))
    }

    /// Whether at one of these heads the user had these secrets and no others.
    pub fn had_exactly(&self, user_id: UserId, epochs: RangeInclusive<u64>, key_ids: &[KeyId]) -> bool {
        let key_ids = key_ids.iter().copied().collect::<BTreeSet<_>>();
        self.live.range((user_id, *epochs.start())..=(user_id, *epochs.end())).any(|(_, live)| *live == key_ids)
    }

    /// Whether at this head the user had the secret.
    pub fn had(&self, user_id: UserId, epoch: u64, key_id: KeyId) -> bool {
        self.live.get(&(user_id, epoch)).is_some_and(|live| live.contains(&key_id))
    }

    /// Takes the transaction of a message, if the store applied it. No change of a vault without its next head.
    pub fn record(&mut self, message: &[u8], transaction: &Transaction, trace: &Trace) {
        if trace.truth != Some(Outcome::Applied) {
            return;
        }
        let needs_head = |change: &Change| {
            let secrets = matches!(change, Change::StoreSecret { .. } | Change::DeleteSecret { .. });
            secrets || matches!(change, Change::ReplaceCredential { .. })
        };
        let appended = transaction.changes.iter().filter(|change| matches!(change, Change::AppendHead { .. })).count();
        let needed = usize::from(transaction.changes.iter().any(needs_head));
        assert!(appended <= 1 && appended >= needed, "{appended} heads with {transaction:?}");
        for change in &transaction.changes {
            self.write(change, &transaction.changes, trace.misread);
        }
        self.record_forged(message, transaction);
        let is_deletion = transaction.audit.as_ref().is_some_and(|entry| entry.action() == Action::DeleteAccount);
        for change in &transaction.changes {
            let Change::AppendHead { user_id, epoch, .. } = change else { continue };
            let is_spoiled = self.is_spoiled(*user_id);
            assert!(
                is_deletion || is_spoiled || !self.is_closed(*user_id),
                "a closed vault is changed: {transaction:?}"
            );
            if is_deletion {
                self.closed.entry(*user_id).or_insert(*epoch);
            }
        }
    }

    fn write(&mut self, change: &Change, all: &[Change], misread: bool) {
        match change {
            Change::CreateAccount { user_id, head, .. } => {
                self.heads.insert((*user_id, 0), head.as_bytes().to_vec());
                self.live.insert((*user_id, 0), BTreeSet::new());
            }
            Change::AppendHead { user_id, epoch, head } => {
                let before = self.newest(*user_id).expect("a chain has its first head");
                assert_eq!(*epoch, before + 1, "a head is skipped, or replaced");
                assert_eq!(sealed(head.as_bytes()).epoch(), *epoch, "a head under another epoch");
                self.heads.insert((*user_id, *epoch), head.as_bytes().to_vec());
                let mut live = self.live.get(&(*user_id, before)).cloned().unwrap_or_default();
                for change in all {
                    match change {
                        Change::StoreSecret { key_id, .. } => drop(live.insert(*key_id)),
                        Change::DeleteSecret { key_id, .. } | Change::PurgeSecret { key_id, .. } => {
                            live.remove(key_id);
                        }
                        _ => {}
                    }
                }
                self.live.insert((*user_id, *epoch), live);
            }
            Change::DeleteAccount { user_id, .. } => {
                let newest = self.newest(*user_id).expect("a chain has its first head");
                let is_empty = self.live[&(*user_id, newest)].is_empty() || self.is_spoiled(*user_id);
                assert!(is_empty || misread, "an account is deleted with what another device has stored");
                self.closed.entry(*user_id).or_insert(u64::MAX);
                self.heads.retain(|(owner, _), _| owner != user_id);
            }
            _ => {}
        }
    }

    fn record_forged(&mut self, message: &[u8], transaction: &Transaction) {
        let Some(is_garbage) = self.forged.get(message).copied() else { return };
        for change in &transaction.changes {
            match change {
                Change::AppendHead { user_id, .. } => {
                    self.spoiled.insert(*user_id);
                    self.broken.extend(is_garbage.then_some(*user_id));
                }
                Change::PurgeSecret { user_id, .. } => drop(self.spoiled.insert(*user_id)),
                _ => {}
            }
        }
    }

    /// The store has the chains of all its accounts whole, and no others.
    pub fn check(&self, store: &MemoryStore) {
        assert!(store.heads == self.heads, "the chains are not what was written");
        for row in store.accounts.values() {
            assert_eq!(self.newest(row.user_id), Some(row.epoch), "an account's epoch is not its newest head's");
        }
        let users = self.heads.keys().filter(|(_, epoch)| *epoch == 0).count();
        assert_eq!(users, store.accounts.len(), "a chain without an account, or an account without one");
    }
}
