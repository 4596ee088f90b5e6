//! A producer, and a queue whose workers run on tokio: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    producer_consumer::service().run()
}
