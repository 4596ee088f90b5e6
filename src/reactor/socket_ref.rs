//! A socket that somebody else owns, on whatever system.

#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(windows)]
use std::os::windows::io::{AsSocket, BorrowedSocket};

/// Refers to the socket of a connection: to look into it, or to set what the system offers. It is
/// [`AsFd`](std::os::fd::AsFd) on Unix and `AsSocket` on Windows, so other crates take it by reference:
/// `socket2::SockRef::from(&cx.socket(&stream))`.
///
/// It is made of anything that is such itself: `SocketRef::from(&stream)`.
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
