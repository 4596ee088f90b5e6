//! Python's own D-Bus as client. Debian: python3-dbus and python3-gi, by scripts/setup.

use std::process::Command;

use interloop::{Service, Thread, net::Net, task_fn};

use crate::util::{Daemon, Echo, NAME, PATIENCE, on_each_loop, said};

const PYTHON: &str = "/usr/bin/python3";
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/client.py");

on_each_loop! {
    python_calls_each_member_and_hears_of_transitions
}

fn python_calls_each_member_and_hears_of_transitions<L: Net>() {
    let daemon = Daemon::start();
    let mut service = Service::new("echo");
    let (echo, bus) = (Echo::default(), daemon.address());
    service.task_with::<L>("dbus", move || echo.service_at(&bus));
    let wait = || {
        task_fn::<Thread>(async |cx| {
            cx.until_shutdown().await;
            Ok(())
        })
    };
    // Stops before the bus is left, and starts when it is back.
    service.task_with("other", wait).requires("dbus");
    let running = service.start().expect("it starts");
    assert!(running.handle().wait_started_timeout(PATIENCE), "{:?}", running.handle().status());
    let client = Command::new(PYTHON).args([CLIENT, &daemon.address(), NAME]).output().expect("there is a python3");
    assert_eq!(said(&client), "all is well");
    let report = running.join();
    assert_eq!(report.code, 0);
    assert_eq!(report.reason.to_string(), "asked over D-Bus");
}
