//! The main job on your own input: `cargo run --example quickstart -- --help`.
//!
//! A client and a key server in one process, with a store in memory: the messages cross as bytes, and each is printed.
#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod tour;
mod world;

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use keystow::storage::{AccountQuery, Attempts};
use keystow::{AccountName, ClientPolicy, Kind, NewSecret, PeerFault, RetrievedSecret};
use zeroize::Zeroizing;

use world::{IDENTITY, Result, World, hex};

const HELP: &str = "\
keystow quickstart: registers an account, makes a secret, gets it back on a second device.

usage: cargo run --example quickstart -- [tour] [--account NAME] [--kind KIND] [--length BYTES]

  tour             everything else that a person does with secrets: import, a verified list, a second device, export,
                   sign, delete, change of password, a vault that is put back, audit trail, log out, deletion of the
                   account
  --account NAME   1 to 255 bytes; default: ada
  --kind KIND      bytes, secp256k1 or ed25519; default: secp256k1
  --length BYTES   for --kind bytes: 1 to 1024; default: 32
  --help           this text

The password comes by a hidden prompt, or as the first line of standard input if that is no terminal.
Everything runs in this process, and nothing is kept. Exit codes: 0 done, 1 failed, 2 wrong usage.";

fn main() -> ExitCode {
    let arguments = match Arguments::parse() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("quickstart: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let run = if arguments.tour { tour::run } else { quickstart };
    match read_password().and_then(|password| run(&arguments.account, arguments.kind, &password)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    tour: bool,
    account: AccountName,
    kind: Kind,
}

impl Arguments {
    fn parse() -> Result<Option<Self>> {
        let (mut account, mut kind, mut length, mut tour) = ("ada".into(), "secp256k1".to_string(), None, false);
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                lexopt::Arg::Long("account") => account = parser.value()?,
                lexopt::Arg::Long("kind") => kind = parser.value()?.to_string_lossy().into_owned(),
                lexopt::Arg::Long("length") => length = Some(parser.value()?.to_string_lossy().parse()?),
                lexopt::Arg::Value(word) if word == "tour" => tour = true,
                lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => return Ok(None),
                other => return Err(other.unexpected().into()),
            }
        }
        let kind = match (kind.as_str(), length) {
            ("bytes", length) => Kind::Bytes(length.unwrap_or(32)),
            ("secp256k1", None) => Kind::Secp256k1,
            ("ed25519", None) => Kind::Ed25519,
            ("secp256k1" | "ed25519", Some(_)) => return Err("--length goes with --kind bytes".into()),
            (other, _) => return Err(format!("--kind {other}: not one of bytes, secp256k1, ed25519").into()),
        };
        kind.check_generated()?;
        Ok(Some(Self { tour, account: AccountName::new(account.as_encoded_bytes())?, kind }))
    }
}

fn read_password() -> Result<Zeroizing<String>> {
    if std::io::stdin().is_terminal() {
        return Ok(Zeroizing::new(rpassword::prompt_password("password: ")?));
    }
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_string()))
}

fn quickstart(account: &AccountName, kind: Kind, password: &str) -> Result<()> {
    let mut world = World::new()?;
    let client = keystow::Client::new(account.clone(), IDENTITY, ClientPolicy::default())?;

    println!("\n1. Register {account}: over TLS in a deployment, here in one process.");
    let registered = world.converse("", client.register(password.as_bytes(), &mut world.rng())?)?;
    println!("   user ID {}, server key {}", registered.user_id, registered.server_key);
    let client = client.pin_server_key(registered.server_key);

    println!("\n2. Log in: the client gets its export key, and with it the vault key. The pin is of the empty vault.");
    let pin = Some(registered.pin);
    let mut session = world.converse("", client.log_in(password.as_bytes(), pin, &mut world.rng())?)?;

    println!("\n3. Generate and store one secret of the kind {kind}.");
    let secret = world.make_secret(&mut session, kind)?;
    println!("   key ID {}", secret.key_id);
    print_public(&secret)?;
    println!("   pin of the vault, to be kept on the device: {}", session.pin());

    println!("\n4. A second device: the password and the store are all that it has.");
    let second = keystow::Client::new(account.clone(), IDENTITY, ClientPolicy::default())?;
    let mut session = world.converse("", second.log_in(password.as_bytes(), None, &mut world.rng())?)?;
    let retrieved = world.converse(" retrieve", session.retrieve(&[secret.key_id])?)?;
    let retrieved = retrieved.first().ok_or("nothing was retrieved")?;
    if retrieved.public() != secret.public.as_ref() {
        return Err("the public component is another one".into());
    }
    match secret.public {
        Some(_) => println!("   the secret is back; its public component, computed from it again, is the same"),
        None => println!("   the secret is back: {} bytes", retrieved.expose().len()),
    }

    println!("\n5. What the server stored, and that it holds no plaintext.");
    world.assert_no_plaintext(retrieved, password)?;

    println!("\n6. A login with a wrong password.");
    world.wrong_password(&client, account, password)
}

fn print_public(secret: &NewSecret) -> Result<()> {
    match secret.public {
        Some(public) => println!("   public component {public}\n{}", public.to_spki_pem()?),
        None => println!("   no public component: arbitrary bytes have none"),
    }
    Ok(())
}

impl World {
    fn assert_no_plaintext(&self, secret: &RetrievedSecret, password: &str) -> Result<()> {
        for (table, bytes) in self.server.store.stored_bytes() {
            println!("   {table:<8}{:>5} bytes: {}...", bytes.len(), hex(bytes.get(..24).unwrap_or(bytes)));
            for (name, plain) in [("secret", secret.expose()), ("password", password.as_bytes())] {
                // A few bytes turn up by chance in any hundred.
                if plain.len() >= 8 && bytes.windows(plain.len()).any(|window| window == plain) {
                    return Err(format!("the {table} record holds the {name} in the clear").into());
                }
            }
        }
        for entry in self.server.store.audit.values() {
            println!("   audit entry: {:?} in session {}", entry.action(), entry.session_id());
        }
        println!("   neither the secret nor the password stands in any of it");
        Ok(())
    }

    fn wrong_password(&mut self, client: &keystow::Client, account: &AccountName, password: &str) -> Result<()> {
        println!("   attempt counter before: {}", self.attempts(account)?);
        let mut wrong = Zeroizing::new(password.as_bytes().to_vec());
        if let Some(byte) = wrong.first_mut() {
            *byte ^= 1;
        }
        let exchange = client.log_in(&*wrong, None, &mut self.rng())?;
        match self.converse("", exchange) {
            Ok(_) => return Err("a wrong password was taken".into()),
            Err(error) if error.downcast_ref() == Some(&keystow::Error::Peer(PeerFault::LoginFailed)) => {
                println!("   refused: {error}");
            }
            Err(error) => return Err(error),
        }
        println!("   attempt counter after:  {}", self.attempts(account)?);
        Ok(())
    }

    /// The counter of failed attempts, read from the store.
    fn attempts(&self, account: &AccountName) -> Result<u32> {
        let counter = AccountQuery::new(account.clone()).counter();
        Ok(self.server.store.attempts.get(&counter).map_or(0, |attempts: &Attempts| attempts.count))
    }
}
