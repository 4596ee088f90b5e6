//! A call, from its bytes to the bytes of its answer.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fmt,
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
};

use interloop::task::log_panic;
use thrift::{ApplicationError, ApplicationErrorKind, server::TProcessor};

use crate::{
    walk::{self, Kind, Limits, Protocol},
    wire,
};

/// The processor that answers the calls.
#[derive(Clone)]
pub(crate) enum Processor {
    /// Only on the loop's thread.
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

/// The result of a call.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Empty for a oneway call, and for a call of a oneway method.
    pub(crate) answer: Vec<u8>,
    pub(crate) end: End,
    pub(crate) shows: Shows,
}

/// What a call has revealed about its method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shows {
    /// It has no answer, however it is called.
    Oneway,
    /// It has an answer, which its client waits for.
    Answers,
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Returned,
    /// One of the exceptions that the method declares.
    Declared,
    Failed(String),
    UnknownMethod,
    Panicked,
}

impl Call {
    /// Returns the answer that the call failed.
    pub(crate) fn refuse(&self, kind: ApplicationErrorKind, text: impl Into<String>) -> Vec<u8> {
        wire::exception(self.protocol, &self.method, self.sequence, kind, text)
    }

    /// Has the processor answer the call.
    pub(crate) fn process(&self, target: &str, processor: &dyn TProcessor, bytes: &[u8], limits: &Limits) -> Outcome {
        let mut paper =
            Paper { protocol: self.protocol, answer: Vec::new(), is_doubted: false, is_written_again: false };
        let processed = catch_unwind(AssertUnwindSafe(|| {
            let mut from = wire::input(self.protocol, bytes, bytes.len(), limits);
            processor.process(&mut *from, &mut *wire::output(self.protocol, &mut paper))
        }));
        let is_of_no_method = paper.is_doubted && !paper.is_written_again;
        let answer = paper.answer;
        let mut shows = Shows::Nothing;
        let (mut answer, end) = match processed {
            // A oneway method, even if it was called like any other, as some clients do: they wait for no answer, and
            // would take one for that of their next call.
            Ok(Ok(())) if answer.is_empty() => {
                shows = Shows::Oneway;
                (answer, End::Returned)
            }
            Ok(Ok(())) => {
                shows = Shows::Answers;
                self.judge(answer, limits)
            }
            // The error of a oneway method, or of no method.
            Ok(Err(_)) if is_of_no_method => match wire::read_exception(self.protocol, &answer, limits) {
                Some(error) if !is_before_any_method(&error) => {
                    shows = Shows::Oneway;
                    (Vec::new(), failed(error.kind, error.message))
                }
                _ => self.judge(answer, limits),
            },
            Ok(Err(error)) => {
                let (kind, text) = blame(error);
                (self.refuse(kind, text.clone()), failed(kind, text))
            }
            Err(panic) => {
                log_panic(target, format_args!("the handler of {}", self.method), panic);
                (self.refuse(ApplicationErrorKind::InternalError, "the handler panicked"), End::Panicked)
            }
        };
        if self.oneway {
            // Nobody reads it: it would be taken for the answer of the next call.
            answer = Vec::new();
        }
        Outcome { answer, end, shows }
    }

    /// Determines how the call ended from its answer.
    fn judge(&self, answer: Vec<u8>, limits: &Limits) -> (Vec<u8>, End) {
        let Some(header) = walk::header(self.protocol, &answer) else {
            let none = self.refuse(ApplicationErrorKind::InternalError, "the answer is none");
            return (none, End::Failed("the answer can't be read".to_owned()));
        };
        let end = match header.kind {
            // Field 0 is the result, all others are exceptions.
            Kind::Reply => match walk::first_field(self.protocol, &answer[header.body..]) {
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

/// The buffer that an answer is written to.
///
/// In the code of Thrift's compiler, each method with an answer writes its exceptions itself. Exceptions of oneway
/// methods are written by the caller of the method, which doesn't mark them: clients that have called such a method
/// like any other take this answer for that of their next call. To tell them apart, sending an exception fails at
/// first. A method then fails with that error, and its caller writes again; if nothing is written again, no method
/// wrote the exception. (A oneway method that panics, called like any other, can't be detected this way: see
/// [`Oneways`].)
struct Paper {
    protocol: Protocol,
    answer: Vec<u8>,
    is_doubted: bool,
    is_written_again: bool,
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_doubted {
            // The first one stands.
            self.is_written_again = true;
        } else {
            self.answer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let is_exception =
            || walk::header(self.protocol, &self.answer).is_some_and(|header| header.kind == Kind::Exception);
        if self.is_doubted || !is_exception() {
            return Ok(());
        }
        self.is_doubted = true;
        Err(io::Error::other("an exception is sent by what has called the method"))
    }
}

/// The methods that have revealed whether they are oneway, which matters for a method that panics. A oneway method
/// isn't answered, however it is called; the client of any other waits for the answer. As long as it is unknown, the
/// connection is closed without an answer: the client of a oneway method would take it for that of its next call.
#[derive(Debug, Default)]
pub(crate) struct Oneways(RefCell<Known>);

#[derive(Debug, Default)]
struct Known {
    oneway: BTreeSet<String>,
    answering: BTreeSet<String>,
}

/// What happens to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoesOn,
    /// It is unknown whether its client waits for an answer.
    Closes,
}

impl Oneways {
    /// The maximum number of known methods of each kind: a processor may accept any name as a method's.
    const MOST: usize = 1024;

    /// Records what a call has revealed, and removes an answer that nobody waits for.
    pub(crate) fn judge(&self, call: &Call, outcome: &mut Outcome) -> Verdict {
        let mut known = self.0.borrow_mut();
        let shown = match outcome.shows {
            Shows::Oneway => Some(&mut known.oneway),
            Shows::Answers => Some(&mut known.answering),
            Shows::Nothing => None,
        };
        if let Some(shown) = shown
            && shown.len() < Self::MOST
            && !shown.contains(&call.method)
        {
            shown.insert(call.method.clone());
        }
        let has_answer = !outcome.answer.is_empty();
        if !has_answer || !matches!(outcome.end, End::Panicked) || known.answering.contains(&call.method) {
            return Verdict::GoesOn;
        }
        outcome.answer.clear();
        if known.oneway.contains(&call.method) { Verdict::GoesOn } else { Verdict::Closes }
    }
}

/// Returns whether there is no such method, or its arguments can't be read. Thrift's own crate shows errors of the
/// latter kind as they are.
fn is_before_any_method(error: &ApplicationError) -> bool {
    let unread = ["ProtocolError {", "TransportError {"].iter().any(|what| error.message.starts_with(what));
    error.kind == ApplicationErrorKind::UnknownMethod || (error.kind == ApplicationErrorKind::Unknown && unread)
}

fn failed(kind: ApplicationErrorKind, text: String) -> End {
    match kind {
        ApplicationErrorKind::UnknownMethod => End::UnknownMethod,
        _ => End::Failed(text),
    }
}

/// Translates an error of a processor for the client.
fn blame(error: thrift::Error) -> (ApplicationErrorKind, String) {
    match error {
        thrift::Error::Application(error) => (error.kind, error.message),
        // The arguments have other types than the method's.
        thrift::Error::Protocol(error) => (ApplicationErrorKind::ProtocolError, error.message),
        thrift::Error::Transport(error) => (ApplicationErrorKind::ProtocolError, error.message),
        thrift::Error::User(error) => (ApplicationErrorKind::InternalError, error.to_string()),
    }
}
