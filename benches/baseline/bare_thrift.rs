//! Sums by Apache's own server, with a thread for each connection: `bare-thrift 127.0.0.1:9090 WORKERS`.
//!
//! It follows the server's documentation: <https://docs.rs/thrift/latest/thrift/server/struct.TServer.html>

use std::error::Error;

use interloop_benches::baseline::sums::Sums;
use thrift::protocol::{TBinaryInputProtocolFactory, TBinaryOutputProtocolFactory};
use thrift::server::TServer;
use thrift::transport::{TFramedReadTransportFactory, TFramedWriteTransportFactory};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (address, workers) = words.next().zip(words.next()).ok_or("usage: bare-thrift ADDRESS:PORT WORKERS")?;
    let mut server = TServer::new(
        TFramedReadTransportFactory::new(),
        TBinaryInputProtocolFactory::new(),
        TFramedWriteTransportFactory::new(),
        TBinaryOutputProtocolFactory::new(),
        Sums,
        workers.parse()?,
    );
    Ok(server.listen(address)?)
}
