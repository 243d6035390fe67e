//! A load generator: many accounts at once, each in a loop of generate and store, retrieve, list now and then, delete.
//!
//! It measures message by message and repeats nothing, so that a lost answer shows as an error and not as a slow success:
//! that is why it doesn't use the client's own loop.

#[path = "load/link.rs"]
mod link;
#[path = "load/metrics.rs"]
mod metrics;
#[path = "load/person.rs"]
mod person;
#[path = "load/report.rs"]
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use keystow::{AccountName, Client, ClientPolicy, KsfProfile};
use tokio::task::JoinSet;

use crate::link::Target;
use crate::person::{Person, Tally};
use crate::report::Report;

/// Loads a key server with clients that generate, store, retrieve, list and delete, and prints how it keeps up.
///
/// Raise the server's limits for this, since all clients have one source: --messages-per-second-per-source,
/// --max-connections-per-source. Each run registers new accounts, under the key-stretching profile of the floor, and leaves them.
#[derive(Parser)]
#[command(name = "keystow-load", version)]
struct Args {
    /// The nodes, host:port each; clients are spread over them.
    #[arg(long, value_delimiter = ',', required = true)]
    server: Vec<String>,
    /// The certificate that the server's chain ends in (PEM).
    #[arg(long)]
    ca: PathBuf,
    /// The deployment's name, as the server has it.
    #[arg(long, default_value = "localhost")]
    identity: String,
    /// The name in the server's certificate.
    #[arg(long, default_value = "localhost")]
    name: String,
    /// Accounts, each with one connection and one session.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    clients: u32,
    /// How long, once all of them have logged in.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// The server's metrics, http://host:port/path: adds how its time was spent.
    #[arg(long)]
    metrics: Option<String>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// The cheapest profile that the crate takes: the load is to be the server's, not Argon2's.
const PROFILE: KsfProfile = KsfProfile::FLOOR;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match load(&args).await {
        Ok(report) => {
            print!("{}", if args.json { report.to_json() } else { report.to_string() });
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("keystow-load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn load(args: &Args) -> Result<Report, Failure> {
    let begun = Instant::now();
    let people = log_in_all(args).await?;
    let setup = begun.elapsed();
    let before = scrape(args).await?;
    let seconds = Duration::from_secs(args.seconds.into());
    let (begun, mut running) = (Instant::now(), JoinSet::new());
    for person in people {
        running.spawn(person.work(begun + seconds));
    }
    let mut tally = Tally::default();
    while let Some(one) = running.join_next().await {
        tally.add(one?);
    }
    let elapsed = begun.elapsed();
    let server = before.zip(scrape(args).await?).map(|(before, after)| after.since(&before));
    Ok(Report { clients: args.clients, setup, elapsed, tally, server })
}

async fn scrape(args: &Args) -> Result<Option<metrics::Sums>, Failure> {
    match &args.metrics {
        Some(url) => Ok(Some(metrics::scrape(url).await?)),
        None => Ok(None),
    }
}

/// Registers and logs in, four at a time: a login takes a core, and must come within the server's handshake timeout.
async fn log_in_all(args: &Args) -> Result<Vec<Person>, Failure> {
    let (target, run) = (Target::new(&args.server, &args.name, &args.ca)?, getrandom::u64()?);
    let (mut people, mut starting) = (Vec::new(), JoinSet::new());
    for number in 0..args.clients {
        let account = AccountName::new(format!("load-{run:016x}-{number}"))?;
        let client = Client::new(account, &args.identity, ClientPolicy::new([PROFILE])?)?;
        starting.spawn(Person::start(client, target.link(number)));
        if starting.len() >= 4 {
            people.extend(starting.join_next().await.transpose()?.transpose()?);
        }
    }
    while let Some(person) = starting.join_next().await {
        people.push(person??);
    }
    Ok(people)
}
