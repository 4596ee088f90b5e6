//! The thrift crate's protocols, over memory.

use std::io::{Read, Write};

use interloop::net::Address;
use thrift::{
    ApplicationError, ApplicationErrorKind, TConfiguration,
    protocol::{
        TBinaryInputProtocol, TBinaryOutputProtocol, TCompactInputProtocol, TCompactOutputProtocol, TInputProtocol,
        TMessageIdentifier, TMessageType, TOutputProtocol,
    },
};

#[cfg(feature = "http")]
use crate::http_client::Place;
use crate::{
    settings::{MAX_CONTAINER_SIZE, MAX_FRAME_SIZE, MAX_NESTING},
    walk::{Limits, Protocol},
};

/// The protocol that a client's generated code reads answers from.
pub type Input = Box<dyn TInputProtocol + Send>;
/// The protocol that a client's generated code writes calls to.
pub type Output = Box<dyn TOutputProtocol + Send>;

/// How a client speaks: framed and binary, unless told otherwise. A server understands every format except HTTP, which
/// is served by a
#[cfg_attr(feature = "http", doc = "[`ThriftRoute`](crate::ThriftRoute).")]
#[cfg_attr(not(feature = "http"), doc = "`ThriftRoute` (feature `http`).")]
#[derive(Clone, Debug)]
pub struct Wire {
    pub(crate) carrier: Carrier,
    pub(crate) protocol: Protocol,
    pub(crate) limits: Limits,
}

/// How messages are carried.
#[derive(Clone, Debug)]
pub(crate) enum Carrier {
    Framed,
    Buffered,
    #[cfg(feature = "http")]
    Http(Place),
}

impl Wire {
    /// Puts the length before each message: Thrift's framed transport.
    pub fn framed() -> Self {
        let limits = Limits {
            message: MAX_FRAME_SIZE,
            string: MAX_FRAME_SIZE,
            container: MAX_CONTAINER_SIZE,
            nesting: MAX_NESTING,
        };
        Self { carrier: Carrier::Framed, protocol: Protocol::Binary, limits }
    }

    /// Sends one message after the other: Thrift's buffered transport.
    pub fn buffered() -> Self {
        Self { carrier: Carrier::Buffered, ..Self::framed() }
    }

    /// Speaks HTTP/1.1, at this path: each call is posted as `application/x-thrift`, and its answer is the body of the
    /// response. A status other than 200 is an error, which names it. A oneway call waits only for the 200.
    ///
    /// The connection is kept between calls, if the server keeps it too.
    ///
    /// ```
    /// use interloop_thrift::{Protocol, Wire};
    ///
    /// let wire = Wire::http("/thrift").protocol(Protocol::Compact);
    /// ```
    #[cfg(feature = "http")]
    pub fn http(path: impl Into<String>) -> Self {
        Self { carrier: Carrier::Http(Place::new(path.into())), ..Self::framed() }
    }

    /// Sets the host that HTTP requests name: by default the name for TLS, or the address with its port. It has no
    /// effect without HTTP.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn host(self, host: impl Into<String>) -> Self {
        match self.carrier {
            Carrier::Http(place) => Self { carrier: Carrier::Http(place.host(host.into())), ..self },
            carrier => Self { carrier, ..self },
        }
    }

    /// Sets the host that HTTP requests name, from this address and its TLS name, unless another was set.
    pub(crate) fn to(self, address: &Address, name: Option<&str>) -> Self {
        match self.carrier {
            #[cfg(feature = "http")]
            Carrier::Http(place) => {
                let place = place.or_host(|| match (address, name) {
                    (Address::Tcp(address), None) => address.to_string(),
                    (Address::Tcp(address), Some(name)) if name.contains(':') => format!("[{name}]:{}", address.port()),
                    (Address::Tcp(address), Some(name)) => format!("{name}:{}", address.port()),
                    (_, name) => name.unwrap_or("localhost").to_owned(),
                });
                Self { carrier: Carrier::Http(place), ..self }
            }
            carrier => {
                let _ = (address, name);
                Self { carrier, ..self }
            }
        }
    }

    /// Uses this protocol.
    #[must_use]
    pub fn protocol(self, protocol: Protocol) -> Self {
        Self { protocol, ..self }
    }

    /// Sets the maximum length of an answer, in bytes: 16 MiB by default. A longer one is an error.
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

/// Reads a message of this length. Even if a value has another type than expected, its sizes are within the limits and
/// the message: no decoder takes more memory than has come.
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

/// Returns whether a call that a client has written wants no answer.
#[cfg(feature = "http")]
pub(crate) fn is_oneway(protocol: Protocol, call: &[u8]) -> bool {
    let kind = match protocol {
        Protocol::Binary => call.get(3).copied(),
        Protocol::Compact => call.get(1).map(|byte| byte >> 5),
    };
    kind == Some(u8::from(TMessageType::OneWay))
}

/// Writes a message.
pub(crate) fn output<'a>(protocol: Protocol, to: impl Write + Send + 'a) -> Box<dyn TOutputProtocol + Send + 'a> {
    let config = TConfiguration::no_limits();
    match protocol {
        Protocol::Binary => Box::new(TBinaryOutputProtocol::with_config(to, true, config)),
        Protocol::Compact => Box::new(TCompactOutputProtocol::with_config(to, config)),
    }
}

/// Returns the method of a call, without the service that may precede it: answers don't name that.
pub(crate) fn method(name: &str) -> &str {
    name.split_once(':').map_or(name, |(_, method)| method)
}

/// Returns the message that a call failed. A client of one of several services names the service in its calls, but
/// expects only the method's name in the answer.
pub(crate) fn exception(
    protocol: Protocol,
    method: &str,
    sequence: i32,
    kind: ApplicationErrorKind,
    text: impl Into<String>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let method = self::method(method);
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

/// Reads an exception message.
pub(crate) fn read_exception(protocol: Protocol, bytes: &[u8], limits: &Limits) -> Option<ApplicationError> {
    let mut from = input(protocol, bytes, bytes.len(), limits);
    from.read_message_begin().ok()?;
    thrift::Error::read_application_error_from_in_protocol(&mut *from).ok()
}

/// Puts the length before a message, if it is framed.
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
