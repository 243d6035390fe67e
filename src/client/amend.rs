//! Amending the vault: a request that carries the next head, and what to do when another device was faster.
//!
//! ```text
//! request {.., head e+1}       ->
//!                              <-   applied: the vault's head is e+1
//!                              <-   HeadMoved: ask for the heads from e on, check each, go on from the newest
//!                              <-   stored before: ask for the heads from e on, which must say so; else list
//! ```
//!
//! A change that is in the chain already is never made again: a secret that is counted twice matches no list.

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

    /// The sequence numbers that it has for its requests.
    #[doc(hidden)]
    const STEPS: u64 = CHANGE;

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

    /// How much of the change a verified list shows.
    #[doc(hidden)]
    fn found_in(&self, _: &[ListedSecret]) -> InList {
        InList::None
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

/// How much of a change is there.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InList {
    /// Nothing.
    None,
    /// A part.
    Some,
    /// The whole.
    All,
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
    Following(Box<Follow>, Because),
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
        let (amending, message) = Self::begin(session.vault_line(A::STEPS)?, vault, tip, amend)?;
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
                let follow = Follow::between(this.line.clone(), Arc::clone(&this.vault), since, start);
                this.ask(follow, Because::MayBeMade)
            }
            Since::Now | Since::Head(_) => this.propose(this.line.clone(), Arc::clone(&this.tip), false),
            Since::Ever => this.list(this.line.clone(), Arc::clone(&this.tip), None),
        }
    }

    /// The same change, at another place.
    fn at(&self, line: Line, tip: Arc<Head>, made: bool, step: Step) -> Self {
        let (vault, amend) = (Arc::clone(&self.vault), Arc::clone(&self.amend));
        Self { line, vault, start: self.start, amend, tip, made, step }
    }

    /// The same, from where it stands.
    fn then(&self, step: Step) -> Self {
        self.at(self.line.clone(), Arc::clone(&self.tip), self.made, step)
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
        Ok((self.at(line, tip, made, Step::Proposed(Arc::new(head))), message))
    }

    /// Asks for heads.
    fn ask(&self, follow: Follow, because: Because) -> Result<(Self, ClientMessage), Error> {
        let message = follow.ask()?;
        Ok((self.then(Step::Following(Box::new(follow), because)), message))
    }

    fn answered(&self, proposed: &Arc<Head>, reply: Reply) -> Result<Next<Self>, Error> {
        let because = match reply {
            Reply::Refused(Refusal::HeadMoved) => Because::Moved,
            Reply::Refused(refusal) => return Ok(Next::Done(Err(refusal))),
            reply if !self.amend.was_made_before(&reply) => {
                return self.done(self.line.clone(), Arc::clone(proposed), reply, self.made);
            }
            reply if self.made => return self.done(self.line.clone(), Arc::clone(&self.tip), reply, true),
            reply => Because::Claimed(Box::new(reply)),
        };
        let follow = Follow::from(self.line.next()?, Arc::clone(&self.vault), Some(self.tip.pin()));
        self.ask(follow, because).map(Next::from)
    }

    fn followed(&self, follow: &Follow, because: &Because, message: ServerMessage) -> Result<Next<Self>, Error> {
        let (line, head, made) = match follow.receive(message, Some(self.amend.change()))? {
            Followed::Refused(refusal) => return Ok(Next::Done(Err(refusal))),
            Followed::More(follow, message) => {
                let step = Step::Following(follow, because.clone());
                return Ok(Next::Send(self.then(step), message));
            }
            Followed::Done { line, head, made } => (line, head, made),
        };
        match because {
            Because::Claimed(claim) if made => self.done(line, head, Reply::clone(claim), true),
            Because::Claimed(claim) => self.list(line.next()?, head, Some(claim.clone())).map(Next::from),
            Because::Moved if head.pin() == self.tip.pin() => Err(PeerFault::Mismatch("epoch").into()),
            Because::Moved | Because::MayBeMade => self.propose(line.next()?, head, self.made || made).map(Next::from),
        }
    }

    /// Lists the vault from `tip` on.
    fn list(&self, line: Line, tip: Arc<Head>, claim: Option<Box<Reply>>) -> Result<(Self, ClientMessage), Error> {
        let (list, message) = List::begin(line, Arc::clone(&self.vault), tip)?;
        Ok((self.then(Step::Listing(Box::new(list), claim)), message))
    }

    fn listed(&self, list: &List, claim: Option<&Reply>, message: ServerMessage) -> Result<Next<Self>, Error> {
        let Unsettled { line, tip, output, .. } = match list.advance(message)? {
            Next::Done(Err(refusal)) => return Ok(Next::Done(Err(refusal))),
            Next::Done(Ok(listed)) => listed,
            Next::Send(list, message) => {
                let step = Step::Listing(Box::new(list), claim.cloned().map(Box::new));
                return Ok(Next::Send(self.then(step), message));
            }
        };
        match (self.amend.found_in(&output), claim) {
            (InList::All, Some(claim)) => self.done(line, tip, claim.clone(), true),
            (_, Some(_)) => Err(VaultFault::NotStored.into()),
            // What is there in part was there as a whole once.
            (found, None) => self.propose(line.next()?, tip, found != InList::None).map(Next::from),
        }
    }

    fn done(&self, line: Line, tip: Arc<Head>, reply: Reply, made_before: bool) -> Result<Next<Self>, Error> {
        let output = self.amend.output(reply, made_before)?;
        Ok(Next::Done(Ok(Unsettled::new(line, self.start, tip, output))))
    }
}

impl<A: Amend> Operation for Amending<A> {
    type Output = Unsettled<A::Output>;

    fn advance(&self, message: ServerMessage) -> Result<Next<Self>, Error> {
        match &self.step {
            Step::Proposed(head) => self.answered(head, self.line.receive(message)?),
            Step::Following(follow, because) => self.followed(follow, because, message),
            Step::Listing(list, claim) => self.listed(list, claim.as_deref(), message),
        }
    }
}

impl<A> fmt::Debug for Amending<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Amending").field("line", &self.line).field("tip", &self.tip).finish_non_exhaustive()
    }
}
