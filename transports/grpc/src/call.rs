//! One call, from its head to its status: its route, its deadline, its counters, and a panic, which affects only this
//! call.

use std::{
    any::Any,
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use interloop::task::log_panic;
use interloop_http::{Timer, Timers};
use tonic::{Code, Status, body::Body};

use crate::{
    counts::Counts,
    limited::Limited,
    routes::{Handling, Routes},
};

/// The server as a service for HTTP.
#[derive(Clone)]
pub(crate) struct Calls(Arc<Inner>);

struct Inner {
    routes: Routes,
    timers: Timers,
    counts: Arc<Counts>,
    /// The maximum length of a call's messages together.
    limit: usize,
}

impl Calls {
    pub(crate) fn new(routes: Routes, timers: Timers, counts: Arc<Counts>, limit: usize) -> Self {
        Self(Arc::new(Inner { routes, timers, counts, limit }))
    }
}

impl tower_service::Service<Request<interloop_http::Body>> for Calls {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Respond;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<interloop_http::Body>) -> Respond {
        let Inner { routes, timers, counts, limit } = &*self.0;
        if let Some(status) = refusal(&request) {
            let mut response = Response::new(Body::default());
            *response.status_mut() = status;
            if status == StatusCode::METHOD_NOT_ALLOWED {
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            return Respond { state: State::Answered(Some(response)), call: None };
        }
        let timer = timeout(request.headers()).map(|time| {
            let mut timer = Timer::new(timers);
            timer.set(time);
            timer
        });
        let path = request.uri().path().to_owned();
        let call =
            Call { path, began: Instant::now(), timer, counts: counts.clone(), cut_off: Arc::default(), code: None };
        let cut_off = call.cut_off.clone();
        let state = match routes.find(&call.path) {
            Some(route) => match catch_unwind(AssertUnwindSafe(|| {
                route(request.map(|body| Body::new(Limited::new(body, *limit, cut_off))))
            })) {
                Ok(handling) => State::Handled(handling),
                Err(panic) => State::Answered(Some(call.panicked(panic).into_http())),
            },
            None => State::Answered(Some(Status::unimplemented("there is no such service").into_http())),
        };
        Respond { state, call: Some(call) }
    }
}

/// Returns the HTTP status that refuses a request that isn't a call.
fn refusal<B>(request: &Request<B>) -> Option<StatusCode> {
    if request.version() != Version::HTTP_2 {
        return Some(StatusCode::HTTP_VERSION_NOT_SUPPORTED);
    }
    if request.method() != Method::POST {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let kind = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    let is_grpc = kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest, [] | [b'+' | b';', ..]));
    (!is_grpc).then_some(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

/// Parses `grpc-timeout`: up to eight digits and a unit. Anything else is ignored.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The state of a call. The call has ended when this is dropped; without a status, the client gave up.
struct Call {
    path: String,
    began: Instant,
    timer: Option<Timer>,
    counts: Arc<Counts>,
    /// Whether its client's connection has ended within its messages.
    cut_off: Arc<AtomicBool>,
    code: Option<Code>,
}

impl Call {
    fn is_late(&mut self, cx: &Context<'_>) -> bool {
        // The task that polls it now is woken.
        self.timer.as_mut().is_some_and(|timer| timer.poll(cx).is_ready())
    }

    fn panicked(&self, panic: Box<dyn Any + Send>) -> Status {
        self.counts.panics.add(1);
        log_panic(&self.counts.target, format_args!("the handler of {}", self.path), panic);
        Status::internal("the handler panicked")
    }

    fn note(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status") {
            self.code = Some(Code::from_bytes(code.as_bytes()));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let gave_up = self.code != Some(Code::Ok) && self.cut_off.load(Ordering::Relaxed);
        let code = self.code.filter(|_| !gave_up).unwrap_or(Code::Cancelled);
        self.counts.ended(&self.path, self.began, code);
    }
}

fn late() -> Status {
    Status::deadline_exceeded("the deadline has passed")
}

/// The response to one call.
pub(crate) struct Respond {
    state: State,
    /// None if the request isn't a call.
    call: Option<Call>,
}

enum State {
    Handled(Handling),
    Answered(Option<Response<Body>>),
}

impl Future for Respond {
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { state, call } = self.get_mut();
        if let (State::Handled(handling), Some(call)) = (&mut *state, &mut *call) {
            let response = match catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(cx))) {
                Ok(Poll::Ready(response)) => response,
                Ok(Poll::Pending) if call.is_late(cx) => late().into_http(),
                Ok(Poll::Pending) => return Poll::Pending,
                Err(panic) => call.panicked(panic).into_http(),
            };
            // The handler is dropped before its response is sent: what it drops, and how, is its own concern.
            let answered = State::Answered(Some(response));
            let handled = std::mem::replace(state, answered);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(handled))) {
                *state = State::Answered(Some(call.panicked(panic).into_http()));
            }
        }
        let State::Answered(response) = state else { unreachable!("what is handled is a call") };
        let response = response.take().expect("it is not polled after its end");
        let mut call = call.take();
        if let Some(call) = &mut call {
            call.note(response.headers());
        }
        Poll::Ready(Ok(response.map(|body| Answer { body: Some(body), call })))
    }
}

/// The messages of an answer, and its status.
pub(crate) struct Answer {
    body: Option<Body>,
    call: Option<Call>,
}

impl Answer {
    /// Ends with this status instead of the remaining messages.
    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut trailers = HeaderMap::new();
        if let Some(call) = &mut self.call {
            call.code = Some(status.code());
        }
        let body = self.body.take();
        if let (Err(panic), Some(call)) = (catch_unwind(AssertUnwindSafe(|| drop(body))), &self.call) {
            drop(call.panicked(panic));
        }
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(cx)));
        let Some(call) = &mut this.call else { return polled.unwrap_or(Poll::Ready(None)) };
        match polled {
            Ok(Poll::Ready(Some(Ok(frame)))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    call.note(trailers);
                } else if call.is_late(cx) {
                    // A stream that always has something to send ends too.
                    return this.end(&late());
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Ok(Poll::Pending) if call.is_late(cx) => this.end(&late()),
            Ok(polled) => polled,
            Err(panic) => {
                let status = call.panicked(panic);
                this.end(&status)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        let of = |text| {
            timeout(&HeaderMap::from_iter([("grpc-timeout".parse().expect("a name"), HeaderValue::from_static(text))]))
        };
        assert_eq!(of("5m"), Some(Duration::from_millis(5)));
        assert_eq!(of("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in ["", "5", "m", "-5m", "+5m", "999999999S", "5x", "5 m"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
