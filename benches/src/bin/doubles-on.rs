//! Doubles by gRPC on any loop: `doubles-on --grpc-loop glib --grpc-port 50051`.

use std::process::ExitCode;

use grpc_health::tally::tally_server::TallyServer;
use interloop::{Service, Thread};
use interloop_benches::baseline::tally::Doubles;
use interloop_glib::Glib;
use interloop_grpc::GrpcServer;
use interloop_tokio::Tokio;

fn main() -> ExitCode {
    let mut service = Service::new("doubles-on");
    let server = GrpcServer::new().add_service(TallyServer::new(Doubles));
    service.task_any::<(Thread, Tokio, Glib)>("grpc", server);
    service.run()
}
