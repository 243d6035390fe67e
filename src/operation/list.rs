//! List: all secrets, page by page, each opened before a field of its header leaves the client
//! (`docs/protocol.md`, "List").

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::client::{ClientSession, Exchange, LIST, Line, Next, Operation, Unsettled};
use crate::codec::MAX_PAGE;
use crate::error::Error;
use crate::header::SealedSecret;
use crate::id::KeyId;
use crate::message::{ClientMessage, ServerMessage};

/// The next page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// After this key ID; from the first if there is none.
    pub after: Option<KeyId>,
    /// At most this many secrets: 1 to 256.
    pub limit: u16,
}

/// A page, ascending by key ID. It ends at 512 KiB too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Header and ciphertext of each.
    pub secrets: Vec<SealedSecret>,
    /// Where the next page begins; none if this is the last.
    pub next: Option<KeyId>,
    /// The epoch of the vault head that the page belongs to.
    pub epoch: u64,
}

// --- client half ---------------------------------------------------------------------------------------

use super::heads::{Follow, Followed};
use crate::error::{CallerFault, PeerFault, VaultFault};
use crate::head::VaultPin;
use crate::kind::{Kind, Origin, PublicComponent};
use crate::vault::Vault;
use crate::vault::chain::{Head, Tally};

/// What a listing says of a secret. All of it is authenticated: the record was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedSecret {
    /// The secret's name.
    pub key_id: KeyId,
    /// What it is.
    pub kind: Kind,
    /// How it came to be.
    pub origin: Origin,
    /// The public component, if the kind has one.
    pub public: Option<PublicComponent>,
}

/// The most secrets of a page, as the request says it.
const MAX_PAGE_ITEMS: u16 = 256;

/// A listing under way, on the client's side.
#[derive(Clone)]
pub struct List {
    line: Line,
    vault: Arc<Vault>,
    start: VaultPin,
    /// The head that the pages are compared with.
    tip: Arc<Head>,
    /// Whether they are: not when a vault is salvaged.
    verified: bool,
    /// What the pages so far hold, shared with the states before.
    pages: Vec<Arc<[ListedSecret]>>,
    tally: Arc<Tally>,
    after: Option<KeyId>,
    /// The way to a newer head, when one is needed.
    follow: Option<Box<Follow>>,
}

impl ClientSession {
    /// Starts to list all secrets. Gives them in ascending order of their key IDs, once it is settled.
    ///
    /// **The list is complete**: it is compared with the vault's newest head, which every change moves on. A secret that
    /// was left out, added, exchanged or brought back is an error that says what differs ([`VaultFault`];
    /// [`PeerFault::DamagedSecret`] for a record that doesn't open, [`PeerFault::Mismatch`] for one that stands there
    /// twice). If the vault changes meanwhile, the listing begins again.
    ///
    /// # Errors
    /// [`CallerFault::VaultClosed`], [`CallerFault::Unsettled`], [`CallerFault::SequenceExhausted`].
    pub fn list(&mut self) -> Result<Exchange<List>, Error> {
        let (tip, vault) = (Arc::clone(self.open_tip()?), Arc::clone(self.vault()));
        let (list, message) = List::begin(self.vault_line(LIST)?, vault, tip)?;
        Ok(Exchange::new(list, message))
    }

    /// Starts to list what is left of a vault that isn't right any more ([`VaultFault`]), so that a person can save it.
    ///
    /// **Nothing shows that this list is complete, or new.** Each secret in it is the person's own all the same: its record
    /// was opened. What doesn't open is left out. There is nothing to settle: no head is taken over.
    ///
    /// # Errors
    /// [`CallerFault::Unsettled`], [`CallerFault::SequenceExhausted`].
    pub fn salvage(&mut self) -> Result<Exchange<Salvage>, Error> {
        let (tip, vault, line) = (Arc::clone(self.tip()), Arc::clone(self.vault()), self.vault_line(LIST)?);
        let (list, message) = List::begin(line, vault, tip)?;
        Ok(Exchange::new(Salvage(List { verified: false, ..list }), message))
    }
}

/// A listing without the head's promise, on the client's side.
#[derive(Debug)]
pub struct Salvage(List);

impl Operation for Salvage {
    type Output = Vec<ListedSecret>;

    fn advance(&self, message: ServerMessage) -> Result<Next<Self>, Error> {
        Ok(match self.0.advance(message)? {
            Next::Send(list, message) => Next::Send(Self(list), message),
            Next::Done(outcome) => Next::Done(outcome.map(|unsettled| unsettled.into_parts().1)),
        })
    }
}

impl List {
    /// The first message of a verified listing, which goes on from `tip` and is sent under the line's number.
    pub(crate) fn begin(line: Line, vault: Arc<Vault>, tip: Arc<Head>) -> Result<(Self, ClientMessage), Error> {
        let (start, pages, tally) = (tip.pin(), Vec::new(), Arc::new(Tally::empty()));
        let list = Self { line, vault, start, tip, verified: true, pages, tally, after: None, follow: None };
        let message = list.ask()?;
        Ok((list, message))
    }

    /// The request for the next page, under the line's number.
    fn ask(&self) -> Result<ClientMessage, Error> {
        self.line.send(&super::Request::List(Request { after: self.after, limit: MAX_PAGE_ITEMS }))
    }

    /// Asks for the next page.
    fn go_on(self) -> Result<Next<Self>, Error> {
        let next = Self { line: self.line.next()?, ..self };
        let message = next.ask()?;
        Ok(Next::Send(next, message))
    }

    /// Asks for heads: there is one that is newer than `tip`, or a page that was read under another head.
    fn catch_up(&self) -> Result<Next<Self>, Error> {
        let follow = Follow::from(self.line.next()?, Arc::clone(&self.vault), Some(self.tip.pin()));
        let message = follow.ask()?;
        Ok(Next::Send(Self { follow: Some(Box::new(follow)), ..self.clone() }, message))
    }

    /// Begins again, under the newest head.
    fn begin_again(&self, line: Line, tip: Arc<Head>) -> Result<Next<Self>, Error> {
        let (pages, tally) = (Vec::new(), Arc::new(Tally::empty()));
        Self { line, tip, pages, tally, after: None, follow: None, ..self.clone() }.go_on()
    }

    fn take(&self, page: Reply) -> Result<Next<Self>, Error> {
        match (self.tip.pin().epoch(), page.epoch) {
            (known, shown) if self.verified && shown < known => {
                return Err(VaultFault::RolledBack { known, shown }.into());
            }
            (known, shown) if self.verified && shown > known => return self.catch_up(),
            _ => {}
        }
        let (next, secrets) = (page.next, self.open(page)?);
        let tally = self.tally.plus(&self.vault.tally(secrets.iter().map(|secret| &secret.key_id)));
        let mut pages = self.pages.clone();
        pages.push(secrets.into());
        if next.is_some() {
            return Self { pages, tally: Arc::new(tally), after: next, ..self.clone() }.go_on();
        }
        if self.verified {
            tally.check(&self.tip)?;
        }
        let all = pages.iter().flat_map(|page| page.iter().copied()).collect();
        Ok(Next::Done(Ok(Unsettled::new(self.line.clone(), self.start, Arc::clone(&self.tip), all))))
    }

    /// Rule 3: a header's field leaves only after its record was opened, which authenticates it. Strictly ascending key
    /// IDs, and pages that go forward, are the other half: nothing is listed twice, and a listing ends.
    fn open(&self, Reply { secrets, next, .. }: Reply) -> Result<Vec<ListedSecret>, Error> {
        if secrets.len() > usize::from(MAX_PAGE_ITEMS) {
            return Err(PeerFault::Mismatch("number of secrets").into());
        }
        let mut last = self.after;
        let mut listed = Vec::with_capacity(secrets.len());
        for sealed in &secrets {
            let key_id = match self.vault.verify(sealed) {
                Ok(key_id) => key_id,
                // What doesn't open must not keep the rest from being saved.
                Err(_) if !self.verified => continue,
                Err(error) => return Err(error),
            };
            let header = &sealed.header;
            if last.is_some_and(|last| key_id <= last) {
                return Err(PeerFault::Mismatch("order of secrets").into());
            }
            last = Some(key_id);
            let (kind, origin, public) = (header.kind(), header.origin(), header.public().copied());
            listed.push(ListedSecret { key_id, kind, origin, public });
        }
        // The next page begins at this page's last secret, or behind it (tombstones): never before, never where
        // this one began.
        if next.is_some() && (next < last || next <= self.after) {
            return Err(PeerFault::Mismatch("next page").into());
        }
        Ok(listed)
    }
}

impl Operation for List {
    type Output = Unsettled<Vec<ListedSecret>>;

    fn advance(&self, message: ServerMessage) -> Result<Next<Self>, Error> {
        if let Some(follow) = &self.follow {
            return match follow.receive(message, None)? {
                Followed::More(follow, message) => {
                    Ok(Next::Send(Self { follow: Some(follow), ..self.clone() }, message))
                }
                Followed::Refused(refusal) => Ok(Next::Done(Err(refusal))),
                Followed::Done { head, .. } if head.is_closed() => Err(CallerFault::VaultClosed.into()),
                Followed::Done { line, head, .. } => self.begin_again(line, head),
            };
        }
        match self.line.receive(message)? {
            super::Reply::List(page) => self.take(page),
            super::Reply::Refused(Refusal::HeadMoved) if self.verified => self.catch_up(),
            super::Reply::Refused(Refusal::HeadMoved) => self.clone().go_on(),
            super::Reply::Refused(refusal) => Ok(Next::Done(Err(refusal))),
            _ => Err(PeerFault::OutOfOrder.into()),
        }
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").field("line", &self.line).field("pages", &self.pages.len()).finish_non_exhaustive()
    }
}

// --- server half ---------------------------------------------------------------------------------------

use super::{Context, Effect, Serve};
use crate::error::{RecordName, Refusal};
use crate::storage::{Action, Found, Query, SecretRecord, SecretsPageQuery, Transaction};

impl Request {
    fn page_query(&self, context: &Context<'_>) -> SecretsPageQuery {
        SecretsPageQuery::new(context.user_id, self.after, self.limit)
    }
}

impl Serve for Request {
    fn query(&self, context: &Context<'_>) -> Result<Option<Query>, Refusal> {
        if self.limit == 0 || self.limit > MAX_PAGE_ITEMS {
            return Err(Refusal::Denied);
        }
        Ok(Some(Query::SecretsPage(self.page_query(context))))
    }

    fn serve(self, context: &Context<'_>, found: Option<Found>) -> Result<Effect, Error> {
        let found = found.ok_or_else(|| Error::stored(RecordName::Answer, "is missing"))?;
        let found = found.page(&self.page_query(context))?;
        let epoch = match context.check_standing(found.standing) {
            Ok(standing) => standing.epoch,
            Err(refusal) => return Ok(Effect::refuse(refusal)),
        };
        let full = found.records.len() == usize::from(self.limit);
        let reply = super::Reply::List(page(epoch, found.records, full));
        // The head that was read before the records is still the newest: the page is all its own.
        let transaction = Transaction {
            advance: None,
            guards: vec![context.guard(), context.guard_epoch(epoch)],
            changes: vec![],
            audit: Some(context.audit(Action::List, true, vec![])),
            otherwise: None,
        };
        // What was read now is not what was read before the entry was written: nothing has compared its epoch.
        let repeated = Some(super::Reply::Refused(Refusal::HeadMoved));
        Ok(Effect { repeated, ..Effect::write(transaction, reply) })
    }
}

/// The live secrets of what was found, up to 512 KiB, and where to go on. One record always fits.
fn page(epoch: u64, records: Vec<(KeyId, SecretRecord)>, full: bool) -> Reply {
    let (mut secrets, mut len, mut last) = (Vec::with_capacity(records.len()), 0usize, None);
    for (key_id, record) in records {
        if let SecretRecord::Live(secret) = record {
            len = len.saturating_add(secret.len());
            if len > MAX_PAGE {
                return Reply { secrets, next: last, epoch };
            }
            secrets.push(secret);
        }
        last = Some(key_id);
    }
    Reply { secrets, next: if full { last } else { None }, epoch }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Header;
    use crate::id::UserId;

    #[test]
    fn a_page_takes_secrets_of_512_kib_and_not_one_byte_more() {
        let user_id = UserId::from_bytes([7; 16]);
        let header = |_: &[u8]| [5; 32];
        let header = Header::compose(user_id, Kind::Bytes(1), Origin::Generated, [8; 32], 9, None, header);
        let fixed = header.bytes().len();
        let first = SealedSecret { header: header.clone(), ciphertext: alloc::vec![0; 17] };
        let page_with = |len: usize| {
            let last = SealedSecret { header: header.clone(), ciphertext: alloc::vec![0; len] };
            let records = [first.clone(), last].map(SecretRecord::Live);
            let page =
                page(3, records.into_iter().zip(1..).map(|(r, n)| (KeyId::from_bytes([n; 16]), r)).collect(), false);
            (page.secrets.len(), page.next)
        };
        let fits = MAX_PAGE - first.len() - fixed;
        assert_eq!(page_with(fits), (2, None));
        assert_eq!(page_with(fits + 1), (1, Some(KeyId::from_bytes([1; 16]))));
    }
}
