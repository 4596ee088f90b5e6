//! A load of keep-alive requests from several connections, with one request at a time on each.
//!
//! It runs on one thread and does little: it measures the server, by the server's own CPU time.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::connections::{Connections, Left, take};
use crate::pin::{Cpus, run_on};
use crate::process::{Program, Server};
use crate::suite::{Failure, Sample};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Starts the server on one CPU, and loads it with `n` requests from another; returns its CPU time for each request.
pub fn cpu_per_request(program: Program, connections: usize, n: u32) -> Result<Sample, Failure> {
    let cpu = Cpus::get().first;
    let server = run_on(cpu, move || Server::start(program))?;
    run_on(cpu, move || {
        let mut load = Connections::open(server.address(), connections)?;
        load.run(n / 10, requests)?;
        let before = server.cpu_time()?;
        let elapsed = load.run(n, requests)?;
        Ok(Sample::of_cpu(n, server.cpu_time()? - before, elapsed))
    })
}

/// Starts the server `n` times, and returns the time from its spawn to its first answer.
pub fn start_to_first_answer(program: Program, n: u32) -> Result<Sample, Failure> {
    let cpus = Cpus::get();
    run_on(cpus.second, move || {
        let mut sum = Duration::ZERO;
        for _ in 0..n {
            // It is not pinned: a start may use all that the machine has.
            sum += Server::start(program)?.first_answer();
        }
        Ok(Sample::of(n, sum))
    })
}

pub(crate) async fn requests<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, left: Left) -> io::Result<S> {
    let mut buffer = [0; 4096];
    while take(&left) {
        stream.write_all(REQUEST).await?;
        stream.flush().await?;
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

/// Returns the whole length of the response that begins here; `None` if its head isn't complete.
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
}
