//! The architecture's rules, checked where they can be broken: the dependency trees that `cargo tree` resolves, the lint
//! wall, and who names whom in the sources.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SERVER_HALF: &str = "// --- server half";

// --- dependencies --------------------------------------------------------------------------------------

const NETWORK: [&str; 14] = [
    "curl",
    "h2",
    "hyper",
    "mio",
    "native-tls",
    "openssl",
    "openssl-sys",
    "polling",
    "quinn",
    "reqwest",
    "rustls",
    "socket2",
    "tungstenite",
    "ureq",
];
const DATABASE: [&str; 14] = [
    "diesel",
    "fjall",
    "heed",
    "libsqlite3-sys",
    "lmdb",
    "mysql",
    "postgres",
    "redb",
    "redis",
    "rocksdb",
    "rusqlite",
    "sled",
    "sqlite",
    "sqlx",
];
const ASYNC: [&str; 10] = [
    "async-std",
    "async-trait",
    "embassy-executor",
    "futures",
    "futures-core",
    "futures-util",
    "pin-project",
    "smol",
    "tokio",
    "tokio-util",
];
const CLOCK: [&str; 8] = ["chrono", "coarsetime", "instant", "jiff", "minstant", "quanta", "time", "web-time"];
const ENTROPY: [&str; 4] = ["fastrand", "getrandom", "rand_os", "rdrand"];

/// Features by which a crate reaches the system's entropy.
const ENTROPY_FEATURES: [&str; 8] =
    ["getrandom", "os_rng", "rand_std", "std_rng", "sys_rng", "thread_rng", "std", "entropy"];

/// Packages and their enabled features, as cargo resolves them without a network.
fn tree(arguments: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(ROOT).args(["tree", "--offline", "--locked", "--prefix", "none", "-f", "{p}|{f}"]);
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let mut packages = BTreeMap::<String, BTreeSet<String>>::new();
    for line in String::from_utf8(output.stdout).unwrap().lines().filter(|line| !line.is_empty()) {
        let (package, features) = line.trim_end_matches(" (*)").split_once('|').unwrap();
        let features = features.split(',').filter(|feature| !feature.is_empty()).map(str::to_string);
        packages.entry(package.to_string()).or_default().extend(features);
    }
    packages
}

/// What is linked into a program that uses the crate: no build script, no macro, no development dependency.
fn normal_tree(arguments: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let packages = tree(&[&["-e", "normal,no-proc-macro"], arguments].concat());
    for expected in ["keystow", "opaque-ke", "k256", "aes-gcm-siv"] {
        assert!(packages.keys().any(|package| name(package) == expected), "{expected} is not in {packages:?}");
    }
    packages
}

/// The name in "name v1.2.3".
fn name(package: &str) -> &str {
    package.split(' ').next().unwrap()
}

fn named<'a>(packages: &'a BTreeMap<String, BTreeSet<String>>, names: &[&str]) -> Vec<&'a str> {
    packages.keys().map(String::as_str).filter(|package| names.contains(&name(package))).collect()
}

#[test]
fn the_normal_tree_has_no_network_database_async_or_clock_crate() {
    let packages = normal_tree(&[]);
    for forbidden in [&NETWORK[..], &DATABASE, &ASYNC, &CLOCK] {
        assert_eq!(named(&packages, forbidden), Vec::<&str>::new());
    }
}

#[test]
fn the_normal_tree_has_no_source_of_entropy() {
    let packages = normal_tree(&[]);
    assert_eq!(named(&packages, &ENTROPY), Vec::<&str>::new());
    for (package, features) in packages.iter().filter(|(package, _)| name(package).starts_with("rand")) {
        assert!(ENTROPY_FEATURES.iter().all(|feature| !features.contains(*feature)), "{package}: {features:?}");
    }
}

#[test]
fn the_tests_own_tree_has_a_source_of_entropy_so_the_check_can_see_one() {
    assert!(!named(&tree(&["-e", "normal,dev"]), &ENTROPY).is_empty());
}

#[test]
fn without_default_features_no_dependency_has_its_std_feature() {
    let packages = normal_tree(&["--no-default-features"]);
    let with_std: Vec<_> = packages.iter().filter(|(_, features)| features.contains("std")).collect();
    assert_eq!(with_std, Vec::<(&String, &BTreeSet<String>)>::new());
    let default = normal_tree(&[]);
    assert!(default.iter().any(|(package, features)| name(package) == "serde" && features.contains("std")));
}

// --- sources -------------------------------------------------------------------------------------------

/// Every source file of the library with its text.
fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    collect(&Path::new(ROOT).join("src"), &mut files);
    assert!(files.len() > 20, "the sources are not where this test looks: {files:?}");
    files.sort();
    let relative = |path: &PathBuf| path.strip_prefix(ROOT).unwrap().to_str().unwrap().replace('\\', "/");
    files.iter().map(|path| (relative(path), fs::read_to_string(path).unwrap())).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The text without its comments.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The identifiers and keywords of a piece of code.
fn words(code: &str) -> BTreeSet<&str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect()
}

/// What a file imports from a module of the crate.
fn imported<'a>(code: &'a str, module: &str) -> BTreeSet<&'a str> {
    let start = format!("use crate::{module}::");
    let lists = code.split(&start).skip(1).map(|rest| rest.split(';').next().unwrap());
    lists.flat_map(words).collect()
}

/// Operations that the server knows under another's name: they are a client half alone.
const WITHOUT_SERVER_HALF: [&str; 2] = ["src/operation/import.rs", "src/operation/verify.rs"];

/// Each operation's file, cut in two: what comes before the server's half, and that half.
fn operations() -> Vec<(String, String, String)> {
    let cut = |(path, text): (String, String)| {
        let (client, server) = text.split_once(SERVER_HALF).unwrap_or((&text, ""));
        assert_eq!(server.is_empty(), WITHOUT_SERVER_HALF.contains(&path.as_str()), "{path}");
        (path, code(client), code(server))
    };
    let operations: Vec<_> =
        sources().into_iter().filter(|(path, _)| path.starts_with("src/operation/")).map(cut).collect();
    assert!(operations.len() >= 5);
    operations
}

#[test]
fn only_the_suite_names_opaque_ke_and_its_generation_of_crates() {
    for (path, text) in sources() {
        let names = ["opaque_ke", "sha2_opaque"].iter().any(|name| words(&code(&text)).contains(name));
        assert!(!names || path == "src/suite.rs" || path.starts_with("src/suite/"), "{path}");
    }
}

#[test]
fn a_client_half_names_neither_the_storage_nor_anything_imported_from_it() {
    for (path, client, server) in operations() {
        let words = words(&client);
        assert!(!words.contains("storage"), "{path}");
        assert_eq!(
            words.intersection(&imported(&server, "storage")).collect::<Vec<_>>(),
            Vec::<&&str>::new(),
            "{path}"
        );
    }
}

#[test]
fn a_server_half_names_neither_the_vault_nor_anything_imported_from_it() {
    for (path, client, server) in operations() {
        let words = words(&server);
        assert!(!words.contains("vault"), "{path}");
        assert_eq!(words.intersection(&imported(&client, "vault")).collect::<Vec<_>>(), Vec::<&&str>::new(), "{path}");
    }
}

#[test]
fn no_source_file_has_more_than_400_lines() {
    for (path, text) in sources() {
        assert!(text.lines().count() <= 400, "{path}: {} lines", text.lines().count());
    }
}

#[test]
fn no_source_silences_a_lint_without_expecting_it() {
    for (path, text) in sources() {
        assert!(!code(&text).contains("allow("), "{path}: use #[expect(.., reason = ..)], or mend what the lint says");
    }
}

#[test]
fn the_library_is_no_std_and_reaches_std_by_no_path() {
    for (path, text) in sources() {
        let code = code(text.split("#[cfg(test)]\nmod tests").next().unwrap());
        let std: Vec<_> = code.lines().filter(|line| words(line).contains("std")).map(str::trim).collect();
        let declares =
            |line: &&str| path == "src/lib.rs" && (line.starts_with("#[cfg(") || *line == "extern crate std;");
        assert!(std.iter().all(declares), "{path}: {std:?}");
        assert_eq!(path == "src/lib.rs", code.contains("#![no_std]"), "{path}");
    }
}

// --- the lint wall -------------------------------------------------------------------------------------

/// The lines "key = value" of one section of Cargo.toml.
fn manifest_section(section: &str) -> BTreeMap<String, String> {
    let manifest = fs::read_to_string(Path::new(ROOT).join("Cargo.toml")).unwrap();
    let lines = manifest.lines().skip_while(|line| *line != section).skip(1).take_while(|line| !line.starts_with('['));
    let pair = |(key, value): (&str, &str)| (key.trim().to_string(), value.trim().trim_matches('"').to_string());
    lines.filter_map(|line| line.split_once('=')).map(pair).collect()
}

#[test]
fn the_lint_wall_stands() {
    let rust = manifest_section("[lints.rust]");
    assert_eq!(rust.get("unsafe_code").map(String::as_str), Some("forbid"));
    assert_eq!(rust.get("missing_docs").map(String::as_str), Some("deny"));
    let clippy = manifest_section("[lints.clippy]");
    for lint in ["unwrap_used", "expect_used", "panic", "indexing_slicing", "arithmetic_side_effects"] {
        assert_eq!(clippy.get(lint).map(String::as_str), Some("deny"), "{lint}");
    }
}
