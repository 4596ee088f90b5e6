//! A counter on the session bus, on the loop that the user chooses.
//!
//! ```sh
//! dbus-service --dbus-loop glib
//! gdbus call --session --dest org.example.Counter --object-path /org/example/Counter --method org.example.Counter.Add 3
//! gdbus call --session --dest org.example.Counter --object-path /org/interloop/Service --method org.interloop.Service.ListTasks
//! ```
//!
//! The first command calls the user's interface, made with zbus's macro; the second calls the one that every service
//! has. A second instance with `--dbus-queue` waits until the first has ended.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use interloop::{Service, Thread};
use interloop_dbus::{DbusService, Lost};
use interloop_glib::Glib;
use interloop_tokio::Tokio;
use zbus::interface;

/// A counter whose number outlives the connection.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicI64>);

#[interface(name = "org.example.Counter")]
impl Counter {
    fn add(&self, number: i64) -> i64 {
        self.0.fetch_add(number, Ordering::Relaxed).wrapping_add(number)
    }

    #[zbus(property)]
    fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn main() -> ExitCode {
    let mut service = Service::new("dbus-service");
    let counter = Counter::default();
    let dbus = DbusService::new("org.example.Counter").at("/org/example/Counter", move || counter.clone());
    service.task_any::<(Thread, Tokio, Glib)>("dbus", dbus.when_lost(Lost::Wait));
    service.run()
}
