//! Runs every measurement, so that `make bench` doesn't find out that one has rotted.

use interloop_benches::suite::{Effort, Suite};
use interloop_benches::{baseline, ours, report};

#[test]
fn every_contestant_measures_something() {
    let mut suite = Suite::default();
    baseline::register(&mut suite);
    ours::register(&mut suite);
    let effort = Effort { rounds: 1, divisor: 200 };
    let outcomes = suite.run(effort, |_, _, _| ());
    for outcome in &outcomes {
        for row in &outcome.rows {
            let figures = row.figures.as_ref().unwrap_or_else(|why| panic!("{}: {}: {why}", outcome.id, row.name));
            // Wakeups are an exception: there must be none.
            let cost = figures.cost.low;
            assert!(cost > 0.0 || outcome.id == "wakeups", "{}: {} cost nothing", outcome.id, row.name);
        }
    }
    assert!(report::markdown(&outcomes).contains("| [bare futex]("));
}
