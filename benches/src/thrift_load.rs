//! A load of framed Thrift calls from several connections, with one call at a time on each.
//!
//! Frames are sent and compared as bytes.

use std::io::{self, Read, Write};
use std::net::{self, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::connections::{Connections, Left, take};
use crate::pin::{Cpus, run_on};
use crate::process::{PATIENCE, Program, Server};
use crate::suite::{Failure, Sample};

/// `add(20, 22)`: the frame's length, version and kind, name, sequence number, two fields of `i64`, the end.
const CALL: &[u8; 42] = b"\0\0\0\x26\x80\x01\0\x01\0\0\0\x03add\0\0\0\x07\
    \x0a\0\x01\0\0\0\0\0\0\0\x14\x0a\0\x02\0\0\0\0\0\0\0\x16\0";
/// 42, in field 0.
const ANSWER: &[u8; 31] = b"\0\0\0\x1b\x80\x01\0\x02\0\0\0\x03add\0\0\0\x07\x0a\0\0\0\0\0\0\0\0\0\x2a\0";

/// Starts the server on one CPU, and loads it with `n` calls from another; returns its CPU time for each call.
pub fn cpu_per_call(program: Program, connections: usize, n: u32) -> Result<Sample, Failure> {
    let cpus = Cpus::get();
    let server = run_on(cpus.first, move || Server::start_until(program, answers))?;
    run_on(cpus.second, move || {
        let mut load = Connections::open(server.address(), connections)?;
        // Every connection is served before the time begins.
        load.run((n / 10).max(connections as u32), calls)?;
        let before = server.cpu_time()?;
        let elapsed = load.run(n, calls)?;
        Ok(Sample::of_cpu(n, server.cpu_time()? - before, elapsed))
    })
}

/// Whether a call is answered yet.
fn answers(address: SocketAddr) -> io::Result<bool> {
    let mut stream = match net::TcpStream::connect(address) {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(false),
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(CALL)?;
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer)?;
    check(&answer).map(|()| true)
}

fn check(answer: &[u8; ANSWER.len()]) -> io::Result<()> {
    if answer == ANSWER { Ok(()) } else { Err(io::Error::other("20 and 22 aren't 42")) }
}

async fn calls(mut stream: TcpStream, left: Left) -> io::Result<TcpStream> {
    let mut answer = [0; ANSWER.len()];
    while take(&left) {
        stream.write_all(CALL).await?;
        stream.read_exact(&mut answer).await?;
        check(&answer)?;
    }
    Ok(stream)
}
