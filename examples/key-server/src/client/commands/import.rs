//! `import`: a secret of the person's own.

use std::fs::File;
use std::path::Path;

use keystow::{CallerFault, Kind, PlainSecret};
use zeroize::Zeroizing;

use super::open::{Entry, rng};
use super::{Context, keys};
use crate::client::arguments::{Import, ImportFormat, ImportKind};
use crate::client::report::Report;
use crate::client::{ClientError, files};

/// The longest input: hexadecimal of the longest secret, and white space around it.
const MAX_INPUT: usize = 2 * 65_536 + 1024;

/// Imports a secret and stores it.
pub async fn run(context: &Context, arguments: &Import) -> Result<Report, ClientError> {
    let password = context.password()?; // first: both may be on standard input
    let input = read(&arguments.file)?;
    let secret = parse(arguments.kind, arguments.format, &input)?;
    drop(input);
    let stored = context
        .in_session(&password, Entry::Strict, async |open| {
            let exchange = open.session.import(vec![secret], &mut rng())?;
            let pending = open.run(exchange).await?;
            open.store(&pending).await
        })
        .await?;
    keys::report(context.form, &stored)
}

/// What a file or standard input holds, past Rust's own buffer of the latter, which is never wiped.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, ClientError> {
    use std::os::fd::AsFd;
    let open = || {
        if path == Path::new("-") {
            return std::io::stdin().as_fd().try_clone_to_owned().map(File::from);
        }
        File::open(path)
    };
    let input = open().and_then(|mut file| files::read_all(&mut file, MAX_INPUT));
    input.map_err(|error| ClientError::file(path, &error))
}

fn parse(kind: ImportKind, format: ImportFormat, input: &[u8]) -> Result<PlainSecret, ClientError> {
    let text = || -> Result<&str, keystow::Error> {
        Ok(std::str::from_utf8(input).map_err(|_| CallerFault::ImportFormat("text"))?.trim())
    };
    let key = match kind {
        ImportKind::Bytes => None,
        ImportKind::Secp256k1 => Some(Kind::Secp256k1),
        ImportKind::Ed25519 => Some(Kind::Ed25519),
    };
    // Of bytes, there are as many as are given.
    let or_bytes = |len: usize| key.unwrap_or_else(|| Kind::Bytes(u32::try_from(len).unwrap_or(u32::MAX)));
    Ok(match format {
        ImportFormat::Raw => PlainSecret::raw(or_bytes(input.len()), input)?,
        ImportFormat::Hex => PlainSecret::hex(or_bytes(text()?.len() / 2), text()?)?,
        ImportFormat::Pkcs8 => PlainSecret::pkcs8_pem(or_bytes(0), text()?)?,
        ImportFormat::Sec1 if kind == ImportKind::Secp256k1 => PlainSecret::sec1_pem(text()?)?,
        ImportFormat::Sec1 => return Err(ClientError::Usage("SEC 1 has keys on secp256k1 alone.".to_owned())),
    })
}
