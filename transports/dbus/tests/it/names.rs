//! One name and two services; the bus gone, and back.

use std::sync::mpsc;

use futures_util::StreamExt;
use interloop::{Service, Thread, net::Net};
use interloop_dbus::{Bus, DbusService, Lost, zbus};

use crate::util::{Daemon, Echo, NAME, PATIENCE, on_each_loop, said, start, wait_for_counter};

on_each_loop! {
    a_name_that_is_taken_fails_the_start
    the_one_in_the_queue_has_the_name_when_the_other_stops
    who_is_replaced_stops_its_service
    who_is_replaced_waits_and_has_the_name_again
    without_a_bus_the_start_fails
    the_bus_gone_under_load_stops_the_service
    the_bus_gone_under_load_and_back_the_name_is_taken_again
}

fn another(daemon: &Daemon) -> DbusService {
    DbusService::new(NAME).bus(Bus::Address(daemon.address()))
}

fn a_name_that_is_taken_fails_the_start<L: Net>() {
    let daemon = Daemon::start();
    let first = start::<L>(Echo::default().service(&daemon));
    let mut second = Service::new("second");
    second.task_on::<Thread>("dbus", another(&daemon));
    let second = second.start().expect("it can be started");
    assert!(!second.handle().wait_started_timeout(PATIENCE));
    let report = second.join();
    assert_eq!(report.code, 1);
    assert!(format!("{report:?}").contains("org.example.Echo is taken"), "{report:?}");
    assert_eq!(daemon.say("still here"), "('still here',)");
    assert_eq!(first.stop().code, 0);
}

fn the_one_in_the_queue_has_the_name_when_the_other_stops<L: Net>() {
    let daemon = Daemon::start();
    let first = start::<Thread>(another(&daemon));
    let echo = Echo::default();
    let second = start::<L>(echo.service(&daemon).queue(true));
    assert_eq!(second.handle().status().tasks[0].gauges["name_owned"], 0.0);
    assert_eq!(first.stop().code, 0);
    // The bus has passed the name on with the first one's release.
    assert_eq!(daemon.say("mine"), "('mine',)");
    assert_eq!(second.stop().code, 0);
}

fn who_is_replaced_stops_its_service<L: Net>() {
    let daemon = Daemon::start();
    let first = start::<Thread>(another(&daemon).replace(true));
    let second = start::<L>(Echo::default().service(&daemon).replace(true));
    let report = first.join();
    assert_eq!(report.code, 1);
    assert!(format!("{report:?}").contains("was taken by another"), "{report:?}");
    assert_eq!(daemon.say("mine"), "('mine',)");
    assert_eq!(second.stop().code, 0);
}

fn who_is_replaced_waits_and_has_the_name_again<L: Net>() {
    let daemon = Daemon::start();
    let first = start::<L>(Echo::default().service(&daemon).replace(true).when_lost(Lost::Wait));
    let second = start::<Thread>(another(&daemon).replace(true));
    wait_for_counter(&first.handle(), "name_losses", 1);
    assert_eq!(first.handle().warnings().len(), 1);
    assert_eq!(second.stop().code, 0);
    assert_eq!(daemon.say("mine again"), "('mine again',)");
    assert_eq!(first.stop().code, 0);
}

fn without_a_bus_the_start_fails<L: Net>() {
    let mut daemon = Daemon::start();
    daemon.kill();
    let mut service = Service::new("lonely");
    service.task_on::<L>("dbus", another(&daemon).when_lost(Lost::Wait));
    let running = service.start().expect("it can be started");
    assert_eq!(running.join().code, 1);
}

fn the_bus_gone_under_load_stops_the_service<L: Net>() {
    let mut daemon = Daemon::start();
    let echo = Echo::default();
    let running = start::<L>(echo.service(&daemon));
    let call = daemon.call_later("org.example.Echo.Wait");
    echo.gate.wait_for_one();
    daemon.kill();
    assert!(!call.join().expect("no panic").status.success());
    let report = running.join();
    assert_eq!(report.code, 1);
    assert!(format!("{report:?}").contains("the bus is gone"), "{report:?}");
}

fn the_bus_gone_under_load_and_back_the_name_is_taken_again<L: Net>() {
    let mut daemon = Daemon::start();
    let echo = Echo::default();
    let dbus = echo.service(&daemon).when_lost(Lost::Wait);
    let handle = dbus.handle();
    let running = start::<L>(dbus);
    let call = daemon.call_later("org.example.Echo.Wait");
    echo.gate.wait_for_one();
    daemon.kill();
    assert!(!call.join().expect("no panic").status.success());
    wait_for_counter(&running.handle(), "bus_losses", 1);
    assert!(handle.connection().is_none());
    daemon.start_again();
    wait_for_counter(&running.handle(), "connections", 2);
    // Calls wait for nothing: the name comes with the connection.
    assert_eq!(daemon.say("back"), "('back',)");
    echo.gate.open();
    assert_eq!(running.stop().code, 0);
}

#[test]
fn signals_come_in_and_calls_go_out_on_the_loop() {
    let _watchdog = crate::util::watchdog();
    let daemon = Daemon::start();
    let (heard, names) = mpsc::channel();
    let listener =
        DbusService::new("org.example.Listener").bus(Bus::Address(daemon.address())).on_connect(move |connection| {
            let heard = heard.clone();
            async move {
                let bus = zbus::fdo::DBusProxy::new(&connection).await?;
                let mut changes = bus.receive_name_owner_changed().await?;
                let listed = bus.list_names().await?.iter().any(|name| name.as_str() == "org.freedesktop.DBus");
                let _ = heard.send(format!("lists: {listed}"));
                while let Some(change) = changes.next().await {
                    let _ = heard.send(change.args()?.name.to_string());
                }
                Ok(())
            }
        });
    let listening = start::<Thread>(listener);
    assert_eq!(names.recv_timeout(PATIENCE).as_deref(), Ok("lists: true"));
    let other = start::<interloop_glib::Glib>(Echo::default().service(&daemon));
    while names.recv_timeout(PATIENCE).expect("it is told") != NAME {}
    assert_eq!(other.stop().code, 0);
    assert_eq!(listening.stop().code, 0);
}

#[test]
fn a_connection_works_on_other_threads_and_fails_once_its_task_has_ended() {
    let _watchdog = crate::util::watchdog();
    let daemon = Daemon::start();
    let dbus = Echo::default().service(&daemon);
    let handle = dbus.handle();
    let running = start::<Thread>(dbus);
    let connection = handle.connection().expect("it is ready");
    // More than a socket takes at once, from a thread that isn't the loop's.
    let text = "x".repeat(3 << 20);
    let call = |connection: zbus::Connection| {
        let text = text.clone();
        let call = async move { connection.call_method(Some(NAME), crate::util::PATH, Some(NAME), "Say", &text).await };
        futures_executor::block_on(call)
    };
    let answer = call(connection.clone()).expect("it answers");
    assert_eq!(answer.body().deserialize::<String>().expect("text"), text);
    assert_eq!(running.stop().code, 0);
    assert!(call(connection).is_err());
    assert!(handle.connection().is_none());
}

#[test]
fn options_come_before_the_code() {
    let _watchdog = crate::util::watchdog();
    let daemon = Daemon::start();
    let first = start::<Thread>(another(&daemon));
    let mut service = Service::new("echo");
    let echo = Echo::default();
    let address = format!("--dbus-address={}", daemon.address());
    let dbus = echo.service(&daemon).bus(Bus::System);
    service.task_on::<Thread>("dbus", dbus);
    let args = [address.as_str(), "--dbus-bus-name=org.example.Other", "--dbus-queue", "--dbus-replace"];
    service.arguments(args);
    let running = service.start().expect("it starts");
    assert!(running.handle().wait_started_timeout(PATIENCE), "{:?}", running.handle().status());
    let answer = daemon.gdbus_at("org.example.Other", crate::util::PATH, "org.example.Echo.Say", &["hello"]);
    assert_eq!(said(&answer), "('hello',)");
    assert_eq!(running.stop().code, 0);
    assert_eq!(first.stop().code, 0);
}

#[test]
fn help_and_dry_run_show_what_the_code_has_set() {
    use interloop_dbus::{Bus, DbusService};
    let service = |bus: Bus| {
        let mut service = interloop::Service::new("told");
        let object = DbusService::new("org.example.Told").bus(bus).replace(true).queue(true).max_calls(5);
        service.task_on::<interloop::Thread>("dbus", object.connect_timeout(std::time::Duration::from_secs(60)));
        service
    };
    let values = [
        ("bus-name", "org.example.Told"),
        ("replace", "true"),
        ("queue", "true"),
        ("max-calls", "5"),
        ("connect-timeout", "1m"),
    ];
    for (bus, value) in [
        (Bus::System, ("system-bus", "true")),
        (Bus::Address("unix:path=/run/told".into()), ("address", "unix:path=/run/told")),
    ] {
        let values = values.into_iter().chain([value]).collect::<Vec<_>>();
        interloop_transport_tests::shows_what_code_has_set(|| service(bus.clone()), "dbus", &values);
    }
}
