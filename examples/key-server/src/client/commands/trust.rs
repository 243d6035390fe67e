//! `login`, `pin`, `compare`, `status`: what this device knows of the vault, and with whom it speaks.

use keystow::{ClientSession, VaultTrust};
use serde::Serialize;

use super::Context;
use super::open::{Entry, Open};
use crate::client::ClientError;
use crate::client::arguments::{Compare, Login};
use crate::client::report::Report;

#[derive(Serialize)]
struct LoggedIn {
    user_id: String,
    epoch: u64,
    pin: String,
    /// Whether the vault goes on from a pin that this device had.
    pinned: bool,
    pending_stored: Vec<String>,
}

fn is_pinned(session: &ClientSession) -> bool {
    session.trust() == VaultTrust::Pinned
}

/// Logs in, and stores what is pending.
pub async fn log_in(context: &Context, arguments: &Login) -> Result<Report, ClientError> {
    let password = context.password()?;
    let entry = if arguments.accept_rollback { Entry::AcceptRollback } else { Entry::Strict };
    let object = context.in_session(&password, entry, async |open| logged_in(open)).await?;
    let text = || {
        let basis = if object.pinned { "goes on from this device's pin" } else { "is new to this device" };
        format!("Logged in as user {}. The vault is at change {} and {basis}.\n", object.user_id, object.epoch)
    };
    context.form.report(text, &object)
}

fn logged_in(open: &mut Open) -> Result<LoggedIn, ClientError> {
    if let Some(error) = open.left_over.take() {
        return Err(error);
    }
    let session = &open.session;
    Ok(LoggedIn {
        user_id: session.user_id().to_string(),
        epoch: session.pin().epoch(),
        pin: session.pin().to_string(),
        pinned: is_pinned(session),
        pending_stored: open.caught_up.iter().map(|secret| secret.key_id.to_string()).collect(),
    })
}

#[derive(Serialize)]
struct Pin {
    pin: String,
    epoch: u64,
}

/// Shows the pin that this device has. Nothing is asked of the server.
pub fn pin(context: &Context) -> Result<Report, ClientError> {
    let pin = context
        .device()?
        .pin()?
        .ok_or_else(|| ClientError::Local("This device has no pin of this account yet: log in first.".to_owned()))?;
    let object = Pin { pin: pin.to_string(), epoch: pin.epoch() };
    context.form.report(|| format!("{}\n", object.pin), &object)
}

#[derive(Serialize)]
struct Compared {
    same_history: bool,
    epoch: u64,
}

/// Compares this device's view of the vault with another device's pin.
pub async fn compare(context: &Context, arguments: &Compare) -> Result<Report, ClientError> {
    let password = context.password()?;
    let epoch = context
        .in_session(&password, Entry::Strict, async |open| {
            let exchange = open.session.verify_pin(arguments.pin)?;
            open.settle(exchange).await?;
            Ok(open.session.pin().epoch())
        })
        .await?;
    let object = Compared { same_history: true, epoch };
    context.form.report(|| "Both devices see the same history.\n".to_owned(), &object)
}

#[derive(Serialize)]
struct Status {
    account: String,
    identity: String,
    user_id: String,
    server_key: String,
    epoch: u64,
    pinned: bool,
    key_stretching: String,
    session_seconds: u64,
    idle_seconds: u64,
    recent_login_seconds: u64,
}

/// Shows the session, and whom and what it is with.
pub async fn status(context: &Context) -> Result<Report, ClientError> {
    let password = context.password()?;
    let object = context.in_session(&password, Entry::Strict, async |open| ask(context, open).await).await?;
    context.form.report(|| text(&object), &object)
}

async fn ask(context: &Context, open: &mut Open) -> Result<Status, ClientError> {
    let exchange = open.session.status()?;
    let left = open.run(exchange).await?;
    let session = &open.session;
    Ok(Status {
        account: context.account()?.to_string(),
        identity: context.place.identity.clone(),
        user_id: session.user_id().to_string(),
        server_key: session.server_key().to_string(),
        epoch: session.pin().epoch(),
        pinned: is_pinned(session),
        key_stretching: session.ksf_profile().to_string(),
        session_seconds: left.lifetime.as_secs(),
        idle_seconds: left.idle.as_secs(),
        recent_login_seconds: left.recent_login.as_secs(),
    })
}

fn text(status: &Status) -> String {
    format!(
        "account         {} at {}\nuser            {}\nserver key      {}\nvault           change {}\nkey stretching  {}\n\
         session         {} s, idle {} s, recent login {} s\n",
        status.account,
        status.identity,
        status.user_id,
        status.server_key,
        status.epoch,
        status.key_stretching,
        status.session_seconds,
        status.idle_seconds,
        status.recent_login_seconds
    )
}
