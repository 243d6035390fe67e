//! `audit`: the account's trail, as the server tells it.

use keystow::{Action, AuditAbout, AuditEntry, AuditFilter};
use serde::Serialize;

use super::open::Entry;
use super::{Context, Open};
use crate::client::arguments::{About, Audit};
use crate::client::report::{Report, table};
use crate::client::{ClientError, time};

/// Entries of a page.
const PAGE: u16 = 256;

#[derive(Serialize)]
struct Told {
    at: String,
    at_millis: u64,
    action: &'static str,
    granted: bool,
    /// For a login: the attempts since the last granted one.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_attempts: Option<u32>,
    session: String,
    key_ids: Vec<String>,
}

#[derive(Serialize)]
struct Trail {
    entries: Vec<Told>,
}

impl From<&AuditEntry> for Told {
    fn from(entry: &AuditEntry) -> Self {
        let (action, failed_attempts) = match entry.action() {
            Action::Register => ("register", None),
            Action::LogIn { attempts_spent } => ("log in", Some(attempts_spent)),
            Action::Store => ("store", None),
            Action::Retrieve => ("retrieve", None),
            Action::List => ("list", None),
            Action::Delete => ("delete", None),
            Action::ChangePassword => ("change password", None),
            Action::DeleteAccount => ("delete account", None),
        };
        Self {
            at: time::utc(entry.at()),
            at_millis: entry.at().as_millis(),
            action,
            granted: entry.granted(),
            failed_attempts,
            session: entry.session_id().to_string(),
            key_ids: entry.key_ids().iter().map(ToString::to_string).collect(),
        }
    }
}

/// Shows the trail from its beginning.
pub async fn run(context: &Context, arguments: &Audit) -> Result<Report, ClientError> {
    let about = match arguments.about {
        About::All => AuditAbout::All,
        About::Account => AuditAbout::Account,
        About::Secrets => AuditAbout::Secrets,
    };
    let filter = AuditFilter { about, key_ids: arguments.key_ids.clone(), ..AuditFilter::default() };
    let password = context.password()?;
    let entries = context.in_session(&password, Entry::Strict, async |open| read(open, &filter).await).await?;
    let trail = Trail { entries: entries.iter().map(Told::from).collect() };
    context.form.report(|| text(&trail), &trail)
}

async fn read(open: &mut Open, filter: &AuditFilter) -> Result<Vec<AuditEntry>, ClientError> {
    let (mut after, mut entries) = (None, Vec::new());
    loop {
        let exchange = open.session.audit(filter.clone(), after, PAGE)?;
        let page = open.run(exchange).await?;
        entries.extend(page.entries);
        after = page.next;
        if after.is_none() {
            return Ok(entries);
        }
    }
}

fn text(trail: &Trail) -> String {
    let row = |entry: &Told| {
        let action = match entry.failed_attempts {
            Some(failed) if failed > 0 => format!("{} after {failed} failed", entry.action),
            _ => entry.action.to_owned(),
        };
        let outcome = if entry.granted { "done" } else { "refused" };
        let session = entry.session.chars().take(8).collect();
        [entry.at.clone(), action, outcome.to_owned(), session, entry.key_ids.join(" ")]
    };
    let rows: Vec<_> = trail.entries.iter().map(row).collect();
    table(["TIME", "ACTION", "OUTCOME", "SESSION", "KEY IDS"], &rows)
}
