//! A load of framed Thrift calls from several connections, one call at a time each.
//!
//! As [`http_load`](crate::http_load), one thread and a fixed number of them; frames are sent and compared as bytes. Loopback only.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{self, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use crate::pin::{Cpus, run_on};
use crate::process::{PATIENCE, Program, Server};
use crate::suite::{Failure, Sample};

/// `add(20, 22)`: the frame's length, version and kind, name, sequence number, two fields of `i64`, the end.
const CALL: &[u8; 42] = b"\0\0\0\x26\x80\x01\0\x01\0\0\0\x03add\0\0\0\x07\
    \x0a\0\x01\0\0\0\0\0\0\0\x14\x0a\0\x02\0\0\0\0\0\0\0\x16\0";
/// 42, in field 0.
const ANSWER: &[u8; 31] = b"\0\0\0\x1b\x80\x01\0\x02\0\0\0\x03add\0\0\0\x07\x0a\0\0\0\0\0\0\0\0\0\x2a\0";

/// Starts the server on one CPU, loads it from another with `n` calls, and returns its CPU time a call.
pub fn cpu_per_call(program: Program, connections: usize, n: u32) -> Result<Sample, Failure> {
    let cpus = Cpus::get();
    let server = run_on(cpus.first, move || Server::start_until(program, answers))?;
    run_on(cpus.second, move || {
        let mut load = Load::connect(server.address(), connections)?;
        // Every connection is served before the time begins.
        load.run((n / 10).max(connections as u32))?;
        let before = server.cpu_time()?;
        let elapsed = load.run(n)?;
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

/// Open connections to one server.
struct Load {
    runtime: Runtime,
    streams: Vec<TcpStream>,
}

impl Load {
    fn connect(address: SocketAddr, connections: usize) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "only loopback is loaded"));
        }
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let streams = runtime.block_on(async {
            let mut streams = Vec::with_capacity(connections);
            for _ in 0..connections {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                streams.push(stream);
            }
            Ok::<_, io::Error>(streams)
        })?;
        Ok(Self { runtime, streams })
    }

    /// Makes `n` calls in all, each when the answer to the one before has come; returns how long that took.
    fn run(&mut self, n: u32) -> io::Result<Duration> {
        let left = Rc::new(Cell::new(n));
        let streams = std::mem::take(&mut self.streams);
        let tasks = LocalSet::new();
        let begin = Instant::now();
        self.streams = tasks.block_on(&self.runtime, async {
            let running: Vec<_> =
                streams.into_iter().map(|stream| tokio::task::spawn_local(calls(stream, left.clone()))).collect();
            let mut streams = Vec::with_capacity(running.len());
            for task in running {
                streams.push(task.await.map_err(io::Error::other)??);
            }
            Ok::<_, io::Error>(streams)
        })?;
        Ok(begin.elapsed())
    }
}

async fn calls(mut stream: TcpStream, left: Rc<Cell<u32>>) -> io::Result<TcpStream> {
    let mut answer = [0; ANSWER.len()];
    while let Some(rest) = left.get().checked_sub(1) {
        left.set(rest);
        stream.write_all(CALL).await?;
        stream.read_exact(&mut answer).await?;
        check(&answer)?;
    }
    Ok(stream)
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_loopback_is_loaded() {
        let error = super::Load::connect(([192, 0, 2, 1], 80).into(), 1).map(drop).unwrap_err();
        assert_eq!(error.to_string(), "only loopback is loaded");
    }
}
