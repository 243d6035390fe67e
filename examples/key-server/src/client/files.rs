//! Files that nobody else reads, written whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// What the name of a file that isn't finished ends with.
pub const UNFINISHED: &str = ".new";

/// Makes a folder and those above it, for its owner alone.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Puts `bytes` in the file's place: first beside it, durably, then under its name. A crash leaves the old file or the new one.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(UNFINISHED);
    remove(Path::new(&beside))?; // a crash left it
    write_new(Path::new(&beside), bytes)?;
    fs::rename(&beside, path)?;
    sync_folder(folder)
}

/// Writes a file that must not exist yet, durably, for its owner alone.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        fs::remove_file(path).unwrap_or_default(); // half a file is none
    }
    written
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

/// Removes a file, if it is there, durably.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => path.parent().map_or(Ok(()), sync_folder),
    }
}

/// A file's bytes, if it is there; an error if it is longer than `max`.
pub fn read(path: &Path, max: usize) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(mut file) => read_all(&mut file, max).map(Some),
    }
}

/// All that a source gives, in memory that is wiped: it is allocated once, so that growing leaves no copies behind.
pub fn read_all(source: &mut impl Read, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; max.saturating_add(1)]);
    let mut len = 0;
    while let Some(rest) = bytes.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(more) => len = len.saturating_add(more),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if len > max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("longer than {max} bytes")));
    }
    bytes.truncate(len);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        fs::write(folder.path().join("pin.new"), b"half a fi").unwrap();
        for bytes in [&b"one"[..], b"and another"] {
            replace(&path, bytes).unwrap();
            assert_eq!(read(&path, 100).unwrap().unwrap().as_slice(), bytes);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(read(&path, 5).is_err(), "too long");
        assert!(write_new(&path, b"").is_err(), "it is there");
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(read(&path, 5).unwrap().is_none());
    }
}
