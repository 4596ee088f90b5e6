//! Sums over D-Bus on any loop: `bus-on --dbus-loop glib --dbus-address unix:path=/tmp/bus`.

use std::process::ExitCode;

use interloop::{Service, Thread};
use interloop_benches::baseline::dbus::{NAME, PATH, Sums};
use interloop_dbus::DbusService;
use interloop_glib::Glib;
use interloop_tokio::Tokio;

fn main() -> ExitCode {
    let mut service = Service::new("bus-on");
    service.task_any::<(Thread, Tokio, Glib)>("dbus", DbusService::new(NAME).at(PATH, || Sums));
    service.run()
}
