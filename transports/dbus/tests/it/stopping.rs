//! The stop: calls that have come are answered, and the deadline is kept.

use interloop::net::Net;

use crate::util::{Daemon, Echo, NAME, PATIENCE, on_each_loop, said, start};

on_each_loop! {
    a_call_in_flight_is_answered_after_the_name_is_released
    a_call_that_never_ends_is_cut_off_at_the_deadline
}

fn a_call_in_flight_is_answered_after_the_name_is_released<L: Net>() {
    let daemon = Daemon::start();
    let echo = Echo::default();
    let running = start::<L>(echo.service(&daemon));
    let call = daemon.call_later("org.example.Echo.Wait");
    echo.gate.wait_for_one();
    running.handle().request_shutdown("test");
    // dbus-daemon would start no service of this name: it is an error once nobody owns it.
    let deadline = std::time::Instant::now() + PATIENCE;
    while daemon.gdbus("org.freedesktop.DBus.Peer.Ping", &[]).status.success() {
        assert!(std::time::Instant::now() < deadline, "{NAME} is still there");
    }
    echo.gate.open();
    let answer = said(&call.join().expect("no panic"));
    assert!(answer.ends_with("string \"through\""), "{answer}");
    assert_eq!(running.join().code, 0);
}

fn a_call_that_never_ends_is_cut_off_at_the_deadline<L: Net>() {
    let daemon = Daemon::start();
    let echo = Echo::default();
    let running = start::<L>(echo.service(&daemon));
    let call = daemon.call_later("org.example.Echo.Wait");
    echo.gate.wait_for_one();
    let report = running.stop();
    assert_eq!(report.code, 124, "{report:?}");
    assert!(report.stuck.is_empty(), "{report:?}");
    // Its bus tells the caller that nobody will answer.
    assert!(!call.join().expect("no panic").status.success());
}
