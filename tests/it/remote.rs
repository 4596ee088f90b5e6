//! Remotes: calls from loop to loop.

use std::{cell::RefCell, rc::Rc, time::Duration};

use crate::util::{Latch, SOON, watched};
use interloop::{CallError, Service, Slot, Thread, channel::PostError, task_fn};

fn keeper<T: 'static>(slot: Slot<T>, make: impl FnOnce() -> T + Send + 'static) -> impl interloop::Task<Thread> {
    task_fn::<Thread>(async move |cx| {
        let _value = cx.fill(slot, make());
        cx.until_shutdown().await;
        Ok(())
    })
}

#[test]
fn a_call_runs_on_the_values_thread_and_brings_back_what_it_returns() {
    watched(|| {
        let mut service = Service::new("test");
        let (slot, remote) = service.slot::<RefCell<Vec<u32>>>("numbers");
        service.task("keeper", keeper(slot, RefCell::default));
        // Posted before the loop runs.
        remote.post(|numbers| numbers.borrow_mut().push(1)).unwrap();
        let running = service.start().unwrap();
        remote.post(|numbers| numbers.borrow_mut().push(2)).unwrap();
        let name = remote.call(|_| std::thread::current().name().map(str::to_owned));
        assert_eq!(name.wait_timeout(SOON).unwrap().as_deref(), Some("keeper"));
        assert_eq!(remote.call(|numbers| numbers.borrow().clone()).wait_timeout(SOON), Ok(vec![1, 2]));
        let sum = remote.spawn(async |numbers: Rc<RefCell<Vec<u32>>>| numbers.borrow().iter().sum::<u32>());
        assert_eq!(sum.wait_timeout(SOON), Ok(3));
        assert_eq!(running.stop().code, 0);
        assert!(matches!(remote.post(|_| ()), Err(PostError::Stopped(_))));
        assert_eq!(remote.call(|_| ()).wait_timeout(SOON), Err(CallError::Stopped));
    });
}

#[test]
fn a_panic_in_a_job_resolves_its_reply_and_the_loop_lives() {
    watched(|| {
        let mut service = Service::new("test");
        let (slot, remote) = service.slot::<u8>("number");
        service.task("keeper", keeper(slot, || 7));
        let running = service.start().unwrap();
        remote.post(|_| panic!("a post")).unwrap();
        assert_eq!(remote.call(|_| panic!("oh")).wait_timeout(SOON), Err::<(), _>(CallError::Panicked("oh".into())));
        let late = remote.spawn(async |_| {
            std::future::ready(()).await;
            panic!("later")
        });
        assert_eq!(late.wait_timeout(SOON), Err::<(), _>(CallError::Panicked("later".into())));
        assert_eq!(remote.call(|number| *number).wait_timeout(SOON), Ok(7));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_blocking_wait_on_the_own_loop_is_an_error_at_once() {
    watched(|| {
        let mut service = Service::new("test");
        let (slot, remote) = service.slot::<u8>("number");
        service.task("keeper", keeper(slot, || 7));
        let running = service.start().unwrap();
        let own = remote.clone();
        let waited = remote.call(move |_| own.call(|number| *number).wait_timeout(SOON));
        assert_eq!(waited.wait_timeout(SOON), Ok(Err(CallError::WouldBlock)));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn who_waits_for_a_stuck_loop_is_told_when_it_is_left_behind() {
    watched(|| {
        let mut service = Service::new("test");
        let (slot, remote) = service.slot::<u8>("number");
        service.task("keeper", keeper(slot, || 7)).stop_timeout(Duration::from_millis(50));
        let running = service.start().unwrap();
        let (held, release) = (Latch::default(), Latch::default());
        let (h, r) = (held.clone(), release.clone());
        let stuck = remote.call(move |_| {
            h.open();
            r.wait();
        });
        held.wait();
        let queued = remote.call(|number| *number);
        let waiter = std::thread::spawn(move || (stuck.wait_timeout(SOON), queued.wait_timeout(SOON)));
        let report = running.stop();
        assert_eq!(report.code, 124);
        assert_eq!(report.stuck.len(), 1);
        assert_eq!(&*report.stuck[0].name, "keeper");
        assert_eq!(waiter.join().unwrap(), (Err(CallError::Stopped), Err(CallError::Stopped)));
        release.open();
    });
}
