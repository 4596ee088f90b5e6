//! Sums by Thrift on any loop: `sums-on --thrift-loop glib --thrift-port 9090`.

use std::process::ExitCode;

use interloop::{Service, Thread};
use interloop_benches::baseline::sums::Sums;
use interloop_glib::Glib;
use interloop_thrift::ThriftServer;
use interloop_tokio::Tokio;

fn main() -> ExitCode {
    let mut service = Service::new("sums-on");
    service.task_any::<(Thread, Tokio, Glib)>("thrift", ThriftServer::new(Sums));
    service.run()
}
