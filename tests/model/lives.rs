//! No session survives what ends it.

use std::collections::BTreeMap;

use keystow::storage::Change;
use keystow::*;

use crate::site::{Opened, Step};
use crate::world::{Deed, History};

/// What ended the sessions of a user that had begun before, but for the one that did it.
struct End {
    step: usize,
    user_id: UserId,
    by: Option<Opened>,
}

impl History {
    /// Of each session: nothing is done, and nobody is told anything, after it has ended or expired.
    pub fn survived(&self) -> Vec<String> {
        let mut against = vec![];
        let steps = self.taken_in();
        let ends = self.ends();
        for (number, step, user_id, what) in self.effects() {
            let own = &steps[&step.session];
            let began = own.first().copied().unwrap_or(0);
            let over = |end: &&End| {
                end.user_id == user_id && end.by != Some(step.session) && began < end.step && end.step < number
            };
            if let Some(end) = ends.iter().find(over) {
                against.push(format!("step {number}: {what}, in a session that step {} has ended", end.step));
            }
        }
        for (session, own) in &steps {
            against.extend(self.late(own).map(|late| format!("{session:?}: {late}")));
            let last = self.deeds.iter().filter(|deed| deed.action == "End" && deed.session == *session);
            for end in last.map(|deed| deed.step) {
                if own.iter().any(|number| *number > end) {
                    against.push(format!("{session:?} goes on after its end in step {end}"));
                }
            }
        }
        against
    }

    /// Sessions that were told that they had ended, and had not: in time, under the account's credential, and with nothing that
    /// may need a later login.
    pub fn cut_off(&self) -> Vec<String> {
        let (policy, steps, ends) = (ServerPolicy::default(), self.taken_in(), self.ends());
        let told = self.deeds.iter().filter(|deed| deed.action == "End" && !deed.granted);
        let for_nothing = |deed: &&Deed| {
            let Some(own) = steps.get(&deed.session) else { return true };
            let before = own.iter().filter(|number| **number < deed.step).map(|number| &self.steps[*number]);
            let before: Vec<&Step> = before.collect();
            let opened = before.iter().find(|step| matches!(step.message, ClientMessage::LoginFinish { .. }));
            let (Some(opened), Some(last)) = (opened, before.last()) else { return true };
            let now = self.steps[deed.step].at;
            let late = now > last.at.after(policy.idle_timeout) || now > opened.at.after(policy.recent_login);
            let over = |end: &End| {
                let meanwhile = (own[0]..deed.step).contains(&end.step);
                // Its own change of password, which it doesn't know of, ends it too: the client has not asked again.
                let by_itself = end.by == Some(deed.session) && self.steps[end.step].is_taken_in(self.fleet);
                meanwhile && end.user_id == deed.user_id && !by_itself
            };
            !late && !ends.iter().any(over)
        };
        told.filter(for_nothing).map(|deed| format!("cut off for nothing: {deed:?}")).collect()
    }

    /// The steps that each session has taken in, a repeat left out.
    fn taken_in(&self) -> BTreeMap<Opened, Vec<usize>> {
        let mut steps: BTreeMap<Opened, Vec<usize>> = BTreeMap::new();
        for (number, step) in self.steps.iter().enumerate().filter(|(_, step)| step.is_taken_in(self.fleet)) {
            let own = steps.entry(step.session).or_default();
            if own.iter().all(|other| self.steps[*other].message != step.message) {
                own.push(number);
            }
        }
        steps
    }

    fn ends(&self) -> Vec<End> {
        let end = |(step, taken, change): (usize, &Step, &Change)| match change {
            Change::ReplaceCredential { user_id, .. } => Some(End { step, user_id: *user_id, by: Some(taken.session) }),
            Change::DeleteAccount { user_id, .. } => Some(End { step, user_id: *user_id, by: None }),
            _ => None,
        };
        self.changes().filter_map(end).collect()
    }

    /// What was done in a session: guarded or audited writes, and answers that a device took. With each, the number of steps
    /// that there were when it was decided.
    fn effects(&self) -> Vec<(usize, &Step, UserId, String)> {
        let writes = self.applied().filter_map(|(number, step, transaction)| {
            let user_id = super::checks::user_of(transaction)?;
            Some((number, step, user_id, "a write".to_owned()))
        });
        // These touch no store; and that an account is gone is told whoever asks.
        let silent = |deed: &&Deed| !["Status", "End"].contains(&deed.action);
        let told = self.deeds.iter().filter(silent).map(|deed| {
            let step = &self.steps[deed.step];
            (step.began, step, deed.user_id, format!("a {}", deed.action))
        });
        let ours = |(_, step, ..): &(usize, &Step, UserId, String)| {
            !matches!(step.message, ClientMessage::RegistrationUpload { .. })
        };
        writes.chain(told).filter(ours).collect()
    }

    /// What a session's steps did after its time.
    fn late(&self, own: &[usize]) -> Option<String> {
        let policy = ServerPolicy::default();
        let mut opened: Option<Timestamp> = None;
        let mut last: Option<Timestamp> = None;
        for number in own {
            let step = &self.steps[*number];
            let deadline = match (&step.message, opened, last) {
                (ClientMessage::Frame(_), Some(opened), Some(last)) => {
                    Some(last.after(policy.idle_timeout).min(opened.after(policy.session_lifetime)))
                }
                (_, _, Some(last)) => Some(last.after(policy.handshake_timeout)),
                _ => None,
            };
            let wrote = step.wrote.as_ref().filter(|wrote| wrote.is_applied());
            let did = wrote.is_some_and(|wrote| super::checks::user_of(&wrote.transaction).is_some());
            let told = self.deeds.iter().any(|deed| deed.step == *number && deed.action != "End");
            if deadline.is_some_and(|deadline| step.at > deadline) && (did || told) {
                return Some(format!("step {number} comes after its time"));
            }
            let renews = |change: &Change| {
                matches!(
                    change,
                    Change::ReplaceCredential { .. } | Change::PurgeSecret { .. } | Change::DeleteAccount { .. }
                )
            };
            let renews = wrote.is_some_and(|wrote| wrote.transaction.changes.iter().any(renews));
            if renews && opened.is_some_and(|opened| step.at > opened.after(policy.recent_login)) {
                return Some(format!("step {number} needs a recent login"));
            }
            if let ClientMessage::LoginFinish { .. } = step.message {
                opened = Some(step.at);
            }
            last = Some(step.at);
        }
        None
    }
}
