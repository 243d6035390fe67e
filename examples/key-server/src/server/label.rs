//! Short fixed names for what happens: labels of metrics, fields of log lines. Account names, user IDs and key IDs, which the
//! crate's own error texts have where they help, are in none of them.

use keystow::storage::{Conflict, Outcome};
use keystow::{CallerFault, ClientMessage, Error, PeerFault, RecordName, Refusal};

use crate::store::StoreError;

/// A message, before its session has said what is in it.
pub(super) fn message(message: &ClientMessage) -> &'static str {
    match message {
        ClientMessage::RegistrationRequest { .. } | ClientMessage::RegistrationUpload { .. } => "register",
        ClientMessage::LoginRequest { .. } | ClientMessage::LoginFinish { .. } => "log_in",
        ClientMessage::Frame(_) => "frame",
    }
}

/// An error of the protocol.
pub(super) fn error(error: &Error) -> &'static str {
    match error {
        Error::Peer(fault) => peer(fault),
        Error::Stored(fault) => match fault.record {
            RecordName::Account(_) => "stored_account",
            RecordName::Secret(..) => "stored_secret",
            RecordName::Head(..) => "stored_head",
            RecordName::Session(_) => "stored_session",
            RecordName::Audit(_) => "stored_audit",
            _ => "stored_answer",
        },
        Error::Moved => "moved",
        Error::Caller(CallerFault::TooLong { .. }) => "reply_too_long",
        _ => "caller",
    }
}

fn peer(fault: &PeerFault) -> &'static str {
    match fault {
        PeerFault::TooLong { .. } => "too_long",
        PeerFault::Version(_) => "version",
        PeerFault::Undecodable => "undecodable",
        PeerFault::InvalidElement => "invalid_element",
        PeerFault::WrongSession => "wrong_session",
        PeerFault::OutOfOrder => "out_of_order",
        PeerFault::WrongSequence => "wrong_sequence",
        PeerFault::Unauthenticated => "unauthenticated",
        PeerFault::Transcript => "transcript",
        PeerFault::WrongKe3 => "wrong_ke3",
        _ => "peer",
    }
}

/// A refusal outside of a frame. (Those inside can't be told from other replies: they are sealed.)
pub(super) fn refusal(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Denied => "denied",
        Refusal::NameTaken => "name_taken",
        Refusal::TryAgainAt(_) => "try_again",
        Refusal::SessionEnded => "session_ended",
        Refusal::KeyIdTaken(_) => "key_id_taken",
        Refusal::NotFound => "not_found",
        Refusal::TooLarge => "too_large",
        Refusal::AlreadyDeleted(_) => "already_deleted",
        Refusal::LoginTooOld => "login_too_old",
        Refusal::HeadMoved => "head_moved",
    }
}

/// How a transaction ended: this tells most refusals inside of frames.
pub(super) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "applied",
        Outcome::Repeated => "repeated",
        Outcome::Moved => "moved",
        Outcome::Conflict(Conflict::Credential) => "conflict_credential",
        Outcome::Conflict(Conflict::NameTaken) => "conflict_name_taken",
        Outcome::Conflict(Conflict::UserIdTaken) => "conflict_user_id_taken",
        Outcome::Conflict(Conflict::AttemptLimit) => "conflict_attempt_limit",
        Outcome::Conflict(Conflict::KeyIdTaken(_)) => "conflict_key_id_taken",
        Outcome::Conflict(Conflict::SecretGone(_)) => "conflict_secret_gone",
        Outcome::Conflict(Conflict::Head) => "conflict_head",
    }
}

/// A store's error as far as it can be logged: a database's own text can quote the row that it is about.
pub(super) fn store_error(error: &StoreError) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
    while let Some(error) = cause {
        if let Some(code) = error.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code) {
            return format!("SQLSTATE {}", code.code());
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.kind().to_string();
        }
        cause = error.source();
    }
    "the engine failed".into()
}
