//! The counters of a server.

#[cfg(feature = "metrics")]
use std::time::Duration;
use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Instant};

#[cfg(feature = "metrics")]
use interloop::counters::Histogram;
use interloop::{
    Context, EventLoop,
    counters::{Counter, Gauge, Meter},
};

use crate::processing::End;

/// The period over which the duration of calls is shown.
#[cfg(feature = "metrics")]
const WINDOW: Duration = Duration::from_secs(60);
/// How many methods get counters of their own: more than a program has.
const METHODS: usize = 1000;
/// The label of further methods.
const OTHERS: &str = "...";
/// No program has a longer name.
const LONGEST_NAME: usize = 200;

/// The counters of a server, looked up once for all its connections.
pub(crate) struct Counts {
    pub(crate) connections: Counter,
    pub(crate) open_connections: Gauge,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) bad_messages: Counter,
    pub(crate) slow_clients: Counter,
    pub(crate) times_full: Counter,
    unknown_methods: Counter,
    panics: Counter,
    /// Created with the first call of each known method.
    methods: RefCell<HashMap<String, Rc<Method>>>,
    meter: Meter,
}

struct Method {
    calls: Counter,
    errors: Counter,
    exceptions: Counter,
    #[cfg(feature = "metrics")]
    duration: Histogram,
}

impl Counts {
    pub(crate) fn new<L: EventLoop, O>(cx: &Context<L, O>) -> Self {
        let meter = cx.meter().namespace("interloop_thrift");
        for (name, unit, help) in [
            ("calls", "", "Calls by method."),
            ("errors", "", "Calls that were answered with an application exception, or not at all for one, by method."),
            ("exceptions", "", "Calls that were answered with an exception that the method declares, by method."),
            ("unknown_methods", "", "Calls of methods or services that there are not."),
            ("bad_messages", "", "Connections that were closed for what they sent."),
            ("slow_clients", "", "Connections that were cut off since their client was too slow."),
            ("panics", "", "Panics of handlers."),
            ("connections", "", "Connections that were accepted."),
            ("times_full", "", "How often the number of open connections has reached its maximum."),
            ("open_connections", "", "Connections that are open."),
            ("received_bytes", "bytes", "What was read from connections."),
            ("sent_bytes", "bytes", "What was written to connections."),
            #[cfg(feature = "metrics")]
            ("call_duration", "seconds", "From a whole call to its answer, by method."),
        ] {
            meter.describe(name, unit, help);
        }
        let open_connections = meter.gauge("open_connections");
        // Connections that an earlier incarnation left open are gone.
        open_connections.set(0.0);
        Self {
            connections: meter.counter("connections"),
            open_connections,
            received: meter.counter("received_bytes"),
            sent: meter.counter("sent_bytes"),
            bad_messages: meter.counter("bad_messages"),
            slow_clients: meter.counter("slow_clients"),
            times_full: meter.counter("times_full"),
            unknown_methods: meter.counter("unknown_methods"),
            panics: meter.counter("panics"),
            methods: RefCell::default(),
            meter,
        }
    }

    /// Counts a call that has ended. Unknown methods have no counters of their own: clients could make up any number.
    pub(crate) fn ended(&self, method: &str, began: Instant, end: &End) {
        if *end == End::UnknownMethod {
            self.unknown_methods.add(1);
            return;
        }
        let method = self.method(method);
        method.calls.add(1);
        match end {
            End::Returned | End::UnknownMethod => {}
            End::Declared => method.exceptions.add(1),
            End::Failed(_) => method.errors.add(1),
            End::Panicked => {
                method.errors.add(1);
                self.panics.add(1);
            }
        }
        #[cfg(feature = "metrics")]
        method.duration.record_since(began);
        #[cfg(not(feature = "metrics"))]
        let _ = began;
    }

    fn method(&self, name: &str) -> Rc<Method> {
        let mut methods = self.methods.borrow_mut();
        if let Some(method) = methods.get(name) {
            return method.clone();
        }
        let name = if methods.len() < METHODS && name.len() <= LONGEST_NAME { name } else { OTHERS };
        let make = || {
            let meter = self.meter.label("method", name);
            Rc::new(Method {
                calls: meter.counter("calls"),
                errors: meter.counter("errors"),
                exceptions: meter.counter("exceptions"),
                #[cfg(feature = "metrics")]
                duration: meter.histogram("call_duration", &[WINDOW]),
            })
        };
        methods.entry(name.to_owned()).or_insert_with(make).clone()
    }
}
