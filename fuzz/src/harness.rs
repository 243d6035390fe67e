//! What the fuzz targets run: bytes in, a panic out if a promise is broken.
//!
//! `fuzz/src/lib.rs` and `tests/corpus.rs` both include this file, so the fuzzer and `cargo test` run the same code.
#![allow(unreachable_pub, missing_docs, missing_debug_implementations)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::panic_in_result_fn,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::integer_division_remainder_used
)]

// By explicit paths, which mean the same from both places that include this file.
#[path = "harness/action.rs"]
pub mod action;
#[path = "harness/chain.rs"]
mod chain;
#[path = "harness/clients.rs"]
mod clients;
#[path = "harness/delivery.rs"]
mod delivery;
#[path = "harness/deployment.rs"]
mod deployment;
#[path = "harness/ends.rs"]
mod ends;
#[path = "harness/forgery.rs"]
mod forgery;
#[path = "harness/gone.rs"]
mod gone;
#[path = "harness/ledger.rs"]
mod ledger;
#[path = "harness/operations.rs"]
mod operations;
#[path = "harness/under_way.rs"]
mod under_way;

use arbitrary::Unstructured;
use keystow::storage::AuditEntry;
use keystow::{CallerFault, ClientMessage, Error, Header, PendingSecrets, ServerMessage, ServerSetup, VaultPin};

use action::Action;

/// The most actions that one input runs: a login costs about a millisecond, more with a sanitizer.
pub const MAX_ACTIONS: usize = 48;

/// Target `decode`: no bytes panic, what decodes encodes to the same bytes, and the error blames the right side.
pub fn decode(data: &[u8]) {
    let peer = |error: &Error| matches!(error, Error::Peer(_));
    canonical(data, ClientMessage::decode(data), |message| message.encode().unwrap(), peer);
    canonical(data, ServerMessage::decode(data), |message| message.encode().unwrap(), peer);
    canonical(data, AuditEntry::from_bytes(data), |entry| entry.to_record().unwrap().as_bytes().to_vec(), peer);
    canonical(data, Header::from_bytes(data).map_err(Error::from), Header::to_bytes, peer);
    let damaged = |fault: CallerFault| move |error: &Error| *error == Error::Caller(fault.clone());
    let pending = PendingSecrets::decode(data);
    canonical(data, pending, |pending| pending.encode().unwrap(), damaged(CallerFault::DamagedPending));
    let setup = ServerSetup::from_bytes(data);
    let is_expected = damaged(CallerFault::DamagedValue("server setup"));
    canonical(data, setup, |setup| setup.to_bytes().expose().to_vec(), is_expected);
    if let Ok(text) = core::str::from_utf8(data) {
        // Case, and what stands between groups, are a reader's affair.
        let spelled: String = text.chars().filter(|c| !c.is_ascii_whitespace() && *c != '-').collect();
        let is_expected = damaged(CallerFault::DamagedValue("vault pin"));
        let spelled = spelled.to_ascii_lowercase();
        canonical(spelled.as_bytes(), text.parse::<VaultPin>(), |pin| pin.to_string().into_bytes(), is_expected);
    }
    if let Some((pin, mistakes)) = data.split_first_chunk() {
        misspell(VaultPin::from_bytes(pin), pin, mistakes);
    }
}

/// Any 40 bytes are a pin; its text reads back, and doesn't with up to four wrong characters.
fn misspell(pin: VaultPin, bytes: &[u8; VaultPin::LEN], mistakes: &[u8]) {
    const ALPHABET: [u8; 32] = *b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    assert!(pin.to_bytes() == *bytes && VaultPin::from_bytes(&pin.to_bytes()) == pin);
    let text = pin.to_string();
    assert_eq!(text.parse(), Ok(pin));
    assert_eq!(text.to_ascii_uppercase().parse(), Ok(pin));
    let mut wrong = text.clone().into_bytes();
    for mistake in mistakes.as_chunks::<2>().0.iter().take(4) {
        let at = "kspin1".len() + usize::from(mistake[0]) % (text.len() - "kspin1".len());
        wrong[at] = ALPHABET[usize::from(mistake[1]) % ALPHABET.len()];
    }
    let wrong = String::from_utf8(wrong).unwrap();
    assert_eq!(wrong.parse::<VaultPin>().is_ok(), wrong == text, "{wrong} is taken for {text}");
}

fn canonical<T>(
    data: &[u8],
    decoded: Result<T, Error>,
    encode: impl FnOnce(&T) -> Vec<u8>,
    is_expected: impl FnOnce(&Error) -> bool,
) {
    match decoded {
        Ok(value) => assert!(encode(&value) == data, "{} has two encodings", core::any::type_name::<T>()),
        Err(error) => assert!(is_expected(&error), "{}: {error}", core::any::type_name::<T>()),
    }
}

/// Target `server_session`: people, a network and a store that do whatever the actions say, against the sessions of one
/// server. `fuzz/README.md` lists what is asserted.
pub fn server_session(data: &[u8]) {
    let mut clients = clients::Clients::new();
    for action in actions(data) {
        clients.act(action);
    }
    clients.finish();
}

/// The actions that an input stands for.
pub fn actions(data: &[u8]) -> Vec<Action> {
    let mut rest = Unstructured::new(data);
    let next = || (!rest.is_empty()).then(|| rest.arbitrary().ok()).flatten();
    core::iter::from_fn(next).take(MAX_ACTIONS).collect()
}

/// The item number `index`, counted from the newest and round the end.
fn pick<T>(items: &[T], index: u8) -> Option<usize> {
    (!items.is_empty()).then(|| items.len() - 1 - usize::from(index) % items.len())
}
