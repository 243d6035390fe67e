//! What a device keeps of an account, in a folder for each server identity and account: the server's key, the user ID, the
//! vault's pin, and secrets that may not be stored yet. None of it is secret in the clear; nobody else may change it.
//!
//! ```text
//! DATA/<identity in hex>/<account in hex>/server-key          hex
//!                                         user-id             hex
//!                                         pin                 the pin's text form
//!                                         pending/<key ID>    PendingSecrets::encode(), named by the first key ID
//!                                         lock                held by the command that runs
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use keystow::{AccountName, KeyId, PendingSecrets, ServerKey, UserId, VaultFault, VaultPin};

use super::{ClientError, files};

const SERVER_KEY: &str = "server-key";
const USER_ID: &str = "user-id";
const PIN: &str = "pin";
const PENDING: &str = "pending";
const LOCK: &str = "lock";

/// The longest that a file may be: pending secrets.
const MAX_FILE: usize = keystow::MAX_MESSAGE;

/// An account's folder.
pub struct Device {
    folder: PathBuf,
    /// One command at a time: two sessions that keep their pins in turn overwrite each other's.
    lock: Option<File>,
}

/// Whether an older vault than the known one is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollback {
    /// No.
    Refuse,
    /// The person has accepted it.
    Accept,
}

/// `$XDG_DATA_HOME/keystow`, or `~/.local/share/keystow`.
///
/// # Errors
/// [`ClientError::Usage`] if neither variable says where.
pub fn default_folder() -> Result<PathBuf, ClientError> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    folder("XDG_DATA_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("keystow"))
        .ok_or_else(|| ClientError::Usage("There is no home folder: say with --data where to keep things.".to_owned()))
}

impl Device {
    /// The folder of an account under `data`. It is made with the first file in it.
    #[must_use]
    pub fn new(data: &Path, identity: &str, account: &AccountName) -> Self {
        let mut folder = data.to_owned();
        push_hex(&mut folder, identity.as_bytes());
        push_hex(&mut folder, account.as_bytes());
        Self { folder, lock: None }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until no other command uses the folder, and keeps others out until it is dropped. `waiting` is called before a wait.
    ///
    /// # Errors
    /// [`ClientError::Local`].
    pub fn lock(&mut self, waiting: impl FnOnce()) -> Result<(), ClientError> {
        let path = self.folder.join(LOCK);
        let lock = || -> io::Result<File> {
            files::create_folder(&self.folder.join(PENDING))?;
            // Never removed: another command may wait for it.
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    waiting();
                    file.lock()?;
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            Ok(file)
        };
        self.lock = Some(lock().map_err(|error| ClientError::file(&path, &error))?);
        Ok(())
    }

    /// The server's key, if it is known.
    ///
    /// # Errors
    /// [`ClientError::Local`].
    pub fn server_key(&self) -> Result<Option<ServerKey>, ClientError> {
        Ok(self.read_hex(SERVER_KEY)?.map(ServerKey::from_bytes))
    }

    /// The account's user ID, if it is known.
    ///
    /// # Errors
    /// [`ClientError::Local`].
    pub fn user_id(&self) -> Result<Option<UserId>, ClientError> {
        Ok(self.read_hex(USER_ID)?.map(UserId::from_bytes))
    }

    /// The vault's newest head that this device has seen.
    ///
    /// # Errors
    /// [`ClientError::Local`].
    pub fn pin(&self) -> Result<Option<VaultPin>, ClientError> {
        let Some(text) = self.read_text(PIN)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| self.damaged(PIN))
    }

    /// Keeps the server's key and the user ID. A key that is kept already is never exchanged for another.
    ///
    /// # Errors
    /// [`ClientError::Local`].
    pub fn keep_identity(&self, server_key: ServerKey, user_id: UserId) -> Result<(), ClientError> {
        if self.server_key()?.is_none() {
            self.write(SERVER_KEY, format!("{server_key}\n").as_bytes())?;
        }
        if self.user_id()?.is_none() {
            self.write(USER_ID, format!("{user_id}\n").as_bytes())?;
        }
        Ok(())
    }

    /// Keeps a pin, if it is newer than the one that is there.
    ///
    /// # Errors
    /// [`VaultFault::RolledBack`] and [`VaultFault::Forked`] for an older one and for another one, unless that was accepted;
    /// [`ClientError::Local`].
    pub fn keep_pin(&self, pin: VaultPin, rollback: Rollback) -> Result<(), ClientError> {
        match self.pin()? {
            Some(known) if known == pin => return Ok(()),
            Some(known) if rollback == Rollback::Refuse && pin.epoch() < known.epoch() => {
                return Err(VaultFault::RolledBack { known: known.epoch(), shown: pin.epoch() }.into());
            }
            Some(known) if rollback == Rollback::Refuse && pin.epoch() == known.epoch() => {
                return Err(VaultFault::Forked { epoch: pin.epoch() }.into());
            }
            _ => {}
        }
        self.write(PIN, format!("{pin}\n").as_bytes())
    }

    /// Keeps secrets that are about to be stored.
    ///
    /// # Errors
    /// [`ClientError::Local`].
    pub fn keep_pending(&self, pending: &PendingSecrets) -> Result<(), ClientError> {
        let path = self.pending_path(pending)?;
        files::replace(&path, &pending.encode()?).map_err(|error| ClientError::file(&path, &error))
    }

    /// Forgets secrets that are stored.
    ///
    /// # Errors
    /// [`ClientError::Local`].
    pub fn forget_pending(&self, pending: &PendingSecrets) -> Result<(), ClientError> {
        let path = self.pending_path(pending)?;
        files::remove(&path).map_err(|error| ClientError::file(&path, &error))
    }

    /// The files with secrets that may not be stored yet, in the order of their names.
    ///
    /// # Errors
    /// [`ClientError::Local`].
    pub fn pending_files(&self) -> Result<Vec<PathBuf>, ClientError> {
        let folder = self.folder.join(PENDING);
        let fail = |error| ClientError::file(&folder, &error);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(fail)?,
        };
        let mut paths = entries.map(|entry| entry.map(|e| e.path())).collect::<io::Result<Vec<_>>>().map_err(fail)?;
        // What isn't finished was not sent to be stored.
        paths.retain(|path| !path.to_string_lossy().ends_with(files::UNFINISHED));
        paths.sort_unstable();
        Ok(paths)
    }

    /// Reads one of them.
    ///
    /// # Errors
    /// [`ClientError::Local`].
    pub fn pending(path: &Path) -> Result<PendingSecrets, ClientError> {
        let bytes = files::read(path, MAX_FILE).map_err(|error| ClientError::file(path, &error))?.unwrap_or_default();
        PendingSecrets::decode(&bytes).map_err(|_| ClientError::Local(format!("{}: damaged", path.display())))
    }

    /// Forgets everything about the account: it is gone.
    ///
    /// # Errors
    /// [`ClientError::Local`].
    pub fn forget(&self) -> Result<(), ClientError> {
        // The pin first: what is left after a crash is no obstacle to a new account of this name.
        let mut paths: Vec<PathBuf> = [PIN, USER_ID, SERVER_KEY].map(|name| self.folder.join(name)).into();
        paths.extend(self.pending_files()?);
        paths.iter().try_for_each(|path| files::remove(path).map_err(|error| ClientError::file(path, &error)))
    }

    fn pending_path(&self, pending: &PendingSecrets) -> Result<PathBuf, ClientError> {
        let first: Option<KeyId> = pending.key_ids().next();
        let first = first.ok_or_else(|| ClientError::Local("There is nothing to store.".to_owned()))?;
        Ok(self.folder.join(PENDING).join(first.to_string()))
    }

    fn read_hex<const N: usize>(&self, name: &str) -> Result<Option<[u8; N]>, ClientError> {
        let Some(text) = self.read_text(name)? else { return Ok(None) };
        let mut bytes = [0; N];
        match base16ct::lower::decode(text.trim(), &mut bytes) {
            Ok(decoded) if decoded.len() == N => Ok(Some(bytes)),
            _ => Err(self.damaged(name)),
        }
    }

    fn read_text(&self, name: &str) -> Result<Option<String>, ClientError> {
        let path = self.folder.join(name);
        let bytes = files::read(&path, MAX_FILE).map_err(|error| ClientError::file(&path, &error))?;
        bytes.map(|bytes| String::from_utf8(bytes.to_vec()).map_err(|_| self.damaged(name))).transpose()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ClientError> {
        let path = self.folder.join(name);
        files::replace(&path, bytes).map_err(|error| ClientError::file(&path, &error))
    }

    fn damaged(&self, name: &str) -> ClientError {
        ClientError::Local(format!("{}: damaged", self.folder.join(name).display()))
    }
}

/// A name of up to 255 bytes has more hexadecimal digits than a file's name may have: it is spread over folders in one another.
/// They can't be mistaken for the files of a shorter name, which have other names.
fn push_hex(path: &mut PathBuf, name: &[u8]) {
    name.chunks(120).for_each(|part| path.push(base16ct::lower::encode_string(part)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(data: &Path, account: &str) -> Device {
        let mut device = Device::new(data, "keys.example.com", &AccountName::new(account).unwrap());
        device.lock(|| ()).unwrap();
        device
    }

    fn pin(epoch: u64, hash: u8) -> VaultPin {
        let mut bytes = [hash; VaultPin::LEN];
        bytes[..8].copy_from_slice(&epoch.to_be_bytes());
        VaultPin::from_bytes(&bytes)
    }

    #[test]
    fn a_pin_is_replaced_by_newer_ones_alone_unless_the_person_says_so() {
        let data = tempfile::tempdir().unwrap();
        let device = device(data.path(), "ada");
        assert!(device.pin().unwrap().is_none());
        for epoch in [0, 1, 7] {
            device.keep_pin(pin(epoch, 1), Rollback::Refuse).unwrap();
        }
        assert_eq!(device.keep_pin(pin(6, 1), Rollback::Refuse).unwrap_err().exit_code(), 5);
        assert_eq!(device.keep_pin(pin(7, 2), Rollback::Refuse).unwrap_err().exit_code(), 5);
        assert_eq!(device.pin().unwrap(), Some(pin(7, 1)));
        device.keep_pin(pin(3, 1), Rollback::Accept).unwrap();
        assert_eq!(device.pin().unwrap(), Some(pin(3, 1)));
    }

    #[test]
    fn identities_are_kept_and_never_exchanged() {
        let data = tempfile::tempdir().unwrap();
        let device = device(data.path(), "ada");
        device.keep_identity(ServerKey::from_bytes([1; 32]), UserId::from_bytes([1; 16])).unwrap();
        device.keep_identity(ServerKey::from_bytes([2; 32]), UserId::from_bytes([2; 16])).unwrap();
        assert_eq!(device.server_key().unwrap(), Some(ServerKey::from_bytes([1; 32])));
        assert_eq!(device.user_id().unwrap(), Some(UserId::from_bytes([1; 16])));
        device.forget().unwrap();
        assert!(device.server_key().unwrap().is_none() && device.user_id().unwrap().is_none());
    }

    #[test]
    fn damaged_files_are_named() {
        let data = tempfile::tempdir().unwrap();
        let device = device(data.path(), "ada");
        for name in [PIN, SERVER_KEY, USER_ID] {
            fs::write(device.folder().join(name), "nonsense").unwrap();
        }
        assert!(device.pin().unwrap_err().to_string().contains("pin"));
        assert_eq!(device.server_key().unwrap_err().exit_code(), 6);
        assert_eq!(device.user_id().unwrap_err().exit_code(), 6);
    }

    #[test]
    fn any_name_has_a_folder_of_its_own() {
        let data = tempfile::tempdir().unwrap();
        let names = ["../..", "a", "b", &"x".repeat(120), &"x".repeat(121), &"x".repeat(255)].map(str::to_owned);
        let devices: Vec<_> = names.iter().map(|name| device(data.path(), name)).collect();
        for (epoch, device) in devices.iter().enumerate() {
            device.keep_pin(pin(epoch as u64, 1), Rollback::Refuse).unwrap();
        }
        for (epoch, device) in devices.iter().enumerate() {
            assert_eq!(device.pin().unwrap(), Some(pin(epoch as u64, 1)));
            assert!(device.folder().starts_with(data.path()));
        }
    }
}
