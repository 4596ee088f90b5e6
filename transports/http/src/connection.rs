//! One connection, from its first byte to its end.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use hyper_util::server::conn::auto::Builder;
use interloop::task::Requested;
use interloop_listen::{Permit, last_call};
use tower_service::Service;

use crate::{
    activity::{Activity, Waits},
    body::{Body, BoxError},
    cut_off,
    handling::Handling,
    io::Io,
    line::Found,
    net::Stream,
    peer::Peer,
    settings::{LOOKS, SHORTEST_LOOK},
    shared::Server,
    streams::{Inbox, Streams},
    timers::Timer,
};

/// Serves a connection until the client closes it, a limit is hit, or it has been drained.
pub(crate) async fn serve<I, S, B>(stream: I, peer: Peer, server: Arc<Server>, permit: Permit, service: S)
where
    I: Stream,
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let inbox = Inbox::default();
    let activity = Activity::new(server.clone(), peer, permit, inbox.clone());
    let builder = builder(inbox.clone(), &activity);
    let io = Io::new(stream, activity.clone());
    #[cfg(feature = "websocket")]
    let after = Inbox::default();
    let handling = Handling {
        service,
        activity: activity.clone(),
        streams: inbox.clone(),
        #[cfg(feature = "websocket")]
        after: after.clone(),
    };
    // Boxed, so that it can be dropped before what comes after HTTP.
    #[cfg(feature = "websocket")]
    let mut after = Streams::new(after);
    let mut connection = Box::pin(builder.serve_connection_with_upgrades(io, handling));
    let mut streams = Streams::new(inbox);
    let mut monitor = Monitor::new(activity);
    // Dropped before all else.
    let mut open = Open(Some(monitor.activity.clone()));
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
        // A client that went away, or didn't speak HTTP: no concern of the server.
        Ok(Err(error)) => log::debug!(target: &server.target, "a connection from {peer} broke: {error}"),
        Err(panic) => server.panicked(panic),
    }
    // If there is no upgrade, this drop tells those who wait for it.
    drop(connection);
    #[cfg(feature = "websocket")]
    if after.are_any() {
        poll_fn(|cx| after.poll_end(cx)).await;
        return open.has_ended();
    }
    monitor.activity.upgraded.guard(&server, peer).await;
    open.has_ended();
}

/// An open connection, which is noted if it doesn't get to its end.
struct Open(Option<Arc<Activity>>);

impl Open {
    fn has_ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some(activity) = self.0.take() else { return };
        let kind = if activity.is_given_away() {
            cut_off::Kind::Upgraded
        } else if activity.is_between_requests() {
            cut_off::Kind::WithoutRequest
        } else {
            cut_off::Kind::WithRequest
        };
        activity.server.cut_off.note(kind, activity.peer);
    }
}

fn builder(inbox: Inbox, activity: &Arc<Activity>) -> Builder<Inbox> {
    let limits = &activity.server.limits;
    let mut builder = Builder::new(inbox);
    // Without hyper's own timers: see `activity`.
    builder.http1().header_read_timeout(None).max_buf_size(limits.header_size);
    // hyper would treat a client that has finished as one that has left. Where `ends` detects that, hyper need not.
    builder.http1().half_close(cfg!(target_os = "linux"));
    #[cfg(feature = "http2")]
    set_up_http2(&mut builder, activity);
    builder
}

#[cfg(feature = "http2")]
fn set_up_http2(builder: &mut Builder<Inbox>, activity: &Arc<Activity>) {
    let limits = &activity.server.limits;
    let header_size = u32::try_from(limits.header_size).unwrap_or(u32::MAX);
    // Without extended CONNECT: browsers would use it for WebSockets if it were offered, and otherwise open a
    // connection of HTTP/1.1.
    builder
        .http2()
        .max_header_list_size(header_size)
        .max_concurrent_streams(limits.streams)
        .max_send_buf_size(crate::settings::SEND_BUFFER)
        .timer(crate::pings::Pings::new(activity))
        .keep_alive_interval(limits.ping)
        .keep_alive_timeout(limits.pong);
}

/// An order to a connection.
enum Order {
    /// Finish what is open, and accept nothing new.
    Finish,
    /// Check for a request.
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
    /// The client has finished: the time limit for the rest of its requests.
    finished: Option<Timer>,
    timer: Timer,
    is_set: bool,
    watched: Option<Watched>,
    /// At the stop: the time from which nothing is waited for any more, shortly before the server's own deadline. A
    /// delay that a client causes is no failure.
    last: Option<Instant>,
    /// Some requests were cut just now.
    has_cut: bool,
    /// How many requests had begun at the last check; and, when requests were cut, whether none had begun since.
    begun: u32,
    is_useless: bool,
    /// hyper holds something that only the end of the connection frees.
    stuck: bool,
}

enum Stage {
    Serving,
    /// The shutdown was requested between two requests: the next one may be in the socket already.
    LastLook {
        begun: u32,
    },
    Finishing,
}

/// What the connection as a whole waits for.
struct Watched {
    waits: Waits,
    generation: u32,
    /// None is no limit.
    until: Option<Instant>,
}

impl Monitor {
    fn new(activity: Arc<Activity>) -> Self {
        let requested = activity.server.shutdown.requested();
        let draining = activity.server.draining.requested();
        let timer = Timer::new(&activity.server.timers);
        Self {
            activity,
            waker: None,
            requested,
            draining,
            stage: Stage::Serving,
            finished: None,
            timer,
            is_set: false,
            watched: None,
            last: None,
            has_cut: false,
            begun: 0,
            is_useless: false,
            stuck: false,
        }
    }

    /// Returns whether a task other than before polls the connection, and registers its waker with the others if so.
    fn sees(&mut self, cx: &Context<'_>) -> bool {
        let new = !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if new {
            self.waker = Some(cx.waker().clone());
            self.activity.end.set_waker(cx.waker());
            self.activity.room.is_polled_by(cx);
        }
        new
    }

    fn poll(&mut self, cx: &mut Context<'_>, new_waker: bool) -> Poll<Order> {
        if self.activity.end.is_finished() && self.is_over(cx, new_waker) {
            return Poll::Ready(Order::Drop);
        }
        // If there is no news, this costs one load.
        let stopping = self.activity.server.shutdown.is_requested()
            || (new_waker && Pin::new(&mut self.requested).poll(cx).is_ready());
        if stopping && !self.activity.room.is_last() {
            self.hurry();
        }
        match self.stage {
            Stage::Finishing => {}
            Stage::LastLook { begun } => {
                // A request has come, or there was nothing.
                if self.activity.begun() != begun || !self.activity.has_found() {
                    return Poll::Ready(self.finish());
                }
                self.activity.look_again();
            }
            Stage::Serving if stopping => {
                if !self.activity.is_sequential() || !self.activity.is_between_requests() {
                    return Poll::Ready(self.finish());
                }
                self.activity.look_again();
                self.stage = Stage::LastLook { begun: self.activity.begun() };
                return Poll::Ready(Order::Look);
            }
            Stage::Serving => {
                // An HTTP/1 client learns it from its next response.
                let draining = self.activity.server.draining.is_requested()
                    || (new_waker && Pin::new(&mut self.draining).poll(cx).is_ready());
                if draining && !self.activity.is_sequential() && self.activity.begun() > 0 {
                    return Poll::Ready(self.finish());
                }
            }
        }
        self.poll_limits(cx, new_waker)
    }

    /// Returns whether nobody waits for an answer any more, after the client has finished.
    fn is_over(&mut self, cx: &Context<'_>, new_waker: bool) -> bool {
        let activity = &self.activity;
        if activity.end.is_broken() || !activity.is_sequential() && activity.is_through() {
            return true;
        }
        let Some(limit) = activity.server.limits.idle else { return false };
        let timer = self.finished.get_or_insert_with(|| {
            let mut timer = Timer::new(&activity.server.timers);
            timer.set(limit);
            timer
        });
        timer.poll_by(cx, new_waker).is_ready() && !activity.is_between_requests()
    }

    fn hurry(&mut self) {
        self.activity.hurry();
        self.forget();
        self.last = self.activity.server.shutdown.deadline().map(last_call);
    }

    fn finish(&mut self) -> Order {
        self.stage = Stage::Finishing;
        self.forget();
        Order::Finish
    }

    /// Makes the next check determine again what is waited for.
    fn forget(&mut self) {
        self.watched = None;
    }

    fn poll_limits(&mut self, cx: &mut Context<'_>, new_waker: bool) -> Poll<Order> {
        let mut look = std::mem::take(&mut self.has_cut);
        if let Some(now) = self.activity.room.wants_look() {
            look |= now || !self.is_set;
        }
        loop {
            if let Some(watched) = &self.watched
                && !look
            {
                let farewell = self.activity.is_farewell() && watched.waits != Waits::Farewell;
                if farewell && self.waits() == Waits::Farewell {
                    self.forget();
                } else if self.is_set {
                    if self.timer.poll_by(cx, new_waker).is_pending() {
                        return Poll::Pending;
                    }
                } else if watched.generation == self.activity.generation() {
                    return Poll::Pending;
                }
            }
            look = false;
            match self.look() {
                Looked::Order(order) => return Poll::Ready(order),
                Looked::Again(time) => {
                    self.timer.set(time);
                    self.set(true);
                }
                Looked::AtRest => self.set(false),
            }
        }
    }

    fn set(&mut self, set: bool) {
        self.is_set = set;
        self.activity.room.set_watched(set);
    }

    fn waits(&self) -> Waits {
        // What hyper holds won't move any more, but the client gets to know.
        let stuck = self.stuck && self.activity.is_between_requests();
        if stuck { Waits::Farewell } else { self.activity.waits() }
    }

    /// Checks everything that is waited for.
    fn look(&mut self) -> Looked {
        let now = Instant::now();
        let is_over = self.last.is_some_and(|last| last <= now);
        let limits = self.activity.server.limits;
        let (waits, generation) = (self.waits(), self.activity.generation());
        let serving = matches!(self.stage, Stage::Serving);
        let limit = waits.limit(&limits, !serving);
        let watched = match self.watched.take() {
            Some(watched) if watched.waits == waits && watched.generation == generation => watched,
            // A time too far for the clock is never.
            _ => Watched { waits, generation, until: limit.and_then(|limit| now.checked_add(limit)) },
        };
        let own = watched.until.map(|until| until.saturating_duration_since(now));
        self.watched = Some(watched);
        if own.is_some_and(|rest| rest.is_zero() || is_over) {
            return Looked::Order(self.too_late(waits));
        }
        let room = self.activity.room.rest_of_room(now);
        if room.is_some_and(|rest| rest.is_zero()) || (is_over && self.activity.room.is_full()) {
            return Looked::Order(self.cut_off("takes too little"));
        }
        let mut rests = own.into_iter().chain(room).min();
        let (mut cut, mut stuck) = (false, false);
        for line in self.activity.live_lines() {
            match line.look(now, is_over) {
                Found::Rest(rest) => rests = rests.into_iter().chain(rest).min(),
                Found::Stuck => stuck = true,
                Found::TooLate if self.activity.is_sequential() => {
                    return Looked::Order(self.cut_off("sends too little of a body"));
                }
                Found::TooLate => {
                    self.activity.server.counts.slow_clients.add(1);
                    line.cut();
                    cut = true;
                }
            }
        }
        if cut {
            // Their streams end first.
            self.has_cut = true;
            self.is_useless = self.begun == self.activity.begun();
            return Looked::Order(Order::Look);
        }
        self.stuck |= stuck;
        // A client that makes no progress with any of its requests must not keep its permit.
        let useless = std::mem::take(&mut self.is_useless) && self.activity.is_between_requests();
        self.begun = self.activity.begun();
        if serving && (stuck || useless) {
            return Looked::Order(self.finish());
        }
        let Some(rest) = rests
            .into_iter()
            .chain(self.last.filter(|_| rests.is_some()).map(|last| last.saturating_duration_since(now)))
            .min()
        else {
            return Looked::AtRest;
        };
        Looked::Again(limits.look(rest).min(limit.map_or(rest, |limit| limit / LOOKS)).max(SHORTEST_LOOK))
    }

    fn cut_off(&self, why: &str) -> Order {
        let server = &self.activity.server;
        server.counts.slow_clients.add(1);
        log::debug!(target: &server.target, "closing a connection from {}: it {why}", self.activity.peer);
        Order::Drop
    }

    fn too_late(&mut self, waits: Waits) -> Order {
        // Between two requests the connection ends politely: an HTTP/2 client is told, even before its first request,
        // and what it has sent meanwhile is answered.
        let takes_leave = waits == Waits::Request || waits == Waits::Head && !self.activity.is_sequential();
        if takes_leave && matches!(self.stage, Stage::Serving) {
            return self.finish();
        }
        Order::Drop
    }
}

/// The result of a check.
enum Looked {
    Order(Order),
    /// Check again after this time.
    Again(Duration),
    /// Nothing is waited for.
    AtRest,
}
