//! A guest book whose every task runs on any loop: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    migrate::service().run()
}
