//! A service embedded in another program: it claims nothing of the process, and several can exist at once.

use std::{
    fs,
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use crate::util::{Latch, Log, SOON, alone, block_on, quiet_resident, resident, up, watched};
use interloop::{Reason, Service, Thread, service::Phase, task_fn};

#[test]
fn two_services_in_a_process_do_not_know_of_each_other() {
    watched(|| {
        let logs = [Log::default(), Log::default()];
        let [first, second] = ["first", "second"].map(|name| {
            let mut service = Service::new(name);
            service.task("task", resident(&logs[usize::from(name == "second")]));
            up(service)
        });
        assert_eq!(first.stop().code, 0);
        assert_eq!(logs[0].lines(), ["task starts", "task stops"]);
        assert_eq!(logs[1].lines(), ["task starts"]);
        assert!(second.is_ready());
        assert_eq!(second.stop().code, 0);
    });
}

#[test]
fn services_run_in_parallel() {
    watched(|| {
        let threads = (0..8).map(|number| {
            thread::spawn(move || {
                for _ in 0..10 {
                    let (mut service, log) = (Service::new(format!("service-{number}")), Log::default());
                    service.task("a", resident(&log));
                    service.task("b", resident(&log)).requires("a");
                    assert_eq!(up(service).stop().code, 0);
                    assert_eq!(log.lines(), ["a starts", "b starts", "b stops", "a stops"]);
                }
            })
        });
        threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_running_service_that_is_dropped_stops() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        service.task("task", resident(&log));
        let running = up(service);
        let ended = running.ended();
        drop(running);
        let report = block_on(ended);
        assert_eq!((report.code, report.reason), (0, Reason::Requested("its owner is gone".into())));
        assert_eq!(log.lines(), ["task starts", "task stops"]);
    });
}

#[test]
fn a_join_with_a_timeout_gives_the_service_back() {
    watched(|| {
        let (mut service, done) = (Service::new("test"), Latch::default());
        let d = done.clone();
        let task = task_fn::<Thread>(async move |cx| {
            cx.ready();
            d.opened().await;
            Ok(())
        });
        service.task("task", task);
        let mut running = up(service);
        for _ in 0..10 {
            running = running.join_timeout(Duration::from_millis(1)).unwrap_err();
        }
        assert_eq!(running.phase(), Phase::Running);
        done.open();
        assert_eq!(running.join_timeout(SOON).unwrap().code, 0);
    });
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

#[test]
fn the_end_can_be_awaited_on_any_executor() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        service.task("task", resident(&log));
        let handle = service.handle();
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let cx = &mut Context::from_waker(&waker);
        // From before the start, and polled too often.
        let mut ended = pin!(handle.ended());
        let mut other = pin!(handle.ended());
        assert!(ended.as_mut().poll(cx).is_pending());
        assert!(other.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let running = up(service);
        assert!(ended.as_mut().poll(cx).is_pending());
        assert!(ended.as_mut().poll(cx).is_pending());
        let woken = count.0.load(Ordering::Acquire);
        let report = running.stop();
        assert!(count.0.load(Ordering::Acquire) > woken);
        assert_eq!(ended.as_mut().poll(cx), Poll::Ready(report.clone()));
        assert_eq!(other.as_mut().poll(cx), Poll::Ready(report.clone()));
        assert_eq!(block_on(handle.ended()), report);
    });
}

#[test]
fn waiters_that_give_up_are_forgotten() {
    watched(|| {
        let mut service = Service::new("test");
        service.task("task", quiet_resident::<Thread>());
        let running = up(service);
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        for _ in 0..100 {
            let mut ended = pin!(running.ended());
            assert!(ended.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(Arc::strong_count(&count), 2);
        assert_eq!(running.stop().code, 0);
        assert_eq!(count.0.load(Ordering::Acquire), 0);
    });
}

#[test]
fn the_start_can_be_awaited_on_any_executor() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        service.task("task", resident(&log));
        let handle = service.handle();
        assert_eq!(handle.phase(), Phase::New);
        let started = handle.started();
        let running = service.start().unwrap();
        assert!(block_on(started));
        assert!(handle.is_ready());
        assert_eq!(running.stop().code, 0);
        assert!(!handle.is_ready());
        assert_eq!(handle.phase(), Phase::Ended);
    });
}

#[test]
fn a_watch_follows_from_before_the_start_to_the_end() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        service.task("task", resident(&log));
        let mut watch = service.handle().watch();
        let running = up(service);
        assert_eq!(running.stop().code, 0);
        let mut states = Vec::new();
        while let Some(step) = block_on(watch.next()) {
            states.push(step.to.as_str());
        }
        assert_eq!(states, ["starting", "running", "stopping", "stopped"]);
    });
}

/// Returns the signals that this process handles itself, as a mask.
fn caught_signals() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find(|line| line.starts_with("SigCgt:")).unwrap().to_owned()
}

#[test]
fn a_start_leaves_signals_logger_and_panic_hook_alone() {
    alone(|| {
        let before = (caught_signals(), log_level());
        let hooked = Latch::default();
        let h = hooked.clone();
        std::panic::set_hook(Box::new(move |_| h.open()));
        let mut service = Service::new("test");
        let task = task_fn::<Thread>(async |cx| {
            cx.ready();
            panic!("for the hook")
        });
        service.task("task", task);
        let running = service.start().unwrap();
        assert_eq!((caught_signals(), log_level()), before);
        assert_eq!(running.join().code, 1);
        assert_eq!((caught_signals(), log_level()), before);
        assert!(hooked.is_open());
        drop(std::panic::take_hook());
    });
}

/// Returns the log level: an installed logger would have raised it.
fn log_level() -> String {
    format!("{:?}", log::max_level())
}

#[test]
fn a_start_does_not_look_at_the_command_line_of_the_process() {
    alone(|| {
        // The test's own arguments would not be understood.
        let mut service = Service::new("test");
        service.task("task", quiet_resident::<Thread>());
        assert_eq!(up(service).stop().code, 0);
        assert!(std::env::args().len() > 1);
    });
}

#[test]
fn a_handle_outlives_its_service() {
    watched(|| {
        let mut service = Service::new("test");
        service.task("task", quiet_resident::<Thread>());
        let running = up(service);
        let handle = running.handle();
        assert_eq!(running.stop().code, 0);
        handle.request_shutdown("late");
        handle.restart();
        handle.restart_task("task").unwrap();
        handle.stop_task("task").unwrap();
        assert!(handle.heartbeats().is_empty());
        assert!(handle.shutdown().is_requested());
        assert!(handle.watch().wait_timeout(SOON).is_some());
        assert_eq!(handle.status().phase, Phase::Ended);
    });
}
