//! Pollers: values and their watchers.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use crate::util::{Latch, Log, SOON, block_on, cause_of, up, watched};
use interloop::{
    CallError, Cause, Error, RestartPolicy, Result, Running, Service, Thread, task_fn,
    tasks::{FirstRun, Poller, PollerHandle, RunError, TryLater, Work},
};

const HOUR: Duration = Duration::from_secs(3600);

/// The polled source: zero is an error, one asks to try later.
#[derive(Clone)]
struct Source(Arc<AtomicU64>);

impl Source {
    fn of(value: u64) -> Self {
        Self(Arc::new(AtomicU64::new(value)))
    }

    fn set(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    fn fetch(&self) -> Result<u64> {
        match self.0.load(Ordering::Acquire) {
            0 => Err(Error::new("the source is dry")),
            1 => Err(TryLater::after(HOUR))?,
            value => Ok(value),
        }
    }

    fn poller(&self) -> Poller<impl Work<Thread, Output = u64, Options = interloop::NoOptions> + Clone + use<>, u64> {
        let source = self.clone();
        poller_of(move || source.fetch())
    }
}

fn poller_of<F: FnMut() -> Result<u64> + Clone + Send + 'static>(
    fetch: F,
) -> Poller<impl Work<Thread, Output = u64, Options = interloop::NoOptions> + Clone, u64> {
    Poller::new(HOUR, fetch)
}

/// Returns a running poller, of the task `source`.
fn polling(source: &Source) -> (Running, PollerHandle<u64>) {
    let (mut service, poller) = (Service::new("test"), source.poller());
    let handle = poller.handle();
    service.task_on::<Thread>("source", poller);
    (up(service), handle)
}

fn poll(handle: &PollerHandle<u64>) -> std::result::Result<u64, RunError> {
    handle.poll_now().wait_timeout(SOON).expect("it runs")
}

fn counter(running: &Running, name: &str) -> u64 {
    running.status().tasks[0].counters[name]
}

#[test]
fn the_first_value_is_fetched_at_once_and_waited_for() {
    watched(|| {
        let (running, handle) = polling(&Source::of(5));
        assert_eq!(handle.value_timeout(SOON), Ok(5));
        assert_eq!(handle.value(), Some(5));
        assert_eq!(running.stop().code, 0);
        // Its last value.
        assert_eq!((handle.value(), handle.value_timeout(SOON)), (Some(5), Ok(5)));
    });
}

#[test]
fn who_waits_for_a_value_waits_no_longer_than_he_says() {
    watched(|| {
        let (mut service, poller) = (Service::new("test"), Source::of(5).poller().first_run(FirstRun::AfterInterval));
        let handle = poller.handle();
        service.task_on::<Thread>("source", poller);
        let running = up(service);
        assert_eq!(handle.value(), None);
        assert_eq!(handle.value_timeout(Duration::from_millis(10)), Err(CallError::TimedOut));
        assert_eq!(poll(&handle), Ok(5));
        assert_eq!(handle.value_timeout(SOON), Ok(5));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn changes_are_told_with_the_old_value_and_only_changes() {
    watched(|| {
        let (mut service, log, source) = (Service::new("test"), Log::default(), Source::of(5));
        let l = log.clone();
        let poller = source.poller().on_change(move |old, new| l.say(format!("{old:?} {new}")));
        let handle = poller.handle();
        service.task_on::<Thread>("source", poller);
        let running = up(service);
        for value in [5, 5, 7, 7, 5] {
            source.set(value);
            assert_eq!(poll(&handle), Ok(value));
        }
        assert_eq!(log.lines(), ["None 5", "Some(5) 7", "Some(7) 5"]);
        assert_eq!(counter(&running, "changes"), 3);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn several_watch_from_several_loops_and_see_the_latest() {
    watched(|| {
        let (mut service, source) = (Service::new("test"), Source::of(2));
        let poller = source.poller();
        let handle = poller.handle();
        service.task_on::<Thread>("source", poller);
        let latches = ["left", "right"].map(|name| {
            let (handle, latch) = (handle.clone(), Latch::default());
            let saw = latch.clone();
            let watcher = task_fn::<Thread>(async move |cx| {
                let mut watch = handle.watch();
                cx.ready();
                while watch.next().await != Some(9) {}
                saw.open();
                Ok(())
            });
            service.task(name, watcher);
            latch
        });
        let running = up(service);
        let mut watch = handle.watch();
        assert_eq!(block_on(watch.next()), Some(2));
        let slow = thread::spawn({
            let mut watch = watch.clone();
            move || block_on(watch.next())
        });
        for value in [3, 4, 5] {
            source.set(value);
            assert_eq!(poll(&handle), Ok(value));
        }
        // It missed 3 and 4.
        assert_eq!(block_on(watch.next()), Some(5));
        assert!((3..=5).contains(&slow.join().unwrap().unwrap()));
        source.set(9);
        assert_eq!(poll(&handle), Ok(9));
        latches.iter().for_each(Latch::wait);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_watch_that_was_given_up_while_it_waited_loses_nothing() {
    watched(|| {
        let source = Source::of(2);
        let (running, handle) = polling(&source);
        let mut watch = handle.watch();
        assert_eq!(block_on(watch.next()), Some(2));
        for _ in 0..100 {
            let changed = pin!(watch.next());
            assert_eq!(changed.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
        }
        source.set(3);
        assert_eq!(poll(&handle), Ok(3));
        assert_eq!(block_on(watch.next()), Some(3));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_fetch_that_fails_keeps_the_value_and_is_counted() {
    watched(|| {
        let source = Source::of(5);
        let (running, handle) = polling(&source);
        assert_eq!(poll(&handle), Ok(5));
        source.set(0);
        assert_eq!(poll(&handle), Err(RunError::Failed("the source is dry".into())));
        source.set(1);
        assert_eq!(poll(&handle), Err(RunError::TryLater(TryLater::after(HOUR))));
        assert_eq!(handle.value(), Some(5));
        assert_eq!((counter(&running, "failures"), counter(&running, "try_later")), (1, 1));
        source.set(6);
        assert_eq!(poll(&handle), Ok(6));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_fetch_that_fails_fails_the_task_where_that_is_wanted() {
    watched(|| {
        let (mut service, poller) = (Service::new("test"), Source::of(0).poller().fail_on_error());
        let handle = poller.handle();
        service.task_on::<Thread>("source", poller);
        let report = service.start().unwrap().join_timeout(SOON).expect("a failure ends the service");
        assert_eq!((report.code, cause_of(&report, "source")), (1, Cause::Error("the source is dry".into())));
        assert_eq!(handle.value_timeout(SOON), Err(CallError::Stopped));
    });
}

#[test]
fn who_watches_a_task_that_stops_or_never_starts_is_told() {
    watched(|| {
        let (running, handle) = polling(&Source::of(5));
        let mut watch = handle.watch();
        assert_eq!(block_on(watch.next()), Some(5));
        let waits = thread::spawn(move || block_on(watch.next()));
        assert_eq!(running.stop().code, 0);
        assert_eq!(waits.join().unwrap(), None);
        // A late one gets the current value.
        let mut late = handle.watch();
        assert_eq!(block_on(late.next()), Some(5));
        assert_eq!(block_on(late.next()), None);

        let poller = Source::of(5).poller();
        let handle = poller.handle();
        drop(poller);
        assert_eq!(handle.value_timeout(SOON), Err(CallError::Stopped));
    });
}

#[test]
fn a_watch_and_the_value_survive_a_restart() {
    watched(|| {
        let (mut service, source) = (Service::new("test"), Source::of(5));
        let s = source.clone();
        let poller = poller_of(move || {
            // Once.
            assert!(s.0.compare_exchange(13, 7, Ordering::AcqRel, Ordering::Acquire).is_err(), "out of luck");
            s.fetch()
        });
        let handle = poller.handle();
        service
            .task_with::<Thread>("source", move || poller.clone())
            .offers(&handle)
            .restart(RestartPolicy::on_failure());
        let running = up(service);
        let mut watch = handle.watch();
        assert_eq!(block_on(watch.next()), Some(5));
        let waits = thread::spawn(move || block_on(watch.next()));
        source.set(13);
        assert!(
            matches!(handle.poll_now().wait_timeout(SOON), Err(CallError::Panicked(why)) if why.contains("out of luck"))
        );
        // The next incarnation may exist already.
        assert!(matches!(handle.value(), Some(5 | 7)));
        assert_eq!(waits.join().unwrap(), Some(7));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_fetch_may_be_async_or_block_on_a_thread_of_its_own() {
    watched(|| {
        let mut service = Service::new("test");
        let here = || thread::current().name().unwrap_or_default().to_owned();
        let inline = Poller::new_async(HOUR, async move || Ok(here()));
        let apart = Poller::new(HOUR, move || Ok(here())).blocking();
        let (i, a) = (inline.handle(), apart.handle());
        service.task_on::<Thread>("inline", inline);
        service.task_on::<Thread>("apart", apart);
        let running = up(service);
        assert_eq!(i.value_timeout(SOON).as_deref(), Ok("inline"));
        assert_eq!(a.value_timeout(SOON).as_deref(), Ok("apart-1"));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_task_that_uses_a_poller_has_its_handle_by_name() {
    watched(|| {
        let (mut service, source, seen) = (Service::new("test"), Source::of(5), Latch::default());
        let poller = source.poller();
        let (handle, open) = (poller.handle(), seen.clone());
        let user = task_fn::<Thread>(async move |cx| {
            let handle: PollerHandle<u64> = cx.service().task_handle("source")?;
            assert_eq!(handle.watch().next().await, Some(5));
            open.open();
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("user", user).uses(&handle);
        service.task_on::<Thread>("source", poller);
        let running = up(service);
        seen.wait();
        assert_eq!(running.stop().code, 0);
    });
}
