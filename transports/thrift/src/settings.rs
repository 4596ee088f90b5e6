//! The settings of a server: the code's values, overridden by the options.

use std::time::Duration;

use interloop::Result;
use interloop_listen::{Listen, Pace, Place, unless_zero};

use crate::{options::ThriftOptions, walk::Limits};

/// The settings of a server.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) place: Place,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<interloop_listen::TlsSettings>,
    /// 0 means the loop's thread.
    pub(crate) workers: usize,
    pub(crate) limits: Limits,
    pub(crate) times: Times,
}

/// The time limits of a client; None is no limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Between two calls.
    pub(crate) idle: Option<Duration>,
    /// From the first byte of a call to its last.
    pub(crate) read: Option<Duration>,
    /// The minimum rate at which a call must come, and an answer be taken.
    pub(crate) pace: Pace,
}

pub(crate) const MAX_FRAME_SIZE: usize = 16 << 20;
pub(crate) const MAX_CONTAINER_SIZE: usize = 1_000_000;
pub(crate) const MAX_NESTING: usize = 64;
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
const READ_TIMEOUT: Duration = Duration::from_secs(30);

impl Settings {
    /// Returns the number of workers; 0 means the loop's thread.
    pub(crate) fn workers(options: &ThriftOptions, code: &ThriftOptions) -> usize {
        options.workers.or(code.workers).unwrap_or(0)
    }

    /// Resolves the settings: the options take precedence, then the code, then the defaults. An error concerns TLS; the
    /// files are not read yet.
    pub(crate) fn new(options: &ThriftOptions, code: &ThriftOptions, listen: &Listen) -> Result<Self> {
        #[cfg(not(feature = "tls"))]
        listen.check_without_tls()?;
        let message = options.max_frame_size.or(code.max_frame_size).unwrap_or(MAX_FRAME_SIZE);
        let limits = Limits {
            message,
            string: options.max_string_size.or(code.max_string_size).unwrap_or(message),
            container: options.max_container_size.or(code.max_container_size).unwrap_or(MAX_CONTAINER_SIZE),
            nesting: options.max_nesting.or(code.max_nesting).unwrap_or(MAX_NESTING),
        };
        let idle = unless_zero(options.idle_timeout.or(code.idle_timeout).unwrap_or(IDLE_TIMEOUT));
        let times = Times {
            idle,
            pace: listen.pace(&options.listen, idle),
            read: unless_zero(options.read_timeout.or(code.read_timeout).unwrap_or(READ_TIMEOUT)),
        };
        Ok(Self {
            place: listen.place(&options.listen),
            #[cfg(feature = "tls")]
            tls: listen.tls_settings(&options.tls)?,
            workers: Self::workers(options, code),
            limits,
            times,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_before_code_and_code_before_defaults() {
        let code = ThriftOptions { workers: Some(2), max_frame_size: Some(5), ..ThriftOptions::default() };
        let got = Settings::new(&ThriftOptions { workers: Some(3), ..ThriftOptions::default() }, &code, &Listen::new())
            .unwrap();
        assert_eq!((got.workers, got.limits.message, got.limits.nesting), (3, 5, MAX_NESTING));
        assert_eq!(got.limits.string, 5);
    }

    #[test]
    fn zero_means_no_limit() {
        let zero = Some(Duration::ZERO);
        let zero = ThriftOptions { idle_timeout: zero, read_timeout: zero, ..ThriftOptions::default() };
        let got = Settings::new(&zero, &ThriftOptions::default(), &Listen::new()).unwrap();
        assert_eq!((got.times.idle, got.times.read), (None, None));
    }
}
