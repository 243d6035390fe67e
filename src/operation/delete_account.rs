//! Delete account: everything of it goes, in pages; the name becomes free (`docs/protocol.md`, "Delete account").

use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::client::{Call, ClientSession, Exchange, Framed};
use crate::error::Error;

/// The next part of the account is to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {}

/// A part of the account is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Whether all of it is: the session is over then.
    pub done: bool,
}

// --- client half ---------------------------------------------------------------------------------------

use crate::error::PeerFault;

/// A deletion of the account under way, on the client's side.
#[derive(Debug)]
pub struct DeleteAccount(());

/// How far the deletion of an account has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an account is deleted page by page"]
pub enum Deleted {
    /// A page of secrets is gone: go on.
    Page,
    /// Everything is gone, and the session is over.
    All,
}

impl ClientSession {
    /// Starts to delete the next part of the account: up to 256 secrets, and once there are none, the account itself.
    /// Do it again until it gives [`Deleted::All`].
    ///
    /// Needs a recent login ([`crate::Refusal::LoginTooOld`]). After a crash half-way, log in and go on: the account is
    /// there until its last secret is gone.
    ///
    /// # Errors
    /// [`crate::CallerFault::SequenceExhausted`].
    pub fn delete_account(&mut self) -> Result<Exchange<Framed<DeleteAccount>>, Error> {
        self.call(&super::Request::DeleteAccount(Request {}), DeleteAccount(()))
    }
}

impl Call for DeleteAccount {
    type Output = Deleted;

    fn answer(&self, reply: super::Reply) -> Result<Deleted, Error> {
        match reply {
            super::Reply::DeleteAccount(Reply { done: false }) => Ok(Deleted::Page),
            super::Reply::DeleteAccount(Reply { done: true }) => Ok(Deleted::All),
            _ => Err(PeerFault::OutOfOrder.into()),
        }
    }
}

// --- server half ---------------------------------------------------------------------------------------

use super::{Context, Effect, Serve};
use crate::error::{RecordName, Refusal};
use crate::storage::{Action, Change, Found, Query, SecretsPageQuery, Transaction};

/// Secrets that go with one transaction.
const PAGE: u16 = 256;

fn page_query(context: &Context<'_>) -> SecretsPageQuery {
    SecretsPageQuery::new(context.user_id, None, PAGE)
}

impl Serve for Request {
    fn query(&self, context: &Context<'_>) -> Result<Option<Query>, Refusal> {
        Ok(Some(Query::SecretsPage(page_query(context))))
    }

    fn serve(self, context: &Context<'_>, found: Option<Found>) -> Result<Effect, Error> {
        let found = found.ok_or_else(|| Error::stored(RecordName::Answer, "is missing"))?;
        let found = found.page(&page_query(context))?;
        let reply = |done| super::Reply::DeleteAccount(Reply { done });
        match found.credential {
            // The account is gone: by this very request, whose outcome was lost, or by another device.
            None => return Ok(Effect::reply(reply(true))),
            Some(credential) if credential != context.credential => return Ok(Effect::refuse(Refusal::SessionEnded)),
            Some(_) => {}
        }
        if let Err(refusal) = context.check_recent() {
            return Ok(Effect::refuse(refusal));
        }
        let user_id = context.user_id;
        let done = found.records.is_empty();
        let changes: Vec<Change> = if done {
            vec![Change::DeleteAccount { name: context.account.clone(), user_id }]
        } else {
            found.records.iter().map(|(key_id, _)| Change::PurgeSecret { user_id, key_id: *key_id }).collect()
        };
        // The last entry would be about an account that isn't there, in a trail that isn't either.
        let audit = (!done).then(|| context.audit(Action::DeleteAccount, true, vec![]));
        let transaction = Transaction { guards: vec![context.guard()], changes, audit, otherwise: None };
        Ok(Effect::write(transaction, reply(done)))
    }
}
