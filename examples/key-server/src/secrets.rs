//! The server's setup and the fleet's key in files: made at the first start, private to their owner, encrypted if there is a
//! setup key.
//!
//! An encrypted file is `"keystow sealed file 1\n" ‖ salt[32] ‖ AES-256-GCM-SIV(contents)`; key and nonce are
//! HKDF-SHA-256(salt, setup key, file name), new ones with each salt.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{error, fmt};

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes256GcmSiv, KeyInit, Nonce};
use hkdf::Hkdf;
use keystow::{FleetKey, ServerSetup};
use rand_core::CryptoRng;
use sha2::Sha256;
use zeroize::Zeroizing;

const MAGIC: &[u8] = b"keystow sealed file 1\n";
const SETUP: &str = "server-setup";
const FLEET_KEY: &str = "fleet-key";
/// More than any of these files has.
const MAX_FILE: u64 = 64 * 1024;

/// What a server keeps secret.
pub struct Secrets {
    /// The OPRF seed and the OPAQUE key pair.
    pub setup: ServerSetup,
    /// The key of a fleet's sessions.
    pub fleet_key: FleetKey,
    /// Whether they were made just now: there is no backup yet.
    pub is_new: bool,
}

/// The key that encrypts the files of the others: 32 bytes.
#[derive(Clone)]
pub struct SetupKey(Zeroizing<[u8; 32]>);

impl SetupKey {
    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// Anything else. The text is not in the error.
    pub fn from_hex(text: &str) -> Result<Self, SecretsError> {
        let mut key = Zeroizing::new([0; 32]);
        match base16ct::mixed::decode(text.trim(), key.as_mut_slice()) {
            Ok(bytes) if bytes.len() == 32 => Ok(Self(key)),
            _ => Err(SecretsError::SetupKey),
        }
    }

    /// The cipher and nonce of one file under one salt.
    fn cipher(&self, name: &str, salt: &[u8]) -> Option<(Aes256GcmSiv, Nonce)> {
        let mut derived = Zeroizing::new([0; 44]);
        Hkdf::<Sha256>::new(Some(salt), self.0.as_slice()).expand(name.as_bytes(), derived.as_mut_slice()).ok()?;
        let (key, nonce) = derived.split_at_checked(32)?;
        Some((Aes256GcmSiv::new_from_slice(key).ok()?, Nonce::try_from(nonce).ok()?))
    }

    fn seal(&self, name: &str, plain: &[u8], rng: &mut impl CryptoRng) -> Option<Vec<u8>> {
        let mut salt = [0; 32];
        rng.fill_bytes(&mut salt);
        let (cipher, nonce) = self.cipher(name, &salt)?;
        let sealed = cipher.encrypt(&nonce, Payload { msg: plain, aad: MAGIC }).ok()?;
        Some([MAGIC, &salt, &sealed].concat())
    }

    fn open(&self, name: &str, file: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (salt, sealed) = file.strip_prefix(MAGIC)?.split_at_checked(32)?;
        let (cipher, nonce) = self.cipher(name, salt)?;
        cipher.decrypt(&nonce, Payload { msg: sealed, aad: MAGIC }).ok().map(Zeroizing::new)
    }
}

impl fmt::Debug for SetupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetupKey(..)")
    }
}

/// Why there are no secrets. No error shows any of them.
#[derive(Debug)]
pub enum SecretsError {
    /// A file or folder can't be read or written.
    Io(PathBuf, io::Error),
    /// Others than the owner may read the file (its mode is given), or it is no file.
    Exposed(PathBuf, u32),
    /// The file is in the clear, where a setup key was given.
    InTheClear(PathBuf),
    /// The file is encrypted, where no setup key was given.
    Encrypted(PathBuf),
    /// The file doesn't open under this setup key: another one, or a damaged file.
    WrongKey(PathBuf),
    /// The file holds something else.
    Damaged(PathBuf),
    /// One of the two files is there, and not the other.
    Missing(PathBuf),
    /// The setup key is not 64 hexadecimal digits.
    SetupKey,
    /// Encryption failed.
    Sealing,
}

impl fmt::Display for SecretsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Exposed(path, mode) => {
                write!(
                    f,
                    "{} has the mode {mode:o}; it must be a file that its owner alone can read (600)",
                    path.display()
                )
            }
            Self::InTheClear(path) => {
                write!(f, "{} is not encrypted, but there is a setup key (KEYSTOW_SETUP_KEY)", path.display())
            }
            Self::Encrypted(path) => {
                write!(f, "{} is encrypted, but there is no setup key (KEYSTOW_SETUP_KEY)", path.display())
            }
            Self::WrongKey(path) => write!(f, "{} doesn't open under this setup key", path.display()),
            Self::Damaged(path) => write!(f, "{} is damaged", path.display()),
            Self::Missing(path) => write!(f, "{} is missing: put it back from the backup", path.display()),
            Self::SetupKey => f.write_str("the setup key is not 64 hexadecimal digits"),
            Self::Sealing => f.write_str("a secret could not be encrypted"),
        }
    }
}

impl error::Error for SecretsError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            _ => None,
        }
    }
}

/// Whether the folder has a setup.
#[must_use]
pub fn exist(folder: &Path) -> bool {
    folder.join(SETUP).exists()
}

/// Reads both secrets from a folder, or makes them if neither is there.
///
/// # Errors
/// [`SecretsError`]. Nothing that was there is ever overwritten.
pub fn load_or_create(
    folder: &Path,
    key: Option<&SetupKey>,
    rng: &mut impl CryptoRng,
) -> Result<Secrets, SecretsError> {
    let _lock = lock(folder)?;
    let (setup, fleet_key) = (load(folder, SETUP, key)?, load(folder, FLEET_KEY, key)?);
    let (setup, fleet_key) = match (setup, fleet_key) {
        (Some(setup), Some(fleet_key)) => (setup, fleet_key),
        (Some(_), None) => return Err(SecretsError::Missing(folder.join(FLEET_KEY))),
        // A new setup in place of a lost one would be the end of every account: only a first start that died half-way may
        // have left it out.
        (None, Some(_)) if !unfinished(folder, SETUP).exists() => {
            return Err(SecretsError::Missing(folder.join(SETUP)));
        }
        (None, _) => return create(folder, key, rng),
    };
    let setup = ServerSetup::from_bytes(&setup).map_err(|_| SecretsError::Damaged(folder.join(SETUP)))?;
    Ok(Secrets { setup, fleet_key: read_fleet_key(folder, &fleet_key)?, is_new: false })
}

fn read_fleet_key(folder: &Path, bytes: &[u8]) -> Result<FleetKey, SecretsError> {
    FleetKey::from_bytes(bytes).map_err(|_| SecretsError::Damaged(folder.join(FLEET_KEY)))
}

/// The unfinished setup is there before the fleet key is, and becomes the setup last.
fn create(folder: &Path, key: Option<&SetupKey>, rng: &mut impl CryptoRng) -> Result<Secrets, SecretsError> {
    let setup = ServerSetup::generate(rng).map_err(|_| SecretsError::Sealing)?;
    let fleet_key = FleetKey::generate(rng);
    let mut file = |name, plain: &[u8]| match key {
        None => Ok(Zeroizing::new(plain.to_vec())),
        Some(key) => key.seal(name, plain, rng).map(Zeroizing::new).ok_or(SecretsError::Sealing),
    };
    let setup_file = file(SETUP, setup.to_bytes().expose())?;
    let fleet_key_file = file(FLEET_KEY, fleet_key.to_bytes().expose())?;
    begin_private(folder, SETUP, &setup_file)?;
    write_private(folder, FLEET_KEY, &fleet_key_file)?;
    finish_private(folder, SETUP)?;
    Ok(Secrets { setup, fleet_key, is_new: true })
}

fn load(folder: &Path, name: &str, key: Option<&SetupKey>) -> Result<Option<Zeroizing<Vec<u8>>>, SecretsError> {
    let path = folder.join(name);
    let Some(bytes) = read_private(&path)? else { return Ok(None) };
    match (key, bytes.starts_with(MAGIC)) {
        (None, false) => Ok(Some(bytes)),
        (None, true) => Err(SecretsError::Encrypted(path)),
        (Some(_), false) => Err(SecretsError::InTheClear(path)),
        (Some(key), true) => key.open(name, &bytes).map(Some).ok_or(SecretsError::WrongKey(path)),
    }
}

/// Holds the folder for one process at a time, so that two first starts don't make two setups. The folder is made if need be.
pub(crate) fn lock(folder: &Path) -> Result<File, SecretsError> {
    let io = |error| SecretsError::Io(folder.to_owned(), error);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(folder.join(".lock"));
    let lock = lock.map_err(io)?;
    lock.lock().map_err(io)?;
    Ok(lock)
}

/// Reads a file that its owner alone may read; none if it isn't there.
pub(crate) fn read_private(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, SecretsError> {
    let io = |error| SecretsError::Io(path.to_owned(), error);
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(io)?,
    };
    let metadata = file.metadata().map_err(io)?;
    let mode = metadata.permissions().mode();
    if !metadata.is_file() || mode & 0o077 != 0 {
        return Err(SecretsError::Exposed(path.to_owned(), mode & 0o7777));
    }
    // All at once: a vector that grows leaves copies behind that nothing wipes.
    let len = usize::try_from(metadata.len().min(MAX_FILE)).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(len.saturating_add(1)));
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(io)?;
    Ok(Some(bytes))
}

/// Writes a file of mode 0600: under another name first, so that it is there whole or not at all. Call it under [`lock`].
pub(crate) fn write_private(folder: &Path, name: &str, contents: &[u8]) -> Result<(), SecretsError> {
    begin_private(folder, name, contents)?;
    finish_private(folder, name)
}

fn unfinished(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.unfinished"))
}

fn begin_private(folder: &Path, name: &str, contents: &[u8]) -> Result<(), SecretsError> {
    let path = unfinished(folder, name);
    let write = || {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(contents)?;
        file.sync_all()?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| SecretsError::Io(path.clone(), error))
}

fn finish_private(folder: &Path, name: &str) -> Result<(), SecretsError> {
    let path = folder.join(name);
    let rename = || {
        std::fs::rename(unfinished(folder, name), &path)?;
        File::open(folder)?.sync_all()
    };
    rename().map_err(|error| SecretsError::Io(path.clone(), error))
}

#[cfg(test)]
#[path = "secrets/tests.rs"]
mod tests;
