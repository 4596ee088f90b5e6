//! Wraps the user's service for hyper: the extensions of a request, its body limit, and panics, which affect only their
//! request.

use std::{
    any::Any,
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    activity::{Activity, Open},
    body::{Body, BoxError, Exceeded},
    line::{Line, PIECE, Piece},
    messages::Messages,
    streams::Inbox,
    trace::Span,
};

/// What a request's connection offers to long-lived responses: an extension of each request.
#[cfg(feature = "websocket")]
#[derive(Clone)]
pub(crate) struct Home {
    pub(crate) server: Arc<crate::shared::Server>,
    /// The connection's task polls the futures that are put here, to their end.
    pub(crate) after: Inbox,
}

/// The user's service on one connection.
pub(crate) struct Handling<S> {
    pub(crate) service: S,
    pub(crate) activity: Arc<Activity>,
    /// hyper puts the streams of HTTP/2 here.
    pub(crate) streams: Inbox,
    /// Futures for what a connection does after HTTP go here.
    #[cfg(feature = "websocket")]
    pub(crate) after: Inbox,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Handling<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Response = Response<Answer<B>>;
    type Error = Infallible;
    type Future = Respond<S>;

    fn call(&self, mut request: Request<Incoming>) -> Respond<S> {
        let server = &self.activity.server;
        server.counts.requests.add(1);
        let span = Span::of_request(&server.target, request.method(), request.uri().path());
        let open = self.activity.begin(request.version(), span);
        let has_body = !http_body::Body::is_end_stream(request.body());
        self.activity.unread.begin(has_body && request.headers().contains_key(header::EXPECT));
        if request.version() <= Version::HTTP_10 || says_close(request.headers()) {
            self.activity.set_closes();
        }
        let limit = server.limits.body_size;
        // On HTTP/1 only a request with a body may have to wait for more than the connection does.
        let line = (!open.is_sequential()).then(|| self.activity.new_line());
        line.iter().for_each(|line| self.streams.expect(line.clone()));
        let mut respond = Respond { state: State::Done, exceeded: None, open: Some(open), line };
        if http_body::Body::size_hint(request.body()).lower() > limit as u64 {
            respond.state = State::Known { fault: Some(Fault::TooLarge) };
            return respond;
        }
        let messages = if has_body { Messages::of(request.headers()) } else { None };
        let extensions = request.extensions_mut();
        extensions.insert(server.shutdown.clone());
        #[cfg(feature = "websocket")]
        extensions.insert(Home { server: server.clone(), after: self.after.clone() });
        let (line, exceeded) = (respond.line.as_ref(), &mut respond.exceeded);
        // A request is large, so it is moved as little as possible.
        let mut request =
            Some(request.map(|body| Body::incoming(body, limit, messages, &self.activity, line, exceeded)));
        respond.ask(&self.service, &self.activity, &mut request);
        respond
    }
}

pin_project! {
    /// The response to one request.
    pub(crate) struct Respond<S: Service<Request<Body>>> {
        #[pin]
        state: State<S, S::Future>,
        exceeded: Option<Exceeded>,
        open: Option<Open>,
        // Set on HTTP/2.
        line: Option<Arc<Line>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F> {
        // The service was not ready.
        Asked { asked: Option<Box<(S, Request<Body>)>> },
        Called { #[pin] response: F },
        Known { fault: Option<Fault> },
        Done,
    }
}

/// Why the handler of a request gave no response.
enum Fault {
    Failed(BoxError),
    TooLarge,
    Panicked(Box<dyn Any + Send>),
}

impl<S> Respond<S>
where
    S: Service<Request<Body>> + Clone,
    S::Error: Into<BoxError>,
{
    /// Calls the service at once if it is ready, as it nearly always is.
    #[inline]
    fn ask(&mut self, service: &S, activity: &Activity, request: &mut Option<Request<Body>>) {
        let Some(open) = &self.open else { return };
        let state = &mut self.state;
        let called = catch_unwind(AssertUnwindSafe(|| {
            open.span.in_scope(|| {
                if let Some(request) = request {
                    activity.server.peers.insert(activity.peer, request.extensions_mut());
                }
                let mut service = service.clone();
                match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(Ok(())) => {
                        if let Some(request) = request.take() {
                            *state = State::Called { response: service.call(request) };
                        }
                    }
                    Poll::Ready(Err(error)) => *state = State::Known { fault: Some(Fault::Failed(error.into())) },
                    // The task that gets woken asks it again.
                    Poll::Pending => {
                        let asked = request.take().map(|request| Box::new((service, request)));
                        *state = State::Asked { asked };
                    }
                }
            });
        }));
        if let Err(panic) = called {
            self.state = State::Known { fault: Some(Fault::Panicked(panic)) };
        }
    }
}

impl<S, B> Future for Respond<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    type Output = Result<Response<Answer<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let open = this.open.as_ref().expect("it is not polled after its end");
        let polled = catch_unwind(AssertUnwindSafe(|| open.span.in_scope(|| this.state.as_mut().poll(cx))));
        let mut outcome = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(outcome)) => outcome,
            Err(panic) => Err(Fault::Panicked(panic)),
        };
        // The handler is dropped before its response is sent: what it drops, and how, is its own concern.
        let dropped = catch_unwind(AssertUnwindSafe(|| open.span.in_scope(|| this.state.set(State::Done))));
        match (&outcome, dropped) {
            (Err(Fault::Panicked(_)), _) => {}
            (_, Err(panic)) => outcome = Err(Fault::Panicked(panic)),
            _ if this.exceeded.as_ref().is_some_and(Exceeded::get) => outcome = Err(Fault::TooLarge),
            _ => {}
        }
        let open = this.open.take().expect("it is not polled after its end");
        let line = this.line.take();
        let mut response = match outcome {
            Ok(response) => response.map(|body| Answer { body: Kind::Body { body }, open, line, rest: None }),
            Err(fault) => fault.answer(open, line),
        };
        let open = &response.body().open;
        let server = &open.server;
        open.span.answered(response.status());
        server.counts.responded(response.status());
        // hyper does so too, once the connection knows of the stop. But a client that learns it earlier need not send a
        // request that may get lost.
        let is_last = server.draining.is_requested() || server.shutdown.is_requested() || open.unread.is_too_much();
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            open.give_away();
        } else if is_last && open.is_sequential() {
            close(&mut response);
        } else if says_close(response.headers()) {
            open.set_closes();
        }
        Poll::Ready(Ok(response))
    }
}

impl<S> State<S, S::Future>
where
    S: Service<Request<Body>>,
    S::Error: Into<BoxError>,
{
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<S::Response, Fault>> {
        loop {
            let response = match self.as_mut().project() {
                StateProj::Called { response } => {
                    return response.poll(cx).map_err(|error| Fault::Failed(error.into()));
                }
                StateProj::Asked { asked } => {
                    let (service, _) = &mut **asked.as_mut().expect("it is called once");
                    if let Err(error) = ready!(service.poll_ready(cx)) {
                        return Poll::Ready(Err(Fault::Failed(error.into())));
                    }
                    let (mut service, request) = *asked.take().expect("it is called once");
                    service.call(request)
                }
                StateProj::Known { fault } => return Poll::Ready(Err(fault.take().expect("it is told once"))),
                StateProj::Done => unreachable!("it is not polled after its end"),
            };
            self.set(Self::Called { response });
        }
    }
}

impl Fault {
    #[cold]
    fn answer<B>(self, open: Open, line: Option<Arc<Line>>) -> Response<Answer<B>> {
        match self {
            Self::TooLarge => return too_large(open, line),
            Self::Panicked(panic) => open.span.in_scope(|| open.server.panicked(panic)),
            Self::Failed(error) => {
                open.span.in_scope(|| log::error!(target: &open.server.target, "a request failed: {error}"));
            }
        }
        failed(open, line, StatusCode::INTERNAL_SERVER_ERROR)
    }
}

fn failed<B>(open: Open, line: Option<Arc<Line>>, status: StatusCode) -> Response<Answer<B>> {
    let text = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "the request's body is too long\n",
        _ => "internal server error\n",
    };
    let mut response = Response::new(Answer { body: Kind::Text { text: Some(text) }, open, line, rest: None });
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Refuses a body whose rest is not read: an HTTP/1 connection can't go on.
fn too_large<B>(open: Open, line: Option<Arc<Line>>) -> Response<Answer<B>> {
    let sequential = open.is_sequential();
    if sequential {
        open.say_farewell();
    }
    let mut response = failed(open, line, StatusCode::PAYLOAD_TOO_LARGE);
    if sequential {
        close(&mut response);
    }
    response
}

/// Up to this many names are compared one by one: hashing one takes as long.
const FEW: usize = 8;

/// Returns whether these headers end the connection.
fn says_close(headers: &HeaderMap) -> bool {
    if headers.keys().len() <= FEW && !headers.keys().any(|name| name == header::CONNECTION) {
        return false;
    }
    let mut values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.split(',').any(|word| word.trim().eq_ignore_ascii_case("close")))
}

fn close<B>(response: &mut Response<Answer<B>>) {
    response.body().open.set_closes();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

pin_project! {
    /// The body of a response. The request is open as long as it lives.
    pub(crate) struct Answer<B> {
        #[pin]
        body: Kind<B>,
        open: Open,
        // Set on HTTP/2.
        line: Option<Arc<Line>>,
        // The rest of a chunk that is too long for a piece. Boxed, since it is rare, and an answer is moved around.
        rest: Option<Box<Bytes>>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<B> {
        Body { #[pin] body: B },
        Text { text: Option<&'static str> },
    }
}

impl<B> http_body::Body for Answer<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Piece;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, BoxError>>> {
        let this = self.project();
        let frame = if let Some(rest) = this.rest.take() {
            Some(Ok(Frame::data(*rest)))
        } else {
            match this.body.project() {
                KindProj::Text { text } => text.take().map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes())))),
                // hyper then ends only this response.
                KindProj::Body { body } => {
                    let span = &this.open.span;
                    match catch_unwind(AssertUnwindSafe(|| span.in_scope(|| body.poll_frame(cx)))) {
                        Ok(polled) => ready!(polled).map(|frame| frame.map_err(Into::into)),
                        Err(panic) => {
                            span.in_scope(|| this.open.server.panicked(panic));
                            Some(Err("a response's body panicked".into()))
                        }
                    }
                }
            }
        };
        let line = this.line.as_ref();
        Poll::Ready(frame.map(|frame| {
            Ok(frame?.map_data(|mut bytes| {
                if line.is_some() && bytes.len() > PIECE {
                    *this.rest = Some(Box::new(bytes.split_off(PIECE)));
                }
                Piece::new(bytes, line)
            }))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none()
            && match &self.body {
                Kind::Body { body } => body.is_end_stream(),
                Kind::Text { text } => text.is_none(),
            }
    }

    /// Returns the size before the first piece: hyper doesn't ask later.
    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Kind::Body { body } => body.size_hint(),
            Kind::Text { text } => SizeHint::with_exact(text.map_or(0, str::len) as u64),
        }
    }
}
