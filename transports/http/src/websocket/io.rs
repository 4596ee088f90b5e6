//! An upgraded connection for tungstenite: an operation that isn't ready returns `WouldBlock`, and wakes the driver
//! later.

use std::{
    io::{self, Read, Write},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use hyper::{
    rt::{Read as _, ReadBuf, Write as _},
    upgrade::Upgraded,
};

pub(super) struct Io {
    stream: Upgraded,
    pub(super) waker: Waker,
    pub(super) read: u64,
    pub(super) written: u64,
}

impl Io {
    pub(super) fn new(stream: Upgraded, waker: Waker) -> Self {
        Self { stream, waker, read: 0, written: 0 }
    }

    pub(super) fn shut_down(&mut self) -> io::Result<()> {
        let mut cx = Context::from_waker(&self.waker);
        ready(Pin::new(&mut self.stream).poll_shutdown(&mut cx))
    }
}

fn ready<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Read for Io {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut bytes = ReadBuf::new(bytes);
        let mut cx = Context::from_waker(&self.waker);
        ready(Pin::new(&mut self.stream).poll_read(&mut cx, bytes.unfilled()))?;
        let read = bytes.filled().len();
        self.read += read as u64;
        Ok(read)
    }
}

impl Write for Io {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut cx = Context::from_waker(&self.waker);
        let written = ready(Pin::new(&mut self.stream).poll_write(&mut cx, bytes))?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut cx = Context::from_waker(&self.waker);
        ready(Pin::new(&mut self.stream).poll_flush(&mut cx))
    }
}
