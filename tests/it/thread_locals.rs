//! Thread-locals: one may hold the library's values, and its destructor may use and drop them, when the library's own
//! thread-locals on that thread may be gone already.
//!
//! A panic in such a destructor aborts the process, so each test runs itself once more, as a process of its own.

use std::{
    cell::RefCell,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use interloop::{
    CallError, Remote, Service, Thread,
    event_loop::{Foreign, Mailbox, Turn},
    task_fn,
    tasks::{Periodic, queue::Queue},
};

use crate::util::{SOON, block_on, up, watched};

/// Called when the thread's locals are destroyed.
struct AtTheEnd(RefCell<Vec<Box<dyn FnOnce()>>>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|call| call());
    }
}

thread_local! {
    // Their order of destruction is unspecified: one is set up before all of the library's own, the other after.
    static FIRST: AtTheEnd = const { AtTheEnd(RefCell::new(Vec::new())) };
    static LAST: AtTheEnd = const { AtTheEnd(RefCell::new(Vec::new())) };
}

/// When it was set up.
#[derive(Clone, Copy)]
enum Place {
    BeforeOurs,
    AfterOurs,
}

impl Place {
    fn at_the_end(self, call: impl FnOnce() + 'static) {
        let kept = if matches!(self, Self::BeforeOurs) { &FIRST } else { &LAST };
        kept.with(|end| end.0.borrow_mut().push(Box::new(call)));
    }
}

/// Runs the rest of the test in a process of its own, on a thread that then ends; twice, for both orders of
/// destructors. Everything sent must have been received.
fn in_a_thread_that_ends(name: &str, test: fn(Place, mpsc::Sender<&'static str>), expected: &[&str]) {
    const PART: &str = "TEST_THREAD_LOCALS";
    let name = format!("thread_locals::{name}");
    if std::env::var_os(PART).is_some_and(|part| part == *name) {
        for place in [Place::BeforeOurs, Place::AfterOurs] {
            let (says, said) = mpsc::channel();
            let ends = thread::spawn(move || {
                FIRST.with(|_| ());
                // The library's own are set up: by a mailbox, which this thread drives.
                let mut mailbox = Mailbox::<Foreign>::attach("before");
                let remote = mailbox.share(());
                let called = remote.call(|()| ());
                while mailbox.turn() == Turn::Again {}
                assert!(called.is_done());
                drop(mailbox);
                LAST.with(|_| ());
                test(place, says);
            });
            ends.join().expect("no panic");
            let said: Vec<_> = said.try_iter().collect();
            assert_eq!(said, expected);
        }
        return;
    }
    watched(|| {
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command.args(["--exact", &name, "--nocapture"]).env(PART, &name).stdin(Stdio::null());
        let output = command.output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !text.contains("panicked"), "{}: {text}", output.status);
    });
}

/// A task on `Thread` that has a value, and answers.
fn counter() -> (Service, Remote<RefCell<u32>>) {
    let mut service = Service::new("test");
    let (slot, remote) = service.slot("count");
    service.task(
        "counter",
        task_fn::<Thread>(async move |cx| {
            cx.fill(slot, RefCell::new(0));
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    (service, remote)
}

fn add(remote: &Remote<RefCell<u32>>) -> Result<u32, CallError> {
    let added = remote.call(|count| {
        *count.borrow_mut() += 1;
        *count.borrow()
    });
    added.wait_timeout(SOON)
}

#[test]
fn an_attached_mailbox_is_dropped_there() {
    in_a_thread_that_ends(
        "an_attached_mailbox_is_dropped_there",
        |place, says| {
            let mailbox = Mailbox::<Foreign>::attach("kept");
            let drops = Says(says.clone(), "its value is dropped");
            let remote = mailbox.share(drops);
            let called = remote.call(|_| ());
            let future = remote.spawn(async move |_| std::future::pending::<()>().await);
            place.at_the_end(move || {
                drop(mailbox);
                assert_eq!(called.wait_timeout(SOON), Err(CallError::Stopped));
                assert_eq!(future.wait_timeout(SOON), Err(CallError::Stopped));
                let _ = says.send("its callers are told");
            });
        },
        &["its value is dropped", "its callers are told"],
    );
}

struct Says(mpsc::Sender<&'static str>, &'static str);

impl Drop for Says {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

#[test]
fn an_attached_mailbox_takes_its_turns_there() {
    in_a_thread_that_ends(
        "an_attached_mailbox_takes_its_turns_there",
        |place, says| {
            let mut mailbox = Mailbox::<Foreign>::attach("kept");
            let remote = mailbox.share(());
            place.at_the_end(move || {
                let (ran, woken) = (says.clone(), says.clone());
                remote.post(move |()| drop(Says(ran, "a job"))).expect("it is open");
                remote.spawn(async move |_| drop(Says(woken, "a future"))).detach();
                while mailbox.turn() == Turn::Again {}
                mailbox.handle().request_shutdown("the end");
                while mailbox.turn() != Turn::Stop {}
                drop(mailbox);
            });
        },
        &["a job", "a future"],
    );
}

#[test]
fn a_mailbox_is_attached_there() {
    in_a_thread_that_ends(
        "a_mailbox_is_attached_there",
        |place, says| {
            place.at_the_end(move || {
                let mut mailbox = Mailbox::<Foreign>::attach("late");
                let remote = mailbox.share(());
                let beside = remote.clone();
                let other = thread::spawn(move || beside.post(|()| ()).is_ok());
                assert!(other.join().expect("no panic"));
                let called = remote.call(|()| 7);
                while mailbox.turn() == Turn::Again {}
                assert_eq!(called.wait_timeout(SOON), Ok(7));
                let _ = says.send("answered");
            });
        },
        &["answered"],
    );
}

#[test]
fn a_task_is_called_and_posted_to_from_there() {
    in_a_thread_that_ends(
        "a_task_is_called_and_posted_to_from_there",
        |place, says| {
            let (service, remote) = counter();
            let running = up(service);
            let (pending, kept) = (remote.call(|count| *count.borrow()), remote.clone());
            place.at_the_end(move || {
                assert_eq!(add(&remote), Ok(1));
                remote.post(|count| *count.borrow_mut() += 1).expect("it is open");
                let spawned = remote.spawn(async move |count| *count.borrow());
                assert_eq!(spawned.wait_timeout(SOON), Ok(2));
                remote.call(|_| ()).cancel();
                drop((pending, remote.call(|_| ()), kept));
                assert_eq!(running.stop().code, 0);
                assert_eq!(add(&remote), Err(CallError::Stopped));
                let _ = says.send("answered, and stopped");
            });
        },
        &["answered, and stopped"],
    );
}

#[test]
fn a_service_is_started_and_stopped_there() {
    in_a_thread_that_ends(
        "a_service_is_started_and_stopped_there",
        |place, says| {
            place.at_the_end(move || {
                let (service, remote) = counter();
                let handle = service.handle();
                let running = up(service);
                assert_eq!(add(&remote), Ok(1));
                assert!(handle.is_ready() && handle.status().tasks.len() == 1);
                handle.meter().counter("ends").add(1);
                log::error!("nobody listens");
                handle.request_shutdown("the end");
                assert_eq!(running.join().code, 0);
                let _ = says.send("it ran");
            });
        },
        &["it ran"],
    );
}

#[test]
fn a_service_that_is_dropped_there_stops() {
    in_a_thread_that_ends(
        "a_service_that_is_dropped_there_stops",
        |place, says| {
            let (service, remote) = counter();
            let (handle, running) = (service.handle(), up(service));
            let (unused, address) = counter();
            place.at_the_end(move || {
                drop(running);
                assert_eq!(block_on(handle.ended()).code, 0);
                drop((handle, remote, unused));
                assert_eq!(add(&address), Err(CallError::Stopped));
                let _ = says.send("dropped");
            });
        },
        &["dropped"],
    );
}

#[test]
fn periodic_tasks_and_queues_are_asked_from_there() {
    in_a_thread_that_ends(
        "periodic_tasks_and_queues_are_asked_from_there",
        |place, says| {
            let mut service = Service::new("test");
            let sweep = Periodic::new(Duration::from_secs(3600), || ());
            let queue = Queue::<Thread, _, _>::new(async |item: &u32, _| Ok(item * 2));
            let (sweeper, doubler) = (sweep.handle(), queue.handle());
            service.task_on::<Thread>("sweep", sweep);
            service.task_on::<Thread>("double", queue);
            let running = up(service);
            place.at_the_end(move || {
                assert_eq!(sweeper.run_now().wait_timeout(SOON), Ok(Ok(())));
                assert!(matches!(block_on(doubler.map([21]))[..], [Ok(42)]));
                assert_eq!(running.stop().code, 0);
                let _ = says.send("both ran");
            });
        },
        &["both ran"],
    );
}

#[test]
fn a_context_is_used_and_dropped_on_its_loops_thread_as_that_ends() {
    in_a_thread_that_ends(
        "a_context_is_used_and_dropped_on_its_loops_thread_as_that_ends",
        |_, says| {
            for place in [Place::BeforeOurs, Place::AfterOurs] {
                let mut service = Service::new("test");
                let says = says.clone();
                let task = task_fn::<Thread>(async move |cx| {
                    let kept = cx.clone();
                    place.at_the_end(move || {
                        kept.counter("late").add(1);
                        kept.ready();
                        let child = kept.spawn_local(async {});
                        let worker = kept.spawn(async {});
                        let shared = kept.share(1);
                        assert!(shared.call(|one| *one).wait_timeout(Duration::from_millis(100)).is_err());
                        drop((child, worker, shared, kept.sleep(Duration::from_secs(1))));
                        #[cfg(feature = "net")]
                        drop(kept.connect(std::net::SocketAddr::from(([127, 0, 0, 1], 1))));
                        log::info!(target: kept.target(), "late");
                        drop(kept);
                        let _ = says.send("a context");
                    });
                    cx.until_shutdown().await;
                    Ok(())
                });
                service.task("keeps", task);
                assert_eq!(up(service).stop().code, 0);
            }
        },
        &["a context", "a context"],
    );
}
