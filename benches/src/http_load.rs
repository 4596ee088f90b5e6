//! A load of keep-alive requests from several connections, one request at a time each.
//!
//! It runs on one thread and does little: the server is what is measured, by its own CPU time. The number of requests is
//! fixed, so the load ends by itself. Loopback only.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use crate::pin::{Cpus, run_on};
use crate::process::{Program, Server};
use crate::suite::{Failure, Sample};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Starts the server on one CPU, loads it from another with `n` requests, and returns its CPU time a request.
pub fn cpu_per_request(program: Program, connections: usize, n: u32) -> Result<Sample, Failure> {
    let cpu = Cpus::get().first;
    let server = run_on(cpu, move || Server::start(program))?;
    run_on(cpu, move || {
        let mut load = Load::connect(server.address(), connections)?;
        load.run(n / 10)?;
        let before = server.cpu_time()?;
        let elapsed = load.run(n)?;
        Ok(Sample::of_cpu(n, server.cpu_time()? - before, elapsed))
    })
}

/// Starts the server `n` times, and returns the time from its spawn to its first answer.
pub fn start_to_first_answer(program: Program, n: u32) -> Result<Sample, Failure> {
    let cpus = Cpus::get();
    run_on(cpus.second, move || {
        let mut sum = Duration::ZERO;
        for _ in 0..n {
            // Not pinned: a start is free to use what the machine has.
            sum += Server::start(program)?.first_answer();
        }
        Ok(Sample::of(n, sum))
    })
}

/// Open connections to one server.
#[derive(Debug)]
pub struct Load {
    runtime: Runtime,
    streams: Vec<TcpStream>,
}

impl Load {
    /// Opens the connections.
    ///
    /// # Errors
    ///
    /// What connecting says; and an address that isn't on loopback.
    pub fn connect(address: SocketAddr, connections: usize) -> io::Result<Self> {
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

    /// Sends `n` requests in all, each when the answer to the one before has come; returns how long that took.
    ///
    /// # Errors
    ///
    /// A connection that ends or fails, an answer that isn't 200 with a content-length.
    pub fn run(&mut self, n: u32) -> io::Result<Duration> {
        let left = Rc::new(Cell::new(n));
        let streams = std::mem::take(&mut self.streams);
        let tasks = LocalSet::new();
        let begin = Instant::now();
        self.streams = tasks.block_on(&self.runtime, async {
            let running: Vec<_> =
                streams.into_iter().map(|stream| tokio::task::spawn_local(requests(stream, left.clone()))).collect();
            let mut streams = Vec::with_capacity(running.len());
            for task in running {
                streams.push(task.await.map_err(io::Error::other)??);
            }
            Ok::<_, io::Error>(streams)
        })?;
        Ok(begin.elapsed())
    }
}

async fn requests(mut stream: TcpStream, left: Rc<Cell<u32>>) -> io::Result<TcpStream> {
    let mut buffer = [0; 4096];
    while let Some(rest) = left.get().checked_sub(1) {
        left.set(rest);
        stream.write_all(REQUEST).await?;
        let mut filled = 0;
        loop {
            match stream.read(&mut buffer[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => filled += n,
            }
            match response_length(&buffer[..filled])? {
                Some(length) if length == filled => break,
                Some(length) if length < filled => return Err(io::Error::other("more than one answer to a request")),
                _ => {}
            }
        }
    }
    Ok(stream)
}

/// The whole length of the response that begins here, `None` where its head isn't complete.
fn response_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(head) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..head + 2]).map_err(io::Error::other)?;
    let mut lines = head.split("\r\n");
    if !lines.next().is_some_and(|status| status.starts_with("HTTP/1.1 200 ")) {
        return Err(io::Error::other("an answer isn't 200"));
    }
    let body = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse::<usize>().ok() } else { None }
    });
    let body = body.ok_or_else(|| io::Error::other("an answer has no content-length"))?;
    Ok(Some(head.len() + 2 + body))
}

#[cfg(test)]
mod tests {
    use super::response_length;

    #[test]
    fn a_response_ends_with_its_body() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ndate: now\r\n\r\n";
        assert_eq!(response_length(&head.as_bytes()[..head.len() - 1]).unwrap(), None);
        assert_eq!(response_length(head.as_bytes()).unwrap(), Some(head.len() + 5));
        response_length(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n").unwrap_err();
        response_length(b"HTTP/1.1 200 OK\r\n\r\n").unwrap_err();
    }

    #[test]
    fn only_loopback_is_loaded() {
        let error = super::Load::connect(([192, 0, 2, 1], 80).into(), 1).unwrap_err();
        assert_eq!(error.to_string(), "only loopback is loaded");
    }
}
