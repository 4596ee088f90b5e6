//! A gRPC service with health checks and reflection: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    grpc_health::service().run()
}
