//! Spans of the crate `tracing`, carried from loop to loop. Without the feature they don't exist and take no space.
//!
//! A span is entered where user code runs, and released before the result of that code is visible: so a call doesn't
//! hold its caller's span open after it has answered.

#[cfg(feature = "tracing")]
mod on {
    use super::super::sync::{Mutex, lock};

    /// A span; or none, which costs nothing.
    #[derive(Clone, Debug)]
    pub(crate) struct Span(tracing::Span);

    impl Span {
        pub(crate) fn none() -> Self {
            Self(tracing::Span::none())
        }

        /// Returns the span in which this is called.
        pub(crate) fn current() -> Self {
            Self(tracing::Span::current())
        }

        fn of_task(name: &str, loop_: &str, incarnation: u32) -> Self {
            // Without a subscriber a span would be a record in the log.
            if !tracing::dispatcher::has_been_set() {
                return Self::none();
            }
            Self(tracing::info_span!(target: "interloop", parent: None, "task", name, "loop" = loop_, incarnation))
        }

        /// Returns this span, or the other if this is none.
        pub(crate) fn or(self, other: impl FnOnce() -> Self) -> Self {
            if self.0.is_none() { other() } else { self }
        }

        /// Runs this in the span.
        pub(crate) fn in_scope<R>(&self, f: impl FnOnce() -> R) -> R {
            self.0.in_scope(f)
        }

        /// Runs this in the span, and releases the span.
        pub(crate) fn run<R>(self, f: impl FnOnce() -> R) -> R {
            self.0.in_scope(f)
        }
    }

    /// The span of one run of a task, until that ends.
    #[derive(Debug)]
    pub(crate) struct TaskSpan(Mutex<Span>);

    impl TaskSpan {
        pub(crate) fn none() -> Self {
            Self(Mutex::new(Span::none()))
        }

        /// Begins the span on the loop's thread: a subscriber is user code.
        pub(crate) fn begin(&self, name: &str, loop_: &str, incarnation: u32) {
            let span = Span::of_task(name, loop_, incarnation);
            let before = std::mem::replace(&mut *lock(&self.0), span);
            drop(before);
        }

        pub(crate) fn get(&self) -> Span {
            lock(&self.0).clone()
        }

        /// Takes the span, and ends it as far as it is held here.
        pub(crate) fn take(&self) -> Span {
            std::mem::replace(&mut *lock(&self.0), Span::none())
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    /// The absence of a span.
    #[derive(Clone, Debug)]
    pub(crate) struct Span;

    const _: () = assert!(size_of::<Span>() == 0 && size_of::<TaskSpan>() == 0 && !std::mem::needs_drop::<Span>());

    impl Span {
        #[inline(always)]
        pub(crate) fn none() -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn current() -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn or(self, _: impl FnOnce() -> Self) -> Self {
            self
        }

        #[inline(always)]
        pub(crate) fn in_scope<R>(&self, f: impl FnOnce() -> R) -> R {
            f()
        }

        #[inline(always)]
        pub(crate) fn run<R>(self, f: impl FnOnce() -> R) -> R {
            f()
        }
    }

    /// The absence of a span.
    #[derive(Debug)]
    pub(crate) struct TaskSpan;

    impl TaskSpan {
        #[inline(always)]
        pub(crate) fn none() -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn begin(&self, _: &str, _: &str, _: u32) {}

        #[inline(always)]
        pub(crate) fn get(&self) -> Span {
            Span
        }

        #[inline(always)]
        pub(crate) fn take(&self) -> Span {
            Span
        }
    }
}

#[cfg(not(feature = "tracing"))]
pub(crate) use off::{Span, TaskSpan};
#[cfg(feature = "tracing")]
pub(crate) use on::{Span, TaskSpan};
