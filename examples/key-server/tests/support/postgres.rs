//! A PostgreSQL of the test's own: in a temporary folder, on a free loopback port, stopped when it is dropped. It refuses to
//! run as root, so root's tests run it as the user `postgres`.
//!
//! Binaries are looked for in `/usr/lib/postgresql/*/bin` and in `PATH`. Without them a test fails, unless
//! `KEYSTOW_WITHOUT_POSTGRES` is set: then [`Postgres::start`] gives nothing, and the test leaves it out.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// A database cluster, running or stopped.
pub struct Postgres {
    folder: TempDir,
    binaries: PathBuf,
    user: Option<(u32, u32)>,
    port: u16,
    server: Option<Child>,
}

impl Postgres {
    /// Makes a new cluster and starts it.
    pub fn start() -> Option<Self> {
        let Some(binaries) = binaries() else {
            assert!(std::env::var_os("KEYSTOW_WITHOUT_POSTGRES").is_some(), "no PostgreSQL binaries were found");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("keystow-postgres").tempdir().unwrap();
        // Who owns our own folder is who we are.
        let user = (fs::metadata(folder.path()).unwrap().uid() == 0).then(postgres_user);
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        let mut postgres = Self { folder, binaries, user, port: 0, server: None };
        let made = postgres
            .command("initdb")
            .args(["--username=keystow", "--auth=trust", "--no-sync", "--encoding=UTF8", "--no-locale", "-D"])
            .arg(postgres.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        // Somebody else may take the port between the look and the start.
        let started = (0..5).any(|_| {
            postgres.port = free_port();
            postgres.try_run()
        });
        assert!(started, "PostgreSQL doesn't start: {}", postgres.log());
        Some(postgres)
    }

    /// What `Store::open` takes.
    pub fn url(&self) -> String {
        format!("postgres://keystow@127.0.0.1:{}/postgres", self.port)
    }

    /// Stops it as a crash does: every connection breaks, nothing is written any more, the log is replayed at the next start.
    pub fn crash(&mut self) {
        self.end("QUIT");
    }

    /// Stops it in good order: connections are closed, what is open is rolled back.
    pub fn stop(&mut self) {
        self.end("INT");
    }

    /// Starts it again, on the same port, with what it had.
    pub fn restart(&mut self) {
        self.end("INT");
        let deadline = Instant::now() + PATIENCE;
        while !self.try_run() {
            assert!(Instant::now() < deadline, "PostgreSQL doesn't start again: {}", self.log());
            sleep(Duration::from_millis(100));
        }
    }

    /// Runs SQL as the superuser, and gives what it prints, unaligned.
    pub fn psql(&self, sql: &str) -> String {
        let done = self
            .command("psql")
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.url(), "-c", sql])
            .output()
            .unwrap();
        assert!(done.status.success(), "psql: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_string()
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        command.current_dir(self.folder.path()).env("LC_ALL", "C").stdin(Stdio::null());
        for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(variable);
        }
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Starts the server. False if it ends before it takes connections.
    fn try_run(&mut self) -> bool {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let port = self.port.to_string();
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &port, "-k", ""]).args(["-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "deadlock_timeout=100ms"]);
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let child = self.server.insert(child);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if child.try_wait().unwrap().is_some() {
                self.server = None;
                return false;
            }
            let ready = Command::new(self.binaries.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &port])
                .stdin(Stdio::null())
                .status();
            if ready.is_ok_and(|status| status.success()) {
                return true;
            }
            sleep(Duration::from_millis(50));
        }
        self.end("QUIT");
        false
    }

    /// Sends the server a signal and waits for its end.
    fn end(&mut self, signal: &str) {
        let Some(mut child) = self.server.take() else { return };
        let _ = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if child.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end("QUIT");
    }
}

/// The folder with the newest binaries.
fn binaries() -> Option<PathBuf> {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = installed
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder): &(u32, PathBuf)| has_binaries(folder))
        .collect();
    versions.sort();
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let in_path = || std::env::split_paths(&paths).find(|folder| has_binaries(folder));
    versions.pop().map(|(_, folder)| folder).or_else(in_path)
}

fn has_binaries(folder: &Path) -> bool {
    ["initdb", "postgres", "pg_isready", "psql"].iter().all(|name| folder.join(name).is_file())
}

fn postgres_user() -> (u32, u32) {
    let id = |flag: &str| {
        let output = Command::new("id").args([flag, "postgres"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("root needs a user `postgres` to run the server")
    };
    (id("-u"), id("-g"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
