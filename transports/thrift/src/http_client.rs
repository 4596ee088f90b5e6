//! The client's end of Thrift over HTTP: hyper's connection, driven by the caller.

use std::{
    cell::RefCell,
    error::Error,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::io::{AsyncRead, AsyncWrite};
use http::{HeaderValue, Request, Response, StatusCode, Uri, header, response::Parts, uri::PathAndQuery};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    rt::{Read, ReadBufCursor, Write},
};

use crate::{
    messages::{Messages, Next},
    walk::{Fault, Kind, Limits},
};

/// The content type of calls and answers.
pub(crate) const THRIFT: &str = "application/x-thrift";
/// The maximum length of an answer's head, in bytes.
const HEAD: usize = 64 << 10;
/// The maximum length of a refusal's text, and how much of it is shown.
const SAID: usize = 16 << 10;
const SHOWN: usize = 200;

/// Where calls are posted to, as the user has set it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    path: Arc<str>,
    host: Option<Arc<str>>,
}

/// The same, as it is in each request.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    path: Uri,
    host: HeaderValue,
}

impl Place {
    pub(crate) fn new(path: String) -> Self {
        Self { path: path.into(), host: None }
    }

    pub(crate) fn host(self, host: String) -> Self {
        Self { host: Some(host.into()), ..self }
    }

    /// Sets the host by which the server is known, unless another was named.
    pub(crate) fn or_host(self, host: impl FnOnce() -> String) -> Self {
        if self.host.is_some() { self } else { self.host(host()) }
    }

    pub(crate) fn target(&self) -> io::Result<Target> {
        let wrong = |what, text: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{text:?} is no {what}"));
        let path = Some(&*self.path).filter(|path| path.starts_with('/'));
        let path = path.and_then(|path| PathAndQuery::try_from(path).ok()).ok_or_else(|| wrong("path", &self.path))?;
        let host = self.host.as_deref().unwrap_or("localhost");
        let value = HeaderValue::from_str(host).map_err(|_| wrong("host", host))?;
        Ok(Target { path: path.into(), host: value })
    }
}

impl Target {
    fn request(&self, call: Vec<u8>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::from(call));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.path.clone();
        let thrift = HeaderValue::from_static(THRIFT);
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.host.clone());
        headers.insert(header::CONTENT_TYPE, thrift.clone());
        headers.insert(header::ACCEPT, thrift);
        request
    }
}

/// A connection, which makes progress only while one of these methods is polled. After an error it is unusable.
pub(crate) struct Connection<S: AsyncRead + AsyncWrite + Unpin> {
    target: Target,
    sender: SendRequest<Full<Bytes>>,
    driver: http1::Connection<Io<S>, Full<Bytes>>,
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) async fn open(stream: S, target: Target) -> io::Result<Self> {
        let handshake = http1::Builder::new().max_buf_size(HEAD).handshake(Io::new(stream));
        let (sender, driver) = handshake.await.map_err(|error| broken(&error))?;
        Ok(Self { target, sender, driver, ended: false })
    }

    /// Returns whether it can take a further call, as far as is known.
    pub(crate) async fn is_free(&mut self) -> bool {
        poll_fn(|poller| {
            self.ended = self.ended || Pin::new(&mut self.driver).poll(poller).is_ready();
            if self.ended { Poll::Ready(false) } else { self.sender.poll_ready(poller).map(|ready| ready.is_ok()) }
        })
        .await
    }

    /// Posts a call, and waits for its answer, which is empty for a oneway call.
    pub(crate) async fn post(&mut self, call: Vec<u8>, oneway: bool, limits: &Limits) -> io::Result<Vec<u8>> {
        let Self { target, sender, driver, ended } = self;
        let request = target.request(call);
        let mut posted = pin!(async {
            let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
            if response.status() != StatusCode::OK {
                return Err(refused(response).await);
            }
            if oneway {
                // Some servers carry it out before they end their response.
                return Ok((Vec::new(), response.body().is_end_stream()));
            }
            let (head, body) = response.into_parts();
            let body = Limited::new(body, limits.message).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    return invalid(format!("an answer of more than {} bytes is too large", limits.message));
                }
                broken(&*error)
            })?;
            Ok((answer(&head, &body.to_bytes(), limits)?, true))
        });
        let (answer, whole) = poll_fn(|poller| {
            *ended = *ended || Pin::new(&mut *driver).poll(poller).is_ready();
            posted.as_mut().poll(poller)
        })
        .await?;
        *ended = *ended || !whole;
        Ok(answer)
    }
}

/// Returns the one message that a body must be.
fn answer(head: &Parts, body: &[u8], limits: &Limits) -> io::Result<Vec<u8>> {
    // With the length of a frame before it, it would begin with a 0.
    if body.first().is_some_and(|first| first & 0x80 == 0) {
        let kind = head.headers.get(header::CONTENT_TYPE).map(|kind| String::from_utf8_lossy(kind.as_bytes()));
        return Err(invalid(match kind {
            Some(kind) => format!("the answer is {}, and not Thrift", shown(&kind)),
            None => "the answer is not Thrift".to_owned(),
        }));
    }
    let mut messages = Messages::new(*limits);
    messages.push(body);
    match messages.next() {
        Next::Message(message) if matches!(message.header.kind, Kind::Reply | Kind::Exception) => {
            let bytes = messages.bytes(&message).to_vec();
            messages.advance(&message);
            if messages.is_empty() { Ok(bytes) } else { Err(invalid("there is more in the answer than the message")) }
        }
        Next::Message(_) => Err(invalid("a call instead of an answer")),
        Next::More if body.is_empty() => Err(invalid("the answer is empty")),
        Next::More => Err(invalid(Fault::Truncated)),
        Next::Bad(bad) => Err(invalid(bad.fault)),
    }
}

/// Returns the error of a server's refusal, in the server's own words if these are for people.
async fn refused(response: Response<Incoming>) -> io::Error {
    let (head, body) = response.into_parts();
    let kind = head.headers.get(header::CONTENT_TYPE);
    let said = match kind {
        Some(kind) if kind.as_bytes().to_ascii_lowercase().starts_with(b"text/plain") => {
            Limited::new(body, SAID).collect().await.map(|said| said.to_bytes()).unwrap_or_default()
        }
        _ => Bytes::new(),
    };
    let said = String::from_utf8_lossy(&said);
    let said = shown(said.lines().next().unwrap_or_default());
    let status = head.status;
    io::Error::other(match said.trim() {
        "" => format!("the server answered {status}"),
        said => format!("the server answered {status}: {said}"),
    })
}

/// Returns some of a server's text, made harmless for display.
fn shown(said: &str) -> String {
    let harmless = |char: char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char };
    said.chars().take(SHOWN).map(harmless).collect()
}

fn invalid(why: impl Into<Wrong>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into().0)
}

struct Wrong(String);

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Self {
        Self(fault.to_string())
    }
}

impl From<&str> for Wrong {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Wrong {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// Returns the error of a broken connection: the system's error, if that is the cause.
fn broken(error: &(dyn Error + 'static)) -> io::Error {
    let mut cause = Some(error);
    while let Some(error) = cause
        && !error.is::<io::Error>()
    {
        cause = error.source();
    }
    if let Some(cause) = cause.and_then(|cause| cause.downcast_ref::<io::Error>()) {
        if cause.kind() == io::ErrorKind::UnexpectedEof {
            return io::Error::new(cause.kind(), "closed within the answer");
        }
        return io::Error::new(cause.kind(), cause.to_string());
    }
    match error.downcast_ref::<hyper::Error>() {
        Some(error) if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => {
            io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the answer")
        }
        Some(error) if error.is_parse() => invalid(format!("the answer is not HTTP: {error}")),
        _ => io::Error::other(error.to_string()),
    }
}

/// A stream as hyper uses it.
pub(crate) struct Io<S> {
    stream: S,
    /// hyper's buffer is not initialized.
    piece: Box<[u8]>,
}

impl<S> Io<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, piece: vec![0; 16 << 10].into() }
    }
}

impl<S: AsyncRead + Unpin> Read for Io<S> {
    fn poll_read(self: Pin<&mut Self>, poller: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let Self { stream, piece } = self.get_mut();
        let length = buf.remaining().min(piece.len());
        let read = Pin::new(stream).poll_read(poller, &mut piece[..length]);
        read.map_ok(|read| buf.put_slice(&piece[..read]))
    }
}

impl<S: AsyncWrite + Unpin> Write for Io<S> {
    fn poll_write(mut self: Pin<&mut Self>, poller: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(poller, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(poller)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(poller)
    }
}

/// A stream that can be checked while hyper has it.
pub(crate) struct Shared<S>(Rc<RefCell<S>>);

impl<S> Shared<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(Rc::new(RefCell::new(stream)))
    }

    pub(crate) fn look<T>(&self, at: impl FnOnce(&mut S) -> T) -> T {
        at(&mut self.0.borrow_mut())
    }
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Shared<S> {
    fn poll_read(self: Pin<&mut Self>, poller: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.look(|stream| Pin::new(stream).poll_read(poller, buf))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Shared<S> {
    fn poll_write(self: Pin<&mut Self>, poller: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.look(|stream| Pin::new(stream).poll_write(poller, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.look(|stream| Pin::new(stream).poll_flush(poller))
    }

    fn poll_close(self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.look(|stream| Pin::new(stream).poll_close(poller))
    }
}
