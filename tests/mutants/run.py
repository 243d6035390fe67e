#!/usr/bin/env python3
"""Mutation testing with one build: every mutant that `cargo mutants` lists is compiled in behind a switch.

    tests/mutants/run.py [--testing] [--again] [--budget SECONDS] [--test NAME]..

In a copy of the tree, a function begins with `if crate::mutant(N) { return ..; }` for each of its mutants: the value that
`cargo mutants` would have it return, or its own body with the one operator, guard, arm or field changed. Those that don't
compile are taken out ("unviable"). Each test then runs once to see which mutants it reaches, and for how long; each mutant
is run against the tests that reach it, the quickest first, each in a process of its own, until one fails ("caught"), or
hangs ("timeout"), or a budget of the tests' time is used up ("missed"). A test that hangs or fails without a mutant is left
out, by name. What can't be switched at run time is "left" for
`cargo mutants` itself: constants, constant functions that a constant needs, and functions that return `impl Trait`.

The results are in target/mutants.json; `--again` runs only what was missed there. Needs cargo-mutants and two cores.
"""
import argparse, collections, concurrent.futures, json, os, pathlib, re, resource, subprocess, sys, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
NON_CONST = re.compile(r"non-const (?:associated function|function|method) `(?:\w+::)*?((?:\w+::)?\w+)`")
TREE, RESULTS = ROOT / "target/mutants-tree", ROOT / "target/mutants.json"
# They read the sources, need corpora, or count what a switch would disturb.
SKIPPED = {"architecture", "corpus", "quickstart", "rules", "sizes"}
TIMEOUT, MEMORY, THREADS = 30, 4 << 30, 2

SWITCH = """
#[doc(hidden)]
pub fn mutant(n: usize) -> bool {
    use std::io::Write;
    use std::sync::{OnceLock, atomic::{AtomicBool, Ordering}};
    static ON: OnceLock<(usize, Option<std::ffi::OsString>)> = OnceLock::new();
    static REACHED: [AtomicBool; 4096] = [const { AtomicBool::new(false) }; 4096];
    let (on, log) = ON.get_or_init(|| {
        let on = std::env::var("KEYSTOW_MUTANT").ok().and_then(|n| n.parse().ok());
        (on.unwrap_or(usize::MAX), std::env::var_os("KEYSTOW_REACHED"))
    });
    if let Some(log) = log && !REACHED[n].swap(true, Ordering::SeqCst) {
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
        log.write_all(std::format!("{n}\\n").as_bytes()).unwrap();
    }
    *on == n
}
"""


def listed(testing):
    """The mutants of the sources, in the order of `cargo mutants`, each with its number."""
    command = ["cargo", "mutants", "--list", "--json", "-f", "src/**"] + ([] if testing else ["-e", "src/testing/**"])
    mutants = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    return [mutant | {"number": number, "outcome": None} for number, mutant in enumerate(mutants)]


class Source:
    """A source file, and where its lines begin."""

    def __init__(self, path):
        self.text = (ROOT / path).read_text()
        self.starts = [0]
        for line in self.text.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def at(self, place):
        return self.starts[place["line"] - 1] + place["column"] - 1

    def body(self, function):
        """Where a function's signature begins, and its body begins and ends, without the braces."""
        signature = self.at(function["span"]["start"])
        while re.match(r"\s*(//|#\[)", self.text[signature:]):
            signature = self.text.index("\n", signature) + 1
        depth, begin = 0, signature
        while depth or self.text[begin] != "{":
            depth += (self.text[begin] in "([") - (self.text[begin] in ")]")
            begin += 1
        return signature, begin + 1, self.at(function["span"]["end"]) - 1

    def changed(self, mutant, begin, end):
        """What the function does under the mutant."""
        if mutant["genre"] == "FnValue":
            return mutant["replacement"]
        first, last = self.at(mutant["span"]["start"]), self.at(mutant["span"]["end"])
        return "{" + self.text[begin:first] + mutant["replacement"] + self.text[last:end] + "\n}"


def switched(path, mutants, constant):
    """The file with its mutants behind switches, and whose mutant each of its lines is."""
    source, edits = Source(path), []
    functions = collections.defaultdict(list)
    for mutant in mutants:
        function = mutant["function"]
        if function is None or "impl " in function["return_type"] or function["function_name"] in constant:
            mutant["outcome"] = "left"
        elif mutant["outcome"] is None:
            functions[json.dumps(function["span"])].append(mutant)
    for group in functions.values():
        signature, begin, end = source.body(group[0]["function"])
        if found := re.search(r"\bconst (?=fn\b)", source.text[signature:begin]):
            edits.append((signature + found.start(), len("const "), None, ""))
        for mutant in group:
            text = f"\nif crate::mutant({mutant['number']}) {{ return {source.changed(mutant, begin, end)}; }}"
            edits.append((begin, 0, mutant, text))
        edits.append((begin, 0, None, "\n"))
    out, lines, at = [], {}, 0
    for place, removed, mutant, text in sorted(edits, key=lambda edit: edit[0]):
        out.append(source.text[at:place])
        line = 1 + sum(part.count("\n") for part in out)
        if mutant:
            lines.update({line + 1 + n: mutant for n in range(text.count("\n"))})
        out.append(text)
        at = place + removed
    return "".join(out) + source.text[at:], lines


def write(path, text):
    """Only what differs, for cargo goes by the time of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != text:
        path.write_bytes(text)


def copy_tree():
    """Everything but the sources, which follow with their switches."""
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in files.stdout.splitlines():
        path = pathlib.PurePath(name)
        skip = path.parts[0] == "src" or path.parts[0] == "tests" and path.stem in SKIPPED
        if not skip and (ROOT / name).is_file():
            text = (ROOT / name).read_bytes()
            if name == "Cargo.toml":
                text = re.sub(rb"\[lints\.\w+\]\n(.+\n)+", b"", text)
                # Cargo takes it for another package then, and leaves the real one's binaries alone.
                text = text.replace(b'version = "0.1.0"', b'version = "0.1.0-mutants"', 1)
            write(TREE / name, text)


def copy_sources(mutants, constant):
    """The sources with the switches; whose mutant each line is, by file."""
    by_file, lines = collections.defaultdict(list), {}
    for mutant in mutants:
        by_file[mutant["file"]].append(mutant)
    for path in sorted((ROOT / "src").rglob("*.rs")):
        name = str(path.relative_to(ROOT))
        text, lines[name] = switched(name, by_file[name], constant)
        if name == "src/lib.rs":
            text = text.replace("#![no_std]", "#![allow(warnings)]") + SWITCH
        write(TREE / name, text.encode())
    return lines


def cargo(*arguments):
    """The messages of a build in the copy, with the registry's crates that the real tree has built."""
    command = ["cargo", *arguments, "--message-format=json", "--target-dir", str(ROOT / "target")]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True)
    return done, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def build(mutants, only):
    """Takes out what doesn't compile until the rest does; the test binaries."""
    constant = set()
    copy_tree()
    targets = ["--lib", *(part for name in only for part in ("--test", name))] if only else ["--tests"]
    for arguments in (["check", "--lib", "--features", "testing"], ["test", "--no-run", *targets]):
        while True:
            lines = copy_sources(mutants, constant)
            done, messages = cargo(*arguments)
            errors = [m["message"] for m in messages if m["reason"] == "compiler-message" and m["message"]["level"] == "error"]
            if done.returncode == 0:
                break
            known = 0
            for error in errors:
                if found := NON_CONST.search(error["message"]):
                    known += found[1] not in constant
                    constant.add(found[1])
                    continue
                for span in error["spans"]:
                    mutant = lines.get(span["file_name"], {}).get(span["line_start"])
                    if mutant and span["is_primary"] and mutant["outcome"] is None:
                        mutant["outcome"], known = "unviable", known + 1
            print(f"{len(errors)} errors, {known} mutants taken out", flush=True)
            if not known:
                sys.exit("\n".join(error["rendered"] for error in errors) or done.stderr)
    return [m["executable"] for m in messages if m.get("executable") and m["profile"]["test"]]


def run(test, **switch):
    """Runs one test in a process of its own: whether it passed, None if it hung, and its time."""
    binary, name = test
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    env = os.environ | {"PROPTEST_DISABLE_FAILURE_PERSISTENCE": "true", "CARGO_MANIFEST_DIR": str(TREE)} | switch
    begun = time.monotonic()
    try:
        command = [binary, "--exact", name, "--test-threads=1"]
        done = subprocess.run(command, cwd=TREE, env=env, timeout=TIMEOUT, preexec_fn=limit, capture_output=True)
        passed = done.returncode == 0
    except subprocess.TimeoutExpired:
        passed = None
    return passed, time.monotonic() - begun


def survey(binaries):
    """Each test's time and the mutants that it reaches; a test that fails or hangs without a mutant is left out."""
    tests = []
    for binary in binaries:
        names = subprocess.run([binary, "--list", "--format=terse"], cwd=TREE, check=True, capture_output=True, text=True).stdout
        tests += [(binary, line.removesuffix(": test")) for line in names.splitlines() if line.endswith(": test")]

    def look(numbered):
        number, test = numbered
        log = ROOT / f"target/mutants-reached-{number}"
        log.unlink(missing_ok=True)
        passed, took = run(test, KEYSTOW_REACHED=str(log))
        reached = {int(line) for line in log.read_text().split()} if log.exists() else set()
        log.unlink(missing_ok=True)
        if not passed:
            print("left out:", test, "hangs" if passed is None else "fails", flush=True)
        return test, took, reached if passed else set()

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        return sorted(pool.map(look, enumerate(tests)), key=lambda seen: seen[1])


def judge(mutant, tests, catches, budget):
    """Runs a mutant against the tests that reach it until one fails: first those that are quick and have caught others."""
    spent, near = 0.0, catches[mutant["file"]]
    reaching = [(test, took) for test, took, reached in tests if mutant["number"] in reached]
    reaching.sort(key=lambda seen: seen[1] / (1 + 10 * near[seen[0]]))
    mutant["reached_by"] = len(reaching)
    for test, took in reaching:
        if spent and spent + took > budget:
            continue
        passed, _ = run(test, KEYSTOW_MUTANT=str(mutant["number"]))
        if not passed:
            mutant["outcome"], mutant["by"] = "timeout" if passed is None else "caught", test[1]
            near[test] += 1
            return
        spent += took
    mutant["outcome"] = "missed"


def report(mutants):
    RESULTS.write_text(json.dumps([{k: v for k, v in m.items() if k != "diff"} for m in mutants], indent=1))
    count = collections.Counter(mutant["outcome"] or "open" for mutant in mutants)
    caught = count["caught"] + count["timeout"]
    print(dict(count), f"score {caught / max(1, caught + count['missed']):.1%}", flush=True)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--testing", action="store_true", help="src/testing too")
    options.add_argument("--again", action="store_true", help="only what was missed before")
    options.add_argument("--budget", type=float, default=30, help="seconds of tests that a mutant is run against")
    options.add_argument("--test", action="append", default=[], help="only this file of tests, and the others that are named so")
    options = options.parse_args()
    before = {m["name"]: m["outcome"] for m in json.loads(RESULTS.read_text())} if options.again else {}
    mutants = listed(options.testing)
    for mutant in mutants:
        if before.get(mutant["name"]) in ("unviable", "left"):
            mutant["outcome"] = before[mutant["name"]]
    binaries = build(mutants, options.test)
    tests = survey(binaries)
    print(f"{len(tests)} tests of {sum(took for _, took, _ in tests):.0f} s", flush=True)
    for mutant in mutants:
        if before.get(mutant["name"]) in ("caught", "timeout"):
            mutant["outcome"] = before[mutant["name"]]
    todo = [mutant for mutant in mutants if mutant["outcome"] is None]
    catches = collections.defaultdict(collections.Counter)
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for done, _ in enumerate(pool.map(lambda mutant: judge(mutant, tests, catches, options.budget), todo)):
            if done % 50 == 49:
                report(mutants)
    for mutant in mutants:
        if mutant["outcome"] in ("missed", "left"):
            print(f"{mutant['outcome']} ({mutant.get('reached_by', '-')} tests): {mutant['name']}")
    report(mutants)


main()
