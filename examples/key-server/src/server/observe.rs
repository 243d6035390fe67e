//! What the server tells: a log on standard error, metrics over HTTP. Session IDs and names of operations are in the log, and
//! nothing else that came over the wire.

use std::net::SocketAddr;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::PrometheusBuilder;
use tracing_subscriber::EnvFilter;

use super::{LogFormat, ServeError};

/// Starts the log. `levels` is what KEYSTOW_LOG says.
///
/// # Errors
/// Levels that can't be read, or a log that was started before.
pub fn start_log(format: LogFormat, levels: Option<&str>) -> Result<(), ServeError> {
    let levels = EnvFilter::try_new(levels.unwrap_or("info"))?;
    let log = tracing_subscriber::fmt().with_env_filter(levels).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(false).try_init(),
        LogFormat::Json => log.json().try_init(),
    }
}

/// Starts the exporter: /health says that the process answers, any other path has the metrics.
pub(super) fn start_metrics(address: SocketAddr) -> Result<(), ServeError> {
    PrometheusBuilder::new()
        .with_http_listener(address)
        .set_buckets(&[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0])?
        .install()?;
    describe_gauge!("keystow_connections", "Connections now");
    describe_gauge!("keystow_sessions", "Sessions now; in a fleet, those that this node opened lately");
    describe_gauge!("keystow_store_up", "1 if the store answered when it was last asked, every 30 s");
    describe_counter!("keystow_connections_total", "Connections, by whether they were let in");
    describe_counter!("keystow_connections_ended_total", "Connections that ended, by reason");
    describe_counter!("keystow_throttled_total", "Messages and handshakes that had to wait for their source's turn");
    describe_counter!("keystow_messages_total", "Messages, by operation and result");
    describe_counter!("keystow_refusals_total", "Refusals outside of frames, by kind");
    describe_counter!("keystow_errors_total", "Messages that the protocol doesn't answer, by kind");
    describe_counter!("keystow_transactions_total", "Transactions, by operation and outcome");
    describe_counter!("keystow_store_errors_total", "Failures of the store, by step");
    describe_counter!("keystow_purged_total", "Rows purged from the store");
    describe_counter!("keystow_panics_total", "Connections that ended in a panic");
    describe_histogram!("keystow_step_seconds", Unit::Seconds, "Time in the store, by step and operation");
    describe_histogram!("keystow_message_seconds", Unit::Seconds, "Time from message to answer, by operation");
    Ok(())
}
