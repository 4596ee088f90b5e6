//! Loops that bring nothing of their own: their sockets and timers are the core's.

use std::{
    cell::OnceCell,
    future::Future,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use interloop::{
    EventLoop, NoOptions, Result,
    event_loop::{Mailbox, Timers, Turn},
    net::{Reactor, ReactorLoop},
};

/// A thread that parks, and can only be woken. Another thread waits for the sockets.
#[derive(Clone, Default)]
struct Parked;

impl EventLoop for Parked {
    const NAME: &'static str = "parked";
    type Options = NoOptions;
    type Native = ();

    fn drive(self, _: NoOptions, mut mailbox: Mailbox<Self>, started: impl FnOnce(&Mailbox<Self>, ())) -> Result {
        let thread = std::thread::current();
        let waker = thread.clone();
        mailbox.set_notify(move || waker.unpark());
        let made = Rc::<OnceCell<Reactor>>::default();
        let rung = Arc::new(AtomicBool::new(false));
        let (make, ring) = (made.clone(), rung.clone());
        mailbox.set_reactor(move |reactor| {
            let _ = make.set(reactor.clone());
            reactor.ring_from_thread("parked-sockets", move || {
                ring.store(true, Ordering::Release);
                thread.unpark();
            })
        });
        started(&mailbox, ());
        loop {
            // This happens only after a ring, as in a loop that watches the descriptor edge-triggered.
            if let Some(reactor) = made.get().filter(|_| rung.swap(false, Ordering::AcqRel)) {
                reactor.turn()?;
            }
            match mailbox.turn() {
                Turn::Stop => return Ok(()),
                Turn::Again => {}
                Turn::Idle => std::thread::park(),
            }
        }
    }
}

impl Timers for Parked {
    fn sleep((): &(), duration: Duration) -> impl Future<Output = ()> + 'static {
        reactor_sleep(duration)
    }
}

impl ReactorLoop for Parked {}

/// Waits in the reactor alone, which the mailbox wakes too: its only timers are the reactor's.
#[derive(Clone, Default)]
struct Waiting;

impl EventLoop for Waiting {
    const NAME: &'static str = "waiting";
    type Options = NoOptions;
    type Native = ();

    fn drive(self, _: NoOptions, mut mailbox: Mailbox<Self>, started: impl FnOnce(&Mailbox<Self>, ())) -> Result {
        let reactor = Reactor::new()?;
        let waker = reactor.waker()?;
        mailbox.set_notify(move || waker.wake());
        mailbox.use_reactor(&reactor);
        started(&mailbox, ());
        loop {
            match mailbox.turn() {
                Turn::Stop => return Ok(()),
                Turn::Again => reactor.turn()?,
                Turn::Idle => reactor.wait(None)?,
            }
        }
    }
}

impl Timers for Waiting {
    fn sleep((): &(), duration: Duration) -> impl Future<Output = ()> + 'static {
        reactor_sleep(duration)
    }
}

impl ReactorLoop for Waiting {}

fn reactor_sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
    Reactor::current().expect("the loop has a reactor").sleep(duration)
}

mod parked {
    interloop_conformance::conformance!(super::Parked);
    interloop_conformance::http!(super::Parked);
}

mod waiting {
    interloop_conformance::conformance!(super::Waiting);
    interloop_conformance::http!(super::Waiting);
}
