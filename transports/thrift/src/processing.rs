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

use interloop::task::panic_message;
use thrift::{ApplicationError, ApplicationErrorKind, server::TProcessor};

use crate::{
    walk::{self, Kind, Limits, Protocol},
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
    pub(crate) shows: Shows,
}

/// What a call has shown of its method.
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
    Panicked(String),
}

impl Call {
    /// The answer that it was in vain.
    pub(crate) fn refuse(&self, kind: ApplicationErrorKind, text: impl Into<String>) -> Vec<u8> {
        wire::exception(self.protocol, &self.method, self.sequence, kind, text)
    }

    /// Has it answered.
    pub(crate) fn process(&self, processor: &dyn TProcessor, bytes: &[u8], limits: &Limits) -> Outcome {
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
            // A oneway method, also one that was called like any other, as some clients do: they wait for no answer,
            // and would take it for that of their next call.
            Ok(Ok(())) if answer.is_empty() => {
                shows = Shows::Oneway;
                (answer, End::Returned)
            }
            Ok(Ok(())) => {
                shows = Shows::Answers;
                self.judge(answer, limits)
            }
            // Of a oneway method, or of none.
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
                let text = panic_message(panic);
                (self.refuse(ApplicationErrorKind::InternalError, "the handler panicked"), End::Panicked(text))
            }
        };
        if self.oneway {
            // Nobody reads it: it would be taken for the answer of the next call.
            answer = Vec::new();
        }
        Outcome { answer, end, shows }
    }

    /// Looks at what was answered.
    fn judge(&self, answer: Vec<u8>, limits: &Limits) -> (Vec<u8>, End) {
        let Some(header) = walk::header(self.protocol, &answer) else {
            let none = self.refuse(ApplicationErrorKind::InternalError, "the answer is none");
            return (none, End::Failed("the answer can't be read".to_owned()));
        };
        let end = match header.kind {
            // The field 0 is the result, all others are exceptions.
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

/// Where an answer is written.
///
/// What Thrift's compiler makes has each method with an answer write its exceptions itself. Those of oneway methods are
/// written by what calls them, which says nothing of that: an answer that their clients take for that of their next
/// call, if they have called like any other. So an exception fails to be sent at first: a method then fails with that,
/// and what has called it writes again. Else it was no method's. (A oneway method that panics, called like any other,
/// can't be told from others by that: see [`Oneways`].)
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

/// The methods that have shown whether they are oneway, which decides about one that panics: if it is oneway, it isn't
/// answered, however it is called. If it is not, its client waits for the answer. Until it has shown what it is, the
/// connection is closed without an answer: the client of a oneway method would take it for that of its next call.
#[derive(Debug, Default)]
pub(crate) struct Oneways(RefCell<Known>);

#[derive(Debug, Default)]
struct Known {
    oneway: BTreeSet<String>,
    answering: BTreeSet<String>,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoesOn,
    /// Nobody knows whether its client waits for an answer.
    Closes,
}

impl Oneways {
    /// How many of each are known at most: a processor may take any name for a method's.
    const MOST: usize = 1024;

    /// Takes note of what became of a call, and takes the answer away that nobody waits for.
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
        if !has_answer || !matches!(outcome.end, End::Panicked(_)) || known.answering.contains(&call.method) {
            return Verdict::GoesOn;
        }
        outcome.answer.clear();
        if known.oneway.contains(&call.method) { Verdict::GoesOn } else { Verdict::Closes }
    }
}

/// Whether there is no such method, or its arguments can't be read. Thrift's own crate shows errors of the latter kind
/// as they are.
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
