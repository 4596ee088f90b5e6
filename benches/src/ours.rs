//! The same as in [`baseline`](crate::baseline), through Interloop, and the figures that have to hold.

use crate::suite::Suite;

/// Adds ours to the comparisons that the baselines have opened.
///
/// One line a measurement, in the shape of the baselines: a function that runs `n` operations and returns how long they
/// took. Then what has to hold, by the names given:
///
/// ```
/// # use interloop_benches::{baseline, suite::{Bound, Suite}};
/// # use std::time::Duration;
/// # fn call_to_glib(n: u32) -> Duration { Duration::from_nanos(n.into()) }
/// # let mut suite = Suite::default();
/// # baseline::register(&mut suite);
/// suite
///     .comparison(baseline::CALL)
///     .add("interloop: thread to glib", call_to_glib)
///     .claim("interloop: thread to glib", baseline::FUTEX, Bound::CostAtMost(1.6))
///     .claim("interloop: thread to glib", "thread to glib: async-channel, oneshot", Bound::CostAtMost(1.0));
/// ```
///
/// Posts are claimed with `Bound::SpeedAtLeast`. A server is a program that takes its address; it is measured with
/// [`cpu_per_request`](crate::http_load::cpu_per_request) and
/// [`start_to_first_answer`](crate::http_load::start_to_first_answer), and its package stands in the Makefile's
/// `BENCH_SERVERS`.
pub fn register(suite: &mut Suite) {
    // ---- ours goes here ----
    let _ = suite;
    // ---- to here ----
}
