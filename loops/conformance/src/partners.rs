//! Two loops that use each other: this one, and a partner of any kind. Each check's name says what it checks.

#![allow(missing_docs, reason = "the names are sentences")]

mod pairs;

use std::time::Duration;

use interloop::{EventLoop, Remote, Running, Service, Slot, task_fn};

use crate::{
    process::SystemThread,
    scene::{Subject, up, watchdog},
};

/// A service with both loops.
struct Pair {
    running: Running,
    here: Remote<()>,
    there: Remote<()>,
    /// The thread of the loop that is checked.
    thread: SystemThread,
    long: Duration,
}

fn pair<L: EventLoop, M: EventLoop>(here: &Subject<L>, there: &Subject<M>) -> Pair {
    let mut service = here.empty_service(None);
    here.plan_in(&mut service, "here");
    there.plan_in(&mut service, "there");
    let ((mine, here_is), (yours, there_is)) = (service.slot("from-here"), service.slot("from-there"));
    fills::<L>(&mut service, "here", mine);
    fills::<M>(&mut service, "there", yours);
    let long = here.patience();
    let running = up(service, long);
    let thread = here_is.call(|()| SystemThread::current()).wait_timeout(long);
    let thread = thread.unwrap_or_else(|error| panic!("the loop does not answer: {error}"));
    let thread = thread.with(here.beat());
    thread.wait_for_rest(long);
    Pair { running, here: here_is, there: there_is, thread, long }
}

/// Adds a task on this instance, which others reach.
fn fills<L: EventLoop>(service: &mut Service, instance: &str, slot: Slot<()>) {
    let fills = task_fn::<L>(async move |cx| {
        cx.fill(slot, ());
        cx.until_shutdown().await;
        Ok(())
    });
    service.task(format!("on-{instance}"), fills).on(instance);
}

macro_rules! checks {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        $($(#[$doc])*
        pub fn $name<L: EventLoop, M: EventLoop>(here: &Subject<L>, there: &Subject<M>) {
            let _watchdog = watchdog();
            pairs::$name(pair(here, there));
        })+
    };
}

checks! {
    calls_posts_and_futures_come_from_another_loop,
    a_reply_is_awaited_on_another_loop,
    a_call_there_and_back_is_answered,
    what_another_loop_asks_and_does_not_await_is_done,
    what_another_loop_cancels_ends,
    a_future_is_woken_from_another_loop,
}
