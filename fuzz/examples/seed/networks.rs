//! The seeds of `network`: a day of Ada's, with one fault again and again, and days on which things overtake each other.

use keystow_fuzz::harness::input::Encode;
use keystow_fuzz::harness::network::{Begin, Fault, Move, moves};

const RUN: Move = Move::Run { exchange: 0 };
const REGISTER: Move = start(Begin::Register);
const LOG_IN: Move = start(Begin::LogIn { guess: false, pin: None });
const GENERATE: Move = start(Begin::Generate { kinds: 0b1110_0100 });
const STORE: Move = start(Begin::Store { batch: 0, rebased: false });

const FAULTS: [(&str, Fault); 9] = [
    ("lost", Fault::No),
    ("flipped-start", Fault::Flip { at: 1, xor: 1 }),
    ("flipped-sequence", Fault::Flip { at: 18, xor: 1 }),
    ("flipped", Fault::Flip { at: 60, xor: 1 }),
    ("cut", Fault::Cut { at: 40 }),
    ("extended", Fault::Extend { bytes: [0; 4] }),
    ("spliced", Fault::Splice { other: 1, at: 30 }),
    ("spliced-before", Fault::Spliced { other: 1, at: 19 }),
    ("swapped", Fault::Swap { at: 20, with: 40 }),
];

const CUSTODY: [(&str, Begin); 11] = [
    ("retrieve", Begin::Retrieve { first: 3, count: 3 }),
    ("import", Begin::Import { kind: 1, byte: 7 }),
    ("list", Begin::List { verified: true }),
    ("salvage", Begin::List { verified: false }),
    ("delete", Begin::Delete { first: 3, count: 0 }),
    ("verify-pin", Begin::VerifyPin { pin: 1 }),
    ("change-password", Begin::ChangePassword),
    ("audit", Begin::Audit { limit: 3 }),
    ("status", Begin::Status),
    ("log-out", Begin::LogOut),
    ("delete-account", Begin::DeleteAccount),
];

const fn start(begin: Begin) -> Move {
    Move::Start { who: 0, begin }
}

fn encode(run: &[Move]) -> Vec<u8> {
    let bytes: Vec<u8> = run.iter().flat_map(Encode::encode).collect();
    assert_eq!(moves(&bytes), run, "arbitrary lays out its input otherwise");
    bytes
}

/// A message that is damaged on its way up, one whose answer is damaged on its way down, and a good day.
fn hindered(fault: Fault) -> [Move; 4] {
    let down = Move::Down { exchange: 0, answer: 0, fault };
    [Move::Up { exchange: 0, fault }, Move::Up { exchange: 0, fault: Fault::No }, down, RUN]
}

pub(crate) fn networks() -> Vec<(String, Vec<u8>)> {
    let session = [REGISTER, RUN, LOG_IN, RUN];
    let main_job = [&session[..], &[GENERATE, RUN, STORE, RUN]].concat();
    let mut seeds = vec![("main-job".to_owned(), encode(&main_job))];
    for (name, fault) in FAULTS {
        let list = start(Begin::List { verified: true });
        let day = [REGISTER, LOG_IN, GENERATE, STORE, list].into_iter();
        let day: Vec<Move> = day.flat_map(|start| [&[start][..], &hindered(fault)].concat()).collect();
        seeds.push((name.to_owned(), encode(&day)));
    }
    for (name, begin) in CUSTODY {
        let up = Move::Up { exchange: 0, fault: Fault::No };
        let again = [0, 1, 2, 5].map(|message| Move::Again { message, fault: Fault::No });
        let late = [5, 1, 0].map(|answer| Move::Down { exchange: 0, answer, fault: Fault::No });
        let run = [&main_job[..], &[start(begin), up, up], &again, &late, &[LOG_IN, RUN, GENERATE]].concat();
        seeds.push((format!("{name}-late"), encode(&run)));
    }
    let (up, down) =
        (Move::Up { exchange: 0, fault: Fault::No }, Move::Down { exchange: 0, answer: 0, fault: Fault::No });
    for at in [60, 220, 400] {
        let damaged = Move::Up { exchange: 0, fault: Fault::Flip { at, xor: 1 } };
        seeds.push((format!("damaged-upload-{at}"), encode(&[REGISTER, up, down, damaged, RUN, LOG_IN, RUN])));
    }
    seeds.extend(races(&session, &main_job));
    seeds
}

/// Two devices, whose changes overtake each other; one that gives up what reaches the server later.
fn races(session: &[Move], main_job: &[Move]) -> Vec<(String, Vec<u8>)> {
    let other = |begin| Move::Start { who: 1, begin };
    let up = |exchange| Move::Up { exchange, fault: Fault::No };
    let (delete, list) = (Begin::Delete { first: 3, count: 0 }, Begin::List { verified: true });
    let store = Begin::Store { batch: 0, rebased: false };
    let two = [main_job, &[LOG_IN, RUN, GENERATE, RUN]].concat();
    vec![
        (
            "race".to_owned(),
            encode(&[&two[..], &[start(store), other(delete), up(1), up(0), start(list), RUN]].concat()),
        ),
        ("race-list".to_owned(), encode(&[&two[..], &[start(list), up(0), other(store), RUN]].concat())),
        ("given-up".to_owned(), {
            let again = Move::Again { message: 1, fault: Fault::No };
            encode(&[session, &[GENERATE, RUN, STORE, up(0), start(list), up(0), again, RUN]].concat())
        }),
        ("guesses".to_owned(), {
            let guess = start(Begin::LogIn { guess: true, pin: None });
            encode(&[REGISTER, RUN, guess, RUN, guess, RUN, LOG_IN, RUN, guess, RUN, LOG_IN, RUN])
        }),
        ("two-people".to_owned(), {
            let bob = [other(Begin::Register), RUN, other(Begin::LogIn { guess: false, pin: None }), RUN, GENERATE];
            let spliced = Move::Down { exchange: 0, answer: 3, fault: Fault::Splice { other: 0, at: 30 } };
            encode(&[main_job, &bob[..], &[up(0), spliced, RUN, STORE, RUN]].concat())
        }),
    ]
}
