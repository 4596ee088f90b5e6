//! One service, answered by Thrift over sockets and over HTTP: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    http_thrift::service().run()
}
