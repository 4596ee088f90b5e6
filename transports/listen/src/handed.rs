//! Listening sockets that somebody else has bound and handed over.

use std::io::{self, ErrorKind};

use interloop::net::{Address, Bound, CantListen};
use socket2::SockRef;

/// Checks that the socket listens.
pub(crate) fn check(socket: &Bound) -> Result<(), CantListen> {
    let address = socket.address().map_err(|cause| CantListen::new("a socket that was handed in", cause))?;
    let listens = listens(socket).map_err(|cause| refused(&address, cause))?;
    if listens { Ok(()) } else { Err(refused(&address, io::Error::new(ErrorKind::InvalidInput, "it does not listen"))) }
}

/// Returns a nonblocking duplicate of the socket, for one incarnation of a server.
pub(crate) fn duplicate(socket: &Bound) -> Result<(Bound, Address), CantListen> {
    check(socket)?;
    let duplicate = || {
        let duplicate = socket.try_clone()?;
        SockRef::from(&duplicate).set_nonblocking(true)?;
        let address = duplicate.address()?;
        Ok((duplicate, address))
    };
    duplicate().map_err(|cause| CantListen::new("a socket that was handed in", cause))
}

/// A socket that isn't bound has no meaningful address.
fn refused(address: &Address, cause: io::Error) -> CantListen {
    match address.to_string() {
        place if place.is_empty() || place == "unix" => CantListen::new("a Unix socket that was handed in", cause),
        place => CantListen::new(format_args!("the socket {place} that was handed in"), cause),
    }
}

#[cfg(any(target_os = "android", target_os = "freebsd", target_os = "fuchsia", target_os = "linux"))]
fn listens(socket: &Bound) -> io::Result<bool> {
    SockRef::from(socket).is_listener()
}

/// The system doesn't tell; the first accept shows it.
#[cfg(not(any(target_os = "android", target_os = "freebsd", target_os = "fuchsia", target_os = "linux")))]
fn listens(_: &Bound) -> io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream, UdpSocket},
        os::{
            fd::OwnedFd,
            unix::net::{UnixListener, UnixStream},
        },
    };

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn why(socket: impl Into<Bound>) -> String {
        interloop::Error::from(check(&socket.into()).expect_err("it does not listen")).to_string()
    }

    #[test]
    fn what_does_not_listen_is_refused_in_one_line() {
        let (left, _right) = UnixStream::pair().unwrap();
        assert_eq!(
            why(UnixListener::from(OwnedFd::from(left))),
            "can't listen on a Unix socket that was handed in: it does not listen"
        );
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        bound.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = bound.local_addr().unwrap().as_socket().unwrap();
        let words = format!("can't listen on the socket {address} that was handed in: it does not listen");
        assert_eq!(why(TcpListener::from(bound)), words);
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listening.local_addr().unwrap()).unwrap();
        assert!(why(TcpListener::from(OwnedFd::from(client))).ends_with(": it does not listen"));
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(why(TcpListener::from(OwnedFd::from(udp))).ends_with(": it does not listen"));
        // A file isn't a socket, and a Unix socket isn't a port.
        let file = std::fs::File::open("/dev/null").unwrap();
        let said = why(TcpListener::from(OwnedFd::from(file)));
        assert!(
            said.starts_with("can't listen on a socket that was handed in: Socket operation on non-socket"),
            "{said}"
        );
        let (left, _right) = UnixStream::pair().unwrap();
        let said = why(TcpListener::from(OwnedFd::from(left)));
        assert!(said.starts_with("can't listen on a socket that was handed in: "), "{said}");
        assert_eq!(said.lines().count(), 1);
    }

    #[test]
    fn a_duplicate_listens_and_is_nonblocking_and_so_is_the_original() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let original = Bound::from(listener);
        let (duplicate, address) = duplicate(&original).unwrap();
        assert!(SockRef::from(&duplicate).nonblocking().unwrap());
        drop(original);
        TcpStream::connect(address.tcp().unwrap()).unwrap();
    }
}
