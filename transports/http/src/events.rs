//! Server-sent events, on the loop of their server.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum_core::{
    body::Body,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream::Stream;
use http::{HeaderValue, StatusCode, header, request::Parts};
use http_body::Frame;
use interloop::task::Requested;

use crate::{handling::Home, shared::Server, timers::Timer};

/// One server-sent event.
#[derive(Clone, Debug, Default)]
pub struct Event(String);

impl Event {
    /// Creates an event with this data, of any number of lines.
    pub fn new(data: impl AsRef<str>) -> Self {
        let mut event = Self::default();
        // Splits at everything that a client treats as the end of a line.
        for line in data.as_ref().replace("\r\n", "\n").split(['\n', '\r']) {
            event.0.push_str("data: ");
            event.0.push_str(line);
            event.0.push('\n');
        }
        event
    }

    /// Sets the event's id, which a client that reconnects sends: [`Events::last_id`]. Line ends and NULs are left out.
    #[must_use]
    pub fn id(self, id: impl AsRef<str>) -> Self {
        self.field("id", id.as_ref())
    }

    /// Sets the event's type: `message` if this isn't called. Line ends and NULs are left out.
    #[must_use]
    pub fn name(self, name: impl AsRef<str>) -> Self {
        self.field("event", name.as_ref())
    }

    fn field(mut self, field: &str, value: &str) -> Self {
        self.0.push_str(field);
        self.0.push_str(": ");
        self.0.extend(value.chars().filter(|char| !matches!(char, '\n' | '\r' | '\0')));
        self.0.push('\n');
        self
    }
}

/// A request for server-sent events: an axum extractor for routes that an [`HttpServer`](crate::HttpServer) serves, on
/// any loop.
///
/// The response ends when the stream does, or when the server is asked to stop. While there is nothing to send, a
/// comment keeps the connection alive, driven by the server's timers. Gauge of the server: `open_event_streams`.
///
/// ```
/// use axum::{Router, response::Response, routing::get};
/// use interloop_http::{Event, Events};
///
/// async fn count(events: Events) -> Response {
///     let begin = events.last_id().and_then(|id| id.parse().ok()).map_or(0, |last: u64| last + 1);
///     let numbers = (begin..10).map(|number| Event::new(number.to_string()).id(number.to_string()));
///     events.respond(futures_util::stream::iter(numbers))
/// }
///
/// let router: Router = Router::new().route("/count", get(count));
/// ```
pub struct Events {
    home: Home,
    last_id: Option<String>,
    keep_alive: Duration,
    retry: Option<Duration>,
}

impl Events {
    /// Returns the id of the last event that the client has seen, if it reconnects.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// Sets the silence after which a comment is sent: 15 s by default, zero is never.
    #[must_use]
    pub fn keep_alive(mut self, time: Duration) -> Self {
        self.keep_alive = time;
        self
    }

    /// Sets how long the client waits before it reconnects, with a precision of milliseconds.
    #[must_use]
    pub fn retry(mut self, time: Duration) -> Self {
        self.retry = Some(time);
        self
    }

    /// Responds with these events.
    pub fn respond(self, events: impl Stream<Item = Event> + Send + 'static) -> Response {
        let Home { server, .. } = self.home;
        let mut timer = Timer::new(&server.timers);
        let keep_alive = (!self.keep_alive.is_zero()).then_some(self.keep_alive);
        keep_alive.into_iter().for_each(|time| timer.set(time));
        server.counts.sockets.event_streams.add(1.0);
        let requested = server.shutdown.requested();
        let first = self.retry.map(|retry| format!("retry: {}\n\n", retry.as_millis()));
        let body = Body::new(Sending { events: Box::pin(events), first, requested, keep_alive, timer, server });
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

struct Sending {
    events: Pin<Box<dyn Stream<Item = Event> + Send>>,
    first: Option<String>,
    requested: Requested,
    keep_alive: Option<Duration>,
    timer: Timer,
    server: Arc<Server>,
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        use std::future::Future;
        let this = &mut *self;
        if Pin::new(&mut this.requested).poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        let text = if let Some(first) = this.first.take() {
            first
        } else {
            match this.events.as_mut().poll_next(cx) {
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(event)) => event.0 + "\n",
                Poll::Pending if this.keep_alive.is_some() && this.timer.poll(cx).is_ready() => ":\n\n".to_owned(),
                Poll::Pending => return Poll::Pending,
            }
        };
        if let Some(time) = this.keep_alive {
            this.timer.set(time);
        }
        Poll::Ready(Some(Ok(Frame::data(text.into()))))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.server.counts.sockets.event_streams.sub(1.0);
    }
}

impl<S: Sync> FromRequestParts<S> for Events {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let Some(home) = parts.extensions.get::<Home>().cloned() else {
            let why = "this works in interloop_http::HttpServer alone\n";
            return Err((StatusCode::INTERNAL_SERVER_ERROR, why).into_response());
        };
        let last_id = parts.headers.get("last-event-id").and_then(|id| std::str::from_utf8(id.as_bytes()).ok());
        let last_id = last_id.map(str::to_owned);
        Ok(Self { home, last_id, keep_alive: Duration::from_secs(15), retry: None })
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("last_id", &self.last_id).finish_non_exhaustive()
    }
}
