//! The corpora of the fuzz targets, replayed: what a fuzzer once found stays found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[path = "../fuzz/src/harness.rs"]
mod harness;

/// Runs a target on every file of its corpus, and names all files that it panics on.
#[allow(clippy::print_stdout)] // how many files there were, for the log
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let panics = |file: &PathBuf| {
        let input = fs::read(file).unwrap();
        catch_unwind(AssertUnwindSafe(|| run(&input))).is_err()
    };
    let failed: Vec<&PathBuf> = files.iter().filter(|file| panics(file)).collect();
    println!("{target}: {} inputs replayed", files.len());
    assert!(!files.is_empty(), "{target} has no corpus");
    assert!(failed.is_empty(), "{target} panics on {failed:?}");
}

#[test]
fn the_corpus_of_decode_breaks_no_promise() {
    replay("decode", harness::decode);
}

#[test]
fn the_corpus_of_server_session_breaks_no_promise() {
    replay("server_session", harness::server_session);
}

#[test]
fn the_corpus_of_client_exchange_breaks_no_promise() {
    replay("client_exchange", harness::client_exchange);
}

#[test]
fn the_corpus_of_network_breaks_no_promise() {
    replay("network", harness::network);
}

#[test]
fn the_corpus_of_lying_store_breaks_no_promise() {
    replay("lying_store", harness::lying_store);
}
