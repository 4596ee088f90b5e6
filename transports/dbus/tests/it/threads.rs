//! No thread is there that wouldn't be there without D-Bus. A binary of its own: it counts the threads of the process.

use interloop::{EventLoop, Running, Service, net::Net, task_fn};
use interloop_own_process::own_process;

use crate::util::{Daemon, Echo, PATIENCE, start};

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("Linux").count()
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
    assert!(running.handle().wait_started(PATIENCE));
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
