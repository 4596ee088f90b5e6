//! The counters of a server.

use std::sync::OnceLock;
#[cfg(feature = "metrics")]
use std::time::{Duration, Instant};

use http::StatusCode;
#[cfg(feature = "metrics")]
use interloop::counters::Histogram;
use interloop::{
    Context, EventLoop,
    counters::{Counter, Gauge, Meter},
};

/// The period over which the duration of requests is shown.
#[cfg(feature = "metrics")]
const WINDOW: Duration = Duration::from_secs(60);

/// Statuses from 100 to 599: those in use.
const STATUSES: usize = 500;

/// The counters of a server, looked up once for all its connections.
pub(crate) struct Counts {
    pub(crate) requests: Counter,
    pub(crate) panics: Counter,
    pub(crate) connections: Counter,
    pub(crate) slow_clients: Counter,
    pub(crate) times_full: Counter,
    pub(crate) open_connections: Gauge,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    #[cfg(feature = "websocket")]
    pub(crate) sockets: SocketCounts,
    #[cfg(feature = "metrics")]
    duration: Histogram,
    /// By status; each is created with the first response that has it.
    responses: Box<[OnceLock<Counter>]>,
    meter: Meter,
}

impl Counts {
    pub(crate) fn new<L: EventLoop, O>(cx: &Context<L, O>) -> Self {
        let meter = cx.meter().namespace("interloop_http");
        for (name, unit, help) in [
            ("requests", "", "Requests whose head has come."),
            ("responses", "", "Requests by the status that they were answered with."),
            ("panics", "", "Panics of handlers."),
            ("connections", "", "Connections that were accepted."),
            ("slow_clients", "", "Requests and connections that were cut off since their client was too slow."),
            ("times_full", "", "How often the number of open connections has reached its maximum."),
            ("open_connections", "", "Connections that are open."),
            ("received_bytes", "bytes", "What was read from connections."),
            ("sent_bytes", "bytes", "What was written to connections."),
            #[cfg(feature = "metrics")]
            ("request_duration", "seconds", "From a request's head to the end of its response."),
            #[cfg(feature = "websocket")]
            ("open_websockets", "", "WebSockets that are open."),
            #[cfg(feature = "websocket")]
            ("websocket_handlers", "", "Handlers of WebSockets that run, also of those that are closed."),
            #[cfg(feature = "websocket")]
            ("lost_websockets", "", "WebSockets whose peer didn't answer a ping, or took nothing."),
            #[cfg(feature = "websocket")]
            ("messages_received", "", "Messages of WebSockets that have come."),
            #[cfg(feature = "websocket")]
            ("messages_sent", "", "Messages that were sent to WebSockets."),
            #[cfg(feature = "websocket")]
            ("open_event_streams", "", "Streams of server-sent events that are open."),
        ] {
            meter.describe(name, unit, help);
        }
        let open_connections = meter.gauge("open_connections");
        // Connections that an earlier incarnation left open are gone.
        open_connections.set(0.0);
        Self {
            requests: meter.counter("requests"),
            panics: meter.counter("panics"),
            connections: meter.counter("connections"),
            slow_clients: meter.counter("slow_clients"),
            times_full: meter.counter("times_full"),
            open_connections,
            received: meter.counter("received_bytes"),
            sent: meter.counter("sent_bytes"),
            #[cfg(feature = "websocket")]
            sockets: SocketCounts::new(&meter),
            #[cfg(feature = "metrics")]
            duration: meter.histogram("request_duration", &[WINDOW]),
            responses: std::iter::repeat_with(OnceLock::new).take(STATUSES).collect(),
            meter,
        }
    }

    #[inline]
    pub(crate) fn responded(&self, status: StatusCode) {
        let make = || self.meter.label("status", status.as_u16()).counter("responses");
        match self.responses.get(usize::from(status.as_u16() - 100)) {
            Some(counter) => counter.get_or_init(make).add(1),
            None => make().add(1),
        }
    }
}

/// The counters of WebSockets and event streams.
#[cfg(feature = "websocket")]
pub(crate) struct SocketCounts {
    pub(crate) open: Gauge,
    pub(crate) lost: Counter,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) event_streams: Gauge,
}

#[cfg(feature = "websocket")]
impl SocketCounts {
    fn new(meter: &Meter) -> Self {
        let (open, event_streams) = (meter.gauge("open_websockets"), meter.gauge("open_event_streams"));
        // As with connections.
        open.set(0.0);
        event_streams.set(0.0);
        let (lost, sent) = (meter.counter("lost_websockets"), meter.counter("messages_sent"));
        Self { open, lost, received: meter.counter("messages_received"), sent, event_streams }
    }
}

/// The time at which a request began.
#[derive(Clone, Copy)]
pub(crate) struct Began {
    #[cfg(feature = "metrics")]
    at: Instant,
}

impl Began {
    #[inline]
    pub(crate) fn now() -> Self {
        Self {
            #[cfg(feature = "metrics")]
            at: Instant::now(),
        }
    }

    /// Records the duration of the request, which has ended.
    #[inline]
    pub(crate) fn ended(self, counts: &Counts) {
        #[cfg(feature = "metrics")]
        counts.duration.record_since(self.at);
        #[cfg(not(feature = "metrics"))]
        let _ = counts;
    }
}
