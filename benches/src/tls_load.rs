//! Loads of TLS: keep-alive requests of HTTP over connections that stay, and connections that only shake hands.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::baseline::tls::Certificate;
use crate::connections::{Connections, Left, take};
use crate::http_load::requests;
use crate::pin::{Cpus, run_on};
use crate::process::{Program, Server, listens};
use crate::suite::{Failure, Sample};

/// The number of connections, or of handshakes, at once.
pub const CONNECTIONS: usize = 32;

/// Starts the server on one CPU, and loads it with `n` requests from another; returns its CPU time for each request.
pub fn cpu_per_request(program: Program, n: u32) -> Result<Sample, Failure> {
    let cpus = Cpus::get();
    let server = run_on(cpus.first, move || Server::start_until(program, listens))?;
    run_on(cpus.second, move || {
        let address = server.address();
        let connector = connector()?;
        let mut load = Connections::open_by(CONNECTIONS, async || shake_hands(address, &connector).await)?;
        load.run((n / 10).max(CONNECTIONS as u32), requests)?;
        let before = server.cpu_time()?;
        let elapsed = load.run(n, requests)?;
        Ok(Sample::of_cpu(n, server.cpu_time()? - before, elapsed))
    })
}

/// Does the same as [`cpu_per_request`] for full handshakes: none is resumed.
pub fn cpu_per_handshake(program: Program, n: u32) -> Result<Sample, Failure> {
    let cpus = Cpus::get();
    let server = run_on(cpus.first, move || Server::start_until(program, listens))?;
    run_on(cpus.second, move || {
        let address = server.address();
        let connector = connector()?;
        let mut load = Connections::open_by(CONNECTIONS, async || Ok(()))?;
        let handshakes = |(), left| handshakes(address, connector.clone(), left);
        load.run((n / 10).max(CONNECTIONS as u32), handshakes)?;
        let before = server.cpu_time()?;
        let elapsed = load.run(n, handshakes)?;
        Ok(Sample::of_cpu(n, server.cpu_time()? - before, elapsed))
    })
}

fn connector() -> Result<TlsConnector, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(Certificate::get()?.der.clone()))?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn shake_hands(address: SocketAddr, connector: &TlsConnector) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    connector.connect(name, stream).await
}

async fn handshakes(address: SocketAddr, connector: TlsConnector, left: Left) -> io::Result<()> {
    while take(&left) {
        shake_hands(address, &connector).await?.shutdown().await?;
    }
    Ok(())
}
