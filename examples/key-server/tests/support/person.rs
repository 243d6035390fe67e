//! A person at a device: runs the built `keystow` with a data folder, and looks at what it says.
#![allow(dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub const PASSWORD: &str = "correct horse battery staple";

/// A device of an account.
pub struct Device {
    pub server: String,
    certificate: PathBuf,
    account: String,
    pub password: String,
    pub data: tempfile::TempDir,
}

impl Device {
    pub fn new(server: String, certificate: PathBuf, account: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        Self { server, certificate, account: account.to_owned(), password: PASSWORD.to_owned(), data }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keystow"));
        command.env_clear();
        command.args(["--server", &self.server, "--account", &self.account, "--identity", "localhost"]);
        command.args(["--timeout", "15", "--insecure-test-profile"]);
        command.arg("--ca").arg(&self.certificate).arg("--data").arg(self.data.path());
        command.args(arguments).env("KEYSTOW_PASSWORD", &self.password);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command that has to end with this code.
    pub fn ends(&self, code: i32, arguments: &[&str]) -> Output {
        ended(code, self.command(arguments).output().unwrap(), arguments)
    }

    /// Runs a command that has to succeed, and gives what it prints.
    pub fn says(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.ends(0, arguments).stdout).unwrap()
    }

    /// The same with `--json`.
    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[&["--json"], arguments].concat())).unwrap()
    }

    /// The error that a command ends with.
    pub fn complains(&self, code: i32, arguments: &[&str]) -> String {
        String::from_utf8(self.ends(code, arguments).stderr).unwrap()
    }

    /// Runs a command with something on its standard input.
    pub fn says_to(&self, input: &[u8], arguments: &[&str]) -> String {
        let child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        let output = feed(child, input);
        String::from_utf8(ended(0, output, arguments).stdout).unwrap()
    }

    /// Makes a secret, and gives its key ID and public key.
    pub fn generate(&self, kind: &str) -> (String, Option<String>) {
        let made = self.json(&["generate", kind]);
        let secret = &made["secrets"][0];
        (secret["key_id"].as_str().unwrap().to_owned(), secret["public"].as_str().map(str::to_owned))
    }

    pub fn key_ids(&self) -> Vec<String> {
        let listed = self.json(&["list"]);
        assert_eq!(listed["verified"], true);
        let secrets = listed["secrets"].as_array().unwrap();
        secrets.iter().map(|secret| secret["key_id"].as_str().unwrap().to_owned()).collect()
    }

    /// All files under the data folder.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        walk(self.data.path(), &mut files);
        files
    }

    pub fn pending(&self) -> Vec<PathBuf> {
        let is_pending = |path: &PathBuf| path.parent().unwrap().ends_with("pending");
        self.files().into_iter().filter(|path| is_pending(path) && path.extension().is_none()).collect()
    }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, files) } else { files.push(path) }
    }
}

fn ended(code: i32, output: Output, arguments: &[&str]) -> Output {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?} said: {said}");
    output
}

fn feed(mut child: Child, input: &[u8]) -> Output {
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// A process that is killed when the test is done with it.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().ok();
    }
}

/// Waits for something that comes soon.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs openssl, if it is there.
pub fn openssl(arguments: &[&str], folder: &Path) -> Option<String> {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().ok()?;
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
