//! The loop's end of the cross-loop channel.
//!
//! All threads see a loop's [`Shared`]: its queue, its flags, its waiters. It lives as long as the service, through all
//! incarnations of the loop. Only the loop's thread sees its [`Local`]: the values that Remotes reach, and the futures.
//! It lives for one incarnation, inside the [`Mailbox`] that the adapter drives.

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
    loop_clock::LoopClock,
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

/// The loop's next step after a [`turn`](Mailbox::turn).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Turn {
    /// Leave the loop: everything is drained, and nothing lives here any more.
    Stop,
    /// Serve the loop's own events without waiting, then take another turn: there is more to do.
    Again,
    /// Wait for the loop's own events: there is nothing to do, and the notify says when another turn is due.
    Idle,
}

/// The loop's end of the cross-loop channel: jobs, futures, the stop.
///
/// An adapter sets how its loop is woken ([`set_notify`](Self::set_notify)), and then either calls [`turn`](Self::turn)
/// whenever it was woken, or awaits [`drive`](Self::drive) if the loop runs futures. The mailbox is `!Send`: it belongs
/// to the loop's thread.
///
/// Dropping it drops all futures that it hosts and all values that Remotes reach, immediately and on this thread.
pub struct Mailbox<L: EventLoop> {
    pub(crate) local: Rc<Local>,
    pub(crate) service: Option<ServiceHandle>,
    pub(crate) stopping: bool,
    /// Present on a loop that no service drives.
    pub(crate) guest: Option<Guest>,
    pub(crate) of: PhantomData<fn() -> L>,
}

impl<L: EventLoop> Mailbox<L> {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { local: Rc::new(Local::new(shared)), service: None, stopping: false, guest: None, of: PhantomData }
    }

    /// Sets the service that the loop belongs to.
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

    /// Sets how the loop is woken from any thread, and wakes it once: jobs posted before, or a stop, get their first
    /// turn.
    ///
    /// The notify is called at most once between two turns; it must not block. A notify that blocks holds up every
    /// caller that posts; the service names it, and stops the others.
    pub fn set_notify(&self, notify: impl Fn() + Send + Sync + 'static) {
        self.shared().queue.bell.set_notify(Some(Arc::new(notify)));
    }

    /// Sets the runtime's own executor for `!Send` futures, in place of the mailbox's.
    pub fn set_spawner(&self, spawn: impl Fn(LocalFuture) + 'static) {
        self.local.set_spawner(Rc::new(spawn));
    }

    /// Provides the loop with sockets, by the core's [reactor](crate::net).
    ///
    /// `watch` is called on this thread when a task first needs the reactor. It must watch the reactor and call its
    /// [turn](crate::net::Reactor::turn) when it is readable. The value that `watch` returns is dropped with the
    /// mailbox, and should end the watch.
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

    /// Provides sockets as [`set_reactor`](Self::set_reactor) does, for a loop that has the core's reactor from the
    /// start and waits for nothing else.
    #[cfg(all(feature = "net", target_os = "linux"))]
    pub fn use_reactor(&self, reactor: &crate::reactor::epoll::Reactor) {
        self.local.set_reactor(crate::reactor::of_thread::Host::install_made(reactor));
    }

    /// Sets the runtime's workers for the `Send` futures of [`Context::spawn`](crate::Context::spawn), in place of this
    /// thread.
    pub fn set_workers(&self, spawn: impl Fn(SendFuture) + Send + Sync + 'static) {
        self.local.set_workers(Arc::new(spawn));
    }

    /// Sets what says what the loop itself is at, for the report of a [stall](crate::service::StuckLoop): the frame that
    /// an interpreter executes, `a main loop within a callback`.
    ///
    /// Optional. It is called, once for each stall, on a thread of the service, while the loop's own thread is in
    /// something else; it may return `None`. It may block: after a second the report goes out without its answer. A
    /// panic in it counts as no answer. It is dropped with the mailbox.
    pub fn set_activity(&self, activity: impl Fn() -> Option<String> + Send + Sync + 'static) {
        self.shared().set_activity(Some(Arc::new(activity)));
    }

    /// Returns the loop's name.
    pub fn name(&self) -> &str {
        self.shared().name()
    }

    /// Returns the service that the loop belongs to, for events that end the whole service, such as the last window
    /// closing.
    ///
    /// # Panics
    ///
    /// Panics if the mailbox was [attached](Self::attach) to a loop that no service drives.
    pub fn service(&self) -> &ServiceHandle {
        self.service.as_ref().expect("an adapter's mailbox belongs to a service")
    }

    /// Returns the service's clock, for a loop that wakes at times of its own, at 60 frames a second say.
    ///
    /// With a fake clock in a test the loop counts as at work from here on until it has called
    /// [`wait_until`](LoopClock::wait_until).
    pub fn clock(&self) -> LoopClock {
        #[cfg(feature = "testing")]
        return LoopClock::new(self.shared());
        #[cfg(not(feature = "testing"))]
        LoopClock::new(self.shared().clock())
    }

    /// Returns the signal that asks this loop to end, with its deadline, for adapters that tear down something after
    /// the last turn.
    pub fn shutdown(&self) -> Shutdown {
        self.shared().shutdown()
    }

    /// Runs what is due: jobs in order, and woken futures.
    ///
    /// A turn runs at most 256 of them, or for 1 ms, so that the loop's own events get their turn too.
    ///
    /// A panic of a job or a future does not propagate out of this call.
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
                    // Before the loop rests: lower the flag, then check everything once more.
                    queue.lower();
                    lowered = true;
                    continue;
                }
                return if self.stopping && shared.live() == 0 { Turn::Stop } else { Turn::Idle };
            }
            // The code that runs now may swallow a notification, such as a thread's unpark token: lower the flag again
            // afterwards, before the loop rests.
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
            // Close first, so that nothing new arrives; accepted jobs still run.
            self.shared().queue.close();
            self.local.close();
        }
    }

    /// Runs the mailbox as a future, for loops that run futures: takes turns until the loop must end.
    ///
    /// `yield_to_the_loop` makes a future that is ready once the loop has served its own events. It is awaited between
    /// two turns if there is more to do, and whenever turns have taken 1 ms of the loop.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the mailbox.
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
                    // Many small turns without a rest must not starve the loop any more than one long turn does.
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
        self.shared().set_activity(None);
    }
}

impl<L: EventLoop> fmt::Debug for Mailbox<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("name", &self.name()).field("queue", &self.shared().queue).finish()
    }
}
