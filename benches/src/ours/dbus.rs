//! D-Bus beside zbus alone; on a thread, on tokio and on glib.

use std::process::Command;

use crate::baseline::dbus::{BARE_ZBUS, DBUS};
use crate::dbus_load::{OnBus, cpu_per_call};
use crate::process::sibling;
use crate::suite::{Bound, Failure, Suite};

pub(super) fn register(suite: &mut Suite) {
    let loops: [(&str, OnBus); 3] = [
        ("interloop: Thread", |bus| sums_on("thread", bus)),
        ("interloop: Tokio", |bus| sums_on("tokio", bus)),
        ("interloop: Glib", |bus| sums_on("glib", bus)),
    ];
    let comparison = suite.comparison(DBUS);
    for (name, program) in loops {
        comparison.add_fallible(name, move |n| cpu_per_call(program, n)).claim(
            name,
            BARE_ZBUS,
            Bound::SpeedAtLeast(0.95),
        );
    }
}

fn sums_on(name: &str, bus: &str) -> Result<Command, Failure> {
    let mut command = Command::new(sibling("bus-on")?);
    command.args(["--dbus-loop", name, "--dbus-address", bus]);
    Ok(command)
}
