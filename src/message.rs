//! What crosses between client and server: typed messages, their one byte encoding, and the frames that
//! protect everything after login.

use alloc::boxed::Box;
use alloc::vec::Vec;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_big_array::BigArray;

use crate::codec::{decode, decode_body, encode, encode_body};
use crate::error::{Error, PeerFault, Refusal};
use crate::head::SealedHead;
use crate::id::{AccountName, SessionId, UserId};
use crate::secret::{HASHES, Secret, scrubbed};
use crate::suite::opaque::{Blinded, Evaluated, Ke1, Ke2, Ke3, LongKey, Upload};
use crate::suite::{KsfProfile, Prk, VERSION, label, open, seal, sha256};

/// A message from the client to the server. The variant's position is its number on the wire: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientMessage {
    /// Opens a session to register an account.
    RegistrationRequest {
        /// The name that is asked for.
        account: AccountName,
        /// The blinded password, 32 bytes.
        blinded: Box<Blinded>,
    },
    /// Ends a registration.
    RegistrationUpload {
        /// The session.
        session_id: SessionId,
        /// OPAQUE's registration upload, 192 bytes.
        upload: Box<Upload>,
        /// The vault key sealed under a key from `export_key`, 48 bytes.
        #[serde(with = "BigArray")]
        wrap: Wrap,
        /// The first link of the vault's chain, 140 bytes.
        head: Box<SealedHead>,
        /// SHA-256 over what the client saw of this registration.
        transcript: [u8; 32],
    },
    /// Opens a session to log in.
    LoginRequest {
        /// The account's name.
        account: AccountName,
        /// The key-stretching profile that the client will use.
        profile: KsfProfile,
        /// OPAQUE's KE1, 96 bytes.
        ke1: Box<Ke1>,
    },
    /// Ends a login.
    LoginFinish {
        /// The session.
        session_id: SessionId,
        /// OPAQUE's KE3, 64 bytes.
        ke3: Box<Ke3>,
    },
    /// An operation's request, after login.
    Frame(Frame),
}

/// A message from the server to the client. The variant's position is its number on the wire: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerMessage {
    /// Answers a registration request.
    RegistrationResponse {
        /// The session.
        session_id: SessionId,
        /// The user ID that the account will have.
        user_id: UserId,
        /// OPAQUE's registration response, 64 bytes: evaluated element and the server's public key.
        evaluated: Box<Evaluated>,
    },
    /// The account exists.
    Registered {
        /// The session.
        session_id: SessionId,
    },
    /// Answers a login request.
    LoginResponse {
        /// The session.
        session_id: SessionId,
        /// OPAQUE's KE2, 320 bytes.
        ke2: Box<Ke2>,
    },
    /// A refusal before there is a key to seal it with. It ends the session.
    Refused {
        /// The session.
        session_id: SessionId,
        /// What is said about it.
        refusal: Refusal,
    },
    /// An operation's reply, or the end of a login.
    Frame(Frame),
}

/// A sealed request or reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The session: it routes, and is not authenticated.
    pub session_id: SessionId,
    /// The request's number, from 1; a reply carries its request's.
    pub sequence: u64,
    /// AES-256-GCM-SIV ciphertext and 16-byte tag.
    #[serde(with = "serde_bytes")]
    pub sealed: Vec<u8>,
}

impl ClientMessage {
    /// The message's bytes: version, then canonical `postcard`. At most 1 MiB.
    ///
    /// # Errors
    /// [`crate::CallerFault::TooLong`] for a frame too large to be sent, which no exchange makes.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        encode(self)
    }

    /// Reads a message; nothing is allocated for one that is too long.
    ///
    /// # Errors
    /// [`PeerFault::TooLong`], [`PeerFault::Version`] or [`PeerFault::Undecodable`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        Ok(decode(bytes)?)
    }

    /// The session that the message belongs to: for a first message, the first 16 bytes of SHA-256 over
    /// its encoding; for every other, what it says.
    ///
    /// # Errors
    /// As for [`ClientMessage::encode`].
    pub fn session_id(&self) -> Result<SessionId, Error> {
        match self {
            Self::RegistrationRequest { .. } | Self::LoginRequest { .. } => {
                let bytes = self.encode()?;
                Ok(SessionId::from_bytes(fingerprint(&bytes)))
            }
            Self::RegistrationUpload { session_id, .. } | Self::LoginFinish { session_id, .. } => Ok(*session_id),
            Self::Frame(frame) => Ok(frame.session_id),
        }
    }
}

impl ServerMessage {
    /// The message's bytes: version, then canonical `postcard`. At most 1 MiB.
    ///
    /// # Errors
    /// [`crate::CallerFault::TooLong`] for a frame too large to be sent, which no session makes.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        encode(self)
    }

    /// Reads a message; nothing is allocated for one that is too long.
    ///
    /// # Errors
    /// [`PeerFault::TooLong`], [`PeerFault::Version`] or [`PeerFault::Undecodable`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        Ok(decode(bytes)?)
    }

    /// The session that the message belongs to.
    #[must_use]
    pub const fn session_id(&self) -> SessionId {
        match self {
            Self::RegistrationResponse { session_id, .. }
            | Self::Registered { session_id }
            | Self::LoginResponse { session_id, .. }
            | Self::Refused { session_id, .. }
            | Self::Frame(Frame { session_id, .. }) => *session_id,
        }
    }
}

/// 16 bytes that tell a request from any other of its session: what a repeat is recognised by.
pub(crate) type Fingerprint = [u8; 16];

/// The first half of SHA-256 over a message that is not a frame.
pub(crate) fn fingerprint(message: &[u8]) -> Fingerprint {
    let [half @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = sha256(&[message]);
    half
}

impl Frame {
    /// The frame's authentication tag, which is its fingerprint: under one key and sequence number, GCM-SIV's tag
    /// is a function of the plaintext, and the ciphertext one of both.
    pub(crate) fn tag(&self) -> Result<Fingerprint, PeerFault> {
        self.sealed.last_chunk().copied().ok_or(PeerFault::Unauthenticated)
    }
}

/// What a side knows of a registration after its first exchange: SHA-256 of the server identity, of the request's bytes, of
/// the response's.
#[derive(Serialize, Deserialize)]
pub(crate) struct RegistrationTranscript([[u8; 32]; 3]);

impl RegistrationTranscript {
    pub(crate) fn new(identity: &[u8], request: &ClientMessage, response: &ServerMessage) -> Result<Self, Error> {
        Ok(Self([sha256(&[identity]), sha256(&[&request.encode()?]), sha256(&[&response.encode()?])]))
    }

    /// The hash that the upload carries, by which the server finds out that a message was damaged on the way, or that the
    /// client means another deployment: `SHA-256("keystow v1 registration transcript" ‖ SHA-256(server identity) ‖
    /// SHA-256(request) ‖ SHA-256(response) ‖ upload ‖ wrap ‖ head)`. Either way no one could log in to the account.
    pub(crate) fn with_upload(&self, upload: &Upload, wrap: &Wrap, head: &SealedHead) -> [u8; 32] {
        let Self([identity, request, response]) = self;
        sha256(&[label::REGISTRATION, identity, request, response, upload.as_bytes(), wrap, head.as_bytes()])
    }
}

/// The vault key, sealed: 32 bytes and a 16-byte tag.
pub(crate) type Wrap = [u8; 48];

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ClientToServer,
    ServerToClient,
}

/// The two keys of an open session, from client to server and back, in one allocation. They are kept raw: an expanded
/// AES-256-GCM-SIV key takes 480 bytes.
pub(crate) struct FrameKeys(Secret<[[u8; 32]; 2]>);

impl FrameKeys {
    pub(crate) fn derive(session_key: &LongKey) -> Result<Self, Error> {
        let prk = Prk::new(session_key.expose())?;
        let keys = |[to_server, to_client]: &mut [[u8; 32]; 2]| {
            prk.expand(label::CLIENT_TO_SERVER, &[], to_server)?;
            prk.expand(label::SERVER_TO_CLIENT, &[], to_client)
        };
        scrubbed::<HASHES, _>(|| Ok(Self(Secret::<[[u8; 32]; 2]>::try_write(keys)?)))
    }

    fn key(&self, direction: Direction) -> &[u8; 32] {
        let [to_server, to_client] = self.0.expose();
        match direction {
            Direction::ClientToServer => to_server,
            Direction::ServerToClient => to_client,
        }
    }

    /// Seals a request or reply into a frame.
    pub(crate) fn seal<T: Serialize>(
        &self,
        direction: Direction,
        session_id: SessionId,
        sequence: u64,
        body: &T,
    ) -> Result<Frame, Error> {
        let (nonce, aad) = frame_nonce_and_aad(direction, sequence);
        let sealed = seal(self.key(direction), nonce, &aad, encode_body(body)?)?;
        Ok(Frame { session_id, sequence, sealed })
    }

    /// Opens a frame's bytes and decodes what is in it.
    pub(crate) fn open<T: Serialize + serde::de::DeserializeOwned>(
        &self,
        direction: Direction,
        frame: Frame,
    ) -> Result<T, Error> {
        let (nonce, aad) = frame_nonce_and_aad(direction, frame.sequence);
        let body = open(self.key(direction), nonce, &aad, frame.sealed)?;
        Ok(decode_body(&body)?)
    }
}

// Inside of a session that is sealed to be kept elsewhere, as `crate::secret::exposed`: one key after the other. `postcard`
// writes a list of two as it does a structure of two.
impl Serialize for FrameKeys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Serialize::serialize(&self.0.expose().each_ref().map(|key| serde_bytes::Bytes::new(key)), serializer)
    }
}

impl<'de> Deserialize<'de> for FrameKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: [&[u8]; 2] = Deserialize::deserialize(deserializer)?;
        let copy = |keys: &mut [[u8; 32]; 2]| {
            keys.iter_mut().zip(bytes).try_for_each(|(key, bytes)| {
                key.copy_from_slice(<&[u8; 32]>::try_from(bytes)?);
                Ok(())
            })
        };
        let wrong = |_: core::array::TryFromSliceError| D::Error::custom("a key of another length");
        Ok(Self(Secret::<[[u8; 32]; 2]>::try_write(copy).map_err(wrong)?))
    }
}

impl core::fmt::Debug for FrameKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("FrameKeys(..)")
    }
}

/// `nonce = 0[4] ‖ sequence[8]`, `AAD = version[1] ‖ direction[1] ‖ sequence[8]`, big-endian.
fn frame_nonce_and_aad(direction: Direction, sequence: u64) -> ([u8; 12], [u8; 10]) {
    let [a, b, c, d, e, f, g, h] = sequence.to_be_bytes();
    let direction = match direction {
        Direction::ClientToServer => 0,
        Direction::ServerToClient => 1,
    };
    ([0, 0, 0, 0, a, b, c, d, e, f, g, h], [VERSION, direction, a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> FrameKeys {
        FrameKeys::derive(&Secret::write(|key| *key = [3; 64])).unwrap()
    }

    /// The aim: a frame adds at most 40 bytes (sequence below 2^21, contents under 64 KiB).
    #[test]
    fn a_frame_adds_at_most_40_bytes() {
        for len in [1, 100, 60_000] {
            let body = serde_bytes::ByteBuf::from(alloc::vec![0; len]);
            let carried = encode_body(&body).unwrap().len();
            let frame = keys().seal(Direction::ClientToServer, SessionId::from_bytes([0; 16]), (1 << 21) - 1, &body);
            let sent = ClientMessage::Frame(frame.unwrap()).encode().unwrap().len();
            assert!(sent <= carried + 40, "{sent} for {carried}");
        }
    }

    /// Rule 14: reflected, renumbered, respelled frames don't open; the session ID only routes.
    #[test]
    fn a_frame_opens_in_its_direction_and_place_alone() {
        let frame = keys().seal(Direction::ClientToServer, SessionId::from_bytes([0; 16]), 7, &5u32).unwrap();
        assert_eq!(keys().open::<u32>(Direction::ClientToServer, frame.clone()), Ok(5));
        let unauthenticated = Err(PeerFault::Unauthenticated.into());
        assert_eq!(keys().open::<u32>(Direction::ServerToClient, frame.clone()), unauthenticated, "reflected");
        let renumbered = Frame { sequence: 8, ..frame.clone() };
        assert_eq!(keys().open::<u32>(Direction::ClientToServer, renumbered), unauthenticated);
        for i in 0..frame.sealed.len() {
            let mut garbled = frame.clone();
            garbled.sealed[i] ^= 1;
            assert_eq!(keys().open::<u32>(Direction::ClientToServer, garbled), unauthenticated);
        }
    }
}
