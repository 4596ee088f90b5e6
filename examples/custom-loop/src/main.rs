//! A service on a custom loop: see the library's `echo`.

use std::process::ExitCode;

fn main() -> ExitCode {
    custom_loop::echo::service().run()
}
