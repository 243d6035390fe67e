//! The plain model: what a person was told, and what may have happened because an answer was lost.

use std::collections::{BTreeMap, BTreeSet};

use keystow::*;

use crate::support::PASSWORD;

/// What holds, or doesn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    NothingIsLost,
    NothingIsTwice,
    NothingCrosses,
    NoSessionSurvives,
    EveryAttemptIsCharged,
    EveryTransactionIsAudited,
    EverybodyGetsThrough,
}

/// A password, when it was first sent to be the account's, and when that was acknowledged, if it was.
#[derive(Clone, Debug)]
pub struct Password {
    pub text: String,
    pub of: Option<UserId>,
    pub asked: Option<usize>,
    pub acknowledged: Option<usize>,
}

/// An account from its registration to its deletion.
#[derive(Clone, Debug, Default)]
pub struct Life {
    /// Sent to be stored.
    pub sent: BTreeSet<KeyId>,
    /// Acknowledged.
    pub stored: BTreeSet<KeyId>,
    /// Listed.
    pub seen: BTreeSet<KeyId>,
    /// Sent to be deleted, so often.
    pub doomed: BTreeMap<KeyId, usize>,
    /// Acknowledged.
    pub deleted: BTreeSet<KeyId>,
    /// What the secrets are, as far as somebody knows.
    pub plain: BTreeMap<KeyId, Vec<u8>>,
    /// How often each was acknowledged as newly stored.
    pub fresh: BTreeMap<KeyId, usize>,
    /// Whether the account's deletion was sent, and acknowledged.
    pub closing: bool,
    pub closed: bool,
}

impl Life {
    /// What must be there.
    pub fn there(&self) -> BTreeSet<KeyId> {
        self.stored.union(&self.seen).filter(|key_id| !self.doomed.contains_key(key_id)).copied().collect()
    }
}

pub struct Person {
    pub name: String,
    /// Whether the person knows that there is an account.
    pub registered: bool,
    /// Whether its deletion was sent.
    pub closing: bool,
    pub passwords: Vec<Password>,
    /// The password that worked last.
    pub hint: usize,
    pub lives: BTreeMap<UserId, Life>,
    pub imports: usize,
    /// How many accounts are gone and forgotten.
    pub forgotten: usize,
}

impl Person {
    pub fn new(name: &str) -> Self {
        let first = Password { text: format!("{PASSWORD} of {name}"), of: None, asked: None, acknowledged: None };
        let (registered, closing, hint, lives, imports, forgotten) = Default::default();
        let passwords = vec![first];
        Self { name: name.to_owned(), registered, closing, passwords, hint, lives, imports, forgotten }
    }

    /// The password to try after so many have failed: the one that worked last, then the newest.
    pub fn password(&self, tries: usize) -> usize {
        let others = (0..self.passwords.len()).rev().filter(|number| *number != self.hint);
        let order: Vec<usize> = [self.hint].into_iter().chain(others).collect();
        order[tries % order.len()]
    }

    pub fn life(&mut self, user_id: UserId) -> &mut Life {
        self.lives.entry(user_id).or_default()
    }

    /// Whether this password may be the account's: no change to another one, acknowledged or not, can be told to have come
    /// after it.
    pub fn may_be(&self, user_id: UserId, number: usize) -> bool {
        let changes = |password: &&Password| password.of == Some(user_id);
        let works = &self.passwords[number];
        let replaced = |other: &Password| match (works.of, other.acknowledged) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(_), Some(_)) => works.acknowledged.is_some_and(|at| other.asked.is_some_and(|asked| asked > at)),
        };
        (works.of.is_none() || works.of == Some(user_id)) && !self.passwords.iter().filter(changes).any(replaced)
    }
}
