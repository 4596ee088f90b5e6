//! What a server is to do: the code's wishes, overridden by the options.

use std::{path::PathBuf, time::Duration};

use interloop_listen::UnixPlace;

use crate::options::HttpOptions;

/// What code says of a server; `None` leaves it to the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) hosts: Vec<String>,
    pub(crate) port: Option<u16>,
    pub(crate) unix: Option<PathBuf>,
    pub(crate) unix_mode: Option<u32>,
    pub(crate) unix_group: Option<String>,
    pub(crate) max_connections: Option<usize>,
    pub(crate) max_header_size: Option<usize>,
    pub(crate) max_body_size: Option<usize>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) header_timeout: Option<Duration>,
    pub(crate) with_peers: bool,
}

/// What a server is to do.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) hosts: Vec<String>,
    pub(crate) port: u16,
    pub(crate) unix: Option<UnixPlace>,
    pub(crate) limits: Limits,
    pub(crate) with_peers: bool,
}

/// What a client may ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at once.
    pub(crate) connections: usize,
    pub(crate) header_size: usize,
    pub(crate) body_size: usize,
    /// Between two requests of a connection; None for ever.
    pub(crate) idle: Option<Duration>,
    /// From the start of a connection, or the first byte of a later request, to the end of the request's head.
    pub(crate) header: Option<Duration>,
}

/// The looks at what a connection waits for, within a limit.
pub(crate) const LOOKS: u32 = 4;

impl Limits {
    /// How long to wait before the next look, if so much is left. What a connection waits for may have changed by then, and with it the limit: so the
    /// shortest limit says how often.
    pub(crate) fn look(&self, rest: Duration) -> Duration {
        let shortest = self.idle.into_iter().chain(self.header).min().unwrap_or(rest);
        rest.min((shortest / LOOKS).max(Duration::from_millis(1)))
    }
}

pub(crate) const MAX_HEADER_SIZE: usize = 64 << 10;
pub(crate) const MAX_BODY_SIZE: usize = 2 << 20;
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
pub(crate) const UNIX_MODE: u32 = 0o660;

impl Settings {
    /// The options first, then the code, then the defaults.
    pub(crate) fn new(options: &HttpOptions, code: &Wishes) -> Self {
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
        let limits = Limits {
            connections: at_most(options.max_connections.or(code.max_connections)),
            header_size: options.max_header_size.or(code.max_header_size).unwrap_or(MAX_HEADER_SIZE),
            body_size: options.max_body_size.or(code.max_body_size).unwrap_or(MAX_BODY_SIZE),
            idle: unless_zero(options.idle_timeout.or(code.idle_timeout).unwrap_or(IDLE_TIMEOUT)),
            header: unless_zero(options.header_timeout.or(code.header_timeout).unwrap_or(HEADER_TIMEOUT)),
        };
        Self { hosts, port: port.unwrap_or(0), unix, limits, with_peers: code.with_peers }
    }
}

/// 0 is no limit.
fn at_most(limit: Option<usize>) -> usize {
    match limit {
        None | Some(0) => usize::MAX,
        Some(limit) => limit,
    }
}

fn unless_zero(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(options: HttpOptions, code: Wishes) -> Settings {
        Settings::new(&options, &code)
    }

    #[test]
    fn options_come_before_code_and_code_before_defaults() {
        let code = Wishes { port: Some(80), max_body_size: Some(5), ..Wishes::default() };
        let got = settings(HttpOptions { port: Some(8000), ..HttpOptions::default() }, code);
        assert_eq!((got.port, got.limits.body_size, got.limits.header_size), (8000, 5, MAX_HEADER_SIZE));
    }

    #[test]
    fn a_unix_socket_alone_opens_no_port() {
        let unix = || HttpOptions { unix: Some("/run/x".into()), ..HttpOptions::default() };
        assert!(settings(unix(), Wishes::default()).hosts.is_empty());
        assert_eq!(settings(HttpOptions { port: Some(1), ..unix() }, Wishes::default()).hosts, ["127.0.0.1"]);
        assert_eq!(settings(HttpOptions::default(), Wishes::default()).hosts, ["127.0.0.1"]);
    }

    #[test]
    fn zero_means_no_limit() {
        let zero = HttpOptions {
            max_connections: Some(0),
            idle_timeout: Some(Duration::ZERO),
            header_timeout: Some(Duration::ZERO),
            ..HttpOptions::default()
        };
        let limits = settings(zero, Wishes::default()).limits;
        assert_eq!((limits.connections, limits.idle, limits.header), (usize::MAX, None, None));
    }
}
