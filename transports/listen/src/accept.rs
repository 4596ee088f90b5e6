//! Accepting: whose turn it is, and what may go wrong.

use std::{io, task::Poll, time::Duration};

/// How many connections can wait in the system's queue of a listener that the core has bound: its backlog, and what Linux adds.
pub const QUEUED: usize = 4097;

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Whether a connection that could not be accepted was at fault, and not the system.
pub fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, PermissionDenied};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | PermissionDenied)
}

/// Polls whichever listener has a connection; the one that had goes to the end of the line.
pub fn poll_in_turn<T, R>(listeners: &mut [T], mut poll: impl FnMut(&mut T) -> Poll<R>) -> Poll<R> {
    for index in 0..listeners.len() {
        if let Poll::Ready(accepted) = poll(&mut listeners[index]) {
            listeners[index..].rotate_left(1);
            return Poll::Ready(accepted);
        }
    }
    Poll::Pending
}

/// The pauses of a server that can't accept connections, of which it tells once.
#[derive(Debug, Default)]
pub struct Pauses(Option<Duration>);

impl Pauses {
    /// A connection was accepted.
    pub fn are_over(&mut self) {
        self.0 = None;
    }

    /// None could be: how long to wait before the next attempt, from 50 ms to 1 s; None where the client changed its mind.
    pub fn after(&mut self, error: &io::Error, target: &str) -> Option<Duration> {
        if is_of_one_client(error) {
            return None;
        }
        // No descriptors, no memory: it won't be better at once.
        if self.0.is_none() {
            log::error!(target: target, "can't accept connections, trying again: {error}");
        }
        let pause = self.0.map_or(SHORTEST_PAUSE, |pause| (2 * pause).min(LONGEST_PAUSE));
        self.0 = Some(pause);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_had_a_connection_waits_for_the_others() {
        let mut line = ["a", "b", "c"];
        assert_eq!(poll_in_turn(&mut line, |name| Poll::Ready(*name)), Poll::Ready("a"));
        assert_eq!(poll_in_turn(&mut line, |name| Poll::Ready(*name)), Poll::Ready("b"));
        assert_eq!(line, ["c", "a", "b"]);
        assert_eq!(poll_in_turn(&mut line, |_| Poll::<()>::Pending), Poll::Pending);
    }

    #[test]
    fn pauses_grow_until_a_connection_is_accepted() {
        let (mut pauses, full) = (Pauses::default(), io::Error::from(io::ErrorKind::OutOfMemory));
        let first: Vec<_> = (0..7).filter_map(|_| pauses.after(&full, "test")).map(|pause| pause.as_millis()).collect();
        assert_eq!(first, [50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(pauses.after(&io::ErrorKind::ConnectionReset.into(), "test"), None);
        pauses.are_over();
        assert_eq!(pauses.after(&full, "test"), Some(SHORTEST_PAUSE));
    }
}
