//! A mailbox on a loop that another program drives.

use std::{marker::PhantomData, rc::Rc, sync::Arc};

use super::guest::Guest;
use crate::{
    Error, EventLoop, NoOptions, Remote, Result,
    channel::{address::Address, local::Local, shared::Shared},
    event_loop::Mailbox,
    kit::trace::Span,
    words::state::Reason,
};

/// The kind of a loop that no service drives, on this thread or another; a `Mailbox<Foreign>` can be attached to it.
///
/// So the rest of a program can reach a loop that exists already: a GTK application's, a calloop loop's, a game's. Its
/// mailbox has the usual guarantees: jobs of one sender run in order; an accepted job runs, or its
/// [`Reply`](crate::Reply) says why not; a panic stays within its job; values that live here are dropped here; no
/// caller on this thread can block the loop by waiting for a reply.
///
/// It belongs to no service: nothing supervises the loop, restarts it, or leaves it behind when it is stuck.
///
/// If the loop runs futures, the mailbox is one: await `mailbox.drive(tokio::task::yield_now)` beside the rest of a
/// `#[tokio::main]`, for instance. Adapters of other loops attach it in one call where they can; by hand it takes these
/// four lines:
///
/// ```
/// use std::{sync::mpsc, time::Duration};
/// use interloop::event_loop::{Foreign, Mailbox, Turn};
///
/// // An existing loop, which waits on a channel.
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
    /// Always returns an error: this loop is driven elsewhere.
    fn drive(self, _: NoOptions, _: Mailbox<Self>, _: impl FnOnce(&Mailbox<Self>, ())) -> Result {
        Err(Error::new("a foreign loop is driven by somebody else: attach a mailbox to it"))
    }
}

impl Mailbox<Foreign> {
    /// Returns a mailbox for a loop on this thread that no service drives.
    ///
    /// The caller must say how to wake that loop ([`set_notify`](Self::set_notify)), and take [turns](Self::turn) when
    /// it was woken.
    ///
    /// To detach the mailbox, drop it: jobs that have not begun are discarded, their replies resolve as
    /// [`Stopped`](crate::CallError::Stopped), and futures and values are dropped here. To let accepted jobs run first,
    /// see [`ForeignHandle::request_shutdown`].
    pub fn attach(name: &str) -> Self {
        let shared = Shared::new(name);
        let guest = Guest::new(shared.clone());
        Self { local: Rc::new(Local::new(shared)), service: None, stopping: false, guest: Some(guest), of: PhantomData }
    }

    /// Returns a Remote by which other threads reach this value, which stays here until the mailbox is dropped.
    pub fn share<T: 'static>(&self, value: T) -> Remote<T> {
        let shared = self.local().shared();
        let address = Address::at(shared.name(), shared);
        // A fresh address of this loop can't be refused.
        if self.local().put(&address, Rc::new(value), Span::none()).is_err() {
            address.close();
        }
        Remote::new(address)
    }

    /// Returns a handle that ends the mailbox from any thread.
    pub fn handle(&self) -> ForeignHandle {
        ForeignHandle(self.local().shared().clone())
    }
}

/// Ends a mailbox that was [attached](Mailbox::attach) to a loop, from any thread.
#[derive(Clone, Debug)]
pub struct ForeignHandle(Arc<Shared>);

impl ForeignHandle {
    /// Asks the mailbox to end: it accepts nothing new from its next turn on.
    ///
    /// Accepted jobs run and futures are cancelled; then a turn returns [`Stop`](crate::event_loop::Turn::Stop), and
    /// the mailbox must be dropped. The request is latched: it may be made at any time, and repeated.
    pub fn request_shutdown(&self, reason: impl Into<String>) {
        self.0.stop(Reason::Requested(reason.into().into()), None);
    }

    /// Closes the mailbox at once.
    ///
    /// Jobs that have not begun are discarded, even if one of its own jobs calls this, and their replies resolve as
    /// [`Stopped`](crate::CallError::Stopped). This is for adapters whose guard may be dropped while the mailbox takes
    /// a turn; the mailbox must still be dropped on its thread.
    pub fn detach(&self) {
        self.0.give_up(Reason::Requested("detached".into()));
    }
}
