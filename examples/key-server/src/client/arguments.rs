//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use keystow::{KeyId, Kind, VaultPin};

/// Keep secrets on a key server that can't read them, and get them back on any device with a password.
///
/// Exit codes: 0 done; 1 refused by the server; 2 usage; 3 wrong name or password; 4 network; 5 an alarm about the vault or the
/// server; 6 this device's own files.
#[derive(Debug, Parser)]
#[command(name = "keystow", version)]
pub struct Arguments {
    /// Where the account is.
    #[command(flatten)]
    pub place: Place,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where the account is, and how to speak with the server.
#[derive(Args, Debug)]
pub struct Place {
    /// The server, or the nodes of a fleet, separated by commas.
    #[arg(long, global = true, value_name = "HOST:PORT", env = "KEYSTOW_SERVER", value_delimiter = ',')]
    pub server: Vec<String>,
    /// The certificates that are trusted, and no others: a PEM file.
    #[arg(long, global = true, value_name = "FILE", env = "KEYSTOW_CA")]
    pub ca: Option<PathBuf>,
    /// The deployment's identity, as the server is configured with it.
    #[arg(long, global = true, value_name = "NAME", env = "KEYSTOW_IDENTITY", default_value = "localhost")]
    pub identity: String,
    /// The name in the server's certificate; the identity, unless it is given.
    #[arg(long, global = true, value_name = "NAME", env = "KEYSTOW_TLS_NAME")]
    pub tls_name: Option<String>,
    /// The account's name.
    #[arg(long, global = true, value_name = "NAME", env = "KEYSTOW_ACCOUNT")]
    pub account: Option<String>,
    /// Where this device keeps pins and pending secrets.
    #[arg(long, global = true, value_name = "FOLDER", env = "KEYSTOW_DATA")]
    pub data: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long, global = true)]
    pub json: bool,
    /// Read the password from a line of standard input (passwd: the new one from the next line). Without it,
    /// KEYSTOW_PASSWORD or a prompt (passwd: KEYSTOW_NEW_PASSWORD).
    #[arg(long, global = true)]
    pub password_stdin: bool,
    /// How long to wait for an answer, over all tries.
    #[arg(long, global = true, value_name = "SECONDS", default_value = "20", value_parser = seconds)]
    pub timeout: Duration,
    /// The weakest key stretching that there is, for tests: a debug build has it, a release build hasn't.
    #[cfg(debug_assertions)]
    #[arg(long, global = true, hide = true)]
    pub insecure_test_profile: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the account.
    Register,
    /// Log in: checks the vault against this device's pin, and stores what is pending.
    Login(Login),
    /// Make new secrets and store them, all or none.
    Generate(Generate),
    /// Bring a secret of your own.
    Import(Import),
    /// Write out a secret, or its public key.
    Export(Export),
    /// List all secrets. The list is complete, or an error.
    List(List),
    /// Sign with a key: ECDSA over SHA-256 (DER in hex) or Ed25519 (hex).
    Sign(Sign),
    /// Delete secrets, all or none, for good.
    Delete(Delete),
    /// Change the password.
    Passwd,
    /// Show what happened to the account, as the server tells it.
    Audit(Audit),
    /// Show this device's pin, for another device to compare.
    Pin,
    /// Compare with the pin that another device shows.
    Compare(Compare),
    /// Show what is left of the session, and whom and what it is with.
    Status,
    /// Delete the account with everything in it, for good.
    DeleteAccount(DeleteAccount),
    /// Write completions for a shell.
    Completions(Completions),
}

/// `login`.
#[derive(Args, Debug)]
pub struct Login {
    /// Accept that the server shows an older vault than this device has seen: a backup was restored, and you know of it.
    #[arg(long)]
    pub accept_rollback: bool,
}

/// `generate`.
#[derive(Args, Debug)]
pub struct Generate {
    /// bytes:N, secp256k1 or ed25519; several make several secrets.
    #[arg(value_name = "KIND", default_value = "bytes:32", value_parser = kind)]
    pub kinds: Vec<Kind>,
}

/// `import`.
#[derive(Args, Debug)]
pub struct Import {
    /// bytes, secp256k1 or ed25519.
    #[arg(long)]
    pub kind: ImportKind,
    /// How it is written.
    #[arg(long)]
    pub format: ImportFormat,
    /// The file; "-" is standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// What can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportKind {
    /// Arbitrary bytes, up to 64 KiB.
    Bytes,
    /// A private key on secp256k1.
    Secp256k1,
    /// A private key for Ed25519.
    Ed25519,
}

/// How a secret is written that is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// The bytes as they are.
    Raw,
    /// Hexadecimal.
    Hex,
    /// PKCS#8 in PEM, "PRIVATE KEY".
    Pkcs8,
    /// SEC 1 in PEM, "EC PRIVATE KEY".
    Sec1,
}

/// `export`.
#[derive(Args, Debug)]
pub struct Export {
    /// Which secret.
    #[arg(value_name = "KEY_ID", value_parser = key_id)]
    pub key_id: KeyId,
    /// How to write it.
    #[arg(long)]
    pub format: ExportFormat,
    /// The file to write, which must not exist; standard output otherwise.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Yes, write the secret in the clear.
    #[arg(long)]
    pub yes: bool,
    /// Don't insist on a vault that is right: to save what is left.
    #[arg(long)]
    pub salvage: bool,
}

/// How a secret is written that is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// The private key, PKCS#8 in PEM.
    Pkcs8,
    /// The private key, SEC 1 in PEM (secp256k1).
    Sec1,
    /// The secret's bytes.
    Raw,
    /// The secret's bytes in hexadecimal.
    Hex,
    /// The public key, SubjectPublicKeyInfo in PEM.
    Spki,
    /// The public key, a line for OpenSSH (Ed25519).
    Openssh,
}

/// `list`.
#[derive(Args, Debug)]
pub struct List {
    /// List what is there without the promise that it is complete or new: to save what is left.
    #[arg(long)]
    pub salvage: bool,
}

/// `sign`.
#[derive(Args, Debug)]
pub struct Sign {
    /// With which key.
    #[arg(value_name = "KEY_ID", value_parser = key_id)]
    pub key_id: KeyId,
    /// The message; "-" is standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
}

/// `delete`.
#[derive(Args, Debug)]
pub struct Delete {
    /// Which secrets.
    #[arg(value_name = "KEY_ID", required = true, value_parser = key_id)]
    pub key_ids: Vec<KeyId>,
    /// Yes, for good.
    #[arg(long)]
    pub yes: bool,
}

/// `audit`.
#[derive(Args, Debug)]
pub struct Audit {
    /// About what.
    #[arg(long, default_value = "all")]
    pub about: About,
    /// About these secrets.
    #[arg(long = "key", value_name = "KEY_ID", value_parser = key_id)]
    pub key_ids: Vec<KeyId>,
}

/// What audit entries are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum About {
    /// Everything.
    All,
    /// Registration, logins, changes of password.
    Account,
    /// What was done with secrets.
    Secrets,
}

/// `compare`.
#[derive(Args, Debug)]
pub struct Compare {
    /// What `keystow pin` shows there; spaces and hyphens don't matter.
    #[arg(value_name = "PIN", value_parser = pin)]
    pub pin: VaultPin,
}

/// `delete-account`.
#[derive(Args, Debug)]
pub struct DeleteAccount {
    /// Yes, with all secrets, for good.
    #[arg(long)]
    pub yes: bool,
}

/// `completions`.
#[derive(Args, Debug)]
pub struct Completions {
    /// Which shell.
    pub shell: clap_complete::Shell,
}

fn kind(text: &str) -> Result<Kind, String> {
    let kind = match text.split_once(':') {
        None if text == "secp256k1" => Kind::Secp256k1,
        None if text == "ed25519" => Kind::Ed25519,
        None if text == "bytes" => Kind::Bytes(32),
        Some(("bytes", len)) => Kind::Bytes(len.parse().map_err(|_| "bytes:N wants a number".to_owned())?),
        _ => return Err("secp256k1, ed25519, bytes or bytes:N".to_owned()),
    };
    kind.check_generated().map_err(|error| error.to_string())?;
    Ok(kind)
}

fn key_id(text: &str) -> Result<KeyId, String> {
    let mut bytes = [0; 16];
    match base16ct::mixed::decode(text, &mut bytes) {
        Ok(decoded) if decoded.len() == 16 => Ok(KeyId::from_bytes(bytes)),
        _ => Err("a key ID has 32 hexadecimal digits".to_owned()),
    }
}

fn pin(text: &str) -> Result<VaultPin, String> {
    text.parse().map_err(|_| "this is no pin, or it has a typing error".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds.into())),
        _ => Err("a number of seconds".to_owned()),
    }
}
