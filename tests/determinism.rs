//! Determinism: seeds and messages decide every byte. The same seeds give the same run; a step that fails, is dropped or
//! comes again, at any point and in any way, gives the same bytes and leaves its session as it was; different seeds on
//! either side give different secrets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;

use core::time::Duration;
use std::collections::BTreeMap;

use keystow::operation::{Reply, generate};
use keystow::storage::{Action, Change, Conflict, Guard, Outcome, Query, Transaction};
use keystow::testing::{InMemoryServer, MemoryStore, Store, hostile};
use keystow::*;
use support::{IDENTITY, NOW, PASSWORD, World, client, rng, up_to_write, world};

/// The embedder's loop.
fn drive(
    session: &mut ServerSession,
    store: &mut MemoryStore,
    message: &ClientMessage,
    now: Timestamp,
) -> ServerMessage {
    let mut step = session.receive(message.clone(), now).unwrap();
    loop {
        step = match step {
            Step::Read(read) => {
                let found = store.read(read.query()).unwrap();
                read.found(found).unwrap()
            }
            Step::Write(write) => {
                let outcome = store.apply(write.transaction()).unwrap();
                return write.settle(outcome).unwrap();
            }
            Step::Reply(reply) => return reply,
        }
    }
}

/// Drives at the time at which everything happens here unless said otherwise.
fn take(session: &mut ServerSession, store: &mut MemoryStore, message: &ClientMessage) -> ServerMessage {
    drive(session, store, message, NOW)
}

fn complete<O: client::Operation>(
    mut exchange: Exchange<O>,
    send: &mut impl FnMut(&ClientMessage) -> ServerMessage,
) -> O::Output {
    loop {
        let reply = send(exchange.message());
        if let Some(outcome) = exchange.receive(reply).unwrap() {
            return outcome.unwrap();
        }
    }
}

/// Where each side's random bytes come from.
#[derive(Clone, Copy)]
struct Seeds {
    setup: u64,
    client: u64,
    server: u64,
}

const SEEDS: Seeds = Seeds { setup: 1, client: 2, server: 3 };

/// All that comes of a run.
#[derive(Debug, PartialEq)]
struct Run {
    /// Requests and replies in turn, as they crossed.
    messages: Vec<Vec<u8>>,
    store: MemoryStore,
    new: Vec<NewSecret>,
    secrets: Vec<Vec<u8>>,
    expires: Timestamp,
}

/// An honest run over this store with every message that there is; each goes to its session through `take`.
fn run(
    seeds: Seeds,
    mut store: MemoryStore,
    mut take: impl FnMut(&mut ServerSession, &mut MemoryStore, &ClientMessage) -> ServerMessage,
) -> Run {
    let setup = ServerSetup::generate(&mut rng(seeds.setup)).unwrap();
    let server = Server::new(setup, IDENTITY, ServerPolicy::default()).unwrap();
    let (mut client_rng, mut server_rng) = (rng(seeds.client), rng(seeds.server));
    let (mut sessions, mut messages) = (BTreeMap::new(), Vec::new());
    let mut send = |message: &ClientMessage| {
        let id = message.session_id().unwrap();
        let session = sessions.entry(id).or_insert_with(|| server.accept(&mut server_rng));
        let reply = take(session, &mut store, message);
        messages.extend([message.encode().unwrap(), reply.encode().unwrap()]);
        reply
    };
    let client = client("ada");
    complete(client.register(PASSWORD, &mut client_rng).unwrap(), &mut send);
    let mut session = complete(client.log_in(PASSWORD, None, &mut client_rng).unwrap(), &mut send);
    let kinds = [Kind::default(), Kind::Secp256k1, Kind::Ed25519];
    let pending = complete(session.generate(&kinds, &mut client_rng).unwrap(), &mut send);
    let new = complete(session.store(&pending).unwrap(), &mut send);
    let new = session.settle(new).unwrap();
    let key_ids: Vec<_> = new.iter().map(|secret| secret.key_id).collect();
    let retrieved = complete(session.retrieve(&key_ids).unwrap(), &mut send);
    let secrets = retrieved.iter().map(|secret| secret.expose().to_vec()).collect();
    Run { messages, store, new, secrets, expires: session.expires() }
}

/// A run with a detour at each message.
fn detour(take: impl FnMut(&mut ServerSession, &mut MemoryStore, &ClientMessage) -> ServerMessage) -> Run {
    let run = run(SEEDS, MemoryStore::new(), take);
    assert_eq!(run.messages.len(), 2 * 8);
    run
}

/// The outcomes that this transaction can't have.
fn nonsense(transaction: &Transaction) -> Vec<Outcome> {
    let nobody = KeyId::from_bytes([0; 16]);
    let all = [
        Conflict::Credential,
        Conflict::NameTaken,
        Conflict::UserIdTaken,
        Conflict::AttemptLimit,
        Conflict::KeyIdTaken(nobody),
        Conflict::SecretGone(nobody),
        Conflict::Head,
    ];
    let guarded = transaction.guards.iter().map(|guard| match guard {
        Guard::Credential { .. } => Conflict::Credential,
        Guard::Head { .. } => Conflict::Head,
    });
    let changed = transaction.changes.iter().flat_map(|change| match change {
        Change::CreateAccount { .. } => &[Conflict::NameTaken, Conflict::UserIdTaken][..],
        Change::ChargeAttempt { .. } => &[Conflict::AttemptLimit],
        Change::AppendHead { .. } => &[Conflict::Head],
        _ => &[],
    });
    let possible: Vec<_> = guarded.chain(changed.copied()).collect();
    let conflicts = all.into_iter().filter(|conflict| !possible.contains(conflict)).map(Outcome::Conflict);
    // A lone charge, or guards alone, can't be told from what was there before.
    let repeated = transaction.audit.is_none().then_some(Outcome::Repeated);
    // Only a fleet's sessions can have moved.
    conflicts.chain(repeated).chain(transaction.advance.is_none().then_some(Outcome::Moved)).collect()
}

/// The same message, damaged, and what is said to it.
fn damaged(message: &ClientMessage) -> (ClientMessage, PeerFault) {
    match message.clone() {
        ClientMessage::RegistrationRequest { account, .. } => {
            let blinded = Box::new(OpaqueMessage::from_bytes([0; 32]));
            (ClientMessage::RegistrationRequest { account, blinded }, PeerFault::InvalidElement)
        }
        ClientMessage::LoginRequest { account, profile, .. } => {
            let ke1 = Box::new(OpaqueMessage::from_bytes([0; 96]));
            (ClientMessage::LoginRequest { account, profile, ke1 }, PeerFault::InvalidElement)
        }
        ClientMessage::RegistrationUpload { session_id, upload, mut wrap, head, transcript } => {
            wrap[0] ^= 1;
            (ClientMessage::RegistrationUpload { session_id, upload, wrap, head, transcript }, PeerFault::Transcript)
        }
        ClientMessage::LoginFinish { session_id, .. } => {
            let ke3 = Box::new(OpaqueMessage::from_bytes([0; 64]));
            (ClientMessage::LoginFinish { session_id, ke3 }, PeerFault::WrongKe3)
        }
        ClientMessage::Frame(mut frame) => {
            frame.sealed[0] ^= 1;
            (ClientMessage::Frame(frame), PeerFault::Unauthenticated)
        }
    }
}

/// An answer to the query that can't be right, and what is said to it.
fn garbage(query: &Query) -> (storage::Found, StoredFault) {
    let problem = "can't be decoded";
    match query {
        Query::Account(query) => {
            let record = RecordName::Account(query.name().clone());
            (query.found(Some(vec![0]), None), StoredFault { record, problem })
        }
        Query::Secrets(query) => {
            let key_id = query.key_ids()[0];
            let record = RecordName::Secret(query.user_id(), key_id);
            (query.found(None, vec![(key_id, vec![0])]), StoredFault { record, problem })
        }
        Query::SecretsPage(query) => {
            let record = RecordName::Secret(query.user_id(), KeyId::from_bytes([9; 16]));
            (query.found(None, vec![(KeyId::from_bytes([9; 16]), vec![0])]), StoredFault { record, problem })
        }
        Query::Audit(query) => {
            let record = RecordName::Audit(query.user_id());
            (query.found(None, vec![vec![0]]), StoredFault { record, problem })
        }
        Query::Heads(query) => {
            let record = RecordName::Head(query.user_id(), query.first(None));
            (query.found(None, vec![vec![0]]), StoredFault { record, problem })
        }
        Query::Session(_) => panic!("a step asks for no session"),
    }
}

/// What can be seen of a session from outside.
fn describe(session: &ServerSession) -> (Option<Timestamp>, Option<UserId>, String) {
    (session.expires(), session.user_id(), format!("{session:?}"))
}

/// Takes a message to its end, but first fails and gives up wherever that is possible.
fn stumble(
    session: &mut ServerSession,
    store: &mut MemoryStore,
    message: &ClientMessage,
    falls: &mut u32,
) -> ServerMessage {
    let before = (describe(session), store.clone());
    let mut unchanged = |session: &ServerSession, store: &MemoryStore| {
        *falls += 1;
        assert_eq!((describe(session), store), (before.0.clone(), &before.1));
    };
    let (wrong, fault) = damaged(message);
    assert_eq!(session.receive(wrong, NOW).map(drop), Err(fault.into()));
    unchanged(session, store);
    if let Step::Reply(reply) = session.receive(message.clone(), NOW).unwrap() {
        return reply;
    }
    unchanged(session, store);
    if let Step::Read(read) = session.receive(message.clone(), NOW).unwrap() {
        let (found, fault) = garbage(read.query());
        assert_eq!(read.found(found).map(drop), Err(Error::Stored(fault)));
        unchanged(session, store);
    }
    let write = up_to_write(session, store, message, NOW);
    let outcomes = nonsense(write.transaction());
    drop(write);
    unchanged(session, store);
    for outcome in outcomes {
        let problem = "is an outcome that the transaction can't have";
        let refused = up_to_write(session, store, message, NOW).settle(outcome);
        assert_eq!(refused, Err(Error::Stored(StoredFault { record: RecordName::Answer, problem })));
        unchanged(session, store);
    }
    take(session, store, message)
}

#[test]
fn the_same_seeds_give_the_same_bytes() {
    assert_eq!(detour(take), detour(take));
}

#[test]
fn a_step_that_fails_or_is_dropped_anywhere_changes_nothing_not_even_what_is_drawn() {
    let mut falls = 0;
    let stumbled = detour(|session, store, message| stumble(session, store, message, &mut falls));
    assert_eq!(stumbled, detour(take));
    assert_eq!(falls, 65, "every way of falling was tried");
}

#[test]
fn a_repeat_of_the_last_request_gets_the_same_bytes_at_any_time_and_touches_nothing() {
    let mut repeats = 0;
    let repeated = detour(|session, store, message| {
        let reply = take(session, store, message);
        let before = describe(session);
        for seconds in [0, 60, 600, 60_000] {
            match session.receive(message.clone(), NOW.after(Duration::from_secs(seconds))) {
                Ok(Step::Reply(again)) => assert_eq!(again.encode(), reply.encode()),
                other => panic!("no repeat: {other:?}"),
            }
            assert_eq!(describe(session), before, "it doesn't keep an idle session alive either");
            repeats += 1;
        }
        reply
    });
    assert_eq!((repeated, repeats), (detour(take), 32));
}

#[test]
fn a_session_can_go_on_in_another_thread_after_each_message() {
    let moved = detour(|session, store, message| {
        std::thread::scope(|scope| scope.spawn(|| take(session, store, message)).join().unwrap())
    });
    assert_eq!(moved, detour(take));
}

/// The frame of the Welcome among a run's messages: it says when the session ends.
const WELCOME: usize = 7;

#[test]
fn a_step_that_was_dropped_comes_out_the_same_later_but_for_the_times() {
    let later = NOW.after(Duration::from_secs(1));
    let prompt = detour(take);
    let delayed = detour(|session, store, message| {
        if let Step::Reply(reply) = session.receive(message.clone(), NOW).unwrap() {
            return reply;
        }
        drive(session, store, message, later)
    });
    assert_eq!(delayed.expires, prompt.expires.after(Duration::from_secs(1)));
    for (number, (delayed, prompt)) in delayed.messages.iter().zip(&prompt.messages).enumerate() {
        assert!(delayed == prompt || number == WELCOME, "message {number}");
    }
    assert_eq!((delayed.secrets, delayed.new), (prompt.secrets, prompt.new));
    assert!(delayed.store.audit.keys().eq(prompt.store.audit.keys()));
    assert!(delayed.store.audit.values().all(|entry| entry.at() == later));
    assert_eq!(MemoryStore { audit: prompt.store.audit.clone(), ..delayed.store }, prompt.store);
}

#[test]
fn different_seeds_give_different_secrets() {
    let runs = [
        detour(take),
        run(Seeds { setup: 9, ..SEEDS }, MemoryStore::new(), take),
        run(Seeds { client: 9, ..SEEDS }, MemoryStore::new(), take),
        run(Seeds { server: 9, ..SEEDS }, MemoryStore::new(), take),
    ];
    let mut secrets: Vec<_> = runs.iter().flat_map(|run| &run.secrets).collect();
    secrets.sort();
    secrets.dedup();
    assert_eq!(secrets.len(), 4 * 3);
}

/// What a session generates, and the server's part in it.
fn generated(world: &mut World, session: &mut ClientSession) -> ([u8; 32], Vec<u8>) {
    let mut exchange = session.generate(&[Kind::default()], &mut world.rng).unwrap();
    let reply = world.send(exchange.message()).unwrap();
    let sessions = &world.server.sessions;
    let opened = hostile::open_reply(&sessions[&session.session_id()], reply.clone()).unwrap();
    let Reply::Generate(generate::Reply { server_random }) = opened else { panic!("no server random") };
    let pending = exchange.receive(reply).unwrap().unwrap().unwrap();
    let stored = world.store(session, &pending).unwrap().unwrap();
    let secrets = world.retrieve(session, &[stored[0].key_id]).unwrap().unwrap();
    (server_random, secrets[0].expose().to_vec())
}

/// Rule 12: fresh bytes on either side are enough.
#[test]
fn a_secret_changes_if_one_side_alone_draws_differently() {
    let generate = |other_client: bool, other_server: bool| {
        let mut world = world(4);
        let client = client("ada");
        world.register(&client, PASSWORD).unwrap().unwrap();
        if other_server {
            world.server = InMemoryServer::new(world.server.server.clone(), world.server.store.clone(), 99);
        }
        let mut session = world.log_in(&client, PASSWORD).unwrap().unwrap();
        if other_client {
            world.rng = rng(99);
        }
        (session.user_id(), generated(&mut world, &mut session))
    };
    let (user_id, (random, secret)) = generate(false, false);
    assert_eq!(generate(false, false), (user_id, (random, secret.clone())));
    let (same_user, (same_random, other_secret)) = generate(true, false);
    assert_eq!((same_user, same_random), (user_id, random), "the client's bytes alone differ");
    assert_ne!(other_secret, secret);
    let (same_user, (other_random, other_secret)) = generate(false, true);
    assert_eq!(same_user, user_id, "the server's bytes alone differ");
    assert_ne!(other_random, random);
    assert_ne!(other_secret, secret);
}

/// A restored image of both sides' generators: the secret comes out again, is stored once, and that is said.
#[test]
fn a_run_repeated_over_its_own_store_adds_one_charge_a_list_and_a_second_retrieval_and_nothing_else() {
    let first = detour(take);
    let again = run(SEEDS, first.store.clone(), take);
    let known = first.new.iter().map(|secret| NewSecret { already_stored: true, ..*secret });
    assert_eq!((again.new, again.secrets), (known.collect(), first.secrets));
    let [(before, after)] = first.store.attempts.values().zip(again.store.attempts.values()).collect::<Vec<_>>()[..]
    else {
        panic!("one name, one counter");
    };
    assert_eq!((before.count, after.count), (0, 1), "a refund that was given is not given again: the safe side");
    // No head since the secrets were made took them up, so the vault was listed to find them: the retrieval has another number
    // behind that, and is another one.
    let mut audit = again.store.audit.clone();
    let more = |entry: &AuditEntry| matches!(entry.action(), Action::Retrieve | Action::List);
    audit.retain(|key, entry| first.store.audit.contains_key(key) || !more(entry));
    assert_eq!(again.store.audit.len(), audit.len() + 2);
    assert_eq!(MemoryStore { attempts: first.store.attempts.clone(), audit, ..again.store }, first.store);
}

/// The same, on a device that has seen a newer head since: no change since then stored what it has just made, but the vault
/// has it.
#[test]
fn a_secret_that_comes_out_again_after_it_was_stored_is_found_in_the_vault() {
    let (mut before, mut after) = (world(5), world(5));
    let (_, mut session) = before.person("ada");
    let made = before.generate(&mut session, &[Kind::default()]).unwrap().unwrap();
    let stored = before.store(&mut session, &made).unwrap().unwrap();
    after.server.store = before.server.store.clone();
    let (_, mut session) = after.person("ada");
    let again = after.generate(&mut session, &[Kind::default()]).unwrap().unwrap();
    assert_eq!(session.rebase(&again), session.rebase(&made), "but for the head");
    let kept = after.server.store.clone();
    let known: Vec<_> = stored.iter().map(|secret| NewSecret { already_stored: true, ..*secret }).collect();
    assert_eq!(after.store(&mut session, &again), Ok(Ok(known.clone())));
    assert_eq!(after.store(&mut session, &made), Ok(Ok(known)));
    let MemoryStore { secrets, heads, .. } = after.server.store;
    assert_eq!((secrets, heads), (kept.secrets, kept.heads));
}
