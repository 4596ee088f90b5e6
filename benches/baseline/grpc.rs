//! tonic's own server, as a program: see `bare_grpc.rs`.

use std::net::SocketAddr;
use std::process::Command;

use crate::process::sibling;
use crate::suite::Failure;

/// The comparison of gRPC by CPU time.
pub const GRPC: &str = "grpc-cpu";
/// The number of connections, and how many calls each has under way.
pub const LOAD: (usize, usize) = (4, 8);
/// The contestant that gRPC is compared with.
pub const BARE_TONIC: &str = "tonic's Server, tokio current-thread";
/// The recommendation that it follows.
pub const LINK: &str = "https://docs.rs/tonic/latest/tonic/transport/struct.Server.html";

/// Returns the command of tonic's server.
pub fn bare_tonic(address: SocketAddr) -> Result<Command, Failure> {
    let mut command = Command::new(sibling("bare-grpc")?);
    command.arg(address.to_string());
    Ok(command)
}
