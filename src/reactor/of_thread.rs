//! The reactor of the loop that drives this thread.

use std::{
    any::Any,
    cell::{Cell, OnceCell, RefCell},
    io,
    rc::Rc,
};

use super::epoll::Reactor;

impl Reactor {
    /// Returns the reactor of the loop that drives this thread.
    ///
    /// It is created at the first call, so that a loop without sockets has none.
    ///
    /// # Errors
    ///
    /// Returns an error on a thread whose loop has none, and the system's error if it can't be created.
    pub fn current() -> io::Result<Self> {
        let host = HOST.try_with(|host| host.borrow().clone()).ok().flatten();
        host.ok_or_else(|| io::Error::other("no loop with a reactor drives this thread"))?.reactor()
    }
}

thread_local!(static HOST: RefCell<Option<Rc<Host>>> = const { RefCell::new(None) });

type Attach = Box<dyn FnOnce(&Reactor) -> io::Result<Box<dyn Any>>>;

/// The holder of a loop's reactor, which is created at its first use.
pub(crate) struct Host {
    attach: Cell<Option<Attach>>,
    made: OnceCell<(Box<dyn Any>, Reactor)>,
}

impl Host {
    /// Installs the holder on this thread until the guard is dropped; `attach` is called when the reactor is created,
    /// and its result is kept as long.
    pub(crate) fn install<G: 'static>(attach: impl FnOnce(&Reactor) -> io::Result<G> + 'static) -> Installed {
        let attach: Attach = Box::new(|reactor| Ok(Box::new(attach(reactor)?)));
        let host = Rc::new(Self { attach: Cell::new(Some(attach)), made: OnceCell::new() });
        Self::place(host)
    }

    /// Installs a holder on this thread for an existing reactor.
    pub(crate) fn install_made(reactor: &Reactor) -> Installed {
        let made: (Box<dyn Any>, Reactor) = (Box::new(()), reactor.clone());
        let host = Rc::new(Self { attach: Cell::new(None), made: OnceCell::from(made) });
        Self::place(host)
    }

    /// Installs the holder. A thread that is ending may have lost its thread-locals: then sockets say that there is no
    /// reactor.
    fn place(host: Rc<Self>) -> Installed {
        Installed(HOST.try_with(|current| current.replace(Some(host))).ok().flatten())
    }

    fn reactor(&self) -> io::Result<Reactor> {
        if let Some((_, reactor)) = self.made.get() {
            return Ok(reactor.clone());
        }
        let reactor = Reactor::new()?;
        let attach = self.attach.take().ok_or_else(|| io::Error::other("the loop could not watch its reactor"))?;
        let guard = attach(&reactor)?;
        Ok(self.made.get_or_init(|| (guard, reactor)).1.clone())
    }
}

/// Dropping it removes the reactor from the thread.
pub(crate) struct Installed(Option<Rc<Host>>);

impl Drop for Installed {
    fn drop(&mut self) {
        let host = HOST.try_with(|current| current.replace(self.0.take()));
        drop(host);
    }
}
