//! `export`: a secret in the clear, or its public key.

use std::path::Path;

use keystow::{CallerFault, PublicComponent, RetrievedSecret};
use serde::Serialize;
use zeroize::Zeroizing;

use super::Context;
use super::open::Entry;
use crate::client::arguments::{Export, ExportFormat};
use crate::client::password::confirm;
use crate::client::report::{Form, Report};
use crate::client::{ClientError, files};

/// What was exported: the value itself, or the file that it is in. Bytes as they are stand in JSON as hexadecimal.
#[derive(Serialize)]
struct Exported<'a> {
    key_id: String,
    kind: String,
    format: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

/// Writes a secret out.
pub async fn run(context: &Context, arguments: &Export) -> Result<Report, ClientError> {
    let Export { key_id, format, output, yes, salvage } = arguments;
    if !matches!(format, ExportFormat::Spki | ExportFormat::Openssh) {
        confirm("The secret is written in the clear: nothing protects it then.", *yes)?;
    }
    let password = context.password()?;
    let entry = if *salvage { Entry::Salvage } else { Entry::Strict };
    let secret = context.in_session(&password, entry, async |open| open.retrieve(*key_id).await).await?;
    let written = write(&secret, *format)?;
    let mut exported = Exported {
        key_id: key_id.to_string(),
        kind: secret.kind().to_string(),
        format: format!("{format:?}").to_lowercase(),
        value: None,
        file: None,
    };
    if let Some(path) = output {
        save(path, &written)?;
        exported.file = Some(path.display().to_string());
        return context.form.report(|| format!("Written to {}.\n", path.display()), &exported);
    }
    if context.form == Form::Json && *format == ExportFormat::Raw {
        let hex = hex(secret.expose());
        exported.value = Some(hex.trim_end());
        return context.form.secret(&written, &exported);
    }
    exported.value = std::str::from_utf8(&written).ok().map(str::trim_end);
    context.form.secret(&written, &exported)
}

fn save(path: &Path, bytes: &[u8]) -> Result<(), ClientError> {
    let saved = files::write_new(path, bytes).and_then(|()| path.parent().map_or(Ok(()), files::sync_folder));
    saved.map_err(|error| ClientError::file(path, &error))
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len().saturating_mul(2).saturating_add(1)));
    text.push_str(&Zeroizing::new(base16ct::lower::encode_string(bytes)));
    text.push('\n');
    text
}

/// The file's contents.
fn write(secret: &RetrievedSecret, format: ExportFormat) -> Result<Zeroizing<Vec<u8>>, ClientError> {
    let public = || -> Result<&PublicComponent, keystow::Error> {
        Ok(secret.public().ok_or(CallerFault::WrongKind(secret.kind()))?)
    };
    let text: Zeroizing<String> = match format {
        ExportFormat::Raw => return Ok(Zeroizing::new(secret.expose().to_vec())),
        ExportFormat::Hex => hex(secret.expose()),
        ExportFormat::Pkcs8 => secret.to_pkcs8_pem()?,
        ExportFormat::Sec1 => secret.to_sec1_pem()?,
        ExportFormat::Spki => Zeroizing::new(public()?.to_spki_pem()?),
        ExportFormat::Openssh => Zeroizing::new(public()?.to_openssh()? + "\n"),
    };
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}
