//! How often the generator reaches what the properties are about.

use std::collections::BTreeMap;

use keystow::storage::{Change, Conflict, Outcome};
use keystow::*;

use crate::site::Step;
use crate::world::History;

pub type Counts = BTreeMap<&'static str, usize>;

impl History {
    pub fn count(&self, counts: &mut Counts) {
        let mut add = |what, count| *counts.entry(what).or_default() += count;
        for (what, count) in &self.notes {
            add(what, *count);
        }
        add("messages", self.steps.len());
        add("answers", self.steps.iter().filter(|step| step.sent.is_some()).count());
        let outcome = |outcome: fn(&Outcome) -> bool| {
            self.steps.iter().filter(|step| step.wrote.as_ref().is_some_and(|wrote| outcome(&wrote.outcome))).count()
        };
        add("writes applied", outcome(|outcome| *outcome == Outcome::Applied));
        add("writes repeated", outcome(|outcome| *outcome == Outcome::Repeated));
        add("writes of sessions that moved", outcome(|outcome| *outcome == Outcome::Moved));
        add("races lost for the vault's head", outcome(|outcome| *outcome == Outcome::Conflict(Conflict::Head)));
        add("writes under an old credential", outcome(|outcome| *outcome == Outcome::Conflict(Conflict::Credential)));
        add("attempts over the limit", outcome(|outcome| *outcome == Outcome::Conflict(Conflict::AttemptLimit)));
        let taken = |outcome: &Outcome| matches!(outcome, Outcome::Conflict(Conflict::KeyIdTaken(_)));
        add("late stores of what was deleted", outcome(taken));
        add("accounts deleted", self.change(|change| matches!(change, Change::DeleteAccount { .. })));
        add("passwords changed", self.change(|change| matches!(change, Change::ReplaceCredential { .. })));
        add("sessions ended by a change of password", self.outlived());
        add("expired sessions asked", self.expired());
        add("repeats answered again", self.answered_again());
        add("late KE3s", self.late_finishes());
        add("unanswered writes", self.steps.iter().filter(|step| unanswered(step)).count());
    }

    fn change(&self, is: fn(&Change) -> bool) -> usize {
        self.changes().filter(|(_, _, change)| is(change)).count()
    }

    /// Changes of password while another session of the account was open.
    fn outlived(&self) -> usize {
        let changed = self.changes().filter_map(|(number, step, change)| match change {
            Change::ReplaceCredential { user_id, .. } => Some((number, step.session, *user_id)),
            _ => None,
        });
        let open = |(number, session, user_id): &(usize, (SessionId, usize), UserId)| {
            let before = self.deeds.iter().filter(|deed| deed.step < *number && deed.user_id == *user_id);
            before.into_iter().any(|deed| deed.session != *session)
        };
        changed.filter(open).count()
    }

    /// Ends of a login that came too late for it.
    fn late_finishes(&self) -> usize {
        let timeout = ServerPolicy::default().handshake_timeout;
        let begun = |step: &Step| {
            let is_begin = |other: &&Step| {
                other.session == step.session && matches!(other.message, ClientMessage::LoginRequest { .. })
            };
            self.steps.iter().find(is_begin).map(|other| other.at)
        };
        let finishes = self.steps.iter().filter(|step| matches!(step.message, ClientMessage::LoginFinish { .. }));
        let answered = finishes.filter(|step| step.sent.is_some());
        answered.filter(|step| begun(step).is_some_and(|begun| step.at > begun.after(timeout))).count()
    }

    /// Requests that came to a session after its time, by what was then not done.
    fn expired(&self) -> usize {
        let policy = ServerPolicy::default();
        let mut last: BTreeMap<_, Timestamp> = BTreeMap::new();
        let mut late = 0;
        for step in self.steps.iter().filter(|step| step.sent.is_some()) {
            let before = last.insert(step.session, step.at);
            let is_late = before.is_some_and(|before| step.at > before.after(policy.idle_timeout));
            late += usize::from(is_late && matches!(step.message, ClientMessage::Frame(_)));
        }
        late
    }
}

fn unanswered(step: &Step) -> bool {
    step.sent.is_none() && step.wrote.as_ref().is_some_and(|wrote| wrote.outcome == Outcome::Applied)
}
