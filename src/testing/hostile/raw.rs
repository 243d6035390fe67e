//! Any bytes, sealed: in the place of a request, of a reply, of a stored session. What is authentic and still can't be decoded.

use alloc::vec::Vec;

use serde::ser::{Serialize, SerializeTuple, Serializer};

use crate::error::{Error, PeerFault};
use crate::id::SessionId;
use crate::message::{ClientMessage, Direction, ServerMessage};
use crate::server::{FleetKey, ServerSession};
use crate::storage::StoredSession;

/// Any bytes in the place of a request, sealed with the client's keys under the number `sequence`.
///
/// # Errors
/// [`PeerFault::OutOfOrder`] if the session isn't open; [`crate::CallerFault::TooLong`].
pub fn request_bytes(
    session: &ServerSession,
    session_id: SessionId,
    sequence: u64,
    body: &[u8],
) -> Result<ClientMessage, Error> {
    let keys = session.frame_keys().ok_or(PeerFault::OutOfOrder)?;
    Ok(ClientMessage::Frame(keys.seal(Direction::ClientToServer, session_id, sequence, &Raw(body))?))
}

/// Any bytes in the place of a reply, sealed with the server's keys under the number `sequence`.
///
/// # Errors
/// As [`request_bytes`].
pub fn reply_bytes(
    session: &ServerSession,
    session_id: SessionId,
    sequence: u64,
    body: &[u8],
) -> Result<ServerMessage, Error> {
    let keys = session.frame_keys().ok_or(PeerFault::OutOfOrder)?;
    Ok(ServerMessage::Frame(keys.seal(Direction::ServerToClient, session_id, sequence, &Raw(body))?))
}

/// Any bytes in the place of a stored session, sealed with the fleet's key.
///
/// # Errors
/// [`crate::CallerFault::TooLong`].
pub fn seal_session(key: &FleetKey, session_id: SessionId, version: u64, plain: &[u8]) -> Result<Vec<u8>, Error> {
    Ok(key.seal(session_id, version, &Raw(plain))?.into_vec())
}

/// What is in a stored session, read with the fleet's key.
///
/// # Errors
/// [`Error::Stored`] if it doesn't open.
pub fn open_session(key: &FleetKey, session_id: SessionId, stored: &StoredSession) -> Result<Vec<u8>, Error> {
    Ok(key.unseal(session_id, stored.version, &stored.sealed)?.expose().to_vec())
}

/// Bytes that are encoded as they are.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|byte| bytes.serialize_element(byte))?;
        bytes.end()
    }
}
