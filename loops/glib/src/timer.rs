//! Sleeping by glib's timeouts.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    rc::Rc,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use glib::{ControlFlow, MainContext, Priority, Source, thread_guard::ThreadGuard};

/// Returns a future that is ready once `duration` has passed, by a timeout at the default priority. glib counts in
/// milliseconds: the duration is rounded up, so the future is never early.
pub(crate) fn sleep(context: &MainContext, duration: Duration) -> impl Future<Output = ()> + 'static {
    // A time beyond the clock never comes.
    let deadline = Instant::now().checked_add(duration);
    let mut timeout = Timeout { context: context.clone(), source: None, waker: Rc::default() };
    poll_fn(move |cx| {
        let rest = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match rest {
            Some(Duration::ZERO) => {
                timeout.stop();
                return Poll::Ready(());
            }
            Some(rest) => timeout.wake_after(rest, cx.waker().clone()),
            None => {}
        }
        Poll::Pending
    })
}

struct Timeout {
    context: MainContext,
    source: Option<Source>,
    waker: Rc<Cell<Option<Waker>>>,
}

impl Timeout {
    fn wake_after(&mut self, rest: Duration, waker: Waker) {
        // It is empty if the timeout has fired, by its own clock or at the end of its range.
        let fired = self.waker.replace(Some(waker)).is_none();
        if fired || self.source.is_none() {
            self.stop_source();
            let milliseconds = rest.as_nanos().div_ceil(1_000_000).min(u128::from(u32::MAX));
            let rounded_up = Duration::from_millis(milliseconds as u64);
            let guard = ThreadGuard::new(self.waker.clone());
            let fire = move || {
                if let Some(waker) = guard.get_ref().take() {
                    waker.wake();
                }
                ControlFlow::Break
            };
            let source = glib::timeout_source_new(rounded_up, None, Priority::DEFAULT, fire);
            source.attach(Some(&self.context));
            self.source = Some(source);
        }
    }

    fn stop_source(&mut self) {
        if let Some(source) = self.source.take() {
            source.destroy();
        }
    }

    fn stop(&mut self) {
        self.stop_source();
        self.waker.take();
    }
}

impl Drop for Timeout {
    fn drop(&mut self) {
        self.stop();
    }
}
