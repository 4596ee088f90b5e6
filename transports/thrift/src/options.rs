//! The options of a server.

use std::time::Duration;

use interloop::{clap, options::duration};
use interloop_listen::{ListenOptions, size};

/// The options of a [`ThriftServer`](crate::ThriftServer), each with the task's name before it: `--thrift-port`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ThriftOptions {
    #[command(flatten)]
    pub(crate) listen: ListenOptions,

    #[cfg(feature = "tls")]
    #[command(flatten)]
    pub(crate) tls: interloop_listen::TlsOptions,

    /// Call handlers on so many threads; 0, the default, is on the loop's
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,

    /// Refuse frames, and unframed messages, that are longer; 16MiB by default
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_frame_size: Option<usize>,

    /// Refuse strings that are longer; as the frame by default
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_string_size: Option<usize>,

    /// Refuse lists, sets and maps of more elements; 1000000 by default
    #[arg(long, value_name = "N")]
    pub(crate) max_container_size: Option<usize>,

    /// Refuse structs and containers that are nested deeper; 64 by default
    #[arg(long, value_name = "N")]
    pub(crate) max_nesting: Option<usize>,

    /// Close connections that stand idle between two calls for so long; 10min by default, 0 is never. It also bounds how
    /// far a client may fall behind the least rate
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) idle_timeout: Option<Duration>,

    /// Close connections that take longer to send a call, from its first byte to its last; 30s by default, 0 is never
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) read_timeout: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_sound() {
        <ThriftOptions as clap::Args>::augment_args(clap::Command::new("thrift")).debug_assert();
    }
}
