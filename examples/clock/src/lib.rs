//! Prints the Unix time every second. It doesn't drift, and stops at once on ^C; `--tick-interval 100ms` makes it
//! faster.

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use interloop::{Service, Thread, tasks::Periodic};

/// Returns the service, which prints to this.
pub fn service(mut out: impl Write + Send + 'static) -> Service {
    let mut service = Service::new("clock");
    let tick = move || writeln!(out, "{}", UNIX_EPOCH.elapsed().unwrap_or_default().as_secs());
    service.task_on::<Thread>("tick", Periodic::new(Duration::from_secs(1), tick));
    service
}
