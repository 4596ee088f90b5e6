//! The addresses a server listens on: known once it is bound, awaited by anybody who needs them.

use std::{
    fmt,
    future::{Future, poll_fn},
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};

use interloop::{Context, EventLoop, net::Address};

/// The addresses that a server listens on. Usable from any thread; clones share the same state.
///
/// A server's `addresses()` returns it, before the server starts.
#[derive(Clone, Default)]
pub struct Addresses(Arc<Shared>);

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    state: State,
    wakers: Vec<Waker>,
}

#[derive(Clone, Default)]
enum State {
    #[default]
    Unbound,
    Bound(Vec<Address>),
    Ended,
}

impl Addresses {
    /// Creates one for a server that is recreated for each incarnation: see its `announce_to`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the current addresses: none before the server is bound, and none after its end.
    pub fn get(&self) -> Vec<Address> {
        match &self.lock().state {
            State::Bound(addresses) => addresses.clone(),
            State::Unbound | State::Ended => Vec::new(),
        }
    }

    /// Returns the first of the current addresses that is an IP address and a port.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match &self.lock().state {
            State::Bound(addresses) => addresses.iter().find_map(Address::tcp),
            State::Unbound | State::Ended => None,
        }
    }

    /// Waits, on any executor, until the server listens; returns None if the server ends without listening.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no other effect.
    pub fn bound(&self) -> impl Future<Output = Option<Vec<Address>>> + Send + 'static {
        let this = self.clone();
        poll_fn(move |cx| {
            let mut inner = this.lock();
            match &inner.state {
                State::Bound(addresses) => Poll::Ready(Some(addresses.clone())),
                State::Ended => Poll::Ready(None),
                State::Unbound => {
                    inner.wakers.retain(|waker| !waker.will_wake(cx.waker()));
                    inner.wakers.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
    }

    /// Waits as [`bound`](Self::bound) does, blocking this thread. Must not be called on the thread of a loop.
    pub fn wait(&self) -> Option<Vec<Address>> {
        let waited = self.0.changed.wait_while(self.lock(), |inner| matches!(inner.state, State::Unbound));
        match &waited.unwrap_or_else(PoisonError::into_inner).state {
            State::Bound(addresses) => Some(addresses.clone()),
            State::Unbound | State::Ended => None,
        }
    }

    /// Waits as [`wait`](Self::wait) does, for at most `timeout`, and returns None after that. Must not be called on
    /// the thread of a loop.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Vec<Address>> {
        let waited =
            self.0.changed.wait_timeout_while(self.lock(), timeout, |inner| matches!(inner.state, State::Unbound));
        match &waited.unwrap_or_else(PoisonError::into_inner).0.state {
            State::Bound(addresses) => Some(addresses.clone()),
            State::Unbound | State::Ended => None,
        }
    }

    /// Announces that the server, which is this task, listens on these addresses: to the log, the service and all
    /// waiters.
    pub fn announce<L: EventLoop, O>(&self, cx: &Context<L, O>, addresses: Vec<Address>) {
        for address in &addresses {
            cx.bound(address.clone());
            log::info!(target: cx.target(), "server started on {address}");
        }
        self.set(State::Bound(addresses));
    }

    /// Returns a guard that announces the server's end when it is dropped, which includes the cancellation of the task
    /// that holds it.
    pub fn until_dropped(&self) -> Announced {
        Announced(self.clone())
    }

    /// Announces that the server has ended, or was dropped before its start.
    pub fn set_ended(&self) {
        self.set(State::Ended);
    }

    fn set(&self, state: State) {
        let wakers = {
            let mut inner = self.lock();
            inner.state = state;
            std::mem::take(&mut inner.wakers)
        };
        self.0.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The guard that [`Addresses::until_dropped`] returns.
#[derive(Debug)]
#[must_use = "dropping it says that the server has ended"]
pub struct Announced(Addresses);

impl Drop for Announced {
    fn drop(&mut self) {
        self.0.set_ended();
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Addresses").field(&self.get()).finish()
    }
}
