//! Messages by hand, including wrong ones; a client and a bus that use them.

use std::{
    io::{self, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tempfile::TempDir;

use super::{Daemon, NAME, PATH, PATIENCE};

pub const CALL: u8 = 1;
pub const RETURN: u8 = 2;
pub const ERROR: u8 = 3;
pub const SIGNAL: u8 = 4;

pub const NO_REPLY: u8 = 1;

/// A message, little-endian.
#[derive(Clone)]
pub struct Raw {
    pub kind: u8,
    pub flags: u8,
    pub serial: u32,
    pub fields: Vec<u8>,
    pub body: Vec<u8>,
}

impl Raw {
    pub fn new(kind: u8) -> Self {
        Self { kind, flags: 0, serial: 2, fields: Vec::new(), body: Vec::new() }
    }

    /// Returns a call to the tests' object.
    pub fn call(member: &str) -> Self {
        Self::new(CALL).string(1, b'o', PATH).string(2, b's', NAME).string(3, b's', member).string(6, b's', NAME)
    }

    pub fn answer(to: u32) -> Self {
        Self::new(RETURN).number(5, to).string(7, b's', "org.freedesktop.DBus").string(6, b's', ":1.1")
    }

    pub fn signal(path: &str, interface: &str, member: &str) -> Self {
        Self::new(SIGNAL).string(1, b'o', path).string(2, b's', interface).string(3, b's', member)
    }

    fn begin(&mut self, code: u8, kind: u8) {
        self.fields.resize(self.fields.len().next_multiple_of(8), 0);
        self.fields.extend([code, 1, kind, 0]);
    }

    pub fn string(mut self, code: u8, kind: u8, text: &str) -> Self {
        self.begin(code, kind);
        self.fields.extend((text.len() as u32).to_le_bytes());
        self.fields.extend(text.as_bytes());
        self.fields.push(0);
        self
    }

    pub fn number(mut self, code: u8, number: u32) -> Self {
        self.begin(code, b'u');
        self.fields.extend(number.to_le_bytes());
        self
    }

    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    pub fn body(mut self, signature: &str, body: &[u8]) -> Self {
        self.begin(8, b'g');
        self.fields.push(signature.len() as u8);
        self.fields.extend(signature.as_bytes());
        self.fields.push(0);
        self.body = body.to_vec();
        self
    }

    /// Adds a body of one string.
    pub fn text(self, text: &str) -> Self {
        let mut body = (text.len() as u32).to_le_bytes().to_vec();
        body.extend(text.as_bytes());
        body.push(0);
        self.body("s", &body)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![b'l', self.kind, self.flags, 1];
        bytes.extend((self.body.len() as u32).to_le_bytes());
        bytes.extend(self.serial.to_le_bytes());
        bytes.extend((self.fields.len() as u32).to_le_bytes());
        bytes.extend(&self.fields);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(&self.body);
        bytes
    }
}

/// Reads the next message from a well-behaved peer.
pub fn read_message(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 16];
    stream.read_exact(&mut bytes)?;
    let length = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four")) as usize;
    let total = (16 + length(12)).next_multiple_of(8) + length(4);
    bytes.resize(total, 0);
    stream.read_exact(&mut bytes[16..])?;
    Ok(bytes)
}

/// A client of a real bus that sends arbitrary bytes.
pub struct Client(pub UnixStream);

impl Client {
    pub fn of(daemon: &Daemon) -> Self {
        let path = daemon.address();
        let mut stream = UnixStream::connect(path.trim_start_matches("unix:path=")).expect("the bus listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let user: String =
            rustix::process::geteuid().as_raw().to_string().bytes().map(|b| format!("{b:02x}")).collect();
        write!(stream, "\0AUTH EXTERNAL {user}\r\nBEGIN\r\n").expect("the bus reads");
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the bus answers");
            line.push(byte[0]);
        }
        assert!(line.starts_with(b"OK "), "{}", String::from_utf8_lossy(&line));
        let mut client = Self(stream);
        let bus = "org.freedesktop.DBus";
        let hello = Raw::new(CALL).string(1, b'o', "/org/freedesktop/DBus").string(2, b's', bus);
        let mut hello = hello.string(3, b's', "Hello").string(6, b's', bus);
        hello.serial = 1;
        client.send(&hello);
        client.answer_to(1).expect("the bus lets us in");
        client
    }

    /// Sends a message; the other side may have disconnected.
    pub fn send(&mut self, message: &Raw) {
        let _ = self.0.write_all(&message.bytes());
    }

    /// Sends just this. Returns false if the other side has disconnected, or takes nothing for a second.
    pub fn sends(&mut self, bytes: &[u8]) -> bool {
        self.0.set_write_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        self.0.write_all(bytes).is_ok()
    }

    /// Reads until there is an answer, and returns whether it is no error. None once the bus has closed the connection.
    pub fn answer_to(&mut self, serial: u32) -> Option<bool> {
        loop {
            let message = read_message(&mut self.0).ok()?;
            let field = [[5, 1, b'u', 0], serial.to_le_bytes()].concat();
            if message.windows(8).any(|window| window == field) {
                return Some(message[1] == RETURN);
            }
        }
    }
}

/// Listens, and handles each connection on a thread, which is told how many there were before.
pub struct FalseBus {
    path: PathBuf,
    _dir: TempDir,
    is_over: Arc<AtomicBool>,
    pub connections: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl FalseBus {
    pub fn start(behave: impl Fn(UnixStream, usize) + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("bus");
        let listener = UnixListener::bind(&path).expect("it binds");
        let (is_over, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (over, count, behave) = (is_over.clone(), connections.clone(), Arc::new(behave));
        let thread = thread::spawn(move || {
            let mut threads = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                if over.load(Ordering::Acquire) {
                    break;
                }
                let (behave, nth) = (behave.clone(), count.fetch_add(1, Ordering::AcqRel));
                threads.push(thread::spawn(move || behave(stream, nth)));
            }
            // Each ends with its connection.
            threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        });
        Self { path, _dir: dir, is_over, connections, thread: Some(thread) }
    }

    pub fn address(&self) -> String {
        format!("unix:path={}", self.path.display())
    }
}

impl Drop for FalseBus {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        let _ = UnixStream::connect(&self.path);
        if let (Some(thread), false) = (self.thread.take(), thread::panicking()) {
            thread.join().expect("no panic");
        }
    }
}

/// Reads everything until the other side has left.
pub fn listen(mut stream: UnixStream) {
    let _ = io::copy(&mut stream, &mut io::sink());
}

/// Plays the bus until both sides speak in messages.
pub fn let_in(stream: &mut UnixStream) -> io::Result<()> {
    let mut said = Vec::new();
    while !said.ends_with(b"BEGIN\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        said.push(byte[0]);
    }
    stream.write_all(b"OK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n")
}

/// Returns a bus's answer to the calls that a service makes. None if this is no call.
pub fn answer_to(call: &[u8]) -> Option<Raw> {
    let serial = u32::from_le_bytes(call[8..12].try_into().expect("four"));
    let answer = Raw::answer(serial);
    match () {
        () if call[1] != CALL => None,
        () if asks(call, "Hello") => Some(answer.text(":1.1")),
        () if asks(call, "RequestName") || asks(call, "ReleaseName") => Some(answer.body("u", &1_u32.to_le_bytes())),
        () => Some(answer),
    }
}

pub fn asks(call: &[u8], member: &str) -> bool {
    let member = [member.as_bytes(), &[0]].concat();
    call.windows(member.len()).any(|window| window == member)
}

pub fn answer_one(from: &mut UnixStream, to: &mut impl Write) -> io::Result<Vec<u8>> {
    let call = read_message(from)?;
    if let Some(answer) = answer_to(&call) {
        to.write_all(&answer.bytes())?;
    }
    Ok(call)
}

/// Plays a well-behaved bus until the other side leaves.
pub fn behave(mut stream: UnixStream) {
    let Ok(mut to) = stream.try_clone() else { return };
    if let_in(&mut stream).is_ok() {
        while answer_one(&mut stream, &mut to).is_ok() {}
    }
}

/// Does so until it has given the name, and then stops. A client that would wait for the name asks twice.
pub fn until_named(stream: &mut UnixStream, times: usize) -> io::Result<()> {
    let mut to = stream.try_clone()?;
    let_in(stream)?;
    for _ in 0..times {
        while !asks(&answer_one(stream, &mut to)?, "RequestName") {}
    }
    Ok(())
}
