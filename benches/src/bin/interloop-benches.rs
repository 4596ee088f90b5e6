//! Runs the comparisons, prints them, and writes `benches/RESULTS.md`.

use std::fs;
use std::process::ExitCode;

use interloop_benches::suite::{Effort, Suite};
use interloop_benches::{baseline, ours, report};

const USAGE: &str = "\
usage: interloop-benches [--rounds N] [--only TEXT] [--quick] [--list]
  --rounds N    rounds of each comparison (default 7)
  --only TEXT   the comparisons whose id contains TEXT; RESULTS.md is left alone
  --quick       a twentieth of the operations, 3 rounds; RESULTS.md is left alone
  --list        print the comparisons and what takes part";

fn main() -> ExitCode {
    let mut effort = Effort::default();
    let mut write = true;
    let mut list = false;
    let mut only = String::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--rounds" => match words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0) {
                Some(rounds) => effort.rounds = rounds,
                None => return usage("--rounds takes a number from 1"),
            },
            "--only" => match words.next() {
                Some(text) => (only, write) = (text, false),
                None => return usage("--only takes a text"),
            },
            "--quick" => (effort, write) = (Effort::quick(), false),
            "--list" => list = true,
            "--help" => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            other => return usage(&format!("unknown: {other}")),
        }
    }

    let mut suite = Suite::default();
    baseline::register(&mut suite);
    ours::register(&mut suite);
    ours::register_sizes(&mut suite);
    suite.keep(&only);
    if list {
        for comparison in suite.comparisons() {
            println!("{}", comparison.id());
            for name in comparison.names() {
                println!("    {name}");
            }
        }
        return ExitCode::SUCCESS;
    }

    let outcomes = suite.run(effort, |id, round, rounds| eprintln!("{id}: round {round} of {rounds}"));
    let text = report::markdown(&outcomes);
    print!("{text}");
    if write {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/RESULTS.md");
        if let Err(error) = fs::write(path, &text) {
            eprintln!("can't write {path}: {error}");
            return ExitCode::FAILURE;
        }
    }
    // A missed bound is news, not an error: machines differ. A failed measurement is an error.
    if outcomes.iter().any(|outcome| outcome.broken()) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("{problem}\n{USAGE}");
    ExitCode::from(2)
}
