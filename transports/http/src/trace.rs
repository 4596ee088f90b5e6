//! The span of a request, of the crate `tracing`. Without the feature it does nothing and takes no space.

#[cfg(feature = "tracing")]
mod on {
    use http::{Method, StatusCode};
    use tracing::field::Empty;

    pub(crate) struct Span(tracing::Span);

    impl Span {
        /// Creates a span without a parent: otherwise all requests of a server would be one trace.
        pub(crate) fn of_request(server: &str, method: &Method, path: &str) -> Self {
            // Without a subscriber a span would become a log record.
            if !tracing::dispatcher::has_been_set() {
                return Self(tracing::Span::none());
            }
            Self(tracing::info_span!(
                target: "interloop_http",
                parent: None,
                "request",
                server,
                %method,
                path,
                status = Empty
            ))
        }

        /// Runs this in the span.
        pub(crate) fn in_scope<R>(&self, f: impl FnOnce() -> R) -> R {
            self.0.in_scope(f)
        }

        pub(crate) fn answered(&self, status: StatusCode) {
            self.0.record("status", status.as_u16());
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use http::{Method, StatusCode};

    /// Does nothing.
    pub(crate) struct Span;

    impl Span {
        #[inline(always)]
        pub(crate) fn of_request(_: &str, _: &Method, _: &str) -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn in_scope<R>(&self, f: impl FnOnce() -> R) -> R {
            f()
        }

        #[inline(always)]
        pub(crate) fn answered(&self, _: StatusCode) {}
    }
}

#[cfg(not(feature = "tracing"))]
pub(crate) use off::Span;
#[cfg(feature = "tracing")]
pub(crate) use on::Span;
