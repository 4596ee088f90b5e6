//! A client of HTTP/1.1, by hand: it gets exactly what the server wrote.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

/// A connection.
pub(super) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

/// The parts of an answer, with its chunks put together.
pub(super) struct Answer {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn is_ok(&self) -> bool {
        self.head.starts_with("HTTP/1.1 200 OK\r\n")
    }
}

/// Formats bytes for a message.
pub(super) fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

impl Client {
    pub(super) fn connect(address: SocketAddr, patience: Duration) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("nobody listens for HTTP: {error}"));
        stream.set_read_timeout(Some(patience)).expect("a socket has timeouts");
        stream.set_write_timeout(Some(patience)).expect("a socket has timeouts");
        Self { stream, read: Vec::new() }
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap_or_else(|error| panic!("a request is not taken: {error}"));
    }

    pub(super) fn send_from_thread(&self, bytes: Vec<u8>) -> thread::JoinHandle<io::Result<()>> {
        let mut stream = self.stream.try_clone().expect("a descriptor");
        thread::spawn(move || stream.write_all(&bytes))
    }

    /// Reads the answer to this request.
    pub(super) fn receive(&mut self, what: &str) -> Answer {
        let head = self.take_until(b"\r\n\r\n", what);
        let head = String::from_utf8_lossy(&head).into_owned();
        let fields = head.to_ascii_lowercase();
        let body = if fields.contains("transfer-encoding: chunked") {
            let mut body = Vec::new();
            loop {
                let line = self.take_until(b"\r\n", what);
                let size = line.trim_ascii_end();
                let size = str::from_utf8(size).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
                let size = size.unwrap_or_else(|| panic!("{what} is answered by a chunk of length {}", text(&line)));
                let chunk = self.take(size + 2, what);
                assert!(chunk.ends_with(b"\r\n"), "{what} is answered by a chunk that does not end where it should");
                if size == 0 {
                    break body;
                }
                body.extend_from_slice(&chunk[..size]);
            }
        } else {
            let length = fields.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            self.take(length.unwrap_or(0), what)
        };
        Answer { head, body }
    }

    /// Reads all that comes up to the end of the connection.
    pub(super) fn receive_to_end(&mut self, what: &str) -> Vec<u8> {
        while self.fill(what) > 0 {}
        std::mem::take(&mut self.read)
    }

    /// Checks that the server has nothing more to say, and closes the connection.
    pub(super) fn expect_end(mut self, what: &str) {
        let rest = self.receive_to_end(what);
        assert!(rest.is_empty(), "{what} gets more than its answer: {}", text(&rest));
    }

    fn take_until(&mut self, end: &[u8], what: &str) -> Vec<u8> {
        let mut looked = 0;
        loop {
            let place = self.read[looked..].windows(end.len()).position(|bytes| bytes == end);
            if let Some(place) = place {
                return self.take(looked + place + end.len(), what);
            }
            looked = self.read.len().saturating_sub(end.len() - 1);
            assert!(self.fill(what) > 0, "{what} is not answered: the connection ends after {}", text(&self.read));
        }
    }

    fn take(&mut self, length: usize, what: &str) -> Vec<u8> {
        while self.read.len() < length {
            let read = self.fill(what);
            assert!(read > 0, "{what} is answered in part: the connection ends {} bytes on", self.read.len());
        }
        let rest = self.read.split_off(length);
        std::mem::replace(&mut self.read, rest)
    }

    fn fill(&mut self, what: &str) -> usize {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(read) => {
                self.read.extend_from_slice(&bytes[..read]);
                read
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                panic!("{what} is neither answered nor at its end: nothing more comes after {} bytes", self.read.len())
            }
            Err(error) => panic!("{what} breaks: {error}"),
        }
    }
}
