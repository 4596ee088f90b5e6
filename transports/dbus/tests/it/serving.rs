//! Calls by clients that aren't ours.

use std::{
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use interloop::net::Net;

use crate::util::{Daemon, Echo, NAME, PATH, on_each_loop, said, start};

on_each_loop! {
    gdbus_busctl_and_dbus_send_are_answered
    handlers_run_on_the_loops_thread
    a_panic_is_answered_and_the_next_call_too
    what_there_is_not_is_an_error_and_the_next_call_is_answered
    a_long_answer_comes_whole
}

fn gdbus_busctl_and_dbus_send_are_answered<L: Net>() {
    let daemon = Daemon::start();
    let running = start::<L>(Echo::default().service(&daemon));

    assert_eq!(daemon.say("hello"), "('hello',)");
    let busctl = Command::new("busctl")
        .arg(format!("--address={}", daemon.address()))
        .args(["call", NAME, PATH, "org.example.Echo", "Say", "s", "hello"])
        .output()
        .expect("busctl is installed");
    assert_eq!(said(&busctl), "s \"hello\"");
    for count in 1..=3 {
        let answer = said(&daemon.call_later("org.example.Echo.Count").join().expect("no panic"));
        assert!(answer.ends_with(&format!("uint32 {count}")), "{answer}");
    }
    let xml = daemon.gdbus("org.freedesktop.DBus.Introspectable.Introspect", &[]);
    assert!(said(&xml).contains("org.example.Echo"), "{}", said(&xml));

    assert_eq!(running.stop().code, 0);
}

fn handlers_run_on_the_loops_thread<L: Net>() {
    let daemon = Daemon::start();
    let (echo, threads) = (Echo::default(), Arc::new(Mutex::new(Vec::new())));
    let at_home = threads.clone();
    let dbus = echo.service(&daemon).on_connect(move |_| {
        at_home.lock().expect("no panic").push(thread::current().id());
        async { Ok(()) }
    });
    let running = start::<L>(dbus);
    daemon.say("hello");
    assert_eq!(*echo.threads.lock().expect("no panic"), *threads.lock().expect("no panic"));
    assert_eq!(running.stop().code, 0);
}

fn a_panic_is_answered_and_the_next_call_too<L: Net>() {
    let daemon = Daemon::start();
    let running = start::<L>(Echo::default().service(&daemon));
    for method in ["org.example.Echo.Crash", "org.example.Echo.CrashMut"] {
        let answer = daemon.gdbus(method, &[]);
        assert!(said(&answer).contains("the handler panicked"), "{}", said(&answer));
    }
    let answer = daemon.gdbus("org.freedesktop.DBus.Properties.Get", &["org.example.Echo", "Bad"]);
    assert!(said(&answer).contains("the handler panicked"), "{}", said(&answer));
    assert_eq!(daemon.say("hello"), "('hello',)");
    assert_eq!(running.handle().status().tasks[0].counters["panics"], 3);
    assert_eq!(running.stop().code, 0);
}

fn what_there_is_not_is_an_error_and_the_next_call_is_answered<L: Net>() {
    let daemon = Daemon::start();
    let running = start::<L>(Echo::default().service(&daemon));
    let method = daemon.gdbus("org.example.Echo.Shout", &["hello"]);
    assert!(said(&method).contains("UnknownMethod"), "{}", said(&method));
    let object = daemon.gdbus_at(NAME, "/elsewhere", "org.example.Echo.Say", &["hello"]);
    assert!(said(&object).contains("UnknownObject"), "{}", said(&object));
    let busctl = Command::new("busctl")
        .arg(format!("--address={}", daemon.address()))
        .args(["call", NAME, PATH, "org.example.Echo", "Say", "u", "7"])
        .output()
        .expect("busctl is installed");
    assert!(!busctl.status.success(), "{}", said(&busctl));
    assert_eq!(daemon.say("hello"), "('hello',)");
    assert_eq!(running.stop().code, 0);
}

fn a_long_answer_comes_whole<L: Net>() {
    let daemon = Daemon::start();
    let running = start::<L>(Echo::default().service(&daemon));
    let handle = running.handle();
    let text = "a line of text, over and over. ".repeat(4000);
    // Longer than a socket takes at once: both ends must wait.
    assert_eq!(daemon.say(&text), format!("('{text}',)"));
    assert_eq!(handle.status().tasks[0].counters["calls"], 1);
    assert_eq!(running.stop().code, 0);
}
