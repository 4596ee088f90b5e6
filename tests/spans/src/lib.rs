//! Records the events of the crate `tracing`, and their spans. The subscriber belongs to the process, and the tests of
//! a binary share it: each checks spans of its own.

#![forbid(unsafe_code)]

use std::{
    fmt,
    sync::{Mutex, OnceLock, PoisonError},
    thread,
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
};

/// The events, and the spans that have ended.
#[derive(Debug, Default)]
pub struct Spans {
    said: Mutex<Vec<Said>>,
    closed: Mutex<Vec<String>>,
}

/// An event.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its message.
    pub text: String,
    /// The spans that it is in, from the root on: their names and fields.
    pub path: String,
    /// The name of the thread.
    pub thread: String,
}

impl Spans {
    /// Returns the recorder of this process.
    pub fn get() -> &'static Self {
        static SPANS: OnceLock<&Spans> = OnceLock::new();
        SPANS.get_or_init(|| {
            let spans: &'static Self = Box::leak(Box::default());
            let subscriber = tracing_subscriber::registry().with(Recorder(spans));
            tracing::subscriber::set_global_default(subscriber).expect("nobody else sets one");
            spans
        })
    }

    /// Returns each occurrence of this message.
    pub fn said(&self, text: &str) -> Vec<Said> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().filter(|said| said.text == text).cloned().collect()
    }

    /// Returns the spans of this message, for each occurrence.
    pub fn paths(&self, text: &str) -> Vec<String> {
        self.said(text).into_iter().map(|said| said.path).collect()
    }

    /// Returns the spans of this message, which must occur once.
    #[track_caller]
    pub fn path(&self, text: &str) -> String {
        let paths = self.paths(text);
        assert_eq!(paths.len(), 1, "{text}: {paths:?}");
        paths.into_iter().next().unwrap_or_default()
    }

    /// Returns how many spans like this have ended.
    pub fn closed(&self, span: &str) -> usize {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|closed| *closed == span).count()
    }

    /// Returns whether a span like this has ended.
    pub fn has_closed(&self, span: &str) -> bool {
        self.closed(span) > 0
    }
}

/// Records events and spans.
struct Recorder(&'static Spans);

/// A span, or an event, as text.
#[derive(Clone, Default)]
struct Shown(String);

impl Visit for Shown {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &match field.name() {
            "message" => format!("{value:?}"),
            name => format!(" {name}={value:?}"),
        };
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, cx: Context<'_, S>) {
        let mut shown = Shown(attributes.metadata().name().to_owned());
        attributes.record(&mut shown);
        cx.span(id).expect("it is new").extensions_mut().insert(shown);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, cx: Context<'_, S>) {
        let span = cx.span(id).expect("it is open");
        if let Some(shown) = span.extensions_mut().get_mut::<Shown>() {
            values.record(shown);
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let mut text = Shown::default();
        event.record(&mut text);
        let scope = cx.event_scope(event).into_iter().flat_map(|scope| scope.from_root());
        let path = scope.filter_map(|span| span.extensions().get::<Shown>().map(|shown| shown.0.clone()));
        let path = path.collect::<Vec<_>>().join(" > ");
        let thread = thread::current().name().unwrap_or_default().to_owned();
        self.0.said.lock().unwrap_or_else(PoisonError::into_inner).push(Said { text: text.0, path, thread });
    }

    fn on_close(&self, id: span::Id, cx: Context<'_, S>) {
        let shown = cx.span(&id).and_then(|span| span.extensions().get::<Shown>().cloned());
        self.0.closed.lock().unwrap_or_else(PoisonError::into_inner).extend(shown.map(|shown| shown.0));
    }
}
