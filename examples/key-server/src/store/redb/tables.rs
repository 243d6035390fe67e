//! redb's tables, their keys, and the rows that the store itself looks into: of fixed width, big-endian, so that their order
//! as bytes is their order as numbers. Records and entries are bytes that come back as they were given.

use keystow::storage::{Attempts, AuditEntry, Standing};
use keystow::{CredentialId, KeyId, Timestamp, UserId};
use redb::{ReadableTable, TableDefinition, TableError, WriteTransaction};

use crate::store::StoreError;

/// Rows of bytes under keys of bytes.
pub(super) type Bytes = &'static [u8];

/// Name: [`AccountRow`].
pub(super) const ACCOUNTS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("accounts");
/// User ID: the account's name.
pub(super) const USERS: TableDefinition<'_, &'static [u8; 16], Bytes> = TableDefinition::new("users");
/// Counter: [`AttemptsRow`].
pub(super) const ATTEMPTS: TableDefinition<'_, &'static [u8; 32], &'static [u8; 16]> = TableDefinition::new("attempts");
/// [`secret_key`]: the record.
pub(super) const SECRETS: TableDefinition<'_, &'static [u8; 32], Bytes> = TableDefinition::new("secrets");
/// The user IDs of deleted accounts.
pub(super) const GONE: TableDefinition<'_, &'static [u8; 16], ()> = TableDefinition::new("gone");
/// [`head_key`]: the record.
pub(super) const HEADS: TableDefinition<'_, &'static [u8; 24], Bytes> = TableDefinition::new("heads");
/// [`trail_key`]: the entry. In the order of the trail.
pub(super) const AUDIT: TableDefinition<'_, &'static [u8; 81], Bytes> = TableDefinition::new("audit");
/// The keys of the entries, by which a repeat is recognised.
pub(super) const AUDIT_KEYS: TableDefinition<'_, &'static [u8; 57], ()> = TableDefinition::new("audit_keys");
/// Session ID: [`SessionRow`].
pub(super) const SESSIONS: TableDefinition<'_, &'static [u8; 16], Bytes> = TableDefinition::new("sessions");
/// About the file itself.
pub(super) const META: TableDefinition<'_, &'static str, u64> = TableDefinition::new("meta");

/// Makes the tables, so that a read finds them.
pub(super) fn create(write: &WriteTransaction) -> Result<(), TableError> {
    write.open_table(ACCOUNTS)?;
    write.open_table(USERS)?;
    write.open_table(ATTEMPTS)?;
    write.open_table(SECRETS)?;
    write.open_table(GONE)?;
    write.open_table(HEADS)?;
    write.open_table(AUDIT)?;
    write.open_table(AUDIT_KEYS)?;
    write.open_table(SESSIONS)?;
    Ok(())
}

/// The first `N` bytes of the parts in a row.
fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut key = [0; N];
    for (byte, value) in key.iter_mut().zip(parts.iter().copied().flatten()) {
        *byte = *value;
    }
    key
}

/// `user_id ‖ key_id`.
pub(super) fn secret_key(user_id: UserId, key_id: KeyId) -> [u8; 32] {
    joined(&[user_id.as_bytes(), key_id.as_bytes()])
}

/// `user_id ‖ epoch`.
pub(super) fn head_key(user_id: UserId, epoch: u64) -> [u8; 24] {
    joined(&[user_id.as_bytes(), &epoch.to_be_bytes()])
}

/// `user_id ‖ at ‖ key`.
pub(super) fn trail_key(user_id: UserId, at: Timestamp, key: &[u8]) -> [u8; 81] {
    joined(&[user_id.as_bytes(), &at.as_millis().to_be_bytes(), key])
}

/// [`trail_key`] of an entry.
pub(super) fn place(entry: &AuditEntry) -> [u8; 81] {
    trail_key(entry.user_id(), entry.at(), &entry.key())
}

/// The first and the last key that begin with the user ID.
pub(super) fn of_user<const N: usize>(user_id: UserId) -> ([u8; N], [u8; N]) {
    (joined(&[user_id.as_bytes(), &[0; N]]), joined(&[user_id.as_bytes(), &[0xff; N]]))
}

fn damaged(table: &str) -> StoreError {
    format!("a row of the table {table} can't be read").into()
}

/// `user_id[16] ‖ credential[32] ‖ epoch[8] ‖ record`.
pub(super) struct AccountRow<'a> {
    pub(super) user_id: UserId,
    pub(super) credential: CredentialId,
    pub(super) epoch: u64,
    pub(super) record: &'a [u8],
}

impl<'a> AccountRow<'a> {
    pub(super) fn decode(row: &'a [u8]) -> Result<Self, StoreError> {
        let split = || {
            let (user_id, rest) = row.split_first_chunk()?;
            let (credential, rest) = rest.split_first_chunk()?;
            let (epoch, record) = rest.split_first_chunk()?;
            let (user_id, credential) = (UserId::from_bytes(*user_id), CredentialId::from_bytes(*credential));
            Some(Self { user_id, credential, epoch: u64::from_be_bytes(*epoch), record })
        };
        split().ok_or_else(|| damaged("accounts"))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let epoch = self.epoch.to_be_bytes();
        [&self.user_id.as_bytes()[..], self.credential.as_bytes(), &epoch, self.record].concat()
    }
}

/// `window_ends[8] ‖ count[4] ‖ unseen[4]`.
pub(super) struct AttemptsRow;

impl AttemptsRow {
    pub(super) fn decode(row: &[u8; 16]) -> Attempts {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *row;
        Attempts {
            window_ends: Timestamp::from_millis(u64::from_be_bytes([a, b, c, d, e, f, g, h])),
            count: u32::from_be_bytes([i, j, k, l]),
            unseen: u32::from_be_bytes([m, n, o, p]),
        }
    }

    pub(super) fn encode(attempts: Attempts) -> [u8; 16] {
        let window_ends = attempts.window_ends.as_millis().to_be_bytes();
        joined(&[&window_ends, &attempts.count.to_be_bytes(), &attempts.unseen.to_be_bytes()])
    }
}

/// `version[8] ‖ expires[8] ‖ length of the resolution[4] ‖ resolution ‖ sealed`.
pub(super) struct SessionRow<'a> {
    pub(super) version: u64,
    pub(super) expires: u64,
    pub(super) resolution: &'a [u8],
    pub(super) sealed: &'a [u8],
}

impl<'a> SessionRow<'a> {
    pub(super) fn decode(row: &'a [u8]) -> Result<Self, StoreError> {
        let split = || {
            let (version, rest) = row.split_first_chunk()?;
            let (expires, rest) = rest.split_first_chunk()?;
            let (length, rest) = rest.split_first_chunk()?;
            let (resolution, sealed) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
            let (version, expires) = (u64::from_be_bytes(*version), u64::from_be_bytes(*expires));
            Some(Self { version, expires, resolution, sealed })
        };
        split().ok_or_else(|| damaged("sessions"))
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let length = u32::try_from(self.resolution.len())?.to_be_bytes();
        let (version, expires) = (self.version.to_be_bytes(), self.expires.to_be_bytes());
        Ok([&version[..], &expires, &length, self.resolution, self.sealed].concat())
    }
}

/// The name of a user's account.
pub(super) fn name_of(
    users: &impl ReadableTable<&'static [u8; 16], Bytes>,
    user_id: UserId,
) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(users.get(user_id.as_bytes())?.map(|name| name.value().to_vec()))
}

/// Where a user's account stands.
pub(super) fn standing(
    accounts: &impl ReadableTable<Bytes, Bytes>,
    users: &impl ReadableTable<&'static [u8; 16], Bytes>,
    user_id: UserId,
) -> Result<Option<Standing>, StoreError> {
    let Some(name) = name_of(users, user_id)? else { return Ok(None) };
    let row = accounts.get(name.as_slice())?.ok_or_else(|| damaged("users"))?;
    let AccountRow { credential, epoch, .. } = AccountRow::decode(row.value())?;
    Ok(Some(Standing { credential, epoch }))
}
