//! The reference loop: a thread that parks, with timers. It uses only std until a task asks for sockets; then it waits
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

/// The reference loop: one thread for one task, which may block.
///
/// It has its own timers, and sockets by the core's [reactor](crate::net).
///
/// Blocking is allowed because no other task shares the thread. A task that blocks should check
/// [`Context::shutdown`](crate::Context::shutdown) from time to time, or wait by
/// [`Shutdown::wait_timeout`](crate::Shutdown::wait_timeout).
///
/// Several tasks can share an instance made by [`Service::event_loop`](crate::Service::event_loop); a task that blocks
/// then blocks all of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Thread;

/// The native handle of the reference loop: its timers, used through [`Context::sleep`](crate::Context::sleep).
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
            // The turn may have set a timer, so its time is read after the turn.
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

/// How the thread is woken from its rest: from parking or, once there is a reactor, from waiting for that.
///
/// The reactor is created in a turn. A notify before that needs to wake nothing, since the turn checks once more before
/// the thread rests. A notify after that check finds the waker here: the flag that lets it ring was lowered after the
/// waker was stored.
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

    /// Returns the cell that holds the reactor once a task has asked for it.
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
