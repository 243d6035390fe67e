//! Signatures with a retrieved key: the standards' vectors, other implementations, and the machine's `openssl` as judges.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;
mod tools;

use std::path::Path;

use k256::ecdsa::signature::hazmat::PrehashVerifier;
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use keystow::*;
use secp256k1::{Message, Secp256k1};
use sha2::{Digest, Sha256};
use tools::{ORDER, file, from_hex, kept, run};

/// Half of the group's order, rounded down: the greatest low S.
const HALF: &str = "7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0";

fn ecdsa_key(scalar: &[u8]) -> RetrievedSecret {
    kept(vec![PlainSecret::raw(Kind::Secp256k1, scalar).unwrap()]).remove(0)
}

fn messages() -> impl Iterator<Item = Vec<u8>> {
    (0..64u8).map(|i| vec![i; usize::from(i) * 3])
}

fn hash(message: &[u8]) -> [u8; 32] {
    Sha256::digest(message).into()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The vectors for RFC 6979 on secp256k1 that implementations share (Trezor's, Bitcoin's): scalar, message, `r ‖ s`.
const RFC_6979: [(&str, &str, &str); 3] = [
    (
        "0000000000000000000000000000000000000000000000000000000000000001",
        "Satoshi Nakamoto",
        "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8\
         2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5",
    ),
    (
        "0000000000000000000000000000000000000000000000000000000000000001",
        "All those moments will be lost in time, like tears in rain. Time to die...",
        "8600dbd41e348fe5c9465ab92d23e3db8b98b873beecd930736488696438cb6b\
         547fe64427496db33bf66019dacbf0039c04199abb0122918601db38a72cfc21",
    ),
    (
        "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140",
        "Satoshi Nakamoto",
        "fd567d121db66e382991534ada77a6bd3106f0a1098c231e47993447cd6af2d0\
         6b39cd0eb1bc8603e159ef5c20a5c8ad685a45b06ce9bebed3f153d10d93bed5",
    ),
];

#[test]
fn ecdsa_gives_the_signatures_of_rfc_6979() {
    for (scalar, message, expected) in RFC_6979 {
        let signature = ecdsa_key(&from_hex(scalar)).sign_ecdsa(message.as_bytes()).unwrap();
        assert_eq!(signature.to_bytes().to_vec(), from_hex(expected), "{message}");
    }
}

#[test]
fn ecdsa_is_deterministic_and_agrees_with_libsecp256k1() {
    let key = ecdsa_key(&[0x5a; 32]);
    let (library, scalar) = (Secp256k1::new(), secp256k1::SecretKey::from_byte_array([0x5a; 32]).unwrap());
    for message in messages() {
        let signature = key.sign_ecdsa(&message).unwrap();
        assert_eq!(key.sign_ecdsa(&message).unwrap(), signature);
        assert_eq!(key.sign_ecdsa_prehash(&hash(&message)).unwrap(), signature);
        let theirs = library.sign_ecdsa(Message::from_digest(hash(&message)), &scalar);
        assert_eq!(signature.to_bytes(), theirs.serialize_compact());
        assert_eq!(signature.to_der(), theirs.serialize_der().to_vec());
    }
}

#[test]
fn an_ecdsa_signature_has_a_low_s_and_recovers_its_signers_key_alone() {
    let key = ecdsa_key(&[0x17; 32]);
    let mut seen = [0; 4];
    for message in messages() {
        let signature = key.sign_ecdsa(&message).unwrap();
        assert!(signature.to_bytes()[32..] <= from_hex(HALF)[..]);
        let recover = |id: u8| {
            let parsed = Signature::from_slice(&signature.to_bytes()).unwrap();
            let id = RecoveryId::from_byte(id).unwrap();
            let recovered = VerifyingKey::recover_from_prehash(&hash(&message), &parsed, id);
            recovered.ok().map(|key| key.to_sec1_point(true).as_bytes().to_vec())
        };
        let public = key.public().unwrap().as_bytes().to_vec();
        assert_eq!(recover(signature.recovery_id()), Some(public.clone()));
        assert_ne!(recover(signature.recovery_id() ^ 1), Some(public));
        seen[usize::from(signature.recovery_id())] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0, "both parities of R occur, and are told apart: {seen:?}");
}

#[test]
fn the_greatest_and_the_least_hash_are_signed_too() {
    let key = ecdsa_key(&[0x5a; 32]);
    let public = VerifyingKey::from_sec1_bytes(key.public().unwrap().as_bytes()).unwrap();
    for hash in [[0; 32], [0xff; 32], from_hex(ORDER).try_into().unwrap()] {
        let signature = Signature::from_slice(&key.sign_ecdsa_prehash(&hash).unwrap().to_bytes()).unwrap();
        assert!(public.verify_prehash(&hash, &signature).is_ok());
    }
}

#[test]
fn openssl_verifies_an_ecdsa_signature_over_its_message_alone() {
    let key = ecdsa_key(&[0x5a; 32]);
    let public = file("ecdsa.pem", key.public().unwrap().to_spki_pem().unwrap());
    for (index, message) in messages().step_by(9).enumerate() {
        let signature = file(&format!("ecdsa-{index}.sig"), key.sign_ecdsa(&message).unwrap().to_der());
        let arguments = ["dgst", "-sha256", "-verify", path(&public), "-signature", path(&signature)];
        assert_eq!(run("openssl", &arguments, &message).stdout, b"Verified OK\n");
        let other = [&message[..], b"."].concat();
        assert_eq!(run("openssl", &arguments, &other).stdout, b"Verification failure\n");
    }
}

/// RFC 8032, section 7.1, tests 1 to 3: seed, message, signature.
const RFC_8032: [(&str, &str, &str); 3] = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
];

#[test]
fn ed25519_gives_the_signatures_of_rfc_8032() {
    let seeds = RFC_8032.map(|(seed, _, _)| PlainSecret::hex(Kind::Ed25519, seed).unwrap());
    for (key, (_, message, expected)) in kept(seeds.into()).iter().zip(RFC_8032) {
        let signature = key.sign_ed25519(&from_hex(message)).unwrap();
        assert_eq!(signature.to_vec(), from_hex(expected));
    }
}

#[test]
fn openssl_verifies_an_ed25519_signature_over_its_message_alone() {
    let key = kept(vec![PlainSecret::raw(Kind::Ed25519, [0xc3; 32]).unwrap()]).remove(0);
    let public = file("ed25519.pem", key.public().unwrap().to_spki_pem().unwrap());
    let signature = file("ed25519.sig", key.sign_ed25519(b"a message").unwrap());
    let verify = |message: &[u8]| {
        let message = file("ed25519.txt", message);
        let key = ["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", path(&public)];
        let arguments = [&key[..], &["-in", path(&message), "-sigfile", path(&signature)]].concat();
        String::from_utf8(run("openssl", &arguments, &[]).stdout).unwrap()
    };
    assert_eq!(verify(b"a message"), "Signature Verified Successfully\n");
    assert_eq!(verify(b"A message"), "Signature Verification Failure\n");
}

#[test]
fn a_secret_of_another_kind_signs_nothing() {
    let secrets = kept(vec![
        PlainSecret::raw(Kind::Secp256k1, [1; 32]).unwrap(),
        PlainSecret::raw(Kind::Ed25519, [1; 32]).unwrap(),
        PlainSecret::bytes([1; 32]).unwrap(),
    ]);
    for secret in &secrets {
        let wrong = Some(Error::from(CallerFault::WrongKind(secret.kind())));
        let unless = |kind| if secret.kind() == kind { None } else { wrong.clone() };
        assert_eq!(secret.sign_ecdsa(b"m").err(), unless(Kind::Secp256k1));
        assert_eq!(secret.sign_ecdsa_prehash(&[1; 32]).err(), unless(Kind::Secp256k1));
        assert_eq!(secret.sign_ed25519(b"m").err(), unless(Kind::Ed25519));
    }
}
