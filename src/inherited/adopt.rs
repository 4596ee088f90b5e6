//! From the number of a descriptor to a socket of ours.
//!
//! The number alone proves nothing: a variable may be wrong, and the number may be a file of this process by now. Two
//! facts show that a descriptor was inherited. It is open, and it survived exec, so it isn't marked to be closed there:
//! Rust, and every careful library, marks what it opens itself. And nobody else in the process owns it: numbers are
//! taken once, by the first service that is the process, before it starts a loop or a task.

use std::{
    fs::{self, File},
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::TcpListener,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::{UnixDatagram, UnixListener},
    },
};

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketType, recvmsg,
        sockopt::{socket_acceptconn, socket_domain, socket_type},
    },
};

use crate::{kit::proc, reactor::bind::Bound};

/// The flag of descriptors that are closed at exec, as proc(5) shows it.
const CLOEXEC: u32 = 0o2_000_000;

/// What a number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Closed,
    /// This process has opened it, or has taken it from its parent already.
    Own,
    Inherited,
}

pub(super) fn find(number: i32) -> Found {
    match proc::read(format!("/proc/self/fdinfo/{number}")) {
        Ok(info) => {
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
            let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
            if flags.is_some_and(|flags| flags & CLOEXEC != 0) { Found::Own } else { Found::Inherited }
        }
        Err(_) if fs::metadata("/proc/self/fdinfo").is_ok() => Found::Closed,
        // Without /proc only the name is known to be right.
        Err(_) => Found::Inherited,
    }
}

/// Returns the listening socket behind this number, which is closed; the socket has another one, is closed at exec, and
/// doesn't block.
pub(super) fn listener(number: i32) -> Result<Bound, String> {
    let socket = duplicate(number).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::BADF) => "is not open".to_owned(),
        _ => format!("can't be taken: {error}"),
    })?;
    let asked = |error: Errno| match error {
        Errno::NOTSOCK => "is no socket".to_owned(),
        error => format!("can't be looked at: {}", io::Error::from(error)),
    };
    let kind = socket_type(&socket).map_err(asked)?;
    if kind != SocketType::STREAM {
        return Err(format!(
            "is no stream socket{}",
            if kind == SocketType::DGRAM { ", but one of datagrams" } else { "" }
        ));
    }
    let family = socket_domain(&socket).map_err(asked)?;
    if !socket_acceptconn(&socket).map_err(asked)? {
        return Err("does not listen (a connection, perhaps: a socket unit needs Accept=no)".to_owned());
    }
    let bound = match family {
        AddressFamily::INET | AddressFamily::INET6 => Bound::from(TcpListener::from(socket)),
        AddressFamily::UNIX => Bound::from(UnixListener::from(socket)),
        _ => return Err("listens, but neither for TCP nor at a Unix socket".to_owned()),
    };
    rustix::io::ioctl_fionbio(&bound, true).map_err(asked)?;
    // Last: what is refused stays as it was.
    close(number);
    Ok(bound)
}

/// Sends the descriptor to ourselves. Of all ways to duplicate a number this one takes no unsafe code, and no
/// permission that a sandbox may withhold.
fn duplicate(number: i32) -> io::Result<OwnedFd> {
    let (from, to) = UnixDatagram::pair()?;
    let numbers = [number];
    let rights = [ControlMessage::ScmRights(&numbers)];
    sendmsg(from.as_raw_fd(), &[IoSlice::new(&[0])], &rights, MsgFlags::empty(), None::<&UnixAddr>)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut received = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(&to, &mut [IoSliceMut::new(&mut [0])], &mut received, flags)?;
    let descriptors = received.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    });
    descriptors.ok_or_else(|| io::Error::other("the system did not hand it over"))
}

/// Closes an inherited descriptor. The standard input becomes empty instead.
pub(super) fn close(number: i32) {
    match number {
        0 => {
            if let Ok(null) = File::open("/dev/null") {
                let _ = rustix::stdio::dup2_stdin(null);
            }
        }
        // The log may be there; a socket takes nothing of it.
        1 | 2 => {}
        number => {
            let _ = nix::unistd::close(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpStream, UdpSocket},
        os::fd::IntoRawFd,
    };

    use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

    use super::*;

    /// Makes a descriptor look like an inherited one.
    fn inherited(socket: impl Into<OwnedFd>) -> i32 {
        let socket = socket.into();
        fcntl_setfd(&socket, FdFlags::empty()).unwrap();
        socket.into_raw_fd()
    }

    #[test]
    fn a_listener_is_taken_closed_at_exec_and_nonblocking() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        assert_eq!(find(socket.as_raw_fd()), Found::Own);
        let number = inherited(socket);
        assert_eq!(find(number), Found::Inherited);
        let bound = listener(number).unwrap();
        assert_eq!(bound.address().unwrap().tcp(), Some(address));
        assert_eq!(fcntl_getfd(&bound).unwrap(), FdFlags::CLOEXEC);
        let Bound::Tcp(accepting) = &bound else { panic!("it was TCP") };
        assert_eq!(accepting.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        TcpStream::connect(address).unwrap();
        drop(bound);
        assert!(TcpStream::connect(address).is_err(), "the number is open still");
    }

    #[test]
    fn a_file_of_a_unix_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        let bound = listener(inherited(UnixListener::bind(&path).unwrap())).unwrap();
        assert_eq!(bound.address().unwrap().to_string(), path.to_str().unwrap());
        drop(bound);
        assert!(path.exists());
    }

    #[test]
    fn what_is_no_listener_is_refused_and_left_open() {
        let refused = |socket: OwnedFd| {
            let number = inherited(socket);
            let why = listener(number).unwrap_err();
            assert_eq!(find(number), Found::Inherited, "{why}");
            close(number);
            why
        };
        assert_eq!(refused(File::open("/dev/null").unwrap().into()), "is no socket");
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(refused(udp.into()), "is no stream socket, but one of datagrams");
        let (left, _right) = std::os::unix::net::UnixStream::pair().unwrap();
        let why = "does not listen (a connection, perhaps: a socket unit needs Accept=no)";
        assert_eq!(refused(left.into()), why);
        assert_eq!(listener(1 << 20).unwrap_err(), "is not open");
        assert_eq!(find(1 << 20), Found::Closed);
    }
}
