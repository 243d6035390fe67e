//! Forged messages: any request and any reply, sealed with the session's keys; messages under another label; damaged bytes.

use alloc::boxed::Box;
use alloc::vec::Vec;

use serde::Serialize;

use crate::client::{Call, ClientSession, Exchange, Framed};
use crate::codec::decode;
use crate::error::{Error, PeerFault};
use crate::head::{SealedHead, VaultPin};
use crate::header::{Header, SealedSecret};
use crate::message::{ClientMessage, Direction, Frame, ServerMessage};
use crate::operation::store::PendingSecrets;
use crate::operation::{Reply, Request};
use crate::server::ServerSession;

/// Takes any reply for an answer.
#[derive(Clone, Copy, Debug)]
pub struct AnyReply;

impl Call for AnyReply {
    type Output = Reply;

    fn answer(&self, reply: Reply) -> Result<Reply, Error> {
        Ok(reply)
    }
}

/// A request that the client's own operations may refuse to make.
///
/// # Errors
/// [`crate::CallerFault::TooLong`], [`crate::CallerFault::SequenceExhausted`].
pub fn request(session: &mut ClientSession, request: &Request) -> Result<Exchange<Framed<AnyReply>>, Error> {
    session.call(request, AnyReply)
}

/// Pending secrets put together by hand: what was made together taken apart, or something else put in its place.
pub fn pending(session: &ClientSession, secrets: Vec<SealedSecret>, since: Option<VaultPin>) -> PendingSecrets {
    PendingSecrets::new(session.vault(), secrets, since)
}

/// What a client's frame says, read with the server's keys.
///
/// # Errors
/// [`PeerFault::OutOfOrder`] if the session isn't open or the message is no frame; [`PeerFault::Unauthenticated`].
pub fn open_request(session: &ServerSession, message: ClientMessage) -> Result<Request, Error> {
    match (session.frame_keys(), message) {
        (Some(keys), ClientMessage::Frame(frame)) => keys.open(Direction::ClientToServer, frame),
        _ => Err(PeerFault::OutOfOrder.into()),
    }
}

/// What a server's frame says, read with the server's keys.
///
/// # Errors
/// As [`open_request`].
pub fn open_reply(session: &ServerSession, message: ServerMessage) -> Result<Reply, Error> {
    match (session.frame_keys(), message) {
        (Some(keys), ServerMessage::Frame(frame)) => keys.open(Direction::ServerToClient, frame),
        _ => Err(PeerFault::OutOfOrder.into()),
    }
}

/// Any reply to the request `sequence`, sealed with the server's keys.
///
/// # Errors
/// [`PeerFault::OutOfOrder`] if the session isn't open.
pub fn reply(
    session: &ServerSession,
    session_id: crate::SessionId,
    sequence: u64,
    reply: &Reply,
) -> Result<ServerMessage, Error> {
    sealed(session, session_id, sequence, reply)
}

/// Anything that can be serialised, sealed as a reply.
pub(super) fn sealed<T: Serialize>(
    session: &ServerSession,
    session_id: crate::SessionId,
    sequence: u64,
    reply: &T,
) -> Result<ServerMessage, Error> {
    let keys = session.frame_keys().ok_or(PeerFault::OutOfOrder)?;
    Ok(ServerMessage::Frame(keys.seal(Direction::ServerToClient, session_id, sequence, reply)?))
}

/// A server's message under another session's label.
pub(super) fn relabelled(mut message: ServerMessage, label: crate::SessionId) -> ServerMessage {
    match &mut message {
        ServerMessage::RegistrationResponse { session_id, .. }
        | ServerMessage::Registered { session_id }
        | ServerMessage::LoginResponse { session_id, .. }
        | ServerMessage::Refused { session_id, .. }
        | ServerMessage::Frame(Frame { session_id, .. }) => *session_id = label,
    }
    message
}

/// The same for a client's message. A session's first message has no label but its hash, and stays as it is.
pub(super) fn relabelled_request(mut message: ClientMessage, label: crate::SessionId) -> ClientMessage {
    match &mut message {
        ClientMessage::RegistrationUpload { session_id, .. }
        | ClientMessage::LoginFinish { session_id, .. }
        | ClientMessage::Frame(Frame { session_id, .. }) => *session_id = label,
        ClientMessage::RegistrationRequest { .. } | ClientMessage::LoginRequest { .. } => {}
    }
    message
}

/// Bytes with one of them exclusively ored.
pub(super) fn flipped(bytes: &[u8], at: usize, bits: u8) -> Vec<u8> {
    bytes.iter().enumerate().map(|(i, byte)| if i == at { byte ^ bits } else { *byte }).collect()
}

/// Pending secrets as they will be sent.
pub(super) fn sent(pending: &PendingSecrets) -> Result<Vec<SealedSecret>, Error> {
    let (secrets, _since, _tag): (Vec<SealedSecret>, Option<VaultPin>, [u8; 32]) = decode(&pending.encode()?)?;
    Ok(secrets)
}

/// A vault head that says nothing, under this number: a server can't tell it from another.
pub(super) fn blank_head(epoch: u64) -> Box<SealedHead> {
    let mut bytes = [0; SealedHead::LEN];
    for (byte, value) in bytes.iter_mut().zip(epoch.to_be_bytes()) {
        *byte = value;
    }
    Box::new(SealedHead::from_bytes(bytes))
}

/// A header with one of its bytes rewritten.
pub(super) fn rewritten(header: &Header, at: usize, bits: u8) -> Result<Header, Error> {
    Ok(Header::from_bytes(&flipped(&header.to_bytes(), at, bits))?)
}

/// Where the user ID begins in a header's bytes.
pub(super) const USER_ID: usize = 1;
/// Where the public component begins in a header's bytes.
pub(super) const PUBLIC: usize = 57;
