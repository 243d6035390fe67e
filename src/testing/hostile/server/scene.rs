//! A program under attack: what it is asked, and how what it shows is judged.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::world::{Lie, World, honest};
use super::{Act, ClientProgram, Shown};
use crate::client::ClientSession;
use crate::id::{KeyId, UserId};
use crate::kind::{Kind, PublicComponent};
use crate::testing::hostile::{Stop, Verdict, ensure, fail};

pub(super) const PASSWORD: &str = "correct horse battery staple";
pub(super) const NEW_PASSWORD: &str = "a newer one";

/// What the vault really holds: the public component and the bytes of each secret.
type Truth = BTreeMap<KeyId, (Option<PublicComponent>, Vec<u8>)>;

pub(super) struct Scene<'a> {
    make: &'a mut dyn FnMut() -> Box<dyn ClientProgram>,
    program: Box<dyn ClientProgram>,
    pub(super) world: World,
    pub(super) account: String,
    pub(super) password: &'static str,
    /// Whether everything that was made must be stored in the end.
    pub(super) pending_must_arrive: bool,
    deleted: Vec<KeyId>,
}

impl<'a> Scene<'a> {
    /// A person who has registered, logged in, and made two secrets.
    pub(super) fn new(
        make: &'a mut dyn FnMut() -> Box<dyn ClientProgram>,
        identity: &[u8],
        seed: u64,
    ) -> Verdict<Self> {
        let (program, world) = (make(), World::new(identity, seed)?);
        let (account, password) = ("ada".to_string(), PASSWORD);
        let mut scene =
            Self { make, program, world, account, password, pending_must_arrive: true, deleted: Vec::new() };
        scene.register_honestly()?;
        scene.log_in_honestly()?;
        scene.made(Kind::Secp256k1)?;
        scene.made(Kind::Bytes(32))?;
        Ok(scene)
    }

    /// Another device, with nothing on it, and another account.
    pub(super) fn start_over(&mut self, account: &str) {
        self.program = (self.make)();
        self.account = account.to_string();
        self.password = PASSWORD;
        self.world.proposed.clear();
    }

    /// Has the program do something while the server lies. A program that doesn't end, or that makes secrets nobody asked
    /// for, is caught here.
    pub(super) fn act(&mut self, act: Act<'_>, lie: &mut Lie<'_>) -> Verdict<Result<Shown, String>> {
        let (before, registered) = (self.world.generations.len(), self.world.registrations);
        self.world.begin();
        let Self { program, world, .. } = self;
        let told = program.act(act, &mut |bytes| {
            world.note(bytes);
            if world.is_endless() { None } else { lie(world, bytes) }
        });
        ensure(!self.world.is_endless(), "the program asks without an end")?;
        if self.world.registrations > registered && !matches!(act, Act::Register { .. }) {
            return fail(format!("{act:?}: an account was registered that nobody asked for"));
        }
        let made = self.world.generations.len().saturating_sub(before);
        let asked_for = usize::from(matches!(act, Act::Generate(_) | Act::Import(_)));
        if made > asked_for {
            return fail(format!("{act:?}: a new secret was made that nobody asked for"));
        }
        match told {
            Ok(Shown::NotOffered) => Err(Stop::NotPlayed),
            Ok(shown) => Ok(Ok(shown)),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// Has the program do something at the honest server.
    pub(super) fn honestly(&mut self, act: Act<'_>) -> Verdict<Shown> {
        match self.act(act, &mut honest)? {
            Ok(shown) => Ok(shown),
            Err(error) => fail(format!("{act:?}, with an honest server: {error}")),
        }
    }

    /// The program must report an error.
    pub(super) fn must_fail(&mut self, act: Act<'_>, lie: &mut Lie<'_>) -> Verdict {
        match self.act(act, lie)? {
            Ok(_) => fail(format!("{act:?}: reported as done")),
            Err(_) => Ok(()),
        }
    }

    /// The program must report an error, or what is true.
    pub(super) fn may_fail(&mut self, act: Act<'_>, lie: &mut Lie<'_>) -> Verdict {
        match self.act(act, lie)? {
            Ok(shown) => self.check(act, &shown),
            Err(_) => Ok(()),
        }
    }

    /// What the program shows must be true.
    fn check(&mut self, act: Act<'_>, shown: &Shown) -> Verdict {
        if let Act::Register { .. } = act {
            return ensure(self.world.has_account(&self.account), "a registration is reported that wasn't made");
        }
        if let Act::ChangePassword(password) = act {
            let password = if password == NEW_PASSWORD { NEW_PASSWORD } else { PASSWORD };
            ensure(self.session_with(&[password]).is_ok(), "a change of password is reported that wasn't made")?;
        }
        let truth = self.truth()?;
        let is_true = match (act, shown) {
            (Act::Retrieve(key_id), Shown::Secret(public, bytes)) => {
                truth.get(&key_id).is_some_and(|(real, secret)| real == public && secret == bytes)
            }
            (Act::Delete(key_id), _) => !truth.contains_key(&key_id),
            (Act::List, Shown::List(listed)) => {
                let mut listed = listed.clone();
                listed.sort_unstable_by_key(|(key_id, _)| *key_id);
                listed.into_iter().eq(truth.iter().map(|(key_id, (public, _))| (*key_id, *public)))
            }
            (Act::Retrieve(_) | Act::List, _) => false,
            (Act::Generate(_) | Act::Import(_), Shown::New(new)) if new.len() != 1 => false,
            (_, Shown::New(new)) => {
                new.iter().all(|(key_id, public)| truth.get(key_id).is_some_and(|(real, _)| real == public))
            }
            (Act::Generate(_) | Act::Import(_), _) => false,
            _ => true,
        };
        if is_true { Ok(()) } else { fail(format!("{act:?}: what is shown is not what is there")) }
    }

    /// A session of the attacker's own, with whichever password the account has by now.
    fn session(&mut self) -> Verdict<ClientSession> {
        let other = if self.password == PASSWORD { NEW_PASSWORD } else { PASSWORD };
        self.session_with(&[self.password, other])
    }

    /// The same, with the first of these passwords that works.
    fn session_with(&mut self, passwords: &[&'static str]) -> Verdict<ClientSession> {
        for password in passwords {
            if let Ok(session) = self.world.log_in(&self.account, password) {
                self.password = password;
                return Ok(session);
            }
        }
        fail("no password opens the account any more")
    }

    /// What the vault holds, seen by a device of its own with an honest server.
    fn truth(&mut self) -> Verdict<Truth> {
        let mut session = self.session()?;
        let exchange = session.list()?;
        let listed = self.world.run(exchange)?;
        let mut truth = Truth::new();
        for listed in session.settle(listed)? {
            let exchange = session.retrieve(&[listed.key_id])?;
            for secret in self.world.run(exchange)? {
                truth.insert(listed.key_id, (listed.public, secret.expose().to_vec()));
            }
        }
        Ok(truth)
    }

    /// A secret that is stored, by its place.
    pub(super) fn key_id(&mut self, place: usize) -> Verdict<KeyId> {
        let truth = self.truth()?;
        truth.keys().nth(place).copied().map_or_else(|| fail("there are too few secrets"), Ok)
    }

    /// No two secrets may be the same.
    pub(super) fn all_differ(&mut self) -> Verdict {
        let truth = self.truth()?;
        let secrets: BTreeSet<&Vec<u8>> = truth.values().map(|(_, secret)| secret).collect();
        ensure(secrets.len() == truth.len(), "two secrets are the same")
    }

    pub(super) fn user_id(&mut self) -> Verdict<UserId> {
        Ok(self.session()?.user_id())
    }

    /// A new secret, honestly made.
    pub(super) fn made(&mut self, kind: Kind) -> Verdict<KeyId> {
        let shown = self.honestly(Act::Generate(kind))?;
        self.check(Act::Generate(kind), &shown)?;
        match shown {
            Shown::New(new) => new.first().map_or_else(|| fail("nothing was stored"), |(key_id, _)| Ok(*key_id)),
            _ => fail("a new secret isn't shown"),
        }
    }

    /// The program is to delete this one, sooner or later.
    pub(super) fn is_to_go(&mut self, key_id: KeyId) {
        self.deleted.push(key_id);
    }

    pub(super) fn register_honestly(&mut self) -> Verdict {
        let (account, password) = (self.account.clone(), self.password);
        self.honestly(Act::Register { account: &account, password }).map(|_| ())
    }

    pub(super) fn log_in_honestly(&mut self) -> Verdict {
        let (account, password) = (self.account.clone(), self.password);
        self.honestly(Act::LogIn { account: &account, password }).map(|_| ())
    }

    /// A login while the server lies.
    pub(super) fn login_must_fail(&mut self, password: &str, lie: &mut Lie<'_>) -> Verdict {
        let account = self.account.clone();
        self.must_fail(Act::LogIn { account: &account, password }, lie)
    }

    /// The honest server is back: the program gets through with what it has kept, and everything is there.
    pub(super) fn recovers(&mut self) -> Verdict {
        self.try_to_recover().map_err(|stop| match stop {
            Stop::Broken(problem) => Stop::Broken(format!("afterwards: {problem}")),
            Stop::NotPlayed => Stop::NotPlayed,
        })
    }

    fn try_to_recover(&mut self) -> Verdict {
        if !self.world.has_account(&self.account) {
            self.register_honestly()?;
        }
        self.session()?;
        self.log_in_honestly()?;
        let stores = match self.honestly(Act::StorePending) {
            Ok(shown) => {
                self.check(Act::StorePending, &shown)?;
                true
            }
            Err(Stop::NotPlayed) => false,
            Err(stop) => return Err(stop),
        };
        let shown = self.honestly(Act::List)?;
        self.check(Act::List, &shown)?;
        let truth = self.truth()?;
        for key_id in truth.keys().take(2) {
            let shown = self.honestly(Act::Retrieve(*key_id))?;
            self.check(Act::Retrieve(*key_id), &shown)?;
        }
        let arrived = |key_id: &KeyId| truth.contains_key(key_id) || self.deleted.contains(key_id);
        let all = !stores || !self.pending_must_arrive || self.world.proposed.iter().all(arrived);
        ensure(all, "a secret that was made is lost: its pending secret wasn't kept")
    }
}

/// Everything that a program may offer, once.
pub(super) fn use_everything(scene: &mut Scene<'_>) -> Verdict {
    for step in 0..STEPS {
        match scene.step(step, &mut honest) {
            Ok(Ok(())) | Err(Stop::NotPlayed) => {}
            Ok(Err(error)) => return fail(error),
            Err(stop) => return Err(stop),
        }
    }
    Ok(())
}

/// The steps of [`Scene::step`].
pub(super) const STEPS: usize = 8;

impl Scene<'_> {
    /// One of the things that a person does, with what it needs made ready honestly. What is shown must be true; an error is
    /// handed on.
    pub(super) fn step(&mut self, step: usize, lie: &mut Lie<'_>) -> Verdict<Result<(), String>> {
        let (account, password) = (self.account.clone(), self.password);
        let act = match step {
            0 => Act::LogIn { account: &account, password },
            1 => Act::Generate(Kind::Ed25519),
            2 => Act::Import(b"a person's own"),
            3 => Act::Retrieve(self.key_id(0)?),
            4 => Act::List,
            5 => {
                let key_id = self.made(Kind::Bytes(8))?;
                self.is_to_go(key_id);
                Act::Delete(key_id)
            }
            6 => Act::ChangePassword(if password == PASSWORD { NEW_PASSWORD } else { PASSWORD }),
            _ => {
                let another = format!("{account}+");
                self.start_over(&another);
                return self.act_and_check(Act::Register { account: &another, password: PASSWORD }, lie);
            }
        };
        self.act_and_check(act, lie)
    }

    fn act_and_check(&mut self, act: Act<'_>, lie: &mut Lie<'_>) -> Verdict<Result<(), String>> {
        Ok(match self.act(act, lie)? {
            Ok(shown) => {
                self.check(act, &shown)?;
                Ok(())
            }
            Err(error) => Err(error),
        })
    }
}
