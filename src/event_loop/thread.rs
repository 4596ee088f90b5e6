//! The reference loop: a thread that parks, with timers. Nothing but std, until a task asks for sockets: then it waits
//! for the reactor instead.

#[cfg(all(feature = "net", target_os = "linux"))]
use std::{
    cell::OnceCell,
    rc::Rc,
    sync::{Arc, OnceLock},
};
use std::{future::Future, thread, time::Duration};

#[cfg(all(feature = "net", target_os = "linux"))]
use crate::reactor::epoll::{Reactor, ReactorWaker};
use crate::{
    EventLoop, NoOptions, Result,
    event_loop::{Mailbox, TimerQueue, Timers, Turn},
};

/// The reference loop: one thread for one task, on which it may block. Timers of its own, sockets of the core's
/// [reactor](crate::net).
///
/// Blocking is allowed because nobody shares the thread; a task that blocks should look at
/// [`Context::shutdown`](crate::Context::shutdown) between whiles, or wait by
/// [`Shutdown::wait_timeout`](crate::Shutdown::wait_timeout).
///
/// Several tasks can share an instance made by [`Service::event_loop`](crate::Service::event_loop); one that blocks
/// then blocks all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Thread;

/// What tasks see of the reference loop: its timers, through [`Context::sleep`](crate::Context::sleep).
#[derive(Clone, Debug)]
pub struct ThreadNative {
    timers: TimerQueue,
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
        let rest = Rest::default();
        let (thread, waker) = (thread::current(), rest.clone());
        mailbox.set_notify(move || waker.wake(&thread));
        #[cfg(all(feature = "net", target_os = "linux"))]
        let reactor = rest.reactor(&mailbox);
        let timers = TimerQueue::default();
        started(&mailbox, ThreadNative { timers: timers.clone() });
        loop {
            timers.fire();
            let turn = mailbox.turn();
            if turn == Turn::Stop {
                return Ok(());
            }
            // A timer may have been set by the turn: its time is looked up after it.
            let time = if turn == Turn::Again { Some(Duration::ZERO) } else { timers.timeout() };
            #[cfg(all(feature = "net", target_os = "linux"))]
            if let Some(reactor) = reactor.get() {
                reactor.wait(time)?;
                continue;
            }
            match time {
                None => thread::park(),
                Some(Duration::ZERO) => {}
                Some(time) => thread::park_timeout(time),
            }
        }
    }
}

/// How the thread is woken from its rest: from parking, or, once there is a reactor, from waiting for that.
///
/// The reactor is made in a turn. Whoever rang before has nothing to wake, since the turn looks once more before the
/// thread rests; whoever rings after that look finds the waker here: the flag that says so was lowered after it was put
/// in.
#[derive(Clone, Default)]
struct Rest {
    #[cfg(all(feature = "net", target_os = "linux"))]
    waker: Arc<OnceLock<ReactorWaker>>,
}

impl Rest {
    fn wake(&self, thread: &thread::Thread) {
        #[cfg(all(feature = "net", target_os = "linux"))]
        if let Some(waker) = self.waker.get() {
            return waker.wake();
        }
        thread.unpark();
    }

    /// Where the reactor is, once a task has asked for it.
    #[cfg(all(feature = "net", target_os = "linux"))]
    fn reactor(&self, mailbox: &Mailbox<Thread>) -> Rc<OnceCell<Reactor>> {
        let reactor = Rc::<OnceCell<_>>::default();
        let (made, waker) = (reactor.clone(), self.waker.clone());
        mailbox.set_reactor(move |reactor| {
            let _ = waker.set(reactor.waker()?);
            let _ = made.set(reactor.clone());
            Ok(())
        });
        reactor
    }
}

impl Timers for Thread {
    fn sleep(native: &ThreadNative, duration: Duration) -> impl Future<Output = ()> + 'static {
        native.timers.sleep(duration)
    }
}
