//! How the client fails: what a person is told, and with which code the program ends (`docs/embedding.md`, "Errors, and
//! what to show").

use std::fmt;
use std::path::Path;

use keystow::{CallerFault, Error, PeerFault, Refusal, VaultFault};

use super::time;

/// Why a command failed. No variant holds a secret.
#[derive(Debug)]
pub enum ClientError {
    /// What the protocol says.
    Protocol(Error),
    /// The server can't be reached, or doesn't answer.
    Network(String),
    /// What the command was given can't be right.
    Usage(String),
    /// Files of this device, or its memory.
    Local(String),
    /// The name and the password belong to another user than the one that this device knows.
    OtherUser,
    /// A change of password whose outcome is unknown, and why.
    UnknownPassword(Box<ClientError>),
}

impl ClientError {
    /// A file or folder that can't be used.
    #[must_use]
    pub fn file(path: &Path, error: &std::io::Error) -> Self {
        Self::Local(format!("{}: {error}", path.display()))
    }

    /// The program's exit code: 1 refused, 2 usage, 3 wrong password or unknown account, 4 network, 5 an alarm about the vault
    /// or the server, 6 local data.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Protocol(error) => protocol_code(error),
            Self::Usage(_) => 2,
            Self::Network(_) => 4,
            Self::OtherUser => 5,
            Self::Local(_) => 6,
            Self::UnknownPassword(error) => error.exit_code(),
        }
    }

    /// Whether the server's answer can't be told apart from a lost one: the request may have been carried out.
    #[must_use]
    pub fn leaves_doubt(&self) -> bool {
        matches!(self, Self::Network(_) | Self::Protocol(Error::Peer(PeerFault::Refused(Refusal::SessionEnded))))
    }
}

fn protocol_code(error: &Error) -> u8 {
    match error {
        Error::Peer(PeerFault::LoginFailed) => 3,
        Error::Peer(PeerFault::Refused(_)) | Error::Caller(CallerFault::VaultClosed) => 1,
        Error::Peer(
            PeerFault::Vault(_)
            | PeerFault::WrongServerKey
            | PeerFault::DamagedWrap
            | PeerFault::DamagedSecret { .. }
            | PeerFault::Mismatch(_),
        ) => 5,
        Error::Caller(
            CallerFault::KsfFailed
            | CallerFault::WrongUser { .. }
            | CallerFault::DamagedPending
            | CallerFault::DamagedValue(_),
        ) => 6,
        Error::Caller(_) => 2,
        _ => 4,
    }
}

impl From<Error> for ClientError {
    fn from(error: Error) -> Self {
        Self::Protocol(error)
    }
}

impl From<PeerFault> for ClientError {
    fn from(fault: PeerFault) -> Self {
        Self::Protocol(fault.into())
    }
}

impl From<VaultFault> for ClientError {
    fn from(fault: VaultFault) -> Self {
        Self::Protocol(fault.into())
    }
}

impl std::error::Error for ClientError {}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(Error::Peer(fault)) => peer(fault, f),
            Self::Protocol(Error::Caller(fault)) => caller(fault, f),
            Self::Protocol(error) => write!(f, "This should not happen, please report it: {error}."),
            Self::Network(what) | Self::Usage(what) | Self::Local(what) => f.write_str(what),
            Self::OtherUser => f.write_str(
                "The server has another user under this name than the one that this device knows. Ask the operator over \
                 another channel.",
            ),
            Self::UnknownPassword(error) => {
                write!(f, "{error}\nOne password holds, the new one or the old one: try both.")
            }
        }
    }
}

fn peer(fault: &PeerFault, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match fault {
        PeerFault::LoginFailed => f.write_str("Name or password is wrong."),
        PeerFault::WrongServerKey => {
            f.write_str("This is not the server that the account was made at. Don't give it your password.")
        }
        PeerFault::Refused(refusal) => refused(refusal, f),
        PeerFault::Vault(fault) => vault(fault, f),
        PeerFault::DamagedWrap | PeerFault::DamagedSecret { .. } | PeerFault::Mismatch(_) => {
            write!(
                f,
                "The server didn't give the secret back as it was stored: {fault}. Don't make a new one in its place."
            )
        }
        PeerFault::Transcript => {
            write!(f, "The server has another identity than the one given with --identity, or a message was damaged.")
        }
        _ => write!(f, "What the server sent can't be right, please report it: {fault}."),
    }
}

fn refused(refusal: &Refusal, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match refusal {
        Refusal::TryAgainAt(at) => write!(f, "Too many attempts. Try again at {}.", time::utc(*at)),
        Refusal::NameTaken => f.write_str("This name is taken. If you have just registered it yourself, log in."),
        Refusal::SessionEnded => f.write_str("The session is over. Log in again and repeat the command."),
        Refusal::LoginTooOld => f.write_str("This needs a more recent login. Repeat the command."),
        Refusal::NotFound => {
            f.write_str("The server has no such secret of yours. If it was stored, don't make a new one in its place.")
        }
        Refusal::KeyIdTaken(key_id) => {
            write!(
                f,
                "Nothing was stored: the key ID {key_id} is taken, or was deleted before. Nothing was overwritten."
            )
        }
        Refusal::AlreadyDeleted(key_id) => {
            write!(f, "The secret {key_id} was deleted before. Nothing was deleted now.")
        }
        Refusal::TooLarge => f.write_str("This is too much at once: ask for fewer secrets."),
        Refusal::Denied => f.write_str("The server's own rules don't allow this."),
        Refusal::HeadMoved => write!(f, "Another device keeps changing the vault. Repeat the command."),
    }
}

fn vault(fault: &VaultFault, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match fault {
        VaultFault::RolledBack { known, shown } => write!(
            f,
            "The server shows an older state of your vault: {shown} changes, where this device has seen {known}. A backup was \
             restored, or it is an attack. Ask the operator over another channel. Only if you accept the older state: \
             `keystow login --accept-rollback`."
        ),
        VaultFault::Forked { epoch } => write!(
            f,
            "The server has shown your devices different histories, from change {epoch} on. Nobody restores a backup like \
             this. Save what is there (`keystow list --salvage`, `keystow export --salvage`), and change the server."
        ),
        VaultFault::Credential => f.write_str(
            "The server shows an old password's record. Try the newest password; if it doesn't work, ask the operator over \
             another channel.",
        ),
        VaultFault::NotStored => f.write_str(
            "The server claims to have stored secrets, and hasn't. They are kept on this device. Please report this.",
        ),
        _ => write!(
            f,
            "Something is missing from your vault, or doesn't belong there: {fault}. See what is left with `keystow list \
             --salvage`."
        ),
    }
}

fn caller(fault: &CallerFault, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match fault {
        CallerFault::VaultClosed => {
            f.write_str("This account is being deleted. Only `keystow delete-account` can go on.")
        }
        CallerFault::KsfFailed => f.write_str("There is not enough memory to stretch the password."),
        CallerFault::ImportFormat(what) => write!(f, "What was given is not {what}. Nothing was sent."),
        _ => write!(f, "This can't be done: {fault}."),
    }
}
