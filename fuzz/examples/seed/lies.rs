//! The seeds of `lying_store`: each operation, in each of whose steps the store lies in one way.

use keystow_fuzz::harness::input::Encode;
use keystow_fuzz::harness::lies::{ReadLie, Told, WriteLie};
use keystow_fuzz::harness::lying_store::{Move, What, moves};

const LOG_IN: Move = act(What::LogIn { pin: None });
const LOG_IN_PINNED: Move = act(What::LogIn { pin: Some(0) });
const GENERATE: Move = act(What::Generate { kinds: 0b1110_0100 });
const STORE: Move = act(What::Store { batch: 0, rebased: false });
const STORE_REBASED: Move = act(What::Store { batch: 0, rebased: true });
const LIST: Move = act(What::List);
const RETRIEVE: Move = act(What::Retrieve { first: 3, count: 3 });
const DELETE: Move = act(What::Delete { first: 3, count: 0 });

/// By the person whose turn it is, or the newest device.
const fn act(what: What) -> Move {
    Move::Do { who: 0, what }
}

const READS: [(&str, ReadLie); 14] = [
    ("fails", ReadLie::Fails),
    ("old", ReadLie::Old { ago: 0 }),
    ("older", ReadLie::Old { ago: 2 }),
    ("foreign", ReadLie::Foreign { query: 1 }),
    ("less", ReadLie::Less { at: 0 }),
    ("twice", ReadLie::Twice { at: 0 }),
    ("exchanged", ReadLie::Exchanged { at: 0 }),
    ("another", ReadLie::Another { at: 0, which: 1 }),
    ("damaged", ReadLie::Damaged { row: 0, at: 30, xor: 1 }),
    ("damaged-end", ReadLie::Damaged { row: 0, at: 130, xor: 1 }),
    ("nothing", ReadLie::Nothing),
    ("no-standing", ReadLie::NoStanding),
    ("earlier", ReadLie::Standing { epoch: 0, credential: true }),
    ("credential", ReadLie::Standing { epoch: 1, credential: false }),
];

const WRITES: [(&str, WriteLie); 17] = [
    ("fails-before", WriteLie::FailsBefore),
    ("fails-after", WriteLie::FailsAfter),
    ("lost", WriteLie::Lost { change: 0 }),
    ("lost-first", WriteLie::Lost { change: 1 }),
    ("unguarded", WriteLie::Unguarded),
    ("dropped", told(Told::Applied, false)),
    ("repeated", told(Told::Repeated, false)),
    ("repeated-applied", told(Told::Repeated, true)),
    ("moved", told(Told::Moved, false)),
    ("no-credential", told(Told::Credential, false)),
    ("name-taken", told(Told::NameTaken, false)),
    ("user-id-taken", told(Told::UserIdTaken, false)),
    ("attempt-limit", told(Told::AttemptLimit, false)),
    ("key-id-taken", told(Told::KeyIdTaken { change: 1 }, false)),
    ("secret-gone", told(Told::SecretGone { change: 1 }, false)),
    ("head", told(Told::Head, false)),
    ("head-applied", told(Told::Head, true)),
];

const fn told(told: Told, applied: bool) -> WriteLie {
    WriteLie::Told { told, applied }
}

const WHATS: [(&str, &[Move]); 12] = [
    ("log-in", &[LOG_IN_PINNED]),
    ("log-in-first", &[LOG_IN]),
    ("store", &[STORE]),
    ("store-rebased", &[STORE_REBASED]),
    ("retrieve", &[STORE, RETRIEVE]),
    ("list", &[STORE, LIST]),
    ("salvage", &[STORE, act(What::Salvage)]),
    ("delete", &[STORE, DELETE]),
    ("verify-pin", &[STORE, act(What::VerifyPin { pin: 1 })]),
    ("change-password", &[act(What::ChangePassword)]),
    ("audit", &[act(What::Audit { limit: 3 })]),
    ("delete-account", &[STORE, act(What::DeleteAccount)]),
];

fn encode(run: &[Move]) -> Vec<u8> {
    let bytes: Vec<u8> = run.iter().flat_map(Encode::encode).collect();
    assert_eq!(moves(&bytes), run, "arbitrary lays out its input otherwise");
    bytes
}

pub(crate) fn lies() -> Vec<(String, Vec<u8>)> {
    let after = [LOG_IN_PINNED, LIST, STORE, LIST, GENERATE, STORE, LIST, RETRIEVE];
    let mut seeds = vec![("honest".to_owned(), encode(&[LOG_IN, GENERATE, STORE, LIST, RETRIEVE, DELETE, LIST]))];
    let reads = READS.map(|(name, read)| (name, read, WriteLie::No));
    let writes = WRITES.map(|(name, write)| (name, ReadLie::No, write));
    for (name, read, write) in reads.into_iter().chain(writes) {
        for (what_name, what) in WHATS {
            let Some((last, before)) = what.split_last() else { continue };
            let lies = [0, 0].map(|after| Move::Lie { after, read, write });
            let run = [&[LOG_IN, GENERATE][..], before, &lies, &[*last], &after].concat();
            seeds.push((format!("{what_name}-{name}"), encode(&run)));
        }
        let lie = Move::Lie { after: 1, read, write };
        seeds.push((
            format!("register-{name}"),
            encode(&[lie, act(What::Register), Move::Do { who: 2, what: What::LogIn { pin: Some(0) } }]),
        ));
    }
    seeds.extend([1, 2].map(|which| (format!("fork-{which}"), encode(&fork(which)))));
    seeds
}

/// A device has stored something when the store is put back; another goes on from there; then the first is shown its own
/// head, and the other's next one behind it.
fn fork(which: u8) -> Vec<Move> {
    let first = |what| Move::Do { who: 1, what };
    let lie = Move::Lie { after: 1, read: ReadLie::Another { at: 1, which }, write: WriteLie::No };
    let store = What::Store { batch: 0, rebased: false };
    let delete = act(What::Delete { first: 0, count: 0 });
    let before = [LOG_IN, GENERATE, LOG_IN, first(store), Move::PutBack { ago: 0 }, GENERATE, STORE, delete];
    [&before[..], &[lie, first(What::List), first(What::VerifyPin { pin: 0 })]].concat()
}
