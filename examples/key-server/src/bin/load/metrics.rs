//! The server's metrics, over one plain HTTP request: how much time went into the database and into cryptography.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Failure;

/// More than this is no metrics page.
const LONGEST: u64 = 4 << 20;

/// Seconds that the server has spent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// In whole messages, from their arrival to the answer.
    pub messages: f64,
    /// In reads and writes of the store, waiting for it included.
    pub store: f64,
}

impl Sums {
    /// What was spent since another time.
    pub fn since(&self, before: &Self) -> Self {
        Self { messages: self.messages - before.messages, store: self.store - before.store }
    }

    fn parse(text: &str) -> Self {
        let sum = |name: &str, wanted: fn(&str) -> bool| {
            text.lines().filter(|line| wanted(line)).filter_map(|line| value(line, name)).sum()
        };
        // The store is asked for more than messages need: not those steps.
        let is_for_a_message = |line: &str| line.contains("step=\"read\"") || line.contains("step=\"write\"");
        Self {
            messages: sum("keystow_message_seconds_sum", |_| true),
            store: sum("keystow_step_seconds_sum", is_for_a_message),
        }
    }
}

/// The value of a line of the text format, if it is one of this name, whatever its labels.
fn value(line: &str, name: &str) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next()?.parse().ok())?
}

/// Asks for the page.
pub async fn scrape(url: &str) -> Result<Sums, Failure> {
    let rest = url.strip_prefix("http://").ok_or("the metrics' URL begins with http://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, "metrics"));
    let page = timeout(Duration::from_secs(10), get(host, path)).await??;
    let (head, body) = page.split_once("\r\n\r\n").ok_or("the metrics' answer is not HTTP")?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err("the metrics' answer is not 200".into());
    }
    Ok(Sums::parse(body))
}

async fn get(host: &str, path: &str) -> Result<String, Failure> {
    let mut stream = TcpStream::connect(host).await?;
    let request =
        format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept-Encoding: identity\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut page = Vec::new();
    stream.take(LONGEST).read_to_end(&mut page).await?;
    Ok(String::from_utf8(page)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_added_over_labels_and_of_their_name_alone() {
        let text = "# TYPE keystow_step_seconds histogram\n\
                    keystow_step_seconds_sum{step=\"read\",operation=\"list\"} 1.5\n\
                    keystow_step_seconds_sum{step=\"write\",operation=\"list\"} 2\n\
                    keystow_step_seconds_sum{step=\"purge\",operation=\"none\"} 9\n\
                    keystow_message_seconds_sum_other 9\n\
                    keystow_message_seconds_sum 5\n";
        assert_eq!(Sums::parse(text), Sums { messages: 5.0, store: 3.5 });
    }
}
