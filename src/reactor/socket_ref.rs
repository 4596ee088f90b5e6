//! A reference to a socket with another owner, on any system.

#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(windows)]
use std::os::windows::io::{AsSocket, BorrowedSocket};

/// A reference to the socket of a connection, to inspect it or to set socket options.
///
/// It is [`AsFd`](std::os::fd::AsFd) on Unix and `AsSocket` on Windows, so other crates take it by reference:
/// `socket2::SockRef::from(&cx.socket(&stream))`. It converts from anything that is such itself:
/// `SocketRef::from(&stream)`.
#[derive(Clone, Copy, Debug)]
pub struct SocketRef<'a> {
    #[cfg(unix)]
    fd: BorrowedFd<'a>,
    #[cfg(windows)]
    socket: BorrowedSocket<'a>,
}

#[cfg(unix)]
impl<'a, S: AsFd> From<&'a S> for SocketRef<'a> {
    fn from(socket: &'a S) -> Self {
        Self { fd: socket.as_fd() }
    }
}

#[cfg(unix)]
impl AsFd for SocketRef<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd
    }
}

#[cfg(windows)]
impl<'a, S: AsSocket> From<&'a S> for SocketRef<'a> {
    fn from(socket: &'a S) -> Self {
        Self { socket: socket.as_socket() }
    }
}

#[cfg(windows)]
impl AsSocket for SocketRef<'_> {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        self.socket
    }
}
