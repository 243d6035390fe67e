//! Writes the seed corpora, from honest runs and from runs with one thing gone wrong:
//! `cargo run --manifest-path fuzz/Cargo.toml --example seed` in the repository's root.
//!
//! With a target and file names as arguments it prints what those inputs stand for instead.

mod encoding;
mod lies;
mod meetings;
mod networks;
mod runs;
mod values;
mod vaults;

use std::path::Path;
use std::{env, fs, io};

use keystow_fuzz::harness::action::Action;
use keystow_fuzz::harness::{actions, exchanges, lying_store, network};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Some((target, files)) = arguments.split_first() {
        for file in files {
            println!("{file}: {}", meaning(target, &fs::read(file)?));
        }
        return Ok(());
    }
    write("decode", &values::values())?;
    write("server_session", &runs())?;
    write("client_exchange", &meetings::meetings())?;
    write("network", &networks::networks())?;
    write("lying_store", &lies::lies())
}

fn meaning(target: &str, data: &[u8]) -> String {
    match target {
        "server_session" => format!("{:#?}", actions(data)),
        "client_exchange" => format!("{:#?}", exchanges::meeting(data)),
        "network" => format!("{:#?}", network::moves(data)),
        "lying_store" => format!("{:#?}", lying_store::moves(data)),
        _ => format!("{data:?}"),
    }
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
