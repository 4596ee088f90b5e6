//! All integration tests of this crate, in one binary: a module a behaviour.

mod bad_options;
mod chat;
mod children;
mod containers;
mod dbus_service;
mod dev_watcher;
mod faults;
mod grpc_health;
mod gtk;
mod host_logger;
mod http;
mod http_thrift;
mod idle;
mod leave_a_thread;
mod logging;
mod migrate;
mod options_file;
mod partners;
mod producer_consumer;
mod run_commands;
mod side_by_side;
mod signals;
mod small;
mod stuck;
mod thrift_multiplexed;
mod tracing;
