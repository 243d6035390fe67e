//! Import and export: every format there and back, and the machine's `openssl` as the judge of both.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;
mod tools;

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{EncodePrivateKey, KeypairBytes, PublicKeyBytes};
use k256::elliptic_curve::sec1::ToSec1Point;
use keystow::*;
use tools::{ORDER, from_hex, kept, openssl, openssl_text, run};

const ED25519: [&str; 3] = ["genpkey", "-algorithm", "ed25519"];
const PKCS8: [&str; 5] = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"];
const SEC1: [&str; 5] = ["ecparam", "-name", "secp256k1", "-genkey", "-noout"];
const TO_PEM: [&str; 1] = ["pkey"];
/// `pkey` and `genpkey` write SEC 1 when asked for an elliptic-curve key in DER.
const TO_DER: [&str; 5] = ["pkcs8", "-topk8", "-nocrypt", "-outform", "DER"];
const PUBLIC: [&str; 2] = ["pkey", "-pubout"];

const BAD_RAW: CallerFault = CallerFault::ImportFormat("raw bytes of a secret of this kind");
const BAD_HEX: CallerFault = CallerFault::ImportFormat("hexadecimal");
const BAD_PKCS8_DER: CallerFault = CallerFault::ImportFormat("a PKCS#8 key of this kind in DER");
const BAD_PKCS8_PEM: CallerFault = CallerFault::ImportFormat("a PKCS#8 key of this kind in PEM");
const BAD_SEC1_DER: CallerFault = CallerFault::ImportFormat("a SEC 1 key on secp256k1 in DER");
const BAD_SEC1_PEM: CallerFault = CallerFault::ImportFormat("a SEC 1 key on secp256k1 in PEM");

fn refused(import: Result<PlainSecret, Error>) -> Option<Error> {
    import.err()
}

#[track_caller]
fn expect_refusals<const N: usize>(fault: &CallerFault, imports: [(&str, Result<PlainSecret, Error>); N]) {
    for (case, import) in imports {
        assert_eq!(refused(import), Some(fault.clone().into()), "{case}");
    }
}

/// A scalar and a seed, which went through a server.
fn both_keys() -> (RetrievedSecret, RetrievedSecret) {
    let scalar = PlainSecret::raw(Kind::Secp256k1, [0x5a; 32]).unwrap();
    let seed = PlainSecret::raw(Kind::Ed25519, [0xc3; 32]).unwrap();
    let [scalar, seed] = kept(vec![scalar, seed]).try_into().unwrap();
    (scalar, seed)
}

/// The scalar in an `ECPrivateKey` of OpenSSL's: version, then 32 bytes.
fn scalar_of(sec1_der: &[u8]) -> &[u8] {
    assert_eq!((sec1_der[0], &sec1_der[2..7]), (0x30, &[2, 1, 1, 4, 32][..]));
    &sec1_der[7..39]
}

/// An `ECPrivateKey` of nothing but version and private key: no curve.
fn no_curve(private: &[u8]) -> Vec<u8> {
    let len = u8::try_from(private.len()).unwrap();
    [&[0x30, len + 5, 2, 1, 1, 4, len], private].concat()
}

/// The same, of secp256k1.
fn bare_sec1(private: &[u8]) -> Vec<u8> {
    let mut der = [&no_curve(private), &from_hex("a00706052b8104000a")[..]].concat();
    der[1] += 9;
    der
}

/// The same in PKCS#8, for secp256k1: RFC 5480's algorithm identifier.
fn bare_pkcs8(scalar: &[u8]) -> Vec<u8> {
    let inside = no_curve(scalar);
    let len = u8::try_from(inside.len()).unwrap();
    let start = from_hex("020100301006072a8648ce3d020106052b8104000a04");
    [&[0x30, len + 23], &start[..], &[len], &inside].concat()
}

/// A public point of another key in the place of this one's: it is the last field.
fn with_foreign_point(der: &[u8]) -> Vec<u8> {
    let other = openssl(&[&SEC1[..], &["-outform", "DER"]].concat(), []);
    [&der[..der.len() - 65], &other[other.len() - 65..]].concat()
}

#[test]
fn every_format_goes_there_and_back_with_the_same_bytes() {
    let (scalar, seed) = both_keys();
    assert_eq!((scalar.expose(), seed.expose()), (&[0x5a; 32][..], &[0xc3; 32][..]));
    let sec1_der = openssl(&["ec", "-outform", "DER"], &*scalar.to_sec1_pem().unwrap());
    let again = kept(vec![
        PlainSecret::hex(Kind::Secp256k1, &"5a".repeat(32)).unwrap(),
        PlainSecret::hex(Kind::Secp256k1, &"5A".repeat(32)).unwrap(),
        PlainSecret::pkcs8_der(Kind::Secp256k1, scalar.to_pkcs8_der().unwrap().expose()).unwrap(),
        PlainSecret::pkcs8_pem(Kind::Secp256k1, &scalar.to_pkcs8_pem().unwrap()).unwrap(),
        PlainSecret::sec1_pem(&scalar.to_sec1_pem().unwrap()).unwrap(),
        PlainSecret::sec1_der(&sec1_der).unwrap(),
        PlainSecret::hex(Kind::Ed25519, &"c3".repeat(32)).unwrap(),
        PlainSecret::hex(Kind::Ed25519, &"C3".repeat(32)).unwrap(),
        PlainSecret::pkcs8_der(Kind::Ed25519, seed.to_pkcs8_der().unwrap().expose()).unwrap(),
        PlainSecret::pkcs8_pem(Kind::Ed25519, &seed.to_pkcs8_pem().unwrap()).unwrap(),
    ]);
    for (index, secret) in again.iter().enumerate() {
        let original = if index < 6 { &scalar } else { &seed };
        let all = |secret: &RetrievedSecret| (secret.kind(), secret.origin(), secret.public().copied());
        assert_eq!((secret.expose(), all(secret)), (original.expose(), all(original)), "{index}");
        assert_eq!(secret.origin(), Origin::Imported);
    }
}

#[test]
fn arbitrary_bytes_come_back_as_they_are_from_1_to_65_536() {
    let most: Vec<u8> = (0..65_536u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
    let hex: String = most.iter().map(|byte| format!("{byte:02x}")).collect();
    let secrets = kept(vec![
        PlainSecret::bytes([0]).unwrap(),
        PlainSecret::bytes(&most).unwrap(),
        PlainSecret::raw(Kind::Bytes(65_536), &most).unwrap(),
        PlainSecret::hex(Kind::Bytes(65_536), &hex).unwrap(),
    ]);
    let got: Vec<_> = secrets.iter().map(|secret| (secret.kind(), secret.expose())).collect();
    let all = (Kind::Bytes(65_536), &most[..]);
    assert_eq!(got, [(Kind::Bytes(1), &[0][..]), all, all, all]);
}

#[test]
fn openssl_loads_every_export_and_derives_the_same_public_key() {
    let (scalar, seed) = both_keys();
    for secret in [&scalar, &seed] {
        let spki = secret.public().unwrap().to_spki_pem().unwrap();
        let (der, pem) = (secret.to_pkcs8_der().unwrap(), secret.to_pkcs8_pem().unwrap());
        assert_eq!(openssl_text(&PUBLIC, &*pem), spki);
        assert_eq!(openssl_text(&[&PUBLIC[..], &["-inform", "DER"]].concat(), der.expose()), spki);
        assert_eq!(openssl_text(&["pkey", "-pubin"], &spki), spki);
        // It writes the same bytes itself.
        assert_eq!(openssl(&TO_DER, &*pem), der.expose());
        assert_eq!(openssl_text(&TO_PEM, &*pem), *pem);
    }
    let sec1 = scalar.to_sec1_pem().unwrap();
    let spki = scalar.public().unwrap().to_spki_pem().unwrap();
    assert_eq!(openssl_text(&["ec", "-pubout"], &*sec1), spki);
    assert_eq!(openssl_text(&PUBLIC, &*sec1), spki);
    assert_eq!(scalar_of(&openssl(&["ec", "-outform", "DER"], &*sec1)), scalar.expose());
}

#[test]
fn openssls_own_keys_come_back_identical() {
    let ed25519 = openssl_text(&ED25519, []);
    let ed25519_der = openssl(&TO_DER, &ed25519);
    let pkcs8 = openssl_text(&PKCS8, []);
    let pkcs8_der = openssl(&TO_DER, &pkcs8);
    let sec1 = openssl_text(&SEC1, []);
    let sec1_der = openssl(&["ec", "-outform", "DER"], &sec1);
    let secrets = kept(vec![
        PlainSecret::pkcs8_pem(Kind::Ed25519, &ed25519).unwrap(),
        PlainSecret::pkcs8_der(Kind::Ed25519, &ed25519_der).unwrap(),
        PlainSecret::pkcs8_pem(Kind::Secp256k1, &pkcs8).unwrap(),
        PlainSecret::pkcs8_der(Kind::Secp256k1, &pkcs8_der).unwrap(),
        PlainSecret::sec1_pem(&sec1).unwrap(),
        PlainSecret::sec1_der(&sec1_der).unwrap(),
    ]);
    let seed = &ed25519_der[16..];
    let scalar = openssl(&["ec", "-outform", "DER"], &pkcs8);
    let expected = [seed, seed, scalar_of(&scalar), scalar_of(&scalar), scalar_of(&sec1_der), scalar_of(&sec1_der)];
    let keys = [&ed25519, &ed25519, &pkcs8, &pkcs8, &sec1, &sec1];
    for ((secret, bytes), key) in secrets.iter().zip(expected).zip(keys) {
        assert_eq!(secret.expose(), bytes);
        assert_eq!(secret.public().unwrap().to_spki_pem().unwrap(), openssl_text(&PUBLIC, key));
        assert_eq!(*secret.to_pkcs8_pem().unwrap(), openssl_text(&TO_PEM, key), "{}", secret.kind());
    }
    assert_eq!(secrets[0].to_pkcs8_der().unwrap().expose(), ed25519_der);
}

#[test]
fn an_openssh_line_is_read_by_ssh_keygen_and_holds_the_key() {
    let (scalar, seed) = both_keys();
    let public = seed.public().unwrap();
    let line = public.to_openssh().unwrap();
    let blob = [b"\0\0\0\x0bssh-ed25519\0\0\0\x20", public.as_bytes()].concat();
    let base64 = line.strip_prefix("ssh-ed25519 ").unwrap();
    assert_eq!(openssl(&["base64", "-d", "-A"], base64), blob);
    let print = openssl_text(&["base64", "-A"], openssl(&["dgst", "-sha256", "-binary"], &blob));
    let seen = run("ssh-keygen", &["-l", "-f", "-"], line.as_bytes()).stdout;
    let expected = format!("256 SHA256:{} no comment (ED25519)\n", print.trim_end_matches('='));
    assert_eq!(String::from_utf8(seen).unwrap(), expected);

    let refused = scalar.public().unwrap().to_openssh();
    assert_eq!(refused, Err(CallerFault::WrongKind(Kind::Secp256k1).into()));
}

#[test]
fn what_a_kind_has_no_format_for_is_refused_by_kind() {
    let bytes = kept(vec![PlainSecret::bytes([1; 32]).unwrap()]).remove(0);
    let wrong = |kind| Some(Error::from(CallerFault::WrongKind(kind)));
    assert_eq!(bytes.to_pkcs8_der().err(), wrong(Kind::Bytes(32)));
    assert_eq!(bytes.to_pkcs8_pem().err(), wrong(Kind::Bytes(32)));
    assert_eq!(bytes.to_sec1_pem().err(), wrong(Kind::Bytes(32)));
    let (scalar, seed) = both_keys();
    assert_eq!(seed.to_sec1_pem().err(), wrong(Kind::Ed25519));
    let der = scalar.to_pkcs8_der().unwrap();
    assert_eq!(refused(PlainSecret::pkcs8_der(Kind::Bytes(32), der.expose())), wrong(Kind::Bytes(32)));
    let pem = scalar.to_pkcs8_pem().unwrap();
    assert_eq!(refused(PlainSecret::pkcs8_pem(Kind::Bytes(32), &pem)), wrong(Kind::Bytes(32)));
}

#[test]
fn a_scalar_has_1_to_the_order_less_one_in_every_format() {
    let mut below = from_hex(ORDER);
    below[31] -= 1;
    let mut one = vec![0; 32];
    one[31] = 1;
    for good in [&one, &below] {
        assert_eq!(refused(PlainSecret::raw(Kind::Secp256k1, good)), None);
        assert_eq!(refused(PlainSecret::sec1_der(&bare_sec1(good))), None);
        assert_eq!(refused(PlainSecret::pkcs8_der(Kind::Secp256k1, &bare_pkcs8(good))), None);
    }
    let mut above = from_hex(ORDER);
    above[31] += 1;
    for (case, bad) in [("0", vec![0; 32]), ("n", from_hex(ORDER)), ("n + 1", above), ("2^256 - 1", vec![255; 32])] {
        let hex: String = bad.iter().map(|byte| format!("{byte:02x}")).collect();
        expect_refusals(
            &BAD_RAW,
            [(case, PlainSecret::raw(Kind::Secp256k1, &bad)), (case, PlainSecret::hex(Kind::Secp256k1, &hex))],
        );
        expect_refusals(&BAD_SEC1_DER, [(case, PlainSecret::sec1_der(&bare_sec1(&bad)))]);
        expect_refusals(&BAD_PKCS8_DER, [(case, PlainSecret::pkcs8_der(Kind::Secp256k1, &bare_pkcs8(&bad)))]);
    }
}

#[test]
fn wrong_lengths_are_refused() {
    expect_refusals(
        &BAD_RAW,
        [
            ("31", PlainSecret::raw(Kind::Secp256k1, [1; 31])),
            ("33", PlainSecret::raw(Kind::Secp256k1, [1; 33])),
            ("none", PlainSecret::raw(Kind::Ed25519, [])),
            ("31", PlainSecret::raw(Kind::Ed25519, [1; 31])),
            ("64", PlainSecret::raw(Kind::Ed25519, [1; 64])),
            ("4 of 3", PlainSecret::raw(Kind::Bytes(3), [1; 4])),
            ("2 of 3", PlainSecret::hex(Kind::Bytes(3), "0101")),
            ("31", PlainSecret::hex(Kind::Secp256k1, &"01".repeat(31))),
        ],
    );
    expect_refusals(
        &BAD_SEC1_DER,
        [
            ("33", PlainSecret::sec1_der(&bare_sec1(&[1; 33]))),
            ("31", PlainSecret::sec1_der(&bare_sec1(&[1; 31]))),
            ("24", PlainSecret::sec1_der(&bare_sec1(&[1; 24]))),
            ("16", PlainSecret::sec1_der(&bare_sec1(&[1; 16]))),
            ("none", PlainSecret::sec1_der(&bare_sec1(&[]))),
        ],
    );
    let pkcs8 = |scalar: &[u8]| PlainSecret::pkcs8_der(Kind::Secp256k1, &bare_pkcs8(scalar));
    expect_refusals(&BAD_PKCS8_DER, [("33", pkcs8(&[1; 33])), ("31", pkcs8(&[1; 31])), ("24", pkcs8(&[1; 24]))]);
    assert!(pkcs8(&[1; 32]).is_ok() && PlainSecret::sec1_der(&bare_sec1(&[1; 32])).is_ok());
    for (len, bytes) in [(0, vec![]), (65_537, vec![1; 65_537])] {
        let fault = CallerFault::SecretLength { len, max: 65_536 };
        expect_refusals(
            &fault,
            [("bytes", PlainSecret::bytes(&bytes)), ("raw", PlainSecret::raw(Kind::Bytes(len), &bytes))],
        );
    }
    assert_eq!(
        refused(PlainSecret::hex(Kind::Bytes(0), "")),
        Some(CallerFault::SecretLength { len: 0, max: 65_536 }.into())
    );
}

#[test]
fn what_is_not_hexadecimal_is_refused() {
    let hex = |text: &str| PlainSecret::hex(Kind::Bytes(32), text);
    expect_refusals(
        &BAD_HEX,
        [
            ("odd", hex(&"0".repeat(63))),
            ("prefix", hex(&format!("0x{}", "00".repeat(32)))),
            ("letter", hex(&format!("{}0g", "00".repeat(31)))),
            ("space", hex(&format!(" {}", "00".repeat(32)))),
            ("line end", hex(&format!("{}\n", "00".repeat(32)))),
            ("wider digits", hex(&"\u{ff10}".repeat(32))),
            ("too long", PlainSecret::hex(Kind::Bytes(65_536), &"0".repeat(131_074))),
        ],
    );
}

#[test]
fn der_of_another_curve_format_or_length_is_refused() {
    let ed25519 = openssl(&TO_DER, openssl(&ED25519, []));
    let x25519 = openssl(&TO_DER, openssl(&["genpkey", "-algorithm", "x25519"], []));
    let pkcs8 = openssl(&TO_DER, openssl(&PKCS8, []));
    let sec1 = openssl(&[&SEC1[..], &["-outform", "DER"]].concat(), []);
    let p256_sec1 = openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-outform", "DER"], []);
    let p256 = openssl(&[&TO_DER[..], &["-inform", "DER"]].concat(), &p256_sec1);
    let hide = ["pkcs8", "-topk8", "-inform", "DER", "-outform", "DER", "-v2", "aes256", "-passout", "pass:x"];
    let hidden = openssl(&hide, &pkcs8);
    let with = |der: &[u8], byte: u8| [der, &[byte]].concat();
    let overlong = [&[0x30, 0x81], &sec1[1..]].concat();
    let secp = |der: &[u8]| PlainSecret::pkcs8_der(Kind::Secp256k1, der);
    let ed = |der: &[u8]| PlainSecret::pkcs8_der(Kind::Ed25519, der);
    assert!(secp(&pkcs8).is_ok() && ed(&ed25519).is_ok() && PlainSecret::sec1_der(&sec1).is_ok());
    expect_refusals(
        &BAD_PKCS8_DER,
        [
            ("Ed25519 as secp256k1", secp(&ed25519)),
            ("secp256k1 as Ed25519", ed(&pkcs8)),
            ("X25519 as Ed25519", ed(&x25519)),
            ("P-256", secp(&p256)),
            ("SEC 1", secp(&sec1)),
            ("encrypted", secp(&hidden)),
            ("trailing byte", secp(&with(&pkcs8, 0))),
            ("trailing byte, Ed25519", ed(&with(&ed25519, 0))),
            ("cut short", secp(&pkcs8[..pkcs8.len() - 1])),
            ("cut short, Ed25519", ed(&ed25519[..ed25519.len() - 1])),
            ("another point", secp(&with_foreign_point(&pkcs8))),
            ("nothing", secp(&[])),
            ("garbage", ed(&[0xff; 48])),
        ],
    );
    expect_refusals(
        &BAD_SEC1_DER,
        [
            ("P-256", PlainSecret::sec1_der(&p256_sec1)),
            ("PKCS#8", PlainSecret::sec1_der(&pkcs8)),
            ("trailing byte", PlainSecret::sec1_der(&with(&sec1, 0))),
            ("cut short", PlainSecret::sec1_der(&sec1[..sec1.len() - 1])),
            ("overlong length", PlainSecret::sec1_der(&overlong)),
            ("another point", PlainSecret::sec1_der(&with_foreign_point(&sec1))),
            ("no curve", PlainSecret::sec1_der(&no_curve(&[1; 32]))),
            ("nothing", PlainSecret::sec1_der(&[])),
            ("garbage", PlainSecret::sec1_der(&[0xff; 48])),
        ],
    );
}

#[test]
fn pem_of_another_label_two_blocks_or_with_more_behind_is_refused() {
    let ed25519 = openssl_text(&ED25519, []);
    let pkcs8 = openssl_text(&PKCS8, []);
    let sec1 = openssl_text(&["ec"], &pkcs8);
    let p256 = openssl_text(&["ecparam", "-name", "prime256v1", "-genkey", "-noout"], []);
    let public = openssl_text(&PUBLIC, &pkcs8);
    let hidden = openssl_text(&["pkcs8", "-topk8", "-v2", "aes256", "-passout", "pass:x"], &pkcs8);
    let secp = |pem: &str| PlainSecret::pkcs8_pem(Kind::Secp256k1, pem);
    let ed = |pem: &str| PlainSecret::pkcs8_pem(Kind::Ed25519, pem);
    assert!(secp(&pkcs8).is_ok() && ed(&ed25519).is_ok() && PlainSecret::sec1_pem(&sec1).is_ok());
    let relabelled = |pem: &str, from: &str, to: &str| pem.replace(from, to);
    expect_refusals(
        &BAD_PKCS8_PEM,
        [
            ("Ed25519 as secp256k1", secp(&ed25519)),
            ("secp256k1 as Ed25519", ed(&pkcs8)),
            ("P-256", secp(&openssl_text(&TO_PEM, &p256))),
            ("SEC 1", secp(&sec1)),
            ("public key", secp(&public)),
            ("encrypted", secp(&hidden)),
            ("encrypted, relabelled", secp(&relabelled(&hidden, "ENCRYPTED PRIVATE", "PRIVATE"))),
            ("wrong label", secp(&relabelled(&pkcs8, "PRIVATE KEY", "EC PRIVATE KEY"))),
            ("two blocks", secp(&[&*pkcs8, &pkcs8].concat())),
            ("two kinds of block", ed(&[&*ed25519, &pkcs8].concat())),
            ("text behind", secp(&[&pkcs8, "more\n"].concat())),
            ("DER in hexadecimal", secp("3041020100")),
            ("nothing", ed("")),
        ],
    );
    expect_refusals(
        &BAD_SEC1_PEM,
        [
            ("PKCS#8", PlainSecret::sec1_pem(&pkcs8)),
            ("PKCS#8, relabelled", PlainSecret::sec1_pem(&relabelled(&pkcs8, "PRIVATE KEY", "EC PRIVATE KEY"))),
            ("wrong label", PlainSecret::sec1_pem(&relabelled(&sec1, "EC PRIVATE KEY", "PRIVATE KEY"))),
            ("P-256", PlainSecret::sec1_pem(&p256)),
            ("two blocks", PlainSecret::sec1_pem(&[&*sec1, &sec1].concat())),
            ("text behind", PlainSecret::sec1_pem(&[&sec1, "more\n"].concat())),
            ("nothing", PlainSecret::sec1_pem("")),
        ],
    );
}

/// RFC 7468 lets a reader take other lengths than its 64; tools that put a key on one line are common.
#[test]
fn pem_in_lines_of_another_length_or_with_text_before_it_is_taken() {
    let sec1 = openssl_text(&["ec"], openssl(&PKCS8, []));
    let lines: Vec<&str> = sec1.lines().collect();
    let (body, key) = (lines[1..lines.len() - 1].concat(), PlainSecret::sec1_pem(&sec1).unwrap());
    let in_lines = |len: usize| {
        let wrapped: Vec<&str> = body.as_bytes().chunks(len).map(|line| std::str::from_utf8(line).unwrap()).collect();
        [lines[0], &wrapped.join("\n"), lines[lines.len() - 1], ""].join("\n")
    };
    assert_eq!(in_lines(64), sec1);
    let public = |key: PlainSecret| kept(vec![key])[0].public().copied();
    let expected = public(key);
    for pem in [in_lines(body.len()), in_lines(76), ["a word before\n", &sec1].concat()] {
        assert_eq!(public(PlainSecret::sec1_pem(&pem).unwrap()), expected, "{pem}");
    }
}

/// What others may take for a key: k256 decompresses a tag of 5, ed25519-dalek takes y = p + 3 for y = 3, and the identity.
#[test]
fn bytes_that_are_no_valid_public_key_have_no_spki() {
    let mut compact = [0; 33];
    let key = k256::SecretKey::from_slice(&[1; 32]).unwrap().public_key();
    compact.copy_from_slice(key.to_sec1_point(true).as_bytes());
    assert!(PublicComponent::Secp256k1(compact).to_spki_pem().is_ok());
    compact[0] = 5;
    let (mut again, mut identity) = ([0xff; 32], [0; 32]);
    (again[0], again[31], identity[0]) = (0xf0, 0x7f, 1);
    let mut three = [0; 32];
    three[0] = 3;
    assert!(PublicComponent::Ed25519(three).to_spki_pem().is_ok());
    for public in [
        PublicComponent::Secp256k1(compact),
        PublicComponent::Secp256k1([0; 33]),
        PublicComponent::Ed25519(again),
        PublicComponent::Ed25519(identity),
    ] {
        assert_eq!(public.to_spki_pem(), Err(PeerFault::InvalidElement.into()), "{public:?}");
    }
}

/// Version 2 of PKCS#8 (RFC 5958): the public key behind the private one.
#[test]
fn a_secp256k1_key_of_version_2_is_taken_only_with_its_own_public_key() {
    let point = |byte: u8| {
        let key = k256::SecretKey::from_slice(&[byte; 32]).unwrap();
        key.public_key().to_sec1_point(true).as_bytes().to_vec()
    };
    let version_2 = |public: &[u8]| {
        let mut der = bare_pkcs8(&[1; 32]);
        (der[1], der[4]) = (der[1] + 36, 1);
        let bits = u8::try_from(public.len() + 1).unwrap();
        PlainSecret::pkcs8_der(Kind::Secp256k1, &[&der, &[0x81, bits, 0][..], public].concat())
    };
    assert!(version_2(&point(1)).is_ok());
    assert_eq!(refused(version_2(&point(2))), Some(BAD_PKCS8_DER.into()));
    assert_eq!(refused(version_2(&[5; 33])), Some(BAD_PKCS8_DER.into()));
}

#[test]
fn an_ed25519_key_of_version_2_is_taken_only_with_its_own_public_key() {
    let secret_key = [0x42; 32];
    let own = SigningKey::from_bytes(&secret_key).verifying_key();
    let foreign = SigningKey::from_bytes(&[0x43; 32]).verifying_key();
    let version_2 = |public: ed25519_dalek::VerifyingKey| {
        let public_key = Some(PublicKeyBytes(public.to_bytes()));
        let der = KeypairBytes { secret_key, public_key }.to_pkcs8_der().unwrap();
        assert_eq!(der.as_bytes()[4], 1, "the number of version 2");
        PlainSecret::pkcs8_der(Kind::Ed25519, der.as_bytes())
    };
    assert_eq!(refused(version_2(foreign)), Some(BAD_PKCS8_DER.into()));
    let kept = kept(vec![version_2(own).unwrap()]);
    assert_eq!((kept[0].expose(), kept[0].public().unwrap().as_bytes()), (&secret_key[..], &own.to_bytes()[..]));
}
