//! The messages of a call, within the limit that all of them have together.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body, which ends with a status once it is too long.
pub(crate) struct Limited {
    body: interloop_http::Body,
    limit: usize,
    left: usize,
}

impl Limited {
    pub(crate) fn new(body: interloop_http::Body, limit: usize) -> Self {
        Self { body, limit, left: limit }
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
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
