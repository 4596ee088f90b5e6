//! The options that say where a server listens, how many connections it serves, and how slow a client may be.

#[cfg(unix)]
use std::path::PathBuf;
use std::{sync::Arc, time::Duration};

use interloop::{
    clap,
    net::{Bound, Inherited},
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

    /// Listen on sockets that the service manager or the parent has passed: fd:NAME, systemd:NAME or fd:NUMBER
    #[arg(long, value_name = "fd:NAME", value_delimiter = ',')]
    pub listen: Vec<Inherited>,

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
    /// The names of inherited sockets that the code wants, unless the service knows of them.
    pub(crate) unknown: Vec<Inherited>,
    /// Where to listen beside inherited sockets, if there are any.
    pub(crate) beside: Beside,
    /// The maximum number of connections at once.
    pub connections: usize,
    /// The silence after which the system asks a peer whether it is still there; None is never.
    pub keep_alive: Option<Duration>,
}

/// The places of a server besides its inherited sockets.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    pub(crate) hosts: Vec<String>,
    pub(crate) port: u16,
    #[cfg(unix)]
    pub(crate) unix: Option<UnixPlace>,
}

impl ListenOptions {
    /// Resolves the place: these options take precedence, then the code's, then the defaults.
    pub(crate) fn place(&self, code: &Self, listeners: &[Arc<Bound>]) -> Place {
        let Beside {
            hosts,
            port,
            #[cfg(unix)]
            unix,
        } = self.places(code, !listeners.is_empty());
        let connections = match self.max_connections.or(code.max_connections) {
            None | Some(0) => usize::MAX,
            Some(connections) => connections,
        };
        let keep_alive = unless_zero(self.tcp_keepalive.or(code.tcp_keepalive).unwrap_or(TCP_KEEPALIVE));
        Place {
            hosts,
            port,
            #[cfg(unix)]
            unix,
            listeners: listeners.to_vec(),
            unknown: if self.listen.is_empty() { code.listen.clone() } else { Vec::new() },
            beside: self.beside(code),
            connections,
            keep_alive,
        }
    }

    /// Resolves the addresses. If only another place is named, no port is opened.
    fn places(&self, code: &Self, mut is_elsewhere: bool) -> Beside {
        let mut hosts = if self.host.is_empty() { code.host.clone() } else { self.host.clone() };
        let port = self.port.or(code.port);
        #[cfg(unix)]
        let unix = self.unix.as_ref().or(code.unix.as_ref()).map(|path| UnixPlace {
            path: path.clone(),
            mode: self.unix_mode.or(code.unix_mode).unwrap_or(UNIX_MODE),
            group: self.unix_group.as_ref().or(code.unix_group.as_ref()).cloned(),
        });
        #[cfg(unix)]
        {
            is_elsewhere |= unix.is_some();
        }
        if hosts.is_empty() && (!is_elsewhere || port.is_some()) {
            hosts.push("127.0.0.1".to_owned());
        }
        Beside {
            hosts,
            port: port.unwrap_or(0),
            #[cfg(unix)]
            unix,
        }
    }

    /// Resolves the addresses for a server that has inherited sockets. They replace the places that the code names,
    /// unless the code names them too.
    fn beside(&self, code: &Self) -> Beside {
        if !code.listen.is_empty() {
            return self.places(code, true);
        }
        // Values of the code arrive as options, too.
        let said = Self {
            host: if self.host == code.host { Vec::new() } else { self.host.clone() },
            port: self.port.filter(|port| Some(*port) != code.port),
            #[cfg(unix)]
            unix: self.unix.clone().filter(|path| Some(path) != code.unix.as_ref()),
            ..self.clone()
        };
        #[cfg(unix)]
        let code = Self { unix_mode: code.unix_mode, unix_group: code.unix_group.clone(), ..Self::default() };
        #[cfg(not(unix))]
        let code = Self::default();
        said.places(&code, true)
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
        let defaults = self.listen.iter().fold(defaults, |defaults, name| defaults.with("listen", name));
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

    /// Merges later values into these: they override, but hosts and names of sockets are added.
    pub(crate) fn merge(&mut self, later: Self) {
        #[cfg(unix)]
        {
            self.unix = later.unix.or(self.unix.take());
            self.unix_mode = later.unix_mode.or(self.unix_mode);
            self.unix_group = later.unix_group.or(self.unix_group.take());
        }
        let Self { host, port, listen, max_connections, tcp_keepalive, min_rate, rate_grace, .. } = later;
        self.host.extend(host);
        self.listen.extend(listen);
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
    fn an_inherited_socket_replaces_the_places_of_the_code_and_is_added_to_those_of_options() {
        let code = ListenOptions { host: vec!["::".into()], port: Some(80), ..ListenOptions::default() };
        let code = ListenOptions { unix: Some("/run/x".into()), ..code };
        // As options, the code's values come back.
        let beside = |options: &ListenOptions, code: &ListenOptions| {
            let Beside { hosts, port, unix } = options.place(code, &[]).beside;
            (hosts.join(","), port, unix.map(|unix| unix.path.display().to_string()))
        };
        assert_eq!(beside(&code, &code), (String::new(), 0, None));
        assert_eq!(beside(&ListenOptions::default(), &code), (String::new(), 0, None));
        let port = ListenOptions { port: Some(81), ..code.clone() };
        assert_eq!(beside(&port, &code), ("127.0.0.1".into(), 81, None));
        let unix = ListenOptions { unix: Some("/run/y".into()), ..code.clone() };
        assert_eq!(beside(&unix, &code), (String::new(), 0, Some("/run/y".into())));
        // The code names both.
        let both = ListenOptions { listen: vec![Inherited::named("http")], ..code };
        assert_eq!(beside(&both, &both), ("::".into(), 80, Some("/run/x".into())));
        let only = ListenOptions { listen: vec![Inherited::named("http")], ..ListenOptions::default() };
        assert_eq!(beside(&only, &only), (String::new(), 0, None));
    }

    #[test]
    fn no_connections_at_once_are_any_number() {
        let options = ListenOptions { max_connections: Some(0), ..ListenOptions::default() };
        let code = ListenOptions { max_connections: Some(7), ..ListenOptions::default() };
        assert_eq!(options.place(&code, &[]).connections, usize::MAX);
        assert_eq!(ListenOptions::default().place(&code, &[]).connections, 7);
    }
}
