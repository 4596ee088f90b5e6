//! A service without a task: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    empty::service().run()
}
