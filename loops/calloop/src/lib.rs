//! calloop as an event loop of Interloop.
//!
//! [`Calloop`] drives a [`calloop::EventLoop`] on a thread of its own. Tasks see its [`LoopHandle`], and insert timers,
//! channels, descriptors and signals there as in any calloop program. The loop's data is `()`; sources share state by
//! `Rc`. Tasks that run on any loop (`interloop::net`) get their sockets from the core's reactor, which is one more
//! source.
//!
//! ```
//! use std::{cell::Cell, rc::Rc, time::Duration};
//! use interloop::{Service, task_fn};
//! use interloop_calloop::{Calloop, calloop::timer::{TimeoutAction, Timer}};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut service = Service::new("ticks");
//! let (slot, ticks) = service.slot::<Cell<u32>>("ticks");
//! service.task("ticker", task_fn::<Calloop>(async move |cx| {
//!     let ticks: Rc<Cell<u32>> = cx.fill(slot, Cell::new(0));
//!     let timer = cx.native().insert_source(Timer::immediate(), move |_, (), ()| {
//!         ticks.set(ticks.get() + 1);
//!         TimeoutAction::ToDuration(Duration::from_millis(1))
//!     });
//!     let timer = timer.map_err(|failed| failed.error)?;
//!     cx.until_shutdown().await;
//!     cx.native().remove(timer);
//!     Ok(())
//! }));
//!
//! let running = service.start()?;
//! // From any thread: a closure that runs on calloop's.
//! while ticks.call(Cell::get).wait_timeout(Duration::from_secs(10))? < 3 {}
//! assert_eq!(running.stop().code, 0);
//! # Ok(())
//! # }
//! ```
//!
//! # A loop that other code runs
//!
//! [`attach`] gives other threads a [`Remote`](interloop::Remote) into it, without a service that owns the loop.
//!
//! # The end
//!
//! Sources that tasks have left in the loop are dropped with it, on its thread. A source whose callback keeps a clone
//! of the handle is never dropped.
//!
//! # Limits
//!
//! If a callback panics, or a source fails, the loop ends. Sockets of `interloop::net` need Linux.

#![forbid(unsafe_code)]

mod attach;

use std::{future::Future, time::Duration};

use calloop::{LoopHandle, LoopSignal};
use interloop::{
    EventLoop, NoOptions, Result,
    event_loop::{Mailbox, TimerQueue, Timers, Turn},
};

pub use calloop;

pub use crate::attach::{Attached, attach};

/// A [`calloop::EventLoop`] on a thread of its own.
///
/// The loop's name is `calloop`. See the [crate's documentation](crate).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Calloop {}

/// A task's view of its calloop loop: the loop's handle, by `Deref`.
#[derive(Clone, Debug)]
pub struct CalloopNative {
    handle: LoopHandle<'static, ()>,
    timers: TimerQueue,
}

impl std::ops::Deref for CalloopNative {
    type Target = LoopHandle<'static, ()>;

    fn deref(&self) -> &Self::Target {
        &self.handle
    }
}

impl EventLoop for Calloop {
    const NAME: &'static str = "calloop";
    type Options = NoOptions;
    type Native = CalloopNative;

    fn drive(
        self,
        _: NoOptions,
        mailbox: Mailbox<Self>,
        started: impl FnOnce(&Mailbox<Self>, CalloopNative),
    ) -> Result {
        let mut event_loop = calloop::EventLoop::<()>::try_new()?;
        // Whatever happens below, the mailbox is dropped before the loop.
        let mut mailbox = mailbox;
        let signal: LoopSignal = event_loop.get_signal();
        mailbox.set_notify(move || signal.wakeup());
        let timers = TimerQueue::default();
        give_sockets(&mailbox, event_loop.handle());
        started(&mailbox, CalloopNative { handle: event_loop.handle(), timers: timers.clone() });
        loop {
            timers.fire();
            let timeout = match mailbox.turn() {
                Turn::Stop => return Ok(()),
                Turn::Again => Some(Duration::ZERO),
                Turn::Idle => timers.timeout(),
            };
            event_loop.dispatch(timeout, &mut ())?;
        }
    }
}

/// Has the loop take the reactor's turns once a task has sockets.
#[cfg(target_os = "linux")]
fn give_sockets(mailbox: &Mailbox<Calloop>, handle: LoopHandle<'static, ()>) {
    use calloop::{Interest, Mode, PostAction, RegistrationToken, generic::Generic};

    struct Watched(LoopHandle<'static, ()>, RegistrationToken);

    impl Drop for Watched {
        fn drop(&mut self) {
            self.0.remove(self.1);
        }
    }

    mailbox.set_reactor(move |reactor| {
        let source = Generic::new(reactor.clone(), Interest::READ, Mode::Level);
        let token = handle.insert_source(source, |_, reactor, ()| reactor.turn().map(|()| PostAction::Continue));
        let token = token.map_err(|error| std::io::Error::other(error.error))?;
        Ok(Watched(handle, token))
    });
}

#[cfg(not(target_os = "linux"))]
fn give_sockets(_: &Mailbox<Calloop>, _: LoopHandle<'static, ()>) {}

impl Timers for Calloop {
    fn sleep(native: &CalloopNative, duration: Duration) -> impl Future<Output = ()> + 'static {
        native.timers.sleep(duration)
    }
}

#[cfg(target_os = "linux")]
impl interloop::net::ReactorLoop for Calloop {}

/// The README's program compiles.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
