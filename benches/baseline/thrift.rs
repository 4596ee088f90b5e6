//! The servers of Thrift, as programs: see `bare_thrift.rs` and `sparts_thrift.py`.

use std::net::SocketAddr;
use std::process::Command;

use super::sparts;
use crate::process::sibling;
use crate::suite::Failure;

/// The comparison of Thrift by CPU time.
pub const THRIFT: &str = "thrift-cpu";
/// The number of connections that call at once.
pub const CONNECTIONS: usize = 16;
/// The contestant that Thrift is compared with.
pub const T_SERVER: &str = "Apache's TServer, a thread a connection";
/// The description of that server.
pub const LINK: &str = "https://docs.rs/thrift/latest/thrift/server/struct.TServer.html";
/// The remark for runs in which sparts' server takes part.
pub const SLOW: &str = "sparts' NBServerTask does a tenth of them.";
/// The remark for runs in which it is missing.
pub const MISSING: &str = "sparts' NBServerTask is left out: no Python with sparts 0.7.3 and thrift was found, neither SPARTS_PYTHON nor python3.";

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline/sparts_thrift.py");

/// Returns the command of Apache's server. It gets one thread more than there are connections, since the first answer
/// has a connection of its own.
pub fn t_server(address: SocketAddr) -> Result<Command, Failure> {
    let mut command = Command::new(sibling("bare-thrift")?);
    command.args([address.to_string(), (CONNECTIONS + 1).to_string()]);
    Ok(command)
}

/// Returns the command of sparts' server.
pub fn nb_server(address: SocketAddr) -> Result<Command, Failure> {
    let mut command = Command::new(sparts::python_name());
    command.args([PROGRAM, &address.ip().to_string(), &address.port().to_string()]);
    Ok(command)
}

/// Whether there is a Python that has both sparts and thrift.
pub fn has_nb_server() -> bool {
    sparts::has("from sparts.tasks.thrift.nbserver import NBServerTask")
}
