//! Idle means idle.

/// Tests that count wakeups, which must be alone on the machine.
mod quiet {
    use std::time::Duration;

    use interloop::{
        Service, Thread, task_fn,
        tasks::{Periodic, Poller},
    };

    use crate::util::{SOON, alone, quiet_resident, silence, switches, up};

    #[test]
    fn a_service_with_nothing_to_do_does_not_wake_up() {
        alone(|| {
            let mut service = Service::new("test");
            for name in ["a", "b", "c"] {
                service.task(name, quiet_resident::<Thread>());
            }
            let waiting = task_fn::<Thread>(async |cx| {
                // A distant timer is no reason to read the clock.
                cx.spawn_local(cx.sleep(Duration::from_secs(3600))).detach();
                cx.until_shutdown().await;
                Ok(())
            });
            service.task("waiting", waiting).requires("a");
            service.event_loop("shared", Thread);
            service.task("d", quiet_resident::<Thread>()).on("shared");
            service.task("e", quiet_resident::<Thread>()).on("shared");
            // Between two ticks there is nothing to do, and nothing for watchers.
            let hour = Duration::from_secs(3600);
            service.task_on::<Thread>("hourly", Periodic::new(hour, || ()).blocking());
            let poller = Poller::new(hour, || Ok(7)).blocking();
            let mut watch = poller.handle().watch();
            service.task_on::<Thread>("poller", poller);
            let watcher = task_fn::<Thread>(async move |cx| {
                cx.spawn_local(async move { while watch.next().await.is_some() {} }).detach();
                cx.until_shutdown().await;
                Ok(())
            });
            service.task("watcher", watcher);
            service.remote_to::<Thread>();
            let running = up(service);
            // Each loop has come to rest when it has answered, and gone to sleep again.
            for beat in running.heartbeats() {
                beat.reply.wait_timeout(SOON).unwrap();
            }
            let before = silence();
            assert!(before.len() >= 11, "{before:?}");
            // Silence can only be observed by waiting.
            std::thread::sleep(Duration::from_secs(2));
            assert_eq!(switches(), before);
            assert_eq!(running.stop().code, 0);
        });
    }

    #[test]
    fn a_stream_of_calls_wakes_the_supervisor_at_most_twice_a_second() {
        alone(|| {
            let mut service = Service::new("test");
            service.task("called", quiet_resident::<Thread>());
            service.event_loop("called", Thread);
            let called = service.remote_to::<Thread>();
            let running = up(service);
            let supervisor = || switches().into_iter().find(|(thread, _)| thread.starts_with("supervisor ")).unwrap().1;
            let calls_for = |time: Duration| {
                let begun = std::time::Instant::now();
                while begun.elapsed() < time {
                    called.call(|_| ()).wait_timeout(SOON).unwrap();
                    std::thread::sleep(Duration::from_millis(1));
                }
            };
            // The looks come further apart at first.
            calls_for(Duration::from_millis(1500));
            let before = supervisor();
            calls_for(Duration::from_secs(3));
            let wakes = supervisor() - before;
            assert!(wakes <= 8, "{wakes} in 3 s");
            assert_eq!(running.stop().code, 0);
        });
    }
}
