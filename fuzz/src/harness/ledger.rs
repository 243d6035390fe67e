//! What people were promised: it must hold to the end, and on another device.

use std::collections::{BTreeMap, BTreeSet};

use keystow::operation::list::ListedSecret;
use keystow::testing::MemoryStore;
use keystow::{AccountName, KeyId, Kind, NewSecret, PublicComponent, Registered, RetrievedSecret, UserId};

use super::gone::Gone;

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
    pub fn registered(&mut self, name: &AccountName, registered: Registered, store: &MemoryStore, gone: &Gone) {
        let user_id = registered.user_id;
        if gone.user(user_id) {
            return; // a late answer
        }
        let known = self.accounts.insert(name.clone(), user_id).filter(|known| !gone.user(*known));
        assert_eq!(known.unwrap_or(user_id), user_id, "two accounts of {name:?}");
        assert_eq!(store.accounts.get(name).map(|row| row.user_id), Some(user_id), "an acknowledged account is lost");
    }

    /// An acknowledged secret is in the store, and new once.
    pub fn stored(&mut self, user_id: UserId, batch: &[NewSecret], store: &MemoryStore, gone: &Gone) {
        let key_ids: Vec<KeyId> = batch.iter().map(|secret| secret.key_id).collect();
        let is_whole = !key_ids.iter().any(|key_id| gone.secret(user_id, *key_id));
        if is_whole && batch.iter().any(|secret| !secret.already_stored) {
            assert!(self.new_batches.insert((user_id, key_ids)), "a batch is new twice");
        }
        for NewSecret { key_id, kind, public, .. } in batch {
            let is_stored = store.secrets.contains_key(&(user_id, *key_id)) || gone.secret(user_id, *key_id);
            assert!(is_stored, "the acknowledged secret {key_id} is not stored");
            self.seen(user_id, *key_id, *kind, *public);
        }
    }

    /// A secret is known by its key ID, and stays what it was.
    fn seen(&mut self, user_id: UserId, key_id: KeyId, kind: Kind, public: Option<PublicComponent>) -> &mut Promise {
        let promise = Promise { kind, public, plaintext: None };
        let known = self.secrets.entry((user_id, key_id)).or_insert(promise);
        assert_eq!((known.kind, known.public), (kind, public), "{key_id} is another secret than it was");
        known
    }

    /// A listed secret is what it was.
    pub fn listed(&mut self, user_id: UserId, secrets: &[ListedSecret]) {
        for secret in secrets {
            self.seen(user_id, secret.key_id, secret.kind, secret.public);
        }
    }

    /// A retrieved secret is the one that was asked for, and the same each time.
    pub fn retrieved(&mut self, user_id: UserId, asked: &[KeyId], secrets: &[RetrievedSecret]) {
        assert!(secrets.iter().map(RetrievedSecret::key_id).eq(asked.iter().copied()), "others than {asked:?}");
        for secret in secrets {
            let plaintext = secret.expose().to_vec();
            let known = self.seen(user_id, secret.key_id(), secret.kind(), secret.public().copied());
            let first = known.plaintext.get_or_insert_with(|| plaintext.clone());
            assert!(*first == plaintext, "{} is another secret than it was", secret.key_id());
        }
    }

    /// The secrets that this user was promised.
    pub fn of(&self, user_id: UserId, gone: &Gone) -> Vec<KeyId> {
        let own = self.secrets.keys().filter(|(owner, _)| *owner == user_id).map(|(_, key_id)| *key_id);
        own.filter(|key_id| !gone.secret(user_id, *key_id)).collect()
    }

    /// The accounts that were acknowledged, and not deleted, are those of the store.
    pub fn check_accounts(&self, store: &MemoryStore, gone: &Gone) {
        for (name, user_id) in self.accounts.iter().filter(|(_, user_id)| !gone.user(**user_id)) {
            assert_eq!(store.accounts.get(name).map(|row| row.user_id), Some(*user_id), "the account {name:?} is lost");
        }
    }
}
