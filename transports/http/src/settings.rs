//! The settings of a server: the code's values, overridden by the options.

use std::time::Duration;

use interloop::Result;
use interloop_listen::{Listen, Pace, Place, unless_zero};

use crate::{options::HttpOptions, peer::PeerExtensions};

/// The settings of a server.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) place: Place,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<interloop_listen::TlsSettings>,
    pub(crate) limits: Limits,
    pub(crate) peers: PeerExtensions,
    /// A descriptor is kept in reserve, for one more connection when there is no other.
    pub(crate) with_spare: bool,
}

/// The limits of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) header_size: usize,
    pub(crate) body_size: usize,
    /// Between two requests of a connection; None is no limit.
    pub(crate) idle: Option<Duration>,
    /// From the start of a connection, or the first byte of a later request, to the end of the request's head.
    pub(crate) header: Option<Duration>,
    /// The minimum rate for the rest of a request's body, and for taking a response.
    pub(crate) pace: Pace,
    #[cfg(feature = "http2")]
    /// The maximum number of concurrent requests on an HTTP/2 connection.
    pub(crate) streams: u32,
    #[cfg(feature = "http2")]
    /// The silence after which an HTTP/2 client with open requests is pinged; None is never.
    pub(crate) ping: Option<Duration>,
    #[cfg(feature = "http2")]
    /// How long its answer may take.
    pub(crate) pong: Duration,
}

/// How often a connection's waits are checked within a limit.
pub(crate) const LOOKS: u32 = 4;
pub(crate) const SHORTEST_LOOK: Duration = Duration::from_millis(1);

impl Limits {
    /// Returns how long to wait before the next check, if this much time is left. By then the connection may wait for
    /// something else, with another limit; so the shortest limit determines how often it is checked.
    pub(crate) fn look(&self, rest: Duration) -> Duration {
        let shortest = self.idle.into_iter().chain(self.header).chain(self.pace.grace).min().unwrap_or(rest);
        rest.min((shortest / LOOKS).max(SHORTEST_LOOK))
    }
}

pub(crate) const MAX_HEADER_SIZE: usize = 64 << 10;
pub(crate) const MAX_BODY_SIZE: usize = 2 << 20;
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
#[cfg(feature = "http2")]
pub(crate) const MAX_STREAMS: u32 = 200;
#[cfg(feature = "http2")]
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(60);
#[cfg(feature = "http2")]
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(20);
#[cfg(feature = "http2")]
/// How much of a response hyper may hold for a stream whose client doesn't take it.
pub(crate) const SEND_BUFFER: usize = 64 << 10;

impl Settings {
    /// Resolves the settings: the options take precedence, then the code, then the defaults. An error concerns TLS; the
    /// files are not read yet.
    pub(crate) fn new(
        options: &HttpOptions,
        code: &HttpOptions,
        listen: &Listen,
        peers: &PeerExtensions,
    ) -> Result<Self> {
        #[cfg(not(feature = "tls"))]
        listen.check_without_tls()?;
        let idle = unless_zero(options.idle_timeout.or(code.idle_timeout).unwrap_or(IDLE_TIMEOUT));
        let limits = Limits {
            header_size: options.max_header_size.or(code.max_header_size).unwrap_or(MAX_HEADER_SIZE),
            body_size: options.max_body_size.or(code.max_body_size).unwrap_or(MAX_BODY_SIZE),
            idle,
            header: unless_zero(options.header_timeout.or(code.header_timeout).unwrap_or(HEADER_TIMEOUT)),
            pace: listen.pace(&options.listen, idle),
            #[cfg(feature = "http2")]
            streams: options.max_streams.or(code.max_streams).unwrap_or(MAX_STREAMS).max(1),
            #[cfg(feature = "http2")]
            ping: unless_zero(options.ping_interval.or(code.ping_interval).unwrap_or(PING_INTERVAL)),
            #[cfg(feature = "http2")]
            pong: options.ping_timeout.or(code.ping_timeout).unwrap_or(PING_TIMEOUT),
        };
        Ok(Self {
            place: listen.place(&options.listen),
            #[cfg(feature = "tls")]
            tls: listen.tls_settings(&options.tls)?,
            limits,
            peers: peers.clone(),
            with_spare: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_before_code_and_code_before_defaults() {
        let code = HttpOptions { idle_timeout: Some(HEADER_TIMEOUT), max_body_size: Some(5), ..HttpOptions::default() };
        let options = HttpOptions { idle_timeout: Some(IDLE_TIMEOUT), ..HttpOptions::default() };
        let limits = Settings::new(&options, &code, &Listen::new(), &PeerExtensions::default()).unwrap().limits;
        assert_eq!((limits.idle, limits.body_size, limits.header_size), (Some(IDLE_TIMEOUT), 5, MAX_HEADER_SIZE));
    }

    #[test]
    fn zero_means_no_limit() {
        let zero = Some(Duration::ZERO);
        let zero = HttpOptions { idle_timeout: zero, header_timeout: zero, ..HttpOptions::default() };
        let limits =
            Settings::new(&zero, &HttpOptions::default(), &Listen::new(), &PeerExtensions::default()).unwrap().limits;
        assert_eq!((limits.idle, limits.header), (None, None));
    }
}
