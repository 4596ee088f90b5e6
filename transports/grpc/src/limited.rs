//! The messages of a call, with a limit to their total length.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body, which ends with a status if it is too long, or cut off by the end of the connection.
pub(crate) struct Limited {
    body: interloop_http::Body,
    limit: usize,
    left: usize,
    /// Whether the connection has ended before the messages.
    cut_off: Arc<AtomicBool>,
}

impl Limited {
    pub(crate) fn new(body: interloop_http::Body, limit: usize, cut_off: Arc<AtomicBool>) -> Self {
        Self { body, limit, left: limit, cut_off }
    }
}

impl Body for Limited {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            match self.left.checked_sub(data.len()) {
                Some(left) => self.left = left,
                None => {
                    let why = format!("the messages of the call are longer than {} bytes together", self.limit);
                    return Poll::Ready(Some(Err(Status::resource_exhausted(why).into())));
                }
            }
        }
        polled.map_err(|error| {
            if !is_cut_off(&error) {
                return error;
            }
            self.cut_off.store(true, Ordering::Relaxed);
            // Not as cancelled: tonic treats that as the regular end of the messages.
            Status::unavailable("the connection ended within the messages of the call").into()
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Returns whether the connection has ended within the body.
fn is_cut_off(error: &BoxError) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
}
