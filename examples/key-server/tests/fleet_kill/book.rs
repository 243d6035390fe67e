//! What the test knows of an account: what was acknowledged to its devices, what was not, and which pins they kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use keystow::{AccountName, Client, ClientPolicy, KeyId, KsfProfile, PendingSecrets, Registered, VaultPin};

pub const PASSWORD: &str = "survives its server";

/// An account that is registered, and its book.
pub struct Account {
    pub name: AccountName,
    pub client: Client,
    pub first_pin: VaultPin,
    book: Mutex<Book>,
}

#[derive(Default)]
pub struct Book {
    /// Stored, as the client was told, and not asked to be deleted.
    pub kept: BTreeSet<KeyId>,
    /// Deleted, as the client was told.
    pub deleted: BTreeSet<KeyId>,
    /// Asked to be deleted, without an answer.
    pub doubtful: BTreeSet<KeyId>,
    /// Made, and maybe stored: each batch by its first key ID.
    pub pending: BTreeMap<KeyId, PendingSecrets>,
    /// Every pin that a device has kept.
    pub pins: BTreeSet<[u8; VaultPin::LEN]>,
    pub counts: Counts,
}

/// What the devices did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub logins: u32,
    /// Logins that were begun and whose end the client hasn't seen: each may have left one attempt charged.
    pub logins_cut_off: u32,
    pub stores: u32,
    /// Exchanges that were given up before their end, logins among them.
    pub cut_off: u32,
    /// Batches that were stored again and turned out to have been stored before.
    pub found_stored: u32,
    pub deletes: u32,
    pub lists: u32,
    pub retrievals: u32,
    /// Exchanges that ended without an answer, though nobody had given them up.
    pub unanswered: u32,
}

pub fn client(name: &AccountName) -> Client {
    let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).unwrap();
    Client::new(name.clone(), "localhost", policy).unwrap()
}

impl Account {
    pub fn new(name: AccountName, registered: &Registered) -> Self {
        let client = client(&name).pin_server_key(registered.server_key);
        Self { name, client, first_pin: registered.pin, book: Mutex::default() }
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    pub fn add(self, other: Self) -> Self {
        Self {
            logins: self.logins + other.logins,
            logins_cut_off: self.logins_cut_off + other.logins_cut_off,
            stores: self.stores + other.stores,
            cut_off: self.cut_off + other.cut_off,
            found_stored: self.found_stored + other.found_stored,
            deletes: self.deletes + other.deletes,
            lists: self.lists + other.lists,
            retrievals: self.retrievals + other.retrievals,
            unanswered: self.unanswered + other.unanswered,
        }
    }
}
