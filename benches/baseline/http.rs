//! The bare servers, as programs: see `bare_axum.rs` and `bare_smol.rs`.
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

/// Where the bare server on smol is recommended.
pub const SMOL_LINK: &str = "https://github.com/smol-rs/smol/blob/master/examples/hyper-server.rs";

/// The command of the bare server on smol.
pub fn bare_smol(address: SocketAddr) -> Result<Command, Failure> {
    let mut command = Command::new(sibling("bare-smol")?);
    command.arg(address.to_string());
    Ok(command)
}
