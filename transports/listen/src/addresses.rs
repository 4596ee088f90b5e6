//! Where a server listens: known once it is bound, awaited by whoever needs it.

use std::{
    fmt,
    future::{Future, poll_fn},
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};

use interloop::{Context, EventLoop, net::Address};

/// The addresses that a server listens on, from any thread: `Clone` gives another end of the same.
///
/// Got from a server, by its `addresses()`, before it starts.
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
    /// For a server that is made anew for each incarnation: see its `announce_to`.
    pub fn new() -> Self {
        Self::default()
    }

    /// The addresses now: none before the server is bound, and none after its end.
    pub fn get(&self) -> Vec<Address> {
        match &self.lock().state {
            State::Bound(addresses) => addresses.clone(),
            State::Unbound | State::Ended => Vec::new(),
        }
    }

    /// The first that is an IP address and a port, now.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match &self.lock().state {
            State::Bound(addresses) => addresses.iter().find_map(Address::tcp),
            State::Unbound | State::Ended => None,
        }
    }

    /// Waits, on any executor, until the server listens; None if it has ended without.
    ///
    /// # Cancel safety
    ///
    /// Dropping it does nothing else.
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

    /// As [`bound`](Self::bound), blocking this thread. Not for the thread of a loop.
    pub fn wait(&self) -> Option<Vec<Address>> {
        let waited = self.0.changed.wait_while(self.lock(), |inner| matches!(inner.state, State::Unbound));
        match &waited.unwrap_or_else(PoisonError::into_inner).state {
            State::Bound(addresses) => Some(addresses.clone()),
            State::Unbound | State::Ended => None,
        }
    }

    /// As [`wait`](Self::wait), but at most this long: None after `timeout`, too. Not for the thread of a loop.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Vec<Address>> {
        let waited =
            self.0.changed.wait_timeout_while(self.lock(), timeout, |inner| matches!(inner.state, State::Unbound));
        match &waited.unwrap_or_else(PoisonError::into_inner).0.state {
            State::Bound(addresses) => Some(addresses.clone()),
            State::Unbound | State::Ended => None,
        }
    }

    /// The server, which is this task, listens there: tells the log, the service and whoever waits.
    pub fn announce<L: EventLoop, O>(&self, cx: &Context<L, O>, addresses: Vec<Address>) {
        for address in &addresses {
            cx.bound(address.clone());
            log::info!(target: cx.target(), "server started on {address}");
        }
        self.set(State::Bound(addresses));
    }

    /// Says that the server has ended when it is dropped, with the future of a task that is cancelled too.
    pub fn until_dropped(&self) -> Announced {
        Announced(self.clone())
    }

    /// The server has ended, or was dropped unstarted.
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

/// See [`Addresses::until_dropped`].
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
