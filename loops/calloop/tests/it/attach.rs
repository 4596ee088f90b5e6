//! A mailbox on a calloop loop that the program runs itself.

use std::{
    cell::{Cell, RefCell},
    future::pending,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use calloop::{
    EventLoop,
    timer::{TimeoutAction, Timer},
};
use interloop::{CallError, Service, Thread, channel::PostError, task_fn};
use interloop_calloop::{Attached, attach, calloop};
use interloop_loop_tests::{Drops, LONG, Witness, watchdog};

/// The data of the program's own loop.
#[derive(Default)]
struct State {
    ticks: u32,
}

/// Runs the program's loop until `other` is done on another thread.
fn run_beside<R: Send + 'static>(
    event_loop: &mut EventLoop<'_, State>,
    other: impl FnOnce() -> R + Send + 'static,
) -> R {
    let (signal, over) = (event_loop.get_signal(), Arc::new(AtomicBool::new(false)));
    let done = over.clone();
    let other = thread::spawn(move || {
        let result = other();
        done.store(true, Ordering::Release);
        signal.wakeup();
        result
    });
    while !over.load(Ordering::Acquire) {
        event_loop.dispatch(None, &mut State::default()).unwrap();
    }
    other.join().unwrap()
}

#[test]
fn others_call_post_and_spawn_into_a_loop_that_the_program_runs() {
    let _watchdog = watchdog();
    let mut event_loop = EventLoop::try_new().unwrap();
    let (_attached, list) = attach(&event_loop.handle(), "ui", RefCell::new(Vec::new())).unwrap();
    let found = run_beside(&mut event_loop, move || {
        (0..5000).for_each(|number| list.post(move |list| list.borrow_mut().push(number)).unwrap());
        list.spawn(|list: Rc<RefCell<Vec<i32>>>| async move { list.borrow().clone() }).wait_timeout(LONG)
    });
    assert!(found.unwrap().into_iter().eq(0..5000), "in order, none lost");
}

#[test]
fn a_flood_of_posts_starves_no_timer_of_the_program() {
    let _watchdog = watchdog();
    let mut event_loop = EventLoop::<State>::try_new().unwrap();
    let (_attached, flooded) = attach(&event_loop.handle(), "ui", ()).unwrap();
    let handle = event_loop.handle();
    let ticking = handle.insert_source(Timer::immediate(), |_, &mut (), state: &mut State| {
        state.ticks += 1;
        TimeoutAction::ToDuration(Duration::from_millis(1))
    });
    ticking.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let enough = over.clone();
    let flood = thread::spawn(move || {
        while !over.load(Ordering::Acquire) {
            // The mailbox is full now and then: this is faster than the loop.
            let _ = flooded.post(|()| ());
        }
    });
    let mut state = State::default();
    while state.ticks < 50 {
        event_loop.dispatch(None, &mut state).unwrap();
    }
    enough.store(true, Ordering::Release);
    flood.join().unwrap();
}

#[test]
fn asked_to_stop_it_runs_what_was_accepted() {
    let _watchdog = watchdog();
    let mut event_loop = EventLoop::try_new().unwrap();
    let drops = Drops::default();
    let value = (Cell::new(0), Witness::new(&drops));
    let (attached, value) = attach(&event_loop.handle(), "ui", value).unwrap();
    (0..1000).for_each(|_| value.post(|(count, _)| count.set(count.get() + 1)).unwrap());
    let last = value.call(|(count, _)| count.get());
    let never = value.spawn(|_value| pending::<()>());
    attached.handle().request_shutdown("enough");
    let (last, never) = run_beside(&mut event_loop, move || (last.wait_timeout(LONG), never.wait_timeout(LONG)));
    assert_eq!((last, never), (Ok(1000), Err(CallError::Cancelled)));
    assert!(matches!(value.post(|_| ()), Err(PostError::Stopped(_))));
    assert_eq!(*drops.lock().unwrap(), [thread::current().id()]);
}

#[test]
fn dropped_it_answers_everyone_and_leaves_the_loop_as_it_was() {
    let _watchdog = watchdog();
    let mut event_loop = EventLoop::try_new().unwrap();
    let drops = Drops::default();
    let (attached, value) = attach(&event_loop.handle(), "ui", Witness::new(&drops)).unwrap();
    let queued = value.call(|_| ());
    drop(attached);
    assert_eq!(*drops.lock().unwrap(), [thread::current().id()]);
    // The loop continues without it, and takes another one.
    let (_again, other) = attach(&event_loop.handle(), "ui", 7).unwrap();
    let found =
        run_beside(&mut event_loop, move || (queued.wait_timeout(LONG), other.call(|seven| *seven).wait_timeout(LONG)));
    assert_eq!(found, (Err(CallError::Stopped), Ok(7)));
}

#[test]
fn it_can_be_dropped_by_a_job_of_its_own() {
    let _watchdog = watchdog();
    let mut event_loop = EventLoop::try_new().unwrap();
    let slot = Rc::new(RefCell::new(None::<Attached>));
    let (attached, value) = attach(&event_loop.handle(), "ui", slot.clone()).unwrap();
    slot.borrow_mut().replace(attached);
    let found = run_beside(&mut event_loop, move || {
        let drops = value.call(|slot| drop(slot.take()));
        (drops.wait_timeout(LONG), value.call(|_| ()).wait_timeout(LONG))
    });
    assert_eq!(found, (Ok(()), Err(CallError::Stopped)));
}

/// Values that are dropped with the mailbox may use the loop.
#[test]
fn a_value_may_use_the_loop_when_it_is_dropped() {
    struct Inserts(calloop::LoopHandle<'static, State>);

    impl Drop for Inserts {
        fn drop(&mut self) {
            self.0.insert_idle(|state| state.ticks = 7);
        }
    }

    let _watchdog = watchdog();
    let mut event_loop = EventLoop::try_new().unwrap();
    let (attached, _value) = attach(&event_loop.handle(), "ui", Inserts(event_loop.handle())).unwrap();
    drop(attached);
    let mut state = State::default();
    event_loop.dispatch(Duration::ZERO, &mut state).unwrap();
    assert_eq!(state.ticks, 7);
}

#[test]
fn a_service_lives_inside_of_a_program_with_a_loop_of_its_own() {
    let _watchdog = watchdog();
    let mut event_loop = EventLoop::try_new().unwrap();
    let (_attached, count) = attach(&event_loop.handle(), "ui", Cell::new(0)).unwrap();
    let mut service = Service::new("inside");
    let task = task_fn::<Thread>(async move |_| {
        for _ in 0..100 {
            count.call(|count| count.set(count.get() + 1)).await?;
        }
        assert_eq!(count.call(Cell::get).await?, 100);
        Ok(())
    });
    service.task("counter", task);
    let running = service.start().unwrap();
    let report = run_beside(&mut event_loop, move || running.join());
    assert_eq!(report.code, 0, "{report}");
}
