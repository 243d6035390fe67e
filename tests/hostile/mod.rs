//! What the attackers share: forged replies, rewritten secrets, relabelled and damaged messages, a store that lies.
#![allow(dead_code, unreachable_pub, missing_docs, missing_debug_implementations)]

pub mod device;
pub mod witness;

use std::convert::Infallible;

use keystow::client::Operation;
use keystow::operation::{Reply, Request};
use keystow::storage::{Found, Outcome, Query, Standing, Transaction};
use keystow::testing::{AccountRow, MemoryStore, Store, hostile};
use keystow::*;

use crate::support::{self, World, client};

/// The frame that an exchange sends.
pub fn frame<O: Operation>(exchange: &Exchange<O>) -> Frame {
    match exchange.message() {
        ClientMessage::Frame(frame) => frame.clone(),
        other => panic!("no frame: {other:?}"),
    }
}

/// Any reply to an exchange's request, sealed with the session's keys: what a malicious server can say.
pub fn forge<O: Operation, S>(world: &World<S>, exchange: &Exchange<O>, reply: &Reply) -> ServerMessage {
    let Frame { session_id, sequence, .. } = frame(exchange);
    forge_at(world, session_id, sequence, reply)
}

/// Any reply under any number.
pub fn forge_at<S>(world: &World<S>, session_id: SessionId, sequence: u64, reply: &Reply) -> ServerMessage {
    hostile::reply(&world.server.sessions[&session_id], session_id, sequence, reply).unwrap()
}

/// What a server's frame says.
pub fn read_reply<S>(world: &World<S>, message: &ServerMessage) -> Reply {
    hostile::open_reply(&world.server.sessions[&message.session_id()], message.clone()).unwrap()
}

/// Sends any request in a session, and gives the reply.
pub fn ask<S: Store>(world: &mut World<S>, session: &mut ClientSession, request: &Request) -> Reply {
    let exchange = hostile::request(session, request).unwrap();
    world.run(exchange).unwrap().unwrap_or_else(Reply::Refused)
}

/// The error of a receive that must fail.
pub fn fault<T>(outcome: Result<T, Error>) -> Error {
    match outcome {
        Err(error) => error,
        Ok(_) => panic!("it was taken"),
    }
}

/// What an exchange ends with; it must end.
pub fn ended<T>(outcome: Result<Option<Result<T, Refusal>>, Error>) -> Result<T, Refusal> {
    outcome.unwrap().expect("the exchange goes on")
}

/// Pending secrets as they will be sent.
pub fn sealed(pending: &PendingSecrets) -> Vec<SealedSecret> {
    let bytes = pending.encode().unwrap();
    let (secrets, _since, _tag): (_, Option<VaultPin>, [u8; 32]) = postcard::from_bytes(&bytes[1..]).unwrap();
    secrets
}

/// Pending secrets put together by hand: what was made together taken apart, or something else put in its place.
pub fn pending(session: &ClientSession, secrets: &[SealedSecret], since: VaultPin) -> PendingSecrets {
    hostile::pending(session, secrets.to_vec(), Some(since))
}

/// A vault head that says nothing, under this number: a server can't tell it from another.
pub fn blank_head(epoch: u64) -> Box<SealedHead> {
    let mut bytes = [0; SealedHead::LEN];
    bytes[..8].copy_from_slice(&epoch.to_be_bytes());
    Box::new(SealedHead::from_bytes(bytes))
}

/// A person with a stored secret of 1 byte and another.
pub fn person<S: Store>(world: &mut World<S>, account: &str) -> (ClientSession, Vec<SealedSecret>) {
    let (_, mut session) = world.person(account);
    let pending = world.generate(&mut session, &[Kind::Bytes(1), Kind::Ed25519]).unwrap().unwrap();
    world.store(&mut session, &pending).unwrap().unwrap();
    (session, sealed(&pending))
}

/// The record of a live secret, as a store holds it.
pub fn record(secret: &SealedSecret) -> Vec<u8> {
    [&[1, 0], &postcard::to_allocvec(secret).unwrap()[..]].concat()
}

/// The record of a deleted secret.
pub fn tombstone(session_id: SessionId, sequence: u8) -> Vec<u8> {
    assert!(sequence < 0x80, "one byte of varint");
    [&[1, 1], &session_id.as_bytes()[..], &[sequence]].concat()
}

/// A header with its bytes rewritten.
pub fn rewrite(header: &Header, change: impl FnOnce(&mut [u8])) -> Header {
    let mut bytes = header.to_bytes();
    change(&mut bytes);
    Header::from_bytes(&bytes).unwrap()
}

/// Where things lie in a header's bytes.
pub mod at {
    pub const USER_ID: usize = 1;
    pub const KIND: usize = 17;
    pub const SERVER_RANDOM: usize = 23;
    pub const PUBLIC: usize = 57;
}

/// A server's message under another session's label: what a person in the middle does before passing it on.
pub fn relabelled(mut message: ServerMessage, label: SessionId) -> ServerMessage {
    match &mut message {
        ServerMessage::RegistrationResponse { session_id, .. }
        | ServerMessage::Registered { session_id }
        | ServerMessage::LoginResponse { session_id, .. }
        | ServerMessage::Refused { session_id, .. }
        | ServerMessage::Frame(Frame { session_id, .. }) => *session_id = label,
    }
    message
}

/// The same for a client's message that is not its session's first.
pub fn relabelled_request(mut message: ClientMessage, label: SessionId) -> ClientMessage {
    match &mut message {
        ClientMessage::RegistrationUpload { session_id, .. }
        | ClientMessage::LoginFinish { session_id, .. }
        | ClientMessage::Frame(Frame { session_id, .. }) => *session_id = label,
        first => panic!("its ID is its hash: {first:?}"),
    }
    message
}

/// Every way in which one bit is wrong.
pub fn flipped(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + use<'_> {
    (0..bytes.len()).flat_map(|i| (0..8).map(move |bit| (i, bit))).map(|(i, bit)| {
        let mut bytes = bytes.to_vec();
        bytes[i] ^= 1 << bit;
        bytes
    })
}

/// Every way to end early.
pub fn truncated(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + use<'_> {
    (0..bytes.len()).map(|len| bytes[..len].to_vec())
}

/// Every byte that can end an integer written as an overlong one (after the version byte, which is no integer), and
/// something after the end.
pub fn stretched(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + use<'_> {
    let overlong = move |i: usize| [&bytes[..i], &[bytes[i] | 0x80, 0], &bytes[i + 1..]].concat();
    let longer = [0, 0xff].map(|byte| [bytes, &[byte]].concat());
    (1..bytes.len()).filter(|i| bytes[*i] < 0x80).map(overlong).chain(longer)
}

/// Whether `needle` stands in `haystack`.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// A false answer to a query.
pub type Lie = Box<dyn Fn(&Query) -> Found>;

/// A store that is honest but for the one lie that it is told to tell.
#[derive(Default)]
pub struct Lying {
    pub honest: MemoryStore,
    pub found: Option<Lie>,
    pub outcome: Option<Outcome>,
}

impl Store for Lying {
    type Error = Infallible;

    fn read(&mut self, query: &Query) -> Result<Found, Infallible> {
        match &self.found {
            Some(lie) => Ok(lie(query)),
            None => self.honest.read(query),
        }
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, Infallible> {
        match self.outcome {
            Some(lie) => Ok(lie),
            None => self.honest.apply(transaction),
        }
    }
}

pub fn lying(seed: u64) -> World<Lying> {
    support::world_with(seed, Lying::default(), ServerPolicy::default())
}

/// The fault of a record that is stored, or of the store's answer.
pub fn stored(record: RecordName, problem: &'static str) -> Error {
    Error::Stored(StoredFault { record, problem })
}

/// Where Ada's account stands.
pub fn standing(world: &World<Lying>) -> Standing {
    let AccountRow { credential, epoch, .. } = world.server.store.honest.accounts[client("ada").account()];
    Standing { credential, epoch }
}

/// What a message comes to under a lie: an error. Nothing is sent, no session is opened, and the store's contents stay.
pub fn under_lie<O: Operation>(world: &mut World<Lying>, exchange: &Exchange<O>) -> Error {
    let (honest, sessions) = (world.server.store.honest.clone(), world.server.sessions.len());
    let error = support::error(world.send(exchange.message()));
    assert_eq!((&world.server.store.honest, world.server.sessions.len()), (&honest, sessions));
    error
}
