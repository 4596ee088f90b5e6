//! gRPC beside tonic's server; on a thread, on tokio and on glib.

use std::net::SocketAddr;
use std::process::Command;

use crate::baseline::grpc::{BARE_TONIC, GRPC};
use crate::grpc_load::cpu_per_call;
use crate::process::{Program, sibling};
use crate::suite::{Bound, Failure, Suite};

pub(super) fn register(suite: &mut Suite) {
    let loops: [(&str, Program); 3] = [
        ("interloop: Thread", |address| doubles_on("thread", address)),
        ("interloop: Tokio", |address| doubles_on("tokio", address)),
        ("interloop: Glib", |address| doubles_on("glib", address)),
    ];
    let comparison = suite.comparison(GRPC);
    for (name, program) in loops {
        comparison.add_fallible(name, move |n| cpu_per_call(program, n)).claim(
            name,
            BARE_TONIC,
            Bound::SpeedAtLeast(0.95),
        );
    }
}

fn doubles_on(name: &str, address: SocketAddr) -> Result<Command, Failure> {
    let mut command = Command::new(sibling("doubles-on")?);
    command.args(["--grpc-loop", name, "--grpc-host", &address.ip().to_string()]);
    command.args(["--grpc-port", &address.port().to_string()]);
    Ok(command)
}
