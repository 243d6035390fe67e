//! Vault heads as honest devices sealed them. A store that lies can show one device this head and another that one, so they
//! are a forest, and what a device believes has to lie on one path.

use std::collections::{BTreeMap, BTreeSet};

use keystow::operation::{Request, change_password};
use keystow::{KeyId, VaultPin};

#[derive(Default)]
pub struct Forest(BTreeMap<[u8; VaultPin::LEN], Node>);

struct Node {
    parent: Option<VaultPin>,
    /// The secrets that it stands for; unknown once a device was made to count something twice.
    live: Option<BTreeSet<KeyId>>,
}

impl Forest {
    /// The first head of a vault.
    pub fn plant(&mut self, pin: VaultPin) {
        self.0.insert(pin.to_bytes(), Node { parent: None, live: Some(BTreeSet::new()) });
    }

    /// A request with a head that a device has sealed as the one after `parent`.
    pub fn grow(&mut self, parent: VaultPin, request: &Request) {
        let (head, added, removed) = match request {
            Request::Store(request) => {
                (&request.head, request.secrets.iter().map(|secret| secret.header.key_id()).collect(), Vec::new())
            }
            Request::Delete(request) => (&request.head, Vec::new(), request.key_ids.clone()),
            Request::ChangePassword(change_password::Request::Finish { head, .. }) => (head, Vec::new(), Vec::new()),
            Request::DeleteAccount(request) => match &request.head {
                Some(head) => (head, Vec::new(), Vec::new()),
                None => return,
            },
            _ => return,
        };
        assert_eq!(head.epoch(), parent.epoch() + 1, "a head is skipped");
        let live = self.live(parent).cloned().and_then(|mut live| {
            let was_there = removed.iter().all(|key_id| live.remove(key_id));
            // What was deleted once may be left out, for it was there.
            let is_new = !added.iter().any(|key_id| self.was_ever(parent, key_id) && !live.contains(key_id));
            live.extend(added);
            (was_there && is_new).then_some(live)
        });
        self.0.insert(head.pin().to_bytes(), Node { parent: Some(parent), live });
    }

    pub fn has(&self, pin: VaultPin) -> bool {
        self.0.contains_key(&pin.to_bytes())
    }

    /// The secrets that the vault has at this head, if it is known.
    pub fn live(&self, pin: VaultPin) -> Option<&BTreeSet<KeyId>> {
        self.0[&pin.to_bytes()].live.as_ref()
    }

    /// The path from a head to the first one.
    fn path(&self, pin: VaultPin) -> impl Iterator<Item = VaultPin> {
        core::iter::successors(Some(pin), |pin| self.0[&pin.to_bytes()].parent)
    }

    /// Whether the one head is the other, or comes before it.
    pub fn leads(&self, from: VaultPin, to: VaultPin) -> bool {
        self.path(to).any(|pin| pin == from)
    }

    /// Whether a head on the path has the secret, or may have.
    pub fn was_ever(&self, pin: VaultPin, key_id: &KeyId) -> bool {
        self.path(pin).any(|pin| self.live(pin).is_none_or(|live| live.contains(key_id)))
    }
}
