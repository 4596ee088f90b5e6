//! The streams of an HTTP/2 connection: futures that belong to it, are polled by it, and are dropped with it.
//!
//! So no stream outlives the deadline of its server, as it would on the runtime's own executor, and no runtime is
//! needed. A connection and all its streams are on one thread at a time.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::stream::{FuturesUnordered, Stream as _};

use crate::line::Line;

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The executor that hyper gives a connection's streams to.
#[derive(Clone, Default)]
pub(crate) struct Inbox(Arc<Inner>);

#[derive(Default)]
struct Inner {
    any: AtomicBool,
    /// The line of the request whose stream comes next: hyper creates the stream from the service's result, and puts it
    /// here at once.
    line: Mutex<Option<Arc<Line>>>,
    streams: Mutex<Vec<Stream>>,
}

/// A stream, which ends when its line is cut.
struct Stream {
    future: Option<Boxed>,
    line: Option<Arc<Line>>,
}

impl Future for Stream {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if let Some(line) = &this.line {
            line.is_polled(cx);
            if line.is_cut() {
                this.future = None;
                line.has_ended();
            }
        }
        this.future.as_mut().map_or(Poll::Ready(()), |future| future.as_mut().poll(cx))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.future = None;
        self.line.iter().for_each(|line| line.has_ended());
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Inbox {
    fn execute(&self, stream: F) {
        let line = self.line().take();
        let stream = Stream { future: Some(Box::pin(stream)), line };
        self.0.streams.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        self.0.any.store(true, Ordering::Release);
    }
}

impl Inbox {
    fn line(&self) -> MutexGuard<'_, Option<Arc<Line>>> {
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Assigns the next stream to this request's line.
    pub(crate) fn expect(&self, line: Arc<Line>) {
        *self.line() = Some(line);
    }

    fn take(&self) -> Vec<Stream> {
        // A load first: each poll of a connection checks this.
        if !self.0.any.load(Ordering::Relaxed) || !self.0.any.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut self.0.streams.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The live streams. None for HTTP/1.
pub(crate) struct Streams {
    inbox: Inbox,
    live: Option<Pin<Box<FuturesUnordered<Stream>>>>,
}

impl Streams {
    pub(crate) fn new(inbox: Inbox) -> Self {
        Self { inbox, live: None }
    }

    /// Polls the streams that were woken. Returns whether any has ended or begun: then the connection has something to
    /// send.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        loop {
            let new = self.inbox.take();
            if !new.is_empty() {
                progress = true;
                self.live.get_or_insert_default().extend(new);
            }
            let Some(live) = &mut self.live else { return progress };
            match live.as_mut().poll_next(cx) {
                Poll::Ready(Some(())) => progress = true,
                Poll::Ready(None) => {
                    self.live = None;
                    return progress;
                }
                Poll::Pending => return progress,
            }
        }
    }

    /// Returns whether there are any, including those that were not polled yet.
    #[cfg(feature = "websocket")]
    pub(crate) fn are_any(&self) -> bool {
        self.live.is_some() || self.inbox.0.any.load(Ordering::Relaxed)
    }

    /// Polls as [`poll`](Self::poll), and gets ready when all have ended.
    #[cfg(feature = "websocket")]
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(cx);
        if self.live.is_none() { Poll::Ready(()) } else { Poll::Pending }
    }
}
