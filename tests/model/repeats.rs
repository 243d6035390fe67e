//! A session goes forward: a repeat gets its answer again and does nothing, and what is older gets none.

use std::collections::BTreeMap;

use keystow::storage::Outcome;
use keystow::*;

use crate::site::{Opened, Step};
use crate::world::History;

/// A message's place in its session.
fn number(message: &ClientMessage) -> u64 {
    match message {
        ClientMessage::Frame(frame) => frame.sequence,
        ClientMessage::RegistrationRequest { .. } | ClientMessage::LoginRequest { .. } => 0,
        ClientMessage::RegistrationUpload { .. } | ClientMessage::LoginFinish { .. } => 1,
    }
}

fn has_written(step: &Step) -> bool {
    step.wrote.as_ref().is_some_and(|wrote| wrote.outcome != Outcome::Moved)
}

impl History {
    pub fn served_again(&self) -> Vec<String> {
        let mut against = vec![];
        let mut last: BTreeMap<Opened, &Step> = BTreeMap::new();
        for (at, step) in self.steps.iter().enumerate() {
            match last.get(&step.session) {
                Some(before) if before.message == step.message => {
                    let differs = before.sent.is_some() && step.sent.is_some() && before.sent != step.sent;
                    if has_written(step) || differs {
                        against.push(format!("step {at} serves a repeat again"));
                    }
                    continue;
                }
                Some(before) if number(&step.message) <= number(&before.message) => {
                    if has_written(step) || step.sent.is_some() {
                        against.push(format!("step {at} serves what is older than the last"));
                    }
                    continue;
                }
                _ => {}
            }
            if step.is_taken_in(self.fleet) {
                last.insert(step.session, step);
            }
        }
        against
    }

    /// Repeats that were answered.
    pub fn answered_again(&self) -> usize {
        let mut last: BTreeMap<Opened, &ClientMessage> = BTreeMap::new();
        let answered = self.steps.iter().filter(|step| step.sent.is_some());
        answered.filter(|step| last.insert(step.session, &step.message) == Some(&step.message)).count()
    }
}
