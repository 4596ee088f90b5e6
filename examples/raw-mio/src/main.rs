//! A server with a mio loop of its own: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    raw_mio::service().run()
}
