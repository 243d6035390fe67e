//! The seeds of `client_exchange`: each exchange with an honest server, and with one that lies in one thing.

use keystow_fuzz::harness::answers::{Alteration, Answer, Plain, Said, Spoiled};
use keystow_fuzz::harness::exchanges::{Start, meeting};
use keystow_fuzz::harness::input::Encode;

const STARTS: [(&str, Start); 24] = [
    ("register", Start::Register),
    ("log-in", Start::LogIn { wrong: false, pin: None }),
    ("log-in-pinned", Start::LogIn { wrong: false, pin: Some(2) }),
    ("log-in-guess", Start::LogIn { wrong: true, pin: None }),
    ("log-in-strange-pin", Start::LogIn { wrong: false, pin: Some(6) }),
    ("generate", Start::Generate { kinds: 0b1110_0100 }),
    ("import", Start::Import { kind: 1, byte: 7 }),
    ("store-new", Start::Store { batch: 4, rebased: false }),
    ("store-new-rebased", Start::Store { batch: 4, rebased: true }),
    ("store-old", Start::Store { batch: 0, rebased: false }),
    ("store-again", Start::Store { batch: 1, rebased: false }),
    ("store-again-rebased", Start::Store { batch: 1, rebased: true }),
    ("store-meanwhile", Start::Store { batch: 3, rebased: false }),
    ("retrieve", Start::Retrieve { first: 2, count: 3 }),
    ("list", Start::List),
    ("salvage", Start::Salvage),
    ("delete", Start::Delete { first: 4, count: 0 }),
    ("verify-pin", Start::VerifyPin { pin: 1 }),
    ("verify-later-pin", Start::VerifyPin { pin: 4 }),
    ("change-password", Start::ChangePassword),
    ("audit", Start::Audit { limit: 3, about: 2, after: Some(1) }),
    ("delete-account", Start::DeleteAccount),
    ("status", Start::Status),
    ("log-out", Start::LogOut),
];

const LIES: [(&str, Answer); 24] = [
    ("less", altered(Alteration::Less { at: 0 })),
    ("twice", altered(Alteration::Twice { at: 0 })),
    ("exchanged", altered(Alteration::Exchanged { at: 1 })),
    ("foreign", altered(Alteration::Foreign { at: 0, which: 0 })),
    ("deleted", altered(Alteration::Foreign { at: 0, which: 9 })),
    ("flipped", altered(Alteration::Flipped { at: 40, xor: 1 })),
    ("later", altered(Alteration::Number { add: 1 })),
    ("earlier", altered(Alteration::Number { add: 255 })),
    ("claimed", altered(Alteration::Claim)),
    ("damaged", Answer::Damaged { at: 100, xor: 1 }),
    ("ahead", Answer::Reply { said: Said::LoggedOut, ahead: 1 }),
    ("moved", reply(Said::Refused { refusal: 9, which: 0 })),
    ("welcome", reply(Said::Welcome { byte: 0, user: false, wrap: true })),
    ("welcome-other", reply(Said::Welcome { byte: 0, user: true, wrap: true })),
    ("generated", reply(Said::Generate { byte: 1 })),
    ("stored", reply(Said::Stored { first: 9, count: 2, repeated: true })),
    ("retrieved", reply(Said::Retrieved { first: 2, count: 4, spoiled: Spoiled::Mixed { which: 1 } })),
    ("page", reply(Said::Page { first: 0, count: 6, spoiled: Spoiled::No, next: None, epoch: 3 })),
    ("heads", reply(Said::Heads { first: 3, count: 2, at: None, newest: 4 })),
    ("heads-of-another", reply(Said::Heads { first: 6, count: 1, at: None, newest: 0 })),
    ("heads-damaged", reply(Said::Heads { first: 3, count: 1, at: Some(30), newest: 3 })),
    ("audited", reply(Said::Audit { first: 4, count: 2, next: Some(5) })),
    ("changed", reply(Said::Changed)),
    ("registered", Answer::Plain { said: Plain::Registered }),
];

const fn altered(how: Alteration) -> Answer {
    Answer::Altered { how }
}

const fn reply(said: Said) -> Answer {
    Answer::Reply { said, ahead: 0 }
}

/// The bytes that [`meeting`] reads so.
fn encode(vault: u8, start: Start, answers: &[Answer]) -> Vec<u8> {
    let answered: Vec<u8> = answers.iter().flat_map(Encode::encode).collect();
    let bytes = [vault.encode(), start.encode(), answered].concat();
    assert_eq!(meeting(&bytes), Some((vault, start, answers.to_vec())), "arbitrary lays out its input otherwise");
    bytes
}

pub(crate) fn meetings() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (name, start) in STARTS {
        for vault in [3, 5] {
            seeds.push((format!("{name}-at-{vault}"), encode(vault, start, &[Answer::Honest])));
        }
        let back = [Answer::Vault { epoch: 2 }, Answer::Honest, Answer::Honest, Answer::Again { answer: 1 }];
        seeds.push((format!("{name}-put-back"), encode(5, start, &back)));
    }
    let claimed =
        [Said::Stored { first: 8, count: 2, repeated: true }, Said::Heads { first: 3, count: 3, at: None, newest: 5 }];
    let claimed = [reply(claimed[0]), reply(claimed[1]), Answer::Honest];
    seeds.push(("store-new-not-stored".to_owned(), encode(5, Start::Store { batch: 4, rebased: false }, &claimed)));
    // A lie at the start, after one honest answer, and after two and three.
    for (name, lie) in LIES {
        for (start_name, start) in STARTS {
            if is_fitting(name, start_name) {
                let honest = [Answer::Honest; 3];
                let answers: Vec<Answer> = (0..=3).flat_map(|_| [lie, honest[0]]).collect();
                seeds.push((format!("{start_name}-{name}"), encode(5, start, &answers)));
            }
        }
    }
    seeds
}

/// Some lies are for some exchanges.
fn is_fitting(lie: &str, start: &str) -> bool {
    match lie {
        "welcome" | "welcome-other" => start.starts_with("log-in"),
        "generated" => start == "generate" || start == "import",
        "stored" => start.starts_with("store"),
        "retrieved" => start == "retrieve",
        "page" => matches!(start, "list" | "salvage") || start.ends_with("rebased"),
        "audited" => start == "audit",
        "changed" => start == "change-password",
        "registered" => start == "register",
        _ => true,
    }
}
