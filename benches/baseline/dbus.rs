//! A service by zbus alone, as a program: see `bare_dbus.rs`; and its interface, which is that of all servers.

use std::process::Command;

use zbus::interface;

use crate::process::sibling;
use crate::suite::Failure;

/// The comparison of D-Bus by CPU time.
pub const DBUS: &str = "dbus-cpu";
/// How many calls are under way.
pub const CALLS: usize = 16;
/// What D-Bus is compared with.
pub const BARE_ZBUS: &str = "bare zbus, its own runtime";
/// Where that is recommended.
pub const LINK: &str = "https://docs.rs/zbus/latest/zbus/connection/struct.Builder.html";

/// What is called.
pub const NAME: &str = "org.interloop.Bench";
/// Where it is.
pub const PATH: &str = "/org/interloop/Bench";

/// Adds.
#[derive(Clone, Copy, Debug)]
pub struct Sums;

#[interface(name = "org.interloop.Bench")]
impl Sums {
    fn add(&self, left: i64, right: i64) -> i64 {
        left.wrapping_add(right)
    }
}

/// The command of the bare service.
pub fn bare_zbus(bus: &str) -> Result<Command, Failure> {
    let mut command = Command::new(sibling("bare-dbus")?);
    command.arg(bus);
    Ok(command)
}
