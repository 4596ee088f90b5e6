//! The bare servers, as programs: see `bare_axum.rs` and `bare_smol.rs`.
//!
//! They follow axum's documentation: <https://docs.rs/axum/latest/axum/fn.serve.html>

use std::net::SocketAddr;
use std::process::Command;

use crate::process::sibling;
use crate::suite::Failure;

/// The recommendation that the bare server follows.
pub const LINK: &str = "https://docs.rs/axum/latest/axum/fn.serve.html";

/// Returns the command of the bare server.
pub fn bare_axum(address: SocketAddr) -> Result<Command, Failure> {
    let mut command = Command::new(sibling("bare-axum")?);
    command.arg(address.to_string());
    Ok(command)
}

/// The recommendation that the bare server on smol follows.
pub const SMOL_LINK: &str = "https://github.com/smol-rs/smol/blob/master/examples/hyper-server.rs";

/// Returns the command of the bare server on smol.
pub fn bare_smol(address: SocketAddr) -> Result<Command, Failure> {
    let mut command = Command::new(sibling("bare-smol")?);
    command.arg(address.to_string());
    Ok(command)
}
