//! The server's end of Thrift over HTTP.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use thrift::{ApplicationErrorKind, server::TProcessor};
use tower_service::Service;

use crate::{
    http_client::THRIFT,
    messages::{Messages, Next},
    processing::{Call, End},
    walk::{Fault, Kind, Limits},
    wire::{self, Wire},
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Thrift over HTTP: a tower service whose processor answers posted calls, for `interloop-http`'s `HttpServer`, by
/// itself or as a route among others: `router.route_service("/thrift", ThriftRoute::new(processor))`.
///
/// A call is the body of a POST with the type `application/x-thrift`, in the binary or the compact protocol. The type
/// is required because no page in a browser can post it to another site without permission. An answer is a 200, even if
/// it is an exception; the answer to a oneway call is empty. A body that is no Thrift call gets a 400, and one that is
/// too long a 413.
///
/// Each body is validated before anything is decoded, as by a [`ThriftServer`](crate::ThriftServer). Handlers are
/// called where the HTTP server calls its own; a handler that blocks it blocks everything there. A panic is logged and
/// answered with `INTERNAL_ERROR`.
///
/// ```
/// # use thrift::{protocol::{TInputProtocol, TOutputProtocol}, server::TProcessor};
/// # struct Any;
/// # impl TProcessor for Any {
/// #     fn process(&self, _: &mut dyn TInputProtocol, _: &mut dyn TOutputProtocol) -> thrift::Result<()> { Ok(()) }
/// # }
/// # let (calculator, echo) = (Any, Any);
/// use interloop_thrift::{Multiplexed, ThriftRoute};
///
/// let services = Multiplexed::new().service("Calculator", calculator).default_service("Echo", echo);
/// let route = ThriftRoute::new(services).max_message_size(1 << 20);
/// ```
#[derive(Clone)]
pub struct ThriftRoute {
    processor: Arc<dyn TProcessor + Send + Sync>,
    limits: Limits,
}

impl ThriftRoute {
    /// Answers the calls with this processor.
    pub fn new(processor: impl TProcessor + Send + Sync + 'static) -> Self {
        Self { processor: Arc::new(processor), limits: Wire::buffered().limits }
    }

    /// Sets the maximum length of a call, in bytes: 16 MiB by default. The HTTP server has a limit of its own.
    #[must_use]
    pub fn max_message_size(self, bytes: usize) -> Self {
        Self { limits: Limits { message: bytes, string: bytes, ..self.limits }, ..self }
    }

    fn answer(&self, body: &[u8]) -> Response<Full<Bytes>> {
        let mut messages = Messages::new(self.limits);
        messages.push(body);
        let message = match messages.next() {
            Next::Message(message) => message,
            Next::More => return refuse(StatusCode::BAD_REQUEST, Fault::Truncated),
            Next::Bad(bad) => {
                let Some(protocol) = bad.protocol else { return refuse(StatusCode::BAD_REQUEST, bad.fault) };
                let (method, sequence) = bad.call.unwrap_or_default();
                let kind = ApplicationErrorKind::ProtocolError;
                let answer = wire::exception(protocol, &method, sequence, kind, bad.fault.to_string());
                return thrift(wire::frame(answer, bad.framed).unwrap_or_default());
            }
        };
        let call = Call {
            protocol: message.protocol,
            oneway: message.header.kind == Kind::Oneway,
            method: messages.method(&message),
            sequence: message.header.sequence,
        };
        if let Kind::Reply | Kind::Exception = message.header.kind {
            return refuse(StatusCode::BAD_REQUEST, "an answer instead of a call");
        }
        let bytes = messages.bytes(&message).to_vec();
        messages.advance(&message);
        if !messages.is_empty() {
            return refuse(StatusCode::BAD_REQUEST, Fault::Trailing);
        }
        let outcome = call.process(module_path!(), &*self.processor, &bytes, &self.limits);
        if let End::Failed(text) = &outcome.end {
            log::debug!("{} failed: {text}", call.method);
        }
        if outcome.answer.is_empty() {
            return thrift(Vec::new());
        }
        match wire::frame(outcome.answer, message.framed) {
            Some(bytes) => thrift(bytes),
            None => refuse(StatusCode::INTERNAL_SERVER_ERROR, "an answer is longer than a frame can be"),
        }
    }
}

impl<B> Service<Request<B>> for ThriftRoute
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            if request.method() != Method::POST {
                let mut refused = refuse(StatusCode::METHOD_NOT_ALLOWED, "calls are posted");
                refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
                return Ok(refused);
            }
            if !is_thrift(request.headers().get(header::CONTENT_TYPE)) {
                return Ok(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, format_args!("a call is {THRIFT}")));
            }
            Ok(match Limited::new(request.into_body(), this.limits.message).collect().await {
                Ok(body) => this.answer(&body.to_bytes()),
                Err(error) if error.is::<LengthLimitError>() => {
                    refuse(StatusCode::PAYLOAD_TOO_LARGE, "the call is too long")
                }
                Err(error) => refuse(StatusCode::BAD_REQUEST, error),
            })
        })
    }
}

fn is_thrift(kind: Option<&HeaderValue>) -> bool {
    let kind = kind.and_then(|kind| kind.to_str().ok()).and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| {
        let kind = kind.trim();
        kind.eq_ignore_ascii_case(THRIFT) || kind.to_ascii_lowercase().starts_with("application/vnd.apache.thrift.")
    })
}

fn thrift(bytes: Vec<u8>) -> Response<Full<Bytes>> {
    respond(StatusCode::OK, THRIFT, bytes)
}

fn refuse(status: StatusCode, why: impl fmt::Display) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", format!("{why}\n").into_bytes())
}

fn respond(status: StatusCode, kind: &'static str, bytes: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

impl fmt::Debug for ThriftRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThriftRoute").field("limits", &self.limits).finish_non_exhaustive()
    }
}
