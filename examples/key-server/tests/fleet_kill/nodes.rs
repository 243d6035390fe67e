//! The processes: nodes of a fleet, each the real server, over one PostgreSQL; and what kills them.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::chance::Chance;
use crate::postgres::Postgres;

const START: Duration = Duration::from_secs(30);

pub struct Fleet {
    pub postgres: Postgres,
    nodes: Vec<Node>,
    folder: TempDir,
    pub kills: Kills,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Kills {
    pub nodes: u32,
    pub database: u32,
}

struct Node {
    port: u16,
    log: PathBuf,
    child: Option<Child>,
}

impl Fleet {
    /// The first node makes setup, fleet key and certificate; all of them use the same folder.
    pub fn start(count: usize) -> Option<Self> {
        let postgres = Postgres::start()?;
        let folder = tempfile::tempdir().unwrap();
        // Held together, so that no port is given out twice.
        let sockets: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports = sockets.iter().map(|socket| socket.local_addr().unwrap().port());
        let log = |port| folder.path().join(format!("node-{port}.log"));
        let nodes = ports.map(|port| Node { port, log: log(port), child: None }).collect();
        drop(sockets);
        let mut fleet = Self { postgres, nodes, folder, kills: Kills::default() };
        (0..count).for_each(|node| fleet.start_node(node));
        Some(fleet)
    }

    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("localhost:{}", node.port)).collect()
    }

    pub fn certificate(&self) -> PathBuf {
        self.data().join("certificate.pem")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn start_node(&mut self, node: usize) {
        let (url, data) = (self.postgres.url(), self.data());
        let node = &mut self.nodes[node];
        assert!(node.start(&url, &data), "node {} doesn't start; see its log:\n{}", node.port, node.tail());
    }

    /// Kills nodes and the database, one after the other or both, and starts them again, until `end`.
    pub fn torment(&mut self, mut chance: Chance, end: Instant) {
        while Instant::now() < end {
            // Each node alone, the database alone, a node and then the database: all of them in each round.
            let mut plan: Vec<_> = (0..self.nodes.len()).map(|node| (Some(node), false)).collect();
            plan.extend([(None, true), (Some(usize::try_from(chance.below(64)).unwrap() % self.nodes.len()), true)]);
            chance.shuffle(&mut plan);
            for (node, database) in plan {
                pause(&mut chance, 600);
                if Instant::now() < end {
                    self.strike(&mut chance, node, database);
                }
            }
        }
    }

    fn strike(&mut self, chance: &mut Chance, node: Option<usize>, database: bool) {
        if let Some(node) = node {
            self.nodes[node].kill();
            self.kills.nodes += 1;
            pause(chance, 300);
        }
        if database {
            self.postgres.crash();
            self.kills.database += 1;
            pause(chance, 500);
            self.postgres.restart();
        }
        if let Some(node) = node {
            self.start_node(node);
        }
    }

    /// All nodes that are there must be running: none has ended by itself.
    pub fn check_running(&mut self) {
        for node in &mut self.nodes {
            let ended = node.child.as_mut().map(|child| child.try_wait().unwrap());
            assert!(matches!(ended, Some(None)), "node {} ended: {ended:?}\n{}", node.port, node.tail());
        }
    }

    /// No node has found a damaged record, or panicked; that the store fails now and then is what this is about.
    pub fn check_logs(&self) {
        for node in &self.nodes {
            let log = std::fs::read_to_string(&node.log).unwrap();
            for line in log.lines() {
                assert!(!line.contains("damaged") && !line.contains("panic"), "node {}: {line}", node.port);
            }
        }
    }
}

impl Drop for Fleet {
    /// What the nodes had to say, if the test fails.
    fn drop(&mut self) {
        if thread::panicking() {
            self.nodes.iter().for_each(|node| eprintln!("node {}:\n{}", node.port, node.tail()));
        }
    }
}

/// A random moment: nothing waits for this.
fn pause(chance: &mut Chance, most_millis: u32) {
    thread::sleep(Duration::from_millis(chance.below(most_millis).into()));
}

impl Node {
    /// Starts the server and waits for its line. False if it ended instead.
    fn start(&mut self, url: &str, data: &Path) -> bool {
        let mut child = Command::new(env!("CARGO_BIN_EXE_keystow-server"))
            .args(["--fleet", "--listen", &format!("127.0.0.1:{}", self.port), "--data"])
            .arg(data)
            .args(["--messages-per-second-per-source", "1000000", "--max-connections-per-source", "1000"])
            .env("KEYSTOW_STORE", url)
            .env("KEYSTOW_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(self.open_log())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        self.child = Some(child);
        let (tell, told) = mpsc::channel();
        // Its end is that of the process.
        thread::spawn(move || stdout.lines().map_while(Result::ok).for_each(|line| drop(tell.send(line))));
        told.recv_timeout(START).is_ok_and(|line| line.starts_with("listening on "))
    }

    fn open_log(&self) -> File {
        OpenOptions::new().create(true).append(true).open(&self.log).unwrap()
    }

    fn tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// SIGKILL: nothing is finished, nothing is flushed.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
