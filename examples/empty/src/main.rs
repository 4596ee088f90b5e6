//! A service without a task: it waits to be asked to stop. ^C does.

use std::process::ExitCode;

fn main() -> ExitCode {
    interloop::Service::new("empty").run()
}
