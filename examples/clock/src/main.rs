//! Prints the Unix time every second. It doesn't drift, and stops at once on ^C; `--tick-interval 100ms` makes it faster.

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use interloop::{Service, Thread, tasks::Periodic};

fn main() -> ExitCode {
    let mut service = Service::new("clock");
    let tick = || writeln!(stdout(), "{}", UNIX_EPOCH.elapsed().unwrap_or_default().as_secs());
    service.task_on::<Thread>("tick", Periodic::new(Duration::from_secs(1), tick));
    service.run()
}
