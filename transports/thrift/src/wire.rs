//! The thrift crate's protocols, over memory.

use std::io::{Read, Write};

use thrift::{
    ApplicationError, ApplicationErrorKind, TConfiguration,
    protocol::{
        TBinaryInputProtocol, TBinaryOutputProtocol, TCompactInputProtocol, TCompactOutputProtocol, TInputProtocol,
        TMessageIdentifier, TMessageType, TOutputProtocol,
    },
};

use crate::{
    settings::{MAX_CONTAINER_SIZE, MAX_FRAME_SIZE, MAX_NESTING},
    skim::{Limits, Protocol},
};

/// What a client's generated code reads answers by.
pub type Input = Box<dyn TInputProtocol + Send>;
/// What a client's generated code writes calls by.
pub type Output = Box<dyn TOutputProtocol + Send>;

/// How a client speaks: framed and binary, unless it is told otherwise. A server understands all of it.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    pub(crate) framed: bool,
    pub(crate) protocol: Protocol,
    pub(crate) limits: Limits,
}

impl Wire {
    /// With the length before each message: Thrift's framed transport.
    pub fn framed() -> Self {
        let limits = Limits {
            message: MAX_FRAME_SIZE,
            string: MAX_FRAME_SIZE,
            container: MAX_CONTAINER_SIZE,
            nesting: MAX_NESTING,
        };
        Self { framed: true, protocol: Protocol::Binary, limits }
    }

    /// One message after the other: Thrift's buffered transport.
    pub fn buffered() -> Self {
        Self { framed: false, ..Self::framed() }
    }

    /// By this protocol.
    #[must_use]
    pub fn protocol(self, protocol: Protocol) -> Self {
        Self { protocol, ..self }
    }

    /// How long an answer may be, in bytes: 16 MiB by default. A longer one is an error.
    #[must_use]
    pub fn max_frame_size(self, bytes: usize) -> Self {
        Self { limits: Limits { message: bytes, string: bytes, ..self.limits }, ..self }
    }
}

impl Default for Wire {
    fn default() -> Self {
        Self::framed()
    }
}

/// Reads a message of so many bytes. What a type that is not the expected one makes of a size is within the limits too, and within the message: no decoder
/// takes more memory than has come.
pub(crate) fn input<'a>(
    protocol: Protocol,
    from: impl Read + Send + 'a,
    length: usize,
    limits: &Limits,
) -> Box<dyn TInputProtocol + Send + 'a> {
    let config = TConfiguration::builder()
        .max_message_size(Some(length))
        .max_frame_size(Some(length))
        .max_recursion_depth(Some(limits.nesting))
        .max_container_size(Some(limits.container.min(length)))
        .max_string_size(Some(limits.string.min(length)))
        .build()
        .expect("a frame is no longer than its message");
    match protocol {
        Protocol::Binary => Box::new(TBinaryInputProtocol::with_config(from, true, config)),
        Protocol::Compact => Box::new(TCompactInputProtocol::with_config(from, config)),
    }
}

/// Writes a message.
pub(crate) fn output<'a>(protocol: Protocol, to: impl Write + Send + 'a) -> Box<dyn TOutputProtocol + Send + 'a> {
    let config = TConfiguration::no_limits();
    match protocol {
        Protocol::Binary => Box::new(TBinaryOutputProtocol::with_config(to, true, config)),
        Protocol::Compact => Box::new(TCompactOutputProtocol::with_config(to, config)),
    }
}

/// The message that a call was in vain. A client of one of several services, which it names in its calls, expects the method's name alone.
pub(crate) fn exception(
    protocol: Protocol,
    method: &str,
    sequence: i32,
    kind: ApplicationErrorKind,
    text: impl Into<String>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let method = method.split_once(':').map_or(method, |(_, method)| method);
    let written = write_exception(
        &mut *output(protocol, &mut bytes),
        &TMessageIdentifier::new(method, TMessageType::Exception, sequence),
        &ApplicationError::new(kind, text),
    );
    debug_assert!(written.is_ok(), "memory takes all");
    bytes
}

fn write_exception(
    to: &mut dyn TOutputProtocol,
    begin: &TMessageIdentifier,
    error: &ApplicationError,
) -> thrift::Result<()> {
    to.write_message_begin(begin)?;
    thrift::Error::write_application_error_to_out_protocol(error, to)?;
    to.write_message_end()
}

/// What an exception message says.
pub(crate) fn read_exception(protocol: Protocol, bytes: &[u8], limits: &Limits) -> Option<ApplicationError> {
    let mut from = input(protocol, bytes, bytes.len(), limits);
    from.read_message_begin().ok()?;
    thrift::Error::read_application_error_from_in_protocol(&mut *from).ok()
}

/// Puts the length before a message, if it goes out framed.
pub(crate) fn frame(message: Vec<u8>, framed: bool) -> Option<Vec<u8>> {
    if !framed {
        return Some(message);
    }
    let length = i32::try_from(message.len()).ok()?;
    let mut bytes = Vec::with_capacity(4 + message.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&message);
    Some(bytes)
}
