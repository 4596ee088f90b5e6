//! HTTP over TLS beside the bare server; the same on a thread, on tokio and on glib.

use std::net::SocketAddr;
use std::process::Command;

use super::http::hello_on;
use crate::baseline::tls::{BARE_TLS, Certificate, HANDSHAKE, TLS};
use crate::process::Program;
use crate::suite::{Bound, Failure, Suite};
use crate::tls_load::{cpu_per_handshake, cpu_per_request};

pub(super) fn register(suite: &mut Suite) {
    let loops: [(&str, Program); 3] = [
        ("interloop: Thread", |address| secure_on("thread", address)),
        ("interloop: Tokio", |address| secure_on("tokio", address)),
        ("interloop: Glib", |address| secure_on("glib", address)),
    ];
    for (name, program) in loops {
        let comparison = suite.comparison(TLS).add_fallible(name, move |n| cpu_per_request(program, n));
        comparison.claim(name, BARE_TLS, Bound::SpeedAtLeast(0.95));
        let comparison = suite.comparison(HANDSHAKE).add_fallible(name, move |n| cpu_per_handshake(program, n));
        comparison.claim(name, BARE_TLS, Bound::SpeedAtLeast(0.95));
    }
}

fn secure_on(name: &str, address: SocketAddr) -> Result<Command, Failure> {
    let mut command = hello_on(name, address)?;
    let certificate = Certificate::get()?;
    command.arg("--http-tls-cert").arg(&certificate.cert).arg("--http-tls-key").arg(&certificate.key);
    Ok(command)
}
