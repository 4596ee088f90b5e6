//! TLS: takes a connection through its handshake, so that hyper sees plain text.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::Arc,
    task::{Context as Poller, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::io::{AsyncRead, AsyncWrite};
use http::{Request, Response};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use interloop::{Context, EventLoop, Result, net::SocketRef};
use interloop_listen::{Permit, Tls, TlsAcceptor, TlsSettings, TlsStream};
use tower_service::Service;

use crate::{
    body::{Body, BoxError},
    connection,
    net::Stream,
    peer::Peer,
    shared::Server,
    timers::{Timer, Timers},
};

#[cfg(feature = "http2")]
const PROTOCOLS: &[&str] = &["h2", "http/1.1"];
#[cfg(not(feature = "http2"))]
const PROTOCOLS: &[&str] = &["http/1.1"];

/// Sets up the server's TLS, if it has any.
pub(crate) fn open<L: EventLoop, O>(cx: &Context<L, O>, settings: Option<&TlsSettings>) -> Result<Option<Tls>> {
    let meter = cx.meter().namespace("interloop_http");
    settings.map(|settings| Tls::new(cx, settings, PROTOCOLS, &meter)).transpose()
}

/// Serves a connection, once it is secured.
pub(crate) async fn serve<I, S, B>(
    tls: TlsAcceptor,
    stream: I,
    peer: Peer,
    server: Arc<Server>,
    permit: Permit,
    service: S,
) where
    I: Stream,
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let accepted = tls.accept(Raw(stream), server.shutdown.requested(), |time| sleep(&server.timers, time)).await;
    match accepted {
        Ok(stream) => connection::serve(Secured { stream, read: 0 }, peer, server, permit, service).await,
        Err(error) => log::debug!(target: &server.target, "a TLS handshake with {peer} failed: {error}"),
    }
}

fn sleep(timers: &Timers, time: Duration) -> impl Future<Output = ()> + Send + use<> {
    let mut timer = Timer::new(timers);
    timer.set(time);
    poll_fn(move |poller| timer.poll(poller))
}

/// A loop's connection with the traits of futures-io.
struct Raw<S>(S);

impl<S: Stream> AsyncRead for Raw<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Poller<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(&mut self.0).poll_read(cx, buf.unfilled()))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<S: Stream> AsyncWrite for Raw<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Poller<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The connection that hyper gets. It is written to in whole pieces, each of which is encrypted as one.
struct Secured<S> {
    stream: TlsStream<Raw<S>>,
    read: usize,
}

impl<S: Stream> Stream for Secured<S> {
    /// Returns the socket below: [`has_bytes`](Stream::has_bytes) is asked after a read that found nothing, so nothing
    /// waits above the socket.
    fn socket(&self) -> Option<SocketRef<'_>> {
        self.stream.get_ref().0.socket()
    }

    fn has_said_goodbye(&mut self, cx: &mut Poller<'_>) -> io::Result<bool> {
        self.stream.look_for_goodbye(cx)
    }

    fn last_read(&self) -> usize {
        self.read
    }
}

/// The maximum size of one read: as much as is encrypted as one.
const SCRATCH: usize = 16 << 10;

thread_local!(static SCRATCHES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });

impl<S: Stream> Read for Secured<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Poller<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        // As for unencrypted streams, hyper's buffer is not initialized.
        let polled = SCRATCHES.with_borrow_mut(|scratch| {
            scratch.resize(SCRATCH, 0);
            let length = buf.remaining().min(SCRATCH);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut scratch[..length]))?;
            buf.put_slice(&scratch[..read]);
            Poll::Ready(Ok::<_, io::Error>(read))
        });
        self.read = ready!(polled)?;
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> Write for Secured<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Poller<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
