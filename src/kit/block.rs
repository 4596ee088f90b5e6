//! Blocks a thread on a future, for threads that no loop drives.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Returns the waker of this thread. It is always the same one: a needless wake only causes another poll.
fn this_thread() -> Waker {
    thread_local!(static WAKER: Waker = Waker::from(Arc::new(Unpark(thread::current()))));
    // A thread that is ending has lost its own.
    WAKER.try_with(Waker::clone).unwrap_or_else(|_| Waker::from(Arc::new(Unpark(thread::current()))))
}

/// Polls the future on this thread until it is ready, or gives up after `timeout`.
pub(crate) fn on<F: Future>(future: F, timeout: Option<Duration>) -> Option<F::Output> {
    // A timeout too long for the clock means none.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut future = pin!(future);
    let waker = this_thread();
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        match deadline {
            None => thread::park(),
            Some(deadline) => {
                let rest = deadline.saturating_duration_since(Instant::now());
                if rest.is_zero() {
                    return None;
                }
                thread::park_timeout(rest);
            }
        }
    }
}
