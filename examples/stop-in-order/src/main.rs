//! A service whose tasks take their time to stop: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    stop_in_order::service().run()
}
