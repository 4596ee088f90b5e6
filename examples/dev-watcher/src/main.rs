//! Runs a shell command whenever something in a folder has changed: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    dev_watcher::service().run()
}
