//! Small helpers that several built-in tasks need, made of std and public crates. A task outside this crate would have
//! its own.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::task::{log_panic, panic_message};

/// Locks the mutex, even if a thread has panicked while it held the lock: no invariant here spans user code.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs user code; if it panics, returns the panic's message.
pub(super) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(panic_message)
}

/// Runs user code, and logs a panic of it.
pub(super) fn catch_and_log(target: &str, what: &str, f: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(f)) {
        log_panic(target, what, panic);
    }
}

/// A duration in readable form: `30 s`, `250 ms`.
pub(super) struct Seconds(pub(super) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        if ms >= 1000 && ms.is_multiple_of(1000) {
            write!(f, "{} s", ms / 1000)
        } else if ms >= 1000 {
            write!(f, "{:.1} s", self.0.as_secs_f64())
        } else {
            write!(f, "{ms} ms")
        }
    }
}

/// The span in which a caller asked for something; it is empty without the feature `tracing`.
#[derive(Clone, Debug)]
pub(super) struct Span(#[cfg(feature = "tracing")] tracing::Span);

impl Span {
    pub(super) fn none() -> Self {
        Self(
            #[cfg(feature = "tracing")]
            tracing::Span::none(),
        )
    }

    /// Returns the current span.
    pub(super) fn current() -> Self {
        Self(
            #[cfg(feature = "tracing")]
            tracing::Span::current(),
        )
    }

    /// Runs this in the span.
    pub(super) fn in_scope<R>(&self, f: impl FnOnce() -> R) -> R {
        #[cfg(feature = "tracing")]
        return self.0.in_scope(f);
        #[cfg(not(feature = "tracing"))]
        f()
    }

    /// Runs this in the span, and lets go of the span.
    pub(super) fn run<R>(self, f: impl FnOnce() -> R) -> R {
        self.in_scope(f)
    }
}
