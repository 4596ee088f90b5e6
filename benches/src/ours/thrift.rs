//! Thrift beside Apache's server; the same on a thread, on tokio and on glib.

use std::net::SocketAddr;
use std::process::Command;

use crate::baseline::thrift::{CONNECTIONS, T_SERVER, THRIFT};
use crate::process::{Program, sibling};
use crate::suite::{Bound, Failure, Suite};
use crate::thrift_load::cpu_per_call;

pub(super) fn register(suite: &mut Suite) {
    let loops: [(&str, Program); 3] = [
        ("interloop: Thread", |address| sums_on("thread", address)),
        ("interloop: Tokio", |address| sums_on("tokio", address)),
        ("interloop: Glib", |address| sums_on("glib", address)),
    ];
    let comparison = suite.comparison(THRIFT);
    for (name, program) in loops {
        comparison.add_fallible(name, move |n| cpu_per_call(program, CONNECTIONS, n)).claim(
            name,
            T_SERVER,
            Bound::SpeedAtLeast(0.95),
        );
    }
}

fn sums_on(name: &str, address: SocketAddr) -> Result<Command, Failure> {
    let mut command = Command::new(sibling("sums-on")?);
    command.args(["--thrift-loop", name, "--thrift-host", &address.ip().to_string()]);
    command.args(["--thrift-port", &address.port().to_string()]);
    Ok(command)
}
