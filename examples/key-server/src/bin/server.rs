//! The key server's process: flags, the log, signals. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use key_server::secrets::SetupKey;
use key_server::server::{Config, ServeError, serve, start_log};
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

fn main() -> ExitCode {
    match run(Config::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keystow-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut config: Config) -> Result<(), ServeError> {
    start_log(config.log_format, std::env::var("KEYSTOW_LOG").ok().as_deref())?;
    if let Some(key) = std::env::var_os("KEYSTOW_SETUP_KEY") {
        let key = Zeroizing::new(key.into_string().unwrap_or_default());
        config.setup_key = Some(SetupKey::from_hex(&key)?);
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        serve(config, shutdown).await
    })
}
