//! `register`, `passwd`, `delete-account`: the account as a whole.

use serde::Serialize;

use super::open::{Entry, rng};
use super::{Context, Open};
use crate::client::arguments::DeleteAccount;
use crate::client::device::Rollback;
use crate::client::password::confirm;
use crate::client::report::Report;
use crate::client::spinner::Spinner;
use crate::client::{ClientError, password};

#[derive(Serialize)]
struct Registered {
    account: String,
    user_id: String,
    server_key: String,
    pin: String,
}

/// Makes the account, and keeps on the device what a later login needs.
pub async fn register(context: &Context) -> Result<Report, ClientError> {
    let client = context.client()?;
    let mut connection = context.connection()?;
    let password = context.passwords.new_one("KEYSTOW_PASSWORD")?;
    let device = context.locked_device()?;
    if device.pin()?.is_some() {
        let folder = device.folder().display();
        return Err(ClientError::Local(format!(
            "This device knows an account of this name already. If it is gone, remove {folder} first."
        )));
    }
    let spinner = Spinner::start("Registering");
    let registered = connection.run(client.register(password.as_str(), &mut rng())?).await?;
    drop(spinner);
    device.keep_identity(registered.server_key, registered.user_id)?;
    device.keep_pin(registered.pin, Rollback::Refuse)?;
    let object = Registered {
        account: client.account().to_string(),
        user_id: registered.user_id.to_string(),
        server_key: registered.server_key.to_string(),
        pin: registered.pin.to_string(),
    };
    context.form.report(|| format!("Registered {} as user {}.\n", object.account, object.user_id), &object)
}

#[derive(Serialize)]
struct Changed {
    changed: bool,
    pin: String,
}

/// Changes the password. Every other session of the account ends.
pub async fn change_password(context: &Context) -> Result<Report, ClientError> {
    let current = context.password()?;
    let new = context.passwords.new_one("KEYSTOW_NEW_PASSWORD")?;
    let pin = context.in_session(&current, Entry::Strict, async |open| change(open, &new).await).await?;
    let object = Changed { changed: true, pin };
    context.form.report(|| "The new password holds.\n".to_owned(), &object)
}

async fn change(open: &mut Open, new: &password::Password) -> Result<String, ClientError> {
    let exchange = open.session.change_password(new.as_str(), &mut rng())?;
    let spinner = Spinner::start("Changing the password");
    let changed = open.settle(exchange).await;
    drop(spinner);
    match changed {
        Ok(()) => Ok(open.session.pin().to_string()),
        Err(error) if error.leaves_doubt() => Err(ClientError::UnknownPassword(Box::new(error))),
        Err(error) => Err(error),
    }
}

#[derive(Serialize)]
struct Deleted {
    deleted: bool,
}

/// Deletes the account, and what the device keeps of it.
pub async fn delete(context: &Context, arguments: &DeleteAccount) -> Result<Report, ClientError> {
    confirm("The account goes with all of its secrets, for good.", arguments.yes)?;
    let password = context.password()?;
    let mut open = Open::log_in(context, &password, Entry::Delete).await?;
    let exchange = open.session.delete_account()?;
    open.run(exchange).await?; // the session is over with it
    open.device.forget()?;
    context.form.report(|| "The account is deleted.\n".to_owned(), &Deleted { deleted: true })
}
