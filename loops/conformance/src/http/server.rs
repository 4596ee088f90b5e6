//! The server that is checked: without a router, so that the kit needs none.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::mpsc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{Request, Response, StatusCode, body::Frame, header};
use interloop::{Running, Shutdown, net::Net};
use interloop_http::{Body, BoxError, HttpServer};

use super::client::Client;
use crate::{
    Subject,
    scene::{down, up},
    trial::soon,
};

/// A running service that contains the server.
pub(super) struct Hosting {
    pub(super) running: Running,
    pub(super) address: SocketAddr,
    pub(super) patience: Duration,
    begun: mpsc::Receiver<()>,
}

pub(super) fn host<L: Net>(subject: &Subject<L>) -> Hosting {
    let (begin, begun) = mpsc::channel();
    let server = HttpServer::new(Answers { begin });
    let addresses = server.addresses();
    let mut service = subject.service();
    service.task_on::<L>("http", server);
    let running = up(service, subject.patience());
    let address = addresses.tcp().expect("a server that is ready listens");
    Hosting { running, address, patience: soon(subject), begun }
}

impl Hosting {
    pub(super) fn connect(&self) -> Client {
        Client::connect(self.address, self.patience)
    }

    /// Waits until a request that is answered only at the stop has reached its handler.
    pub(super) fn wait_until_begun(&self) {
        let begun = self.begun.recv_timeout(self.patience);
        assert!(begun.is_ok(), "a request does not come to its handler within {:?}", self.patience);
    }

    pub(super) fn stop(self) {
        down(self.running);
    }
}

/// The answers of the server.
#[derive(Clone)]
pub(super) struct Answers {
    begin: mpsc::Sender<()>,
}

impl Answers {
    /// Makes answers for checks in which no request must be waited for.
    pub(super) fn new() -> Self {
        Self { begin: mpsc::channel().0 }
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

impl tower_service::Service<Request<Body>> for Answers {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let begin = self.begin.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/hello" => plain(Full::from("hello\n")),
                "/parts" => plain(StreamBody::new(futures_util::stream::iter(
                    ["one\n", "two\n", "three\n"].map(|part| Ok::<_, BoxError>(Frame::data(Bytes::from(part)))),
                ))),
                "/echo" => plain(request.into_body()),
                "/until-the-stop" => {
                    let shutdown = request.extensions().get::<Shutdown>().cloned();
                    let _ = begin.send(());
                    match shutdown {
                        Some(shutdown) => shutdown.requested().await,
                        None => unreachable!("each request carries the shutdown"),
                    }
                    plain(Full::from("stopped\n"))
                }
                _ => {
                    let mut answer = Response::new(Empty::new().map_err(BoxError::from).boxed_unsync());
                    *answer.status_mut() = StatusCode::NOT_FOUND;
                    answer
                }
            })
        })
    }
}

fn plain<B>(body: B) -> Answer
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut answer = Response::new(body.map_err(Into::into).boxed_unsync());
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain"));
    answer
}
