//! A service that logs more than a pipe holds, and then panics.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use interloop::{Service, Thread, task_fn};

fn main() -> ExitCode {
    let mut service = Service::new("barn");
    let barn = task_fn::<Thread>(async |_| {
        for line in 0..3000 {
            log::info!(target: "barn.barn", "line {line} {}", "x".repeat(50));
        }
        panic!("the barn is on fire");
    });
    service.task("barn", barn);
    service.run()
}
