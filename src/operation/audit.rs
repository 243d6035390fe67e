//! Audit: the account's own trail, page by page (`docs/protocol.md`, "Audit").

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::client::{Call, ClientSession, Exchange, Framed};
use crate::codec::{MAX_BATCH, MAX_PAGE};
use crate::error::{CallerFault, Error};

/// The next entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Which.
    pub filter: AuditFilter,
    /// After this place; from the first if there is none.
    pub after: Option<AuditPlace>,
    /// At most this many: 1 to 256.
    pub limit: u16,
}

/// A page of the trail, in order. It ends at 512 KiB too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// Where the next page begins; none if this is the last.
    pub next: Option<AuditPlace>,
}

use crate::trail::{AuditEntry, AuditFilter, AuditPlace};

// --- client half ---------------------------------------------------------------------------------------

use crate::error::PeerFault;
use crate::id::UserId;

/// A page of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditPage {
    /// The entries, in order.
    pub entries: Vec<AuditEntry>,
    /// Where the next page begins; none if this is the last.
    pub next: Option<AuditPlace>,
}

/// A page of the audit trail under way, on the client's side.
#[derive(Debug)]
pub struct Audit {
    user_id: UserId,
    request: Request,
}

impl ClientSession {
    /// Starts to read the next 1 to 256 entries of the account's audit trail that pass the filter, after a place, or
    /// from the first. It is the server's own account of what happened: it can leave things out.
    ///
    /// # Errors
    /// [`CallerFault::BatchLength`] for the limit or the filter's list of key IDs.
    pub fn audit(
        &mut self,
        filter: AuditFilter,
        after: Option<AuditPlace>,
        limit: u16,
    ) -> Result<Exchange<Framed<Audit>>, Error> {
        let request = Request { filter, after, limit };
        request.check()?;
        let call = Audit { user_id: self.user_id(), request: request.clone() };
        self.call(&super::Request::Audit(request), call)
    }
}

impl Request {
    /// Checks the bounds, for both sides.
    fn check(&self) -> Result<(), CallerFault> {
        let limit = usize::from(self.limit);
        for len in [limit, self.filter.key_ids.len().max(1)] {
            if len == 0 || len > MAX_BATCH {
                return Err(CallerFault::BatchLength { len, max: MAX_BATCH });
            }
        }
        Ok(())
    }
}

impl Call for Audit {
    type Output = AuditPage;

    fn answer(&self, reply: super::Reply) -> Result<AuditPage, Error> {
        let super::Reply::Audit(Reply { entries, next }) = reply else {
            return Err(PeerFault::OutOfOrder.into());
        };
        let Request { filter, after, limit } = &self.request;
        if entries.len() > usize::from(*limit) {
            return Err(PeerFault::Mismatch("number of entries").into());
        }
        let mut last = *after;
        for entry in &entries {
            if entry.user_id() != self.user_id || !filter.takes(entry) {
                return Err(PeerFault::Mismatch("audit entry").into());
            }
            if last.is_some_and(|last| entry.place() <= last) {
                return Err(PeerFault::Mismatch("order of entries").into());
            }
            last = Some(entry.place());
        }
        if next.is_some() && (next != last || entries.is_empty()) {
            return Err(PeerFault::Mismatch("next page").into());
        }
        Ok(AuditPage { entries, next })
    }
}

// --- server half ---------------------------------------------------------------------------------------

use super::{Context, Effect, Serve};
use crate::error::{RecordName, Refusal};
use crate::storage::{AuditQuery, Found, Query};

impl Request {
    fn audit_query(&self, context: &Context<'_>) -> AuditQuery {
        AuditQuery::new(context.user_id, self.filter.clone(), self.after, self.limit)
    }
}

impl Serve for Request {
    fn query(&self, context: &Context<'_>) -> Result<Option<Query>, Refusal> {
        self.check().map_err(|_| Refusal::Denied)?;
        Ok(Some(Query::Audit(self.audit_query(context))))
    }

    fn serve(self, context: &Context<'_>, found: Option<Found>) -> Result<Effect, Error> {
        let found = found.ok_or_else(|| Error::stored(RecordName::Answer, "is missing"))?;
        let found = found.audit(&self.audit_query(context))?;
        if let Err(refusal) = context.check_standing(found.standing) {
            return Ok(Effect::refuse(refusal));
        }
        let full = found.entries.len() == usize::from(self.limit);
        Ok(Effect::reply(super::Reply::Audit(page(found.entries, full))))
    }
}

/// The entries up to 512 KiB, and where to go on. One entry always fits.
fn page(found: Vec<AuditEntry>, full: bool) -> Reply {
    let (mut entries, mut len) = (Vec::with_capacity(found.len()), 0usize);
    for entry in found {
        // An entry's fixed part takes at most 64 bytes, a key ID 16.
        len = len.saturating_add(64).saturating_add(entry.key_ids().len().saturating_mul(16));
        if len > MAX_PAGE {
            let next = entries.last().map(AuditEntry::place);
            return Reply { entries, next };
        }
        entries.push(entry);
    }
    let next = if full { entries.last().map(AuditEntry::place) } else { None };
    Reply { entries, next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{KeyId, SessionId, Timestamp};
    use crate::storage::Action;

    fn entry(sequence: u64, key_ids: usize) -> AuditEntry {
        AuditEntry {
            user_id: UserId::from_bytes([1; 16]),
            session_id: SessionId::from_bytes([2; 16]),
            sequence,
            request: [3; 16],
            at: Timestamp::from_millis(4),
            action: Action::Retrieve,
            granted: true,
            key_ids: alloc::vec![KeyId::from_bytes([5; 16]); key_ids],
        }
    }

    #[test]
    fn a_page_takes_entries_of_512_kib_and_not_one_more() {
        // 64 bytes and 252 key IDs are 4 KiB.
        let mut entries: Vec<AuditEntry> = (0..128).map(|sequence| entry(sequence, 252)).collect();
        assert_eq!(page(entries.clone(), false), Reply { entries: entries.clone(), next: None });
        let last = entries.last().map(AuditEntry::place);
        assert_eq!(page(entries.clone(), true), Reply { entries: entries.clone(), next: last });
        entries.push(entry(128, 0));
        let whole = page(entries.clone(), false);
        entries.pop();
        assert_eq!(whole, Reply { entries, next: last });
    }
}
