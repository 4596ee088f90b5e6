//! Follows the messages of a gRPC stream just enough to know whether one has begun: between two of them a client may be
//! silent for as long as it likes.

use http::{HeaderMap, header};

/// The prefix of each message: a flag and its length.
const PREFIX: usize = 5;

/// The position in a stream of messages.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    prefix: [u8; PREFIX],
    /// How many bytes of the prefix have come.
    read: usize,
    /// How many bytes of the message are missing.
    rest: usize,
}

impl Messages {
    /// Returns None if these headers aren't of gRPC.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let kind = headers.get(header::CONTENT_TYPE)?.as_bytes();
        kind.starts_with(b"application/grpc").then(Self::default)
    }

    pub(crate) fn came(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let taken = self.rest.min(bytes.len());
                (self.rest, bytes) = (self.rest - taken, &bytes[taken..]);
                continue;
            }
            self.prefix[self.read] = bytes[0];
            (self.read, bytes) = (self.read + 1, &bytes[1..]);
            if self.read == PREFIX {
                let [_, length @ ..] = self.prefix;
                (self.read, self.rest) = (0, u32::from_be_bytes(length) as usize);
            }
        }
    }

    /// Returns whether every message that has begun is complete.
    pub(crate) fn are_whole(&self) -> bool {
        self.read == 0 && self.rest == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_whole_between_two_of_them() {
        let stream = [&[0, 0, 0, 0, 3][..], b"abc", &[0; 5], &[1, 0, 0, 1, 0], &[7; 256]].concat();
        let whole = [0, 8, 13, stream.len()];
        for step in [1, 2, 7, stream.len()] {
            let mut messages = Messages::default();
            let mut sent = 0;
            for piece in stream.chunks(step) {
                messages.came(piece);
                sent += piece.len();
                assert_eq!(messages.are_whole(), whole.contains(&sent), "{sent}");
            }
        }
    }

    #[test]
    fn only_grpc_has_messages() {
        let of = |kind: &'static str| {
            Messages::of(&HeaderMap::from_iter([(header::CONTENT_TYPE, http::HeaderValue::from_static(kind))]))
                .is_some()
        };
        assert!(of("application/grpc") && of("application/grpc+proto"));
        assert!(!of("application/json") && Messages::of(&HeaderMap::new()).is_none());
    }
}
