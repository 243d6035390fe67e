//! Delete account: everything of it goes, in pages; the name becomes free (`docs/protocol.md`, "Delete account").

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::client::{Amend, Amending, ClientSession, Exchange, LIST, Line, Next, Operation};
use crate::error::Error;
use crate::head::SealedHead;
use crate::message::ServerMessage;

/// The next part of the account is to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The vault's last head, unless it is there already: it says that the vault is closed.
    pub head: Option<Box<SealedHead>>,
}

/// A part of the account is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Whether all of it is: the session is over then.
    pub done: bool,
}

// --- client half ---------------------------------------------------------------------------------------

use crate::error::PeerFault;
use crate::vault::chain::HeadChange;

/// A deletion of the account under way, on the client's side.
pub struct DeleteAccount(State);

enum State {
    /// The vault is being closed, with the first part.
    Closing(Box<Amending<Close>>),
    /// It is closed: one part after the other.
    Closed(Line),
}

/// The change that closes a vault.
#[doc(hidden)]
#[derive(Debug)]
pub struct Close(HeadChange);

impl ClientSession {
    /// Starts to delete the account with everything in it: first the vault is closed, then its secrets go, 256 at a time, and
    /// the account itself goes last. The session is over then, and the name is free.
    ///
    /// Needs a recent login ([`crate::Refusal::LoginTooOld`]). After a crash half-way, log in and start again: the account is
    /// there until its last secret is gone, and closed for everything else ([`crate::CallerFault::VaultClosed`]).
    ///
    /// # Errors
    /// [`crate::CallerFault::Unsettled`], [`crate::CallerFault::SequenceExhausted`].
    pub fn delete_account(&mut self) -> Result<Exchange<DeleteAccount>, Error> {
        let (line, vault, tip) = (self.vault_line(LIST)?, Arc::clone(self.vault()), Arc::clone(self.tip()));
        if tip.is_closed() {
            let message = line.send(&NEXT_PART)?;
            return Ok(Exchange::new(DeleteAccount(State::Closed(line)), message));
        }
        let (closing, message) = Amending::begin(line, vault, tip, Close(HeadChange::Close))?;
        Ok(Exchange::new(DeleteAccount(State::Closing(Box::new(closing))), message))
    }
}

/// The request for a part that is not the first.
const NEXT_PART: super::Request = super::Request::DeleteAccount(Request { head: None });

impl Amend for Close {
    type Output = bool;

    fn change(&self) -> &HeadChange {
        &self.0
    }

    fn request(&self, head: Box<SealedHead>) -> super::Request {
        super::Request::DeleteAccount(Request { head: Some(head) })
    }

    fn output(&self, reply: super::Reply, _: bool) -> Result<bool, Error> {
        is_done(&reply)
    }
}

fn is_done(reply: &super::Reply) -> Result<bool, Error> {
    match reply {
        super::Reply::DeleteAccount(Reply { done }) => Ok(*done),
        _ => Err(PeerFault::OutOfOrder.into()),
    }
}

impl Operation for DeleteAccount {
    type Output = ();

    fn advance(&self, message: ServerMessage) -> Result<Next<Self>, Error> {
        let (line, done) = match &self.0 {
            State::Closed(line) => match line.receive(message)? {
                super::Reply::Refused(refusal) => return Ok(Next::Done(Err(refusal))),
                reply => (line.clone(), is_done(&reply)?),
            },
            State::Closing(closing) => match closing.advance(message)? {
                Next::Send(closing, message) => {
                    return Ok(Next::Send(Self(State::Closing(Box::new(closing))), message));
                }
                Next::Done(Err(refusal)) => return Ok(Next::Done(Err(refusal))),
                Next::Done(Ok(closed)) => closed.into_parts(),
            },
        };
        if done {
            return Ok(Next::Done(Ok(())));
        }
        let line = line.next()?;
        let message = line.send(&NEXT_PART)?;
        Ok(Next::Send(Self(State::Closed(line)), message))
    }
}

impl fmt::Debug for DeleteAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeleteAccount(..)")
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
        if found.standing.is_none() {
            // The account is gone: by this very request, whose outcome was lost, or by another device.
            return Ok(Effect::reply(reply(true)));
        }
        if let Err(refusal) = context.check_standing(found.standing) {
            return Ok(Effect::refuse(refusal));
        }
        if let Err(refusal) = context.check_recent() {
            return Ok(Effect::refuse(refusal));
        }
        let user_id = context.user_id;
        let done = found.records.is_empty();
        let mut changes: Vec<Change> =
            found.records.iter().map(|(key_id, _)| Change::PurgeSecret { user_id, key_id: *key_id }).collect();
        let mut guards = vec![context.guard()];
        match &self.head {
            // What another device has stored meanwhile is not deleted unseen.
            Some(head) if done => guards.push(context.guard_epoch(head.epoch().saturating_sub(1))),
            Some(head) => changes.push(context.append(head)?),
            None => {}
        }
        if done {
            changes.push(Change::DeleteAccount { name: context.account.clone(), user_id });
        }
        // The last entry would be about an account that isn't there, in a trail that isn't either.
        let audit = (!done).then(|| context.audit(Action::DeleteAccount, true, vec![]));
        let transaction = Transaction { advance: None, guards, changes, audit, otherwise: None };
        Ok(Effect::write(transaction, reply(done)))
    }
}
