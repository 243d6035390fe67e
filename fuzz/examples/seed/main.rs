//! Writes the seed corpora, from honest runs and from runs with one thing gone wrong:
//! `cargo run --manifest-path fuzz/Cargo.toml --example seed` in the repository's root.
//!
//! With file names as arguments it prints what those inputs of `server_session` stand for instead.

mod encoding;

use std::path::Path;
use std::{env, fs, io};

use keystow::client;
use keystow::testing::{InMemoryServer, MemoryStore};
use keystow::{
    AccountName, Client, ClientPolicy, Exchange, Kind, KsfProfile, Server, ServerMessage, ServerPolicy, ServerSetup,
    Timestamp,
};
use keystow_fuzz::harness::action::{Action, Damage, Forgery, Lie, Mishap, Operation, Randomness, Tamper, Wait};
use keystow_fuzz::harness::actions;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

fn main() -> io::Result<()> {
    let files: Vec<String> = env::args().skip(1).collect();
    for file in &files {
        println!("{file}: {:#?}", actions(&fs::read(file)?));
    }
    if files.is_empty() {
        write("decode", &values())?;
        write("server_session", &runs())?;
    }
    Ok(())
}

fn write(target: &str, seeds: &[(String, Vec<u8>)]) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    for (name, bytes) in seeds {
        fs::write(folder.join(format!("seed-{name}")), bytes)?;
    }
    println!("{}: {} seeds", folder.display(), seeds.len());
    Ok(())
}

// --- decode: every message and stored value of an honest run ----------------------------------------------

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

struct Tap {
    server: InMemoryServer<MemoryStore>,
    values: Vec<(String, Vec<u8>)>,
}

impl Tap {
    fn keep(&mut self, name: &str, bytes: Vec<u8>) {
        self.values.push((format!("{:02}-{name}", self.values.len()), bytes));
    }

    /// Runs an exchange to its end, and keeps what crosses. `None` if the server refuses.
    fn run<O: client::Operation>(&mut self, name: &str, mut exchange: Exchange<O>) -> Option<O::Output> {
        loop {
            let message = exchange.message().encode().expect("a message");
            let answer = self.server.handle(&message, NOW).expect("an answer");
            self.keep(&format!("{name}-request"), message);
            self.keep(&format!("{name}-reply"), answer.clone());
            if let Some(output) = exchange.receive(ServerMessage::decode(&answer).expect("a reply")).ok()? {
                return output.ok();
            }
        }
    }
}

fn values() -> Vec<(String, Vec<u8>)> {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let setup = ServerSetup::generate(rng).expect("a setup");
    let setup_bytes = setup.to_bytes().expose().to_vec();
    let server = Server::new(setup, "keys.example.com", ServerPolicy::default()).expect("a server");
    let mut tap = Tap { server: InMemoryServer::new(server, MemoryStore::new(), 2), values: Vec::new() };
    let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).expect("a policy");
    let client = Client::new(AccountName::new("ada").expect("a name"), "keys.example.com", policy).expect("a client");

    tap.run("register", client.register("password", rng).expect("a start")).expect("an account");
    tap.run("name-taken", client.register("password", rng).expect("a start"));
    let mut session = tap.run("log-in", client.log_in("password", None, rng).expect("a start")).expect("a session");
    let kinds = [Kind::Bytes(32), Kind::Secp256k1, Kind::Ed25519];
    let pending = tap.run("generate", session.generate(&kinds, rng).expect("a start")).expect("secrets");
    tap.run("store", session.store(&pending).expect("a start"));
    let key_ids: Vec<_> = pending.iter().map(|pending| pending.key_id()).collect();
    tap.run("retrieve", session.retrieve(&key_ids).expect("a start"));
    tap.run("list", session.list(None, 256).expect("a start"));
    tap.run("change-password", session.change_password("another", rng).expect("a start"));
    tap.run("delete", session.delete(&key_ids).expect("a start"));
    tap.run("log-out", session.log_out().expect("a start"));

    tap.keep("server-setup", setup_bytes);
    for pending in &pending {
        let bytes = pending.encode().expect("an encoding");
        tap.keep("header", bytes[2..2 + usize::from(bytes[1])].to_vec());
        tap.keep("pending-secret", bytes);
    }
    let entries: Vec<_> = tap.server.store.audit.values().cloned().collect();
    for entry in entries {
        tap.keep("audit-entry", entry.to_record().expect("a record").as_bytes().to_vec());
    }
    tap.values
}

// --- server_session: runs, encoded as `arbitrary` decodes them ---------------------------------------------

const RUN: Action = Action::Run { exchange: 0 };
const REGISTER: Action = Action::Register { person: 0, randomness: Randomness::Fresh };
const LOG_IN: Action = Action::LogIn { person: 0, guess: false, randomness: Randomness::Fresh };
const GUESS: Action = Action::LogIn { person: 0, guess: true, randomness: Randomness::Fresh };
const GENERATE: Action = Action::Generate { device: 0, kinds: 0b1110_0100, randomness: Randomness::Fresh };
const STORE: Action = Action::Store { device: 0, batch: 0, take: 3 };
const RETRIEVE: Action = Action::Retrieve { device: 0, first: 3, count: 3 };

const MAIN_JOB: [Action; 10] = [REGISTER, RUN, LOG_IN, RUN, GENERATE, RUN, STORE, RUN, RETRIEVE, RUN];

fn send(mishap: Mishap) -> Action {
    Action::Send { exchange: 0, tamper: Tamper::No, mishap, answered: true }
}

fn tampered(tamper: Tamper) -> Action {
    Action::Send { exchange: 0, tamper, mishap: Mishap::No, answered: true }
}

fn operate(operation: Operation) -> Action {
    Action::Operate { device: 0, operation, randomness: Randomness::Fresh }
}

fn forge(forgery: Forgery) -> Action {
    Action::Forge { device: 0, forgery }
}

fn runs() -> Vec<(String, Vec<u8>)> {
    let session = &MAIN_JOB[..4];
    let pending = &MAIN_JOB[..6];
    let mut runs: Vec<(&str, Vec<Action>)> = vec![
        ("main-job", MAIN_JOB.to_vec()),
        (
            "guesses",
            [session, &[GUESS, RUN, GUESS, RUN, GUESS, RUN, LOG_IN, RUN, Action::Wait(Wait::Window), LOG_IN, RUN]]
                .concat(),
        ),
        ("hidden-guesses", hidden_guesses()),
        ("crash", [pending, &[Action::Crash, STORE, RUN, LOG_IN, RUN, STORE, RUN]].concat()),
        ("idle", [session, &[Action::Wait(Wait::Idle), GENERATE, RUN, Action::Purge, LOG_IN, RUN]].concat()),
        ("late-upload", vec![REGISTER, send(Mishap::No), Action::Wait(Wait::Handshake), RUN]),
        ("late-ke3", [&MAIN_JOB[..2], &[LOG_IN, send(Mishap::No), Action::Wait(Wait::Handshake), RUN]].concat()),
        ("two-people", two_people()),
        ("old-image", old_image()),
        ("restored-image", restored_image()),
        ("damaged-upload", [&MAIN_JOB[..2], &[LOG_IN, send(Mishap::ReadDamaged { at: 75, xor: 1 })]].concat()),
        ("late-registration", late_registration()),
        ("old-login", old_login()),
        ("old-session", old_session()),
        ("replays", [&MAIN_JOB[..], &(0..8).map(replay).collect::<Vec<_>>()].concat()),
        ("heavy", [session, &[forge(Forgery::StoreHeavy { seed: 7 }), RUN, forge(Forgery::RetrieveAll), RUN]].concat()),
    ];
    for (name, operation) in OPERATIONS {
        let run = [operate(operation), send(Mishap::WriteFailsAfter), RUN];
        runs.push((name, [&MAIN_JOB[..8], &run, &MAIN_JOB[2..4], &run, &[RETRIEVE, RUN]].concat()));
    }
    for (name, mishap) in MISHAPS {
        runs.push((name, each_step(send(mishap))));
    }
    for (name, tamper) in TAMPERS {
        runs.push((name, each_step(tampered(tamper))));
    }
    for (name, forgery) in FORGERIES {
        runs.push((name, [pending, &[forge(forgery), RUN, STORE, RUN]].concat()));
    }
    runs.into_iter().map(|(name, run)| (name.to_owned(), encode(&run))).collect()
}

fn replay(message: u8) -> Action {
    Action::Replay { message, tamper: Tamper::No, mishap: Mishap::No }
}

/// The main job, each message of it hindered once before it goes through.
fn each_step(hindered: Action) -> Vec<Action> {
    let custody = [Operation::List { limit: 9 }, Operation::Delete { first: 3, count: 0 }, Operation::ChangePassword];
    let starts = [REGISTER, LOG_IN, GENERATE, STORE, RETRIEVE].into_iter().chain(custody.map(operate));
    starts.flat_map(|start| [start, hindered, send(Mishap::No), hindered, RUN]).collect()
}

/// Bob's session meets Ada's secrets.
fn two_people() -> Vec<Action> {
    let bob = [
        Action::Register { person: 1, randomness: Randomness::Fresh },
        RUN,
        Action::LogIn { person: 1, guess: false, randomness: Randomness::Fresh },
        RUN,
        STORE,
        RETRIEVE,
        RUN,
        forge(Forgery::Store { batch: 0, change: Damage::No }),
        RUN,
        forge(Forgery::Retrieve { first: 0, count: 4, twice: false }),
        RUN,
    ];
    [&MAIN_JOB[..], &bob].concat()
}

/// A device that draws the same bytes again, after the server has lost its sessions: its login has the same session ID.
fn old_image() -> Vec<Action> {
    let log_in = Action::LogIn { person: 0, guess: false, randomness: Randomness::Repeated };
    let day = [log_in, RUN, GENERATE, RUN, STORE, RUN, RETRIEVE, RUN, Action::Crash];
    [&MAIN_JOB[..2], &day, &day].concat()
}

/// The least of [`old_image`]: an audit key that named no request took the second login for a repeat of the first.
fn restored_image() -> Vec<Action> {
    let log_in = Action::LogIn { person: 0, guess: false, randomness: Randomness::Repeated };
    vec![REGISTER, RUN, log_in, RUN, Action::Crash, log_in, RUN]
}

/// A session and a login half done, both from before a change of password on the newest device.
fn old_session() -> Vec<Action> {
    let generate = Action::Generate { device: 1, kinds: 0, randomness: Randomness::Fresh };
    let store = Action::Store { device: 1, batch: 0, take: 0 };
    let change = [operate(Operation::ChangePassword), RUN];
    let late = Action::Run { exchange: 0 };
    [&MAIN_JOB[..4], &[LOG_IN, RUN, generate, RUN, LOG_IN, send(Mishap::No)], &change, &[late, store, RUN]].concat()
}

/// Guesses around an honest login: it gives back its own charge alone.
fn hidden_guesses() -> Vec<Action> {
    let [guess, log_in] = [[GUESS, RUN], [LOG_IN, RUN]];
    [&MAIN_JOB[..2], &guess, &guess, &log_in, &guess, &guess, &log_in].concat()
}

/// What needs a recent login, in a session that has none.
fn old_login() -> Vec<Action> {
    let [change, delete] = [Operation::ChangePassword, Operation::DeleteAccount].map(operate);
    [&MAIN_JOB[..4], &[Action::Wait(Wait::Handshake), change, RUN, delete, RUN]].concat()
}

/// A registration's outcome is lost; the account is used and deleted; then the registration is sent again.
fn late_registration() -> Vec<Action> {
    let lost = send(Mishap::WriteFailsAfter);
    vec![REGISTER, send(Mishap::No), lost, LOG_IN, RUN, operate(Operation::DeleteAccount), RUN, RUN]
}

const OPERATIONS: [(&str, Operation); 8] = [
    ("import", Operation::Import { kind: 1, byte: 1 }),
    ("list", Operation::List { limit: 1 }),
    ("delete", Operation::Delete { first: 3, count: 3 }),
    ("change-password", Operation::ChangePassword),
    ("audit", Operation::Audit { limit: 1 }),
    ("status", Operation::Status),
    ("log-out", Operation::LogOut),
    ("delete-account", Operation::DeleteAccount),
];

const MISHAPS: [(&str, Mishap); 13] = [
    ("read-fails", Mishap::ReadFails),
    ("read-missing", Mishap::ReadMissing),
    ("read-foreign", Mishap::ReadForeign { query: 1 }),
    ("read-damaged", Mishap::ReadDamaged { at: 75, xor: 0xff }),
    ("write-fails-before", Mishap::WriteFailsBefore),
    ("write-fails-after", Mishap::WriteFailsAfter),
    ("denied-read", Mishap::Denied { read: true }),
    ("denied-write", Mishap::Denied { read: false }),
    ("lie-secret-gone", Mishap::Lie { lie: Lie::SecretGone, applied: false }),
    ("lie-credential", Mishap::Lie { lie: Lie::Credential, applied: false }),
    ("lie-name-taken", Mishap::Lie { lie: Lie::NameTaken, applied: true }),
    ("lie-key-id-taken", Mishap::Lie { lie: Lie::KeyIdTaken, applied: true }),
    ("lie-repeated", Mishap::Lie { lie: Lie::Repeated, applied: false }),
];

const TAMPERS: [(&str, Tamper); 5] = [
    ("flip-contents", Tamper::Flip { at: 60, xor: 1 }),
    ("flip-sequence", Tamper::Flip { at: 18, xor: 4 }),
    ("cut", Tamper::Cut { at: 40 }),
    ("append", Tamper::Append { byte: 0 }),
    ("reroute", Tamper::Reroute { session: 1 }),
];

const FORGERIES: [(&str, Forgery); 12] = [
    ("forge-generate-none", Forgery::Generate { count: 0, len: 32 }),
    ("forge-generate-many", Forgery::Generate { count: 257, len: 32 }),
    ("forge-generate-long", Forgery::Generate { count: 1, len: 65_537 }),
    ("forge-list-none", Forgery::List { limit: 0 }),
    ("forge-audit-long", Forgery::Audit { limit: 257 }),
    ("forge-delete", Forgery::Delete { first: 0, count: 2, twice: true }),
    ("forge-finish-change", Forgery::FinishChange),
    ("forge-emptied", Forgery::Store { batch: 0, change: Damage::Emptied }),
    ("forge-doubled", Forgery::Store { batch: 0, change: Damage::Doubled }),
    ("forge-header", Forgery::Store { batch: 0, change: Damage::Header { at: 5, xor: 1 } }),
    ("forge-ciphertext", Forgery::Store { batch: 0, change: Damage::Ciphertext { at: 0, xor: 1 } }),
    ("forge-shortened", Forgery::Store { batch: 0, change: Damage::Shortened }),
];

/// The bytes that [`actions`] reads as this run; checked, because the layout is `arbitrary`'s affair.
fn encode(run: &[Action]) -> Vec<u8> {
    let bytes: Vec<u8> = run.iter().flat_map(|action| encoding::action(*action)).collect();
    assert_eq!(actions(&bytes), run, "arbitrary's derive lays out its input otherwise");
    bytes
}
