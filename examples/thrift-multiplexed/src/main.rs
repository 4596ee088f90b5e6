//! Two Thrift services at one address: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    thrift_multiplexed::service().run()
}
