//! The seeds of `server_session`: honest runs, and runs with one thing gone wrong.

use keystow_fuzz::harness::action::{
    Action, Damage, Forgery, Head, Lie, Mishap, Operation, Randomness, Settle, Tamper, Wait,
};

use crate::vaults::vaults;

pub(crate) const RUN: Action = Action::Run { exchange: 0 };
pub(crate) const REGISTER: Action = Action::Register { person: 0, randomness: Randomness::Fresh };
pub(crate) const LOG_IN: Action = Action::LogIn { person: 0, guess: false, pin: None, randomness: Randomness::Fresh };
const GUESS: Action = Action::LogIn { person: 0, guess: true, pin: None, randomness: Randomness::Fresh };
pub(crate) const GENERATE: Action = Action::Generate { device: 0, kinds: 0b1110_0100, randomness: Randomness::Fresh };
pub(crate) const STORE: Action = Action::Store { device: 0, batch: 0, rebased: false, settle: Settle::AtOnce };
pub(crate) const RETRIEVE: Action = Action::Retrieve { device: 0, first: 3, count: 3 };

pub(crate) const VERIFIED: Operation = Operation::List { verified: true };

pub(crate) const MAIN_JOB: [Action; 10] = [REGISTER, RUN, LOG_IN, RUN, GENERATE, RUN, STORE, RUN, RETRIEVE, RUN];

pub(crate) const fn send(mishap: Mishap) -> Action {
    Action::Send { exchange: 0, tamper: Tamper::No, mishap, answered: true }
}

fn tampered(tamper: Tamper) -> Action {
    Action::Send { exchange: 0, tamper, mishap: Mishap::No, answered: true }
}

pub(crate) const fn operate(operation: Operation) -> Action {
    operate_on(0, operation)
}

pub(crate) const fn operate_on(device: u8, operation: Operation) -> Action {
    Action::Operate { device, operation, settle: Settle::AtOnce, randomness: Randomness::Fresh }
}

pub(crate) const fn forge(forgery: Forgery) -> Action {
    Action::Forge { device: 0, forgery }
}

pub(crate) fn runs() -> Vec<(&'static str, Vec<Action>)> {
    let session = &MAIN_JOB[..4];
    let pending = &MAIN_JOB[..6];
    let heavy = Forgery::StoreHeavy { seed: 7, head: Head::Sealed };
    let mut runs = vec![
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
        ("heavy", [session, &[forge(heavy), RUN, forge(Forgery::RetrieveAll), RUN]].concat()),
    ];
    runs.extend(vaults());
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
    runs
}

fn replay(message: u8) -> Action {
    Action::Replay { message, tamper: Tamper::No, mishap: Mishap::No }
}

/// The main job, each message of it hindered once before it goes through.
fn each_step(hindered: Action) -> Vec<Action> {
    let custody = [VERIFIED, Operation::Delete { first: 3, count: 0 }, Operation::ChangePassword];
    let starts = [REGISTER, LOG_IN, GENERATE, STORE, RETRIEVE].into_iter().chain(custody.map(operate));
    starts.flat_map(|start| [start, hindered, send(Mishap::No), hindered, RUN]).collect()
}

/// Bob's session meets Ada's secrets.
pub(crate) fn two_people() -> Vec<Action> {
    let bob = [
        Action::Register { person: 1, randomness: Randomness::Fresh },
        RUN,
        Action::LogIn { person: 1, guess: false, pin: None, randomness: Randomness::Fresh },
        RUN,
        STORE,
        RETRIEVE,
        RUN,
        forge(Forgery::Store { batch: 0, change: Damage::No, head: Head::Sealed }),
        RUN,
        forge(Forgery::Retrieve { first: 0, count: 4, twice: false }),
        RUN,
    ];
    [&MAIN_JOB[..], &bob].concat()
}

/// A device that draws the same bytes again, after the server has lost its sessions: its login has the same session ID.
fn old_image() -> Vec<Action> {
    let log_in = Action::LogIn { person: 0, guess: false, pin: None, randomness: Randomness::Repeated };
    let day = [log_in, RUN, GENERATE, RUN, STORE, RUN, RETRIEVE, RUN, Action::Crash];
    [&MAIN_JOB[..2], &day, &day].concat()
}

/// The least of [`old_image`]: an audit key that named no request took the second login for a repeat of the first.
fn restored_image() -> Vec<Action> {
    let log_in = Action::LogIn { person: 0, guess: false, pin: None, randomness: Randomness::Repeated };
    vec![REGISTER, RUN, log_in, RUN, Action::Crash, log_in, RUN]
}

/// A session and a login half done, both from before a change of password on the newest device.
fn old_session() -> Vec<Action> {
    let generate = Action::Generate { device: 1, kinds: 0, randomness: Randomness::Fresh };
    let store = Action::Store { device: 1, batch: 0, rebased: false, settle: Settle::AtOnce };
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

const OPERATIONS: [(&str, Operation); 10] = [
    ("import", Operation::Import { kind: 1, byte: 1 }),
    ("list", VERIFIED),
    ("salvage", Operation::List { verified: false }),
    ("delete", Operation::Delete { first: 3, count: 3 }),
    ("verify-pin", Operation::VerifyPin { pin: 1 }),
    ("change-password", Operation::ChangePassword),
    ("audit", Operation::Audit { limit: 1 }),
    ("status", Operation::Status),
    ("log-out", Operation::LogOut),
    ("delete-account", Operation::DeleteAccount),
];

const MISHAPS: [(&str, Mishap); 15] = [
    ("read-fails", Mishap::ReadFails),
    ("read-missing", Mishap::ReadMissing),
    ("read-foreign", Mishap::ReadForeign { query: 1 }),
    ("read-damaged", Mishap::ReadDamaged { at: 75, xor: 0xff }),
    ("write-fails-before", Mishap::WriteFailsBefore),
    ("write-fails-after", Mishap::WriteFailsAfter),
    ("denied-read", Mishap::Denied { read: true }),
    ("denied-write", Mishap::Denied { read: false }),
    ("lie-secret-gone", Mishap::Lie { lie: Lie::SecretGone, applied: false }),
    ("lie-head", Mishap::Lie { lie: Lie::Head, applied: false }),
    ("lie-head-applied", Mishap::Lie { lie: Lie::Head, applied: true }),
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

const FORGERIES: [(&str, Forgery); 18] = [
    ("forge-generate-none", Forgery::Generate { count: 0, len: 32 }),
    ("forge-generate-many", Forgery::Generate { count: 257, len: 32 }),
    ("forge-generate-long", Forgery::Generate { count: 1, len: 65_537 }),
    ("forge-list-none", Forgery::List { limit: 0 }),
    ("forge-audit-long", Forgery::Audit { limit: 257 }),
    ("forge-delete", Forgery::Delete { first: 0, count: 2, twice: true, head: Head::Sealed }),
    ("forge-finish-change", Forgery::FinishChange { head: Head::Sealed }),
    ("forge-heads", Forgery::Heads { from: Some(0) }),
    ("forge-heads-none", Forgery::Heads { from: Some(u64::MAX) }),
    ("forge-delete-account", Forgery::DeleteAccount { head: None }),
    ("forge-emptied", forge_store(Damage::Emptied)),
    ("forge-doubled", forge_store(Damage::Doubled)),
    ("forge-header", forge_store(Damage::Header { at: 5, xor: 1 })),
    ("forge-ciphertext", forge_store(Damage::Ciphertext { at: 0, xor: 1 })),
    ("forge-shortened", forge_store(Damage::Shortened)),
    ("forge-old-head", garbage(0)),
    ("forge-head", garbage(1)),
    ("forge-later-head", garbage(2)),
];

pub(crate) const fn forge_store(change: Damage) -> Forgery {
    Forgery::Store { batch: 0, change, head: Head::Sealed }
}

/// Under an honest batch, a head that is none.
pub(crate) const fn garbage(after: u8) -> Forgery {
    Forgery::Store { batch: 0, change: Damage::No, head: Head::Garbage { after, byte: 7 } }
}
