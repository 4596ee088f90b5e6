//! The wrapper around every future that a loop hosts.
//!
//! Whatever executor polls it, the inner future is dropped in place as soon as it ends, panics or is cancelled; polls
//! and drops run under `catch_unwind`; and `end` is called exactly once, after the inner future is gone. So a waker, or
//! an executor's own task handle, that lives on elsewhere keeps no user value alive.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use pin_project_lite::pin_project;

use super::{
    control::{Control, Ended},
    shared::Shared,
    this_thread,
};
use crate::kit::{
    clock::Wakes,
    panics::{panic_message, say},
    trace::Span,
};

pin_project! {
    pub(crate) struct Hosted<F: Future, E: FnOnce(Ended<F::Output>)> {
        #[pin]
        inner: Option<F>,
        end: Option<E>,
        control: Arc<Control>,
        // Lent to the thread while the future is polled.
        label: Option<this_thread::Label>,
        // The waker that was registered last.
        waker: Option<Waker>,
        span: Span,
        loop_: Arc<Shared>,
        wakes: Wakes,
    }

    impl<F: Future, E: FnOnce(Ended<F::Output>)> PinnedDrop for Hosted<F, E> {
        fn drop(this: Pin<&mut Self>) {
            // Its executor dropped it.
            this.finish(Ended::Cancelled);
        }
    }
}

impl<F: Future, E: FnOnce(Ended<F::Output>)> Hosted<F, E> {
    /// Wraps a future. `end` is called with how it ended, after the inner future is dropped, on the thread that polled
    /// or dropped it.
    pub(crate) fn new(
        inner: F,
        control: Arc<Control>,
        label: this_thread::Label,
        span: Span,
        loop_: Arc<Shared>,
        end: E,
    ) -> Self {
        loop_.future_begins();
        let wakes = Wakes::new(loop_.clock());
        Self { inner: Some(inner), end: Some(end), control, label: Some(label), waker: None, span, loop_, wakes }
    }

    fn finish(self: Pin<&mut Self>, ended: Ended<F::Output>) {
        let mut this = self.project();
        let Some(end) = this.end.take() else { return };
        *this.waker = None;
        let _entered = this_thread::enter_with(this.label, this.loop_);
        // A panic in a Drop outweighs how the future ended; `set` has stored the None even then.
        let span = std::mem::replace(this.span, Span::none());
        let ended = match catch_unwind(AssertUnwindSafe(|| span.run(|| this.inner.set(None)))) {
            Ok(()) => ended,
            Err(panic) => Ended::Panicked(panic_message(panic)),
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| end(ended))) {
            say(format_args!("panicked at the end of a future"), &panic_message(panic));
        }
        this.loop_.future_ends();
        this.wakes.end();
    }

    fn poll_inner(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.as_mut().project();
        // Register, then check: a cancel in between finds the waker. A cancel takes the waker only after it has set the
        // mark, so a registered waker stays registered.
        if !this.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            this.control.register(cx.waker());
            *this.waker = Some(cx.waker().clone());
        }
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(()) };
        if this.control.is_cancelled() {
            self.finish(Ended::Cancelled);
            return Poll::Ready(());
        }
        let output = {
            let _entered = this_thread::enter_with(this.label, this.loop_);
            catch_unwind(AssertUnwindSafe(|| this.span.in_scope(|| inner.poll(cx))))
        };
        match output {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => self.finish(Ended::Returned(output)),
            Err(panic) => self.finish(Ended::Panicked(panic_message(panic))),
        }
        Poll::Ready(())
    }
}

impl<F: Future, E: FnOnce(Ended<F::Output>)> Future for Hosted<F, E> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.as_mut().project().wakes.polled(cx);
        let waker = polled.waker(cx);
        self.poll_inner(&mut Context::from_waker(waker))
    }
}
