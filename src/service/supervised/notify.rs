//! The datagrams of sd_notify(3).

use std::{
    collections::VecDeque,
    io,
    os::unix::net::{SocketAddr, UnixDatagram},
    time::{Duration, Instant},
};

/// The first pause before a full socket is tried again; the pauses double.
const FIRST: Duration = Duration::from_millis(50);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(1);
/// How long messages wait for a socket that isn't there: a manager may bind it after it has started the service.
const ABSENT: Duration = Duration::from_secs(10);
/// How many messages wait.
const MOST: usize = 32;

/// What a message is about. While it waits for a full socket, a later one of its kind replaces it, unless it is an
/// event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Event,
    Status,
    Deadline,
    SignOfLife,
}

/// Sends messages to a manager. It never waits: what can't be sent now is kept, and tried again later.
#[derive(Debug)]
pub(super) struct Notifier {
    socket: UnixDatagram,
    to: SocketAddr,
    unsent: VecDeque<(Kind, String)>,
    /// When to try again, and the pause before.
    again: Option<(Instant, Duration)>,
    /// Since when the socket isn't there.
    absent: Option<Instant>,
    /// Whether the present trouble was told.
    told: bool,
}

/// The result of an attempt to send, if it is worth a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Begins(String),
    Ends,
}

impl Notifier {
    pub(super) fn new(to: SocketAddr) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, to, unsent: VecDeque::new(), again: None, absent: None, told: false })
    }

    /// Sends this after all that waits.
    pub(super) fn send(&mut self, kind: Kind, text: String) -> Option<Trouble> {
        if kind != Kind::Event {
            self.unsent.retain(|(waiting, _)| *waiting != kind);
        }
        if self.unsent.len() == MOST {
            // The first and the last events are those that matter.
            self.unsent.remove(MOST / 2);
        }
        self.unsent.push_back((kind, text));
        if self.again.is_some_and(|(at, _)| at > Instant::now()) {
            return None;
        }
        self.flush()
    }

    /// Tries to send all that waits.
    pub(super) fn flush(&mut self) -> Option<Trouble> {
        let mut trouble = None;
        while let Some((_, text)) = self.unsent.front() {
            match self.socket.send_to_addr(text.as_bytes(), &self.to) {
                Ok(_) => {
                    self.unsent.pop_front();
                    (self.again, self.absent) = (None, None);
                    if std::mem::take(&mut self.told) {
                        trouble = Some(Trouble::Ends);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let full = is_full(&error);
                    let since = *self.absent.get_or_insert_with(Instant::now);
                    if full {
                        self.absent = None;
                    } else if since.elapsed() >= ABSENT {
                        // Nobody is there: the thread goes back to sleep.
                        self.unsent.clear();
                        self.again = None;
                        return trouble;
                    }
                    let pause = self.again.map_or(FIRST, |(_, pause)| (pause * 2).min(LONGEST));
                    self.again = Some((Instant::now() + pause, pause));
                    let why = if full { "it is full".to_owned() } else { error.to_string() };
                    return self.tell(format!("{why}: what it was to be told waits")).or(trouble);
                }
            }
        }
        trouble
    }

    fn tell(&mut self, why: String) -> Option<Trouble> {
        (!std::mem::replace(&mut self.told, true)).then_some(Trouble::Begins(why))
    }

    /// Returns when to try again, if anything waits.
    pub(super) fn again(&self) -> Option<Instant> {
        self.again.map(|(at, _)| at)
    }
}

fn is_full(error: &io::Error) -> bool {
    // Too little memory for the kernel's copy is over soon, too.
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    struct Receiver {
        socket: UnixDatagram,
        _folder: tempfile::TempDir,
        address: SocketAddr,
    }

    impl Receiver {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("notify");
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_nonblocking(true).unwrap();
            Self { socket, _folder: folder, address: SocketAddr::from_pathname(path).unwrap() }
        }

        fn take(&self) -> Option<String> {
            let mut bytes = [0; 4096];
            let length = self.socket.recv(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
        }
    }

    #[test]
    fn a_full_socket_is_told_once_and_gets_its_events_in_order_later() {
        let receiver = Receiver::new();
        let mut notifier = Notifier::new(receiver.address.clone()).unwrap();
        let mut filled = 0;
        let trouble = loop {
            if let Some(trouble) = notifier.send(Kind::Event, format!("fill {filled}")) {
                break trouble;
            }
            filled += 1;
            assert!(filled < 100_000, "it never gets full");
        };
        assert!(matches!(trouble, Trouble::Begins(why) if why.contains("full")));
        assert!(notifier.again().is_some());
        for status in 0..1000 {
            assert_eq!(notifier.send(Kind::Status, format!("status {status}")), None);
        }
        assert_eq!(notifier.send(Kind::Event, "READY=1".to_owned()), None);
        assert_eq!(notifier.flush(), None, "told already");
        let mut seen = Vec::new();
        while let Some(text) = receiver.take() {
            seen.push(text);
        }
        assert_eq!(notifier.flush(), Some(Trouble::Ends));
        assert!(notifier.again().is_none());
        while let Some(text) = receiver.take() {
            seen.push(text);
        }
        let mut expected = (0..=filled).map(|number| format!("fill {number}")).collect::<Vec<_>>();
        expected.extend(["status 999".to_owned(), "READY=1".to_owned()]);
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_waits_is_bounded() {
        let receiver = Receiver::new();
        let mut notifier = Notifier::new(receiver.address.clone()).unwrap();
        while notifier.send(Kind::Event, "fill".to_owned()).is_none() {}
        (0..1000).for_each(|number| drop(notifier.send(Kind::Event, format!("event {number}"))));
        assert!(notifier.unsent.len() <= MOST);
        assert_eq!(notifier.unsent.back().unwrap().1, "event 999");
    }

    #[test]
    fn a_socket_that_is_not_there_is_told_once_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let mut notifier = Notifier::new(SocketAddr::from_pathname(&path).unwrap()).unwrap();
        assert!(matches!(notifier.send(Kind::Event, "a".to_owned()), Some(Trouble::Begins(_))));
        assert_eq!(notifier.send(Kind::Event, "b".to_owned()), None);
        assert!(notifier.again().is_some());
        let socket = UnixDatagram::bind(&path).unwrap();
        assert_eq!(notifier.flush(), Some(Trouble::Ends));
        let mut bytes = [0; 16];
        for sent in [b"a", b"b"] {
            assert_eq!(socket.recv(&mut bytes).map(|length| bytes[..length].to_vec()).unwrap(), sent);
        }
        drop(socket);
        assert!(matches!(notifier.send(Kind::Event, "c".to_owned()), Some(Trouble::Begins(_))), "refused");
        // After a while it sleeps.
        notifier.absent = Instant::now().checked_sub(ABSENT);
        assert_eq!(notifier.flush(), None);
        assert!(notifier.again().is_none() && notifier.unsent.is_empty());
    }
}
