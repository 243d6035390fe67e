//! `generate` and `delete`: what the vault holds.

use keystow::NewSecret;
use serde::Serialize;

use super::Context;
use super::open::{Entry, rng};
use crate::client::ClientError;
use crate::client::arguments::{Delete, Generate};
use crate::client::password::confirm;
use crate::client::report::{Form, Report, table};

/// A secret that is stored, without the secret.
#[derive(Serialize)]
pub struct Stored {
    key_id: String,
    kind: String,
    public: Option<String>,
    already_stored: bool,
}

impl From<&NewSecret> for Stored {
    fn from(secret: &NewSecret) -> Self {
        Self {
            key_id: secret.key_id.to_string(),
            kind: secret.kind.to_string(),
            public: secret.public.map(|public| public.to_string()),
            already_stored: secret.already_stored,
        }
    }
}

#[derive(Serialize)]
struct AllStored {
    secrets: Vec<Stored>,
}

/// Says what was stored.
pub fn report(form: Form, stored: &[NewSecret]) -> Result<Report, ClientError> {
    let object = AllStored { secrets: stored.iter().map(Stored::from).collect() };
    let row = |secret: &Stored| {
        [secret.key_id.clone(), secret.kind.clone(), secret.public.clone().unwrap_or_else(|| "-".to_owned())]
    };
    form.report(|| table(["KEY ID", "KIND", "PUBLIC"], &object.secrets.iter().map(row).collect::<Vec<_>>()), &object)
}

/// Makes secrets and stores them.
pub async fn generate(context: &Context, arguments: &Generate) -> Result<Report, ClientError> {
    let password = context.password()?;
    let stored = context
        .in_session(&password, Entry::Strict, async |open| {
            let exchange = open.session.generate(&arguments.kinds, &mut rng())?;
            let pending = open.run(exchange).await?;
            open.store(&pending).await
        })
        .await?;
    report(context.form, &stored)
}

#[derive(Serialize)]
struct Deleted {
    deleted: Vec<String>,
}

/// Deletes secrets.
pub async fn delete(context: &Context, arguments: &Delete) -> Result<Report, ClientError> {
    confirm("What is deleted is gone for good.", arguments.yes)?;
    let password = context.password()?;
    context
        .in_session(&password, Entry::Strict, async |open| {
            let exchange = open.session.delete(&arguments.key_ids)?;
            open.settle(exchange).await
        })
        .await?;
    let object = Deleted { deleted: arguments.key_ids.iter().map(ToString::to_string).collect() };
    context.form.report(|| format!("Deleted: {}.\n", object.deleted.join(" ")), &object)
}
