//! Accepts connections: in what order, and what happens when that fails.

use std::{
    io,
    os::unix::net::UnixDatagram,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

/// How many connections can wait in the system's queue of a listener that the core has bound: its backlog and the one
/// that Linux adds.
pub const QUEUED: usize = 4097;

/// How long a server waits after it failed to accept connections.
const REST: Duration = Duration::from_millis(100);
/// How long such a failure isn't logged again, even if some connections are accepted meanwhile.
const QUIET: Duration = Duration::from_secs(60);

/// Returns whether the error concerns the one connection that could not be accepted, and not the system.
pub fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, PermissionDenied};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | PermissionDenied)
}

/// Polls the listeners until one has a connection; that one moves to the end of the line.
pub fn poll_in_turn<T, R>(listeners: &mut [T], mut poll: impl FnMut(&mut T) -> Poll<R>) -> Poll<R> {
    for index in 0..listeners.len() {
        if let Poll::Ready(accepted) = poll(&mut listeners[index]) {
            listeners[index..].rotate_left(1);
            return Poll::Ready(accepted);
        }
    }
    Poll::Pending
}

/// The pauses of a server that can't accept connections, which are logged once.
#[derive(Debug, Default)]
pub struct Rests {
    /// The time of the last failure.
    failed: Option<Instant>,
}

impl Rests {
    /// Returns how long to wait before the next attempt after this error; None if only the client was at fault.
    pub fn after(&mut self, error: &io::Error, target: &str) -> Option<Duration> {
        if is_of_one_client(error) {
            return None;
        }
        // No descriptors or no memory: this won't improve at once.
        let now = Instant::now();
        if self.failed.replace(now).is_none_or(|last| now.saturating_duration_since(last) > QUIET) {
            log::error!(target: target, "can't accept connections, trying again: {error}");
        }
        Some(REST)
    }
}

/// A descriptor kept in reserve, so that one connection can still be accepted when no others are left. Clones share it.
#[derive(Clone, Debug)]
pub struct Spare(Arc<Mutex<Option<UnixDatagram>>>);

impl Spare {
    /// Opens the descriptor.
    ///
    /// # Errors
    ///
    /// Returns the system's error if there is no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new(Some(Self::open()?)))))
    }

    /// Any kind of descriptor will do that needs nothing else.
    fn open() -> io::Result<UnixDatagram> {
        UnixDatagram::unbound()
    }

    /// Closes the descriptor if it is there and the error says that there are no others: one connection can then be
    /// accepted. Returns whether it did.
    pub fn lend(&self, error: &io::Error) -> bool {
        use nix::errno::Errno;
        let none = [Errno::EMFILE, Errno::ENFILE].map(|errno| Some(errno as i32)).contains(&error.raw_os_error());
        none && self.0.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    /// Opens the descriptor again, if the system has one.
    pub fn restore(&self) {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.is_none() {
            *spare = Self::open().ok();
        }
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
    fn a_server_without_descriptors_rests_and_whose_client_has_left_does_not() {
        let (mut rests, full) = (Rests::default(), io::Error::from(io::ErrorKind::OutOfMemory));
        assert_eq!(rests.after(&full, "test"), Some(REST));
        assert_eq!(rests.after(&io::ErrorKind::ConnectionReset.into(), "test"), None);
        assert_eq!(rests.after(&full, "test"), Some(REST));
    }

    #[test]
    fn a_spare_descriptor_is_lent_once_and_only_where_there_is_none() {
        let none = io::Error::from_raw_os_error(nix::errno::Errno::EMFILE as i32);
        let spare = Spare::new().expect("there is one");
        assert!(!spare.lend(&io::ErrorKind::OutOfMemory.into()));
        assert!(spare.lend(&none));
        assert!(!spare.lend(&none));
        spare.restore();
        assert!(spare.lend(&none));
    }
}
