//! Writes the seed corpora, from honest runs and from runs with one thing gone wrong:
//! `cargo run --manifest-path fuzz/Cargo.toml --example seed` in the repository's root.
//!
//! With file names as arguments it prints what those inputs of `server_session` stand for instead.

mod encoding;
mod runs;
mod values;
mod vaults;

use std::path::Path;
use std::{env, fs, io};

use keystow_fuzz::harness::action::Action;
use keystow_fuzz::harness::actions;

fn main() -> io::Result<()> {
    let files: Vec<String> = env::args().skip(1).collect();
    for file in &files {
        println!("{file}: {:#?}", actions(&fs::read(file)?));
    }
    if files.is_empty() {
        write("decode", &values::values())?;
        write("server_session", &runs())?;
    }
    Ok(())
}

fn write(target: &str, seeds: &[(String, Vec<u8>)]) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    for (name, bytes) in seeds {
        fs::write(folder.join(format!("seed-{name}")), bytes)?;
    }
    println!("{}: {} seeds", folder.display(), seeds.len());
    Ok(())
}

fn runs() -> Vec<(String, Vec<u8>)> {
    runs::runs().into_iter().map(|(name, run)| (name.to_owned(), encode(&run))).collect()
}

/// The bytes that [`actions`] reads as this run; checked, because the layout is `arbitrary`'s affair.
fn encode(run: &[Action]) -> Vec<u8> {
    let bytes: Vec<u8> = run.iter().flat_map(|action| encoding::action(*action)).collect();
    assert_eq!(actions(&bytes), run, "arbitrary's derive lays out its input otherwise");
    bytes
}
