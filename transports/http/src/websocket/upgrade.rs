//! The handshake, and the handler that runs after it.

use std::{
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum_core::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header, request::Parts};
use hyper::{rt::Executor, upgrade::OnUpgrade};
use interloop::task::Requested;
use interloop_listen::Permit;
use tungstenite::handshake::derive_accept_key;

use super::{
    driver::{Driver, Limits},
    io::Io,
    message::Close,
    queues::Queues,
    socket::WebSocket,
};
use crate::{handling::Home, shared::Server, timers::Timer};

/// A request for a [`WebSocket`]: an axum extractor for routes that an [`HttpServer`](crate::HttpServer) serves, on any
/// loop.
///
/// The handler runs where the connection does: on the loop's thread, or on the worker of a multi-thread tokio; it is
/// cancelled with its server. When the server stops, the messages that the handler has sent go out, then each socket is
/// closed with 1001 and waits for the peer's answer; the handler's [`next`](WebSocket::next) returns None. A handler
/// that panics closes its socket with 1011 and is counted among `panics`. A peer that breaks the protocol is told so:
/// 1002, 1007 (not UTF-8), 1009 (too long). HTTP/1.1 only.
///
/// When the peer closes the socket or breaks the protocol, [`next`](WebSocket::next) still returns the earlier
/// messages. What the handler sends in answer goes out until it ends, for the [`close_timeout`](Self::close_timeout) at
/// most, and the server's close frame comes last.
///
/// Once the socket is closed or lost, its descriptor and its permit are released, whatever the handler does. The
/// handler may go on for the server's idle timeout, and during a stop for the `close_timeout` (or half of what is left
/// of the stop, if that is less); then it is dropped.
///
/// Counters of the server: `messages_received`, `messages_sent`, `lost_websockets`; gauges: `open_websockets`,
/// `websocket_handlers`.
///
/// ```
/// use axum::{Router, response::Response, routing::get};
/// use interloop_http::WebSocketUpgrade;
///
/// async fn echo(upgrade: WebSocketUpgrade) -> Response {
///     upgrade.on_upgrade(async |mut socket| {
///         while let Some(message) = socket.next().await {
///             if socket.send(message).await.is_err() {
///                 break;
///             }
///         }
///     })
/// }
///
/// let router: Router = Router::new().route("/echo", get(echo));
/// ```
pub struct WebSocketUpgrade {
    home: Home,
    upgrade: OnUpgrade,
    accept: HeaderValue,
    headers: HeaderMap,
    protocol: Option<HeaderValue>,
    refused: bool,
    room: usize,
    limits: Limits,
}

impl WebSocketUpgrade {
    /// Sets the maximum length of a message, in bytes: 1 MiB by default. Longer ones close the socket with 1009.
    #[must_use]
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.limits.message = bytes;
        self
    }

    /// Sets the maximum length of a frame, in bytes: 1 MiB by default.
    #[must_use]
    pub fn max_frame_size(mut self, bytes: usize) -> Self {
        self.limits.frame = bytes;
        self
    }

    /// Sets when the peer is pinged: a peer that is silent for `interval` gets a ping. It is dropped if it is silent
    /// for `timeout` after that, or takes nothing of what it is sent for the `interval`: 20 s each by default. An
    /// interval of zero is never.
    #[must_use]
    pub fn ping(mut self, interval: Duration, timeout: Duration) -> Self {
        self.limits.ping = (!interval.is_zero()).then_some(interval);
        self.limits.pong = timeout;
        self
    }

    /// Sets how long the peer may take to close too: 2 s by default; at a stop, half of the remaining time at most.
    #[must_use]
    pub fn close_timeout(mut self, time: Duration) -> Self {
        self.limits.close = time;
        self
    }

    /// Sets how many messages may wait to be sent: 64 by default, 1 at least.
    #[must_use]
    pub fn queue(mut self, messages: usize) -> Self {
        self.room = messages.max(1);
        self
    }

    /// Sets the supported subprotocols, the preferred one first. The first one that the client offers is agreed on; if
    /// it offers none of them, there is no subprotocol.
    #[must_use]
    pub fn protocols(mut self, protocols: &[&str]) -> Self {
        let offered = list(&self.headers, &header::SEC_WEBSOCKET_PROTOCOL);
        let agreed = protocols.iter().find(|ours| offered.iter().any(|theirs| theirs == *ours));
        self.protocol = agreed.and_then(|agreed| HeaderValue::from_str(agreed).ok());
        self
    }

    /// Allows only pages of these origins (`https://example.org`) to connect; others are answered with 403. Clients
    /// that send no origin aren't browsers, and are allowed.
    #[must_use]
    pub fn origins(mut self, origins: &[&str]) -> Self {
        let origin = self.headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
        self.refused = origin.is_some_and(|theirs| !origins.iter().any(|ours| ours.as_bytes() == theirs));
        self
    }

    /// Responds with the end of the handshake, then runs the handler with the socket. The socket is closed with 1000
    /// when the future ends.
    pub fn on_upgrade<F>(self, handler: impl FnOnce(WebSocket) -> F + Send + 'static) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if self.refused {
            return (StatusCode::FORBIDDEN, "pages of this origin may not connect\n").into_response();
        }
        let Self { home, upgrade, accept, protocol, room, limits, .. } = self;
        let name = protocol.as_ref().and_then(|name| name.to_str().ok()).map(str::to_owned);
        let Home { server, after } = home;
        after.execute(async move {
            // If this fails, the client is gone.
            let Ok(upgraded) = upgrade.await else { return };
            let queues = Queues::new(room);
            let socket = WebSocket { queues: queues.clone(), protocol: name };
            let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
            let mut driver = Some(Driver::new(Io::new(upgraded, waker), queues.clone(), server.clone(), limits));
            let mut handler = Running::new(async move { handler(socket).await }, server, limits.close);
            poll_fn(|cx| {
                if let Poll::Ready((code, reason)) = handler.poll(cx) {
                    queues.wish(Close { code, reason: reason.to_owned() });
                }
                if let Some(driving) = &mut driver {
                    if driving.poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    // The descriptor and the permit are released.
                    driver = None;
                }
                handler.poll_end(cx)
            })
            .await;
        });
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        protocol.map(|protocol| headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol));
        response
    }
}

/// The handler of a socket, which may outlive it for a while.
struct Running<F> {
    future: Option<Pin<Box<F>>>,
    server: Arc<Server>,
    requested: Requested,
    /// How long it may go on once a stop is requested and its socket is gone.
    at_the_stop: Duration,
    /// The time limit since its socket is gone; and whether it is that of a stop.
    limit: Option<(Timer, bool)>,
    /// The server waits for it, too.
    _permit: Permit,
}

impl<F: Future<Output = ()>> Running<F> {
    fn new(future: F, server: Arc<Server>, at_the_stop: Duration) -> Self {
        let (requested, permit) = (server.shutdown.requested(), server.handlers.take());
        Self { future: Some(Box::pin(future)), server, requested, at_the_stop, limit: None, _permit: permit }
    }

    /// Returns ready when the handler ends, with the code and reason to close its socket with.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(u16, &'static str)> {
        let Some(running) = &mut self.future else { return Poll::Pending };
        let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx)));
        if matches!(polled, Ok(Poll::Pending)) {
            return Poll::Pending;
        }
        Poll::Ready(match polled.and(self.drop_future()) {
            Ok(()) => (1000, ""),
            Err(panic) => {
                self.server.panicked(panic);
                (1011, "the handler failed")
            }
        })
    }

    /// What it drops, and how, is its own concern.
    fn drop_future(&mut self) -> std::thread::Result<()> {
        catch_unwind(AssertUnwindSafe(|| self.future = None))
    }

    /// Polls after its socket is gone: ready when the handler has ended too, or may go on no longer.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.future.is_none() {
            return Poll::Ready(());
        }
        let stops = Pin::new(&mut self.requested).poll(cx).is_ready();
        if self.limit.as_ref().is_none_or(|(_, stopping)| *stopping != stops) {
            let limit =
                if stops { Some(self.server.within_the_stop(self.at_the_stop)) } else { self.server.limits.idle };
            let mut timer = Timer::new(&self.server.timers);
            limit.into_iter().for_each(|limit| timer.set(limit));
            self.limit = Some((timer, stops));
        }
        let is_late = self.limit.as_mut().is_some_and(|(timer, _)| timer.poll(cx).is_ready());
        if !is_late {
            return Poll::Pending;
        }
        log::debug!(target: &self.server.target, "the handler of a WebSocket that is gone is dropped");
        if let Err(panic) = self.drop_future() {
            self.server.panicked(panic);
        }
        Poll::Ready(())
    }
}

#[allow(clippy::result_large_err, reason = "a rejection is a response in axum")]
fn refuse(status: StatusCode, why: &'static str) -> Result<WebSocketUpgrade, Response> {
    Err((status, why).into_response())
}

/// Returns the words of a header that is a list.
fn list(headers: &HeaderMap, name: &header::HeaderName) -> Vec<String> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|word| word.trim().to_owned()).collect()
}

/// Returns whether the head announces a body.
fn has_body(headers: &HeaderMap) -> bool {
    let lengths = headers.get_all(header::CONTENT_LENGTH);
    headers.contains_key(header::TRANSFER_ENCODING) || lengths.iter().any(|length| length != "0")
}

/// Returns the proof for the client that its key was understood: None unless it has sent one key, of 16 bytes in
/// base64.
fn accept(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else { return None };
    let digits = key.as_bytes().strip_suffix(b"==")?;
    let is_base64 = digits.iter().all(|digit| digit.is_ascii_alphanumeric() || b"+/".contains(digit));
    // 22 digits are 16 bytes and four unused bits.
    if digits.len() != 22 || !is_base64 {
        return None;
    }
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

impl<S: Sync> FromRequestParts<S> for WebSocketUpgrade {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let says = |name, word: &str| list(&parts.headers, &name).iter().any(|said| said.eq_ignore_ascii_case(word));
        if parts.method != Method::GET || parts.version != Version::HTTP_11 {
            return refuse(StatusCode::BAD_REQUEST, "a WebSocket begins with GET, over HTTP/1.1\n");
        }
        if !says(header::CONNECTION, "upgrade") || !says(header::UPGRADE, "websocket") {
            let upgrade = [(header::UPGRADE, "websocket"), (header::CONNECTION, "upgrade")];
            return Err((StatusCode::UPGRADE_REQUIRED, upgrade, "this is a WebSocket\n").into_response());
        }
        if list(&parts.headers, &header::SEC_WEBSOCKET_VERSION) != ["13"] {
            let version = [(header::SEC_WEBSOCKET_VERSION, "13")];
            return Err((StatusCode::UPGRADE_REQUIRED, version, "version 13 is spoken here\n").into_response());
        }
        if !parts.headers.contains_key(header::HOST) {
            return refuse(StatusCode::BAD_REQUEST, "there is no host\n");
        }
        if has_body(&parts.headers) {
            return refuse(StatusCode::BAD_REQUEST, "a WebSocket begins without a body\n");
        }
        let Some(accept) = accept(&parts.headers) else {
            return refuse(StatusCode::BAD_REQUEST, "there is no one sec-websocket-key of 16 bytes in base64\n");
        };
        let Some(home) = parts.extensions.get::<Home>().cloned() else {
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "this works in interloop_http::HttpServer alone\n");
        };
        if home.server.shutdown.is_requested() {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "the server stops\n");
        }
        let Some(upgrade) = parts.extensions.remove::<OnUpgrade>() else {
            return refuse(StatusCode::BAD_REQUEST, "the connection can't be upgraded\n");
        };
        let twenty = Duration::from_secs(20);
        let close = Duration::from_secs(2);
        let limits = Limits { message: 1 << 20, frame: 1 << 20, ping: Some(twenty), pong: twenty, close };
        let headers = parts.headers.clone();
        Ok(Self { home, upgrade, accept, headers, protocol: None, refused: false, room: 64, limits })
    }
}

impl fmt::Debug for WebSocketUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketUpgrade").field("limits", &self.limits).finish_non_exhaustive()
    }
}
