//! The service under a real `systemd --user`.

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use interloop_e2e::{Unit, UserManager, binary, get, watched};

/// Returns the section of a unit that runs this program.
fn notify(program: &str, arguments: &str, more: &str) -> String {
    format!("Type=notify\nExecStart={} {arguments}\n{more}", binary(program).display())
}

fn kind(kind: &str, arguments: &str, more: &str) -> String {
    notify("supervised", arguments, &format!("Environment=KIND={kind}\n{more}"))
}

#[test]
fn a_start_that_is_slow_names_what_it_waits_for() {
    watched(|| {
        let manager = UserManager::start();
        let unit = manager.unit(&kind("slow", "", ""));
        let waiting = manager.systemctl(&["start", "--no-block", &unit.name]);
        assert!(waiting.status.success());
        unit.wait_for("StatusText", |text| text == "starting: waiting for db");
        assert_eq!(unit.show("ActiveState"), "activating");
        unit.wait_for("ActiveState", |state| state == "active");
        assert_eq!(unit.show("StatusText"), "running");
    });
}

#[test]
fn a_start_that_may_take_longer_than_the_manager_expects_is_not_killed() {
    watched(|| {
        let manager = UserManager::start();
        let unit = manager.unit(&kind("slower", "", "TimeoutStartSec=2"));
        assert_eq!(unit.start().0, 0, "{}", unit.log());
        assert_eq!(unit.show("StatusText"), "running");
    });
}

#[test]
fn a_service_that_is_done_at_once_has_started() {
    watched(|| {
        let manager = UserManager::start();
        let unit = manager.unit(&kind("once", "", ""));
        for _ in 0..30 {
            assert_eq!(unit.start().0, 0, "{}", unit.log());
            unit.wait_for("ActiveState", |state| state == "inactive");
            assert_eq!(unit.show("Result"), "success");
        }
    });
}

#[test]
fn after_a_reload_of_a_bad_file_the_service_stays_active_and_says_so() {
    watched(|| {
        let manager = UserManager::start();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("options.toml");
        fs::write(&file, "number = 1\n").unwrap();
        let reload = "ExecReload=kill -HUP $MAINPID";
        let unit = manager.unit(&kind("idle", &format!("--config {}", file.display()), reload));
        assert_eq!(unit.start().0, 0);
        fs::write(&file, "number = \"many\"\n").unwrap();
        assert_eq!(unit.control("reload").0, 0);
        unit.wait_for("StatusText", |text| text.starts_with("running; not reloaded: "));
        unit.wait_for("ActiveState", |state| state == "active");
        unit.wait_for_log("not reloaded:");
        fs::write(&file, "number = 2\n").unwrap();
        assert_eq!(unit.control("reload").0, 0);
        unit.wait_for("StatusText", |text| text == "running");
        assert_eq!(unit.stop().0, 0);
        assert_eq!(unit.show("Result"), "success");
    });
}

#[test]
fn a_stop_that_drains_for_longer_than_the_manager_expects_is_not_killed() {
    watched(|| {
        let manager = UserManager::start();
        let arguments = "--drain-delay 8s --shutdown-timeout 100s";
        let unit = manager.unit(&kind("idle", arguments, "TimeoutStopSec=2\nWatchdogSec=2"));
        assert_eq!(unit.start().0, 0);
        assert!(manager.systemctl(&["stop", "--no-block", &unit.name]).status.success());
        unit.wait_for("StatusText", |text| text == "stopping (TERM): draining");
        unit.wait_for("ActiveState", |state| state == "inactive");
        assert_eq!(
            (unit.show("Result"), unit.show("ExecMainStatus")),
            ("success".into(), "0".into()),
            "{}",
            unit.log()
        );
    });
}

#[test]
fn a_stop_of_the_whole_control_group_is_no_failure() {
    watched(|| {
        let manager = UserManager::start();
        for mode in ["control-group", "mixed"] {
            let unit = manager.unit(&kind("child", "", &format!("KillMode={mode}")));
            for run in 0..30 {
                assert_eq!(unit.start().0, 0);
                assert_eq!(unit.stop().0, 0);
                let ended = (unit.show("Result"), unit.show("ExecMainStatus"));
                assert_eq!(ended, ("success".into(), "0".into()), "{mode}, run {run}: {}", unit.log());
            }
        }
    });
}

#[test]
fn without_access_to_the_manager_the_service_runs() {
    watched(|| {
        let manager = UserManager::start();
        let simple = notify("hello", "--http-port 0", "Type=simple\nNotifyAccess=none");
        // systemd makes it main for this type.
        let none = notify("hello", "--http-port 0", "NotifyAccess=none");
        for section in [simple, none] {
            let unit = manager.unit(&section);
            assert_eq!(unit.start().0, 0, "{}", unit.log());
            unit.wait_for_log("all tasks started");
            assert_eq!(unit.stop().0, 0);
            assert_eq!(unit.show("Result"), "success");
            assert!(!unit.log().contains("WARN"), "{}", unit.log());
        }
    });
}

#[test]
fn a_shell_as_a_wrapper_is_named_and_works_with_access_for_all() {
    watched(|| {
        let manager = UserManager::start();
        let hello = binary("hello");
        let wrapped = |command: &str, more: &str| {
            format!("Type=notify\nExecStart=/bin/sh -c '{command} {} --http-port 0; true'\n{more}", hello.display())
        };
        let heard = manager.unit(&wrapped("", "NotifyAccess=all"));
        assert_eq!(heard.start().0, 0, "{}", heard.log());
        heard.wait_for_log("unless the unit has NotifyAccess=all");
        let exec = manager.unit(&wrapped("exec", ""));
        assert_eq!(exec.start().0, 0, "{}", exec.log());
        exec.wait_for_log("all tasks started");
        assert!(!exec.log().contains("NotifyAccess"), "{}", exec.log());
        let unheard = manager.unit(&wrapped("", "TimeoutStartSec=2"));
        assert_ne!(unheard.start().0, 0);
        assert_eq!(unheard.show("Result"), "timeout");
        assert_eq!(unheard.log().matches("unless the unit has NotifyAccess=all").count(), 1, "{}", unheard.log());
    });
}

#[test]
fn commands_see_none_of_the_variables_of_the_manager() {
    watched(|| {
        let manager = UserManager::start();
        let unit = manager.unit(&kind("env", "", "WatchdogSec=60\nFileDescriptorStoreMax=2"));
        assert_eq!(unit.start().0, 0);
        unit.wait_for_log("bare is over");
        let own = unit.proc("environ");
        let own = own.split('\0').filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect::<Vec<_>>();
        assert!(own.contains(&"NOTIFY_SOCKET") && own.contains(&"WATCHDOG_USEC"), "{own:?}");
        let log = unit.log();
        let bare = log.lines().filter_map(|line| line.split_once(" bare: ")).map(|(_, line)| line);
        let begins = ["NOTIFY_", "LISTEN_", "WATCHDOG_", "FDSTORE", "SYSTEMD_EXEC_PID"];
        let theirs = bare.filter(|line| begins.iter().any(|begin| line.starts_with(begin))).collect::<Vec<_>>();
        assert!(theirs.is_empty(), "{theirs:?}");
    });
}

#[test]
fn a_loop_that_is_stuck_has_the_service_restarted_and_is_named_with_its_stack() {
    watched(|| {
        let manager = UserManager::start();
        let more = "WatchdogSec=2\nRestart=on-watchdog\nRestartSec=10";
        let unit = manager.unit(&kind("stuck", "", more));
        assert_eq!(unit.start().0, 0);
        unit.wait_for("StatusText", |text| text.contains("loop tokio has been in task stuck for "));
        unit.wait_for("SubState", |state| state == "auto-restart");
        assert_eq!(unit.show("Result"), "watchdog");
        let log = unit.log();
        assert!(log.contains("loop tokio is stalled: thread tokio has been in task stuck for "), "{log}");
        assert!(log.contains("the_culprit"), "{log}");
    });
}

/// Returns how many sockets listen on this port of this machine.
fn listeners(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let listens = |line: &&str| {
        let fields = line.split_whitespace().collect::<Vec<_>>();
        fields.get(1).is_some_and(|local| local.ends_with(&format!(":{port:04X}"))) && fields.get(3) == Some(&"0A")
    };
    table.lines().filter(listens).count()
}

/// Returns an address that was free a moment ago.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn with_a_socket_unit_the_first_request_starts_the_service_and_a_stop_keeps_the_socket() {
    watched(|| {
        let manager = UserManager::start();
        let unit = manager.unit(&notify("hello", "", ""));
        let (address, socket) = (free_address(), format!("{}.socket", unit.name));
        unit.write("socket", &format!("[Socket]\nListenStream={address}\n"));
        let started = manager.systemctl(&["start", &socket]);
        assert!(started.status.success(), "{started:?}");
        for _ in 0..2 {
            assert_eq!(unit.show("ActiveState"), "inactive");
            assert_eq!(get(address, "/").body, "Hello, world");
            unit.wait_for("ActiveState", |state| state == "active");
            assert_eq!(listeners(address.port()), 1);
            assert_eq!(unit.stop().0, 0);
            assert_eq!((unit.show("Result"), listeners(address.port())), ("success".into(), 1), "{}", unit.log());
        }
    });
}

#[test]
fn a_socket_that_no_task_takes_ends_the_start_and_is_named() {
    watched(|| {
        let manager = UserManager::start();
        let unit = manager.unit(&kind("idle", "", ""));
        unit.write("socket", &format!("[Socket]\nListenStream={}\n", free_address()));
        assert!(manager.systemctl(&["start", &format!("{}.socket", unit.name)]).status.success());
        assert_ne!(unit.start().0, 0);
        assert_eq!((unit.show("Result"), unit.show("ExecMainStatus")), ("exit-code".into(), "78".into()));
        assert!(unit.log().contains(&format!("{}.socket", unit.name)), "{}", unit.log());
    });
}

/// Returns how often each thread has gone to sleep.
fn sleeps(unit: &Unit<'_>) -> BTreeMap<String, u64> {
    let status = unit.proc("task/*/status");
    let mut of = BTreeMap::new();
    let (mut name, mut id) = (String::new(), String::new());
    for line in status.lines() {
        match line.split_once(":\t") {
            Some(("Name", value)) => name = value.to_owned(),
            Some(("Pid", value)) => id = value.to_owned(),
            Some(("voluntary_ctxt_switches", value)) => {
                of.insert(format!("{name} {id}"), value.parse().unwrap());
            }
            _ => {}
        }
    }
    of
}

mod quiet {
    use super::*;

    #[test]
    fn an_idle_service_lives_by_its_watchdog_and_hardly_wakes_up() {
        watched(|| {
            let manager = UserManager::start();
            let more = "WatchdogSec=2\nRestart=on-watchdog";
            let unit = manager.unit(&notify("hello", "--http-port 0", more));
            assert_eq!(unit.start().0, 0);
            // What the start has caused is over.
            thread::sleep(Duration::from_secs(1));
            let before = sleeps(&unit);
            // The time is what is measured.
            thread::sleep(Duration::from_secs(10));
            let after = sleeps(&unit);
            assert_eq!((&*unit.show("NRestarts"), &*unit.show("ActiveState")), ("0", "active"), "{}", unit.log());
            let woken = after.iter().filter_map(|(thread, sleeps)| Some((thread, sleeps - before.get(thread)?)));
            let woken = woken.collect::<Vec<_>>();
            eprintln!("{woken:?}");
            assert!(woken.iter().any(|(thread, times)| thread.starts_with("tokio") && *times >= 10), "{woken:?}");
            assert!(woken.iter().all(|(_, times)| *times < 20), "{woken:?}");
            assert!(!unit.log().contains("WARN"), "{}", unit.log());
        });
    }

    #[test]
    fn a_task_that_rightly_blocks_its_own_thread_is_alive() {
        watched(|| {
            let manager = UserManager::start();
            let unit = manager.unit(&kind("blocks", "--health-port 0", "WatchdogSec=2\nRestart=on-watchdog"));
            assert_eq!(unit.start().0, 0);
            unit.wait_for_log("server started on");
            let log = unit.log();
            let line = log.lines().find(|line| line.contains("server started on")).unwrap();
            let address = line.rsplit(' ').next().unwrap().parse().unwrap();
            for _ in 0..20 {
                // The time is what is tried.
                thread::sleep(Duration::from_secs(1));
                assert_eq!(get(address, "/livez").status, 200);
            }
            assert_eq!((&*unit.show("NRestarts"), &*unit.show("ActiveState")), ("0", "active"), "{}", unit.log());
        });
    }

    #[test]
    fn hello_has_started_within_a_second() {
        watched(|| {
            let manager = UserManager::start();
            let unit = manager.unit(&notify("hello", "--http-port 0", ""));
            let (code, time) = unit.start();
            assert_eq!((code, &*unit.show("StatusText")), (0, "running"), "{}", unit.log());
            assert!(time < Duration::from_secs(1), "{time:?}");
        });
    }

    #[test]
    fn a_start_takes_as_long_as_its_tasks_do() {
        watched(|| {
            let manager = UserManager::start();
            let unit = manager.unit(&kind("slow", "", ""));
            let (code, time) = unit.start();
            assert_eq!(code, 0, "{}", unit.log());
            assert!((Duration::from_secs(2)..Duration::from_millis(2500)).contains(&time), "{time:?}");
        });
    }

    #[test]
    fn a_failing_start_is_an_exit_code_at_once() {
        watched(|| {
            let manager = UserManager::start();
            let unit = manager.unit(&kind("fails", "", ""));
            let (code, time) = unit.start();
            assert_ne!(code, 0);
            assert_eq!((unit.show("Result"), unit.show("ExecMainStatus")), ("exit-code".into(), "1".into()));
            assert!(time < Duration::from_secs(1), "{time:?}");
        });
    }
}
