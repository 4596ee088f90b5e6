//! A TLS connection over a stream of any loop. rustls implements the protocol; this module decides when to read and to
//! write.

use std::{
    fmt,
    future::poll_fn,
    io::{self, BufRead, Read, Write},
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use interloop::net::{AsyncRead, AsyncWrite};
use rustls::Connection;

/// After this many records without anything to read, others get their turn.
const TURN: usize = 16;

/// A connection over TLS: reads and writes plain text.
pub struct TlsStream<S> {
    io: S,
    connection: Connection,
    said_goodbye: bool,
    heard_goodbye: bool,
}

impl<S> TlsStream<S> {
    pub(super) fn new(io: S, connection: impl Into<Connection>) -> Self {
        Self { io, connection: connection.into(), said_goodbye: false, heard_goodbye: false }
    }

    /// Returns the stream below TLS.
    pub fn get_ref(&self) -> &S {
        &self.io
    }

    /// Returns whether decrypted bytes wait to be read here, above the stream below.
    pub fn has_bytes(&mut self) -> bool {
        self.connection.reader().fill_buf().is_ok_and(|bytes| !bytes.is_empty())
    }

    /// Returns the protocol that client and server agreed on, if any.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.connection.alpn_protocol()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Completes the handshake from its current state.
    pub(super) async fn shake_hands(&mut self) -> io::Result<()> {
        let mut pieces = 0;
        poll_fn(|poller| {
            if pieces == 0 {
                // Bytes that were read along with the client's first message.
                self.process(poller)?;
            }
            loop {
                ready!(self.poll_send_all(poller))?;
                if !self.connection.is_handshaking() {
                    return Poll::Ready(Ok(()));
                }
                if ready!(self.poll_receive(poller))? == 0 {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                pieces += 1;
                if pieces % TURN == 0 {
                    poller.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(super) fn into_connection(self) -> Connection {
        self.connection
    }

    /// Reads once, and processes what has come. 0 is the end.
    pub(super) fn poll_receive(&mut self, poller: &mut Poller<'_>) -> Poll<io::Result<usize>> {
        let length = match self.connection.read_tls(&mut Now { io: &mut self.io, poller }) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            read => read?,
        };
        self.process(poller)?;
        Poll::Ready(Ok(length))
    }

    /// Processes all that has been read.
    fn process(&mut self, poller: &mut Poller<'_>) -> io::Result<()> {
        let processed = self.connection.process_new_packets();
        // Answers and alerts are sent at once if possible. Otherwise the next write or flush sends them.
        while self.connection.wants_write() && matches!(self.poll_send(poller), Poll::Ready(Ok(1..))) {}
        let state = processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.heard_goodbye |= state.peer_has_closed();
        Ok(())
    }

    /// Returns whether the other end has said goodbye (`close_notify`), as far as is known now. It reads on while
    /// nothing waits to be taken, so that it keeps no more than one read brings. Wakes when there is more to know.
    ///
    /// # Errors
    ///
    /// Returns an error if the connection broke.
    pub fn look_for_goodbye(&mut self, poller: &mut Poller<'_>) -> io::Result<bool> {
        for _ in 0..TURN {
            if self.heard_goodbye || self.has_bytes() {
                return Ok(self.heard_goodbye);
            }
            match self.poll_receive(poller) {
                Poll::Pending => return Ok(false),
                // The end of the stream below, without a goodbye.
                Poll::Ready(Ok(0)) => return Ok(true),
                Poll::Ready(read) => drop(read?),
            }
        }
        poller.waker().wake_by_ref();
        Ok(false)
    }

    /// Writes once from what must be sent.
    pub(super) fn poll_send(&mut self, poller: &mut Poller<'_>) -> Poll<io::Result<usize>> {
        match self.connection.write_tls(&mut Now { io: &mut self.io, poller }) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            written => Poll::Ready(written),
        }
    }

    /// Writes all that must be sent.
    pub(super) fn poll_send_all(&mut self, poller: &mut Poller<'_>) -> Poll<io::Result<()>> {
        while self.connection.wants_write() {
            if ready!(self.poll_send(poller))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Pin::new(&mut self.io).poll_flush(poller)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(self: Pin<&mut Self>, poller: &mut Poller<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        for _ in 0..TURN {
            match this.connection.reader().read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
            ready!(this.poll_receive(poller))?;
        }
        poller.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(self: Pin<&mut Self>, poller: &mut Poller<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            // rustls keeps a bounded amount: it takes nothing while too much waits to be sent.
            let taken = this.connection.writer().write(buf)?;
            let mut blocked = false;
            while this.connection.wants_write() && !blocked {
                match this.poll_send(poller) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(sent) => drop(sent?),
                    Poll::Pending => blocked = true,
                }
            }
            match taken {
                0 if buf.is_empty() => return Poll::Ready(Ok(0)),
                0 if blocked => return Poll::Pending,
                0 => {}
                taken => return Poll::Ready(Ok(taken)),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send_all(poller)
    }

    /// Says goodbye (`close_notify`), then closes.
    fn poll_close(self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.said_goodbye {
            this.connection.send_close_notify();
            this.said_goodbye = true;
        }
        ready!(this.poll_send_all(poller))?;
        Pin::new(&mut this.io).poll_close(poller)
    }
}

impl<S: fmt::Debug> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("io", &self.io).finish_non_exhaustive()
    }
}

/// A stream as rustls wants it: an operation that would have to wait returns `WouldBlock`.
pub(super) struct Now<'a, 'b, S> {
    pub(super) io: &'a mut S,
    pub(super) poller: &'a mut Poller<'b>,
}

fn now<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<S: AsyncRead + Unpin> Read for Now<'_, '_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        now(Pin::new(&mut *self.io).poll_read(self.poller, buf))
    }
}

impl<S: AsyncWrite + Unpin> Write for Now<'_, '_, S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        now(Pin::new(&mut *self.io).poll_write(self.poller, buf))
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        now(Pin::new(&mut *self.io).poll_write_vectored(self.poller, bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        now(Pin::new(&mut *self.io).poll_flush(self.poller))
    }
}
