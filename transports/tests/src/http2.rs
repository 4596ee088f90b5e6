//! HTTP/2 by hand: a client that does what no library would.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crate::PATIENCE;

/// The kind of a frame with data.
pub const DATA: u8 = 0;
/// The head of a request or a response.
pub const HEADERS: u8 = 1;
/// The early end of a stream.
pub const RST_STREAM: u8 = 3;
/// What one side asks of the other.
pub const SETTINGS: u8 = 4;
/// A ping, which is answered at once.
pub const PING: u8 = 6;
/// The announcement that no further stream begins.
pub const GOAWAY: u8 = 7;
/// The announcement of more space.
pub const WINDOW_UPDATE: u8 = 8;
/// The continuation of a head.
pub const CONTINUATION: u8 = 9;

/// The flag that a settings or ping frame is an answer, or that another frame ends its stream.
pub const LAST: u8 = 1;
/// The flag that a head is complete.
pub const WHOLE: u8 = 4;

/// The setting for how much may be sent on a new stream.
pub const INITIAL_WINDOW: u16 = 4;

/// The beginning of a client's connection.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Returns a frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Returns the block of a head, without compression.
pub fn block(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![0x86, 0x41, 1, b'x'];
    for (name, value) in [(":method", method), (":path", path)].iter().chain(more) {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// Everything that has come on a connection so far.
#[derive(Clone, Default)]
pub struct Seen {
    /// Streams that were reset, with the error code.
    pub reset: Vec<(u32, u32)>,
    /// Streams that have ended normally.
    pub ended: Vec<u32>,
    /// Bytes of data, by stream.
    pub data: std::collections::BTreeMap<u32, usize>,
    /// The number of pings received.
    pub pings: usize,
    /// The maximum number of concurrent streams, if it was announced.
    pub most_streams: Option<u32>,
    /// The contents of the other side's GOAWAY frames: the last stream and the error code.
    pub goaways: Vec<(u32, u32)>,
    /// Whether the connection is closed.
    pub closed: bool,
}

impl Seen {
    /// Returns the number of bytes that came on this stream.
    pub fn data_of(&self, stream: u32) -> usize {
        self.data.get(&stream).copied().unwrap_or(0)
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = |streams: &[u32]| format!("{} {:?}", streams.len(), &streams[..streams.len().min(8)]);
        let reset = self.reset.iter().map(|reset| reset.0).collect::<Vec<_>>();
        f.debug_struct("Seen")
            .field("reset", &some(&reset))
            .field("ended", &some(&self.ended))
            .field("bytes", &self.data.values().sum::<usize>())
            .field("goaways", &self.goaways)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

/// What a client does by itself.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Whether it answers pings.
    pub pong: bool,
    /// Whether it opens the window again for data it has received, on the connection and on all streams but the first.
    pub credit: bool,
    /// Whether it reads at all.
    pub read: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self { pong: true, credit: false, read: true }
    }
}

/// A client. A thread of its own reads, answers settings, and follows the client's habits.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
    /// Held during a write, which must be whole.
    writing: Mutex<()>,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Connects, and sends these settings.
    ///
    /// # Panics
    ///
    /// Panics if nobody listens.
    pub fn connect(address: SocketAddr, settings: &[(u16, u32)], habits: Habits) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("it is a socket");
        // A server that takes nothing must not hold up a test for ever.
        stream.set_write_timeout(Some(PATIENCE)).expect("it is a socket");
        let this = Self { stream, shared: Arc::default() };
        let settings: Vec<u8> =
            settings.iter().flat_map(|(id, value)| id.to_be_bytes().into_iter().chain(value.to_be_bytes())).collect();
        this.send(&[PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat());
        if habits.read {
            let (stream, shared) = (this.stream.try_clone().expect("a descriptor"), this.shared.clone());
            thread::spawn(move || {
                while let Ok(true) = shared.read(&stream, habits) {}
                shared.seen().closed = true;
                shared.changed.notify_all();
            });
        }
        this
    }

    /// Writes bytes.
    ///
    /// # Panics
    ///
    /// Panics if the connection is closed.
    pub fn send(&self, bytes: &[u8]) {
        self.try_send(bytes).expect("the connection is open");
    }

    /// Writes bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if the connection is closed.
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<()> {
        let _writing = self.shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
        (&self.stream).write_all(bytes)
    }

    /// Sends a GET request on a new stream.
    pub fn get(&self, stream: u32, path: &str) {
        self.send(&frame(HEADERS, LAST | WHOLE, stream, &block("GET", path, &[])));
    }

    /// Begins a request whose body comes later.
    pub fn post(&self, stream: u32, path: &str, more: &[(&str, &str)]) {
        self.send(&frame(HEADERS, WHOLE, stream, &block("POST", path, more)));
    }

    /// Opens the window of a stream, or of the connection (0), by this many bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if the connection is closed.
    pub fn take(&self, stream: u32, bytes: u32) -> io::Result<()> {
        self.try_send(&frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes()))
    }

    /// Returns everything that has come so far.
    pub fn seen(&self) -> Seen {
        self.shared.seen().clone()
    }

    /// Waits until the condition holds, and returns everything that has come.
    ///
    /// # Panics
    ///
    /// Panics if it doesn't hold in time.
    #[track_caller]
    pub fn until(&self, what: &str, mut is_it: impl FnMut(&Seen) -> bool) -> Seen {
        let waited = self.shared.changed.wait_timeout_while(self.shared.seen(), PATIENCE, |seen| !is_it(seen));
        let (seen, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        let seen = seen.clone();
        assert!(!timeout.timed_out(), "never: {what}: {seen:?}");
        seen
    }

    /// Waits in the same way, and returns None after this time.
    pub fn within(&self, time: Duration, mut is_it: impl FnMut(&Seen) -> bool) -> Option<Seen> {
        let waited = self.shared.changed.wait_timeout_while(self.shared.seen(), time, |seen| !is_it(seen));
        let (seen, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        (!timeout.timed_out()).then(|| seen.clone())
    }

    /// Returns the socket.
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn read(&self, mut stream: &TcpStream, habits: Habits) -> io::Result<bool> {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let [_, _, _, kind, flags, number @ ..] = head;
        let number = u32::from_be_bytes(number);
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload)?;
        let word =
            |at: usize| payload.get(at..at + 4).map_or(0, |word| u32::from_be_bytes(word.try_into().expect("four")));
        let mut answer = Vec::new();
        {
            let mut seen = self.seen();
            match kind {
                SETTINGS if flags & LAST == 0 => {
                    answer = frame(SETTINGS, LAST, 0, &[]);
                    let most = payload.chunks_exact(6).find(|setting| setting[..2] == [0, 3]);
                    let value = |setting: &[u8]| u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
                    seen.most_streams = most.map(value).or(seen.most_streams);
                }
                PING if flags & LAST == 0 => {
                    seen.pings += 1;
                    if habits.pong {
                        answer = frame(PING, LAST, 0, &payload);
                    }
                }
                DATA => {
                    *seen.data.entry(number).or_default() += payload.len();
                    if habits.credit && number != 1 && !payload.is_empty() {
                        let bytes = (payload.len() as u32).to_be_bytes();
                        answer = [0, number].map(|stream| frame(WINDOW_UPDATE, 0, stream, &bytes)).concat();
                    }
                }
                RST_STREAM => seen.reset.push((number, word(0))),
                GOAWAY => seen.goaways.push((word(0), word(4))),
                _ => {}
            }
            if matches!(kind, DATA | HEADERS) && flags & LAST != 0 {
                seen.ended.push(number);
            }
        }
        self.changed.notify_all();
        if !answer.is_empty() {
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            stream.write_all(&answer)?;
        }
        Ok(true)
    }
}
