//! HTTP/2 with hyper's client, on the loop's own streams.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Version,
    client::conn::http2,
    rt::{Executor, ReadBufCursor},
};
use interloop::{
    net::{AsyncRead, AsyncWrite, Net},
    task_fn,
};
use interloop_http::HttpServer;

use super::server::Answers;
use crate::{
    Subject,
    trial::{Trial, soon},
};

const STREAMS: usize = 8;
const LENGTH: usize = 256 << 10;

/// Runs a service of two tasks on the loop, a server and its client; it ends when the client has ended.
pub(super) fn share_a_connection<L: Net>(subject: &Subject<L>) {
    let server = HttpServer::new(Answers::new());
    let addresses = server.addresses();
    let soon = soon(subject);
    let client = task_fn::<L>(async move |cx| {
        let address = addresses.tcp().expect("a server that is ready listens");
        let trial = Trial { cx, soon };
        let stream = trial.must("a client of HTTP/2 is not connected", trial.cx.connect(address)).await;
        exchange(&trial, stream).await;
        trial.cx.service().request_shutdown("the check is over");
        Ok(())
    });
    let mut service = subject.service();
    service.task_on::<L>("http", server);
    service.task("client", client).requires("http");
    let running = service.start().unwrap_or_else(|error| panic!("the service can't start: {error}"));
    match running.join_timeout(subject.patience()) {
        Ok(report) => assert!(report.code == 0, "the check failed: {report}"),
        Err(running) => panic!("HTTP/2: the service does not end: {}", running.status()),
    }
}

async fn exchange<L: Net>(trial: &Trial<L>, stream: L::Stream) {
    let cx = trial.cx.clone();
    let spawn = Spawn(move |future: Child| cx.spawn_local(future).detach());
    let handshake = async { http2::handshake(spawn, Io(stream)).await.map_err(io::Error::other) };
    let (mut client, connection) = trial.must("HTTP/2: no handshake", handshake).await;
    let connection = trial.cx.spawn_local(connection);
    let bodies = (0..STREAMS).map(|stream| (0..LENGTH).map(|place| (place ^ (place >> 8) ^ stream) as u8).collect());
    let bodies: Vec<Bytes> = bodies.collect();
    let asked: Vec<_> = bodies
        .iter()
        .map(|body| {
            let request = Request::post("http://conformance/echo").body(Full::new(body.clone()));
            let answer = client.send_request(request.expect("a request"));
            trial.cx.spawn_local(async move {
                let answer = answer.await?;
                let (version, status) = (answer.version(), answer.status());
                Ok((version, status, answer.into_body().collect().await?.to_bytes()))
            })
        })
        .collect();
    for (number, (asked, body)) in asked.into_iter().zip(&bodies).enumerate() {
        let answer = async {
            let answer: hyper::Result<_> = asked.await.map_err(io::Error::other)?;
            answer.map_err(io::Error::other)
        };
        let (version, status, got) = trial.must(&format!("HTTP/2: no answer in stream {number}"), answer).await;
        assert!(
            (version, status.as_u16()) == (Version::HTTP_2, 200),
            "HTTP/2: {version:?}, {status} in stream {number}"
        );
        let wrong = got.iter().zip(body).position(|(got, sent)| got != sent);
        assert!(wrong.is_none(), "HTTP/2: a wrong byte at {wrong:?} in stream {number}");
        assert!(got.len() == LENGTH, "HTTP/2: {} of {LENGTH} bytes in stream {number}", got.len());
    }
    drop(client);
    let ended = async { connection.await.map_err(io::Error::other)?.map_err(io::Error::other) };
    trial.must("HTTP/2: the connection does not end in order", ended).await;
}

type Child = Pin<Box<dyn Future<Output = ()>>>;

/// Runs hyper's further futures as children of the task.
#[derive(Clone)]
struct Spawn<S>(S);

impl<S: Fn(Child), F: Future<Output = ()> + 'static> Executor<F> for Spawn<S> {
    fn execute(&self, future: F) {
        (self.0)(Box::pin(future));
    }
}

/// Adapts a stream of the loop to hyper's traits.
struct Io<S>(S);

impl<S: AsyncRead + Unpin> hyper::rt::Read for Io<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; 8 * 1024];
        let fits = buf.remaining().min(bytes.len());
        let read = ready!(Pin::new(&mut self.0).poll_read(cx, &mut bytes[..fits]))?;
        buf.put_slice(&bytes[..read]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> hyper::rt::Write for Io<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}
