//! `sign`: with a key of the vault, which isn't exported for that.

use std::io::Read;
use std::path::Path;

use keystow::{Kind, RetrievedSecret};
use serde::Serialize;

use super::Context;
use super::open::Entry;
use crate::client::ClientError;
use crate::client::arguments::Sign;
use crate::client::report::Report;

/// The longest message, since it is signed as a whole.
const MAX_MESSAGE: u64 = 1 << 28;

#[derive(Serialize)]
struct Signed {
    key_id: String,
    algorithm: &'static str,
    signature: String,
    public: Option<String>,
}

/// Signs a message.
pub async fn run(context: &Context, arguments: &Sign) -> Result<Report, ClientError> {
    let password = context.password()?; // first: both may be on standard input
    let message = read(&arguments.file).map_err(|error| ClientError::file(&arguments.file, &error))?;
    let key_id = arguments.key_id;
    let key = context.in_session(&password, Entry::Strict, async |open| open.retrieve(key_id).await).await?;
    let (algorithm, signature) = sign(&key, &message)?;
    let signature = base16ct::lower::encode_string(&signature);
    let public = key.public().map(ToString::to_string);
    let signed = Signed { key_id: key_id.to_string(), algorithm, signature, public };
    context.form.report(|| format!("{}\n", signed.signature), &signed)
}

fn sign(key: &RetrievedSecret, message: &[u8]) -> Result<(&'static str, Vec<u8>), ClientError> {
    match key.kind() {
        Kind::Ed25519 => Ok(("ed25519", key.sign_ed25519(message)?.to_vec())),
        _ => Ok(("ecdsa-sha256", key.sign_ecdsa(message)?.to_der())),
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let mut source: Box<dyn Read> =
        if path == Path::new("-") { Box::new(std::io::stdin().lock()) } else { Box::new(std::fs::File::open(path)?) };
    let mut source = source.by_ref().take(MAX_MESSAGE.saturating_add(1));
    source.read_to_end(&mut message)?;
    if source.limit() == 0 {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "longer than 256 MiB"));
    }
    Ok(message)
}
