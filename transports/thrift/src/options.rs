//! The options of a server.

use std::{path::PathBuf, time::Duration};

use interloop::{clap, duration};
use interloop_listen::{mode, size};

/// The options of a [`ThriftServer`](crate::ThriftServer), each with the task's name before it: `--thrift-port`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ThriftOptions {
    /// Listen on these addresses or host names; 127.0.0.1, unless there is a Unix socket
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub(crate) host: Vec<String>,

    /// Listen on this port; 0, the default, is any free one
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,

    /// Listen on this Unix socket
    #[arg(long, value_name = "PATH")]
    pub(crate) unix: Option<PathBuf>,

    /// The Unix socket's permissions, octal; 0660 by default
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub(crate) unix_mode: Option<u32>,

    /// The Unix socket's group, by name or number
    #[arg(long, value_name = "GROUP")]
    pub(crate) unix_group: Option<String>,

    /// Call handlers on so many threads; 0, the default, is on the loop's
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,

    /// Serve so many connections at once, others wait; 0, the default, is any number
    #[arg(long, value_name = "N")]
    pub(crate) max_connections: Option<usize>,

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

    /// Close connections that stand idle between two calls, or take nothing of an answer, for so long; 10min by default, 0
    /// is never
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
