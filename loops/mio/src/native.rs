//! A task's view of a mio loop: sources, each with its handler.
//!
//! Invariants:
//! 1. A token is never reused, so an event that was fetched before its source left reaches no other source.
//! 2. A source is deregistered before it is dropped: another source may get its descriptor a moment later.
//! 3. No handler runs, and nothing of the user's is dropped, while the table is borrowed.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fmt, io,
    ops::ControlFlow,
    rc::{Rc, Weak},
};

use interloop::{
    EventLoop,
    event_loop::{Mailbox, TimerQueue},
};
use mio::{Interest, Registry, Token, event::Event, event::Source};

pub(crate) const WAKE: Token = Token(usize::MAX);
pub(crate) const SOCKETS: Token = Token(usize::MAX - 1);

/// A task's view of its mio loop. It stays on the loop's thread.
#[derive(Clone)]
pub struct MioNative {
    table: Rc<Table>,
    timers: TimerQueue,
}

type Handler = Rc<RefCell<dyn FnMut(&Event) -> ControlFlow<()>>>;

#[derive(Default)]
struct Table {
    /// None once the loop has ended.
    registry: RefCell<Option<Rc<Registry>>>,
    handlers: RefCell<HashMap<Token, Handler>>,
    last: Cell<usize>,
    #[cfg(target_os = "linux")]
    reactor: RefCell<Option<interloop::net::Reactor>>,
}

impl MioNative {
    pub(crate) fn new(registry: Registry, timers: TimerQueue) -> Self {
        let table = Rc::new(Table { registry: RefCell::new(Some(Rc::new(registry))), ..Table::default() });
        Self { table, timers }
    }

    pub(crate) fn timers(&self) -> &TimerQueue {
        &self.timers
    }

    pub(crate) fn sources(&self) -> Sources {
        Sources(self.table.clone())
    }

    /// Calls the handler, on this thread, whenever something has happened to the source, until the handler returns
    /// `Break` or the registration is dropped.
    ///
    /// mio reports edges, and doesn't repeat itself: a handler must continue until its operation would block. If a
    /// handler panics, the loop ends.
    ///
    /// # Errors
    ///
    /// The system's error; also if the loop has ended.
    pub fn register<S: Source + 'static>(
        &self,
        mut source: S,
        interest: Interest,
        mut handler: impl FnMut(&mut S, &Event) -> ControlFlow<()> + 'static,
    ) -> io::Result<Registration<S>> {
        let table = &self.table;
        let registry = table.registry.borrow().clone().ok_or_else(|| io::Error::other("the mio loop has ended"))?;
        let token = Token(table.last.get() + 1);
        registry.register(&mut source, token, interest)?;
        table.last.set(token.0);
        let source = Rc::new(RefCell::new(Registered { source, registry: Rc::downgrade(&registry) }));
        let told = source.clone();
        let handler = Rc::new(RefCell::new(move |event: &Event| {
            let mut told = told.borrow_mut();
            let next = handler(&mut told.source, event);
            if next.is_break() {
                told.deregister();
            }
            next
        }));
        table.handlers.borrow_mut().insert(token, handler);
        Ok(Registration { source, token, interest: Cell::new(interest), table: Rc::downgrade(table) })
    }
}

impl fmt::Debug for MioNative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MioNative").field("sources", &self.table.handlers.borrow().len()).finish_non_exhaustive()
    }
}

/// The loop's side of the table; dropping it drops all sources.
pub(crate) struct Sources(Rc<Table>);

impl Sources {
    pub(crate) fn tell(&self, event: &Event) {
        let handler = self.0.handlers.borrow().get(&event.token()).cloned();
        let Some(handler) = handler else { return };
        let next = handler.borrow_mut()(event);
        if next.is_break() {
            let ended = self.0.handlers.borrow_mut().remove(&event.token());
            drop(ended);
        }
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn give_sockets<L: EventLoop>(&self, mailbox: &Mailbox<L>) {
        use std::os::fd::{AsFd, AsRawFd};

        struct Watched(Rc<Table>);

        impl Drop for Watched {
            fn drop(&mut self) {
                self.0.reactor.take();
            }
        }

        let table = self.0.clone();
        mailbox.set_reactor(move |reactor| {
            let registry = table.registry.borrow().clone().ok_or_else(|| io::Error::other("the mio loop has ended"))?;
            let fd = reactor.as_fd().as_raw_fd();
            registry.register(&mut mio::unix::SourceFd(&fd), SOCKETS, Interest::READABLE)?;
            *table.reactor.borrow_mut() = Some(reactor.clone());
            Ok(Watched(table.clone()))
        });
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn give_sockets<L: EventLoop>(&self, _: &Mailbox<L>) {}

    pub(crate) fn turn_sockets(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            let reactor = self.0.reactor.borrow().clone();
            if let Some(reactor) = reactor {
                reactor.turn()?;
            }
        }
        Ok(())
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        // Nothing new is registered from here on, not even by the values that are dropped now.
        let registry = self.0.registry.take();
        let handlers = std::mem::take(&mut *self.0.handlers.borrow_mut());
        drop(handlers);
        drop(registry);
    }
}

struct Registered<S: Source> {
    source: S,
    registry: Weak<Registry>,
}

impl<S: Source> Registered<S> {
    fn deregister(&mut self) {
        if let Some(registry) = std::mem::take(&mut self.registry).upgrade() {
            // The source is registered: this can only fail if its owner has closed the descriptor behind our back.
            let _ = registry.deregister(&mut self.source);
        }
    }
}

impl<S: Source> Drop for Registered<S> {
    fn drop(&mut self) {
        self.deregister();
    }
}

/// A source on a mio loop: see [`MioNative::register`].
///
/// Dropping it ends the calls to the handler, and drops both: at once, or after the handler if the handler drops it.
#[must_use = "dropping it ends the registration"]
pub struct Registration<S: Source> {
    source: Rc<RefCell<Registered<S>>>,
    token: Token,
    interest: Cell<Interest>,
    table: Weak<Table>,
}

impl<S: Source> Registration<S> {
    /// Calls `f` with the source, for example to write to it.
    ///
    /// # Panics
    ///
    /// Within the source's own handler, which already has the source; and within `f`.
    pub fn with<R>(&self, f: impl FnOnce(&mut S) -> R) -> R {
        f(&mut self.source.borrow_mut().source)
    }

    /// Returns the interest that the source is watched for.
    pub fn interest(&self) -> Interest {
        self.interest.get()
    }

    /// Changes the interest that the source is watched for. Existing readiness is reported again.
    ///
    /// # Errors
    ///
    /// The system's error; also if the source's handler has returned `Break`, or the loop has ended.
    ///
    /// # Panics
    ///
    /// Within the source's own handler.
    pub fn set_interest(&self, interest: Interest) -> io::Result<()> {
        let mut registered = self.source.borrow_mut();
        let registry = registered.registry.upgrade();
        let registry = registry.ok_or_else(|| io::Error::other("the source is not registered any more"))?;
        registry.reregister(&mut registered.source, self.token, interest)?;
        self.interest.set(interest);
        Ok(())
    }

    /// Leaves the source registered until its handler returns `Break`, or the loop ends.
    pub fn detach(mut self) {
        self.table = Weak::new();
    }
}

impl<S: Source> Drop for Registration<S> {
    fn drop(&mut self) {
        let handler = self.table.upgrade().and_then(|table| table.handlers.borrow_mut().remove(&self.token));
        drop(handler);
    }
}

impl<S: Source> fmt::Debug for Registration<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("interest", &self.interest.get()).finish_non_exhaustive()
    }
}
