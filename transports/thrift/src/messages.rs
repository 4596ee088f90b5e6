//! Splits the bytes of a connection into messages.

use std::ops::Range;

use crate::walk::{Fault, Header, Kind, Limits, Protocol, Walked, Walker};

/// An empty buffer that has become larger than this is freed.
const KEPT: usize = 64 << 10;

/// The bytes that have come, and how far they are understood.
#[derive(Debug)]
pub(crate) struct Messages {
    limits: Limits,
    bytes: Vec<u8>,
    /// Where the next message, or its frame, begins.
    start: usize,
    /// Determined by the first byte of the connection.
    framed: Option<bool>,
    walker: Option<Walker>,
}

/// The next item.
#[derive(Debug)]
pub(crate) enum Next {
    Message(Message),
    /// There isn't enough yet.
    More,
    /// No more messages can come from this connection.
    Bad(Bad),
}

/// A whole message, which stays in the buffer until [`advance`](Messages::advance).
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) protocol: Protocol,
    pub(crate) framed: bool,
    pub(crate) header: Header,
    range: Range<usize>,
}

/// What is wrong, and what is known in spite of it.
#[derive(Debug)]
pub(crate) struct Bad {
    pub(crate) fault: Fault,
    pub(crate) framed: bool,
    /// None if it isn't known, or nobody waits for an answer.
    pub(crate) protocol: Option<Protocol>,
    /// The method and the sequence number, if these had come.
    pub(crate) call: Option<(String, i32)>,
}

impl Messages {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, bytes: Vec::new(), start: 0, framed: None, walker: None }
    }

    /// Returns whether nothing of a next message has come.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.len() == self.start
    }

    /// Appends bytes that have come.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next item, as far as is known.
    pub(crate) fn next(&mut self) -> Next {
        let bytes = &self.bytes[self.start..];
        let Some(first) = bytes.first() else { return Next::More };
        // The length of a frame is positive; the first byte of a message has the sign bit set.
        let framed = *self.framed.get_or_insert(first & 0x80 == 0);
        if !framed {
            return self.walk(self.limits, 0, None);
        }
        let Some((length, rest)) = bytes.split_first_chunk() else { return Next::More };
        let fault = match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(0) => Fault::Truncated,
            Ok(length) if length > self.limits.message => Fault::TooLarge("frame", length as u64),
            Ok(length) => return self.walk(Limits { message: length, ..self.limits }, 4, Some(length)),
            Err(_) => Fault::Negative("frame"),
        };
        let protocol = rest.first().copied().and_then(Protocol::of);
        Next::Bad(Bad { fault, framed, protocol, call: None })
    }

    fn walk(&mut self, limits: Limits, offset: usize, length: Option<usize>) -> Next {
        let framed = length.is_some();
        let bytes = &self.bytes[self.start + offset..];
        let bytes = &bytes[..length.unwrap_or(usize::MAX).min(bytes.len())];
        let Some(&first) = bytes.first() else { return Next::More };
        let Some(protocol) = Protocol::of(first) else {
            return Next::Bad(Bad { fault: Fault::NotThrift, framed, protocol: None, call: None });
        };
        let walker = self.walker.get_or_insert_with(|| Walker::new(protocol, limits));
        let fault = match (walker.walk(bytes), walker.header()) {
            (Walked::Whole(end), Some(header)) if length.is_none_or(|length| length == end) => {
                let start = self.start + offset;
                return Next::Message(Message { protocol, framed, header: header.clone(), range: start..start + end });
            }
            (Walked::Whole(_), _) => Fault::Trailing,
            // The frame is full and its message isn't complete.
            (Walked::Bad(Fault::TooLarge("message", _)), _) if framed => Fault::Truncated,
            (Walked::More, _) => return Next::More,
            (Walked::Bad(fault), _) => fault,
        };
        let header = walker.header();
        let call = header.map(|header| (name(bytes, header).into_owned(), header.sequence));
        let answered = header.is_none_or(|header| header.kind != Kind::Oneway);
        Next::Bad(Bad { fault, framed, protocol: answered.then_some(protocol), call })
    }

    /// Returns the bytes of a message, without the length of its frame.
    pub(crate) fn bytes(&self, message: &Message) -> &[u8] {
        &self.bytes[message.range.clone()]
    }

    /// Returns the method that the message is for.
    pub(crate) fn method(&self, message: &Message) -> String {
        name(self.bytes(message), &message.header).into_owned()
    }

    /// Removes a message that has been processed.
    pub(crate) fn advance(&mut self, message: &Message) {
        self.walker = None;
        self.start = message.range.end;
        if self.is_empty() {
            self.start = 0;
            self.bytes.clear();
            if self.bytes.capacity() > KEPT {
                self.bytes = Vec::new();
            }
        }
    }
}

fn name<'a>(bytes: &'a [u8], header: &Header) -> std::borrow::Cow<'a, str> {
    String::from_utf8_lossy(&bytes[header.name.clone()])
}

#[cfg(test)]
mod tests {
    use thrift::ApplicationErrorKind;

    use super::*;
    use crate::wire;

    const LIMITS: Limits = Limits { message: 1000, string: 100, container: 10, nesting: 8 };

    fn message(protocol: Protocol, framed: bool) -> Vec<u8> {
        let message = wire::exception(protocol, "m", 3, ApplicationErrorKind::Unknown, "x");
        wire::frame(message, framed).expect("it is short")
    }

    #[test]
    fn messages_are_told_apart_by_their_first_bytes_wherever_they_are_cut() {
        for framed in [true, false] {
            // Each in its own protocol, on one connection.
            let pair = [message(Protocol::Binary, framed), message(Protocol::Compact, framed)].concat();
            for cut in 1..pair.len() {
                let mut messages = Messages::new(LIMITS);
                let mut found = Vec::new();
                for piece in [&pair[..cut], &pair[cut..]] {
                    messages.push(piece);
                    while let Next::Message(message) = messages.next() {
                        assert_eq!((message.framed, message.header.sequence), (framed, 3));
                        assert_eq!(messages.method(&message), "m");
                        found.push(message.protocol);
                        messages.advance(&message);
                    }
                }
                assert_eq!(found, [Protocol::Binary, Protocol::Compact]);
                assert!(messages.is_empty());
            }
        }
    }

    fn bad(bytes: &[u8]) -> Bad {
        let mut messages = Messages::new(LIMITS);
        messages.push(bytes);
        match messages.next() {
            Next::Bad(bad) => bad,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_frame_and_its_message_end_together() {
        let whole = message(Protocol::Binary, true);
        let frame = |length: usize, rest: &[u8]| [&(length as u32).to_be_bytes()[..], rest].concat();
        let body = &whole[4..];
        let short = bad(&frame(body.len() - 1, body));
        assert_eq!((short.fault, short.call), (Fault::Truncated, Some(("m".to_owned(), 3))));
        assert_eq!(bad(&frame(body.len() + 1, &[body, b"x"].concat())).fault, Fault::Trailing);
        let long = bad(&frame(1001, body));
        assert_eq!((long.fault, long.protocol), (Fault::TooLarge("frame", 1001), Some(Protocol::Binary)));
        assert_eq!(bad(&frame(0, b"")).fault, Fault::Truncated);
        assert_eq!(bad(b"GET / HTTP/1.1\r\n").fault, Fault::TooLarge("frame", u32::from_be_bytes(*b"GET ").into()));
        assert_eq!(bad(b"\xff\xff\xff\xff\x80").fault, Fault::NotThrift);
        assert_eq!(bad(b"\0\0\0\x05hello").fault, Fault::NotThrift);
        // Only later on.
        let mut messages = Messages::new(LIMITS);
        messages.push(&[&whole[..], b"\xff\xff\xff\xfe"].concat());
        let Next::Message(message) = messages.next() else { panic!("the first is good") };
        messages.advance(&message);
        assert!(matches!(messages.next(), Next::Bad(Bad { fault: Fault::Negative("frame"), .. })));
    }

    #[test]
    fn a_buffer_that_has_grown_is_given_back() {
        let mut messages = Messages::new(Limits { message: 1 << 20, string: 1 << 20, ..LIMITS });
        let long = wire::exception(Protocol::Compact, "m", 3, ApplicationErrorKind::Unknown, "x".repeat(1 << 19));
        messages.push(&long);
        let Next::Message(message) = messages.next() else { panic!("it is whole") };
        messages.advance(&message);
        assert_eq!(messages.bytes.capacity(), 0);
    }
}
