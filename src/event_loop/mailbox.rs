//! The loop's end of the cross-loop channel.
//!
//! [`Shared`] is what all threads see of a loop: its queue, its flags, who waits for it. It lives as long as the
//! service, through all incarnations of the loop. [`Local`] is what only the loop's thread sees: the values that
//! Remotes reach, and the futures. It lives for one incarnation, inside the [`Mailbox`] that the adapter drives.

#[cfg(all(test, loom))]
mod loom_models;
#[cfg(all(test, not(loom)))]
mod tests;

use std::{
    fmt,
    future::{Future, poll_fn},
    marker::PhantomData,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use atomic_waker::AtomicWaker;

use super::{
    batch::{BATCH_TIME, Batch},
    guest::Guest,
};
use crate::{
    EventLoop, ServiceHandle,
    channel::{
        local::{Local, LocalFuture, SendFuture},
        queue::flag,
        shared::Shared,
    },
    kit::clock::clock,
    words::shutdown::Shutdown,
};

/// What the loop does after a [`turn`](Mailbox::turn).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Turn {
    /// Leave the loop: all is drained, nothing lives here any more.
    Stop,
    /// There is more: serve the loop's own events without waiting, then take another turn.
    Again,
    /// Nothing to do: wait for the loop's own events; the notify says when another turn is due.
    Idle,
}

/// The loop's end of the cross-loop channel: jobs, futures, the stop.
///
/// An adapter tells it how to wake its loop ([`set_notify`](Self::set_notify)), and then either calls
/// [`turn`](Self::turn) whenever it was woken, or awaits [`drive`](Self::drive) where the loop runs futures. It is
/// `!Send`: it belongs to the loop's thread.
///
/// Dropped, it drops, there and then and on this thread, all futures that it hosts and all values that Remotes reach.
pub struct Mailbox<L: EventLoop> {
    pub(crate) local: Rc<Local>,
    pub(crate) service: Option<ServiceHandle>,
    pub(crate) stopping: bool,
    /// For one on a loop that no service drives.
    pub(crate) guest: Option<Guest>,
    pub(crate) of: PhantomData<fn() -> L>,
}

impl<L: EventLoop> Mailbox<L> {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { local: Rc::new(Local::new(shared)), service: None, stopping: false, guest: None, of: PhantomData }
    }

    /// Says which service the loop belongs to.
    pub(crate) fn with_service(mut self, service: ServiceHandle) -> Self {
        self.service = Some(service);
        self
    }

    pub(crate) fn local(&self) -> &Rc<Local> {
        &self.local
    }

    fn shared(&self) -> &Arc<Shared> {
        self.local.shared()
    }

    /// Says how to wake the loop from any thread, and does so once: whatever was posted, or stopped, before gets its
    /// first turn.
    ///
    /// The notify is called at most once between two turns; it must not block. One that does keeps whoever posts; the
    /// service names it, and stops the others.
    pub fn set_notify(&self, notify: impl Fn() + Send + Sync + 'static) {
        self.shared().queue.bell.set_notify(Some(Arc::new(notify)));
    }

    /// Hands futures to the runtime's own executor for `!Send` futures, instead of the mailbox's.
    pub fn set_spawner(&self, spawn: impl Fn(LocalFuture) + 'static) {
        self.local.set_spawner(Rc::new(spawn));
    }

    /// Gives the loop sockets, by the core's [reactor](crate::net): `watch` is called on this thread when a task first
    /// needs it, with what the loop has to watch, and to [turn](crate::net::Reactor::turn) when it is readable; what it
    /// returns is dropped with the mailbox, and should end the watch.
    ///
    /// ```no_run
    /// # use interloop::{EventLoop, event_loop::Mailbox, net::Reactor};
    /// # struct Poller;
    /// # impl Poller { fn watch(&self, _: &Reactor) -> std::io::Result<()> { Ok(()) } }
    /// # fn of<L: EventLoop>(mailbox: &Mailbox<L>, poller: Poller) {
    /// mailbox.set_reactor(move |reactor| poller.watch(reactor));
    /// # }
    /// ```
    #[cfg(all(feature = "net", target_os = "linux"))]
    pub fn set_reactor<G: 'static>(
        &self,
        watch: impl FnOnce(&crate::reactor::epoll::Reactor) -> std::io::Result<G> + 'static,
    ) {
        self.local.set_reactor(crate::reactor::of_thread::Host::install(watch));
    }

    /// As [`set_reactor`](Self::set_reactor), for a loop that has the core's reactor from the beginning: it waits for
    /// that, and nothing else.
    #[cfg(all(feature = "net", target_os = "linux"))]
    pub fn use_reactor(&self, reactor: &crate::reactor::epoll::Reactor) {
        self.local.set_reactor(crate::reactor::of_thread::Host::install_made(reactor));
    }

    /// Hands the `Send` futures of [`Context::spawn`](crate::Context::spawn) to the runtime's workers, instead of this
    /// thread.
    pub fn set_workers(&self, spawn: impl Fn(SendFuture) + Send + Sync + 'static) {
        self.local.set_workers(Arc::new(spawn));
    }

    /// The loop's name.
    pub fn name(&self) -> &str {
        self.shared().name()
    }

    /// The service that the loop belongs to: for what ends the service as a whole, such as the last window that was
    /// closed.
    ///
    /// # Panics
    ///
    /// When the mailbox was [attached](Self::attach) to a loop that no service drives.
    pub fn service(&self) -> &ServiceHandle {
        self.service.as_ref().expect("an adapter's mailbox belongs to a service")
    }

    /// The signal that this loop is to end, with its deadline: for what an adapter has to tear down after the last
    /// turn.
    pub fn shutdown(&self) -> Shutdown {
        self.shared().shutdown()
    }

    /// Runs what is due: jobs in order, futures that were woken; at most 256, or for 1 ms, so that the loop's own
    /// events get their turn too.
    ///
    /// A panic of a job or a future does not come out of here.
    pub fn turn(&mut self) -> Turn {
        self.turn_from(clock())
    }

    fn turn_from(&mut self, now: Duration) -> Turn {
        let local = self.local.clone();
        let shared = local.shared();
        let queue = &shared.queue;
        let _driven = self.guest.as_ref().map(Guest::enter);
        let _in_turn = shared.begin_turn(now);
        let _entered = local.enter();
        let mut batch = Batch::new(now);
        let mut lowered = false;
        loop {
            let flags = queue.flags();
            if flags != 0 {
                self.obey(flags);
            }
            let wake = queue.pop_wake();
            let job = self.local.next_job();
            if wake.is_none() && job.is_none() {
                if !lowered {
                    // Before resting: lower the flag, then look at everything once more.
                    queue.lower();
                    lowered = true;
                    continue;
                }
                return if self.stopping && shared.live() == 0 { Turn::Stop } else { Turn::Idle };
            }
            // What runs now may swallow a notification, a thread's unpark token for one: after it the flag is lowered
            // anew before the loop rests.
            lowered = false;
            if let Some(wake) = wake {
                wake.run();
            }
            if let Some(job) = job {
                shared.count_job();
                self.local.run(job);
            }
            if batch.is_spent(|| queue.is_empty() && !local.has_backlog()) {
                return Turn::Again;
            }
        }
    }

    fn obey(&mut self, flags: u8) {
        if flags & flag::HEARTBEAT != 0 {
            self.shared().beat();
        }
        if flags & (flag::STOP | flag::DEAD) != 0 && !self.stopping {
            self.stopping = true;
            // First close, so that nothing new comes; what was accepted still runs.
            self.shared().queue.close();
            self.local.close();
        }
    }

    /// The mailbox as a future, for loops that run futures: takes turns until the loop is to end. `yield_to_the_loop`
    /// makes a future that is ready once the loop has served its own events: it is awaited between two turns when there
    /// is more, and whenever turns have taken 1 ms of the loop.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the mailbox.
    pub async fn drive<Y: Future<Output = ()>>(mut self, mut yield_to_the_loop: impl FnMut() -> Y) {
        let waker = Arc::new(AtomicWaker::new());
        let notified = waker.clone();
        self.set_notify(move || notified.wake());
        let mut taken = Duration::ZERO;
        loop {
            let began = clock();
            match self.turn_from(began) {
                Turn::Stop => break,
                Turn::Idle => {
                    let bell = &self.shared().queue.bell;
                    let mut rested = false;
                    poll_fn(|cx| {
                        waker.register(cx.waker());
                        if bell.is_rung() {
                            return Poll::Ready(());
                        }
                        rested = true;
                        Poll::Pending
                    })
                    .await;
                    if rested {
                        // The loop has had its turn.
                        taken = Duration::ZERO;
                        continue;
                    }
                    // Many small turns without a rest must not starve the loop any more than a long one.
                    taken += clock().saturating_sub(began);
                }
                Turn::Again => taken = BATCH_TIME,
            }
            if taken >= BATCH_TIME {
                taken = Duration::ZERO;
                yield_to_the_loop().await;
            }
        }
    }
}

impl<L: EventLoop> Drop for Mailbox<L> {
    fn drop(&mut self) {
        let _driven = self.guest.as_ref().map(Guest::enter);
        self.local.end();
        self.shared().queue.bell.set_notify(None);
    }
}

impl<L: EventLoop> fmt::Debug for Mailbox<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("name", &self.name()).field("queue", &self.shared().queue).finish()
    }
}
