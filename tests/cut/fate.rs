//! Fate: what goes wrong, and where. A run asks at each of its points whether it is cut there, and with which of the cuts that
//! are possible there; so the points are counted by the run itself, and no list of them has to be kept.

use std::collections::HashSet;

use keystow::storage::Conflict;

/// What can happen at a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut {
    /// The client's program is gone, with all that isn't on its disk.
    ClientCrashes,
    /// The same, and the message that it has just sent arrives when everything is over.
    ClientCrashesAndItsMessageIsLate,
    /// The server's process is gone, with its sessions; in a fleet another node goes on.
    ServerCrashes,
    MessageIsLost,
    /// A read that fails, or a write that wasn't applied, which the server doesn't know.
    StoreFails,
    /// A write was applied, which the server doesn't know.
    OutcomeIsUnknown,
    AnswerIsLost,
    /// Another device stores a secret: between a step's read and its write, or between a write, whose outcome the server
    /// doesn't learn, and its repeat.
    AnotherDevice,
    /// A condition of the transaction doesn't hold for as long as it is applied.
    Conflict(Conflict),
}

/// A point by its number in a run, and a cut by its number there.
pub type Blow = (usize, usize);

/// The blows to come, and what the run has met with.
#[derive(Default)]
pub struct Fate {
    script: Vec<Blow>,
    struck: usize,
    /// How many cuts are possible at each point that the run has passed.
    pub points: Vec<usize>,
    /// While it sleeps, nothing is a point.
    pub asleep: bool,
}

impl Fate {
    pub fn new(script: &[Blow]) -> Self {
        Self { script: script.to_vec(), ..Self::default() }
    }

    pub fn asleep() -> Self {
        Self { asleep: true, ..Self::default() }
    }

    /// Whether the run is cut here, and how.
    pub fn cut(&mut self, possible: &[Cut]) -> Option<Cut> {
        if self.asleep {
            return None;
        }
        let here = self.points.len();
        self.points.push(possible.len());
        let &(point, which) = self.script.get(self.struck)?;
        if point != here {
            return None;
        }
        self.struck += 1;
        Some(possible[which])
    }

    pub fn struck(&self) -> usize {
        self.struck
    }

    /// Whether all blows have struck.
    pub fn is_over(&self) -> bool {
        self.struck == self.script.len()
    }
}

/// How a run ended.
pub struct Run {
    /// How many cuts were possible at each point.
    pub points: Vec<usize>,
    /// Wrong answers of the store that were told after the last blow.
    pub lies: usize,
    /// The state after the last blow, by its hash.
    pub state: u64,
}

/// What a flow comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Points of the undisturbed run.
    pub points: usize,
    /// Cuts there: as many runs with one cut.
    pub cuts: usize,
    /// Wrong answers of the store, in the undisturbed run and behind each cut.
    pub lies: usize,
    /// Runs with two cuts.
    pub pairs: usize,
    /// Pairs whose first cut leaves the state that another one left; they were not run again.
    pub twins: usize,
}

impl Count {
    pub fn runs(&self) -> usize {
        1 + self.cuts + self.pairs
    }
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.points += other.points;
        self.cuts += other.cuts;
        self.lies += other.lies;
        self.pairs += other.pairs;
        self.twins += other.twins;
    }
}

/// Every place of a cut from the point `first` on.
fn blows(points: &[usize], first: usize) -> impl Iterator<Item = Blow> + '_ {
    let from = points.iter().enumerate().skip(first);
    from.flat_map(|(point, cuts)| (0..*cuts).map(move |cut| (point, cut)))
}

/// Runs a flow with no cut, with each single one, and, if they are asked for, with each pair. `run` gets the blows, and the states
/// that need not be gone through again.
pub fn explore(pairs: bool, run: &mut dyn FnMut(&[Blow], &HashSet<u64>) -> Run) -> Count {
    let nothing_known = HashSet::new();
    let uncut = run(&[], &nothing_known);
    let mut count = Count { points: uncut.points.len(), lies: uncut.lies, ..Count::default() };
    let mut singles = Vec::new();
    for blow in blows(&uncut.points, 0) {
        let single = run(&[blow], &nothing_known);
        count.cuts += 1;
        count.lies += single.lies;
        singles.push((blow, single));
    }
    if !pairs {
        return count;
    }
    // A run that has come to an end has shown that its state behind the last blow is a good one.
    let mut known: HashSet<u64> = singles.iter().map(|(_, single)| single.state).collect();
    let mut begun = HashSet::new();
    for (first, single) in &singles {
        let seconds = blows(&single.points, first.0 + 1);
        if !begun.insert(single.state) {
            count.twins += seconds.count();
            continue;
        }
        for second in seconds {
            let pair = run(&[*first, second], &known);
            known.insert(pair.state);
            count.pairs += 1;
        }
    }
    count
}
