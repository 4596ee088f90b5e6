//! The servers of Thrift, as programs: see `bare_thrift.rs` and `sparts_thrift.py`.

use std::net::SocketAddr;
use std::process::Command;

use super::sparts;
use crate::process::sibling;
use crate::suite::Failure;

/// The comparison of Thrift by CPU time.
pub const THRIFT: &str = "thrift-cpu";
/// How many call at once.
pub const CONNECTIONS: usize = 16;
/// What Thrift is compared with.
pub const T_SERVER: &str = "Apache's TServer, a thread a connection";
/// Where that is described.
pub const LINK: &str = "https://docs.rs/thrift/latest/thrift/server/struct.TServer.html";
/// What is said where sparts' server takes part.
pub const SLOW: &str = "sparts' NBServerTask does a tenth of them.";
/// What is said where there is none.
pub const MISSING: &str = "sparts' NBServerTask is left out: no Python with sparts 0.7.3 and thrift was found, neither SPARTS_PYTHON nor python3.";

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline/sparts_thrift.py");

/// The command of Apache's server; one thread more than there are connections, since the first answer has one of its own.
pub fn t_server(address: SocketAddr) -> Result<Command, Failure> {
    let mut command = Command::new(sibling("bare-thrift")?);
    command.args([address.to_string(), (CONNECTIONS + 1).to_string()]);
    Ok(command)
}

/// The command of sparts' server.
pub fn nb_server(address: SocketAddr) -> Result<Command, Failure> {
    let mut command = Command::new(sparts::python_name());
    command.args([PROGRAM, &address.ip().to_string(), &address.port().to_string()]);
    Ok(command)
}

/// Whether a Python is found that has sparts, and thrift as well.
pub fn has_nb_server() -> bool {
    sparts::has("from sparts.tasks.thrift.nbserver import NBServerTask")
}
