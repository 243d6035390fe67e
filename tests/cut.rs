//! The exhaustive cut: every flow, cut at each of its points in every way that is possible there, and at each pair of them; and
//! every wrong answer of a store. The person starts again as `docs/embedding.md` says, and the end is that of the uncut run.
//!
//! Nothing is sampled and no list of points is kept: a run counts its own (`cut/fate.rs`), and the counts are asserted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::integer_division_remainder_used,
    clippy::panic_in_result_fn,
    clippy::print_stdout,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub
)]

#[path = "cut/device.rs"]
mod device;
#[path = "cut/fate.rs"]
mod fate;
#[path = "cut/flows.rs"]
mod flows;
mod hostile;
#[path = "cut/ledger.rs"]
mod ledger;
#[path = "cut/lies.rs"]
mod lies;
#[path = "cut/run.rs"]
mod run;
#[path = "cut/scene.rs"]
mod scene;
#[path = "cut/servers.rs"]
mod servers;
mod support;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fate::Count;
use flows::FLOWS;

/// What a flow came to, on one node or in a fleet, and the operations that were met with.
type Counted = (usize, bool, Count, BTreeSet<&'static str>);

/// One failure ends it: no more flows are begun.
struct Halt<'a>(&'a AtomicUsize);

impl Drop for Halt<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(FLOWS.len() * 2, Ordering::Relaxed);
        }
    }
}

/// All flows, on one node and in a fleet of two, in their order, on as many threads as there are cores.
fn count_all() -> Vec<Counted> {
    let tasks: Vec<_> = (0..FLOWS.len()).flat_map(|flow| [(flow, false), (flow, true)]).collect();
    let (next, counted) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(&(flow, fleet)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let _halt = Halt(&next);
                    let (count, operations) = run::count(&FLOWS[flow], fleet);
                    counted.lock().unwrap().push((flow, fleet, count, operations));
                }
            });
        }
    });
    let mut counted = counted.into_inner().unwrap();
    counted.sort_by_key(|(flow, fleet, ..)| (*flow, *fleet));
    counted
}

fn row(name: &str, fleet: &str, count: &Count) -> String {
    let Count { points, cuts, pairs, twins, lies } = count;
    format!("{name:32} {fleet:5} {points:6} {cuts:6} {pairs:6} {twins:6} {:6} {lies:6}\n", count.runs())
}

/// `cut/counts.txt`: what is there to be cut. A flow that has another number of points, cuts or lies is another flow.
#[test]
fn every_cut_of_every_flow_comes_to_the_uncut_runs_end() {
    let counted = count_all();
    let mut table = "flow                             nodes points   cuts  pairs  twins   runs   lies\n".to_owned();
    let mut total = Count::default();
    for (flow, fleet, count, _) in &counted {
        table += &row(FLOWS[*flow].name, if *fleet { "fleet" } else { "one" }, count);
        total += *count;
    }
    let runs: usize = counted.iter().map(|(_, _, count, _)| count.runs()).sum();
    let Count { points, cuts, pairs, twins, lies } = total;
    table += &format!("{:38} {points:6} {cuts:6} {pairs:6} {twins:6} {runs:6} {lies:6}\n", "total");
    println!("{table}");
    assert_eq!(table, include_str!("cut/counts.txt"));
    assert_eq!((runs, total.lies), (13_334, 88_417));

    let met: BTreeSet<_> = counted.iter().flat_map(|(.., operations)| operations).copied().collect();
    let expected: BTreeSet<_> = rows_of_the_table().into_iter().chain(["register", "log_in"]).collect();
    assert_eq!(met, expected, "every operation that a server can be asked for");
}

const OPERATIONS: &str = include_str!("../src/operation.rs");

/// The operations of the table in `src/operation.rs`.
fn rows_of_the_table() -> Vec<&'static str> {
    let (_, table) = OPERATIONS.rsplit_once("operations! {").unwrap();
    let rows = table.lines().filter_map(|line| line.trim().strip_suffix(',')?.split_once(": "));
    rows.map(|(_, module)| module).collect()
}

#[test]
fn every_operation_is_in_a_flow() {
    let files = OPERATIONS.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let in_flows = FLOWS.iter().flat_map(|flow| flow.of).copied();
    assert_eq!(in_flows.collect::<BTreeSet<_>>(), files.collect());
    assert!(rows_of_the_table().len() > 10);
}
