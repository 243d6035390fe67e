//! What people were promised: it must hold to the end, and on another device.

use std::collections::{BTreeMap, BTreeSet};

use keystow::testing::MemoryStore;
use keystow::{AccountName, KeyId, Kind, NewSecret, PublicComponent, Registered, RetrievedSecret, UserId};

#[derive(Default)]
pub struct Ledger {
    accounts: BTreeMap<AccountName, UserId>,
    secrets: BTreeMap<(UserId, KeyId), Promise>,
    /// Batches that were acknowledged as new.
    new_batches: BTreeSet<(UserId, Vec<KeyId>)>,
}

/// What somebody knows of a secret that the server has.
struct Promise {
    kind: Kind,
    public: Option<PublicComponent>,
    /// Known once it was retrieved.
    plaintext: Option<Vec<u8>>,
}

impl Ledger {
    /// One account per name: whoever else hears of one hears of the same.
    pub fn registered(&mut self, name: &AccountName, registered: Registered, store: &MemoryStore) {
        let user_id = registered.user_id;
        assert_eq!(self.accounts.insert(name.clone(), user_id).unwrap_or(user_id), user_id, "two accounts of {name:?}");
        assert_eq!(store.accounts.get(name).map(|row| row.user_id), Some(user_id), "an acknowledged account is lost");
    }

    /// An acknowledged secret is in the store, and new once.
    pub fn stored(&mut self, user_id: UserId, batch: &[NewSecret], store: &MemoryStore) {
        let key_ids = batch.iter().map(|secret| secret.key_id).collect();
        if batch.iter().any(|secret| !secret.already_stored) {
            assert!(self.new_batches.insert((user_id, key_ids)), "a batch is new twice");
        }
        for NewSecret { key_id, kind, public, .. } in batch {
            assert!(store.secrets.contains_key(&(user_id, *key_id)), "the acknowledged secret {key_id} is not stored");
            let promise = Promise { kind: *kind, public: *public, plaintext: None };
            let known = self.secrets.entry((user_id, *key_id)).or_insert(promise);
            assert_eq!((known.kind, known.public), (*kind, *public), "{key_id} is another secret than it was");
        }
    }

    /// A retrieved secret is the one that was asked for, and the same each time.
    pub fn retrieved(&mut self, user_id: UserId, asked: &[KeyId], secrets: &[RetrievedSecret]) {
        assert!(secrets.iter().map(RetrievedSecret::key_id).eq(asked.iter().copied()), "others than {asked:?}");
        for secret in secrets {
            let plaintext = secret.expose().to_vec();
            let promise = Promise { kind: secret.kind(), public: secret.public().copied(), plaintext: None };
            let known = self.secrets.entry((user_id, secret.key_id())).or_insert(promise);
            assert_eq!((known.kind, known.public.as_ref()), (secret.kind(), secret.public()));
            let first = known.plaintext.get_or_insert_with(|| plaintext.clone());
            assert!(*first == plaintext, "{} is another secret than it was", secret.key_id());
        }
    }

    /// The secrets that this user was promised.
    pub fn of(&self, user_id: UserId) -> Vec<KeyId> {
        self.secrets.keys().filter(|(owner, _)| *owner == user_id).map(|(_, key_id)| *key_id).collect()
    }

    /// The accounts that were acknowledged are those of the store.
    pub fn check_accounts(&self, store: &MemoryStore) {
        for (name, user_id) in &self.accounts {
            assert_eq!(store.accounts.get(name).map(|row| row.user_id), Some(*user_id), "the account {name:?} is lost");
        }
    }
}
