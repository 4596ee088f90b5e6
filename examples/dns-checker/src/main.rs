//! Resolves a host name every so often, and logs when its addresses change: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    dns_checker::service().run()
}
