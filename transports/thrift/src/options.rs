//! The options of a server.

use std::time::Duration;

use interloop::{
    clap,
    options::{OptionDefaults, duration},
};
use interloop_listen::{ListenOptions, size};

/// The options of a [`ThriftServer`](crate::ThriftServer), each prefixed with the task's name: `--thrift-port`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ThriftOptions {
    #[command(flatten)]
    pub(crate) listen: ListenOptions,

    #[cfg(feature = "tls")]
    #[command(flatten)]
    pub(crate) tls: interloop_listen::TlsOptions,

    /// Call handlers on this many threads; 0 is on the loop's (default: 0)
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,

    /// Refuse frames, and unframed messages, that are longer (default: 16MiB)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_frame_size: Option<usize>,

    /// Refuse strings that are longer (default: as for frames)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_string_size: Option<usize>,

    /// Refuse lists, sets and maps of more elements (default: 1000000)
    #[arg(long, value_name = "N")]
    pub(crate) max_container_size: Option<usize>,

    /// Refuse structs and containers that are nested deeper (default: 64)
    #[arg(long, value_name = "N")]
    pub(crate) max_nesting: Option<usize>,

    /// Close connections that are idle between two calls for this long; 0 is never. It also bounds how far a client may
    /// fall behind the minimum rate (default: 10min)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) idle_timeout: Option<Duration>,

    /// Close connections that take longer to send a call, from its first byte to its last; 0 is never (default: 30s)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) read_timeout: Option<Duration>,
}

impl ThriftOptions {
    /// Returns these options, except those of listening, as defaults that code has set.
    pub(crate) fn defaults(&self) -> OptionDefaults {
        OptionDefaults::new()
            .with_some("workers", self.workers)
            .with_some("max-frame-size", self.max_frame_size)
            .with_some("max-string-size", self.max_string_size)
            .with_some("max-container-size", self.max_container_size)
            .with_some("max-nesting", self.max_nesting)
            .with_duration("idle-timeout", self.idle_timeout)
            .with_duration("read-timeout", self.read_timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_sound() {
        <ThriftOptions as clap::Args>::augment_args(clap::Command::new("thrift")).debug_assert();
    }
}
