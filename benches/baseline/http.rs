//! The bare server, as a program: see `bare_axum.rs`.
//!
//! After axum's documentation: <https://docs.rs/axum/latest/axum/fn.serve.html>

use std::net::SocketAddr;
use std::process::Command;

use crate::process::sibling;
use crate::suite::Failure;

/// Where this is recommended.
pub const LINK: &str = "https://docs.rs/axum/latest/axum/fn.serve.html";

/// The command of the bare server.
pub fn bare_axum(address: SocketAddr) -> Result<Command, Failure> {
    let mut command = Command::new(sibling("bare-axum")?);
    command.arg(address.to_string());
    Ok(command)
}
