//! Passwords: from a hidden prompt, the environment, or standard input; in memory that is wiped.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;

use zeroize::Zeroizing;

use super::ClientError;

/// A password, wiped when dropped.
pub type Password = Zeroizing<String>;

/// The longest line that is read: longer than any password may be.
const MAX_LINE: usize = 2 * keystow::Client::MAX_PASSWORD;

/// Where passwords come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A line of standard input each.
    StandardInput,
    /// The environment, or else a prompt.
    EnvironmentOrPrompt,
}

impl Source {
    /// The account's password: `KEYSTOW_PASSWORD`, or the answer to a prompt.
    ///
    /// # Errors
    /// [`ClientError::Usage`].
    pub fn current(self) -> Result<Password, ClientError> {
        match self.given("KEYSTOW_PASSWORD")? {
            Some(password) => Ok(password),
            None => prompt("Password: "),
        }
    }

    /// A new password, from the variable of that name or asked for twice.
    ///
    /// # Errors
    /// [`ClientError::Usage`], also if the two are not the same.
    pub fn new_one(self, variable: &str) -> Result<Password, ClientError> {
        if let Some(password) = self.given(variable)? {
            return Ok(password);
        }
        let (first, second) = (prompt("New password: ")?, prompt("The same again: ")?);
        if first != second {
            return Err(ClientError::Usage("The two passwords are not the same.".to_owned()));
        }
        Ok(first)
    }

    fn given(self, variable: &str) -> Result<Option<Password>, ClientError> {
        match self {
            Self::StandardInput => line().map(Some),
            Self::EnvironmentOrPrompt => match std::env::var(variable) {
                Ok(password) => Ok(Some(Zeroizing::new(password))),
                Err(std::env::VarError::NotPresent) => Ok(None),
                Err(std::env::VarError::NotUnicode(_)) => Err(ClientError::Usage(format!("{variable} is not UTF-8."))),
            },
        }
    }
}

fn prompt(text: &str) -> Result<Password, ClientError> {
    rpassword::prompt_password(text).map(Zeroizing::new).map_err(|error| {
        ClientError::Usage(format!(
            "The password can't be asked for ({error}): set KEYSTOW_PASSWORD or --password-stdin."
        ))
    })
}

/// The next line of standard input. Read byte by byte, past Rust's own buffer: that one is never wiped, and what comes after
/// the line is somebody else's.
fn line() -> Result<Password, ClientError> {
    let fail = |problem: &str| ClientError::Usage(format!("No password on standard input: {problem}."));
    let input = io::stdin().as_fd().try_clone_to_owned().map_err(|error| fail(&error.to_string()))?;
    let mut input = File::from(input);
    let (mut line, mut byte) = (Zeroizing::new(Vec::with_capacity(MAX_LINE)), Zeroizing::new([0; 1]));
    while input.read(byte.as_mut()).map_err(|error| fail(&error.to_string()))? == 1 && *byte != *b"\n" {
        if line.len() == MAX_LINE {
            return Err(fail("the line is too long"));
        }
        line.extend_from_slice(byte.as_ref());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    let text = std::str::from_utf8(&line).map_err(|_| fail("it is not UTF-8"))?;
    if text.is_empty() { Err(fail("the line is empty")) } else { Ok(Zeroizing::new(text.to_owned())) }
}

/// Goes on only if the person means it: `--yes`, or a "yes" typed on a terminal.
///
/// # Errors
/// [`ClientError::Usage`] if not.
pub fn confirm(what: &str, yes: bool) -> Result<(), ClientError> {
    if yes {
        return Ok(());
    }
    let mut answer = String::new();
    if io::stdin().is_terminal() && io::stderr().is_terminal() {
        eprint!("{what} Type yes to go on: ");
        io::stdin().read_line(&mut answer).map_err(|error| ClientError::Usage(error.to_string()))?;
    }
    if answer.trim() == "yes" { Ok(()) } else { Err(ClientError::Usage(format!("{what} Say --yes if you mean it."))) }
}
