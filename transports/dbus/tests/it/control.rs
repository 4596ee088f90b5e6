//! The object `org.interloop.Service`.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use interloop::{RestartPolicy, Service, Thread, task_fn};
use interloop_dbus::SERVICE_PATH;

use crate::util::{Daemon, Echo, NAME, PATIENCE, said, start};

fn ask(daemon: &Daemon, method: &str, args: &[&str]) -> String {
    said(&daemon.gdbus_at(NAME, SERVICE_PATH, &format!("org.interloop.Service.{method}"), args))
}

#[test]
fn tasks_options_and_uptime_are_told_and_shutdown_stops_the_service() {
    let _watchdog = crate::util::watchdog();
    let daemon = Daemon::start();
    let running = start::<Thread>(Echo::default().service(&daemon));
    assert_eq!(ask(&daemon, "ListTasks", &[]), "([('dbus', 'running', uint32 1)],)");
    assert!(ask(&daemon, "ListOptions", &[]).contains("'dbus-bus-name'"));
    assert_eq!(ask(&daemon, "GetOption", &["dbus-replace"]), "('false',)");
    assert_eq!(ask(&daemon, "GetOption", &["dbus-bus-name"]), format!("('{NAME}',)"));
    assert_eq!(ask(&daemon, "GetOption", &["config"]), "('__None__',)");
    assert!(ask(&daemon, "GetOptions", &[]).contains("'dbus-queue': 'false'"));
    assert!(ask(&daemon, "GetOption", &["nonsense"]).contains("no option nonsense"));
    assert!(ask(&daemon, "SetOption", &["nonsense", "1"]).contains("InvalidArgs"));
    assert!(ask(&daemon, "Uptime", &[]).starts_with('('));
    assert_eq!(ask(&daemon, "Shutdown", &[]), "()");
    let report = running.join();
    assert_eq!(report.code, 0);
    assert_eq!(report.reason.to_string(), "asked over D-Bus");
}

#[test]
fn an_option_is_set_while_the_service_runs() {
    let _watchdog = crate::util::watchdog();
    let daemon = Daemon::start();
    let running = start::<Thread>(Echo::default().service(&daemon));
    assert_eq!(ask(&daemon, "SetOption", &["shutdown-timeout", "7s"]), "()");
    assert_eq!(ask(&daemon, "GetOption", &["shutdown-timeout"]), "('7s',)");
    assert!(ask(&daemon, "SetOption", &["shutdown-timeout", "soon"]).contains("InvalidArgs"));
    assert_eq!(ask(&daemon, "GetOption", &["shutdown-timeout"]), "('7s',)");
    assert_eq!(running.stop().code, 0);
}

#[test]
fn each_transition_is_a_signal() {
    let _watchdog = crate::util::watchdog();
    let daemon = Daemon::start();
    let mut service = Service::new("echo");
    service.task_on::<Thread>("dbus", Echo::default().service(&daemon));
    let wait = || {
        task_fn::<Thread>(async |cx| {
            cx.until_shutdown().await;
            Ok(())
        })
    };
    service.task_with("other", wait).restart(RestartPolicy::on_failure());
    let running = service.start().expect("it starts");
    assert!(running.handle().wait_started_timeout(PATIENCE));

    let mut monitor = Command::new("gdbus")
        .args(["monitor", "--address", &daemon.address(), "--dest", NAME])
        .stdout(Stdio::piped())
        .spawn()
        .expect("gdbus is installed");
    let lines = BufReader::new(monitor.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let (tell, told) = mpsc::channel();
    let reader = thread::spawn(move || lines.for_each(|line| drop(tell.send(line))));
    // It doesn't report when it has begun to listen: repeat until it has heard one.
    let told = loop {
        running.handle().restart_task("other").expect("there is one");
        let begun = Instant::now();
        let rest = || Duration::from_millis(200).saturating_sub(begun.elapsed());
        let lines = std::iter::from_fn(|| told.recv_timeout(rest()).ok());
        if let Some(line) = lines.into_iter().find(|line| line.contains("'stopping'")) {
            break line;
        }
    };
    assert!(told.contains("org.interloop.Service.Transition ('other', 'running', 'stopping', "), "{told}");
    monitor.kill().expect("it is our child");
    monitor.wait().expect("it is our child");
    reader.join().expect("no panic");
    assert_eq!(running.stop().code, 0);
}
