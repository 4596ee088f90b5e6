//! A mailbox on a context that the program drives itself, as in a GTK application without a service.

use std::{
    cell::{Cell, RefCell},
    future::pending,
    io::ErrorKind,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use glib::{ControlFlow, MainContext, MainLoop, Priority};
use interloop::{CallError, channel::PostError};
use interloop_glib::{Attached, attach};
use interloop_loop_tests::{Drops, LONG, Witness, watchdog};

/// Runs a main loop of the program's own until `other` is done on another thread.
fn run_beside<R: Send + 'static>(context: &MainContext, other: impl FnOnce() -> R + Send + 'static) -> R {
    let main_loop = MainLoop::new(Some(context), false);
    let quit = main_loop.clone();
    let other = thread::spawn(move || {
        let result = other();
        // The quit runs in the loop itself: a quit before the loop runs would be forgotten.
        quit.context().invoke(move || quit.quit());
        result
    });
    context.with_thread_default(|| main_loop.run()).unwrap();
    other.join().unwrap()
}

#[test]
fn others_call_post_and_spawn_into_a_loop_that_the_program_runs() {
    let _watchdog = watchdog();
    let context = MainContext::new();
    let here = thread::current().id();
    let (_attached, list) = attach(&context, "ui", RefCell::new(Vec::new())).unwrap();
    let found = run_beside(&context, move || {
        (0..5000).for_each(|number| list.post(move |list| list.borrow_mut().push(number)).unwrap());
        let future = list.spawn(move |list: Rc<RefCell<Vec<i32>>>| async move {
            // glib's own futures work there.
            glib::timeout_future(Duration::from_millis(1)).await;
            assert_eq!(thread::current().id(), here);
            list.borrow().clone()
        });
        future.wait_timeout(LONG)
    });
    assert!(found.unwrap().into_iter().eq(0..5000), "in order, none lost");
}

#[test]
fn a_flood_of_posts_starves_no_timer_of_the_program() {
    let _watchdog = watchdog();
    let context = MainContext::new();
    let (_attached, flooded) = attach(&context, "ui", ()).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let (main_loop, enough) = (MainLoop::new(Some(&context), false), over.clone());
    let (quit, ticks) = (main_loop.clone(), Cell::new(0));
    let tick = move || {
        ticks.set(ticks.get() + 1);
        if ticks.get() < 50 {
            return ControlFlow::Continue;
        }
        quit.quit();
        ControlFlow::Break
    };
    let guard = glib::thread_guard::ThreadGuard::new(tick);
    let source = glib::timeout_source_new(Duration::from_millis(1), None, Priority::DEFAULT, move || guard.get_ref()());
    source.attach(Some(&context));
    let flood = thread::spawn(move || {
        while !over.load(Ordering::Acquire) {
            // The mailbox is full now and then: this is faster than the loop.
            let _ = flooded.post(|()| ());
        }
    });
    main_loop.run();
    enough.store(true, Ordering::Release);
    flood.join().unwrap();
}

#[test]
fn asked_to_stop_it_runs_what_was_accepted() {
    let _watchdog = watchdog();
    let context = MainContext::new();
    let drops = Drops::default();
    let (attached, value) = attach(&context, "ui", (Cell::new(0), Witness::new(&drops))).unwrap();
    (0..1000).for_each(|_| value.post(|(count, _)| count.set(count.get() + 1)).unwrap());
    let last = value.call(|(count, _)| count.get());
    let never = value.spawn(|_value| pending::<()>());
    attached.handle().request_shutdown("enough");
    let (last, never) = run_beside(&context, move || (last.wait_timeout(LONG), never.wait_timeout(LONG)));
    assert_eq!((last, never), (Ok(1000), Err(CallError::Cancelled)));
    assert!(matches!(value.post(|_| ()), Err(PostError::Stopped(_))));
    assert_eq!(*drops.lock().unwrap(), [thread::current().id()]);
}

#[test]
fn dropped_it_answers_everyone_and_leaves_the_loop_as_it_was() {
    let _watchdog = watchdog();
    let context = MainContext::new();
    let drops = Drops::default();
    let (attached, value) = attach(&context, "ui", Witness::new(&drops)).unwrap();
    let queued = value.call(|_| ());
    drop(attached);
    assert_eq!(*drops.lock().unwrap(), [thread::current().id()]);
    // The loop continues without it, and takes another one.
    let (_again, other) = attach(&context, "ui", 7).unwrap();
    let found =
        run_beside(&context, move || (queued.wait_timeout(LONG), other.call(|seven| *seven).wait_timeout(LONG)));
    assert_eq!(found, (Err(CallError::Stopped), Ok(7)));
    assert!(!context.pending(), "something of it is left");
}

#[test]
fn it_can_be_dropped_by_a_job_of_its_own() {
    let _watchdog = watchdog();
    let context = MainContext::new();
    let slot = Rc::new(RefCell::new(None::<Attached>));
    let (attached, value) = attach(&context, "ui", slot.clone()).unwrap();
    slot.borrow_mut().replace(attached);
    let found = run_beside(&context, move || {
        let drops = value.call(|slot| drop(slot.take()));
        (drops.wait_timeout(LONG), value.call(|_| ()).wait_timeout(LONG))
    });
    assert_eq!(found, (Ok(()), Err(CallError::Stopped)));
}

#[test]
fn a_context_of_another_thread_is_refused() {
    let _watchdog = watchdog();
    let context = MainContext::new();
    let theirs = context.clone();
    let _owner = context.acquire().unwrap();
    let refused =
        thread::spawn(move || attach(&theirs, "ui", ()).map(drop).map_err(|error| (error.kind(), error.to_string())));
    let refused = refused.join().unwrap();
    assert_eq!(refused, Err((ErrorKind::ResourceBusy, "ui: the context is driven by another thread".to_owned())));
}

#[test]
fn nobody_blocks_the_loop_by_waiting_on_it() {
    let _watchdog = watchdog();
    let context = MainContext::new();
    let (_attached, value) = attach(&context, "ui", ()).unwrap();
    assert_eq!(value.call(|()| ()).wait_timeout(LONG), Err(CallError::WouldBlock));
    let itself = value.clone();
    let within =
        run_beside(&context, move || value.call(move |()| itself.call(|()| ()).wait_timeout(LONG)).wait_timeout(LONG));
    assert_eq!(within, Ok(Err(CallError::WouldBlock)));
}

/// A callback of the program's (a dialog, for example), not a job, runs a main loop inside the one that runs.
#[test]
fn calls_are_answered_in_a_nested_main_loop() {
    let _watchdog = watchdog();
    let context = MainContext::new();
    let (_attached, value) = attach(&context, "ui", Cell::new(0)).unwrap();
    let (inner, within) = (context.clone(), Rc::new(RefCell::new(None)));
    let found = within.clone();
    let guard = glib::thread_guard::ThreadGuard::new(move || {
        let value = value.clone();
        let answer = run_beside(&inner, move || value.call(|count| count.replace(1)).wait_timeout(LONG));
        *found.borrow_mut() = Some(answer);
    });
    let source = glib::idle_source_new(None, Priority::DEFAULT, move || {
        guard.get_ref()();
        ControlFlow::Break
    });
    source.attach(Some(&context));
    while within.borrow().is_none() {
        context.iteration(true);
    }
    assert_eq!(*within.borrow(), Some(Ok(0)));
}
