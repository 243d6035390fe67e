//! The real server, as a process of its own: on a free port, in a folder of the test's, killed when it is dropped.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a server has to start or to stop. This machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server.
pub struct TestServer {
    child: Child,
    folder: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
}

impl TestServer {
    /// Starts a server in `folder`, on a free port. Arguments and variables come on top of those that this needs; `--store`
    /// and `--data` are in the folder unless they are among the arguments.
    pub fn start(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = command(folder, arguments, variables).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let line = lines.recv_timeout(PATIENCE);
        let address = line.ok().and_then(|line| line.strip_prefix("listening on ")?.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the server didn't start: {}", fs::read_to_string(folder.join("log")).unwrap_or_default());
        };
        Self { child, folder: folder.to_owned(), address }
    }

    /// Starts a server that must refuse to start, and gives what it said.
    pub fn refuses(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let mut child = command(folder, arguments, variables).stdout(Stdio::null()).spawn().unwrap();
        let status = wait(&mut child);
        assert!(status.is_some_and(|status| !status.success()), "it ended with {status:?}");
        fs::read_to_string(folder.join("log")).unwrap()
    }

    /// The certificate that clients trust.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("data/certificate.pem")
    }

    /// What it has logged, since the folder's first start.
    pub fn log(&self) -> Vec<u8> {
        fs::read(self.folder.join("log")).unwrap()
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.pid())).unwrap();
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    }

    /// Whether it is still there.
    pub fn is_up(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        assert!(Command::new("kill").arg(self.pid().to_string()).status().unwrap().success());
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        wait(&mut self.child).expect("the server goes on")
    }

    /// Kills it, as a crash would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keystow-server"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KEYSTOW_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).args(["--listen", "127.0.0.1:0"]).args(arguments).envs(variables.iter().copied());
    if !arguments.contains(&"--data") {
        command.args(["--data", "data"]);
    }
    if !arguments.contains(&"--store") {
        command.args(["--store", "data/store.redb"]);
    }
    command.stdin(Stdio::null()).stderr(log);
    command
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// Waits until something is so, and gives up after a while.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
