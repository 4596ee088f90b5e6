//! The example `hello` beside the bare server.

use std::net::SocketAddr;
use std::process::Command;

use crate::baseline::{BARE_AXUM, HTTP, START};
use crate::http_load::{cpu_per_request, start_to_first_answer};
use crate::process::sibling;
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
}

fn hello(address: SocketAddr) -> Result<Command, Failure> {
    let mut command = Command::new(sibling("hello")?);
    command.args(["--http-host", &address.ip().to_string(), "--http-port", &address.port().to_string()]);
    Ok(command)
}
