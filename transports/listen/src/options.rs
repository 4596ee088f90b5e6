//! The options that say where a server listens, how many connections it serves, and how slow a client may be.

#[cfg(unix)]
use std::path::PathBuf;
use std::{sync::Arc, time::Duration};

use interloop::{
    clap,
    net::Bound,
    options::{OptionDefaults, duration},
};

use crate::{Pace, size};
#[cfg(unix)]
use crate::{UnixPlace, mode};

#[cfg(unix)]
const UNIX_MODE: u32 = 0o660;
/// The silence after which the system asks a peer whether it is still there.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// Bytes a second.
const MIN_RATE: usize = 500;
const RATE_GRACE: Duration = Duration::from_secs(20);

/// Options to flatten into those of a server: they take precedence over the [`Listen`](crate::Listen) of its code.
#[derive(clap::Args, Clone, Debug, Default)]
#[non_exhaustive]
pub struct ListenOptions {
    /// Listen on these addresses or host names (default: 127.0.0.1, unless there is a Unix socket)
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub host: Vec<String>,

    /// Listen on this port; 0 is any free one (default: 0)
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,

    /// Listen on this Unix socket
    #[cfg(unix)]
    #[arg(long, value_name = "PATH")]
    pub unix: Option<PathBuf>,

    /// The Unix socket's permissions, octal (default: 0660)
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub unix_mode: Option<u32>,

    /// The Unix socket's group, by name or number
    #[cfg(unix)]
    #[arg(long, value_name = "GROUP")]
    pub unix_group: Option<String>,

    /// Serve at most this many connections at once, others wait; 0 is no limit (default: 0)
    #[arg(long, value_name = "N")]
    pub max_connections: Option<usize>,

    /// Let the system ask a client that is silent for this long whether it is still there, and close the connection if
    /// it hasn't answered after twice the time; whole seconds; 0 is never (default: 60s)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub tcp_keepalive: Option<Duration>,

    /// Cut off clients that send the rest of what they have begun, or take what they are sent, at less than this many
    /// bytes a second; 0 asks only for some progress (default: 500)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub min_rate: Option<usize>,

    /// Let clients fall behind the minimum rate by this much, or by the idle timeout if that is shorter; 0 is no limit
    /// (default: 20s)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub rate_grace: Option<Duration>,
}

/// Where a server listens, and how many connections it serves: see [`Listen::place`](crate::Listen::place).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Place {
    /// Addresses and names; none if there is only a Unix socket.
    pub hosts: Vec<String>,
    /// The port of all hosts; 0 picks one that is free on all of them.
    pub port: u16,
    /// The Unix socket.
    #[cfg(unix)]
    pub unix: Option<UnixPlace>,
    /// Sockets that are bound already.
    pub listeners: Vec<Arc<Bound>>,
    /// The maximum number of connections at once.
    pub connections: usize,
    /// The silence after which the system asks a peer whether it is still there; None is never.
    pub keep_alive: Option<Duration>,
}

impl ListenOptions {
    /// Resolves the place: these options take precedence, then the code's, then the defaults.
    pub(crate) fn place(&self, code: &Self, listeners: &[Arc<Bound>]) -> Place {
        let mut hosts = if self.host.is_empty() { code.host.clone() } else { self.host.clone() };
        let port = self.port.or(code.port);
        #[cfg(unix)]
        let unix = self.unix.as_ref().or(code.unix.as_ref()).map(|path| UnixPlace {
            path: path.clone(),
            mode: self.unix_mode.or(code.unix_mode).unwrap_or(UNIX_MODE),
            group: self.unix_group.as_ref().or(code.unix_group.as_ref()).cloned(),
        });
        #[cfg(unix)]
        let is_elsewhere = unix.is_some() || !listeners.is_empty();
        #[cfg(not(unix))]
        let is_elsewhere = !listeners.is_empty();
        // If only another place is named, no port is opened.
        if hosts.is_empty() && (!is_elsewhere || port.is_some()) {
            hosts.push("127.0.0.1".to_owned());
        }
        let connections = match self.max_connections.or(code.max_connections) {
            None | Some(0) => usize::MAX,
            Some(connections) => connections,
        };
        let keep_alive = unless_zero(self.tcp_keepalive.or(code.tcp_keepalive).unwrap_or(TCP_KEEPALIVE));
        Place {
            hosts,
            port: port.unwrap_or(0),
            #[cfg(unix)]
            unix,
            listeners: listeners.to_vec(),
            connections,
            keep_alive,
        }
    }

    /// Resolves the minimum rate of clients for a server with this idle timeout: these options take precedence, then
    /// the code's, then the defaults.
    pub(crate) fn pace(&self, code: &Self, idle: Option<Duration>) -> Pace {
        let grace = unless_zero(self.rate_grace.or(code.rate_grace).unwrap_or(RATE_GRACE));
        let pace = Pace { grace, rate: self.min_rate.or(code.min_rate).unwrap_or(MIN_RATE) };
        pace.within(idle)
    }

    /// Returns these options as defaults that code has set.
    pub(crate) fn defaults(&self) -> OptionDefaults {
        let defaults = self.host.iter().fold(OptionDefaults::new(), |defaults, host| defaults.with("host", host));
        defaults
            .with_some("port", self.port)
            .with_some("unix", self.unix.as_ref().and_then(|path| path.to_str()))
            .with_some("unix-mode", self.unix_mode.map(|mode| format!("{mode:04o}")))
            .with_some("unix-group", self.unix_group.as_ref())
            .with_some("max-connections", self.max_connections)
            .with_duration("tcp-keepalive", self.tcp_keepalive)
            .with_some("min-rate", self.min_rate)
            .with_duration("rate-grace", self.rate_grace)
    }

    /// Merges later values into these: they override, but hosts are added.
    pub(crate) fn merge(&mut self, later: Self) {
        #[cfg(unix)]
        {
            self.unix = later.unix.or(self.unix.take());
            self.unix_mode = later.unix_mode.or(self.unix_mode);
            self.unix_group = later.unix_group.or(self.unix_group.take());
        }
        let Self { host, port, max_connections, tcp_keepalive, min_rate, rate_grace, .. } = later;
        self.host.extend(host);
        self.port = port.or(self.port);
        self.max_connections = max_connections.or(self.max_connections);
        self.tcp_keepalive = tcp_keepalive.or(self.tcp_keepalive);
        self.min_rate = min_rate.or(self.min_rate);
        self.rate_grace = rate_grace.or(self.rate_grace);
    }
}

/// Returns the time limit; None, no limit, if it is zero.
pub fn unless_zero(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unix_socket_alone_opens_no_port() {
        let code = ListenOptions::default();
        let unix = || ListenOptions { unix: Some("/run/x".into()), ..ListenOptions::default() };
        assert!(unix().place(&code, &[]).hosts.is_empty());
        assert_eq!(ListenOptions { port: Some(1), ..unix() }.place(&code, &[]).hosts, ["127.0.0.1"]);
        assert_eq!(ListenOptions::default().place(&code, &[]).hosts, ["127.0.0.1"]);
    }

    #[test]
    fn no_connections_at_once_are_any_number() {
        let options = ListenOptions { max_connections: Some(0), ..ListenOptions::default() };
        let code = ListenOptions { max_connections: Some(7), ..ListenOptions::default() };
        assert_eq!(options.place(&code, &[]).connections, usize::MAX);
        assert_eq!(ListenOptions::default().place(&code, &[]).connections, 7);
    }
}
