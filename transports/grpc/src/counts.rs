//! The counters of a server.

#[cfg(feature = "metrics")]
use std::time::Duration;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

#[cfg(feature = "metrics")]
use interloop::counters::Histogram;
use interloop::{
    Context, EventLoop,
    counters::{Counter, Meter},
};
use tonic::Code;

/// The period over which the duration of calls is shown.
#[cfg(feature = "metrics")]
const WINDOW: Duration = Duration::from_secs(60);
/// How many methods get counters of their own: more than a program has.
const METHODS: usize = 1000;
/// The label of further methods.
const OTHERS: &str = "...";

/// The counters of a server, for all its connections.
pub(crate) struct Counts {
    pub(crate) target: String,
    pub(crate) panics: Counter,
    unknown_methods: Counter,
    /// Created with the first call of each known method.
    methods: Mutex<HashMap<String, Arc<Method>>>,
    meter: Meter,
}

struct Method {
    meter: Meter,
    calls: Mutex<HashMap<i32, Counter>>,
    #[cfg(feature = "metrics")]
    duration: Histogram,
}

impl Counts {
    pub(crate) fn new<L: EventLoop, O>(cx: &Context<L, O>) -> Self {
        let meter = cx.meter().namespace("interloop_grpc");
        for (name, unit, help) in [
            ("calls", "", "Calls that have ended, by method and status."),
            ("unknown_methods", "", "Calls of methods or services that there are not."),
            #[cfg(feature = "metrics")]
            ("call_duration", "seconds", "From a call's head to its end, by method."),
        ] {
            meter.describe(name, unit, help);
        }
        Self {
            target: cx.target().to_owned(),
            // The counter of the HTTP server.
            panics: cx.meter().namespace("interloop_http").counter("panics"),
            unknown_methods: meter.counter("unknown_methods"),
            methods: Mutex::default(),
            meter,
        }
    }

    /// Counts a call that has ended. Unknown methods have no counters of their own: clients could make up any number.
    pub(crate) fn ended(&self, path: &str, began: Instant, code: Code) {
        if code == Code::Unimplemented {
            self.unknown_methods.add(1);
            return;
        }
        let method = self.method(path.trim_start_matches('/'));
        let status = code as i32;
        let mut calls = method.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.entry(status).or_insert_with(|| method.meter.label("status", status).counter("calls")).add(1);
        drop(calls);
        #[cfg(feature = "metrics")]
        method.duration.record_since(began);
        #[cfg(not(feature = "metrics"))]
        let _ = began;
    }

    fn method(&self, name: &str) -> Arc<Method> {
        let mut methods = self.methods.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(method) = methods.get(name) {
            return method.clone();
        }
        let name = if methods.len() < METHODS { name } else { OTHERS };
        let make = || {
            let meter = self.meter.label("method", name);
            Arc::new(Method {
                #[cfg(feature = "metrics")]
                duration: meter.histogram("call_duration", &[WINDOW]),
                calls: Mutex::default(),
                meter,
            })
        };
        methods.entry(name.to_owned()).or_insert_with(make).clone()
    }
}
