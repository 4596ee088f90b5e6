//! Doubles by tonic's own server, on tokio's current-thread runtime: `bare-grpc 127.0.0.1:50051`.
//!
//! It follows tonic's documentation: <https://docs.rs/tonic/latest/tonic/transport/struct.Server.html>

use std::error::Error;

use grpc_health::tally::tally_server::TallyServer;
use interloop_benches::baseline::tally::Doubles;
use tokio::runtime::Builder;
use tonic::transport::Server;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: bare-grpc ADDRESS:PORT")?.parse()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(Server::builder().add_service(TallyServer::new(Doubles)).serve(address))?)
}
