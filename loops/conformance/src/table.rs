//! All checks of a loop at once, and their results.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use interloop::{EventLoop, event_loop::Timers, net::WatchFd, task::panic_message};

use crate::{Subject, base_checks, beat_checks, native_checks, net_checks, partner_checks, watch_fd_checks};

/// A check, bound to its subject.
type Job = Box<dyn FnOnce() + Send>;

/// The results of the checks of a loop, with a row for each. As text it has a line for each.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Table {
    /// The rows, in the order of the checks.
    pub rows: Vec<Row>,
}

/// The result of a check.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Row {
    /// The name of the check.
    pub name: &'static str,
    /// The loop's fault, if the check has found one.
    pub result: Result<(), String>,
    /// The time that the check took.
    pub took: Duration,
}

impl Table {
    /// Whether the loop has passed all checks.
    pub fn is_passed(&self) -> bool {
        self.rows.iter().all(|row| row.result.is_ok())
    }

    fn of(checks: impl Iterator<Item = (&'static str, Job)>) -> Self {
        let run = |(name, check): (&'static str, Job)| {
            let begun = Instant::now();
            // The thread has the check's name, which its watchdog prints.
            let thread = thread::Builder::new().name(name.to_owned()).spawn(check);
            let result = match thread.map(thread::JoinHandle::join) {
                Ok(ended) => ended.map_err(panic_message),
                Err(error) => Err(format!("there is no thread for it: {error}")),
            };
            Row { name, result, took: begun.elapsed() }
        };
        Self { rows: checks.map(run).collect() }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        for Row { name, result, took } in &self.rows {
            let took = took.as_millis();
            match result {
                Ok(()) => writeln!(f, "{name:<width$}  {took:>6} ms  passed")?,
                // A report has several lines.
                Err(said) => writeln!(f, "{name:<width$}  {took:>6} ms  {}", said.replace('\n', " | "))?,
            }
        }
        Ok(())
    }
}

/// Runs all checks of a loop with sockets: those that [`conformance!`](crate::conformance!) makes tests of.
pub fn check_all<L: WatchFd>(subject: &Subject<L>) -> Table {
    let net = net_checks().into_iter().chain(watch_fd_checks());
    let checks = base_checks().into_iter().chain(net).chain(native_of(subject)).chain(beat_of(subject));
    Table::of(checks.map(|check| (check.name, bound(check.run, subject))))
}

/// Runs the checks of a loop without sockets: those that [`base!`](crate::base!) makes tests of.
pub fn check_base<L: Timers>(subject: &Subject<L>) -> Table {
    let checks = base_checks().into_iter().chain(native_of(subject)).chain(beat_of(subject));
    Table::of(checks.map(|check| (check.name, bound(check.run, subject))))
}

/// Runs the checks of two loops that use each other: those that [`partners!`](crate::partners!) makes tests of.
pub fn check_partners<L: EventLoop, M: EventLoop>(here: &Subject<L>, there: &Subject<M>) -> Table {
    let checks = partner_checks::<L, M>().into_iter();
    let (here, there) = (here.clone(), there.clone());
    Table::of(checks.map(move |check| {
        let (here, there) = (here.clone(), there.clone());
        let run: Job = Box::new(move || (check.run)(&here, &there));
        (check.name, run)
    }))
}

fn native_of<L: EventLoop>(subject: &Subject<L>) -> Vec<crate::Check<L>> {
    if subject.native_timer().is_some() { native_checks() } else { Vec::new() }
}

fn beat_of<L: EventLoop>(subject: &Subject<L>) -> Vec<crate::Check<L>> {
    if subject.beat().is_some() { beat_checks() } else { Vec::new() }
}

fn bound<L: EventLoop>(run: fn(&Subject<L>), subject: &Subject<L>) -> Job {
    let subject = subject.clone();
    Box::new(move || run(&subject))
}
