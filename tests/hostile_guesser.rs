//! A stranger who guesses passwords and names: what it costs, what it tells, what it leaves behind (rules 6, 7, 8 and 23).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod hostile;
mod support;

use std::convert::Infallible;

use hostile::{blank_head, fault};
use keystow::storage::{Action, Attempts, Change, Found, Outcome, Query, Transaction};
use keystow::testing::{MemoryStore, Store};
use keystow::*;
use support::{NOW, PASSWORD, World, client};

const LIMIT: u32 = 10;

/// One guess, up to the server's answer: KE3 is never sent.
fn guess<S: Store>(world: &mut World<S>, account: &str) -> ServerMessage {
    let exchange = client(account).log_in("a guess", None, &mut world.rng).unwrap();
    world.send(exchange.message()).unwrap()
}

/// The counter of this name.
fn attempts(world: &mut World, account: &str) -> Attempts {
    let login = client(account).log_in(PASSWORD, None, &mut world.rng).unwrap();
    let mut session = world.server.server.accept(&mut world.rng);
    let step = session.receive(login.message().clone(), NOW).unwrap();
    let Step::Read(read) = step else { panic!("a login reads") };
    let Query::Account(query) = read.query() else { panic!("a login reads an account") };
    world.server.store.attempts.get(&query.counter()).copied().unwrap_or_default()
}

fn try_again_at(answer: &ServerMessage) -> Timestamp {
    match answer {
        ServerMessage::Refused { refusal: Refusal::TryAgainAt(time), .. } => *time,
        other => panic!("not refused for now: {other:?}"),
    }
}

#[test]
fn rule_6_a_guess_that_stops_before_ke3_is_charged_and_the_limit_holds_for_the_right_password_too() {
    let mut world = support::world(1);
    let (client, _) = world.person("ada");
    for spent in 1..=LIMIT {
        assert!(matches!(guess(&mut world, "ada"), ServerMessage::LoginResponse { .. }));
        assert_eq!((attempts(&mut world, "ada").count, attempts(&mut world, "ada").unseen), (spent, spent));
    }
    let full = world.server.store.clone();
    try_again_at(&guess(&mut world, "ada"));
    let right = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    try_again_at(&world.send(right.message()).unwrap());
    assert_eq!(world.server.store, full, "a refused attempt writes nothing");
}

#[test]
fn rule_6_the_charge_is_the_whole_write_between_the_request_and_ke2() {
    let mut world = support::world(2);
    let (client, _) = world.person("ada");
    let login = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let mut session = world.server.server.accept(&mut world.rng);
    for _ in 0..2 {
        let Step::Read(read) = session.receive(login.message().clone(), NOW).unwrap() else { panic!("no read") };
        let Query::Account(query) = read.query().clone() else { panic!("no account query") };
        let found = world.server.store.read(read.query()).unwrap();
        let Step::Write(write) = read.found(found).unwrap() else { panic!("no write") };
        let Transaction { guards, changes, audit, otherwise, .. } = write.transaction().clone();
        let [Change::ChargeAttempt { counter, window_ends, limit }] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!((*counter, *limit), (query.counter(), LIMIT));
        assert!(*window_ends > NOW && *window_ends <= NOW.after(ServerPolicy::default().attempt_window));
        assert_eq!((guards, audit, otherwise), (vec![], None, None));
        // The step is dropped, as after a database's timeout: nothing was said, and it all comes again.
    }
    assert_eq!(session.expires(), None);
}

#[test]
fn rule_6_guesses_in_parallel_are_no_cheaper() {
    let mut world = support::world(3);
    let (_, _) = world.person("ada");
    let before = attempts(&mut world, "ada").count;
    assert_eq!(before, 0);
    let count = 2 * usize::try_from(LIMIT).unwrap();
    let mut sessions: Vec<_> = (0..count).map(|_| world.server.server.accept(&mut world.rng)).collect();
    // All of them read before any of them writes.
    let writes: Vec<_> = sessions
        .iter_mut()
        .map(|session| {
            let login = client("ada").log_in("a guess", None, &mut world.rng).unwrap();
            let Step::Read(read) = session.receive(login.message().clone(), NOW).unwrap() else { panic!("no read") };
            let found = world.server.store.read(read.query()).unwrap();
            let Step::Write(write) = read.found(found).unwrap() else { panic!("no write") };
            write
        })
        .collect();
    let answers: Vec<_> = writes
        .into_iter()
        .map(|write| {
            let outcome = world.server.store.apply(write.transaction()).unwrap();
            write.settle(outcome).unwrap()
        })
        .collect();
    let evaluated = answers.iter().filter(|answer| matches!(answer, ServerMessage::LoginResponse { .. })).count();
    assert_eq!(evaluated, usize::try_from(LIMIT).unwrap());
    assert_eq!(attempts(&mut world, "ada").count, LIMIT);
}

#[test]
fn rule_6_a_granted_login_gives_back_its_own_charge_once_and_reports_the_others() {
    let mut world = support::world(4);
    let (client, _) = world.person("ada");
    for _ in 0..3 {
        guess(&mut world, "ada");
    }
    let mut login = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let response = world.send(login.message()).unwrap();
    assert_eq!(attempts(&mut world, "ada").count, 4);
    assert!(login.receive(response).unwrap().is_none());
    let welcome = world.send(login.message()).unwrap();
    let after = attempts(&mut world, "ada");
    assert_eq!((after.count, after.unseen), (3, 0));

    let store = world.server.store.clone();
    assert_eq!(world.send(login.message()).unwrap(), welcome, "KE3 again");
    assert_eq!(world.server.store, store);
    assert!(login.receive(welcome).unwrap().is_none());
    assert!(world.run(login).unwrap().is_ok());
    assert_eq!(world.server.store, store, "the heads that the login goes on to ask for change nothing");
    let reported = store.audit.values().filter_map(|entry| match entry.action() {
        Action::LogIn { attempts_spent } => Some(attempts_spent),
        _ => None,
    });
    assert_eq!(reported.max(), Some(3));
}

#[test]
fn rule_6_honest_logins_between_the_guesses_buy_no_more_of_them() {
    let mut world = support::world(5);
    let (client, _) = world.person("ada");
    let mut evaluated = 0;
    for _ in 0..2 * LIMIT {
        evaluated += u32::from(matches!(guess(&mut world, "ada"), ServerMessage::LoginResponse { .. }));
        let honest = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
        if evaluated < LIMIT {
            assert!(world.run(honest).unwrap().is_ok());
        }
    }
    assert_eq!(evaluated, LIMIT);
}

#[test]
fn rule_6_neither_a_crash_nor_registering_the_name_again_resets_the_count() {
    let mut world = support::world(6);
    for _ in 0..4 {
        guess(&mut world, "ada");
    }
    let (_, _) = world.person("ada");
    assert_eq!(attempts(&mut world, "ada").count, 4, "the name had no account when they were charged");
    world.server.crash();
    let again = client("ada").register("another password", &mut world.rng).unwrap();
    assert_eq!(support::error(world.run(again)), PeerFault::Refused(Refusal::NameTaken).into());
    assert_eq!(attempts(&mut world, "ada").count, 4);
}

#[test]
fn rule_7_nobody_is_locked_out_for_longer_than_the_window_and_known_and_unknown_names_are_told_alike() {
    let mut world = support::world(7);
    let (client, _) = world.person("ada");
    for account in ["ada", "bob"] {
        for _ in 0..LIMIT {
            guess(&mut world, account);
        }
    }
    let (known, unknown) = (guess(&mut world, "ada"), guess(&mut world, "bob"));
    assert_eq!(known.encode().unwrap().len(), unknown.encode().unwrap().len());
    for (answer, account) in [(&known, "ada"), (&unknown, "bob")] {
        let opens = try_again_at(answer);
        assert!(opens > NOW && opens <= NOW.after(ServerPolicy::default().attempt_window));
        world.now = Timestamp::from_millis(opens.as_millis() - 1);
        assert_eq!(try_again_at(&guess(&mut world, account)), opens, "not a moment earlier");
        world.now = opens;
        assert!(matches!(guess(&mut world, account), ServerMessage::LoginResponse { .. }));
    }
    world.now = try_again_at(&known);
    assert!(world.log_in(&client, PASSWORD).unwrap().is_ok());
}

/// A store that notes what it is asked for.
#[derive(Default)]
struct Noting {
    store: MemoryStore,
    notes: Vec<String>,
}

impl Store for Noting {
    type Error = Infallible;

    fn read(&mut self, query: &Query) -> Result<Found, Infallible> {
        self.notes.push(format!("read {}", matches!(query, Query::Account(_))));
        self.store.read(query)
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, Infallible> {
        let outcome = self.store.apply(transaction)?;
        let Transaction { guards, changes, audit, otherwise, .. } = transaction;
        let charge = matches!(changes[..], [Change::ChargeAttempt { limit: LIMIT, .. }]);
        self.notes.push(format!("{guards:?} {charge} {audit:?} {otherwise:?} {outcome:?}"));
        Ok(outcome)
    }
}

/// What a stranger sees of a name, and what the store is asked for meanwhile: 12 guesses, each with a garbage KE3.
fn probe(world: &mut World<Noting>, account: &str) -> (Vec<usize>, Vec<Error>, Vec<String>) {
    world.server.store.notes.clear();
    let (mut lengths, mut errors) = (vec![], vec![]);
    for _ in 0..LIMIT + 2 {
        let mut exchange = client(account).log_in("a guess", None, &mut world.rng).unwrap();
        let answer = world.send(exchange.message()).unwrap();
        lengths.push(answer.encode().unwrap().len());
        let session_id = answer.session_id();
        let ke3 = Box::new(OpaqueMessage::from_bytes([7; 64]));
        let refused = matches!(answer, ServerMessage::Refused { .. });
        let seen = fault(exchange.receive(answer));
        if !refused {
            assert_eq!(seen, PeerFault::LoginFailed.into());
        }
        errors.push(support::error(world.send(&ClientMessage::LoginFinish { session_id, ke3 })));
    }
    (lengths, errors, std::mem::take(&mut world.server.store.notes))
}

#[test]
fn rule_8_a_name_without_an_account_has_the_same_replies_sizes_reads_and_writes() {
    let mut world = support::world_with(8, Noting::default(), ServerPolicy::default());
    world.register(&client("ada"), PASSWORD).unwrap().unwrap();
    let (known, unknown) = (probe(&mut world, "ada"), probe(&mut world, "bob"));
    assert_eq!(known, unknown);
    let (lengths, errors, notes) = known;
    assert_eq!((lengths.len(), notes.len()), (12, 24), "one read and one write each");
    let (evaluated, refused) = errors.split_at(10);
    assert_eq!(evaluated, vec![Error::from(PeerFault::WrongKe3); 10]);
    assert_eq!(refused, vec![Error::from(PeerFault::OutOfOrder); 2]);
}

/// What an OPRF evaluation tells a stranger: with one KE1 for all names, the element depends on the credential identifier
/// alone, and nothing tells an account's from the one that stands in for it.
#[test]
fn rule_8_asked_twice_a_name_without_an_account_evaluates_alike_as_one_with_an_account_does() {
    let mut world = support::world(9);
    let (_, _) = world.person("ada");
    let guess = client("ada").log_in("a guess", None, &mut support::rng(7)).unwrap();
    let ClientMessage::LoginRequest { profile, ke1, .. } = guess.message().clone() else { panic!("no login request") };
    let mut evaluations = vec![];
    for name in ["ada", "bob", "eve"] {
        let account = client(name).account().clone();
        let request = ClientMessage::LoginRequest { account, profile, ke1: ke1.clone() };
        let mut evaluate = || {
            world.server.crash();
            match world.send(&request).unwrap() {
                ServerMessage::LoginResponse { ke2, .. } => *ke2.as_bytes(),
                other => panic!("no KE2: {other:?}"),
            }
        };
        let (first, again) = (evaluate(), evaluate());
        assert_eq!(first[..32], again[..32], "the evaluated element of {name}");
        assert_ne!(first[32..64], again[32..64], "the masking nonce of {name}");
        assert_ne!(first[64..], again[64..], "everything after it");
        evaluations.push(first[..32].to_vec());
    }
    assert!(evaluations[0] != evaluations[1] && evaluations[1] != evaluations[2], "each name has its own");
}

#[test]
fn rule_16_a_ke1_without_valid_points_is_refused_before_anything_is_read_for_it() {
    let mut world = support::world(10);
    let honest = client("ada").log_in(PASSWORD, None, &mut world.rng).unwrap();
    let ClientMessage::LoginRequest { account, profile, ke1 } = honest.message().clone() else { panic!("no KE1") };
    // The blinded element is the first third, the client's ephemeral key the last; between them lies a nonce.
    for (place, point) in [0, 64].into_iter().flat_map(|i| [[0; 32], [0xff; 32], [1; 32]].map(|point| (i, point))) {
        let mut bytes = *ke1.as_bytes();
        bytes[place..place + 32].copy_from_slice(&point);
        let ke1 = Box::new(OpaqueMessage::from_bytes(bytes));
        let request = ClientMessage::LoginRequest { account: account.clone(), profile, ke1 };
        let mut session = world.server.server.accept(&mut world.rng);
        assert_eq!(fault(session.receive(request.clone(), NOW)), PeerFault::InvalidElement.into());
        assert_eq!(session.expires(), None);
        assert_eq!(support::error(world.send(&request)), PeerFault::InvalidElement.into());
        assert!(world.server.sessions.is_empty());
    }
    assert_eq!(world.server.store, MemoryStore::new());
}

#[test]
fn rule_23_wrong_ke3s_write_nothing_and_do_not_stop_the_right_one() {
    let mut world = support::world(11);
    let (client, _) = world.person("ada");
    let mut login = client.log_in(PASSWORD, None, &mut world.rng).unwrap();
    let response = world.send(login.message()).unwrap();
    let session_id = response.session_id();
    assert!(login.receive(response).unwrap().is_none());
    let before = world.server.store.clone();
    for byte in 0..=u8::MAX {
        let ke3 = Box::new(OpaqueMessage::from_bytes([byte; 64]));
        let finish = ClientMessage::LoginFinish { session_id, ke3 };
        assert_eq!(support::error(world.send(&finish)), PeerFault::WrongKe3.into());
    }
    assert_eq!(world.server.store, before);
    assert_eq!(world.server.sessions[&session_id].user_id(), None);
    let welcome = world.send(login.message()).unwrap();
    assert!(login.receive(welcome).unwrap().is_none());
    assert!(world.run(login).unwrap().is_ok());
}

#[test]
fn rule_23_unknown_names_leave_one_counter_each_and_none_after_the_window() {
    let mut world = support::world(12);
    for round in 0..3 {
        for name in 0..20 {
            guess(&mut world, &format!("nobody {name}"));
        }
        assert_eq!(world.server.store.attempts.len(), 20, "round {round}");
    }
    let empty = MemoryStore { attempts: Default::default(), ..world.server.store.clone() };
    assert_eq!(empty, MemoryStore::new(), "counters are all that strangers can write");
    world.pass(ServerPolicy::default().attempt_window);
    world.server.store.purge(world.now);
    assert_eq!(world.server.store, MemoryStore::new());
}

#[test]
fn rule_23_a_first_message_that_is_refused_leaves_no_session_behind() {
    let mut world = support::world(13);
    let session_id = SessionId::from_bytes([7; 16]);
    let frame = Frame { session_id, sequence: 2, sealed: vec![0; 64] };
    let ke3 = Box::new(OpaqueMessage::from_bytes([0; 64]));
    let (upload, head) = (Box::new(OpaqueMessage::from_bytes([0; 192])), blank_head(0));
    for message in [
        ClientMessage::Frame(frame),
        ClientMessage::LoginFinish { session_id, ke3 },
        ClientMessage::RegistrationUpload { session_id, upload, wrap: [0; 48], head, transcript: [0; 32] },
    ] {
        assert_eq!(support::error(world.send(&message)), PeerFault::OutOfOrder.into());
        let mut session = world.server.server.accept(&mut world.rng);
        assert_eq!(fault(session.receive(message, NOW)), PeerFault::OutOfOrder.into());
        assert_eq!((session.expires(), session.user_id()), (None, None));
    }
    assert!(world.server.sessions.is_empty());
}
