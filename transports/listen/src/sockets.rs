//! The listening sockets of a server: hosts, free ports, groups by name. Binding itself is the core's.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    path::PathBuf,
};

use interloop::{
    Context, EventLoop, Result,
    net::{Address, Bound, CantListen},
};

use crate::Place;

/// How often a free port is looked for that is free at all addresses.
const ATTEMPTS: u32 = 16;

/// A Unix socket that is to be bound.
#[derive(Clone, Debug)]
pub struct UnixPlace {
    /// Its file.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
    /// Its group, by name or number.
    pub group: Option<String>,
}

/// Binds a port of all hosts, by name or address, and the Unix socket. Where any free port will do, it is the same one for all.
///
/// # Errors
///
/// The system's, with the place that it is about.
pub async fn bind<L: EventLoop, O>(cx: &Context<L, O>, place: &Place) -> Result<Vec<(Bound, Address)>> {
    let Place { hosts, port, unix, .. } = place;
    let port = *port;
    let mut named = Vec::with_capacity(hosts.len());
    for name in hosts {
        match cx.resolve(name, port).await {
            Ok(addresses) => named.push(Named { name, addresses }),
            Err(cause) => return Err(CantListen::new(format_args!("{name}:{port}"), cause).into()),
        }
    }
    let mut bound = bind_tcp(&named, port)?;
    if let Some(unix) = unix {
        bound.push(bind_unix(unix)?);
    }
    Ok(bound)
}

/// A host and what its name means.
struct Named<'a> {
    name: &'a str,
    addresses: Vec<SocketAddr>,
}

/// Binds all hosts. Where any free port will do, it is the same one for all.
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
                // Of what a name stands for, such as ::1 for localhost, not all need to be there.
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
    let unsupported = error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32);
    unsupported || error.kind() == ErrorKind::AddrNotAvailable
}

/// Binds a Unix socket, of the group by that name or number.
fn bind_unix(settings: &UnixPlace) -> Result<(Bound, Address)> {
    let path = &settings.path;
    let group = settings.group.as_deref().map(group_id).transpose();
    let group = group.map_err(|cause| CantListen::new(path.display(), cause))?;
    Ok((Bound::unix(path, settings.mode, group)?, Address::Unix(path.clone())))
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
