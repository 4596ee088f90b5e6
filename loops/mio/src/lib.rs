//! mio as an event loop of Interloop: the loop closest to the system, for programs that read and write their sockets
//! themselves.
//!
//! [`Mio`] drives a [`mio::Poll`] on a thread of its own. A task [registers](MioNative::register) its sources, each
//! with a handler that is called there when something has happened to the source. Tasks that run on any loop
//! (`interloop::net`) get their sockets from the core's reactor, which the poll watches.
//!
//! ```
//! use std::{cell::RefCell, io::Read, ops::ControlFlow, rc::Rc, time::Duration};
//! use interloop::{Service, task_fn};
//! use interloop_mio::{Mio, mio::{Interest, net::UnixStream}};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (ours, mut theirs) = std::os::unix::net::UnixStream::pair()?;
//! ours.set_nonblocking(true)?;
//! let mut service = Service::new("reader");
//! let (slot, text) = service.slot::<RefCell<String>>("text");
//! service.task("read", task_fn::<Mio>(async move |cx| {
//!     let text: Rc<RefCell<String>> = cx.fill(slot, RefCell::default());
//!     let stream = UnixStream::from_std(ours);
//!     let _reading = cx.native().register(stream, Interest::READABLE, move |stream, _| {
//!         let mut bytes = [0; 64];
//!         // Until it would block: mio tells of edges.
//!         while let Ok(length) = stream.read(&mut bytes) {
//!             if length == 0 {
//!                 return ControlFlow::Break(());
//!             }
//!             text.borrow_mut().push_str(&String::from_utf8_lossy(&bytes[..length]));
//!         }
//!         ControlFlow::Continue(())
//!     })?;
//!     cx.until_shutdown().await;
//!     Ok(())
//! }));
//!
//! let running = service.start()?;
//! std::io::Write::write_all(&mut theirs, b"hello")?;
//! // From any thread: a closure that runs on mio's.
//! while text.call(|text| text.borrow().clone()).wait_timeout(Duration::from_secs(10))? != "hello" {}
//! assert_eq!(running.stop().code, 0);
//! # Ok(())
//! # }
//! ```
//!
//! # The end
//!
//! Sources that are still registered when the loop has ended are deregistered and dropped, with their handlers, on the
//! loop's thread.
//!
//! # Limits
//!
//! mio waits in milliseconds: a sleep is never early, and up to 1 ms late. A handler that panics ends the loop. Sockets
//! of `interloop::net` need Linux.

#![forbid(unsafe_code)]

mod native;

use std::{future::Future, io::ErrorKind, sync::Arc, time::Duration};

use interloop::{
    EventLoop, NoOptions, Result,
    event_loop::{Mailbox, TimerQueue, Timers, Turn},
};
use mio::{Events, Poll, Waker};

pub use mio;

pub use crate::native::{MioNative, Registration};
use crate::native::{SOCKETS, WAKE};

/// How many events one poll fetches. The rest comes with the next one.
const EVENTS: usize = 256;

/// A [`mio::Poll`] on a thread of its own.
///
/// The loop's name is `mio`. See the [crate's documentation](crate).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Mio {}

impl EventLoop for Mio {
    const NAME: &'static str = "mio";
    type Options = NoOptions;
    type Native = MioNative;

    fn drive(self, _: NoOptions, mailbox: Mailbox<Self>, started: impl FnOnce(&Mailbox<Self>, MioNative)) -> Result {
        let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(EVENTS));
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        mailbox.set_notify(move || {
            if let Err(error) = waker.wake() {
                log::error!("mio can't be woken: {error}");
            }
        });
        let timers = TimerQueue::default();
        let native = MioNative::new(poll.registry().try_clone()?, timers.clone());
        let sources = native.sources();
        // Whatever happens below, the mailbox is dropped before the sources.
        let mut mailbox = mailbox;
        sources.give_sockets(&mailbox);
        started(&mailbox, native);
        loop {
            timers.fire();
            let timeout = match mailbox.turn() {
                Turn::Stop => return Ok(()),
                Turn::Again => Some(Duration::ZERO),
                Turn::Idle => timers.timeout(),
            };
            match poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                match event.token() {
                    WAKE => {}
                    SOCKETS => sources.turn_sockets()?,
                    _ => sources.tell(event),
                }
            }
        }
    }
}

impl Timers for Mio {
    fn sleep(native: &MioNative, duration: Duration) -> impl Future<Output = ()> + 'static {
        native.timers().sleep(duration)
    }
}

#[cfg(target_os = "linux")]
impl interloop::net::ReactorLoop for Mio {}

/// The README's program compiles.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
