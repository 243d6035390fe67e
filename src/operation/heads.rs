//! Heads: the links of the vault's chain, each checked against the one before (`docs/protocol.md`, "Vault head"). Logins,
//! changes, lists and comparisons of pins read them where they need to; there is no operation of its own.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::client::Line;
use crate::codec::MAX_BATCH;
use crate::error::{Error, PeerFault, Refusal};
use crate::head::{SealedHead, VaultPin};
use crate::message::{ClientMessage, ServerMessage};

/// The heads from an epoch on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The first epoch that is wanted; the newest head alone if there is none.
    pub from: Option<u64>,
}

/// As many as there are, at most 256, without a gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The heads.
    pub heads: Vec<SealedHead>,
    /// The epoch of the newest head.
    pub newest: u64,
}

// --- client half ---------------------------------------------------------------------------------------

use crate::error::VaultFault;
use crate::vault::Vault;
use crate::vault::chain::{Head, HeadChange};

/// The way along the chain to its newest head, a page at a time, as a part of an exchange.
#[derive(Clone)]
pub(crate) struct Follow {
    line: Line,
    vault: Arc<Vault>,
    /// Where it starts: no link is taken before this one was seen.
    pin: Option<VaultPin>,
    /// A head that the way must go through.
    through: Option<VaultPin>,
    /// The last link that was checked.
    at: Option<Arc<Head>>,
    /// Whether the change that is looked for was seen.
    made: bool,
}

/// How far it got.
pub(crate) enum Followed {
    /// There are more heads to ask for.
    More(Box<Follow>, ClientMessage),
    /// This is the newest. `made` says whether the change that was looked for is one of the links on the way.
    Done { line: Line, head: Arc<Head>, made: bool },
    /// The server doesn't give them.
    Refused(Refusal),
}

impl Follow {
    /// To the newest head, from the pinned one, which has to be there; to the newest, whatever it is, without a pin.
    pub(crate) fn from(line: Line, vault: Arc<Vault>, pin: Option<VaultPin>) -> Self {
        Self { line, vault, pin, through: None, at: None, made: false }
    }

    /// From the older of two heads through the newer.
    pub(crate) fn between(line: Line, vault: Arc<Vault>, one: VaultPin, other: VaultPin) -> Self {
        let (older, newer) = if one.epoch() < other.epoch() { (one, other) } else { (other, one) };
        Self { through: Some(newer), ..Self::from(line, vault, Some(older)) }
    }

    /// The request for what comes next, under the line's number.
    pub(crate) fn ask(&self) -> Result<ClientMessage, Error> {
        self.line.send(&super::Request::Heads(Request { from: self.expected() }))
    }

    /// The epoch that has to come next, if it is known.
    fn expected(&self) -> Option<u64> {
        match &self.at {
            Some(head) => Some(head.pin().epoch().saturating_add(1)),
            None => self.pin.map(|pin| pin.epoch()),
        }
    }

    /// Checks the heads that came, link by link, and looks for `sought` among the steps between them.
    ///
    /// # Errors
    /// [`VaultFault::RolledBack`], [`VaultFault::Forked`], [`VaultFault::DamagedHead`]; [`PeerFault::Mismatch`] for
    /// an answer that leads nowhere.
    pub(crate) fn receive(&self, message: ServerMessage, sought: Option<&HeadChange>) -> Result<Followed, Error> {
        let Reply { heads, newest } = match self.line.receive(message)? {
            super::Reply::Heads(reply) => reply,
            super::Reply::Refused(refusal) => return Ok(Followed::Refused(refusal)),
            _ => return Err(PeerFault::OutOfOrder.into()),
        };
        let known = self.known();
        if newest < known {
            return Err(VaultFault::RolledBack { known, shown: newest }.into());
        }
        if heads.is_empty() || heads.len() > MAX_BATCH {
            return Err(PeerFault::Mismatch("number of heads").into());
        }
        let follow = heads.iter().try_fold(self.clone(), |follow, sealed| follow.step(sealed, sought))?;
        match follow.at.clone() {
            Some(head) if head.pin().epoch() == newest => {
                Ok(Followed::Done { line: follow.line, head, made: follow.made })
            }
            Some(head) if head.pin().epoch() < newest => {
                let follow = Self { line: follow.line.next()?, ..follow };
                let message = follow.ask()?;
                Ok(Followed::More(Box::new(follow), message))
            }
            _ => Err(PeerFault::Mismatch("epoch").into()),
        }
    }

    /// The greatest epoch that is known to exist.
    fn known(&self) -> u64 {
        let at = self.at.as_ref().map(|head| head.pin());
        [at, self.pin, self.through].into_iter().flatten().map(|pin| pin.epoch()).max().unwrap_or(0)
    }

    /// Goes on by one link.
    fn step(self, sealed: &SealedHead, sought: Option<&HeadChange>) -> Result<Self, Error> {
        let epoch = self.expected().unwrap_or(sealed.epoch());
        let damaged = VaultFault::DamagedHead { epoch };
        if sealed.epoch() != epoch {
            return Err(damaged.into());
        }
        let is_other = |known: &VaultPin| known.epoch() == epoch && *known != sealed.pin();
        if [self.pin, self.through].iter().flatten().any(is_other) {
            return Err(VaultFault::Forked { epoch }.into());
        }
        let head = self.vault.open_head(sealed)?;
        let made = match &self.at {
            Some(before) if !head.follows(before) => return Err(damaged.into()),
            Some(before) => sought.is_some_and(|change| head.made(before, change)),
            None => false,
        };
        Ok(Self { at: Some(Arc::new(head)), made: self.made || made, ..self })
    }
}

// --- server half ---------------------------------------------------------------------------------------

use super::{Context, Effect, Serve};
use crate::error::RecordName;
use crate::storage::{Found, HeadsQuery, Query, Transaction};

/// The most heads of an answer.
const PAGE: u16 = 256;

impl Request {
    fn heads_query(&self, context: &Context<'_>) -> HeadsQuery {
        HeadsQuery::new(context.user_id, self.from, PAGE)
    }
}

impl Serve for Request {
    fn query(&self, context: &Context<'_>) -> Result<Option<Query>, Refusal> {
        Ok(Some(Query::Heads(self.heads_query(context))))
    }

    /// The write changes nothing: its guard, which comes after the read, keeps the heads of another credential from a
    /// session that would take them for a fault. There is no entry, since nothing of the vault is read.
    fn serve(self, context: &Context<'_>, found: Option<Found>) -> Result<Effect, Error> {
        let found = found.ok_or_else(|| Error::stored(RecordName::Answer, "is missing"))?;
        let found = found.heads(&self.heads_query(context))?;
        let standing = match context.check_standing(found.standing) {
            Ok(standing) => standing,
            Err(refusal) => return Ok(Effect::refuse(refusal)),
        };
        // A head may have been appended between the two reads of the store.
        let last = found.heads.last().map_or(0, SealedHead::epoch);
        let reply = super::Reply::Heads(Reply { heads: found.heads, newest: standing.epoch.max(last) });
        let transaction =
            Transaction { advance: None, guards: vec![context.guard()], changes: vec![], audit: None, otherwise: None };
        Ok(Effect::write(transaction, reply))
    }
}
