//! A call, from its bytes to the bytes of its answer.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
};

use interloop::panic_message;
use thrift::{ApplicationErrorKind, server::TProcessor};

use crate::{
    skim::{self, Kind, Limits, Protocol},
    wire,
};

/// Who answers the calls.
#[derive(Clone)]
pub(crate) enum Processor {
    /// On the loop's thread alone.
    Local(Rc<dyn TProcessor>),
    Shared(Arc<dyn TProcessor + Send + Sync>),
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local(_) => "Local",
            Self::Shared(_) => "Shared",
        })
    }
}

/// A call that has come.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) protocol: Protocol,
    pub(crate) oneway: bool,
    pub(crate) method: String,
    pub(crate) sequence: i32,
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Nothing for a oneway call, nor for a call of a oneway method.
    pub(crate) answer: Vec<u8>,
    pub(crate) end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Returned,
    /// One of the exceptions that the method declares.
    Declared,
    Failed(String),
    UnknownMethod,
    Panicked(String),
}

impl Call {
    /// The answer that it was in vain.
    pub(crate) fn refuse(&self, kind: ApplicationErrorKind, text: impl Into<String>) -> Vec<u8> {
        wire::exception(self.protocol, &self.method, self.sequence, kind, text)
    }

    /// Has it answered.
    pub(crate) fn process(&self, processor: &dyn TProcessor, bytes: &[u8], limits: &Limits) -> Outcome {
        let mut answer = Vec::new();
        let processed = catch_unwind(AssertUnwindSafe(|| {
            let mut from = wire::input(self.protocol, bytes, bytes.len(), limits);
            processor.process(&mut *from, &mut *wire::output(self.protocol, &mut answer))
        }));
        let (mut answer, end) = match processed {
            // A oneway method, also one that was called like any other, as some clients do: they wait for no answer, and would take it for that of their next call.
            Ok(Ok(())) if answer.is_empty() => (answer, End::Returned),
            Ok(Ok(())) => self.judge(answer, limits),
            Ok(Err(error)) => {
                let (kind, text) = blame(error);
                (self.refuse(kind, text.clone()), failed(kind, text))
            }
            Err(panic) => {
                let text = panic_message(panic);
                (self.refuse(ApplicationErrorKind::InternalError, "the handler panicked"), End::Panicked(text))
            }
        };
        if self.oneway {
            // Nobody reads it: it would be taken for the answer of the next call.
            answer = Vec::new();
        }
        Outcome { answer, end }
    }

    /// Looks at what was answered.
    fn judge(&self, answer: Vec<u8>, limits: &Limits) -> (Vec<u8>, End) {
        let Some(header) = skim::header(self.protocol, &answer) else {
            let none = self.refuse(ApplicationErrorKind::InternalError, "the answer is none");
            return (none, End::Failed("the answer can't be read".to_owned()));
        };
        let end = match header.kind {
            // The field 0 is the result, all others are exceptions.
            Kind::Reply => match skim::first_field(self.protocol, &answer[header.body..]) {
                None | Some(0) => End::Returned,
                Some(_) => End::Declared,
            },
            _ => match wire::read_exception(self.protocol, &answer, limits) {
                Some(error) => failed(error.kind, error.message),
                None => End::Failed("an exception that can't be read".to_owned()),
            },
        };
        (answer, end)
    }
}

fn failed(kind: ApplicationErrorKind, text: String) -> End {
    match kind {
        ApplicationErrorKind::UnknownMethod => End::UnknownMethod,
        _ => End::Failed(text),
    }
}

/// What an error of a processor means for the client.
fn blame(error: thrift::Error) -> (ApplicationErrorKind, String) {
    match error {
        thrift::Error::Application(error) => (error.kind, error.message),
        // The arguments are of other types than the method's.
        thrift::Error::Protocol(error) => (ApplicationErrorKind::ProtocolError, error.message),
        thrift::Error::Transport(error) => (ApplicationErrorKind::ProtocolError, error.message),
        thrift::Error::User(error) => (ApplicationErrorKind::InternalError, error.to_string()),
    }
}
