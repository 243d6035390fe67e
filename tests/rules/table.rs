//! The table in `tests/rules/*.txt`: what is taken out of which rule, and the tests that must notice.
//!
//! A file for each rule, in lines that begin with a keyword; empty lines and lines with `#` are skipped:
//!
//! ```text
//! rule: 1 Nothing on the wire is taken for authentic
//!
//! without: the comparison of a key ID with the one that was asked for
//! file: src/operation/retrieve.rs
//! - if sealed.header.key_id() != key_id {
//! + if false {
//! fails: hostile_server rule_1_another_secret_is_not_taken_for_the_one_that_was_asked_for
//! lets through: Client another secret in place of the one that was asked for
//! ```
//!
//! The lines after `- ` are the text to find, which the file has exactly once, and those after `+ `, if any, stand in its place.
//! An entry may have several edits, of several files, and several tests. `lets through:` names an attack of the hostile kit
//! (`testing::hostile`) that then gets through, by its target and its name. `reason:` says why a rule, or a part of it, has
//! nothing to take out; `kit-reasons.list` says it of the kit's attacks, in lines `rule | target | name | reason`.

use std::fs;
use std::path::{Path, PathBuf};

/// A rule and everything that is taken out of it.
#[derive(Debug, Default)]
pub(crate) struct Rule {
    pub(crate) number: String,
    pub(crate) removals: Vec<Removal>,
    pub(crate) reasons: Vec<String>,
}

/// One check, taken out.
#[derive(Debug, Default)]
pub(crate) struct Removal {
    pub(crate) what: String,
    pub(crate) edits: Vec<Edit>,
    pub(crate) fails: Vec<Test>,
    pub(crate) lets_through: Vec<Named>,
}

#[derive(Debug, Default)]
pub(crate) struct Edit {
    pub(crate) file: String,
    pub(crate) find: String,
    pub(crate) replace: String,
}

/// A test by its target (`tests/<target>.rs`, or `lib`) and its name, with its modules.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Test {
    pub(crate) target: String,
    pub(crate) name: String,
}

/// An attack of the hostile kit by its target (`Server` or `Client`) and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Named {
    pub(crate) target: String,
    pub(crate) name: String,
}

/// An attack of the hostile kit that no check of the crate stops, and what stops it instead.
pub(crate) struct KitReason {
    pub(crate) rule: String,
    pub(crate) attack: Named,
    pub(crate) reason: String,
}

/// All rules, in the order of their files' names.
pub(crate) fn read(root: &Path) -> Vec<Rule> {
    let entries = fs::read_dir(root.join("tests/rules")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    files.sort();
    files.iter().map(|path| parse(&fs::read_to_string(path).unwrap(), &path.display().to_string())).collect()
}

/// The attacks without a removal, and why.
pub(crate) fn kit_reasons(root: &Path) -> Vec<KitReason> {
    let text = fs::read_to_string(root.join("tests/rules/kit-reasons.list")).unwrap();
    let rows = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parse = |row: &str| match row.splitn(4, " | ").collect::<Vec<_>>()[..] {
        [rule, target, name, reason] => KitReason {
            rule: rule.to_string(),
            attack: Named { target: target.to_string(), name: name.to_string() },
            reason: reason.to_string(),
        },
        _ => panic!("kit-reasons.list: {row}: not `rule | target | name | reason`"),
    };
    rows.map(parse).collect()
}

fn parse(text: &str, path: &str) -> Rule {
    let mut rule = Rule::default();
    // The file of the next edit, and whether a `-` goes on with the edit before it.
    let (mut file, mut in_find) = (String::new(), false);
    for (number, line) in (1..).zip(text.lines()) {
        let place = format!("{path}:{number}: {line}");
        let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
        let removal = rule.removals.last_mut().ok_or_else(|| format!("{place}: no `without:` before it"));
        match keyword {
            "" | "#" => {}
            "rule:" => rule.number = rest.split(' ').next().unwrap().to_string(),
            "reason:" => rule.reasons.push(rest.to_string()),
            "without:" => rule.removals.push(Removal { what: rest.to_string(), ..Removal::default() }),
            "file:" => file = rest.to_string(),
            "fails:" => {
                let (target, name) = rest.split_once(' ').unwrap_or_else(|| panic!("{place}: not `target test`"));
                removal.unwrap().fails.push(Test { target: target.to_string(), name: name.to_string() });
            }
            "lets" => {
                let named = rest.strip_prefix("through: ").and_then(|rest| rest.split_once(' '));
                let (target, name) = named.unwrap_or_else(|| panic!("{place}: not `lets through: target attack`"));
                let named = Named { target: target.to_string(), name: name.to_string() };
                removal.unwrap().lets_through.push(named);
            }
            "-" => {
                let edits = &mut removal.unwrap().edits;
                match edits.last_mut().filter(|_| in_find) {
                    Some(edit) => edit.find = format!("{}\n{rest}", edit.find),
                    None => edits.push(Edit { file: file.clone(), find: rest.to_string(), replace: String::new() }),
                }
            }
            "+" => {
                let edit = removal.unwrap().edits.last_mut().unwrap_or_else(|| panic!("{place}: no `-` before it"));
                let newline = if edit.replace.is_empty() { "" } else { "\n" };
                edit.replace = format!("{}{newline}{rest}", edit.replace);
            }
            _ => panic!("{place}: no such keyword"),
        }
        in_find = keyword == "-";
    }
    rule
}

impl Test {
    /// The file that it should be in: a module of a test target lies in the folder of the target's name.
    pub(crate) fn file(&self) -> String {
        let modules: Vec<&str> = self.name.split("::").collect();
        match (self.target.as_str(), &modules[..]) {
            ("lib", [modules @ .., "tests", _]) => format!("src/{}.rs", modules.join("/")),
            (target, [_]) => format!("tests/{target}.rs"),
            (target, [modules @ .., _]) => format!("tests/{target}/{}.rs", modules.join("/")),
            _ => panic!("{self:?}"),
        }
    }

    /// Its name without modules.
    pub(crate) fn function(&self) -> &str {
        self.name.rsplit("::").next().unwrap()
    }
}
