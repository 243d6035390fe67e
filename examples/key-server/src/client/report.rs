//! What a command says in the end: text for a person, or one JSON object. It may hold a secret, so it is wiped.

use std::io::{self, Write};

use serde::Serialize;
use zeroize::Zeroizing;

use super::ClientError;

/// The outcome of a command, in the form that was asked for.
pub struct Report(Zeroizing<Vec<u8>>);

/// How a command reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For a person.
    Text,
    /// One JSON object.
    Json,
}

impl Form {
    /// A report. Of the two only the one that is wanted is made.
    ///
    /// # Errors
    /// None in practice.
    pub fn report(self, text: impl FnOnce() -> String, object: &impl Serialize) -> Result<Report, ClientError> {
        match self {
            Self::Text => Ok(Report(Zeroizing::new(text().into_bytes()))),
            Self::Json => json(object, 0),
        }
    }

    /// A report that holds a secret of `len` bytes: `text` is what a person gets, byte for byte.
    ///
    /// # Errors
    /// None in practice.
    pub fn secret(self, text: &[u8], object: &impl Serialize) -> Result<Report, ClientError> {
        match self {
            Self::Text => Ok(Report(Zeroizing::new(text.to_vec()))),
            Self::Json => json(object, text.len()),
        }
    }
}

/// Serialised into one allocation that is large enough, so that growing leaves no copies of a secret behind.
fn json(object: &impl Serialize, secret: usize) -> Result<Report, ClientError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(secret.saturating_mul(6).saturating_add(1024)));
    let written = serde_json::to_writer(&mut *bytes, object);
    written.map_err(|error| ClientError::Local(error.to_string()))?;
    bytes.push(b'\n');
    Ok(Report(bytes))
}

impl Report {
    /// Writes it to standard output, past the buffer of [`io::stdout`], which is never wiped.
    ///
    /// # Errors
    /// [`ClientError::Local`].
    pub fn print(&self) -> Result<(), ClientError> {
        use std::os::fd::AsFd;
        let print = || -> io::Result<()> {
            let mut out = std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?);
            out.write_all(&self.0)
        };
        print().map_err(|error| ClientError::Local(format!("standard output: {error}")))
    }
}

/// What went wrong, as JSON.
#[derive(Serialize)]
struct Failure {
    error: String,
    exit_code: u8,
}

/// Says what went wrong: on standard error, and as the JSON object if one is wanted.
pub fn print_error(form: Form, error: &ClientError) {
    eprintln!("keystow: {error}");
    if form == Form::Json {
        let failure = Failure { error: error.to_string(), exit_code: error.exit_code() };
        if let Ok(report) = json(&failure, 0) {
            report.print().unwrap_or_default();
        }
    }
}

/// Lines of columns, each as wide as its widest cell.
#[must_use]
pub fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = header.map(str::len);
    for row in rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.len()));
    }
    let line = |cells: [&str; N]| {
        let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let rows = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    std::iter::once(line(header)).chain(rows).collect()
}

impl From<Zeroizing<Vec<u8>>> for Report {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}
