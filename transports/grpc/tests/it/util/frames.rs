//! HTTP/2 by hand.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::PATIENCE;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
/// The flag that a settings or ping frame is an answer, or that another frame ends its stream.
pub const LAST: u8 = 1;

/// Returns a frame of the first stream.
pub fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame_of(1, kind, flags, payload)
}

fn frame_of(stream: u32, kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Returns the head of a call on the first stream, without compression.
pub fn head(path: &str, kind: &str) -> Vec<u8> {
    head_of(1, path, kind)
}

fn head_of(stream: u32, path: &str, kind: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x41, 1, b'x'];
    for (name, value) in [(":path", path), ("content-type", kind), ("te", "trailers")] {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    frame_of(stream, HEADERS, 4, &block)
}

#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A connection that answers settings and pings.
pub struct Raw(TcpStream);

impl Raw {
    pub fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
        stream.set_nodelay(true).expect("it is a socket");
        stream.write_all(PREFACE).expect("it is open");
        Self(stream)
    }

    /// Begins a call whose messages come later.
    pub fn open(&mut self, stream: u32, path: &str) {
        self.0.write_all(&head_of(stream, path, "application/grpc")).expect("it is open");
    }

    /// Sends more of a stream; the flags may be [`LAST`].
    pub fn send(&mut self, stream: u32, flags: u8, data: &[u8]) {
        self.0.write_all(&frame_of(stream, DATA, flags, data)).expect("it is open");
    }

    /// Resets a stream.
    pub fn reset(&mut self, stream: u32) {
        self.0.write_all(&frame_of(stream, 3, 0, &8u32.to_be_bytes())).expect("it is open");
    }

    /// Opens the window by this many bytes, for this stream and the connection.
    pub fn take(&mut self, stream: u32, bytes: u32) {
        let updates = [0, stream].map(|stream| frame_of(stream, 8, 0, &bytes.to_be_bytes()));
        self.0.write_all(&updates.concat()).expect("it is open");
    }

    /// Begins a call of one message with one field, the first, which is a string or bytes.
    pub fn call(&mut self, stream: u32, path: &str, field: &[u8]) {
        let length = field.len() as u8;
        let message = [&[0, 0, 0, 0, length + 2, 0x0a, length], field].concat();
        let head = head_of(stream, path, "application/grpc");
        self.0.write_all(&[head, frame_of(stream, DATA, LAST, &message)].concat()).expect("it is open");
    }

    /// Waits until everything sent has been read.
    pub fn ping(&mut self) {
        self.0.write_all(&frame_of(0, PING, 0, b"are here")).expect("it is open");
        self.until(|frame| frame.kind == PING);
    }

    /// Returns the first matching frame.
    pub fn until(&mut self, mut is_it: impl FnMut(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.next().expect("it is open");
            if is_it(&frame) {
                return frame;
            }
        }
    }

    /// Returns None at the end of the connection.
    pub fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            if self.0.read(&mut head[..1]).expect("a frame or the end") == 0 {
                return None;
            }
            self.0.read_exact(&mut head[1..]).expect("a whole frame");
            let [_, _, _, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.0.read_exact(&mut payload).expect("a whole frame");
            // SETTINGS and PING. At the end nobody may be there to read the answer.
            if matches!(kind, 4 | PING) && flags & LAST == 0 {
                let answer = if kind == PING { &payload[..] } else { &[] };
                let _ = self.0.write_all(&frame_of(0, kind, LAST, answer));
                continue;
            }
            return Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload });
        }
    }
}
