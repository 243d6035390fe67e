//! List: all secrets, page by page, each opened before a field of its header leaves the client
//! (`docs/protocol.md`, "List").

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::client::{Call, ClientSession, Exchange, Framed};
use crate::codec::{MAX_BATCH, MAX_PAGE};
use crate::error::{CallerFault, Error};
use crate::header::SealedSecret;
use crate::id::KeyId;

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
}

// --- client half ---------------------------------------------------------------------------------------

use crate::error::PeerFault;
use crate::kind::{Kind, Origin, PublicComponent};
use crate::vault::Vault;

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

/// A page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPage {
    /// The secrets, ascending by key ID.
    pub secrets: Vec<ListedSecret>,
    /// Where the next page begins; none if this is the last.
    pub next: Option<KeyId>,
}

/// All pages, one after the other:
///
/// ```
/// # use keystow::operation::list::{List, ListedSecret, Listing};
/// # use keystow::{ClientSession, Error, Exchange, client::Framed, operation::list::ListedPage};
/// # fn all(session: &mut ClientSession, run: impl Fn(Exchange<Framed<List>>) -> Result<ListedPage, Error>)
/// #     -> Result<Vec<ListedSecret>, Error> {
/// let (mut listing, mut secrets) = (Listing::new(), Vec::new());
/// while let Some(exchange) = listing.next_page(session)? {
///     secrets.extend(listing.take(run(exchange)?));
/// }
/// # Ok(secrets)
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Listing {
    after: Option<KeyId>,
    done: bool,
}

impl Listing {
    /// A listing from the start.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The exchange for the next page, of up to 256 secrets; none after the last.
    ///
    /// # Errors
    /// [`CallerFault::SequenceExhausted`].
    pub fn next_page(&mut self, session: &mut ClientSession) -> Result<Option<Exchange<Framed<List>>>, Error> {
        if self.done {
            return Ok(None);
        }
        session.list(self.after, MAX_PAGE_ITEMS).map(Some)
    }

    /// Takes what that exchange gave.
    pub fn take(&mut self, page: ListedPage) -> impl Iterator<Item = ListedSecret> + use<> {
        self.done = page.next.is_none();
        self.after = page.next;
        page.secrets.into_iter()
    }
}

/// The most secrets of a page, as the request says it.
const MAX_PAGE_ITEMS: u16 = 256;

/// A listing's page under way, on the client's side.
#[derive(Debug)]
pub struct List {
    vault: Arc<Vault>,
    after: Option<KeyId>,
    limit: u16,
}

impl ClientSession {
    /// Starts to list the next 1 to 256 secrets after a key ID, or from the first. [`Listing`] goes through all pages.
    ///
    /// What the server leaves out isn't noticed.
    ///
    /// # Errors
    /// [`CallerFault::BatchLength`].
    pub fn list(&mut self, after: Option<KeyId>, limit: u16) -> Result<Exchange<Framed<List>>, Error> {
        if limit == 0 || limit > MAX_PAGE_ITEMS {
            return Err(CallerFault::BatchLength { len: usize::from(limit), max: MAX_BATCH }.into());
        }
        let request = super::Request::List(Request { after, limit });
        let call = List { vault: Arc::clone(self.vault()), after, limit };
        self.call(&request, call)
    }
}

impl Call for List {
    type Output = ListedPage;

    /// Rule 3: a header's field leaves only after its record was opened, which authenticates it. Strictly ascending key
    /// IDs, and pages that go forward, are the other half: nothing is listed twice, and a listing ends.
    fn answer(&self, reply: super::Reply) -> Result<ListedPage, Error> {
        let super::Reply::List(Reply { secrets, next }) = reply else {
            return Err(PeerFault::OutOfOrder.into());
        };
        if secrets.len() > usize::from(self.limit) {
            return Err(PeerFault::Mismatch("number of secrets").into());
        }
        let mut last = self.after;
        let mut listed = Vec::with_capacity(secrets.len());
        for sealed in &secrets {
            self.vault.open(sealed)?;
            let header = &sealed.header;
            let key_id = header.key_id();
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
        Ok(ListedPage { secrets: listed, next })
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
        if found.credential != Some(context.credential) {
            return Ok(Effect::refuse(Refusal::SessionEnded));
        }
        let full = found.records.len() == usize::from(self.limit);
        let reply = super::Reply::List(page(found.records, full));
        let transaction = Transaction {
            guards: vec![context.guard()],
            changes: vec![],
            audit: Some(context.audit(Action::List, true, vec![])),
            otherwise: None,
        };
        Ok(Effect::write(transaction, reply))
    }
}

/// The live secrets of what was found, up to 512 KiB, and where to go on. One record always fits.
fn page(records: Vec<(KeyId, SecretRecord)>, full: bool) -> Reply {
    let (mut secrets, mut len, mut last) = (Vec::with_capacity(records.len()), 0usize, None);
    for (key_id, record) in records {
        if let SecretRecord::Live(secret) = record {
            len = len.saturating_add(secret.len());
            if len > MAX_PAGE {
                return Reply { secrets, next: last };
            }
            secrets.push(secret);
        }
        last = Some(key_id);
    }
    Reply { secrets, next: if full { last } else { None } }
}
