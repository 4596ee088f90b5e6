//! A mailbox on a loop that somebody else runs.

use std::{marker::PhantomData, rc::Rc, sync::Arc};

use super::guest::Guest;
use crate::{
    Error, EventLoop, NoOptions, Remote, Result,
    channel::{address::Address, local::Local, shared::Shared},
    event_loop::Mailbox,
    kit::trace::Span,
    words::state::Reason,
};

/// The kind of a loop that somebody else runs, on this thread or another: a `Mailbox<Foreign>` can be attached to it.
///
/// So the rest of a program can reach into a loop that is there already, and that no service owns: a GTK application's,
/// a calloop loop's, a game's. Its mailbox keeps what every mailbox keeps: jobs of one sender run in order; what was
/// accepted runs, or its [`Reply`](crate::Reply) says why not; a panic stays within its job; what lives here is dropped
/// here; nobody on this thread can block it by waiting for a reply.
///
/// It belongs to no service: nobody supervises the loop, restarts it, or leaves it behind when it is stuck.
///
/// Where the loop runs futures the mailbox is one: `mailbox.drive(tokio::task::yield_now)`, awaited beside the rest of
/// a `#[tokio::main]`, say. Adapters of other loops attach it in one call where they can; by hand it is these four
/// lines:
///
/// ```
/// use std::{sync::mpsc, time::Duration};
/// use interloop::event_loop::{Foreign, Mailbox, Turn};
///
/// // A loop that somebody has written: it waits in a channel.
/// let (waker, wakes) = mpsc::channel();
///
/// let mut mailbox = Mailbox::<Foreign>::attach("ui");
/// mailbox.set_notify(move || waker.send(()).unwrap_or_default());
/// let title = mailbox.share(String::from("hello"));
///
/// let other = std::thread::spawn(move || title.call(|title| title.len()).wait_timeout(Duration::from_secs(10)));
/// while !other.is_finished() {
///     let _ = wakes.recv_timeout(Duration::from_millis(100));
///     while mailbox.turn() == Turn::Again { /* the loop's own events */ }
/// }
/// assert_eq!(other.join().unwrap(), Ok(5));
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Foreign {}

impl EventLoop for Foreign {
    const NAME: &'static str = "foreign";
    type Options = NoOptions;
    type Native = ();

    /// # Errors
    ///
    /// Always: it is somebody else who drives it.
    fn drive(self, _: NoOptions, _: Mailbox<Self>, _: impl FnOnce(&Mailbox<Self>, ())) -> Result {
        Err(Error::new("a foreign loop is driven by somebody else: attach a mailbox to it"))
    }
}

impl Mailbox<Foreign> {
    /// A mailbox for the loop that somebody else runs on this thread. It is for the caller to say how to wake that loop
    /// ([`set_notify`](Self::set_notify)), and to take [turns](Self::turn) when it was woken.
    ///
    /// To detach it, drop it: what was not begun by then is given up, its replies resolve as
    /// [`Stopped`](crate::CallError::Stopped), and futures and values are dropped, here. To let what was accepted run
    /// before, see [`ForeignHandle::request_shutdown`].
    pub fn attach(name: &str) -> Self {
        let shared = Shared::new(name);
        let guest = Guest::new(shared.clone());
        Self { local: Rc::new(Local::new(shared)), service: None, stopping: false, guest: Some(guest), of: PhantomData }
    }

    /// Gives other threads a way to this value, which stays here until the mailbox is dropped.
    pub fn share<T: 'static>(&self, value: T) -> Remote<T> {
        let shared = self.local().shared();
        let address = Address::at(shared.name(), shared);
        // A fresh address of this loop's.
        if self.local().put(&address, Rc::new(value), Span::none()).is_err() {
            address.close();
        }
        Remote::new(address)
    }

    /// Ends the mailbox from any thread.
    pub fn handle(&self) -> ForeignHandle {
        ForeignHandle(self.local().shared().clone())
    }
}

/// Ends a mailbox that was [attached](Mailbox::attach) to a loop, from any thread.
#[derive(Clone, Debug)]
pub struct ForeignHandle(Arc<Shared>);

impl ForeignHandle {
    /// Has the mailbox take nothing new from its next turn on: what was accepted runs, futures are cancelled, and then
    /// a turn says [`Stop`](crate::event_loop::Turn::Stop): it is to be dropped. Latched: it may be said at any time,
    /// and again.
    pub fn request_shutdown(&self, reason: impl Into<String>) {
        self.0.stop(Reason::Requested(reason.into().into()), None);
    }

    /// Closes the mailbox at once: what was not begun is given up, also when a job of its own says so, and its replies
    /// resolve as [`Stopped`](crate::CallError::Stopped). For adapters whose guard may be dropped while the mailbox
    /// takes a turn; the mailbox is still to be dropped on its thread.
    pub fn detach(&self) {
        self.0.give_up(Reason::Requested("detached".into()));
    }
}
