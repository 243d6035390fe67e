//! Secrets in files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs::{self, Permissions};

use getrandom::SysRng;
use rand_core::UnwrapErr;

use super::*;

fn key(byte: &str) -> SetupKey {
    SetupKey::from_hex(&byte.repeat(32)).unwrap()
}

fn load_in(folder: &Path, key: Option<&SetupKey>) -> Result<Secrets, SecretsError> {
    load_or_create(folder, key, &mut UnwrapErr(SysRng))
}

fn is_same(one: &Secrets, other: &Secrets) -> bool {
    one.setup.to_bytes().expose() == other.setup.to_bytes().expose()
        && one.fleet_key.to_bytes().expose() == other.fleet_key.to_bytes().expose()
}

#[test]
fn secrets_are_made_once_and_private() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let made = load_in(&data, None).unwrap();
    assert!(made.is_new);
    for (name, len) in [(SETUP, 129), (FLEET_KEY, 32)] {
        let metadata = fs::metadata(data.join(name)).unwrap();
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o7777), (len, 0o600), "{name}");
    }
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o7777, 0o700);
    let again = load_in(&data, None).unwrap();
    assert!(!again.is_new && is_same(&made, &again));
}

#[test]
fn files_that_others_can_read_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    load_in(folder.path(), None).unwrap();
    for mode in [0o640, 0o604, 0o660] {
        fs::set_permissions(folder.path().join(SETUP), Permissions::from_mode(mode)).unwrap();
        assert!(matches!(load_in(folder.path(), None), Err(SecretsError::Exposed(_, found)) if found == mode));
    }
    fs::set_permissions(folder.path().join(SETUP), Permissions::from_mode(0o400)).unwrap();
    assert!(load_in(folder.path(), None).is_ok());
}

#[test]
fn a_setup_key_encrypts_and_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let made = load_in(folder.path(), Some(&key("a1"))).unwrap();
    let file = fs::read(folder.path().join(SETUP)).unwrap();
    let setup = made.setup.to_bytes();
    assert!(file.starts_with(MAGIC) && !file.windows(16).any(|part| part == &setup.expose()[1..17]));
    assert!(is_same(&made, &load_in(folder.path(), Some(&key("A1"))).unwrap()));
    assert!(matches!(load_in(folder.path(), None), Err(SecretsError::Encrypted(_))));
    assert!(matches!(load_in(folder.path(), Some(&key("a2"))), Err(SecretsError::WrongKey(_))));
}

#[test]
fn a_file_in_the_clear_is_not_taken_where_there_is_a_key() {
    let folder = tempfile::tempdir().unwrap();
    load_in(folder.path(), None).unwrap();
    assert!(matches!(load_in(folder.path(), Some(&key("a1"))), Err(SecretsError::InTheClear(_))));
}

#[test]
fn one_file_does_not_pass_for_the_other() {
    let folder = tempfile::tempdir().unwrap();
    load_in(folder.path(), Some(&key("a1"))).unwrap();
    fs::copy(folder.path().join(SETUP), folder.path().join(FLEET_KEY)).unwrap();
    assert!(matches!(load_in(folder.path(), Some(&key("a1"))), Err(SecretsError::WrongKey(_))));
}

#[test]
fn damaged_and_missing_files_are_said_to_be_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    load_in(folder.path(), None).unwrap();
    let setup = fs::read(path(SETUP)).unwrap();
    fs::write(path(SETUP), &setup[..100]).unwrap();
    assert!(matches!(load_in(folder.path(), None), Err(SecretsError::Damaged(_))));
    fs::write(path(SETUP), &setup).unwrap();
    fs::remove_file(path(FLEET_KEY)).unwrap();
    assert!(matches!(load_in(folder.path(), None), Err(SecretsError::Missing(_))));
}

#[test]
fn a_first_start_that_died_half_way_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    load_in(folder.path(), None).unwrap();
    fs::rename(path(SETUP), unfinished(folder.path(), SETUP)).unwrap();
    let made = load_in(folder.path(), None).unwrap();
    assert!(made.is_new && !unfinished(folder.path(), SETUP).exists());
    let again = load_in(folder.path(), None).unwrap();
    assert!(!again.is_new && is_same(&made, &again));
}

#[test]
fn a_lost_setup_is_not_replaced_by_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    load_in(folder.path(), None).unwrap();
    fs::remove_file(folder.path().join(SETUP)).unwrap();
    assert!(matches!(load_in(folder.path(), None), Err(SecretsError::Missing(_))));
}

#[test]
fn a_setup_key_is_64_digits_and_never_shown() {
    for wrong in ["", "a1", &"g1".repeat(32), &"a1".repeat(33)] {
        assert!(matches!(SetupKey::from_hex(wrong), Err(SecretsError::SetupKey)));
    }
    assert_eq!(format!("{:?}", key("a1")), "SetupKey(..)");
}
