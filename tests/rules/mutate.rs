//! Takes rules out of a scratch copy of the crate, one check at a time, and sees its tests fail.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::table::{Edit, Named, Removal, Rule, Test};

/// How long a target's named tests may take: without a rule, some things don't end.
const LIMIT: Duration = Duration::from_secs(120);

/// Under this name `tests/hostile_kit.rs` is told which attacks to play.
const KIT_ATTACKS: &str = "KEYSTOW_KIT_ATTACKS";

/// Its tests that play all attacks on a target, or those that are named.
const KIT_TESTS: [(&str, &str); 2] =
    [("Server", "the_in_memory_server_repels_every_attack"), ("Client", "a_careful_client_repels_every_attack")];

/// A copy of the crate with a build folder of its own. (In the crate's own build folder, cargo takes the copy for the crate.)
pub(crate) struct Scratch {
    tree: PathBuf,
    build: PathBuf,
}

impl Scratch {
    /// Copies what differs, so that a second run builds little.
    pub(crate) fn new(root: &Path, folder: &Path) -> Self {
        let scratch = Self { tree: folder.join("tree"), build: folder.join("build") };
        copy(root, &scratch.tree);
        scratch
    }

    /// Sees all named tests pass while nothing is taken out.
    pub(crate) fn check_whole(&self, rules: &[Rule]) {
        let tests = rules.iter().flat_map(|rule| &rule.removals).flat_map(|removal| &removal.fails);
        let failed =
            self.failed(&tests.collect()).unwrap_or_else(|problem| panic!("with nothing taken out: {problem}"));
        assert!(failed.is_empty(), "these fail with nothing taken out: {failed:?}");
    }

    /// Takes a check out and sees all tests fail that are named for it.
    ///
    /// # Errors
    /// Why they don't.
    pub(crate) fn take_out(&self, removal: &Removal) -> Result<(), String> {
        let failed = self.without(removal, || self.failed(&removal.fails.iter().collect()))?;
        match removal.fails.iter().find(|test| !failed.contains(test)) {
            Some(test) => Err(format!("{} {} doesn't fail", test.target, test.name)),
            None => Ok(()),
        }
    }

    /// Takes a check out, plays these attacks of the hostile kit, or all if there are none, and gives what each side's test then
    /// prints: the attacks that get through are named in it.
    ///
    /// # Errors
    /// It doesn't compile, or doesn't end.
    pub(crate) fn attack(&self, removal: &Removal, attacks: &[Named]) -> Result<Vec<(&'static str, String)>, String> {
        let names: Vec<String> = attacks.iter().map(|attack| format!("{} {}", attack.target, attack.name)).collect();
        let environment = [(KIT_ATTACKS, names.join("\n"))];
        self.without(removal, || {
            let programs = self.build(["hostile_kit"].into_iter())?;
            let play = |(target, test): (&'static str, &str)| {
                let test = Test { target: "hostile_kit".to_string(), name: test.to_string() };
                Ok((target, self.run_with(&programs[&test.target], &[&test], &environment)?))
            };
            let asked = |(target, _): &(&str, &str)| {
                attacks.is_empty() || attacks.iter().any(|attack| attack.target == *target)
            };
            KIT_TESTS.into_iter().filter(asked).map(play).collect()
        })
    }

    fn without<T>(&self, removal: &Removal, look: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        let broken = broken(&self.tree, &removal.edits)?;
        let whole: Vec<_> = broken.keys().map(|file| (file, fs::read(self.tree.join(file)).unwrap())).collect();
        broken.iter().for_each(|(file, text)| fs::write(self.tree.join(file), text).unwrap());
        let seen = look();
        whole.iter().for_each(|(file, text)| fs::write(self.tree.join(file), text).unwrap());
        seen
    }

    /// Builds the tests' targets, runs these tests alone, and gives those that fail by an assertion.
    fn failed<'a>(&self, tests: &BTreeSet<&'a Test>) -> Result<Vec<&'a Test>, String> {
        let mut by_target = BTreeMap::<&str, Vec<&'a Test>>::new();
        tests.iter().for_each(|test| by_target.entry(&test.target).or_default().push(test));
        let programs = self.build(by_target.keys().copied())?;
        let mut failed = Vec::new();
        for (target, tests) in by_target {
            let printed = self.run(&programs[target], &tests)?;
            for test in tests {
                let said = |verdict| printed.lines().any(|line| line == format!("test {} ... {verdict}", test.name));
                if said("FAILED") {
                    failed.push(test);
                } else if !said("ok") {
                    return Err(format!("{target} {} neither passes nor fails:\n{printed}", test.name));
                }
            }
        }
        Ok(failed)
    }

    /// Builds test targets and gives the program of each.
    fn build<'a>(&self, targets: impl Iterator<Item = &'a str>) -> Result<BTreeMap<String, PathBuf>, String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.build);
        command.args(["test", "--offline", "--locked", "--no-run", "--message-format", "json"]);
        for target in targets {
            let selected: &[&str] = if target == "lib" { &["--lib"] } else { &["--test", target] };
            command.args(selected);
        }
        let output = command.output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        let messages = printed.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        if !output.status.success() {
            let errors = messages.filter(|message| message["message"]["level"] == "error");
            let errors: Vec<String> = errors.map(|error| error["message"]["rendered"].to_string()).collect();
            let told = String::from_utf8_lossy(&output.stderr);
            return Err(format!("does not compile:\n{}\n{told}", errors.join("\n").replace("\\n", "\n")));
        }
        let program = |message: serde_json::Value| {
            let (kind, name) = (&message["target"]["kind"][0], message["target"]["name"].as_str()?);
            let target = if kind == "lib" { "lib" } else { name };
            Some((target.to_string(), PathBuf::from(message["executable"].as_str()?)))
        };
        Ok(messages.filter_map(program).collect())
    }

    /// Runs these tests of a program and gives what it printed.
    fn run(&self, program: &Path, tests: &[&Test]) -> Result<String, String> {
        self.run_with(program, tests, &[])
    }

    fn run_with(&self, program: &Path, tests: &[&Test], environment: &[(&str, String)]) -> Result<String, String> {
        let printed = self.build.join("printed.txt");
        let mut command = Command::new(program);
        command.current_dir(&self.tree).arg("--exact").args(tests.iter().map(|test| &test.name));
        command
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("RUST_BACKTRACE", "0")
            .stdout(File::create(&printed).unwrap())
            .stderr(Stdio::null());
        let (mut child, started) = (command.spawn().unwrap(), Instant::now());
        while child.try_wait().unwrap().is_none() {
            if started.elapsed() > LIMIT {
                child.kill().unwrap();
                child.wait().unwrap();
                return Err(format!("doesn't end: {tests:?}"));
            }
            sleep(Duration::from_millis(10));
        }
        Ok(String::from_utf8_lossy(&fs::read(&printed).unwrap()).into_owned())
    }
}

/// The files that the edits change, as they change them.
///
/// # Errors
/// The file that can't be read, or the text that isn't there exactly once.
pub(crate) fn broken(root: &Path, edits: &[Edit]) -> Result<BTreeMap<String, String>, String> {
    let mut files = BTreeMap::<String, String>::new();
    for Edit { file, find, replace } in edits {
        let text = match files.entry(file.clone()) {
            Entry::Occupied(text) => text.into_mut(),
            Entry::Vacant(place) => {
                place.insert(fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"))?)
            }
        };
        match text.matches(find.as_str()).count() {
            1 => *text = text.replace(find.as_str(), replace),
            count => return Err(format!("{file} has this {count} times, not once:\n{find}")),
        }
    }
    Ok(files)
}

/// Copies a tree without build folders and history: the files that are new or differ.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            if entry.file_name() != "target" && entry.file_name() != ".git" {
                copy(&from, &to);
            }
        } else if fs::read(&to).ok() != fs::read(&from).ok() {
            fs::write(&to, fs::read(&from).unwrap()).unwrap();
        }
    }
}
