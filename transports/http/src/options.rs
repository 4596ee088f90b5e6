//! The options of a server.

use std::time::Duration;

use interloop::{
    clap,
    options::{OptionDefaults, duration},
};
use interloop_listen::{ListenOptions, size};

/// The options of an [`HttpServer`](crate::HttpServer), each prefixed with the task's name: `--http-port`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct HttpOptions {
    #[command(flatten)]
    pub(crate) listen: ListenOptions,

    #[cfg(feature = "tls")]
    #[command(flatten)]
    pub(crate) tls: interloop_listen::TlsOptions,

    /// Refuse requests whose head is longer, with 431; 8KiB at least (default: 64KiB)
    #[arg(long, value_name = "SIZE", value_parser = header_size)]
    pub(crate) max_header_size: Option<usize>,

    /// Refuse requests whose body is longer, with 413 (default: 2MiB)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_body_size: Option<usize>,

    /// Close connections that are idle between two requests for this long; 0 is never. It also bounds how far a client
    /// may fall behind the minimum rate (default: 60s)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) idle_timeout: Option<Duration>,

    /// Close connections that take longer to send a request's head; 0 is never (default: 15s)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) header_timeout: Option<Duration>,

    #[cfg(feature = "http2")]
    /// Let an HTTP/2 connection have this many requests open at once; further ones wait at the client (default: 200)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_streams: Option<u32>,

    #[cfg(feature = "http2")]
    /// Ping HTTP/2 clients that have requests open, after this much silence; 0 is never (default: 60s)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) ping_interval: Option<Duration>,

    #[cfg(feature = "http2")]
    /// Close HTTP/2 connections whose client leaves a ping unanswered for this long (default: 20s)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) ping_timeout: Option<Duration>,
}

impl HttpOptions {
    /// Returns these options, except those of listening, as defaults that code has set.
    pub(crate) fn defaults(&self) -> OptionDefaults {
        let defaults = OptionDefaults::new()
            .with_some("max-header-size", self.max_header_size)
            .with_some("max-body-size", self.max_body_size)
            .with_duration("idle-timeout", self.idle_timeout)
            .with_duration("header-timeout", self.header_timeout);
        #[cfg(feature = "http2")]
        let defaults = defaults
            .with_some("max-streams", self.max_streams)
            .with_duration("ping-interval", self.ping_interval)
            .with_duration("ping-timeout", self.ping_timeout);
        defaults
    }

    /// Removes and returns the limit of bodies, if one was set: for transports that are built on this one, and enforce
    /// it themselves.
    pub fn take_max_body_size(&mut self) -> Option<usize> {
        self.max_body_size.take()
    }
}

/// hyper's read buffer is at least this large.
pub(crate) const LEAST_HEADER_SIZE: usize = 8 << 10;

fn header_size(text: &str) -> Result<usize, String> {
    match size(text)? {
        size if size < LEAST_HEADER_SIZE => Err("it must be 8KiB at least".to_owned()),
        size if u32::try_from(size).is_err() => Err("that is too large".to_owned()),
        size => Ok(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_sound() {
        <HttpOptions as clap::Args>::augment_args(clap::Command::new("http")).debug_assert();
    }

    #[test]
    fn each_option_has_a_method_of_its_name() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let server = crate::HttpServer::new(()).max_header_size(9999).max_body_size(2).max_streams(3);
        let server =
            server.idle_timeout(second).header_timeout(minute).ping_interval(2 * second).ping_timeout(2 * minute);
        let HttpOptions { max_header_size, max_body_size, max_streams, .. } = server.code;
        assert_eq!((max_header_size, max_body_size, max_streams), (Some(9999), Some(2), Some(3)));
        let HttpOptions { idle_timeout, header_timeout, ping_interval, ping_timeout, .. } = server.code;
        assert_eq!([idle_timeout, header_timeout], [Some(second), Some(minute)]);
        assert_eq!([ping_interval, ping_timeout], [Some(2 * second), Some(2 * minute)]);
    }

    #[test]
    fn the_least_header_size_is_that_of_the_buffer() {
        assert_eq!(header_size("8KiB"), Ok(8192));
        assert!(header_size("8191").is_err());
    }
}
