//! A service on a loop of one's own: see the library's `echo`.

use std::process::ExitCode;

fn main() -> ExitCode {
    custom_loop::echo::service().run()
}
