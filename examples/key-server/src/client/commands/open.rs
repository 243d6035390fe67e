//! An account that is logged in to: a session, the connection under it, and what the device keeps.

use std::path::Path;
use std::time::Duration;

use getrandom::SysRng;
use keystow::client::Operation;
use keystow::{
    CallerFault, Client, ClientSession, Error, Exchange, NewSecret, PeerFault, PendingSecrets, Refusal,
    RetrievedSecret, Unsettled, VaultFault, VaultPin,
};
use rand_core::UnwrapErr;

use super::Context;
use crate::client::connection::{Connection, Limits};
use crate::client::device::{Device, Rollback};
use crate::client::spinner::Spinner;
use crate::client::{ClientError, device};

/// The operating system's generator.
pub fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// How much the login insists on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// On a vault that goes on from the pin; pending secrets are stored.
    Strict,
    /// The same, but an older vault than the known one is taken: the person has accepted it.
    AcceptRollback,
    /// On nothing, and nothing is kept of it: to save what is left.
    Salvage,
    /// On a vault that goes on from the pin, even if it is being deleted: nothing is stored.
    Delete,
}

/// An open account.
pub struct Open {
    pub connection: Connection,
    pub device: Device,
    pub session: ClientSession,
    /// Pending secrets that this login has stored.
    pub caught_up: Vec<NewSecret>,
    /// Why pending secrets could not be stored, if some couldn't.
    pub left_over: Option<ClientError>,
}

impl Open {
    /// Logs in, keeps the newest pin, and stores what is pending.
    pub async fn log_in(context: &Context, password: &str, entry: Entry) -> Result<Self, ClientError> {
        let mut connection = context.connection()?;
        let client = context.client()?;
        let device = context.locked_device()?;
        let client = device.server_key()?.map_or(client.clone(), |key| client.pin_server_key(key));
        let (session, rollback) = enter(&mut connection, &client, password, device.pin()?, entry).await?;
        if device.user_id()?.is_some_and(|known| known != session.user_id()) {
            return Err(ClientError::OtherUser);
        }
        let mut open = Self { connection, device, session, caught_up: Vec::new(), left_over: None };
        if entry != Entry::Salvage {
            open.device.keep_identity(open.session.server_key(), open.session.user_id())?;
            open.device.keep_pin(open.session.pin(), rollback)?;
        }
        if matches!(entry, Entry::Strict | Entry::AcceptRollback) {
            open.catch_up(entry).await?;
        }
        Ok(open)
    }

    /// Runs an exchange.
    pub async fn run<O>(&mut self, exchange: Exchange<O>) -> Result<O::Output, ClientError>
    where
        O: Operation + Send + 'static,
        O::Output: Send,
    {
        self.connection.run(exchange).await
    }

    /// Runs an exchange that moves the vault's head, and keeps the new pin. Only then there is success to report.
    pub async fn settle<O, T>(&mut self, exchange: Exchange<O>) -> Result<T, ClientError>
    where
        O: Operation<Output = Unsettled<T>> + Send + 'static,
        T: Send,
    {
        let unsettled = self.connection.run(exchange).await?;
        let output = self.session.settle(unsettled)?;
        self.device.keep_pin(self.session.pin(), Rollback::Refuse)?;
        Ok(output)
    }

    /// Keeps pending secrets on the device, stores them, and forgets them.
    pub async fn store(&mut self, pending: &PendingSecrets) -> Result<Vec<NewSecret>, ClientError> {
        self.device.keep_pending(pending)?;
        let exchange = self.session.store(pending)?;
        let stored = self.settle(exchange).await?;
        self.device.forget_pending(pending)?;
        Ok(stored)
    }

    /// One secret, opened.
    pub async fn retrieve(&mut self, key_id: keystow::KeyId) -> Result<RetrievedSecret, ClientError> {
        let exchange = self.session.retrieve(&[key_id])?;
        let secret = self.run(exchange).await?.pop();
        secret.ok_or_else(|| PeerFault::Mismatch("number of secrets").into())
    }

    /// Ends the session. If no answer comes, the server ends it by itself soon.
    pub async fn log_out(self) {
        let short = Duration::from_secs(2);
        let mut connection =
            self.connection.with_limits(Limits { patience: short, answer: short, ..Limits::default() });
        if let Ok(exchange) = self.session.log_out() {
            connection.run(exchange).await.unwrap_or_default();
        }
    }

    /// Stores what an earlier command could not store, or doesn't know to be stored.
    async fn catch_up(&mut self, entry: Entry) -> Result<(), ClientError> {
        for path in self.device.pending_files()? {
            match self.catch_up_one(&path, entry).await {
                Ok(stored) => {
                    let key_ids: Vec<String> = stored.iter().map(|secret| secret.key_id.to_string()).collect();
                    eprintln!("keystow: stored what an earlier command had left: {}", key_ids.join(" "));
                    self.caught_up.extend(stored);
                }
                Err(error) if concerns_one(&error) => {
                    eprintln!("keystow: {} can't be stored and stays there: {error}", path.display());
                    self.left_over.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn catch_up_one(&mut self, path: &Path, entry: Entry) -> Result<Vec<NewSecret>, ClientError> {
        let mut pending = device::Device::pending(path)?;
        if entry == Entry::AcceptRollback {
            // The head that they were made at may be gone.
            pending = self.session.rebase(&pending)?;
        }
        self.store(&pending).await
    }
}

/// Whether pending secrets can't be stored for a reason that lies in them: it must not keep a person out of the vault.
fn concerns_one(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Local(_)
            | ClientError::Protocol(
                Error::Caller(CallerFault::DamagedPending | CallerFault::WrongUser { .. } | CallerFault::Duplicate)
                    | Error::Peer(PeerFault::Refused(Refusal::KeyIdTaken(_)))
            )
    )
}

/// The login itself, once more without the pin if the person has asked for that.
async fn enter(
    connection: &mut Connection,
    client: &Client,
    password: &str,
    pin: Option<VaultPin>,
    entry: Entry,
) -> Result<(ClientSession, Rollback), ClientError> {
    let spinner = Spinner::start("Logging in");
    let first = connection.run(client.log_in(password, pin, &mut rng())?).await;
    drop(spinner);
    let fault = match first {
        Ok(session) => return Ok((session, Rollback::Refuse)),
        Err(ClientError::Protocol(Error::Peer(PeerFault::Vault(fault)))) => fault,
        Err(error) => return Err(error),
    };
    match (entry, &fault) {
        (Entry::AcceptRollback, VaultFault::RolledBack { known, shown }) => {
            eprintln!("keystow: going back from change {known} to {shown}, as you say");
        }
        (Entry::Salvage, _) => eprintln!("keystow: {}", ClientError::from(fault)),
        _ => return Err(fault.into()),
    }
    let _spinner = Spinner::start("Logging in");
    let session = connection.run(client.log_in(password, None, &mut rng())?).await?;
    Ok((session, Rollback::Accept))
}
