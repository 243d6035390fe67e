//! Custody in a session: import, status, log out, every operation after the session's end, and what an embedder gets for
//! its own authorisation and metrics. (`custody_*.rs`: list, delete, change password, audit, delete account.)
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod holdings;
mod hostile;
mod support;

use core::time::Duration;

use holdings::{request, settled, step};
use hostile::{ask, ended, frame};
use keystow::operation::status::SessionStatus;
use keystow::operation::{
    Reply, Request, audit, change_password, delete_account, generate, heads, list, log_out, retrieve, status,
};
use keystow::testing::{InMemoryServer, MemoryStore, Store, hostile as peer};
use keystow::*;
use support::{PASSWORD, World, client, error, up_to_write, world};

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

// --- import --------------------------------------------------------------------------------------------

#[test]
fn imported_bytes_of_every_length_come_back_with_their_origin() {
    let mut world = world(1);
    let (_, mut session) = world.person("ada");
    let own = [vec![7], vec![8; 1_025], vec![9; 65_536]];
    let plain = own.iter().map(|bytes| PlainSecret::bytes(bytes).unwrap()).collect();
    let pending = world.import(&mut session, plain).unwrap().unwrap();
    let stored = world.store(&mut session, &pending).unwrap().unwrap();
    let key_ids: Vec<_> = stored.iter().map(|secret| secret.key_id).collect();
    let secrets = world.retrieve(&mut session, &key_ids).unwrap().unwrap();
    for (secret, bytes) in secrets.iter().zip(&own) {
        let kind = Kind::Bytes(u32::try_from(bytes.len()).unwrap());
        assert_eq!((secret.expose(), secret.kind(), secret.origin()), (&bytes[..], kind, Origin::Imported));
    }
    let listed = world.list(&mut session).unwrap().unwrap();
    assert_eq!(listed.iter().map(|secret| secret.origin).collect::<Vec<_>>(), [Origin::Imported; 3]);
    for (len, bytes) in [(0, vec![]), (65_537, vec![0; 65_537])] {
        let fault = CallerFault::SecretLength { len, max: 65_536 };
        assert_eq!(PlainSecret::bytes(bytes).map(drop), Err(fault.into()));
    }
}

fn plain(count: usize, len: usize) -> Vec<PlainSecret> {
    (0..count).map(|_| PlainSecret::bytes(vec![7; len]).unwrap()).collect()
}

#[test]
fn a_batch_is_1_to_256_secrets_of_512_kib_together_or_refused_before_anything_is_sent() {
    let mut world = world(2);
    let (_, mut session) = world.person("ada");
    let over = plain(8, 65_536).into_iter().chain(plain(1, 1)).collect();
    for (secrets, fault) in [
        (vec![], CallerFault::BatchLength { len: 0, max: 256 }),
        (plain(257, 1), CallerFault::BatchLength { len: 257, max: 256 }),
        (over, CallerFault::TooLong { max: 524_288 }),
    ] {
        assert_eq!(session.import(secrets, &mut world.rng).map(drop), Err(fault.into()));
    }
    for secrets in [plain(256, 1), plain(8, 65_536)] {
        let pending = world.import(&mut session, secrets).unwrap().unwrap();
        world.store(&mut session, &pending).unwrap().unwrap();
    }
    assert_eq!(world.server.store.secrets.len(), 264, "the same bytes under as many key IDs");
    assert_eq!(frame(&session.status().unwrap()).sequence, 7, "no number was spent on the refused ones");
}

#[test]
fn an_import_that_was_kept_is_stored_exactly_once_in_whatever_session() {
    let mut world = world(3);
    let (client, mut session) = world.person("ada");
    let pending = world.import(&mut session, plain(2, 32)).unwrap().unwrap();
    let kept = pending.encode().unwrap();
    world.server.crash();
    let mut later = world.log_in(&client, PASSWORD).unwrap().unwrap();
    let pending = PendingSecrets::decode(&kept).unwrap();
    let first = world.store(&mut later, &pending).unwrap().unwrap();
    assert!(first.iter().all(|secret| !secret.already_stored));
    let before = world.server.store.clone();
    let again = world.store(&mut later, &pending).unwrap().unwrap();
    let expected: Vec<_> = first.iter().map(|secret| NewSecret { already_stored: true, ..*secret }).collect();
    assert_eq!((again, &world.server.store), (expected, &before));
}

// --- status and the end of a session --------------------------------------------------------------------

#[test]
fn the_status_says_what_is_left_as_time_goes_on() {
    let mut world = world(4);
    let (_, mut session) = world.person("ada");
    let opened = world.now;
    for (after, lifetime, idle, recent) in [(0, 60, 5, 5), (4, 56, 5, 1), (5, 55, 5, 0), (9, 51, 5, 0)] {
        world.now = opened.after(after * MINUTE);
        let (lifetime, idle, recent_login) = (lifetime * MINUTE, idle * MINUTE, recent * MINUTE);
        assert_eq!(world.status(&mut session).unwrap(), Ok(SessionStatus { lifetime, idle, recent_login }));
    }
    for after in (13..57).step_by(4) {
        world.now = opened.after(after * MINUTE);
        world.status(&mut session).unwrap().unwrap();
    }
    world.now = opened.after(57 * MINUTE);
    let left = world.status(&mut session).unwrap().unwrap();
    assert_eq!((left.lifetime, left.idle), (3 * MINUTE, 3 * MINUTE), "idle time never outlasts the session");
    world.now = opened.after(60 * MINUTE);
    let left = world.status(&mut session).unwrap().unwrap();
    assert_eq!((left.lifetime, left.idle, left.recent_login), Default::default());
    world.pass(MILLISECOND);
    assert_eq!(world.status(&mut session).unwrap(), Err(Refusal::SessionEnded));
}

/// A request of every operation, about a secret that is stored and one that is pending: as the client makes them, with
/// the vault's next head where there is one.
fn every_request(
    world: &mut World,
    session: &mut ClientSession,
    stored: KeyId,
    pending: &PendingSecrets,
) -> Vec<Request> {
    let registration = client("nobody").register(PASSWORD, &mut world.rng).unwrap();
    let ClientMessage::RegistrationRequest { blinded, .. } = registration.message().clone() else { panic!() };
    let key_ids = vec![stored];
    // One after the other: of exchanges with the vault there is one at a time.
    let store = request(world, &session.store(pending).unwrap());
    let delete = request(world, &session.delete(&key_ids).unwrap());
    let delete_account = request(world, &session.delete_account().unwrap());
    vec![
        Request::Generate(generate::Request { kinds: vec![Kind::Bytes(1)] }),
        Request::Status(status::Request {}),
        Request::ChangePassword(change_password::Request::Start { blinded }),
        Request::LogOut(log_out::Request {}),
        store,
        Request::Retrieve(retrieve::Request { key_ids }),
        Request::List(list::Request { after: None, limit: 1 }),
        delete,
        Request::Audit(audit::Request { filter: AuditFilter::default(), after: None, limit: 1 }),
        delete_account,
        Request::Heads(heads::Request { from: None }),
    ]
}

/// How many of them come to a reply without the store.
const WITHOUT_STORE: usize = 4;

/// A person with a stored and a pending secret, and a request of every operation.
fn person(world: &mut World) -> (Client, ClientSession, Vec<Request>) {
    let (client, mut session) = world.person("ada");
    let stored = world.secret(&mut session, Kind::Ed25519).key_id;
    let pending = world.generate(&mut session, &[Kind::Bytes(1)]).unwrap().unwrap();
    let requests = every_request(world, &mut session, stored, &pending);
    (client, session, requests)
}

#[test]
fn after_log_out_every_request_is_out_of_order_and_the_log_out_can_be_asked_again() {
    let mut world = world(5);
    let (client, mut session, requests) = person(&mut world);
    let exchange = peer::request(&mut session, &Request::LogOut(log_out::Request {})).unwrap();
    let before = world.server.store.clone();
    let reply = world.send(exchange.message()).unwrap();
    assert_eq!(hostile::read_reply(&world, &reply), Reply::LogOut(log_out::Reply {}));
    assert_eq!(world.send(exchange.message()), Ok(reply.clone()));
    assert_eq!(world.server.sessions[&session.session_id()].user_id(), None);
    for request in &requests {
        let exchange = peer::request(&mut session, request).unwrap();
        assert_eq!(error(world.run(exchange)), PeerFault::OutOfOrder.into(), "{}", request.name());
    }
    assert_eq!(world.send(exchange.message()), Ok(reply), "still");
    assert_eq!(world.server.store, before);
    let honest = world.log_in(&client, PASSWORD).unwrap().unwrap().log_out().unwrap();
    assert_eq!(world.run(honest).unwrap(), Ok(()));
}

#[test]
fn after_expiry_every_request_is_refused_once_and_then_out_of_order() {
    let mut world = world(6);
    let (client, _, requests) = person(&mut world);
    for request in &requests {
        let mut session = world.log_in(&client, PASSWORD).unwrap().unwrap();
        world.pass(5 * MINUTE + MILLISECOND);
        let before = world.server.store.clone();
        let reply = ask(&mut world, &mut session, request);
        assert_eq!(reply, Reply::Refused(Refusal::SessionEnded), "{}", request.name());
        let exchange = peer::request(&mut session, request).unwrap();
        assert_eq!(error(world.run(exchange)), PeerFault::OutOfOrder.into());
        assert_eq!(world.server.store, before);
    }
}

#[test]
fn after_the_account_is_deleted_or_its_password_changed_no_other_session_changes_anything() {
    for deleted in [true, false] {
        let mut world = world(7);
        let (client, mut session, requests) = person(&mut world);
        let mut others: Vec<_> = requests.iter().map(|_| world.log_in(&client, PASSWORD).unwrap().unwrap()).collect();
        if deleted {
            assert_eq!(world.delete_account(&mut session).unwrap(), Ok(()));
        } else {
            world.change_password(&mut session, "another").unwrap().unwrap();
        }
        let after = world.server.store.clone();
        for (index, (request, other)) in requests.iter().zip(&mut others).enumerate() {
            let reply = ask(&mut world, other, request);
            match request {
                Request::DeleteAccount(_) if deleted => {
                    assert_eq!(reply, Reply::DeleteAccount(delete_account::Reply { done: true }));
                }
                _ if index < WITHOUT_STORE => assert!(!matches!(reply, Reply::Refused(_)), "{}", request.name()),
                _ => assert_eq!(reply, Reply::Refused(Refusal::SessionEnded), "{}", request.name()),
            }
        }
        // The store's own guard refused the store request, which is logged under the user ID; nothing else is written.
        let logged: Vec<_> = world.server.store.audit.extract_if(.., |key, _| !after.audit.contains_key(key)).collect();
        let said: Vec<_> = logged.iter().map(|(_, entry)| (entry.action(), entry.granted())).collect();
        assert_eq!(said, [(Action::Store, false)]);
        assert_eq!(world.server.store, after);
    }
}

// --- the embedder's own authorisation -------------------------------------------------------------------

/// The session that a message belongs to, or a new one, with the store and the time: what an embedder has at hand.
fn server_side<'w>(
    world: &'w mut World,
    message: &ClientMessage,
) -> (&'w mut ServerSession, &'w mut MemoryStore, Timestamp) {
    let World { server: InMemoryServer { server, sessions, store, .. }, rng, now } = world;
    let session = sessions.entry(message.session_id().unwrap()).or_insert_with(|| server.accept(rng));
    (session, store, *now)
}

/// What an embedder sees before it reads and before it writes: the operation, and who asks. The steps are dropped.
fn seen(world: &mut World, message: &ClientMessage) -> Vec<(&'static str, Option<UserId>)> {
    let (session, store, now) = server_side(world, message);
    let mut seen = Vec::new();
    let mut step = session.receive(message.clone(), now).unwrap();
    loop {
        step = match step {
            Step::Read(read) => {
                seen.push((read.operation(), read.session().user_id()));
                let found = store.read(read.query()).unwrap();
                read.found(found).unwrap()
            }
            Step::Write(write) => {
                seen.push((write.operation(), write.session().user_id()));
                return seen;
            }
            Step::Reply(_) => return seen,
        }
    }
}

#[test]
fn every_read_and_write_says_which_operation_it_is_for_and_who_asks() {
    let mut world = world(8);
    let client = client("ada");
    let mut registration = client.register(PASSWORD, &mut world.rng).unwrap();
    let answer = world.send(registration.message()).unwrap();
    registration.receive(answer).unwrap();
    assert_eq!(seen(&mut world, registration.message()), [("register", None)]);
    world.run(registration).unwrap().unwrap();

    let mut login = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    assert_eq!(seen(&mut world, login.message()), [("log_in", None); 2]);
    let ke2 = world.send(login.message()).unwrap();
    login.receive(ke2).unwrap();
    assert_eq!(seen(&mut world, login.message()), [("log_in", None)]);
    let id = login.message().session_id().unwrap();
    assert_eq!(world.server.sessions[&id].account(), Some(client.account()));
    assert!(step(&mut world, &mut login).is_none());
    let who = world.server.sessions[&id].user_id();
    assert_eq!(seen(&mut world, login.message()), [("heads", who); 2], "it goes on inside the session");
    let mut session = world.run(login).unwrap().unwrap();
    assert_eq!(who, Some(session.user_id()));

    let stored = world.secret(&mut session, Kind::Ed25519).key_id;
    let pending = world.generate(&mut session, &[Kind::Bytes(1)]).unwrap().unwrap();
    let requests = every_request(&mut world, &mut session, stored, &pending);
    for request in requests.iter().skip(WITHOUT_STORE) {
        let exchange = peer::request(&mut session, request).unwrap();
        // An audit page is read alone, a store is written alone.
        let steps = if matches!(request, Request::Audit(_) | Request::Store(_)) { 1 } else { 2 };
        assert_eq!(seen(&mut world, exchange.message()), vec![(request.name(), who); steps]);
    }
    let mut change = session.change_password("another", &mut world.rng).unwrap();
    let evaluated = world.send(change.message()).unwrap();
    change.receive(evaluated).unwrap();
    assert_eq!(seen(&mut world, change.message()), [("change_password", who)]);
}

/// The embedder refuses a message before its read.
fn read_denied(world: &mut World, message: &ClientMessage) -> ServerMessage {
    let (session, _, now) = server_side(world, message);
    match session.receive(message.clone(), now).unwrap() {
        Step::Read(read) => reply(read.deny().unwrap()),
        other => panic!("no read: {other:?}"),
    }
}

/// The embedder refuses a message before its write.
fn write_denied(world: &mut World, message: &ClientMessage) -> ServerMessage {
    let (session, store, now) = server_side(world, message);
    reply(up_to_write(session, store, message, now).deny().unwrap())
}

/// What a denial comes to on a single node.
fn reply(denied: Denied<'_>) -> ServerMessage {
    match denied {
        Denied::Reply(reply) => reply,
        other => panic!("no reply: {other:?}"),
    }
}

#[test]
fn a_request_that_the_embedder_denies_writes_nothing_and_leaves_the_session() {
    let mut world = world(9);
    let (client, mut session) = world.person("ada");
    let key_id = world.secret(&mut session, Kind::Ed25519).key_id;
    let pending = world.generate(&mut session, &[Kind::Bytes(1)]).unwrap().unwrap();
    let before = world.server.store.clone();

    let mut retrieval = session.retrieve(&[key_id]).unwrap();
    let denied = read_denied(&mut world, retrieval.message());
    assert_eq!(world.send(retrieval.message()), Ok(denied.clone()), "a repeat gets the same answer");
    assert_eq!(ended(retrieval.receive(denied)).map(drop), Err(Refusal::Denied));
    let mut store = session.store(&pending).unwrap();
    let denied = write_denied(&mut world, store.message());
    assert_eq!(settled(&mut session, store.receive(denied)), Err(Refusal::Denied));
    let mut change = session.change_password("another", &mut world.rng).unwrap();
    let evaluated = world.send(change.message()).unwrap();
    change.receive(evaluated).unwrap();
    let denied = write_denied(&mut world, change.message());
    assert_eq!(settled(&mut session, change.receive(denied)), Err(Refusal::Denied));
    assert_eq!(world.server.store, before);

    assert!(!world.store(&mut session, &pending).unwrap().unwrap()[0].already_stored, "the session goes on");
    assert!(world.log_in(&client, PASSWORD).unwrap().is_ok(), "under the password that it had");
}

#[test]
fn a_registration_or_login_that_the_embedder_denies_is_over_and_writes_nothing() {
    let mut world = world(10);
    let client = client("ada");
    let over: Error = PeerFault::Refused(Refusal::Denied).into();
    let mut registration = client.register(PASSWORD, &mut world.rng).unwrap();
    let answer = world.send(registration.message()).unwrap();
    registration.receive(answer).unwrap();
    let denied = write_denied(&mut world, registration.message());
    assert_eq!(world.send(registration.message()), Ok(denied.clone()));
    assert_eq!(registration.receive(denied).map(drop), Err(over.clone()));
    assert_eq!(world.server.store, MemoryStore::new());

    world.register(&client, PASSWORD).unwrap().unwrap();
    let before = world.server.store.clone();
    for deny in [read_denied, write_denied] {
        let mut login = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
        let denied = deny(&mut world, login.message());
        assert_eq!(login.receive(denied).map(drop), Err(over.clone()));
        assert_eq!(world.server.store, before, "no attempt is charged");
    }
    let mut login = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let ke2 = world.send(login.message()).unwrap();
    login.receive(ke2).unwrap();
    let charged = world.server.store.clone();
    let denied = write_denied(&mut world, login.message());
    assert_eq!(ended(login.receive(denied.clone())).map(drop), Err(Refusal::SessionEnded));
    let session = &world.server.sessions[&denied.session_id()];
    assert_eq!((session.user_id(), session.expires()), (None, Some(Timestamp::from_millis(0))));
    assert_eq!(world.server.store, charged, "the charge stays");

    for deny in [read_denied, write_denied] {
        let mut login = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
        assert!(step(&mut world, &mut login).is_none());
        assert!(step(&mut world, &mut login).is_none());
        let welcomed = world.server.store.clone();
        let denied = deny(&mut world, login.message());
        assert_eq!(ended(login.receive(denied)).map(drop), Err(Refusal::Denied), "the heads: there is no session then");
        assert_eq!(world.server.store, welcomed);
    }
}
