//! The shortest HTTP service: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    hello::service().run()
}
