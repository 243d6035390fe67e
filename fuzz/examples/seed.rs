//! Writes the seed corpora, from honest runs and from runs with one thing gone wrong:
//! `cargo run --manifest-path fuzz/Cargo.toml --example seed` in the repository's root.
//!
//! With file names as arguments it prints what those inputs of `server_session` stand for instead.

use std::path::Path;
use std::{env, fs, io};

use keystow::client::Operation;
use keystow::testing::{InMemoryServer, MemoryStore};
use keystow::{
    AccountName, Client, ClientPolicy, Exchange, Kind, KsfProfile, Server, ServerMessage, ServerPolicy, ServerSetup,
    Timestamp,
};
use keystow_fuzz::harness::action::{Action, Damage, Forgery, Lie, Mishap, Randomness, Tamper, Wait};
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
    fn run<O: Operation>(&mut self, name: &str, mut exchange: Exchange<O>) -> Option<O::Output> {
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
    let mut session = tap.run("log-in", client.log_in("password", rng).expect("a start")).expect("a session");
    let kinds = [Kind::Bytes(32), Kind::Secp256k1, Kind::Ed25519];
    let pending = tap.run("generate", session.generate(&kinds, rng).expect("a start")).expect("secrets");
    tap.run("store", session.store(&pending).expect("a start"));
    let key_ids: Vec<_> = pending.iter().map(|pending| pending.key_id()).collect();
    tap.run("retrieve", session.retrieve(&key_ids).expect("a start"));

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
        ("crash", [pending, &[Action::Crash, STORE, RUN, LOG_IN, RUN, STORE, RUN]].concat()),
        ("idle", [session, &[Action::Wait(Wait::Idle), GENERATE, RUN, Action::Purge, LOG_IN, RUN]].concat()),
        ("late-upload", vec![REGISTER, send(Mishap::No), Action::Wait(Wait::Handshake), RUN]),
        ("late-ke3", [&MAIN_JOB[..2], &[LOG_IN, send(Mishap::No), Action::Wait(Wait::Handshake), RUN]].concat()),
        ("two-people", two_people()),
        ("old-image", old_image()),
        ("replays", [&MAIN_JOB[..], &(0..8).map(replay).collect::<Vec<_>>()].concat()),
        ("heavy", [session, &[forge(Forgery::StoreHeavy { seed: 7 }), RUN, forge(Forgery::RetrieveAll), RUN]].concat()),
    ];
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
    let operations = [REGISTER, LOG_IN, GENERATE, STORE, RETRIEVE];
    operations.into_iter().flat_map(|start| [start, hindered, send(Mishap::No), hindered, RUN]).collect()
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

const MISHAPS: [(&str, Mishap); 10] = [
    ("read-fails", Mishap::ReadFails),
    ("read-missing", Mishap::ReadMissing),
    ("read-foreign", Mishap::ReadForeign { query: 1 }),
    ("read-damaged", Mishap::ReadDamaged { at: 75, xor: 0xff }),
    ("write-fails-before", Mishap::WriteFailsBefore),
    ("write-fails-after", Mishap::WriteFailsAfter),
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

const FORGERIES: [(&str, Forgery); 8] = [
    ("forge-generate-none", Forgery::Generate { count: 0, len: 32 }),
    ("forge-generate-many", Forgery::Generate { count: 257, len: 32 }),
    ("forge-generate-long", Forgery::Generate { count: 1, len: 1_025 }),
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

/// The layout of `arbitrary`'s derive: a variant is four bytes that stand for its share of their range, a field what
/// it is, integers little-endian.
mod encoding {
    use super::{Action, Damage, Forgery, Lie, Mishap, Randomness, Tamper, Wait};

    fn variant(index: u64, count: u64, fields: &[&[u8]]) -> Vec<u8> {
        let share = u32::try_from((index << 32).div_ceil(count)).expect("below 2^32");
        [&share.to_le_bytes()[..], &fields.concat()].concat()
    }

    pub(crate) fn action(action: Action) -> Vec<u8> {
        let variant = |index, fields: &[&[u8]]| variant(index, 13, fields);
        match action {
            Action::Register { person, randomness: drawn } => variant(0, &[&[person], &randomness(drawn)]),
            Action::LogIn { person, guess, randomness: drawn } => {
                variant(1, &[&[person, guess.into()], &randomness(drawn)])
            }
            Action::Generate { device, kinds, randomness: drawn } => {
                variant(2, &[&[device, kinds], &randomness(drawn)])
            }
            Action::Store { device, batch, take } => variant(3, &[&[device, batch, take]]),
            Action::Retrieve { device, first, count } => variant(4, &[&[device, first, count]]),
            Action::Forge { device, forgery: forged } => variant(5, &[&[device], &forgery(forged)]),
            Action::Run { exchange } => variant(6, &[&[exchange]]),
            Action::Send { exchange, tamper: tampered, mishap: met, answered } => {
                variant(7, &[&[exchange], &tamper(tampered), &mishap(met), &[answered.into()]])
            }
            Action::Replay { message, tamper: tampered, mishap: met } => {
                variant(8, &[&[message], &tamper(tampered), &mishap(met)])
            }
            Action::Answer { exchange, answer, tamper: tampered } => {
                variant(9, &[&[exchange, answer], &tamper(tampered)])
            }
            Action::Wait(time) => variant(10, &[&wait(time)]),
            Action::Purge => variant(11, &[]),
            Action::Crash => variant(12, &[]),
        }
    }

    fn randomness(randomness: Randomness) -> Vec<u8> {
        variant(u64::from(randomness == Randomness::Repeated), 2, &[])
    }

    fn tamper(tamper: Tamper) -> Vec<u8> {
        match tamper {
            Tamper::No => variant(0, 5, &[]),
            Tamper::Flip { at, xor } => variant(1, 5, &[&at.to_le_bytes(), &[xor]]),
            Tamper::Cut { at } => variant(2, 5, &[&at.to_le_bytes()]),
            Tamper::Append { byte } => variant(3, 5, &[&[byte]]),
            Tamper::Reroute { session } => variant(4, 5, &[&[session]]),
        }
    }

    fn mishap(mishap: Mishap) -> Vec<u8> {
        match mishap {
            Mishap::No => variant(0, 8, &[]),
            Mishap::ReadFails => variant(1, 8, &[]),
            Mishap::ReadMissing => variant(2, 8, &[]),
            Mishap::ReadForeign { query } => variant(3, 8, &[&[query]]),
            Mishap::ReadDamaged { at, xor } => variant(4, 8, &[&at.to_le_bytes(), &[xor]]),
            Mishap::WriteFailsBefore => variant(5, 8, &[]),
            Mishap::WriteFailsAfter => variant(6, 8, &[]),
            Mishap::Lie { lie: told, applied } => variant(7, 8, &[&lie(told), &[applied.into()]]),
        }
    }

    fn lie(lie: Lie) -> Vec<u8> {
        const ALL: [Lie; 8] = [
            Lie::Credential,
            Lie::NameTaken,
            Lie::UserIdTaken,
            Lie::AttemptLimit,
            Lie::KeyIdTaken,
            Lie::OtherKeyIdTaken,
            Lie::Head,
            Lie::Repeated,
        ];
        variant(place(&ALL, &lie), 8, &[])
    }

    fn forgery(forgery: Forgery) -> Vec<u8> {
        match forgery {
            Forgery::Generate { count, len } => variant(0, 5, &[&count.to_le_bytes(), &len.to_le_bytes()]),
            Forgery::Store { batch, change } => variant(1, 5, &[&[batch], &damage(change)]),
            Forgery::StoreHeavy { seed } => variant(2, 5, &[&[seed]]),
            Forgery::Retrieve { first, count, twice } => variant(3, 5, &[&[first, count, twice.into()]]),
            Forgery::RetrieveAll => variant(4, 5, &[]),
        }
    }

    fn damage(damage: Damage) -> Vec<u8> {
        match damage {
            Damage::No => variant(0, 7, &[]),
            Damage::Emptied => variant(1, 7, &[]),
            Damage::Doubled => variant(2, 7, &[]),
            Damage::Header { at, xor } => variant(3, 7, &[&[at, xor]]),
            Damage::Ciphertext { at, xor } => variant(4, 7, &[&[at, xor]]),
            Damage::Shortened => variant(5, 7, &[]),
            Damage::Lengthened => variant(6, 7, &[]),
        }
    }

    fn wait(wait: Wait) -> Vec<u8> {
        const ALL: [Wait; 5] = [Wait::Second, Wait::Handshake, Wait::Idle, Wait::Window, Wait::Lifetime];
        variant(place(&ALL, &wait), 5, &[])
    }

    fn place<T: PartialEq>(all: &[T], item: &T) -> u64 {
        all.iter().zip(0..).find_map(|(other, place)| (other == item).then_some(place)).expect("one of all")
    }
}
