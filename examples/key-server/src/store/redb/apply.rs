//! Transactions over redb. The engine has one writer at a time, so every condition is looked at first, and then everything
//! is written.

use keystow::storage::{Advance, Attempts, AuditEntry, Change, Conflict, Guard, Outcome, Transaction};
use keystow::{AccountName, UserId};
use redb::{Database, ReadableTable, Table, WriteTransaction};

use super::tables::{
    ACCOUNTS, ATTEMPTS, AUDIT, AUDIT_KEYS, AccountRow, AttemptsRow, Bytes, GONE, HEADS, SECRETS, SESSIONS, SessionRow,
    USERS, head_key, name_of, of_user, place, secret_key, standing,
};
use crate::store::StoreError;

/// Applies a transaction. What changes nothing is not committed: there is nothing to wait for.
pub(super) fn apply(database: &Database, transaction: &Transaction) -> Result<Outcome, StoreError> {
    let write = super::begin(database)?;
    let (outcome, wrote) = {
        let mut tables = Tables::open(&write)?;
        (tables.apply(transaction)?, tables.wrote)
    };
    if wrote {
        write.commit()?
    } else {
        write.abort()?
    }
    Ok(outcome)
}

/// The tables of a write transaction.
struct Tables<'t> {
    accounts: Table<'t, Bytes, Bytes>,
    users: Table<'t, &'static [u8; 16], Bytes>,
    attempts: Table<'t, &'static [u8; 32], &'static [u8; 16]>,
    secrets: Table<'t, &'static [u8; 32], Bytes>,
    gone: Table<'t, &'static [u8; 16], ()>,
    heads: Table<'t, &'static [u8; 24], Bytes>,
    audit: Table<'t, &'static [u8; 81], Bytes>,
    audit_keys: Table<'t, &'static [u8; 57], ()>,
    sessions: Table<'t, &'static [u8; 16], Bytes>,
    /// Whether there is something to commit.
    wrote: bool,
}

impl<'t> Tables<'t> {
    fn open(write: &'t WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            accounts: write.open_table(ACCOUNTS)?,
            users: write.open_table(USERS)?,
            attempts: write.open_table(ATTEMPTS)?,
            secrets: write.open_table(SECRETS)?,
            gone: write.open_table(GONE)?,
            heads: write.open_table(HEADS)?,
            audit: write.open_table(AUDIT)?,
            audit_keys: write.open_table(AUDIT_KEYS)?,
            sessions: write.open_table(SESSIONS)?,
            wrote: false,
        })
    }

    /// Step 0, around the others.
    fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, StoreError> {
        let Some(Advance { session_id, from, sealed, expires }) = &transaction.advance else {
            return self.apply_rest(transaction);
        };
        let version = match self.sessions.get(session_id.as_bytes())? {
            Some(row) => SessionRow::decode(row.value())?.version,
            None => 0,
        };
        if version != *from {
            return Ok(Outcome::Moved);
        }
        let outcome = self.apply_rest(transaction)?;
        let resolution = transaction.resolution(outcome)?;
        let (version, expires) = (from.checked_add(1).ok_or("a session has no next version")?, expires.as_millis());
        let row = SessionRow { version, expires, resolution: resolution.as_bytes(), sealed: sealed.as_bytes() };
        self.sessions.insert(session_id.as_bytes(), row.encode()?.as_slice())?;
        self.wrote = true;
        Ok(outcome)
    }

    /// Steps 1 to 4.
    fn apply_rest(&mut self, transaction: &Transaction) -> Result<Outcome, StoreError> {
        let Transaction { guards, changes, audit, otherwise, advance: _ } = transaction;
        if let Some(entry) = audit
            && self.audit_keys.get(&entry.key())?.is_some()
        {
            return Ok(Outcome::Repeated);
        }
        if let Some(conflict) = self.conflict(guards, changes)? {
            if conflict != Conflict::Head {
                self.log(otherwise.as_ref())?;
            }
            return Ok(Outcome::Conflict(conflict));
        }
        if self.is_stored(changes)? {
            return Ok(Outcome::Repeated);
        }
        for change in changes {
            self.write(change)?;
            self.wrote = true;
        }
        self.log(audit.as_ref())?;
        Ok(Outcome::Applied)
    }

    /// The first condition that doesn't hold.
    fn conflict(&self, guards: &[Guard], changes: &[Change]) -> Result<Option<Conflict>, StoreError> {
        for guard in guards {
            if let Some(conflict) = self.check_guard(guard)? {
                return Ok(Some(conflict));
            }
        }
        for change in changes {
            if let Some(conflict) = self.check_change(change)? {
                return Ok(Some(conflict));
            }
        }
        Ok(None)
    }

    fn check_guard(&self, guard: &Guard) -> Result<Option<Conflict>, StoreError> {
        let stands = |user_id| standing(&self.accounts, &self.users, user_id);
        let (holds, conflict) = match guard {
            Guard::Credential { user_id, credential } => {
                (stands(*user_id)?.is_some_and(|standing| standing.credential == *credential), Conflict::Credential)
            }
            Guard::Head { user_id, epoch } => {
                (stands(*user_id)?.is_some_and(|standing| standing.epoch == *epoch), Conflict::Head)
            }
        };
        Ok((!holds).then_some(conflict))
    }

    fn check_change(&self, change: &Change) -> Result<Option<Conflict>, StoreError> {
        let (holds, conflict) = match change {
            Change::CreateAccount { name, user_id, .. } => {
                if self.accounts.get(name.as_bytes())?.is_some() {
                    return Ok(Some(Conflict::NameTaken));
                }
                let is_new = self.users.get(user_id.as_bytes())?.is_none();
                (is_new && self.gone.get(user_id.as_bytes())?.is_none(), Conflict::UserIdTaken)
            }
            Change::ChargeAttempt { counter, window_ends, limit } => {
                let attempts = self.attempts.get(counter.as_bytes())?.map(|row| AttemptsRow::decode(row.value()));
                let holds = attempts.is_none_or(|old| old.window_ends < *window_ends || old.count < *limit);
                (holds, Conflict::AttemptLimit)
            }
            Change::StoreSecret { user_id, key_id, record } => {
                let stored = self.secrets.get(&secret_key(*user_id, *key_id))?;
                (stored.is_none_or(|stored| stored.value() == record.as_bytes()), Conflict::KeyIdTaken(*key_id))
            }
            Change::DeleteSecret { user_id, key_id, live, tombstone } => {
                let stored = self.secrets.get(&secret_key(*user_id, *key_id))?;
                let holds = stored.is_some_and(|row| [live.as_bytes(), tombstone.as_bytes()].contains(&row.value()));
                (holds, Conflict::SecretGone(*key_id))
            }
            Change::AppendHead { user_id, epoch, .. } => {
                let standing = standing(&self.accounts, &self.users, *user_id)?;
                (standing.is_some_and(|standing| standing.epoch.checked_add(1) == Some(*epoch)), Conflict::Head)
            }
            Change::RefundAttempt { .. }
            | Change::ReplaceCredential { .. }
            | Change::PurgeSecret { .. }
            | Change::DeleteAccount { .. } => return Ok(None),
        };
        Ok((!holds).then_some(conflict))
    }

    /// Whether there are secrets to store, and each is there.
    fn is_stored(&self, changes: &[Change]) -> Result<bool, StoreError> {
        let mut any = false;
        for change in changes {
            if let Change::StoreSecret { user_id, key_id, .. } = change {
                // The conditions hold: what is there is the same record.
                if self.secrets.get(&secret_key(*user_id, *key_id))?.is_none() {
                    return Ok(false);
                }
                any = true;
            }
        }
        Ok(any)
    }

    fn write(&mut self, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::CreateAccount { name, user_id, credential, record, head } => {
                let (user_id, credential, record) = (*user_id, *credential, record.as_bytes());
                let row = AccountRow { user_id, credential, epoch: 0, record }.encode();
                self.accounts.insert(name.as_bytes(), row.as_slice())?;
                self.users.insert(user_id.as_bytes(), name.as_bytes())?;
                self.heads.insert(&head_key(user_id, 0), head.as_bytes())?;
            }
            Change::ChargeAttempt { counter, window_ends, .. } => {
                let old = self.attempts.get(counter.as_bytes())?.map(|row| AttemptsRow::decode(row.value()));
                let row = AttemptsRow::encode(charged(old.unwrap_or_default(), *window_ends));
                self.attempts.insert(counter.as_bytes(), &row)?;
            }
            Change::RefundAttempt { counter, window_ends, seen } => {
                let old = self.attempts.get(counter.as_bytes())?.map(|row| AttemptsRow::decode(row.value()));
                if let Some(mut attempts) = old {
                    attempts.unseen = attempts.unseen.saturating_sub(*seen);
                    if attempts.window_ends == *window_ends {
                        attempts.count = attempts.count.saturating_sub(1);
                    }
                    self.attempts.insert(counter.as_bytes(), &AttemptsRow::encode(attempts))?;
                }
            }
            Change::StoreSecret { user_id, key_id, record } => {
                self.secrets.insert(&secret_key(*user_id, *key_id), record.as_bytes())?;
            }
            Change::DeleteSecret { user_id, key_id, tombstone, .. } => {
                self.secrets.insert(&secret_key(*user_id, *key_id), tombstone.as_bytes())?;
            }
            Change::ReplaceCredential { name, user_id, credential, record } => {
                self.amend(name.as_bytes(), *user_id, |row| {
                    AccountRow { credential: *credential, record: record.as_bytes(), ..row }.encode()
                })?;
            }
            Change::PurgeSecret { user_id, key_id } => {
                self.secrets.remove(&secret_key(*user_id, *key_id))?;
            }
            Change::DeleteAccount { name, user_id } => self.delete_account(name, *user_id)?,
            Change::AppendHead { user_id, epoch, head } => {
                if let Some(name) = name_of(&self.users, *user_id)? {
                    self.amend(&name, *user_id, |row| AccountRow { epoch: *epoch, ..row }.encode())?;
                }
                self.heads.insert(&head_key(*user_id, *epoch), head.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Rewrites an account's row, if it is this user's.
    fn amend(
        &mut self,
        name: &[u8],
        user_id: UserId,
        rewrite: impl for<'a> FnOnce(AccountRow<'a>) -> Vec<u8>,
    ) -> Result<(), StoreError> {
        let row = match self.accounts.get(name)? {
            Some(old) => {
                let old = AccountRow::decode(old.value())?;
                (old.user_id == user_id).then(|| rewrite(old))
            }
            None => None,
        };
        if let Some(row) = row {
            self.accounts.insert(name, row.as_slice())?;
        }
        Ok(())
    }

    fn delete_account(&mut self, name: &AccountName, user_id: UserId) -> Result<(), StoreError> {
        let is_theirs = name_of(&self.users, user_id)?.is_some_and(|theirs| theirs == name.as_bytes());
        if is_theirs {
            self.accounts.remove(name.as_bytes())?;
            self.users.remove(user_id.as_bytes())?;
        }
        self.gone.insert(user_id.as_bytes(), ())?;
        let (first, last) = of_user::<32>(user_id);
        self.secrets.retain_in::<&[u8; 32], _>(&first..=&last, |_, _| false)?;
        let (first, last) = of_user::<24>(user_id);
        self.heads.retain_in::<&[u8; 24], _>(&first..=&last, |_, _| false)?;
        let (first, last) = of_user::<81>(user_id);
        self.audit.retain_in::<&[u8; 81], _>(&first..=&last, |_, _| false)?;
        let (first, last) = of_user::<57>(user_id);
        self.audit_keys.retain_in::<&[u8; 57], _>(&first..=&last, |_, _| false)?;
        Ok(())
    }

    /// Writes an entry, unless one is stored under its key.
    fn log(&mut self, entry: Option<&AuditEntry>) -> Result<(), StoreError> {
        let Some(entry) = entry else { return Ok(()) };
        if self.audit_keys.get(&entry.key())?.is_none() {
            self.audit_keys.insert(&entry.key(), ())?;
            self.audit.insert(&place(entry), entry.to_record()?.as_bytes())?;
            self.wrote = true;
        }
        Ok(())
    }
}

/// One attempt more. An older window gives way to the one that ends at `window_ends`; a newer one stays.
fn charged(old: Attempts, window_ends: keystow::Timestamp) -> Attempts {
    let (window_ends, count) =
        if old.window_ends < window_ends { (window_ends, 0) } else { (old.window_ends, old.count) };
    Attempts { window_ends, count: count.saturating_add(1), unseen: old.unseen.saturating_add(1) }
}
