//! Binds the listening sockets of a server: hosts, free ports, groups by name. The core does the binding itself.

#[cfg(unix)]
use std::path::PathBuf;
use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};

use interloop::{
    Context, Error, EventLoop, Result,
    net::{Address, Bound, CantListen},
};

use socket2::{SockRef, TcpKeepalive};

use crate::{Place, handed};

/// How often it looks for a port that is free on all addresses.
const ATTEMPTS: u32 = 16;

/// How often the system probes a silent peer.
const PROBES: u32 = 4;
/// How much unsent data the system accepts per connection. With a low value there is free space again once half of it
/// is gone. So the server sees that a slow peer takes something long before the peer has taken a third of the megabytes
/// that the system may buffer.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 64 << 10;

/// A Unix socket to bind.
#[cfg(unix)]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnixPlace {
    /// Its file.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
    /// Its group, by name or number.
    pub group: Option<String>,
}

/// Binds a port on all hosts, by name or address, and the Unix socket, and duplicates the sockets that are bound
/// already, or that the task has [inherited](Context::inherited). If any free port will do, all hosts get the same one.
///
/// # Errors
///
/// Returns the system's error, with the place concerned.
pub async fn bind<L: EventLoop, O>(cx: &Context<L, O>, place: &Place) -> Result<Vec<(Bound, Address)>> {
    let inherited = cx.inherited()?;
    let Place { hosts, port, keep_alive, beside, .. } = place;
    #[cfg(unix)]
    let (hosts, port, unix) = match inherited.is_empty() {
        true => (hosts, *port, &place.unix),
        false => (&beside.hosts, beside.port, &beside.unix),
    };
    #[cfg(not(unix))]
    let (hosts, port) = if inherited.is_empty() { (hosts, *port) } else { (&beside.hosts, beside.port) };
    if let Some(name) = place.unknown.first().filter(|_| inherited.is_empty()) {
        return Err(Error::new(format!(
            "its code names {name} too late: a task that is recreated gets it by .set(\"listen\", \"{name}\")"
        )));
    }
    let mut named = Vec::with_capacity(hosts.len());
    for name in hosts {
        cx.starting(format_args!("it resolves {name}"));
        match cx.resolve(name, port).await {
            Ok(addresses) => named.push(Named { name, addresses }),
            Err(cause) => return Err(CantListen::new(format_args!("{name}:{port}"), cause).into()),
        }
    }
    let mut bound = bind_tcp(&named, port)?;
    for socket in inherited {
        let address = socket.address().map_err(|cause| CantListen::new("an inherited socket", cause))?;
        bound.push((socket, address));
    }
    for listener in &place.listeners {
        bound.push(handed::duplicate(listener)?);
    }
    for (socket, address) in &bound {
        if let Bound::Tcp(listener) = socket {
            watch_peers(SockRef::from(listener), *keep_alive).map_err(|cause| CantListen::new(address, cause))?;
        }
    }
    #[cfg(unix)]
    if let Some(unix) = unix {
        bound.push(bind_unix(unix)?);
    }
    Ok(bound)
}

/// Makes the system watch the peers of a listening socket: the connections it accepts inherit this.
fn watch_peers(listener: SockRef<'_>, keep_alive: Option<Duration>) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    listener.set_tcp_notsent_lowat(UNSENT)?;
    let Some(silence) = keep_alive else { return Ok(()) };
    let silence = silence.max(Duration::from_secs(1));
    let interval = (silence / PROBES).max(Duration::from_secs(1));
    let probes = TcpKeepalive::new().with_time(silence).with_interval(interval).with_retries(PROBES);
    listener.set_tcp_keepalive(&probes)?;
    // This limits the total time, probes included, and how long sent data may stay unacknowledged.
    #[cfg(target_os = "linux")]
    listener.set_tcp_user_timeout(Some(2 * silence))?;
    Ok(())
}

/// A host and the addresses of its name.
struct Named<'a> {
    name: &'a str,
    addresses: Vec<SocketAddr>,
}

/// Binds all hosts. If any free port will do, all hosts get the same one.
fn bind_tcp(hosts: &[Named<'_>], port: u16) -> Result<Vec<(Bound, Address)>> {
    for attempt in 1.. {
        match bind_hosts(hosts, port) {
            Err(error) if port == 0 && error.cause().kind() == ErrorKind::AddrInUse && attempt < ATTEMPTS => {}
            bound => return Ok(bound?),
        }
    }
    unreachable!("the last attempt returns")
}

fn bind_hosts(hosts: &[Named<'_>], mut port: u16) -> std::result::Result<Vec<(Bound, Address)>, CantListen> {
    let mut bound: Vec<(Bound, Address)> = Vec::new();
    for host in hosts {
        let mut unavailable = None;
        let before = bound.len();
        for address in &host.addresses {
            let mut address = *address;
            address.set_port(port);
            if bound.iter().any(|(_, known)| known.tcp() == Some(address)) {
                continue;
            }
            match Bound::tcp(address) {
                Ok(listener) => {
                    let address = listener.address().map_err(|cause| CantListen::new(address, cause))?;
                    port = address.tcp().map_or(port, |address| address.port());
                    bound.push((listener, address));
                }
                // Some of a name's addresses may be missing, such as ::1 for localhost.
                Err(error) if host.addresses.len() > 1 && is_unavailable(error.cause()) => unavailable = Some(error),
                Err(error) => return Err(error),
            }
        }
        match unavailable {
            Some(error) if bound.len() == before => return Err(error),
            _ => {}
        }
        if host.addresses.is_empty() {
            let cause = io::Error::new(ErrorKind::NotFound, "the name has no address");
            return Err(CantListen::new(format_args!("{}:{port}", host.name), cause));
        }
    }
    Ok(bound)
}

fn is_unavailable(error: &io::Error) -> bool {
    #[cfg(unix)]
    let unsupported = error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32);
    #[cfg(not(unix))]
    let unsupported = error.kind() == ErrorKind::Unsupported;
    unsupported || error.kind() == ErrorKind::AddrNotAvailable
}

/// Binds a Unix socket with this group, given by name or number.
#[cfg(unix)]
fn bind_unix(settings: &UnixPlace) -> Result<(Bound, Address)> {
    let path = &settings.path;
    let group = settings.group.as_deref().map(group_id).transpose();
    let group = group.map_err(|cause| CantListen::new(path.display(), cause))?;
    Ok((Bound::unix(path, settings.mode, group)?, Address::Unix(path.clone())))
}

#[cfg(unix)]
fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    match nix::unistd::Group::from_name(group)? {
        Some(group) => Ok(group.gid.as_raw()),
        None => Err(io::Error::new(ErrorKind::NotFound, format!("there is no group {group}"))),
    }
}
