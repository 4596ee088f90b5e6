//! Runs the conformance kit over all loops, each in a process of its own, and writes the table of
//! `docs/conformance.md`.
//!
//! With the name of a loop it runs that one, in this process, and shows the results.

use std::{
    collections::BTreeMap,
    env, fs, panic,
    path::Path,
    process::{Command, ExitCode},
};

use interloop::net::WatchFd;
use interloop_conformance::{Subject, Table, check_all, is_full_size};
use interloop_e2e::subjects;

const PAGE: &str = "../../docs/conformance.md";
const BEGIN: &str = "<!-- The table: written by `make conformance`. -->\n";
const END: &str = "<!-- The end of the table. -->\n";

type Run = fn() -> Table;

/// The loops, by the names of their columns.
const LOOPS: [(&str, Run); 12] = [
    ("thread", || check(subjects::thread())),
    ("tokio", || check(subjects::tokio())),
    ("tokio, workers", || check(subjects::tokio().set("worker-threads", 2))),
    ("glib", || check(subjects::glib())),
    ("glib, private", || check(subjects::glib_private())),
    ("mio", || check(subjects::mio())),
    ("calloop", || check(subjects::calloop())),
    ("smol", || check(subjects::smol())),
    ("smol, workers", || check(subjects::smol().set("worker-threads", 2))),
    ("async-std", || check(subjects::async_std())),
    ("compio", || check(subjects::compio())),
    ("compio, polling", || check(subjects::compio().set("driver", "poll"))),
];

fn check<L: WatchFd>(subject: Subject<L>) -> Table {
    check_all(&subject)
}

fn main() -> ExitCode {
    let Some(name) = env::args().nth(1) else { return run_all() };
    let Some((_, run)) = LOOPS.iter().find(|(known, _)| *known == name) else {
        eprintln!("no such loop: {name}");
        return ExitCode::from(2);
    };
    // Many checks cause panics, and the table contains everything that is found.
    panic::set_hook(Box::new(|_| ()));
    let table = run();
    print!("{table}");
    if table.is_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns the results of a loop's process: the checks in their order, and whether each passed.
fn results(name: &str) -> Vec<(String, bool)> {
    let output = env::current_exe().and_then(|this| Command::new(this).arg(name).output());
    let output = output.unwrap_or_else(|error| panic!("can't run {name}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{name}\n{text}");
    if text.is_empty() {
        // A watchdog has ended it, and said why.
        println!("{}{}", String::from_utf8_lossy(&output.stderr), output.status);
    }
    let line = |line: &str| Some((line.split_whitespace().next()?.to_owned(), line.ends_with("  passed")));
    text.lines().filter_map(line).collect()
}

fn run_all() -> ExitCode {
    let mut checks: Vec<String> = Vec::new();
    let mut marks = BTreeMap::new();
    let mut is_passed = true;
    for (name, _) in LOOPS {
        let results = results(name);
        is_passed &= !results.is_empty() && results.iter().all(|(_, passed)| *passed);
        for (check, passed) in results {
            if !checks.contains(&check) {
                checks.push(check.clone());
            }
            marks.insert((check, name), if passed { "✓" } else { "✗" });
        }
    }
    let names: Vec<_> = LOOPS.iter().map(|(name, _)| *name).collect();
    let mut table = format!("| check | {} |\n|---|{}\n", names.join(" | "), ":-:|".repeat(names.len()));
    for check in checks {
        let row: Vec<_> = names.iter().map(|name| *marks.get(&(check.clone(), *name)).unwrap_or(&"")).collect();
        table += &format!("| `{check}` | {} |\n", row.join(" | "));
    }
    if !is_full_size() {
        println!("not at full size: docs/conformance.md stays as it is");
    } else if let Err(error) = write(&table) {
        eprintln!("docs/conformance.md: {error}");
        return ExitCode::FAILURE;
    }
    if is_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Puts the table between its marks.
fn write(table: &str) -> std::io::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(&path)?;
    let parts = page.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or_else(|| std::io::Error::other("it has no marks for the table"))?;
    fs::write(path, format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}
