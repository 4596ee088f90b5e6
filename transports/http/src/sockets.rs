//! Listening sockets, bound, of std: nothing here knows a loop.
//!
//! A socket is bound, given its permissions, and only then listens: nobody gets in before.

use std::{
    fmt,
    fs::{self, Metadata},
    io::{self, ErrorKind},
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt, chown},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use interloop::{Error, Result};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::{addresses::Address, settings::UnixSettings};

/// Connections that wait to be accepted; the system may cut it down (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;
/// How often a free port is looked for that is free at all addresses.
const ATTEMPTS: u32 = 16;

/// A socket that listens.
pub(crate) enum Listening {
    Tcp(std::net::TcpListener),
    Unix(UnixListener, SocketFile),
}

/// A host and what its name means.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) addresses: Vec<SocketAddr>,
}

/// Binds all hosts. Where any free port will do, it is the same one for all.
pub(crate) fn bind_tcp(hosts: &[Host], port: u16) -> Result<Vec<(Listening, Address)>> {
    for attempt in 1.. {
        match bind_hosts(hosts, port) {
            Err(error) if port == 0 && error.cause.kind() == ErrorKind::AddrInUse && attempt < ATTEMPTS => {}
            bound => return Ok(bound?),
        }
    }
    unreachable!("the last attempt returns")
}

fn bind_hosts(hosts: &[Host], mut port: u16) -> std::result::Result<Vec<(Listening, Address)>, CantListen> {
    let mut bound: Vec<(Listening, Address)> = Vec::new();
    for host in hosts {
        let mut unavailable = None;
        let before = bound.len();
        for address in &host.addresses {
            let mut address = *address;
            address.set_port(port);
            if bound.iter().any(|(_, known)| known.tcp() == Some(address)) {
                continue;
            }
            match bind_one(address) {
                Ok((listener, address)) => {
                    port = address.port();
                    bound.push((Listening::Tcp(listener), Address::Tcp(address)));
                }
                // Of what a name stands for, such as ::1 for localhost, not all need to be there.
                Err(cause) if host.addresses.len() > 1 && is_unavailable(&cause) => {
                    unavailable = Some(CantListen { place: address.to_string(), cause });
                }
                Err(cause) => return Err(CantListen { place: address.to_string(), cause }),
            }
        }
        match unavailable {
            Some(error) if bound.len() == before => return Err(error),
            _ => {}
        }
        if host.addresses.is_empty() {
            let cause = io::Error::new(ErrorKind::NotFound, "the name has no address");
            return Err(CantListen { place: format!("{}:{port}", host.name), cause });
        }
    }
    Ok(bound)
}

fn bind_one(address: SocketAddr) -> io::Result<(std::net::TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A port whose last connections are still in TIME_WAIT is free.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // So that `::` and `0.0.0.0` can be had side by side, on every system.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = std::net::TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn is_unavailable(error: &io::Error) -> bool {
    let unsupported = error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32);
    unsupported || error.kind() == ErrorKind::AddrNotAvailable
}

/// Binds a Unix socket. A file that a dead process has left there is replaced, a living socket is not.
pub(crate) fn bind_unix(settings: &UnixSettings) -> Result<(Listening, Address)> {
    let path = &settings.path;
    let cant_listen = |cause| CantListen { place: path.display().to_string(), cause };
    let group = settings.group.as_deref().map(group_id).transpose().map_err(cant_listen)?;
    let listener = bind_unix_at(path, settings.mode, group).map_err(cant_listen)?;
    Ok((listener, Address::Unix(path.clone())))
}

fn bind_unix_at(path: &Path, mode: u32, group: Option<u32>) -> io::Result<Listening> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let address = SockAddr::unix(path)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            remove_stale(path, &address)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    // From here on the file goes if anything fails.
    let file = SocketFile::new(path)?;
    if group.is_some() {
        chown(path, None, group)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(Listening::Unix(UnixListener::from(socket), file))
}

/// Removes a socket that nobody listens on. Everything else stays, and is an error.
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

fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    match nix::unistd::Group::from_name(group)? {
        Some(group) => Ok(group.gid.as_raw()),
        None => Err(io::Error::new(ErrorKind::NotFound, format!("there is no group {group}"))),
    }
}

/// The file of a Unix socket: removed when dropped, if it is still ours.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        // The service may change its directory before the end.
        let path = std::path::absolute(path)?;
        let identity = identity(&fs::symlink_metadata(&path)?);
        Ok(Self { path, identity })
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| identity(&metadata) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What could not be bound, and why.
#[derive(Debug)]
struct CantListen {
    place: String,
    cause: io::Error,
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

/// A host that means nothing.
pub(crate) fn unknown_host(host: &str, port: u16, cause: io::Error) -> Error {
    CantListen { place: format!("{host}:{port}"), cause }.into()
}
