//! The body of a request, within its limit.

use std::{
    fmt,
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

use crate::activity::Activity;

/// Any error, boxed.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request, as the service gets it: it ends with an error once it is longer than `--http-max-body-size`, and the client gets a 413.
///
/// For tests of a service, one can be made of bytes or a string.
///
/// ```
/// let request = http::Request::post("/say").body(interloop_http::Body::from("hello"));
/// # drop(request);
/// ```
#[derive(Default)]
pub struct Body(Kind);

enum Kind {
    Given(Box<Full<Bytes>>),
    /// It is known to fit, and often to be empty.
    Whole(Incoming),
    // Boxed: the requests without a body, most of them, are the smaller for it.
    Coming(Box<Coming>),
}

/// Something is to come, perhaps slowly, perhaps too much.
struct Coming {
    /// None once it has ended, whichever way.
    body: Option<Limited<Incoming>>,
    watched: Option<Arc<Activity>>,
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
    pub(crate) fn incoming(
        body: Incoming,
        limit: usize,
        activity: &Arc<Activity>,
        exceeded: &mut Option<Exceeded>,
    ) -> Self {
        use http_body::Body as _;
        if body.is_end_stream() {
            return Self(Kind::Whole(body));
        }
        // Whoever says the length is held to it by hyper.
        *exceeded = body.size_hint().exact().is_none().then(|| Exceeded(Arc::default()));
        let watched = activity.is_sequential().then(|| activity.clone());
        let coming = Coming { body: Some(Limited::new(body, limit)), watched, exceeded: exceeded.clone() };
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
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if let Some(activity) = &self.watched {
            activity.rest.is_wanted();
            activity.waits_for_body(polled.is_pending());
        }
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        if let (Poll::Ready(Some(Err(error))), Some(exceeded)) = (&polled, &self.exceeded)
            && error.is::<LengthLimitError>()
        {
            exceeded.0.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        if let Some(activity) = &self.watched {
            activity.waits_for_body(false);
            if let Some(body) = self.body.take().filter(|body| !http_body::Body::is_end_stream(body)) {
                activity.rest.leave(body);
                // It may be another thread that has dropped this.
                activity.end.wake();
            }
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
