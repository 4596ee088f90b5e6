//! Connections, as futures-io has them: compio says when they are ready.
//!
//! Completions are tempting for reads (a quarter less CPU time a small request), but a receive that is under way keeps the socket open after the stream was
//! dropped, until the runtime turns once more: at a stop it may not.

use std::{
    fmt,
    io::{self, IoSlice},
    net::Shutdown,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use compio::runtime::fd::PollFd;
use futures_io::{AsyncRead, AsyncWrite};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use socket2::Socket as RawSocket;

/// A connection: TCP, without delay, or a Unix stream.
///
/// It remembers whether another try is worth it: after a read or a write that moved less than was asked, the system is not asked in vain.
pub struct CompioStream {
    socket: PollFd<RawSocket>,
    readable: bool,
    writable: bool,
}

impl CompioStream {
    pub(crate) fn new(socket: PollFd<RawSocket>) -> Self {
        Self { socket, readable: true, writable: true }
    }

    /// The client may be gone already: that shows at the first read.
    pub(crate) fn tcp(socket: PollFd<RawSocket>) -> Self {
        let _ = socket.set_tcp_nodelay(true);
        Self::new(socket)
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        asked: usize,
        mut send: impl FnMut(&RawSocket, SendFlags) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if !self.writable {
                ready!(self.socket.poll_write_ready(cx))?;
                self.writable = true;
            }
            match uninterrupted(|| Ok(send(&self.socket, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                sent => {
                    self.writable = !sent.as_ref().is_ok_and(|sent| (1..asked).contains(sent));
                    return Poll::Ready(sent);
                }
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
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if !self.readable {
                ready!(self.socket.poll_read_ready(cx))?;
                self.readable = true;
            }
            match uninterrupted(|| Ok(recv(&self.socket, &mut *buf, RecvFlags::DONTWAIT)?.0)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                read => {
                    // compio waits for the state, not for its change: what has come in the meantime, the end too, is told.
                    self.readable = !read.as_ref().is_ok_and(|read| (1..buf.len()).contains(read));
                    return Poll::Ready(read);
                }
            }
        }
    }
}

impl AsyncWrite for CompioStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, buf.len(), |socket, flags| send(socket, buf, flags))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let asked = bufs.iter().map(|buf| buf.len()).sum();
        self.poll_send(cx, asked, |socket, flags| sendmsg(socket, bufs, &mut SendAncillaryBuffer::default(), flags))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Sends no more: the other end reads to the end, and may go on sending.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match self.socket.shutdown(Shutdown::Write) {
            // It is closed already.
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
