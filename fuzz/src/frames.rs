//! The reader of frames: it must find the same messages wherever what comes is cut, and keep no more than what has come.

use crate::{
    LIMITS,
    messages::{Messages, Next},
};

/// What is found in what has come.
#[derive(Debug, PartialEq)]
enum Found {
    Message { protocol: crate::walk::Protocol, method: String, sequence: i32, bytes: Vec<u8> },
    Bad,
}

/// The first byte says in pieces of what size the rest comes.
///
/// # Panics
///
/// If something is wrong.
pub fn frames(input: &[u8]) {
    let Some((&size, stream)) = input.split_first() else { return };
    let at_once = read([stream].into_iter());
    let cut = read(stream.chunks(usize::from(size).max(1)));
    assert_eq!(at_once, cut, "it depends on where it is cut");
}

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Found> {
    let mut messages = Messages::new(LIMITS);
    let mut found = Vec::new();
    for piece in pieces {
        messages.push(piece);
        loop {
            match messages.next() {
                Next::Message(message) => {
                    let bytes = messages.bytes(&message).to_vec();
                    assert!(!bytes.is_empty() && bytes.len() <= LIMITS.message, "{} bytes", bytes.len());
                    let method = messages.method(&message);
                    let (protocol, sequence) = (message.protocol, message.header.sequence);
                    found.push(Found::Message { protocol, method, sequence, bytes });
                    messages.advance(&message);
                }
                Next::More => break,
                Next::Bad(bad) => {
                    // Said to the client, and to the log.
                    assert!(!bad.fault.to_string().is_empty());
                    found.push(Found::Bad);
                    return found;
                }
            }
        }
    }
    found
}
