//! A glib loop and a tokio HTTP server in one process: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    side_by_side::service().run()
}
