//! The body of a request, with its size limit.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::{Full, LengthLimitError, Limited};
use hyper::body::Incoming;

use crate::{activity::Activity, line::Line, messages::Messages};

/// Any error, boxed.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request, as the service receives it. If it is longer than `--http-max-body-size`, it ends with an
/// error and the client gets a 413.
///
/// Tests of a service can create one from bytes or a string.
///
/// ```
/// let request = http::Request::post("/say").body(interloop_http::Body::from("hello"));
/// # drop(request);
/// ```
#[derive(Default)]
pub struct Body(Kind);

enum Kind {
    Given(Box<Full<Bytes>>),
    /// A body that is known to fit, and often is empty.
    Whole(Incoming),
    // Boxed, which makes the requests without a body, most of them, smaller.
    Coming(Box<Coming>),
}

/// A body that may come slowly, or be too long.
struct Coming {
    /// None once it has ended in any way.
    body: Option<Limited<Incoming>>,
    /// Set on HTTP/1, where the rest of the body stands in the way of the next request.
    watched: Option<Arc<Activity>>,
    line: Arc<Line>,
    /// The handler has waited for the client.
    has_waited: bool,
    /// Set for gRPC: a stream of messages, which may be silent between two of them.
    messages: Option<Messages>,
    exceeded: Option<Exceeded>,
}

/// Whether a body turned out to be too long.
#[derive(Clone)]
pub(crate) struct Exceeded(Arc<AtomicBool>);

impl Exceeded {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Body {
    /// Wraps a body. `line` is the request's, if it has one already.
    pub(crate) fn incoming(
        body: Incoming,
        limit: usize,
        messages: Option<Messages>,
        activity: &Arc<Activity>,
        line: Option<&Arc<Line>>,
        exceeded: &mut Option<Exceeded>,
    ) -> Self {
        use http_body::Body as _;
        if body.is_end_stream() {
            return Self(Kind::Whole(body));
        }
        // hyper enforces a length that the client declares.
        *exceeded = body.size_hint().exact().is_none().then(|| Exceeded(Arc::default()));
        let watched = activity.is_sequential().then(|| activity.clone());
        let line = line.map_or_else(|| activity.new_line(), Arc::clone);
        let body = Some(Limited::new(body, limit));
        let coming = Coming { body, watched, line, has_waited: false, messages, exceeded: exceeded.clone() };
        Self(Kind::Coming(Box::new(coming)))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Given(body) => Pin::new(&mut **body).poll_frame(cx).map_err(|never| match never {}),
            Kind::Whole(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Kind::Coming(coming) => coming.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Given(body) => body.is_end_stream(),
            Kind::Whole(body) => body.is_end_stream(),
            Kind::Coming(coming) => coming.body.as_ref().is_none_or(http_body::Body::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Given(body) => body.size_hint(),
            Kind::Whole(body) => body.size_hint(),
            Kind::Coming(coming) => {
                coming.body.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
            }
        }
    }
}

impl Coming {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<std::result::Result<Frame<Bytes>, BoxError>>> {
        use http_body::Body as _;
        if self.line.is_cut() {
            return Poll::Ready(Some(Err("the client was too slow".into())));
        }
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let mut polled = Pin::new(&mut *body).poll_frame(cx);
        if polled.is_pending() {
            self.has_waited = true;
            self.line.wants_body(self.messages.as_ref().is_some_and(Messages::are_whole), cx);
            if self.line.is_cut_off() {
                // Another thread may have received the rest since.
                polled = Pin::new(body).poll_frame(cx);
                if polled.is_pending() {
                    let why = io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended within the body");
                    polled = Poll::Ready(Some(Err(why.into())));
                }
            }
        }
        self.watched.iter().for_each(|activity| activity.unread.is_wanted());
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        let Poll::Ready(frame) = &polled else { return Poll::Pending };
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        if let (Some(messages), Some(data)) = (&mut self.messages, data) {
            messages.came(data);
        }
        if self.has_waited {
            self.line.has_body(data.map_or(0, Bytes::len));
        }
        if let (Some(Err(error)), Some(exceeded)) = (frame, &self.exceeded)
            && error.is::<LengthLimitError>()
        {
            exceeded.0.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        if self.has_waited {
            self.line.has_body(0);
        }
        if let Some(activity) = &self.watched
            && let Some(body) = self.body.take().filter(|body| !http_body::Body::is_end_stream(body))
        {
            activity.unread.leave(body);
            // Another thread may have dropped this.
            activity.end.wake();
        }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self(Kind::Given(Box::new(Full::new(bytes.into()))))
    }
}

impl Default for Kind {
    fn default() -> Self {
        Self::Given(Box::default())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("size", &http_body::Body::size_hint(self)).finish_non_exhaustive()
    }
}
