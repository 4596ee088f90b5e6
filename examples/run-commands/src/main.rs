//! Runs the given commands, and leaves nothing of them behind: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    run_commands::service().run()
}
