//! One connection, from its first byte to its end.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper_util::server::conn::auto::Builder;
use interloop::Requested;
use interloop_listen::Seat;
use tower_service::Service;

use crate::{
    activity::{Activity, FAREWELL, Waits},
    body::{Body, BoxError},
    cut_off::Open,
    hosted::{Hosted, Peer},
    net::{Io, Stream},
    server::Server,
    settings::{LOOKS, Limits},
    streams::{Inbox, Streams},
    timers::Timer,
};

/// Serves a connection: until the client closes it, a limit is hit, or it has been drained.
pub(crate) async fn serve<I, S, B>(stream: I, peer: Peer, server: Arc<Server>, seat: Seat, service: S)
where
    I: Stream,
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let inbox = Inbox::default();
    let activity = Activity::new(server.clone(), peer, seat, inbox.clone());
    let builder = builder(inbox.clone(), &server.limits);
    let io = Io::new(stream, activity.clone());
    #[cfg(feature = "websocket")]
    let after = Inbox::default();
    let hosted = Hosted {
        service,
        activity: activity.clone(),
        #[cfg(feature = "websocket")]
        after: after.clone(),
    };
    // Boxed, so that it can go before what comes after HTTP.
    #[cfg(feature = "websocket")]
    let mut after = Streams::new(after);
    let mut connection = Box::pin(builder.serve_connection_with_upgrades(io, hosted));
    let mut streams = Streams::new(inbox);
    let mut monitor = Monitor::new(activity);
    // Dropped before all else.
    let mut open = Open::new(monitor.activity.clone());
    let ended = poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let new_waker = monitor.sees(cx);
            loop {
                if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                    return Poll::Ready(ended);
                }
                if streams.poll(cx) {
                    continue;
                }
                #[cfg(feature = "websocket")]
                after.poll(cx);
                match monitor.poll(cx, new_waker) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Order::Finish) => connection.as_mut().graceful_shutdown(),
                    Poll::Ready(Order::Look) => {}
                    Poll::Ready(Order::Drop) => return Poll::Ready(Ok(())),
                }
            }
        }));
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await;
    monitor.activity.give_away();
    match ended {
        Ok(Ok(())) => {}
        // A client that went away, or spoke no HTTP: its affair.
        Ok(Err(error)) => log::debug!(target: &server.target, "a connection from {peer} broke: {error}"),
        Err(panic) => server.panicked(panic),
    }
    // If there is no upgrade, whoever waits for it is told by this drop.
    drop(connection);
    #[cfg(feature = "websocket")]
    if after.are_any() {
        poll_fn(|cx| after.poll_end(cx)).await;
        return open.has_ended();
    }
    monitor.activity.upgraded.guard(&server, peer).await;
    open.has_ended();
}

fn builder(inbox: Inbox, limits: &Limits) -> Builder<Inbox> {
    let mut builder = Builder::new(inbox);
    // Without hyper's own timers: see `activity`.
    builder.http1().header_read_timeout(None).max_buf_size(limits.header_size);
    // hyper would take a client that has finished for one that has left. Where the end is looked for by ourselves, it need not.
    builder.http1().half_close(cfg!(target_os = "linux"));
    let header_size = u32::try_from(limits.header_size).unwrap_or(u32::MAX);
    // Without extended CONNECT, which browsers would use for WebSockets where it is offered: they open a connection of HTTP/1.1 instead.
    builder.http2().max_header_list_size(header_size);
    builder
}

/// What a connection is told.
enum Order {
    /// Finish what is open, take nothing new.
    Finish,
    /// Look for a request.
    Look,
    Drop,
}

/// Watches the shutdown and the time limits of one connection.
struct Monitor {
    activity: Arc<Activity>,
    waker: Option<Waker>,
    requested: Requested,
    draining: Requested,
    stage: Stage,
    /// The client has finished: how long what it has asked for may still take.
    finished: Option<Timer>,
    timer: Timer,
    watched: Option<Watched>,
}

enum Stage {
    Serving,
    /// The shutdown was requested between two requests: the next one may be in the socket already.
    LastLook {
        begun: u32,
    },
    Finishing,
}

/// What the timer is set for.
struct Watched {
    waits: Waits,
    generation: u32,
    /// The time that is left of the limit, after the look that the timer is set for.
    rest: Duration,
}

impl Monitor {
    fn new(activity: Arc<Activity>) -> Self {
        let requested = activity.server.shutdown.requested();
        let draining = activity.server.draining.requested();
        let timer = Timer::new(&activity.server.timers);
        Self { activity, waker: None, requested, draining, stage: Stage::Serving, finished: None, timer, watched: None }
    }

    /// Whether the connection is polled by another task than before, which has to be told to others.
    fn sees(&mut self, cx: &Context<'_>) -> bool {
        let new = !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if new {
            self.waker = Some(cx.waker().clone());
            self.activity.end.set_waker(cx.waker());
        }
        new
    }

    fn poll(&mut self, cx: &mut Context<'_>, new_waker: bool) -> Poll<Order> {
        if self.activity.end.is_finished() && self.is_over(cx, new_waker) {
            return Poll::Ready(Order::Drop);
        }
        match self.stage {
            Stage::Finishing => {}
            Stage::LastLook { begun } => {
                // A request came of it, or nothing was there.
                if self.activity.begun() != begun || !self.activity.has_found() {
                    return self.finish();
                }
                self.activity.look_again();
            }
            Stage::Serving => {
                // Where there is no news, one load.
                let stopping = self.activity.server.shutdown.is_requested()
                    || (new_waker && Pin::new(&mut self.requested).poll(cx).is_ready());
                if stopping {
                    if !self.activity.is_sequential() || !self.activity.is_between_requests() {
                        return self.finish();
                    }
                    self.activity.look_again();
                    self.stage = Stage::LastLook { begun: self.activity.begun() };
                    self.watched = None;
                    return Poll::Ready(Order::Look);
                }
                // An HTTP/1 client is told by its next response.
                let draining = self.activity.server.draining.is_requested()
                    || (new_waker && Pin::new(&mut self.draining).poll(cx).is_ready());
                if draining && !self.activity.is_sequential() && self.activity.begun() > 0 {
                    return self.finish();
                }
            }
        }
        self.poll_limits(cx, new_waker)
    }

    /// Whether nobody waits for an answer any more, where the client has finished.
    fn is_over(&mut self, cx: &Context<'_>, new_waker: bool) -> bool {
        let activity = &self.activity;
        if activity.end.is_broken() || !activity.is_sequential() && activity.is_through() {
            return true;
        }
        // A client of HTTP/2 finishes streams: one that finishes the connection, by which it could say what it has room for, hardly waits for more.
        let limit = if activity.is_sequential() { activity.server.limits.idle } else { Some(FAREWELL) };
        let Some(limit) = limit else { return false };
        let timer = self.finished.get_or_insert_with(|| {
            let mut timer = Timer::new(&activity.server.timers);
            timer.set(limit);
            timer
        });
        timer.poll(cx, new_waker).is_ready() && !activity.is_between_requests()
    }

    fn finish(&mut self) -> Poll<Order> {
        self.stage = Stage::Finishing;
        self.watched = None;
        Poll::Ready(Order::Finish)
    }

    fn poll_limits(&mut self, cx: &mut Context<'_>, new_waker: bool) -> Poll<Order> {
        loop {
            let Some(watched) = &mut self.watched else {
                if !self.watch() {
                    return Poll::Pending;
                }
                continue;
            };
            let farewell = self.activity.is_farewell() && watched.waits != Waits::Farewell;
            if farewell && self.activity.waits() == Waits::Farewell {
                self.watched = None;
                continue;
            }
            if self.timer.poll(cx, new_waker).is_pending() {
                return Poll::Pending;
            }
            let waits = self.activity.waits();
            if waits != watched.waits || self.activity.generation() != watched.generation {
                self.watched = None;
                continue;
            }
            if watched.rest.is_zero() {
                return self.too_late(waits);
            }
            let look = self.activity.server.limits.look(watched.rest);
            watched.rest -= look;
            self.timer.set(look);
        }
    }

    /// Sets the timer for what the connection waits for now; false if that may take any time.
    fn watch(&mut self) -> bool {
        let (waits, limits) = (self.activity.waits(), &self.activity.server.limits);
        let draining = !matches!(self.stage, Stage::Serving);
        let Some(limit) = waits.limit(limits, draining) else { return false };
        let look = limits.look(limit).min(limit / LOOKS);
        self.timer.set(look);
        self.watched = Some(Watched { waits, generation: self.activity.generation(), rest: limit - look });
        true
    }

    fn too_late(&mut self, waits: Waits) -> Poll<Order> {
        let finishing = !matches!(self.stage, Stage::Serving);
        // Between two requests one takes leave: an HTTP/2 client is told, also before its first, and what it has sent meanwhile is answered.
        let takes_leave = waits == Waits::Request || waits == Waits::Head && !self.activity.is_sequential();
        if takes_leave && !finishing { self.finish() } else { Poll::Ready(Order::Drop) }
    }
}
