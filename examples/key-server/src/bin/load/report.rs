//! What a run prints: for a person, or as JSON.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::PROFILE;
use crate::metrics::Sums;
use crate::person::Tally;

/// A run.
pub struct Report {
    /// Accounts.
    pub clients: u32,
    /// How long it took to register them and log them in.
    pub setup: Duration,
    /// How long they worked.
    pub elapsed: Duration,
    /// What they did.
    pub tally: Tally,
    /// What the server spent on it, if it was asked.
    pub server: Option<Sums>,
}

/// One operation's figures.
struct Figures {
    name: &'static str,
    count: usize,
    per_second: f64,
    p50: Duration,
    p99: Duration,
}

/// The least of the sorted values that `percent` of all don't exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = sorted.len().saturating_mul(percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).copied().unwrap_or_default()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A share in percent; none of nothing.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { 100.0 * part / whole } else { 0.0 }
}

impl Report {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn per_second(&self, count: usize) -> f64 {
        count as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    fn figures(&self) -> Vec<Figures> {
        let figures = |(name, took): (&&'static str, &Vec<Duration>)| {
            let mut sorted = took.clone();
            sorted.sort_unstable();
            let (p50, p99) = (percentile(&sorted, 50), percentile(&sorted, 99));
            Figures { name, count: sorted.len(), per_second: self.per_second(sorted.len()), p50, p99 }
        };
        self.tally.took.iter().map(figures).collect()
    }

    fn operations(&self) -> usize {
        self.tally.took.values().map(Vec::len).sum()
    }

    fn errors(&self) -> u64 {
        self.tally.errors.values().sum()
    }

    /// The clients' own share of the time that the operations took, in percent; the rest is network and server.
    fn own_share(&self) -> f64 {
        let whole: Duration = self.tally.took.values().flatten().sum();
        share(self.tally.own.as_secs_f64(), whole.as_secs_f64())
    }

    /// One JSON object and a line break. Times in milliseconds, shares in percent.
    pub fn to_json(&self) -> String {
        let operations: Map<String, Value> = self
            .figures()
            .into_iter()
            .map(|figures| {
                let Figures { name, count, per_second, p50, p99 } = figures;
                let (p50, p99) = (milliseconds(p50), milliseconds(p99));
                (
                    name.replace(' ', "_"),
                    json!({ "count": count, "per_second": per_second, "p50_ms": p50, "p99_ms": p99 }),
                )
            })
            .collect();
        let server = self.server.map(|sums| {
            let store = share(sums.store, sums.messages);
            json!({ "message_seconds": sums.messages, "store_percent": store, "rest_percent": 100.0 - store })
        });
        let own = self.own_share();
        let report = json!({
            "profile": PROFILE.to_string(), "clients": self.clients, "setup_seconds": self.setup.as_secs_f64(),
            "seconds": self.elapsed.as_secs_f64(), "operations_per_second": self.per_second(self.operations()),
            "operations": operations, "errors": self.tally.errors, "gave_up": self.tally.gave_up,
            "client_cryptography_percent": own, "network_and_server_percent": 100.0 - own, "server": server,
        });
        format!("{report}\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} accounts under the floor profile: {PROFILE}", self.clients)?;
        writeln!(
            f,
            "registered and logged in within {:.1} s, then {:.1} s of load",
            self.setup.as_secs_f64(),
            self.elapsed.as_secs_f64()
        )?;
        writeln!(f, "{:<20} {:>9} {:>9} {:>9} {:>9}", "operation", "count", "per s", "p50 ms", "p99 ms")?;
        for Figures { name, count, per_second, p50, p99 } in self.figures() {
            let (p50, p99) = (milliseconds(p50), milliseconds(p99));
            writeln!(f, "{name:<20} {count:>9} {per_second:>9.1} {p50:>9.2} {p99:>9.2}")?;
        }
        let all = self.operations();
        writeln!(f, "{:<20} {all:>9} {:>9.1}", "all", self.per_second(all))?;
        let own = self.own_share();
        writeln!(f, "time of an operation: {own:.1} % client's cryptography, {:.1} % network and server", 100.0 - own)?;
        if let Some(sums) = self.server {
            let store = share(sums.store, sums.messages);
            writeln!(f, "time in the server: {store:.1} % store, {:.1} % cryptography and the rest", 100.0 - store)?;
        }
        writeln!(f, "errors: {} ({} clients gave up)", self.errors(), self.tally.gave_up)?;
        self.tally.errors.iter().try_for_each(|(error, count)| writeln!(f, "  {count} x {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let of = |values: &[u64], percent| {
            let durations: Vec<_> = values.iter().copied().map(Duration::from_millis).collect();
            percentile(&durations, percent).as_millis()
        };
        assert_eq!((of(&[], 50), of(&[7], 50), of(&[7], 99)), (0, 7, 7));
        assert_eq!((of(&[1, 2, 3, 4], 50), of(&[1, 2, 3, 4], 99)), (2, 4));
    }
}
