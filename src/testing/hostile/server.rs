//! The hostile server: what a client program shows it, and the table of its attacks.

mod impostor;
mod messages;
mod scene;
mod secrets;
mod vault;
mod world;

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{Attack, Stop, Tally, Target, Verdict};
use crate::id::KeyId;
use crate::kind::{Kind, PublicComponent};
use crate::operation::list::ListedSecret;
use crate::operation::retrieve::RetrievedSecret;
use crate::operation::store::NewSecret;
use crate::testing::Failure;
use scene::Scene;

/// An embedder's client program, as a person uses it: one device, with what it keeps.
pub trait ClientProgram {
    /// Does what a person asks for. `wire` carries a message to the server and brings an answer, or none (a timeout: repeat
    /// it a few times, and give up).
    ///
    /// # Errors
    /// What the program would tell the person, in any words: under attack that is right, and data that is wrong isn't.
    fn act(&mut self, act: Act<'_>, wire: &mut Wire<'_>) -> Told;
}

/// Carries a message to the server, and brings its answer.
pub type Wire<'a> = dyn FnMut(&[u8]) -> Option<Vec<u8>> + 'a;

/// What a program reports.
pub type Told = Result<Shown, Box<dyn core::error::Error>>;

/// What a person asks of a client program.
#[derive(Clone, Copy, Debug)]
pub enum Act<'a> {
    /// Register the account.
    Register {
        /// The account's name.
        account: &'a str,
        /// Its password.
        password: &'a str,
    },
    /// Log in, with what the device has kept of the account; whatever session was open is over.
    LogIn {
        /// The account's name.
        account: &'a str,
        /// Its password.
        password: &'a str,
    },
    /// Make a secret and store it.
    Generate(Kind),
    /// Store these bytes as a secret.
    Import(&'a [u8]),
    /// Store what was made before and is perhaps not stored, if there is anything.
    StorePending,
    /// Show a secret.
    Retrieve(KeyId),
    /// Show which secrets there are.
    List,
    /// Delete a secret.
    Delete(KeyId),
    /// Change the password to this one.
    ChangePassword(&'a str),
}

/// What a client program shows the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// It is done.
    Done,
    /// These secrets are stored.
    New(Vec<(KeyId, Option<PublicComponent>)>),
    /// The secret's public component and its bytes.
    Secret(Option<PublicComponent>, Vec<u8>),
    /// These secrets are all there are.
    List(Vec<(KeyId, Option<PublicComponent>)>),
    /// The program can't do that. Attacks that need it are left out.
    NotOffered,
}

impl Shown {
    /// What storing gave.
    #[must_use]
    pub fn new(stored: &[NewSecret]) -> Self {
        Self::New(stored.iter().map(|secret| (secret.key_id, secret.public)).collect())
    }

    /// What a retrieval of one secret gave.
    #[must_use]
    pub fn secret(retrieved: &[RetrievedSecret]) -> Self {
        match retrieved {
            [secret] => Self::Secret(secret.public().copied(), secret.expose().to_vec()),
            _ => Self::Secret(None, Vec::new()),
        }
    }

    /// What a list gave.
    #[must_use]
    pub fn list(listed: &[ListedSecret]) -> Self {
        Self::List(listed.iter().map(|secret| (secret.key_id, secret.public)).collect())
    }
}

/// A row of the table.
type Row = (u8, &'static str, fn(&mut Scene<'_>) -> Verdict);

/// All attacks on a client.
fn rows() -> impl Iterator<Item = &'static Row> {
    [secrets::ATTACKS, impostor::ATTACKS, messages::ATTACKS, vault::ATTACKS].into_iter().flatten()
}

/// Their descriptions.
pub(super) fn attacks() -> impl Iterator<Item = Attack> {
    rows().map(|(rule, name, _)| Attack { rule: *rule, target: Target::Client, name })
}

/// Plays the attacks that `which` picks, each against a program from `make` that has kept nothing. `identity` is the server identity that the
/// program is configured with. Gives the number of attacks that were played.
///
/// First the program is served honestly. If that doesn't work, nothing else is played. After each attack the honest server is
/// back, and the program has to get through with what it has kept.
///
/// A run takes a few hundred logins: let the program use [`crate::KsfProfile::CHEAP_FOR_TESTS`].
///
/// # Errors
/// One [`Failure`] for each attack that got through.
pub fn attack_client<P: ClientProgram + 'static>(
    identity: impl AsRef<[u8]>,
    mut make: impl FnMut() -> P,
    which: impl Fn(&Attack) -> bool,
) -> Result<usize, Vec<Failure>> {
    let mut make = || -> Box<dyn ClientProgram> { Box::new(make()) };
    let mut play = |number: u64, attack: fn(&mut Scene<'_>) -> Verdict| {
        let mut scene = Scene::new(&mut make, identity.as_ref(), number)?;
        attack(&mut scene)?;
        scene.recovers()
    };
    if let Err(Stop::Broken(problem)) = play(0, scene::use_everything) {
        return Err(alloc::vec![Failure { check: "an honest server is used", problem }]);
    }
    let mut tally = Tally::default();
    for (number, (attack, (_, name, run))) in (1..).zip(attacks().zip(rows())) {
        if which(&attack) {
            tally.add(name, play(number, *run));
        }
    }
    tally.result()
}
