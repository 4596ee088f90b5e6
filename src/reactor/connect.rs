//! Connecting on the reactor.

use std::{future::poll_fn, io, os::fd::OwnedFd};

use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket as RawSocket, Type};

use super::{epoll::Reactor, sockets::ReactorStream, traits::Socket};
use crate::words::address::Address;

/// Connects to the address; dropping the future closes the socket.
pub(crate) async fn connect(reactor: &Reactor, address: &Address) -> io::Result<ReactorStream> {
    let (domain, to) = match address {
        Address::Tcp(address) => (Domain::for_address(*address), SockAddr::from(*address)),
        Address::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
    };
    let socket = RawSocket::new(domain, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&to) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    let socket = match address {
        Address::Tcp(_) => {
            socket.set_tcp_nodelay(true)?;
            Socket::Tcp(socket.into())
        }
        Address::Unix(_) => Socket::Unix(OwnedFd::from(socket).into()),
    };
    // Registered only now: the reactor would take a socket that isn't connecting yet for a closed one.
    let stream = ReactorStream::connecting(reactor, socket)?;
    poll_fn(|cx| stream.poll_connected(cx)).await?;
    Ok(stream)
}
