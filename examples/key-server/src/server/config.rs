//! What the server is told from outside: flags, or their `KEYSTOW_...` variables. The setup key comes from the environment
//! alone: command lines are there for everyone on the machine to read.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::secrets::SetupKey;

/// A key server: password-protected custody of secrets that it can't read.
///
/// All nodes of a fleet need the same setup and fleet key: start one node, stop it, and copy server-setup and fleet-key (and
/// the certificate, if it is to be shared) from its --data folder to that of the others, over a channel that keeps secrets.
/// Every node has its setup's public key (server_key) in its log; it must be the same everywhere.
///
/// The environment variable KEYSTOW_SETUP_KEY, 64 hexadecimal digits, encrypts both files. It must be there from the first
/// start on, or never.
#[derive(Clone, Parser)]
#[command(name = "keystow-server", version)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, env = "KEYSTOW_LISTEN", default_value = "127.0.0.1:7443")]
    pub listen: SocketAddr,
    /// The path of a redb file, or the address of a PostgreSQL database (it may hold a password: better as KEYSTOW_STORE).
    #[arg(long, env = "KEYSTOW_STORE", hide_env_values = true, default_value = "keystow-data/store.redb")]
    pub store: String,
    /// The folder of the setup, the fleet key and the certificate. Back it up, apart from the store.
    #[arg(long, env = "KEYSTOW_DATA", default_value = "keystow-data")]
    pub data: PathBuf,
    /// The deployment's name, as clients have it: it can never be changed.
    #[arg(long, env = "KEYSTOW_IDENTITY", default_value = "localhost")]
    pub identity: String,
    /// The certificate chain, as PEM; without one, the data folder's, which is made at the first start.
    #[arg(long, env = "KEYSTOW_CERTIFICATE", requires = "private_key")]
    pub certificate: Option<PathBuf>,
    /// The certificate's private key, as PEM.
    #[arg(long, env = "KEYSTOW_PRIVATE_KEY", requires = "certificate")]
    pub private_key: Option<PathBuf>,
    /// The names and addresses in a certificate that is made.
    #[arg(long = "name", env = "KEYSTOW_NAME", value_delimiter = ',', default_value = "localhost")]
    pub names: Vec<String>,
    /// Keep sessions in the store, so that any node takes any message.
    #[arg(long, env = "KEYSTOW_FLEET")]
    pub fleet: bool,
    /// The most connections at once. One that sends a message takes up to 2 MiB.
    #[arg(long, env = "KEYSTOW_MAX_CONNECTIONS", default_value_t = 1024)]
    pub max_connections: usize,
    /// The most connections at once from one address (IPv6: from one /64).
    #[arg(long, env = "KEYSTOW_MAX_CONNECTIONS_PER_SOURCE", default_value_t = 64)]
    pub max_connections_per_source: usize,
    /// How many messages one address may send per second, over all of its connections, a new one counted as a message. What
    /// is more has to wait.
    #[arg(long, env = "KEYSTOW_MESSAGES_PER_SECOND_PER_SOURCE", default_value_t = 200,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub messages_per_second_per_source: u32,
    /// The most sessions at once; in a fleet, the most that this node opens in a minute.
    #[arg(long, env = "KEYSTOW_MAX_SESSIONS", default_value_t = 100_000)]
    pub max_sessions: usize,
    /// How long a connection may be silent.
    #[arg(long, env = "KEYSTOW_IDLE_TIMEOUT", default_value = "60s", value_parser = duration)]
    pub idle_timeout: Duration,
    /// How long a TLS handshake may take.
    #[arg(long, env = "KEYSTOW_HANDSHAKE_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub handshake_timeout: Duration,
    /// How long a message may take to arrive whole, and an answer to be taken.
    #[arg(long, env = "KEYSTOW_MESSAGE_TIMEOUT", default_value = "15s", value_parser = duration)]
    pub message_timeout: Duration,
    /// Where to serve metrics (any path) and /health, over plain HTTP: keep it to a network of your own.
    #[arg(long, env = "KEYSTOW_METRICS")]
    pub metrics: Option<SocketAddr>,
    /// The log's format. It goes to standard error; KEYSTOW_LOG sets its levels ("info", "key_server=debug").
    #[arg(long, env = "KEYSTOW_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What encrypts the setup and the fleet key, if anything does: KEYSTOW_SETUP_KEY.
    #[arg(skip)]
    pub setup_key: Option<SetupKey>,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines to read.
    Text,
    /// One JSON object a line.
    Json,
}

/// A whole number and its unit: "500ms", "60s", "5m".
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration such as 500ms, 60s or 5m");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        _ => return Err(wrong()),
    };
    match unit.saturating_mul(number) {
        Duration::ZERO => Err("a duration of nothing".into()),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for wrong in ["", "5", "s", "-1s", "1.5s", "0s", "1h", "99999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let config = Config::parse_from(["keystow-server"]);
        assert_eq!(config.listen.to_string(), "127.0.0.1:7443");
        assert_eq!(config.message_timeout, Duration::from_secs(15));
        assert!(!config.fleet && config.metrics.is_none() && config.setup_key.is_none());
    }
}
