//! `list`: all secrets, without their contents.

use keystow::Origin;
use keystow::operation::list::ListedSecret;
use serde::Serialize;

use super::Context;
use super::open::Entry;
use crate::client::ClientError;
use crate::client::arguments::List;
use crate::client::report::{Report, table};

#[derive(Serialize)]
struct Listed {
    key_id: String,
    kind: String,
    origin: &'static str,
    public: Option<String>,
}

#[derive(Serialize)]
struct All {
    /// Whether the list is known to be complete.
    verified: bool,
    secrets: Vec<Listed>,
}

impl From<&ListedSecret> for Listed {
    fn from(secret: &ListedSecret) -> Self {
        let origin = match secret.origin {
            Origin::Generated => "generated",
            Origin::Imported => "imported",
        };
        let (key_id, kind) = (secret.key_id.to_string(), secret.kind.to_string());
        Self { key_id, kind, origin, public: secret.public.map(|public| public.to_string()) }
    }
}

/// Lists the vault.
pub async fn run(context: &Context, arguments: &List) -> Result<Report, ClientError> {
    let password = context.password()?;
    let entry = if arguments.salvage { Entry::Salvage } else { Entry::Strict };
    let listed = context
        .in_session(&password, entry, async |open| {
            if arguments.salvage {
                let exchange = open.session.salvage()?;
                return open.run(exchange).await;
            }
            let exchange = open.session.list()?;
            open.settle(exchange).await
        })
        .await?;
    let all = All { verified: !arguments.salvage, secrets: listed.iter().map(Listed::from).collect() };
    context.form.report(|| text(&all), &all)
}

fn text(all: &All) -> String {
    let row = |secret: &Listed| {
        let public = secret.public.clone().unwrap_or_else(|| "-".to_owned());
        [secret.key_id.clone(), secret.kind.clone(), secret.origin.to_owned(), public]
    };
    let rows: Vec<_> = all.secrets.iter().map(row).collect();
    let verdict = if all.verified { "complete" } else { "NOT known to be complete, or new" };
    format!("{}{} secrets, {verdict}\n", table(["KEY ID", "KIND", "ORIGIN", "PUBLIC"], &rows), rows.len())
}
