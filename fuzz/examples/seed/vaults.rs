//! Seeds of `server_session` about what the vault's chain of heads is for.

use keystow_fuzz::harness::action::{Action, Damage, Forgery, Head, Lie, Mishap, Operation, Randomness, Settle};

use crate::runs::{
    GENERATE, LOG_IN, MAIN_JOB, REGISTER, RETRIEVE, RUN, STORE, VERIFIED, forge, forge_store, garbage, operate,
    operate_on, send, two_people,
};

const DELETE: Operation = Operation::Delete { first: 3, count: 0 };
const REBASED: Action = Action::Store { device: 0, batch: 0, rebased: true, settle: Settle::AtOnce };
const DAMAGED: Mishap = Mishap::ReadDamaged { at: 8, xor: 1 };
const SETTLE: Action = Action::Settle { unsettled: 0 };
/// The newest exchange's message, and between its read and its write the one's before.
const MEANWHILE: Action = send(Mishap::Meanwhile { exchange: 1 });

/// A login with the pin that is so many younger ones away from the newest.
fn log_in_with(pin: u8) -> Action {
    Action::LogIn { person: 0, guess: false, pin: Some(pin), randomness: Randomness::Fresh }
}

fn store(device: u8, batch: u8, settle: Settle) -> Action {
    Action::Store { device, batch, rebased: false, settle }
}

fn late(operation: Operation) -> Action {
    Action::Operate { device: 0, operation, settle: Settle::Late, randomness: Randomness::Fresh }
}

/// A batch that its own session has stored, the same that has only made it, and only the session.
const STORED: &[Action] = MAIN_JOB.split_at(8).0;
const PENDING: &[Action] = MAIN_JOB.split_at(6).0;
const SESSION: &[Action] = MAIN_JOB.split_at(4).0;
const SECOND_DEVICE: &[Action] = &[LOG_IN, RUN];
const LIST: &[Action] = &[operate(VERIFIED), RUN];

pub(crate) fn vaults() -> Vec<(&'static str, Vec<Action>)> {
    let mut runs = alone();
    runs.extend(races());
    runs.extend(ends());
    runs.extend(lies());
    runs
}

/// A store that hides or damages what a session reads: heads, at login and between devices, and secrets.
fn lies() -> Vec<(&'static str, Vec<Action>)> {
    let steps = |lie| {
        let log_in = [log_in_with(0), send(Mishap::No), send(Mishap::No), send(lie), LOG_IN, RUN];
        let [list, salvage, delete, verify] =
            [VERIFIED, Operation::List { verified: false }, DELETE, Operation::VerifyPin { pin: 1 }]
                .map(|operation| [operate(operation), send(lie)]);
        [STORED, &log_in, &list, &salvage, &delete, &verify, LIST].concat()
    };
    vec![
        ("hidden", steps(Mishap::ReadMissing)),
        ("damaged", steps(Mishap::ReadDamaged { at: 50, xor: 1 })),
        ("damaged-pin", [STORED, &[log_in_with(0), send(Mishap::No), send(Mishap::No)], &[send(DAMAGED)]].concat()),
        ("moved-untrue", steps(Mishap::Lie { lie: Lie::Head, applied: false })),
    ]
}

/// One device after the other.
fn alone() -> Vec<(&'static str, Vec<Action>)> {
    let again = &[RUN, LOG_IN, RUN, STORE, RUN];
    let [old, older] = [1, 2].map(|pin| [operate(Operation::VerifyPin { pin }), RUN]);
    vec![
        // Pins that were kept at once, late, and not at all.
        ("pins", [STORED, &[log_in_with(0), RUN, log_in_with(1), RUN], SECOND_DEVICE, LIST].concat()),
        ("strange-pins", [&two_people()[..], &old, &older].concat()),
        // The name's next account, with the first pin of the one before, then with its own.
        (
            "old-pin",
            [
                STORED,
                &[operate(Operation::DeleteAccount), RUN, REGISTER, RUN],
                &[log_in_with(2), RUN, log_in_with(0), RUN],
            ]
            .concat(),
        ),
        // Stored, and the answer lost with the session: again in another one, with a pin and without.
        (
            "stored-again",
            [PENDING, &[STORE, send(Mishap::WriteFailsAfter), Action::Crash, log_in_with(0), RUN, STORE], again, LIST]
                .concat(),
        ),
        // The same as after a roll-back that was accepted: nothing says since when to look, so the vault is listed.
        (
            "stored-rebased",
            [
                PENDING,
                &[REBASED, RUN, Action::Crash, log_in_with(0), RUN, REBASED, RUN],
                LIST,
                SECOND_DEVICE,
                &[STORE, RUN],
            ]
            .concat(),
        ),
        // Settled after other operations, or never.
        (
            "settled-late",
            [
                STORED,
                &[late(DELETE), RUN, RETRIEVE, RUN, SETTLE, RETRIEVE, RUN, late(VERIFIED), RUN],
                &[GENERATE, RUN, SETTLE, STORE, RUN],
                LIST,
            ]
            .concat(),
        ),
        ("settled-never", [PENDING, &[store(0, 0, Settle::Never), RUN, GENERATE, RUN, STORE, RUN], LIST].concat()),
    ]
}

/// Two devices at once. The older one is number 1.
fn races() -> Vec<(&'static str, Vec<Action>)> {
    let store_on_older = store(1, 0, Settle::AtOnce);
    vec![
        // The older device stores what the younger one has stored, or deleted.
        ("stored-before", [SESSION, &STORED[2..], &[store_on_older, RUN, operate_on(1, VERIFIED), RUN]].concat()),
        ("stored-and-deleted", [SESSION, &STORED[2..], &[operate(DELETE), RUN, store_on_older, RUN], LIST].concat()),
        ("race-list", [PENDING, SECOND_DEVICE, &[store_on_older, operate(VERIFIED), MEANWHILE, RUN, RUN]].concat()),
        (
            "race-delete",
            [STORED, SECOND_DEVICE, &[operate_on(1, DELETE), operate(DELETE), MEANWHILE, RUN, RUN]].concat(),
        ),
        (
            "race-store",
            [
                PENDING,
                &[GENERATE, RUN],
                SECOND_DEVICE,
                &[store(0, 0, Settle::Late), store(1, 1, Settle::AtOnce), RUN, RUN, SETTLE],
                LIST,
            ]
            .concat(),
        ),
        // The account of an empty vault goes, unless the other device has stored something meanwhile.
        (
            "race-delete-account",
            [PENDING, SECOND_DEVICE, &[store_on_older, operate(Operation::DeleteAccount), MEANWHILE, RUN, RUN]]
                .concat(),
        ),
        // A login on its way to the heads, while the other device changes the password.
        (
            "race-password",
            [
                SESSION,
                &[operate(Operation::ChangePassword), send(Mishap::No)],
                &[LOG_IN, send(Mishap::No), send(Mishap::No), MEANWHILE, RUN, RUN],
            ]
            .concat(),
        ),
    ]
}

/// Vaults that are closed, and what a hostile device does to its own.
fn ends() -> Vec<(&'static str, Vec<Action>)> {
    let half_deleted = [operate(Operation::DeleteAccount), send(Mishap::No)];
    let damaged = forge(forge_store(Damage::Ciphertext { at: 0, xor: 1 }));
    let not_closed = forge(Forgery::DeleteAccount { head: None });
    let sealed = forge(Forgery::Delete { first: 0, count: 1, twice: false, head: Head::Sealed });
    vec![
        // The other device finds the vault closed half-way; a third one finds it so from the start.
        (
            "closed",
            [
                STORED,
                &[GENERATE, RUN],
                SECOND_DEVICE,
                &half_deleted,
                &[operate_on(1, VERIFIED), RUN, store(1, 0, Settle::AtOnce), RUN],
                SECOND_DEVICE,
                &[GENERATE, STORE],
                LIST,
            ]
            .concat(),
        ),
        (
            "deleted-by-both",
            [STORED, &half_deleted, SECOND_DEVICE, &[operate(Operation::DeleteAccount), RUN, RUN]].concat(),
        ),
        ("broken", [PENDING, &[forge(garbage(1)), RUN, LOG_IN, RUN, log_in_with(0), RUN], LIST].concat()),
        ("spoiled-record", [PENDING, &[damaged, RUN, log_in_with(0), RUN], LIST].concat()),
        ("spoiled-deletion", [STORED, &[sealed, RUN, log_in_with(0), RUN], LIST].concat()),
        ("spoiled-purge", [STORED, &[not_closed, RUN, log_in_with(0), RUN], LIST].concat()),
    ]
}
