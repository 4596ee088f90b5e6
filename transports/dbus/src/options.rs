//! The options of a service on the bus.

use std::time::Duration;

use interloop::{clap, options::duration};

/// The options of a [`DbusService`](crate::DbusService), each prefixed with the task's name: `--dbus-bus-name`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct DbusOptions {
    /// Own this name on the bus, instead of the program's
    #[arg(long, value_name = "NAME")]
    pub(crate) bus_name: Option<String>,

    /// Take the name from an owner that allows that, and allow others to take it
    #[arg(long)]
    pub(crate) replace: bool,

    /// Wait for the name if it is taken
    #[arg(long)]
    pub(crate) queue: bool,

    /// Use the system bus, instead of the session's
    #[arg(long)]
    pub(crate) system_bus: bool,

    /// Use the bus at this address: unix:path=/run/my-bus
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Option<String>,

    /// Answer at most this many calls at once, and a quarter of that for each caller; refuse others (default: 1024)
    #[arg(long, value_name = "N")]
    pub(crate) max_calls: Option<usize>,

    /// Give up if the bus takes longer to let the service in (default: 25s)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) connect_timeout: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_sound() {
        <DbusOptions as clap::Args>::augment_args(clap::Command::new("dbus")).debug_assert();
    }
}
