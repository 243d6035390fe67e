//! What the tests of key formats and signatures share: secrets that went through a server and back, and the machine's
//! `openssl`.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use keystow::{PlainSecret, RetrievedSecret};

use crate::support::world;

/// The group's order.
pub const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

/// These secrets, imported, stored and retrieved.
pub fn kept(secrets: Vec<PlainSecret>) -> Vec<RetrievedSecret> {
    let mut world = world(90);
    let (_, mut session) = world.person("ada");
    let exchange = session.import(secrets, &mut world.rng).unwrap();
    let pending = world.run(exchange).unwrap().unwrap();
    let stored = world.store(&mut session, &pending).unwrap().unwrap();
    let key_ids: Vec<_> = stored.iter().map(|secret| secret.key_id).collect();
    world.retrieve(&mut session, &key_ids).unwrap().unwrap()
}

/// Runs a program with `input` on its standard input.
pub fn run(program: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// What `openssl` writes; it must succeed.
pub fn openssl(arguments: &[&str], input: impl AsRef<[u8]>) -> Vec<u8> {
    let output = run("openssl", arguments, input.as_ref());
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The same, for what is text.
pub fn openssl_text(arguments: &[&str], input: impl AsRef<[u8]>) -> String {
    String::from_utf8(openssl(arguments, input)).unwrap()
}

/// A file of this test program's, for what `openssl` reads from nowhere else.
pub fn file(name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, contents).unwrap();
    path
}

pub fn from_hex(text: &str) -> Vec<u8> {
    base16ct::mixed::decode_vec(text).unwrap()
}
