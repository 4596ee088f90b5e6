//! A connection as hyper reads and writes it: its events leave marks in its [`Activity`].

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context as Poller, Poll, ready},
    time::{Duration, Instant},
};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use interloop_listen::Watched;

use crate::{activity::Activity, net::Stream};

/// A connection that marks what it does. It counts as open until this is dropped: also after an upgrade, when it
/// belongs to a handler.
pub(crate) struct Io<S> {
    // Dropped first.
    stream: S,
    _release: Release,
    activity: Arc<Activity>,
    heard: bool,
    /// Whether, and how, the client's end of the connection is watched.
    end: Option<io::Result<Watched>>,
    /// The unsent rest of a ping, on HTTP/2: see [`Io::poll_probe`].
    probe: &'static [u8],
    linger: Option<Linger>,
}

/// An HTTP/2 ping.
const PROBE: &[u8] = b"\0\0\x08\x06\0\0\0\0\0finished";

/// What may still be read from a connection that is closed, so that its client can read the response: see
/// [`Io::poll_linger`].
struct Linger {
    until: Instant,
    bytes: usize,
}

/// How long, and how much, a client may go on sending to a connection that is closed.
const LINGER: Duration = Duration::from_secs(10);
const LINGER_BYTES: usize = 64 << 20;
/// The same at the stop.
const LAST_LINGER: Duration = Duration::from_secs(1);
/// After this many reads, others get their turn.
const TURN: usize = 16;

impl<S> Io<S> {
    pub(crate) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            _release: Release(activity.clone()),
            activity,
            heard: false,
            end: None,
            probe: PROBE,
            linger: None,
        }
    }

    fn has_written(&self, cx: &Poller<'_>, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &polled {
            Poll::Pending => self.activity.has_written(None),
            Poll::Ready(Ok(bytes)) => {
                self.activity.has_written(Some(*bytes));
                self.activity.speaks_first();
                self.activity.server.counts.sent.add(*bytes as u64);
            }
            Poll::Ready(Err(_)) => {}
        }
        if self.activity.is_given_away() { self.activity.upgraded.write(cx, polled) } else { polled }
    }
}

/// Releases the permit of a connection. A descriptor that was lent to the connection is taken back then, so the
/// connection's own must be closed by now.
struct Release(Arc<Activity>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.upgraded.release();
    }
}

impl<S: Stream> Io<S> {
    /// Watches for the client's end while a handler is at work: on HTTP/1 nobody reads then. hyper flushes whenever it
    /// is polled.
    fn look_for_end(&mut self, cx: &mut Poller<'_>) -> io::Result<()> {
        let activity = &self.activity;
        if activity.is_between_requests() || activity.end.is_broken() {
            return Ok(());
        }
        if self.end.is_none()
            && let Some(socket) = self.stream.socket()
        {
            self.end = Some(activity.server.ends.watch(socket, &activity.end));
            if let Some(Err(error)) = &self.end {
                log::debug!(target: &activity.server.target, "the end of a connection can't be watched: {error}");
            }
        }
        if !activity.end.is_finished() && self.stream.has_said_goodbye(cx)? {
            activity.end.finish();
        }
        Ok(())
    }

    /// Sends a ping to a client of HTTP/2 that has finished. It may have closed the connection, which doesn't show
    /// until something is sent to it: then its system resets the connection. A client that still reads gets a ping,
    /// which it can't answer. This happens only where hyper has flushed, thus between two frames.
    fn poll_probe(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        while !self.probe.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, self.probe))?;
            self.probe = &self.probe[sent..];
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Sends the rest of a ping that has begun, before all else.
    fn poll_rest_of_probe(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        if self.probe.len() == PROBE.len() { Poll::Ready(Ok(())) } else { self.poll_probe(cx) }
    }

    /// Reads and throws away the rest, up to a limit and as long as it comes. If the server closed while the client
    /// still sends, the connection would be reset and the response might be lost on the way.
    fn poll_linger(&mut self, cx: &mut Poller<'_>) -> Poll<()> {
        let linger = self.linger.get_or_insert_with(|| {
            self.activity.say_farewell();
            Linger { until: Instant::now() + LINGER, bytes: LINGER_BYTES }
        });
        if self.activity.server.shutdown.is_requested() {
            linger.until = linger.until.min(Instant::now() + LAST_LINGER);
        }
        let mut scratch = [0; 4096];
        for _ in 0..TURN {
            let mut scratch = ReadBuf::new(&mut scratch);
            let read = match ready!(Pin::new(&mut self.stream).poll_read(cx, scratch.unfilled())) {
                Ok(()) => scratch.filled().len(),
                Err(_) => 0,
            };
            linger.bytes = linger.bytes.saturating_sub(read);
            if read == 0 || linger.bytes == 0 || Instant::now() >= linger.until {
                return Poll::Ready(());
            }
            self.activity.say_farewell();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: Stream> Read for Io<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Poller<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.activity.is_given_away() {
            if matches!(polled, Poll::Ready(Ok(()))) {
                self.activity.server.counts.received.add(self.stream.last_read() as u64);
            }
            return self.activity.upgraded.read(cx, polled);
        }
        if let Poll::Ready(read) = &polled {
            let bytes = match read {
                Ok(()) => self.stream.last_read(),
                Err(_) => 0,
            };
            if bytes > 0 {
                self.heard = true;
                self.activity.server.counts.received.add(bytes as u64);
                self.activity.has_read();
            } else if !self.activity.is_sequential() && !read.as_ref().is_err_and(|error| error.kind() != CUT) {
                // On HTTP/2 hyper would drop what it has read and what it must send: `Monitor` ends the connection once
                // all is answered.
                self.activity.has_read_all();
                return Poll::Pending;
            }
        } else if self.activity.is_last_look() && self.stream.has_bytes() {
            self.activity.found();
        }
        polled
    }
}

impl<S: Stream> Write for Io<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Poller<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_rest_of_probe(cx))?;
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.has_written(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_rest_of_probe(cx))?;
        let mut whole = [MaybeUninit::uninit(); SMALL];
        let mut whole = ReadBuf::uninit(&mut whole);
        let polled = if gather(bufs, whole.unfilled()) {
            Pin::new(&mut self.stream).poll_write(cx, whole.filled())
        } else {
            Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
        };
        self.has_written(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        // Over TLS, written bytes may still be here.
        self.activity.has_written(polled.is_ready().then_some(0));
        if self.activity.is_given_away() {
            return self.activity.upgraded.write(cx, polled);
        }
        self.look_for_end(cx)?;
        if polled.is_ready() && self.activity.room.is_all_read() && !self.activity.is_between_requests() {
            let _ = self.poll_probe(cx)?;
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        // At the stop, clients with nothing to send aren't waited for.
        let says_more = || !self.activity.server.shutdown.is_requested() || self.stream.has_bytes();
        if self.linger.is_some()
            || self.activity.may_be_sent_more(self.heard)
            || (self.activity.closes() && says_more())
        {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

/// The error of a TLS connection that ends without a goodbye: to a server that is an end like any other, since a
/// request declares its own length.
const CUT: io::ErrorKind = io::ErrorKind::UnexpectedEof;

/// Up to this length a head and its body are sent as one piece: copying so little costs less than having the system
/// gather it.
const SMALL: usize = 512;

/// Copies the pieces to one place; returns false if they don't fit.
fn gather(pieces: &[IoSlice<'_>], mut whole: ReadBufCursor<'_>) -> bool {
    for piece in pieces {
        if piece.len() > whole.remaining() {
            return false;
        }
        whole.put_slice(piece);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(pieces: &[IoSlice<'_>]) -> Option<Vec<u8>> {
        let mut whole = [MaybeUninit::uninit(); SMALL];
        let mut whole = ReadBuf::uninit(&mut whole);
        gather(pieces, whole.unfilled()).then(|| whole.filled().to_vec())
    }

    #[test]
    fn small_pieces_are_sent_as_one_and_large_ones_as_they_are() {
        let (head, body, rest) = ([b'h'; 100], [b'b'; 300], [b'r'; 112]);
        let pieces = [&head[..], &body, &rest].map(IoSlice::new);
        assert_eq!(gathered(&pieces), Some([&head[..], &body, &rest].concat()));
        assert_eq!(gathered(&[]), Some(Vec::new()));
        let one_more = [&head[..], &body, &rest, b"!"].map(IoSlice::new);
        assert_eq!(gathered(&one_more), None);
    }
}
