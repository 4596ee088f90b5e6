//! The reference loop: a thread that parks, with timers. Nothing but std.

use std::{future::Future, rc::Rc, thread, time::Duration};

use crate::{EventLoop, Mailbox, NoOptions, Result, Timers, Turn, timers::TimerQueue};

/// The reference loop: one thread for one task, on which it may block. No I/O of its own, but timers.
///
/// Blocking is allowed because nobody shares the thread; a task that blocks should look at [`Context::shutdown`](crate::Context::shutdown) between
/// whiles, or wait by [`Shutdown::wait_timeout`](crate::Shutdown::wait_timeout).
///
/// Several tasks can share an instance made by [`Service::event_loop`](crate::Service::event_loop); one that blocks then blocks all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Thread;

/// What tasks see of the reference loop: its timers, through [`Context::sleep`](crate::Context::sleep).
#[derive(Clone, Debug)]
pub struct ThreadNative {
    timers: Rc<TimerQueue>,
}

impl EventLoop for Thread {
    const NAME: &'static str = "thread";
    const THREAD_A_TASK: bool = true;
    type Options = NoOptions;
    type Native = ThreadNative;

    fn drive(
        self,
        _: NoOptions,
        mut mailbox: Mailbox<Self>,
        started: impl FnOnce(&Mailbox<Self>, ThreadNative),
    ) -> Result {
        let thread = thread::current();
        mailbox.set_notify(move || thread.unpark());
        let timers = Rc::new(TimerQueue::default());
        started(&mailbox, ThreadNative { timers: timers.clone() });
        loop {
            timers.fire();
            match mailbox.turn() {
                Turn::Stop => return Ok(()),
                Turn::Again => {}
                // A timer may have been set by the turn: its time is looked up after it.
                Turn::Idle => match timers.next() {
                    None => thread::park(),
                    Some(rest) => thread::park_timeout(rest),
                },
            }
        }
    }
}

impl Timers for Thread {
    fn sleep(native: &ThreadNative, duration: Duration) -> impl Future<Output = ()> + 'static {
        native.timers.clone().sleep(duration)
    }
}
