//! Gives any thread access to the connection of a [`DbusService`](crate::DbusService).

use std::{
    fmt,
    future::{Future, poll_fn},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use zbus::Connection;

/// The connection of a [`DbusService`](crate::DbusService), for any thread: to call others, to send signals, to access
/// its objects. Clones share the connection.
#[derive(Clone, Default)]
pub struct DbusHandle(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    waiting: Vec<Waker>,
}

impl DbusHandle {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the connection; None before the start, while the bus is gone, and after the end.
    pub fn connection(&self) -> Option<Connection> {
        self.state().connection.clone()
    }

    /// Waits for a connection that has the service's name, or waits in its queue. If the service has ended, it waits
    /// for the next incarnation.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no other effect.
    pub fn connected(&self) -> impl Future<Output = Connection> + Send + 'static {
        let handle = self.clone();
        poll_fn(move |poller| {
            let mut state = handle.state();
            if let Some(connection) = &state.connection {
                return Poll::Ready(connection.clone());
            }
            if !state.waiting.iter().any(|waker| waker.will_wake(poller.waker())) {
                state.waiting.push(poller.waker().clone());
            }
            Poll::Pending
        })
    }

    /// Provides the connection until the guard is dropped.
    pub(crate) fn show(&self, connection: &Connection) -> Shown {
        let mut state = self.state();
        state.connection = Some(connection.clone());
        let waiting = mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        Shown(self.clone())
    }
}

impl fmt::Debug for DbusHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DbusHandle").field("is_connected", &self.state().connection.is_some()).finish()
    }
}

pub(crate) struct Shown(DbusHandle);

impl Drop for Shown {
    fn drop(&mut self) {
        let connection = self.0.state().connection.take();
        // Not under the lock.
        drop(connection);
    }
}
