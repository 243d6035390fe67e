//! A fleet under load while its nodes are killed with SIGKILL and its PostgreSQL is stopped at once, at random moments, again and
//! again. Afterwards everything that was acknowledged is there once, every pin that a device kept verifies, and every attempt
//! counter is right.
//!
//! `KEYSTOW_KILL_SEED` repeats a plan (not the machine's order of events), `KEYSTOW_KILL_SECONDS` takes longer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "fleet_kill/book.rs"]
mod book;
#[path = "fleet_kill/chance.rs"]
mod chance;
#[path = "fleet_kill/device.rs"]
mod device;
#[path = "fleet_kill/judge.rs"]
mod judge;
#[path = "fleet_kill/nodes.rs"]
mod nodes;
#[path = "support/postgres.rs"]
mod postgres;

use std::sync::Arc;
use std::time::{Duration, Instant};

use getrandom::SysRng;
use key_server::client::{Connection, Limits, Trust};
use keystow::AccountName;
use rand_core::UnwrapErr;
use tokio::runtime::Runtime;

use crate::book::{Account, Counts, PASSWORD, client};
use crate::chance::Chance;
use crate::device::Device;
use crate::nodes::Fleet;

const NODES: usize = 3;
/// Devices of each account. Two of one account race for its vault's head.
const DEVICES: [usize; 4] = [2, 2, 1, 1];

fn from_environment(name: &str, default: impl FnOnce() -> u64) -> u64 {
    std::env::var(name).map_or_else(|_| default(), |text| text.parse().unwrap())
}

fn connection(fleet: &Fleet) -> Connection {
    let trust = Trust::CertificateFile(fleet.certificate());
    // More patience than the torment lasts: every message is answered in the end.
    let limits = Limits { answer: Duration::from_secs(3), patience: Duration::from_secs(60), ..Limits::default() };
    Connection::new(fleet.addresses(), "localhost", trust).unwrap().with_limits(limits).rotating()
}

async fn register(fleet: &Fleet, number: usize) -> Arc<Account> {
    let name = AccountName::new(format!("account {number}")).unwrap();
    let exchange = client(&name).register(PASSWORD, &mut UnwrapErr(SysRng)).unwrap();
    let registered = connection(fleet).run(exchange).await.unwrap();
    Arc::new(Account::new(name, &registered))
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_while_nodes_and_the_database_are_killed() {
    let seed = from_environment("KEYSTOW_KILL_SEED", || getrandom::u64().unwrap());
    let seconds = from_environment("KEYSTOW_KILL_SECONDS", || 20).min(60);
    println!("KEYSTOW_KILL_SEED={seed}, {seconds} s, {NODES} nodes, devices of the accounts: {DEVICES:?}");
    let Some(mut fleet) = Fleet::start(NODES) else { return };
    let runtime = Runtime::new().unwrap();
    let mut chance = Chance::new(seed);

    let mut accounts = Vec::new();
    for number in 0..DEVICES.len() {
        accounts.push(runtime.block_on(register(&fleet, number)));
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut working = Vec::new();
    for (account, devices) in accounts.iter().zip(DEVICES) {
        for _ in 0..devices {
            let device = Device::new(Arc::clone(account), connection(&fleet), chance.fork());
            working.push(runtime.spawn(device.work(end)));
        }
    }
    fleet.torment(chance.fork(), end);
    for device in working {
        let unexpected = runtime.block_on(device).unwrap();
        assert_eq!(unexpected, Ok(()));
    }
    fleet.check_running();

    let sum = accounts.iter().map(|account| account.book().counts).fold(Counts::default(), Counts::add);
    println!("{:?}\n{sum:?}", fleet.kills);
    for account in &accounts {
        runtime.block_on(judge::judge(&fleet, connection(&fleet), account));
    }
    fleet.check_logs();
    assert_eq!(sum.unanswered, 0);
    assert!(
        sum.stores > 0 && sum.cut_off > 0 && fleet.kills.nodes > 0 && fleet.kills.database > 0,
        "nothing was tried"
    );
}
