//! One value of every message, request, reply and refusal, and its bytes: no two fields alike, so that none can change
//! places.

use keystow::operation::{
    Reply, Request, audit, change_password, delete, delete_account, generate, heads, list, log_in, log_out, retrieve,
    status, store,
};
use keystow::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::file::{hex, json as plain};
use super::records::{entry, header};
use super::variants::{Numbered, assert_complete};

const ABOUT: &str = "A value of every message, and of what is in a frame. `value` is what is encoded, by the names of the \
    crate's types, bytes in hexadecimal; `bytes` is its encoding: with the version byte for messages, without it for \
    requests and replies.";

/// Bytes that count upwards, each field of a message from somewhere else.
pub(crate) fn count<const N: usize>(from: u8) -> [u8; N] {
    let mut next = from.wrapping_sub(1);
    std::array::from_fn(|_| {
        next = next.wrapping_add(1);
        next
    })
}

fn opaque<const N: usize>(from: u8) -> Box<OpaqueMessage<N>> {
    Box::new(OpaqueMessage::from_bytes(count(from)))
}

fn session_id() -> SessionId {
    SessionId::from_bytes(count(0x10))
}

fn key_ids(from: u8) -> Vec<KeyId> {
    vec![KeyId::from_bytes(count(from)), KeyId::from_bytes(count(from ^ 0xff))]
}

fn head(from: u8) -> Box<SealedHead> {
    Box::new(SealedHead::from_bytes(count(from)))
}

fn secret(kind: Kind) -> SealedSecret {
    let ciphertext = vec![0x5e; usize::try_from(kind.secret_len()).unwrap() + 16];
    SealedSecret { header: header(kind, Origin::Generated), ciphertext }
}

fn secrets() -> Vec<SealedSecret> {
    [Kind::Bytes(32), Kind::Bytes(200), Kind::Secp256k1, Kind::Ed25519].map(secret).to_vec()
}

fn refusals() -> Vec<Refusal> {
    use Refusal::*;
    let (key_id, time) = (KeyId::from_bytes(count(0x20)), Timestamp::from_millis(1_800_000_000_000));
    vec![
        Denied,
        NameTaken,
        TryAgainAt(time),
        TryAgainAt(Timestamp::from_millis(u64::MAX)),
        SessionEnded,
        KeyIdTaken(key_id),
        NotFound,
        TooLarge,
        AlreadyDeleted(key_id),
        LoginTooOld,
        HeadMoved,
    ]
}

/// A frame, at the borders of its number's and its length's encoding.
fn frame(sequence: u64, len: usize) -> Frame {
    Frame { session_id: session_id(), sequence, sealed: vec![0xa5; len] }
}

fn client_messages() -> Vec<ClientMessage> {
    let account = |len| AccountName::new(vec![b'n'; len]).unwrap();
    let login = |profile, len| ClientMessage::LoginRequest { account: account(len), profile, ke1: opaque(0x30) };
    vec![
        ClientMessage::RegistrationRequest { account: account(1), blinded: opaque(0x40) },
        ClientMessage::RegistrationRequest { account: account(127), blinded: opaque(0x40) },
        ClientMessage::RegistrationRequest { account: account(255), blinded: opaque(0x40) },
        ClientMessage::RegistrationUpload {
            session_id: session_id(),
            upload: opaque(0x50),
            wrap: count(0x60),
            head: head(0x70),
            transcript: count(0x80),
        },
        login(KsfProfile::RECOMMENDED, 3),
        login(KsfProfile::FLOOR, 128),
        login(KsfProfile::CEILING, 3),
        ClientMessage::LoginFinish { session_id: session_id(), ke3: opaque(0x90) },
        ClientMessage::Frame(frame(2, 17)),
        ClientMessage::Frame(frame(127, 127)),
        ClientMessage::Frame(frame(128, 128)),
        ClientMessage::Frame(frame(1 << 21, 300)),
        ClientMessage::Frame(frame(u64::MAX, 16)),
    ]
}

fn server_messages() -> Vec<ServerMessage> {
    let user_id = UserId::from_bytes(count(0xa0));
    let session_id = session_id();
    let refused = refusals().into_iter().map(|refusal| ServerMessage::Refused { session_id, refusal });
    let mut messages = vec![
        ServerMessage::RegistrationResponse { session_id, user_id, evaluated: opaque(0x41) },
        ServerMessage::Registered { session_id },
        ServerMessage::LoginResponse { session_id, ke2: opaque(0x31) },
        ServerMessage::Frame(frame(1, 87)),
        ServerMessage::Frame(frame(128, 128)),
    ];
    messages.extend(refused);
    messages
}

fn audit_requests() -> [audit::Request; 2] {
    let place = entry(Action::Store, true, key_ids(0x21)).place();
    let (from, until) = (Timestamp::from_millis(1_700_000_000_000), Timestamp::from_millis(1_900_000_000_000));
    let filter = |about| AuditFilter { about, key_ids: key_ids(0x21), from: Some(from), until: Some(until) };
    [
        audit::Request { filter: AuditFilter::default(), after: None, limit: 256 },
        audit::Request { filter: filter(AuditAbout::Secrets), after: Some(place), limit: 1 },
    ]
}

fn requests() -> Vec<Request> {
    let finish = change_password::Request::Finish { upload: opaque(0x51), wrap: count(0x61), head: head(0x71) };
    let account = AuditFilter { about: AuditAbout::Account, ..AuditFilter::default() };
    let mut requests = vec![
        Request::Generate(generate::Request { kinds: vec![Kind::Secp256k1] }),
        Request::Generate(generate::Request {
            kinds: vec![Kind::Bytes(1), Kind::Bytes(1_024), Kind::Bytes(65_536), Kind::Secp256k1, Kind::Ed25519],
        }),
        Request::Store(store::Request { secrets: secrets().into(), head: head(0x72) }),
        Request::Retrieve(retrieve::Request { key_ids: key_ids(0x22) }),
        Request::List(list::Request { after: None, limit: 256 }),
        Request::List(list::Request { after: Some(KeyId::from_bytes(count(0x23))), limit: 127 }),
        Request::Delete(delete::Request { key_ids: key_ids(0x24), head: head(0x73) }),
        Request::ChangePassword(change_password::Request::Start { blinded: opaque(0x42) }),
        Request::ChangePassword(finish),
        Request::Audit(audit::Request { filter: account, after: None, limit: 2 }),
        Request::Status(status::Request {}),
        Request::LogOut(log_out::Request {}),
        Request::DeleteAccount(delete_account::Request { head: None }),
        Request::DeleteAccount(delete_account::Request { head: Some(head(0x74)) }),
        Request::Heads(heads::Request { from: None }),
        Request::Heads(heads::Request { from: Some(300) }),
    ];
    requests.extend(audit_requests().map(Request::Audit));
    requests
}

fn replies() -> Vec<Reply> {
    let expires = Timestamp::from_millis(1_800_003_600_000);
    let entries = vec![
        entry(Action::LogIn { attempts_spent: 200 }, true, Vec::new()),
        entry(Action::Delete, false, key_ids(0x25)),
    ];
    let next = Some(entries[1].place());
    let mut replies = vec![
        Reply::Welcome(log_in::Welcome { user_id: UserId::from_bytes(count(0xa1)), wrap: count(0x62), expires }),
        Reply::Generate(generate::Reply { server_random: count(0xb0) }),
        Reply::Store(store::Reply { key_ids: key_ids(0x26), repeated: false }),
        Reply::Store(store::Reply { key_ids: key_ids(0x26), repeated: true }),
        Reply::Retrieve(retrieve::Reply { secrets: secrets() }),
        Reply::List(list::Reply { secrets: Vec::new(), next: None, epoch: 0 }),
        Reply::List(list::Reply { secrets: secrets(), next: Some(KeyId::from_bytes(count(0x27))), epoch: 128 }),
        Reply::Delete(delete::Reply { key_ids: key_ids(0x28) }),
        Reply::ChangePassword(change_password::Reply::Evaluated { evaluated: opaque(0x43) }),
        Reply::ChangePassword(change_password::Reply::Changed),
        Reply::Audit(audit::Reply { entries: Vec::new(), next: None }),
        Reply::Audit(audit::Reply { entries, next }),
        Reply::Status(status::Reply { lifetime: 3_600_000, idle: 300_000, recent: 0 }),
        Reply::LogOut(log_out::Reply {}),
        Reply::DeleteAccount(delete_account::Reply { done: false }),
        Reply::DeleteAccount(delete_account::Reply { done: true }),
        Reply::Heads(heads::Reply { heads: Vec::new(), newest: 7 }),
        Reply::Heads(heads::Reply { heads: vec![*head(0x75), *head(0x76)], newest: 1_000 }),
    ];
    replies.extend(refusals().into_iter().map(Reply::Refused));
    replies
}

/// What is in a frame: the canonical bytes alone.
fn body<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).unwrap()
}

/// Each value with its bytes, which read back as the value. `at` is where the variant's number stands.
fn encoded<T: Numbered + Serialize>(values: &[T], at: usize, encode: impl Fn(&T) -> Vec<u8>) -> Value {
    let bytes: Vec<_> = values.iter().map(encode).collect();
    assert_complete(&values.iter().zip(&bytes).map(|(value, bytes)| (value, bytes[at])).collect::<Vec<_>>());
    let entry = |(value, bytes): (&T, &Vec<u8>)| {
        json!({
            "name": value.variant(),
            "value": plain(value),
            "bytes": hex(bytes),
        })
    };
    values.iter().zip(&bytes).map(entry).collect()
}

fn reads_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(values: &[T]) {
    for value in values {
        assert_eq!(postcard::from_bytes::<T>(&body(value)).unwrap(), *value);
    }
}

/// What is inside of some requests and replies has numbers of its own.
fn assert_parts_complete(requests: &[Request], replies: &[Reply]) {
    let (mut starts, mut answers, mut abouts, mut kinds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for request in requests {
        match request {
            Request::ChangePassword(request) => starts.push((request, body(request)[0])),
            Request::Audit(request) => abouts.push((&request.filter.about, body(&request.filter)[0])),
            Request::Generate(request) => kinds.extend(request.kinds.iter().map(|kind| (kind, body(kind)[0]))),
            _ => {}
        }
    }
    for reply in replies {
        if let Reply::ChangePassword(reply) = reply {
            answers.push((reply, body(reply)[0]));
        }
    }
    assert_complete(&starts);
    assert_complete(&answers);
    assert_complete(&abouts);
    assert_complete(&kinds);
}

pub(crate) fn compute() -> Value {
    let (requests, replies, refusals) = (requests(), replies(), refusals());
    let (client_messages, server_messages) = (client_messages(), server_messages());
    for message in &client_messages {
        assert_eq!(ClientMessage::decode(&message.encode().unwrap()).as_ref(), Ok(message));
    }
    for message in &server_messages {
        assert_eq!(ServerMessage::decode(&message.encode().unwrap()).as_ref(), Ok(message));
    }
    reads_back(&requests);
    reads_back(&replies);
    assert_parts_complete(&requests, &replies);
    json!({
        "about": ABOUT,
        "version": 1,
        "client_messages": encoded(&client_messages, 1, |message| message.encode().unwrap()),
        "server_messages": encoded(&server_messages, 1, |message| message.encode().unwrap()),
        "requests": encoded(&requests, 0, body),
        "replies": encoded(&replies, 0, body),
        "refusals": encoded(&refusals, 0, body),
    })
}
