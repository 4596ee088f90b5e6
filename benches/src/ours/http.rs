//! The example `hello` beside the bare server; the same on every loop.

use std::net::SocketAddr;
use std::process::Command;

use crate::baseline::{BARE_AXUM, BARE_SMOL, HTTP, HTTP_ON, START};
use crate::http_load::{cpu_per_request, start_to_first_answer};
use crate::process::{Program, sibling};
use crate::suite::{Bound, Failure, Suite};

const HELLO: &str = "interloop: hello, Tokio";

pub(super) fn register(suite: &mut Suite) {
    suite.comparison(HTTP).add_fallible(HELLO, |n| cpu_per_request(hello, 32, n)).claim(
        HELLO,
        BARE_AXUM,
        Bound::SpeedAtLeast(0.98),
    );
    suite.comparison(START).add_fallible(HELLO, |n| start_to_first_answer(hello, n)).claim(
        HELLO,
        BARE_AXUM,
        Bound::CostAtMost(1.5),
    );
    let loops: [(&str, Program); 8] = [
        ("interloop: Tokio", |address| hello_on("tokio", address)),
        ("interloop: AsyncStd", |address| hello_on("async-std", address)),
        ("interloop: Smol", |address| hello_on("smol", address)),
        ("interloop: Compio", |address| hello_on("compio", address)),
        ("interloop: Glib", |address| hello_on("glib", address)),
        ("interloop: Calloop", |address| hello_on("calloop", address)),
        ("interloop: Mio", |address| hello_on("mio", address)),
        ("interloop: Thread", |address| hello_on("thread", address)),
    ];
    for (id, connections) in HTTP_ON {
        let comparison = suite.comparison(id);
        for (name, program) in loops {
            comparison.add_fallible(name, move |n| cpu_per_request(program, connections, n)).claim(
                name,
                BARE_AXUM,
                Bound::SpeedAtLeast(0.95),
            );
        }
        comparison.claim("interloop: Smol", BARE_SMOL, Bound::SpeedAtLeast(0.98));
    }
}

pub(super) fn hello_on(name: &str, address: SocketAddr) -> Result<Command, Failure> {
    let mut command = Command::new(sibling("hello-on")?);
    command.args(["--http-loop", name, "--http-host", &address.ip().to_string()]);
    command.args(["--http-port", &address.port().to_string()]);
    Ok(command)
}

fn hello(address: SocketAddr) -> Result<Command, Failure> {
    let mut command = Command::new(sibling("hello")?);
    command.args(["--http-host", &address.ip().to_string(), "--http-port", &address.port().to_string()]);
    Ok(command)
}
