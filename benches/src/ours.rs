//! The same as in [`baseline`](crate::baseline), through Interloop, and the bounds that must hold.

mod calls;
mod commands;
mod counters;
mod dbus;
mod grpc;
mod hosting;
mod http;
mod lateness;
mod lifecycle;
mod log;
mod matrix;
mod memory;
mod posts;
mod queues;
mod size;
mod thrift;
mod tls;

use crate::suite::Suite;

pub use hosting::Hosted;
pub use size::register as register_sizes;

/// Adds Interloop's contestants to the baselines' comparisons, and the comparisons that only Interloop answers.
pub fn register(suite: &mut Suite) {
    calls::register(suite);
    posts::register(suite);
    matrix::register(suite);
    http::register(suite);
    tls::register(suite);
    thrift::register(suite);
    grpc::register(suite);
    dbus::register(suite);
    lifecycle::register(suite);
    memory::register(suite);
    counters::register(suite);
    log::register(suite);
    commands::register(suite);
    lateness::register(suite);
    queues::register(suite);
}
