//! The example, run as a person runs it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn quickstart(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline", "--example", "quickstart", "--"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn it_shows_the_main_job_from_registration_to_a_refused_wrong_password() {
    let output = quickstart(&["--account", "Grace", "--kind", "bytes", "--length", "100"], "a long password\n");
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for line in [
        "1. Register Grace",
        "client -> server  RegistrationRequest ",
        "client -> server  LoginRequest (KE1) ",
        "client <- server  Frame 1 welcome ",
        "client -> server  Frame 2 heads ",
        "client <- server  Frame 3 generate ",
        "client -> server  Frame 4 store ",
        "pin of the vault, to be kept on the device: kspin1",
        "the secret is back: 100 bytes",
        "neither the secret nor the password stands in any of it",
        "attempt counter before: 0",
        "refused: the peer: the login failed",
        "attempt counter after:  1",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    assert!(!text.contains("a long password"));
}

#[test]
fn the_tour_goes_through_everything_and_leaves_nothing_behind() {
    let output = quickstart(&["tour", "--kind", "bytes"], "a long password\n");
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for line in [
        " bytes(32) Generated -",
        " ed25519 Imported 19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1",
        "the second device trusts the server on FirstUse",
        "and has caught up: true",
        "refused: the peer: the vault was put back to epoch 3; epoch 4 is known",
        "logged in, on FirstUse, to the vault of epoch 3",
        "PKCS#8 PEM, the same as was imported: true",
        "was deleted before",
        "refused: not found",
        "refused: the session is over; log in again",
        "ChangePassword, done",
        "in all, 300s if idle",
        "accounts left in the store: 0",
        "secrets left in the store:  0",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    let (_, pin) = text.split_once("its pin, read aloud: ").unwrap();
    let pin: keystow::VaultPin = pin.lines().next().unwrap().parse().unwrap();
    assert_eq!(pin.epoch(), 3);
}

/// `openssl` reads the public key, and writes the same.
#[test]
fn openssl_reads_the_public_component() {
    for kind in ["secp256k1", "ed25519"] {
        let text = stdout(&quickstart(&["--kind", kind], "password\n"));
        let start = text.find("-----BEGIN").expect("a PEM block");
        let end = text.find("-----END PUBLIC KEY-----").expect("its end") + "-----END PUBLIC KEY-----\n".len();
        let pem = &text.as_bytes()[start..end];
        let mut openssl = Command::new("openssl")
            .args(["pkey", "-pubin", "-pubout"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("openssl is on the machine");
        openssl.stdin.take().unwrap().write_all(pem).unwrap();
        assert_eq!(openssl.wait_with_output().unwrap().stdout, pem, "{kind}");
    }
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    let help = quickstart(&["--help"], "");
    assert_eq!((help.status.code(), stdout(&help).starts_with("keystow quickstart")), (Some(0), true));
    for (arguments, problem) in [
        (&["--kind", "rsa"][..], "--kind rsa: not one of bytes, secp256k1, ed25519"),
        (&["--kind", "ed25519", "--length", "5"], "--length goes with --kind bytes"),
        (&["--kind", "bytes", "--length", "1025"], "a secret of this kind has 1 to 1024 bytes, not 1025"),
        (&["--account", ""], "an account name has 1 to 255 bytes, not 0"),
        (&["--what"], "invalid option '--what'"),
    ] {
        let output = quickstart(arguments, "password\n");
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(problem), "{text}");
    }
    let empty = quickstart(&[], "\n");
    assert_eq!(empty.status.code(), Some(1));
    assert!(String::from_utf8(empty.stderr).unwrap().contains("a password has 1 to 4096 bytes, not 0"));
}
