//! A service by zbus alone, as a program: see `bare_dbus.rs`; and the interface that all servers share.

use std::process::Command;

use zbus::interface;

use crate::process::sibling;
use crate::suite::Failure;

/// The comparison of D-Bus by CPU time.
pub const DBUS: &str = "dbus-cpu";
/// The number of calls that are under way at once.
pub const CALLS: usize = 16;
/// The contestant that D-Bus is compared with.
pub const BARE_ZBUS: &str = "bare zbus, its own runtime";
/// The recommendation that it follows.
pub const LINK: &str = "https://docs.rs/zbus/latest/zbus/connection/struct.Builder.html";

/// The bus name to call.
pub const NAME: &str = "org.interloop.Bench";
/// The object's path.
pub const PATH: &str = "/org/interloop/Bench";

/// Adds two numbers.
#[derive(Clone, Copy, Debug)]
pub struct Sums;

#[interface(name = "org.interloop.Bench")]
impl Sums {
    fn add(&self, left: i64, right: i64) -> i64 {
        left.wrapping_add(right)
    }
}

/// Returns the command of the bare service.
pub fn bare_zbus(bus: &str) -> Result<Command, Failure> {
    let mut command = Command::new(sibling("bare-dbus")?);
    command.arg(bus);
    Ok(command)
}
