//! D-Bus must not add any thread. A separate binary: it counts the threads of the process.

use interloop::{EventLoop, Running, Service, net::Net, task_fn};
use interloop_own_process::own_process;

use crate::util::{Daemon, Echo, PATIENCE, start};

/// Counts the threads that have not ended. A joined thread may exist a moment longer, on its way out.
fn threads() -> usize {
    const PF_EXITING: u64 = 4;
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux").flatten();
    let lines = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    // The name, in brackets, may hold anything; the flags are the seventh field after it.
    let flags = lines.filter_map(|line| line.rsplit_once(')')?.1.split_whitespace().nth(6)?.parse::<u64>().ok());
    flags.filter(|flags| flags & PF_EXITING == 0).count()
}

fn idle<L: EventLoop>() -> Running {
    let mut service = Service::new("echo");
    service.task(
        "dbus",
        task_fn::<L>(async |cx| {
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    let running = service.start().expect("it starts");
    assert!(running.handle().wait_started_timeout(PATIENCE));
    running
}

fn has_no_threads_of_its_own<L: Net>() {
    let without = idle::<L>();
    let count = threads();
    assert_eq!(without.stop().code, 0);

    let daemon = Daemon::start();
    let dbus = Echo::default().service(&daemon);
    let with = start::<L>(dbus);
    assert_eq!(daemon.say("hello"), "('hello',)");
    assert_eq!(threads(), count);
    assert_eq!(with.stop().code, 0);
}

#[test]
fn dbus_has_no_threads_of_its_own_on_any_loop() {
    own_process(|| {
        let _watchdog = crate::util::watchdog();
        has_no_threads_of_its_own::<interloop::Thread>();
        has_no_threads_of_its_own::<interloop_glib::Glib>();
        has_no_threads_of_its_own::<interloop_tokio::Tokio>();
    });
}
