//! What a server is to do: the code's wishes, overridden by the options.

use std::{path::PathBuf, time::Duration};

use interloop_listen::UnixPlace;

use crate::{options::ThriftOptions, skim::Limits};

/// What code says of a server; `None` leaves it to the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) hosts: Vec<String>,
    pub(crate) port: Option<u16>,
    pub(crate) unix: Option<PathBuf>,
    pub(crate) unix_mode: Option<u32>,
    pub(crate) unix_group: Option<String>,
    pub(crate) workers: Option<usize>,
    pub(crate) max_connections: Option<usize>,
    pub(crate) max_frame_size: Option<usize>,
    pub(crate) max_string_size: Option<usize>,
    pub(crate) max_container_size: Option<usize>,
    pub(crate) max_nesting: Option<usize>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) read_timeout: Option<Duration>,
}

/// What a server is to do.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) hosts: Vec<String>,
    pub(crate) port: u16,
    pub(crate) unix: Option<UnixPlace>,
    /// 0 is on the loop.
    pub(crate) workers: usize,
    /// Connections at once.
    pub(crate) connections: usize,
    pub(crate) limits: Limits,
    pub(crate) times: Times,
}

/// How long a client may take; None is for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Between two calls, and between two steps of an answer.
    pub(crate) idle: Option<Duration>,
    /// From the first byte of a call to its last.
    pub(crate) read: Option<Duration>,
}

pub(crate) const MAX_FRAME_SIZE: usize = 16 << 20;
pub(crate) const MAX_CONTAINER_SIZE: usize = 1_000_000;
pub(crate) const MAX_NESTING: usize = 64;
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const UNIX_MODE: u32 = 0o660;

impl Settings {
    /// The options first, then the code, then the defaults.
    pub(crate) fn new(options: &ThriftOptions, code: &Wishes) -> Self {
        let hosts = if options.host.is_empty() { &code.hosts } else { &options.host };
        let mut hosts = hosts.clone();
        let port = options.port.or(code.port);
        let path = options.unix.as_ref().or(code.unix.as_ref());
        // A Unix socket alone is a wish too: no port is opened then.
        if hosts.is_empty() && (path.is_none() || port.is_some()) {
            hosts.push("127.0.0.1".to_owned());
        }
        let unix = path.map(|path| UnixPlace {
            path: path.clone(),
            mode: options.unix_mode.or(code.unix_mode).unwrap_or(UNIX_MODE),
            group: options.unix_group.as_ref().or(code.unix_group.as_ref()).cloned(),
        });
        let message = options.max_frame_size.or(code.max_frame_size).unwrap_or(MAX_FRAME_SIZE);
        let limits = Limits {
            message,
            string: options.max_string_size.or(code.max_string_size).unwrap_or(message),
            container: options.max_container_size.or(code.max_container_size).unwrap_or(MAX_CONTAINER_SIZE),
            nesting: options.max_nesting.or(code.max_nesting).unwrap_or(MAX_NESTING),
        };
        let times = Times {
            idle: unless_zero(options.idle_timeout.or(code.idle_timeout).unwrap_or(IDLE_TIMEOUT)),
            read: unless_zero(options.read_timeout.or(code.read_timeout).unwrap_or(READ_TIMEOUT)),
        };
        let connections = match options.max_connections.or(code.max_connections) {
            None | Some(0) => usize::MAX,
            Some(connections) => connections,
        };
        let workers = options.workers.or(code.workers).unwrap_or(0);
        Self { hosts, port: port.unwrap_or(0), unix, workers, connections, limits, times }
    }
}

fn unless_zero(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_before_code_and_code_before_defaults() {
        let code = Wishes { port: Some(80), max_frame_size: Some(5), ..Wishes::default() };
        let got = Settings::new(&ThriftOptions { port: Some(8000), ..ThriftOptions::default() }, &code);
        assert_eq!((got.port, got.limits.message, got.limits.nesting), (8000, 5, MAX_NESTING));
        assert_eq!(got.limits.string, 5);
    }

    #[test]
    fn zero_means_no_limit() {
        let zero = Some(Duration::ZERO);
        let zero =
            ThriftOptions { max_connections: Some(0), idle_timeout: zero, read_timeout: zero, ..Default::default() };
        let got = Settings::new(&zero, &Wishes::default());
        assert_eq!((got.connections, got.times.idle, got.times.read), (usize::MAX, None, None));
    }

    #[test]
    fn a_unix_socket_alone_opens_no_port() {
        let unix = ThriftOptions { unix: Some("/run/x".into()), ..ThriftOptions::default() };
        assert!(Settings::new(&unix, &Wishes::default()).hosts.is_empty());
    }
}
