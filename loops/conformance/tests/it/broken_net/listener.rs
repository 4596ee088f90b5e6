//! A listening socket with one thing wrong.

use std::{
    future::{Future, poll_fn},
    io,
    rc::Rc,
    task::{Context, Poll, ready},
};

use interloop::net::{Accept, Address, ReactorListener};

use super::{
    fault::{Fault, Shared},
    stream::FaultyStream,
};

pub(crate) struct FaultyListener {
    inner: ReactorListener,
    shared: Rc<Shared>,
    accepted: usize,
}

impl FaultyListener {
    pub(crate) fn new(inner: ReactorListener, shared: &Rc<Shared>) -> Self {
        Self { inner, shared: shared.clone(), accepted: 0 }
    }
}

impl Accept for FaultyListener {
    type Stream = FaultyStream;

    fn address(&self) -> &Address {
        self.inner.address()
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(FaultyStream, Address)>> {
        if self.shared.has(Fault::AcceptsAHundred) && self.accepted == 100 {
            return Poll::Pending;
        }
        let (stream, from) = ready!(self.inner.poll_accept(cx))?;
        self.accepted += 1;
        Poll::Ready(Ok((FaultyStream::new(stream, &self.shared)?, from)))
    }

    fn accept(&mut self) -> impl Future<Output = io::Result<(FaultyStream, Address)>> {
        let mut taken = None;
        poll_fn(move |cx| {
            if let Some(taken) = taken.take() {
                return Poll::Ready(taken);
            }
            let accepted = ready!(self.poll_accept(cx));
            if self.shared.has(Fault::LosesWhatADroppedAcceptTook) {
                // This connection is taken, and not yet given.
                taken = Some(accepted);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(accepted)
        })
    }
}
