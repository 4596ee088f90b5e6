//! Connections that load a server, on one thread: each asks again when it has its answer.
//!
//! The number of requests is fixed, so a load ends by itself. Loopback only.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

/// The number of requests still to be made, by all connections together.
pub(crate) type Left = Rc<Cell<u32>>;

/// Takes one of the remaining requests.
pub(crate) fn take(left: &Left) -> bool {
    let Some(rest) = left.get().checked_sub(1) else { return false };
    left.set(rest);
    true
}

/// Open connections to one server.
#[derive(Debug)]
pub(crate) struct Connections<S = TcpStream> {
    runtime: Runtime,
    streams: Vec<S>,
}

impl Connections {
    pub(crate) fn open(address: SocketAddr, connections: usize) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "only loopback is loaded"));
        }
        Self::open_by(connections, async || {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
    }
}

impl<S: 'static> Connections<S> {
    /// Does the same as [`open`](Connections::open), with each connection made by `connect`.
    pub(crate) fn open_by(connections: usize, connect: impl AsyncFn() -> io::Result<S>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let streams = runtime.block_on(async {
            let mut streams = Vec::with_capacity(connections);
            for _ in 0..connections {
                streams.push(connect().await?);
            }
            Ok::<_, io::Error>(streams)
        })?;
        Ok(Self { runtime, streams })
    }

    /// Has `ask` make `n` requests in all, on all connections; returns how long that took.
    pub(crate) fn run<F>(&mut self, n: u32, ask: impl Fn(S, Left) -> F) -> io::Result<Duration>
    where
        F: Future<Output = io::Result<S>> + 'static,
    {
        let left = Rc::new(Cell::new(n));
        let streams = std::mem::take(&mut self.streams);
        let tasks = LocalSet::new();
        let begin = Instant::now();
        self.streams = tasks.block_on(&self.runtime, async {
            let running: Vec<_> =
                streams.into_iter().map(|stream| tokio::task::spawn_local(ask(stream, left.clone()))).collect();
            let mut streams = Vec::with_capacity(running.len());
            for task in running {
                streams.push(task.await.map_err(io::Error::other)??);
            }
            Ok::<_, io::Error>(streams)
        })?;
        Ok(begin.elapsed())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_loopback_is_loaded() {
        let error = super::Connections::open(([192, 0, 2, 1], 80).into(), 1).unwrap_err();
        assert_eq!(error.to_string(), "only loopback is loaded");
    }
}
