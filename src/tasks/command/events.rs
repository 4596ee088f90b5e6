//! SIGCHLD, for the thread that watches the children.

use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
};

use signal_hook::{SigId, consts::SIGCHLD, low_level};

/// A stream that becomes readable when something has happened to a child of this process.
#[derive(Debug)]
pub(super) struct ChildEvents {
    pub(super) stream: UnixStream,
    id: SigId,
}

impl ChildEvents {
    pub(super) fn listen() -> io::Result<Self> {
        let (stream, rings) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        let id = low_level::pipe::register(SIGCHLD, rings)?;
        Ok(Self { stream, id })
    }

    /// Forgets what has happened so far.
    pub(super) fn take(&self) {
        let mut bytes = [0; 256];
        while (&self.stream).read(&mut bytes).is_ok_and(|length| length == bytes.len()) {}
    }
}

impl Drop for ChildEvents {
    fn drop(&mut self) {
        low_level::unregister(self.id);
    }
}
