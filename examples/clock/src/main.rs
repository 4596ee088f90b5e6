//! Prints the Unix time every second: see the library.

use std::{io::stdout, process::ExitCode};

fn main() -> ExitCode {
    clock::service(stdout()).run()
}
