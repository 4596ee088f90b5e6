//! Connections, as futures-io defines them: received by completions, and sent at once if there is room.
//!
//! A completion writes into a buffer that the system owns until then, so a reader's own buffer won't do. Small reads,
//! as of requests, are received into the stream's own buffer and copied. While more comes than fits, the reader's
//! buffer is filled directly, without a copy, until there is nothing left to read.

use std::{
    fmt,
    io::{self, IoSlice},
    net::Shutdown,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use compio::{
    BufResult,
    buf::IntoInner,
    driver::{SharedFd, ToSharedFd, op::Recv},
    runtime::{Runtime, Submit, fd::PollFd, submit},
};
use futures_io::{AsyncRead, AsyncWrite};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use socket2::Socket as RawSocket;

/// How much a completion receives at most.
const BUFFER: usize = 8 * 1024;

/// A connection: TCP, without delay, or a Unix stream.
pub struct CompioStream {
    socket: PollFd<RawSocket>,
    receiving: Option<Submit<Recv<Vec<u8>, SharedFd<RawSocket>>>>,
    /// The received bytes, from `begin` to `end`; empty while the system has it.
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    /// Whether there is probably more than one buffer of data.
    direct: bool,
}

impl CompioStream {
    pub(crate) fn new(socket: PollFd<RawSocket>) -> Self {
        // The driver that polls tries first, on this thread. io_uring would take a nonblocking socket at its word
        // instead of waiting.
        if Runtime::with_current(|runtime| runtime.driver_type().is_polling()) {
            let _ = socket.set_nonblocking(true);
        }
        Self { socket, receiving: None, buffer: Vec::new(), begin: 0, end: 0, direct: false }
    }

    /// The client may be gone already: the first read shows that.
    pub(crate) fn tcp(socket: PollFd<RawSocket>) -> Self {
        let _ = socket.set_tcp_nodelay(true);
        Self::new(socket)
    }

    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        mut send: impl FnMut(SendFlags) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match uninterrupted(|| Ok(send(SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.socket.poll_write_ready(cx))?,
                sent => return Poll::Ready(sent),
            }
        }
    }
}

impl AsFd for CompioStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsyncRead for CompioStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            if this.begin < this.end {
                let length = buf.len().min(this.end - this.begin);
                buf[..length].copy_from_slice(&this.buffer[this.begin..][..length]);
                this.begin += length;
                return Poll::Ready(Ok(length));
            }
            if let Some(receiving) = &mut this.receiving {
                let BufResult(received, operation) = ready!(Pin::new(receiving).poll(cx));
                this.receiving = None;
                this.buffer = operation.into_inner();
                match received {
                    Ok(0) => return Poll::Ready(Ok(0)),
                    Ok(length) => {
                        (this.begin, this.end) = (0, length);
                        this.direct = length == this.buffer.len();
                    }
                    // Other code has made the socket nonblocking, which io_uring takes at its word.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready!(this.socket.poll_read_ready(cx))?;
                        this.direct = true;
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
            } else if this.direct {
                match uninterrupted(|| Ok(recv(&this.socket, &mut *buf, RecvFlags::DONTWAIT)?.0)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => this.direct = false,
                    Ok(length) => {
                        this.direct = length == buf.len();
                        return Poll::Ready(Ok(length));
                    }
                    failed => return Poll::Ready(failed),
                }
            } else {
                let mut buffer = std::mem::take(&mut this.buffer);
                // All of it has been written before, so its length can be relied on.
                buffer.resize(BUFFER, 0);
                this.receiving = Some(submit(Recv::new(this.socket.to_shared_fd(), buffer, RecvFlags::empty())));
            }
        }
    }
}

impl AsyncWrite for CompioStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |flags| send(&self.socket, buf, flags))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |flags| sendmsg(&self.socket, bufs, &mut SendAncillaryBuffer::default(), flags))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends the sending half: the other end reads to the end, and may still send.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match self.socket.shutdown(Shutdown::Write) {
            // The connection is closed already.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            done => done,
        })
    }
}

pub(crate) fn uninterrupted<R>(mut operation: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    loop {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

impl fmt::Debug for CompioStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CompioStream").field(&*self.socket).finish()
    }
}
