//! Peers that hold the session's keys and don't keep to the protocol: a client that sends any request, a server that
//! gives any reply. Rules are tested by playing their attacker.

use crate::client::{Call, ClientSession, Exchange, Framed};
use crate::error::{Error, PeerFault};
use crate::message::{ClientMessage, Direction, ServerMessage};
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
///
/// # Errors
/// None in practice.
pub fn pending(
    session: &ClientSession,
    secrets: alloc::vec::Vec<crate::SealedSecret>,
    since: Option<crate::VaultPin>,
) -> Result<crate::PendingSecrets, Error> {
    crate::PendingSecrets::new(session.vault(), secrets, since)
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
    let keys = session.frame_keys().ok_or(PeerFault::OutOfOrder)?;
    Ok(ServerMessage::Frame(keys.seal(Direction::ServerToClient, session_id, sequence, reply)?))
}
