//! The commands. Each logs in, does its work, and logs out.

mod account;
mod audit;
mod export;
mod import;
mod keys;
mod list;
mod open;
mod sign;
mod trust;

use clap::CommandFactory;
use keystow::{AccountName, Client, ClientPolicy, KsfProfile};
use zeroize::Zeroizing;

use self::open::{Entry, Open};
use super::arguments::{Arguments, Command, Place};
use super::connection::{Connection, Limits, Trust};
use super::device::{self, Device};
use super::password::Source;
use super::report::{Form, Report};
use super::{ClientError, password};

/// What every command needs.
struct Context {
    place: Place,
    form: Form,
    passwords: Source,
}

/// Runs the command that was given.
///
/// # Errors
/// [`ClientError`], which knows the exit code.
pub async fn run(arguments: Arguments) -> Result<Report, ClientError> {
    let Arguments { place, command } = arguments;
    let form = if place.json { Form::Json } else { Form::Text };
    let passwords = if place.password_stdin { Source::StandardInput } else { Source::EnvironmentOrPrompt };
    let context = Context { place, form, passwords };
    match command {
        Command::Register => account::register(&context).await,
        Command::Login(login) => trust::log_in(&context, &login).await,
        Command::Generate(generate) => keys::generate(&context, &generate).await,
        Command::Import(import) => import::run(&context, &import).await,
        Command::Export(export) => export::run(&context, &export).await,
        Command::List(list) => list::run(&context, &list).await,
        Command::Sign(sign) => sign::run(&context, &sign).await,
        Command::Delete(delete) => keys::delete(&context, &delete).await,
        Command::Passwd => account::change_password(&context).await,
        Command::Audit(audit) => audit::run(&context, &audit).await,
        Command::Pin => trust::pin(&context),
        Command::Compare(compare) => trust::compare(&context, &compare).await,
        Command::Status => trust::status(&context).await,
        Command::DeleteAccount(delete) => account::delete(&context, &delete).await,
        Command::Completions(completions) => Ok(completions_for(completions.shell)),
    }
}

fn completions_for(shell: clap_complete::Shell) -> Report {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "keystow", &mut script);
    Report::from(Zeroizing::new(script))
}

impl Context {
    /// The account's password.
    fn password(&self) -> Result<password::Password, ClientError> {
        self.passwords.current()
    }

    /// Logs in, does `work`, and logs out, whatever came of it.
    async fn in_session<T>(
        &self,
        password: &str,
        entry: Entry,
        work: impl AsyncFnOnce(&mut Open) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut open = Open::log_in(self, password, entry).await?;
        let outcome = work(&mut open).await;
        open.log_out().await;
        outcome
    }

    fn account(&self) -> Result<AccountName, ClientError> {
        let account = self.place.account.as_deref();
        let account = account.ok_or_else(|| missing("the account's name", "--account"))?;
        Ok(AccountName::new(account)?)
    }

    fn client(&self) -> Result<Client, ClientError> {
        Ok(Client::new(self.account()?, &self.place.identity, self.policy()?)?)
    }

    #[cfg(debug_assertions)]
    fn policy(&self) -> Result<ClientPolicy, ClientError> {
        let test = self.place.insecure_test_profile;
        Ok(ClientPolicy::new([if test { KsfProfile::FLOOR } else { KsfProfile::RECOMMENDED }])?)
    }

    #[cfg(not(debug_assertions))]
    fn policy(&self) -> Result<ClientPolicy, ClientError> {
        Ok(ClientPolicy::new([KsfProfile::RECOMMENDED])?)
    }

    /// What this device keeps of the account.
    fn device(&self) -> Result<Device, ClientError> {
        let data = self.place.data.clone().map_or_else(device::default_folder, Ok)?;
        Ok(Device::new(&data, &self.place.identity, &self.account()?))
    }

    /// The same, with other commands kept out.
    fn locked_device(&self) -> Result<Device, ClientError> {
        let mut device = self.device()?;
        device.lock(|| eprintln!("keystow: waiting for another command of this account"))?;
        Ok(device)
    }

    fn connection(&self) -> Result<Connection, ClientError> {
        let Place { server, ca, tls_name, identity, timeout, .. } = &self.place;
        let ca = ca.clone().ok_or_else(|| missing("the file of trusted certificates", "--ca"))?;
        if server.is_empty() {
            return Err(missing("the server's address", "--server"));
        }
        let default = Limits::default();
        let limits = Limits {
            connect: default.connect.min(*timeout),
            answer: default.answer.min(*timeout),
            patience: *timeout,
            total: default.total.max(*timeout),
        };
        let name = tls_name.as_deref().unwrap_or(identity);
        Ok(Connection::new(server.clone(), name, Trust::CertificateFile(ca))?.with_limits(limits))
    }
}

fn missing(what: &str, flag: &str) -> ClientError {
    ClientError::Usage(format!("Missing: {what}, {flag}."))
}
