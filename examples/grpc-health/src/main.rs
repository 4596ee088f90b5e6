//! A gRPC service with health checks: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    grpc_health::service().run()
}
