//! Bound listening sockets of std; nothing here knows a loop.
//!
//! A socket is bound, gets its permissions, and only then listens, so no client gets in before.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
};
#[cfg(unix)]
use std::{
    fs::{self, Metadata},
    io::ErrorKind,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt, chown},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

#[cfg(unix)]
use socket2::SockAddr;
use socket2::{Domain, Socket, Type};

use crate::words::address::Address;

/// How many connections may wait to be accepted; the system may lower it (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// A listening socket of std, for any loop.
///
/// Dropping it closes it, and removes a Unix socket's file. A loop that doesn't support a kind of socket refuses it
/// with [`io::ErrorKind::Unsupported`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Bound {
    /// A TCP socket.
    Tcp(TcpListener),
    /// A Unix socket, with its file if this must remove it.
    #[cfg(unix)]
    Unix(UnixListener, Option<SocketFile>),
}

impl Bound {
    /// Listens on an address; port 0 is any free one.
    ///
    /// A port whose last connections are still in TIME_WAIT is free. `[::]` takes no IPv4, so it can be combined with
    /// `0.0.0.0` on the same port on every system.
    ///
    /// # Errors
    ///
    /// Returns the system's error, with the address.
    pub fn tcp(address: SocketAddr) -> Result<Self, CantListen> {
        let bind = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            // On Windows this would let other processes share the port.
            #[cfg(unix)]
            socket.set_reuse_address(true)?;
            if address.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            Ok(TcpListener::from(socket))
        };
        bind().map(Self::Tcp).map_err(|cause| CantListen::new(address, cause))
    }

    /// Listens on a Unix socket with these permissions, and with this group if one is given.
    ///
    /// A file that a dead process has left there is replaced; a living socket is not. The file is removed when the
    /// socket is dropped.
    ///
    /// # Errors
    ///
    /// Returns the system's error, with the path.
    #[cfg(unix)]
    pub fn unix(path: &Path, mode: u32, group: Option<u32>) -> Result<Self, CantListen> {
        bind_unix(path, mode, group).map_err(|cause| CantListen::new(path.display(), cause))
    }

    /// Returns another descriptor of the same socket, which listens until all of them are closed.
    ///
    /// The file of a Unix socket stays with the first.
    ///
    /// # Errors
    ///
    /// Returns the system's error: there may be no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(Self::Tcp),
            #[cfg(unix)]
            Self::Unix(listener, _) => Ok(Self::Unix(listener.try_clone()?, None)),
        }
    }

    /// Returns the address that it listens on.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            #[cfg(unix)]
            Self::Unix(listener, _) => {
                let address = listener.local_addr()?;
                Ok(address.as_pathname().map_or_else(Address::unnamed, |path| Address::Unix(path.into())))
            }
        }
    }
}

/// Converts a listening socket that was bound elsewhere.
impl From<TcpListener> for Bound {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

/// Converts a listening socket that was bound elsewhere: its file stays when it is closed.
#[cfg(unix)]
impl From<UnixListener> for Bound {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener, None)
    }
}

#[cfg(unix)]
impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) => listener.as_fd(),
        }
    }
}

#[cfg(unix)]
fn bind_unix(path: &Path, mode: u32, group: Option<u32>) -> io::Result<Bound> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let address = SockAddr::unix(path)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            remove_stale(path, &address)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    // From here on the file is removed if anything fails.
    let file = SocketFile::new(path)?;
    if group.is_some() {
        chown(path, None, group)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(Bound::Unix(UnixListener::from(OwnedFd::from(socket)), Some(file)))
}

/// Removes a socket without a listener. Any other file stays, and is an error.
#[cfg(unix)]
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    let refused = |why| Err(io::Error::new(ErrorKind::AddrInUse, why));
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.file_type().is_socket() {
        return refused("there is a file that is not a socket");
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A living one whose backlog is full must not block.
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            log::debug!("removing the stale socket {}", path.display());
            fs::remove_file(path)
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            refused("there is a socket that may not be looked at")
        }
        _ => refused("somebody else listens there"),
    }
}

/// The file of a Unix socket, removed on drop if it is still ours.
#[cfg(unix)]
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

#[cfg(unix)]
impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        // The service may change its directory before the end.
        let path = std::path::absolute(path)?;
        let identity = identity(&fs::symlink_metadata(&path)?);
        Ok(Self { path, identity })
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| identity(&metadata) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The error of an address that can't be listened on; its [source](std::error::Error::source) is the cause.
#[derive(Debug)]
pub struct CantListen {
    place: String,
    cause: io::Error,
}

impl CantListen {
    /// Returns the error for a place that is named in another way.
    pub fn new(place: impl fmt::Display, cause: io::Error) -> Self {
        Self { place: place.to_string(), cause }
    }

    /// Returns the system's error.
    pub fn cause(&self) -> &io::Error {
        &self.cause
    }
}

impl fmt::Display for CantListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "can't listen on {}", self.place)
    }
}

impl std::error::Error for CantListen {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}
