//! Amending the vault: a request that carries the next head, and what to do when another device was faster.
//!
//! ```text
//! request {.., head e+1}       ->
//!                              <-   applied: the vault's head is e+1
//!                              <-   HeadMoved: ask for the heads from e on, check each, go on from the newest
//!                              <-   stored before: ask for the heads from e on, which must say so; else list
//! ```
//!
//! A change that is in the chain already is never made again: an element that is XORed twice is gone.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use super::{CHANGE, ClientSession, Exchange, Line, Next, Operation};
use crate::error::{CallerFault, Error, PeerFault, Refusal, VaultFault};
use crate::head::{SealedHead, VaultPin};
use crate::message::{ClientMessage, ServerMessage};
use crate::operation::heads::{Follow, Followed};
use crate::operation::list::{List, ListedSecret};
use crate::operation::{Reply, Request};
use crate::vault::Vault;
use crate::vault::chain::{Head, HeadChange};

/// An operation that changes the vault, as the exchange around it sees it.
pub trait Amend {
    /// What the operation gives.
    type Output;

    /// What it does to the head.
    #[doc(hidden)]
    fn change(&self) -> &HeadChange;

    /// Since when the change may have been made before.
    #[doc(hidden)]
    fn since(&self) -> Since {
        Since::Now
    }

    /// The request, with the head that it proposes.
    #[doc(hidden)]
    fn request(&self, head: Box<SealedHead>) -> Request;

    /// Whether the reply says that the change was made before, so that the proposed head was not taken.
    #[doc(hidden)]
    fn was_made_before(&self, _: &Reply) -> bool {
        false
    }

    /// Whether a verified list says that the change was made before.
    #[doc(hidden)]
    fn is_listed(&self, _: &[ListedSecret]) -> bool {
        false
    }

    /// Checks the reply. `made_before` says whether the chain shows that the change was made before this exchange.
    ///
    /// # Errors
    /// [`PeerFault`] if it is not what was asked for.
    #[doc(hidden)]
    fn output(&self, reply: Reply, made_before: bool) -> Result<Self::Output, Error>;
}

/// Since when a change may have been made before.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// It wasn't made before.
    Now,
    /// After this head.
    Head(VaultPin),
    /// Nobody knows.
    Ever,
}

/// A change of the vault under way.
pub struct Amending<A> {
    line: Line,
    vault: Arc<Vault>,
    start: VaultPin,
    amend: Arc<A>,
    /// The newest head that is known.
    tip: Arc<Head>,
    /// Whether the chain up to `tip` has the change.
    made: bool,
    step: Step,
}

#[derive(Clone)]
enum Step {
    /// The request is sent, with this head.
    Proposed(Arc<Head>),
    /// Heads are asked for.
    Following(Follow, Because),
    /// The vault is listed, since heads don't say whether the change was made before. With a reply, it is the one that says so.
    Listing(Box<List>, Option<Box<Reply>>),
}

/// Why heads are asked for.
#[derive(Clone)]
enum Because {
    /// The change may have been made since a head that is older than the session's.
    MayBeMade,
    /// The server says that the head has moved.
    Moved,
    /// The server says, in this reply, that the change was made before.
    Claimed(Box<Reply>),
}

/// What an exchange gives that has moved the vault's head, or has seen it move: hand it to [`ClientSession::settle`],
/// which gives its contents and takes the head over, then keep [`ClientSession::pin`].
///
/// If it is dropped, nothing is lost but its contents: the next exchange takes the head over.
#[derive(Debug)]
#[must_use = "hand it to ClientSession::settle"]
pub struct Unsettled<T> {
    pub(super) line: Line,
    pub(super) start: VaultPin,
    pub(super) tip: Arc<Head>,
    pub(super) output: T,
}

impl<T> Unsettled<T> {
    pub(crate) fn new(line: Line, start: VaultPin, tip: Arc<Head>, output: T) -> Self {
        Self { line, start, tip, output }
    }

    /// What is left of the exchange's line, and its output: for an exchange that goes on and ends with no head.
    pub(crate) fn into_parts(self) -> (Line, T) {
        (self.line, self.output)
    }
}

impl<A: Amend> Amending<A> {
    /// Starts to make a change in the session.
    pub(crate) fn start(session: &mut ClientSession, amend: A) -> Result<Exchange<Self>, Error> {
        let (tip, vault) = (Arc::clone(session.open_tip()?), Arc::clone(session.vault()));
        let (amending, message) = Self::begin(session.line(CHANGE)?, vault, tip, amend)?;
        Ok(Exchange::new(amending, message))
    }

    /// The first message of a change, which goes on from `tip` and is sent under the line's number.
    pub(crate) fn begin(
        line: Line,
        vault: Arc<Vault>,
        tip: Arc<Head>,
        amend: A,
    ) -> Result<(Self, ClientMessage), Error> {
        let (amend, start) = (Arc::new(amend), tip.pin());
        let step = Step::Proposed(Arc::clone(&tip));
        let this = Self { step, line, vault, start, amend, tip, made: false };
        match this.amend.since() {
            Since::Head(since) if since != start => {
                let follow = Follow::between(since, start);
                let message = this.line.send(&follow.request())?;
                Ok((Self { step: Step::Following(follow, Because::MayBeMade), ..this }, message))
            }
            Since::Now | Since::Head(_) => this.propose(this.line.clone(), Arc::clone(&this.tip), false),
            Since::Ever => this.list(this.line.clone(), Arc::clone(&this.tip), None),
        }
    }

    /// Sends the request with the head after `tip`, which says the same as `tip` if the change was `made`.
    ///
    /// # Errors
    /// [`CallerFault::VaultClosed`] if nothing but the account's deletion can go on.
    fn propose(&self, line: Line, tip: Arc<Head>, made: bool) -> Result<(Self, ClientMessage), Error> {
        if tip.is_closed() && !matches!(self.amend.change(), HeadChange::Close) {
            return Err(CallerFault::VaultClosed.into());
        }
        let change = (!made).then(|| self.amend.change());
        let (sealed, head) = self.vault.next_head(&tip, change, line.head_nonce())?;
        let message = line.send(&self.amend.request(Box::new(sealed)))?;
        Ok((Self { line, tip, made, step: Step::Proposed(Arc::new(head)), ..self.clone() }, message))
    }

    /// Asks for heads.
    fn ask(&self, follow: Follow, because: Because) -> Result<Next<Self>, Error> {
        let line = self.line.next()?;
        let message = line.send(&follow.request())?;
        Ok(Next::Send(Self { line, step: Step::Following(follow, because), ..self.clone() }, message))
    }

    fn answered(&self, proposed: &Arc<Head>, reply: Reply) -> Result<Next<Self>, Error> {
        let follow = || Follow::from(self.tip.pin());
        match reply {
            Reply::Refused(Refusal::HeadMoved) => self.ask(follow(), Because::Moved),
            Reply::Refused(refusal) => Ok(Next::Done(Err(refusal))),
            reply if !self.amend.was_made_before(&reply) => self.done(Arc::clone(proposed), reply, self.made),
            reply if self.made => self.done(Arc::clone(&self.tip), reply, true),
            reply => self.ask(follow(), Because::Claimed(Box::new(reply))),
        }
    }

    fn followed(&self, follow: &Follow, because: &Because, reply: Reply) -> Result<Next<Self>, Error> {
        let reply = match reply {
            Reply::Heads(reply) => reply,
            Reply::Refused(refusal) => return Ok(Next::Done(Err(refusal))),
            _ => return Err(PeerFault::OutOfOrder.into()),
        };
        let (head, made) = match follow.take(&self.vault, reply, Some(self.amend.change()))? {
            Followed::More(follow) => return self.ask(follow, because.clone()),
            Followed::Done { head, made } => (head, made),
        };
        match because {
            Because::Claimed(claim) if made => self.done(head, Reply::clone(claim), true),
            Because::Claimed(claim) => {
                let (next, message) = self.list(self.line.next()?, head, Some(claim.clone()))?;
                Ok(Next::Send(next, message))
            }
            Because::Moved if head.pin() == self.tip.pin() => Err(PeerFault::Mismatch("epoch").into()),
            Because::Moved | Because::MayBeMade => {
                let (next, message) = self.propose(self.line.next()?, head, self.made || made)?;
                Ok(Next::Send(next, message))
            }
        }
    }

    /// Lists the vault from `tip` on.
    fn list(&self, line: Line, tip: Arc<Head>, claim: Option<Box<Reply>>) -> Result<(Self, ClientMessage), Error> {
        let (list, message) = List::begin(line.clone(), Arc::clone(&self.vault), tip)?;
        Ok((Self { line, step: Step::Listing(Box::new(list), claim), ..self.clone() }, message))
    }

    fn listed(&self, list: &List, claim: Option<&Reply>, message: ServerMessage) -> Result<Next<Self>, Error> {
        let Unsettled { line, tip, output, .. } = match list.advance(message)? {
            Next::Done(Err(refusal)) => return Ok(Next::Done(Err(refusal))),
            Next::Done(Ok(listed)) => listed,
            Next::Send(list, message) => {
                let (line, claim) = (list.line().clone(), claim.cloned().map(Box::new));
                let step = Step::Listing(Box::new(list), claim);
                return Ok(Next::Send(Self { line, step, ..self.clone() }, message));
            }
        };
        match (self.amend.is_listed(&output), claim) {
            (true, Some(claim)) => Self { line, ..self.clone() }.done(tip, claim.clone(), true),
            (false, Some(_)) => Err(VaultFault::NotStored.into()),
            (made, None) => {
                let (next, message) = self.propose(line.next()?, tip, made)?;
                Ok(Next::Send(next, message))
            }
        }
    }

    fn done(&self, tip: Arc<Head>, reply: Reply, made_before: bool) -> Result<Next<Self>, Error> {
        let output = self.amend.output(reply, made_before)?;
        Ok(Next::Done(Ok(Unsettled::new(self.line.clone(), self.start, tip, output))))
    }
}

impl<A: Amend> Operation for Amending<A> {
    type Output = Unsettled<A::Output>;

    fn advance(&self, message: ServerMessage) -> Result<Next<Self>, Error> {
        match &self.step {
            Step::Proposed(head) => self.answered(head, self.line.receive(message)?),
            Step::Following(follow, because) => self.followed(follow, because, self.line.receive(message)?),
            Step::Listing(list, claim) => self.listed(list, claim.as_deref(), message),
        }
    }
}

// Not derived: `A` is shared, not cloned.
impl<A> Clone for Amending<A> {
    fn clone(&self) -> Self {
        Self {
            line: self.line.clone(),
            vault: Arc::clone(&self.vault),
            start: self.start,
            amend: Arc::clone(&self.amend),
            tip: Arc::clone(&self.tip),
            made: self.made,
            step: self.step.clone(),
        }
    }
}

impl<A> fmt::Debug for Amending<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Amending").field("line", &self.line).field("tip", &self.tip).finish_non_exhaustive()
    }
}
