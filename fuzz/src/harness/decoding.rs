//! Target `decode`: messages, values that are kept, and texts. Records and what is in frames are in `records.rs`, imports
//! in `formats.rs`.

use core::fmt;
use core::str::FromStr;

use allocation_counter::measure;
use keystow::storage::AuditEntry;
use keystow::{
    AccountName, CallerFault, ClientMessage, CounterId, CredentialId, Error, FleetKey, Header, KeyId, KsfProfile,
    PendingSecrets, ServerKey, ServerMessage, ServerSetup, SessionId, UserId, VaultPin,
};

use super::{formats, records};

/// No bytes panic or take more memory than their length explains, what decodes encodes to the same bytes, and the error
/// blames the right side.
pub fn decode(data: &[u8]) {
    let peer = |error: &Error| matches!(error, Error::Peer(_));
    canonical(data, ClientMessage::decode, |message| message.encode().unwrap(), peer);
    canonical(data, ServerMessage::decode, |message| message.encode().unwrap(), peer);
    canonical(data, AuditEntry::from_bytes, |entry| entry.to_record().unwrap().as_bytes().to_vec(), peer);
    canonical(data, |data| Header::from_bytes(data).map_err(Error::from), Header::to_bytes, peer);
    let damaged = |fault: CallerFault| move |error: &Error| *error == Error::Caller(fault.clone());
    let is_damaged = damaged(CallerFault::DamagedPending);
    canonical(data, PendingSecrets::decode, |pending| pending.encode().unwrap(), is_damaged);
    let is_damaged = damaged(CallerFault::DamagedValue("server setup"));
    canonical(data, ServerSetup::from_bytes, |setup| setup.to_bytes().expose().to_vec(), is_damaged);
    let is_damaged = damaged(CallerFault::DamagedValue("fleet key"));
    canonical(data, FleetKey::from_bytes, |key| key.to_bytes().expose().to_vec(), is_damaged);
    let is_of_wrong_length = |error: &Error| matches!(error, Error::Caller(CallerFault::AccountNameLength { .. }));
    canonical(data, |data| AccountName::new(data), |name| name.as_bytes().to_vec(), is_of_wrong_length);
    if let Ok(text) = core::str::from_utf8(data) {
        read(text);
    }
    if let Some((pin, mistakes)) = data.split_first_chunk() {
        misspell(VaultPin::from_bytes(pin), pin, mistakes);
    }
    profile(data);
    records::decode(data);
    formats::import(data);
}

/// Texts: what reads is written the same, in lower case.
fn read(text: &str) {
    id::<UserId>(text, "UserId");
    id::<KeyId>(text, "KeyId");
    id::<SessionId>(text, "SessionId");
    id::<CredentialId>(text, "CredentialId");
    id::<CounterId>(text, "CounterId");
    id::<ServerKey>(text, "ServerKey");
    // What stands between the groups of a pin is a reader's affair.
    let spelled: String = text.chars().filter(|c| !c.is_ascii_whitespace() && *c != '-').collect();
    written::<VaultPin>(&spelled.to_ascii_lowercase(), text, "vault pin");
}

fn id<T: FromStr<Err = Error> + fmt::Display>(text: &str, name: &'static str) {
    written::<T>(&text.to_ascii_lowercase(), text, name);
}

fn written<T: FromStr<Err = Error> + fmt::Display>(spelled: &str, text: &str, name: &'static str) {
    let is_expected = |error: &Error| *error == Error::Caller(CallerFault::DamagedValue(name));
    canonical(spelled.as_bytes(), |_| text.parse::<T>(), |value| value.to_string().into_bytes(), is_expected);
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

/// A key-stretching profile lies between floor and ceiling, in each of its three numbers.
fn profile(data: &[u8]) {
    let ([memory, passes, lanes, ..], _) = data.as_chunks::<4>() else { return };
    let wanted = [memory, passes, lanes].map(|number| u32::from_be_bytes(*number));
    let [memory, passes, lanes] = wanted;
    let numbers = |profile: KsfProfile| [profile.memory_kib(), profile.passes(), profile.lanes()];
    let (floor, ceiling) = (numbers(KsfProfile::FLOOR), numbers(KsfProfile::CEILING));
    match KsfProfile::new(memory, passes, lanes) {
        Ok(profile) => {
            assert_eq!(numbers(profile), wanted);
            assert!((0..3).all(|i| (floor[i]..=ceiling[i]).contains(&wanted[i])), "{profile} is taken");
        }
        Err(Error::Caller(CallerFault::KsfBelowFloor { .. })) => assert!((0..3).any(|i| wanted[i] < floor[i])),
        Err(Error::Caller(CallerFault::KsfAboveCeiling { .. })) => assert!((0..3).any(|i| wanted[i] > ceiling[i])),
        Err(error) => panic!("{error}"),
    }
}

/// What is decoded takes no more memory than its length explains. (serde sets at most 1 MiB aside for a list whose length is
/// only claimed, and no list here has more than one other in it.)
pub fn bounded<T>(data: &[u8], decode: impl FnOnce(&[u8]) -> T) -> T {
    const LISTS: u64 = 2 << 20;
    let mut decoded = None;
    let memory = measure(|| decoded = Some(decode(data)));
    let bound = LISTS + 16 * u64::try_from(data.len()).unwrap() + 4_096;
    assert!(memory.bytes_max <= bound, "{} bytes for {}", memory.bytes_max, data.len());
    decoded.unwrap()
}

pub fn canonical<T>(
    data: &[u8],
    decode: impl FnOnce(&[u8]) -> Result<T, Error>,
    encode: impl FnOnce(&T) -> Vec<u8>,
    is_expected: impl FnOnce(&Error) -> bool,
) {
    match bounded(data, decode) {
        Ok(value) => assert!(encode(&value) == data, "{} has two encodings", core::any::type_name::<T>()),
        Err(error) => assert!(is_expected(&error), "{}: {error}", core::any::type_name::<T>()),
    }
}
