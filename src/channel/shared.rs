//! The part of a loop that all threads see.

use std::{
    collections::BTreeMap,
    fmt,
    rc::Rc,
    sync::{Arc, Weak},
    task::Waker,
    time::{Duration, Instant},
};

use async_task::Runnable;

use super::{
    address::Address,
    driver::DriverSlot,
    job::Job,
    local::Local,
    queue::{Queue, Refused, flag},
    waiting::{Heartbeat, Waiting, WaitingList},
};
#[cfg(feature = "metrics")]
use crate::counters::Histogram;
use crate::{
    kit::{
        clock::{Clock, clock},
        discard::Discards,
        sync::{AtomicU64, AtomicUsize, Mutex, Ordering, figure, lock},
    },
    words::shutdown::Shutdown,
};

/// How many jobs a mailbox holds at most by default.
pub(crate) const MAILBOX_CAPACITY: usize = 1_000_000;

/// A thread that has been in one piece of code for this long is blocked.
pub(crate) const BLOCKED: Duration = Duration::from_secs(1);

/// The window over which the latency is shown.
#[cfg(feature = "metrics")]
const LATENCY_WINDOW: Duration = Duration::from_secs(60);

/// Remaining work that may take long, because it runs user code.
pub(crate) type Deed = Box<dyn FnOnce() + Send>;

/// Says what an adapter's own loop is at.
pub(crate) type Activity = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// The part of a loop that all threads see, through all its incarnations.
pub(crate) struct Shared {
    name: Arc<str>,
    clock: Clock,
    pub(crate) queue: Queue<Job, Runnable>,
    /// The number of hosted futures that are not gone yet.
    live: AtomicUsize,
    waiting: Mutex<WaitingList>,
    heartbeats: Mutex<Vec<Box<dyn Heartbeat>>>,
    addresses: Mutex<BTreeMap<u64, Weak<Address>>>,
    discards: Discards,
    /// The key of the address that stands for the loop's Native.
    native_key: AtomicU64,
    shutdown: Mutex<Shutdown>,
    // The current code of the loop's thread, for the report of a stuck loop. Only that thread writes it, and the
    // supervisor reads it, so Relaxed is enough.
    polling: figure::AtomicUsize,
    since: figure::AtomicU64,
    in_turn: figure::AtomicBool,
    turns: figure::AtomicU64,
    jobs: figure::AtomicU64,
    dropped: figure::AtomicU64,
    stalls: figure::AtomicU64,
    pub(crate) driver: DriverSlot,
    activity: Mutex<Option<Activity>>,
    #[cfg(feature = "metrics")]
    latency: Histogram,
}

/// A snapshot of a loop thread's activity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doing {
    /// See [`Label::number`](super::this_thread::Label::number).
    pub(crate) number: usize,
    /// Since when, at the latest, as time since the process's first use of the clock.
    pub(crate) since: Duration,
}

impl Shared {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        Self::with_clock(name, Clock::default())
    }

    /// Returns a loop of a service, which has one clock.
    pub(crate) fn with_clock(name: &str, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            clock,
            queue: Queue::new(MAILBOX_CAPACITY),
            live: AtomicUsize::new(0),
            waiting: Mutex::default(),
            heartbeats: Mutex::default(),
            addresses: Mutex::default(),
            discards: Discards::default(),
            native_key: AtomicU64::new(0),
            shutdown: Mutex::new(Shutdown::new()),
            polling: figure::AtomicUsize::new(0),
            since: figure::AtomicU64::new(0),
            in_turn: figure::AtomicBool::new(false),
            turns: figure::AtomicU64::new(0),
            jobs: figure::AtomicU64::new(0),
            dropped: figure::AtomicU64::new(0),
            stalls: figure::AtomicU64::new(0),
            driver: DriverSlot::default(),
            activity: Mutex::default(),
            #[cfg(feature = "metrics")]
            latency: Histogram::new(&[LATENCY_WINDOW]),
        })
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn shutdown(&self) -> Shutdown {
        lock(&self.shutdown).clone()
    }

    /// Returns the clock of its service.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Posts an errand; returns it if the mailbox is closed.
    pub(crate) fn errand(&self, errand: impl FnOnce(&Rc<Local>) + Send + 'static) -> Result<(), Job> {
        self.errand_quietly(errand)?;
        self.queue.bell.ring();
        Ok(())
    }

    /// Posts an errand as [`errand`](Self::errand) does; the caller must ring.
    pub(crate) fn errand_quietly(&self, errand: impl FnOnce(&Rc<Local>) + Send + 'static) -> Result<(), Job> {
        self.queue.push_quietly(Job::Errand(Box::new(errand), self.clock.busy()))
    }

    /// Accepts a job, or returns it.
    pub(crate) fn push(&self, mut job: Job) -> Result<(), Refused<Job>> {
        job.mark(self.clock.busy());
        self.queue.push(job)
    }

    // --- The end ---

    /// Tells the loop to end once its queue is drained.
    pub(crate) fn stop(&self, reason: crate::words::state::Reason, deadline: Option<Instant>) {
        let waiters = self.stop_quietly(reason, deadline);
        self.queue.bell.ring();
        waiters.into_iter().for_each(Waker::wake);
    }

    /// Stops the loop as [`stop`](Self::stop) does; the caller must ring, and wake the returned wakers.
    pub(crate) fn stop_quietly(&self, reason: crate::words::state::Reason, deadline: Option<Instant>) -> Vec<Waker> {
        let waiters = self.shutdown().latch(reason, deadline);
        self.queue.raise_quietly(flag::STOP);
        waiters.unwrap_or_default()
    }

    /// Tells the loop to end at once: queued jobs are dropped. A job that has begun continues.
    pub(crate) fn give_up(&self, reason: crate::words::state::Reason) {
        self.queue.close();
        self.discard(std::iter::from_fn(|| self.queue.pop()).collect());
        self.stop(reason, None);
    }

    /// Ends the loop, which runs no more or was left behind: closes the mailbox, drops the queued jobs, and resolves
    /// all waiters as Stopped.
    pub(crate) fn terminate(self: &Arc<Self>) {
        let deeds = self.terminate_quietly();
        self.queue.bell.ring();
        deeds.into_iter().for_each(|deed| deed());
    }

    /// Ends the loop as [`terminate`](Self::terminate) does; the caller must ring, and do the returned deeds
    /// independently, since one may block.
    pub(crate) fn terminate_quietly(self: &Arc<Self>) -> Vec<Deed> {
        self.queue.close();
        self.queue.raise_quietly(flag::DEAD);
        let waiting = {
            let mut list = lock(&self.waiting);
            list.dead = true;
            std::mem::take(&mut list.replies)
        };
        let heartbeats = std::mem::take(&mut *lock(&self.heartbeats));
        let stop = |(_, reply): (usize, Weak<dyn Waiting>)| {
            Box::new(move || reply.upgrade().into_iter().for_each(|reply| reply.stopped())) as Deed
        };
        let mut deeds = waiting.into_iter().map(stop).collect::<Vec<_>>();
        deeds.extend(heartbeats.into_iter().map(|heartbeat| Box::new(move || drop(heartbeat)) as Deed));
        let this = self.clone();
        deeds.push(Box::new(move || this.close_addresses()));
        deeds
    }

    fn close_addresses(&self) {
        let addresses = lock(&self.addresses).values().filter_map(Weak::upgrade).collect::<Vec<_>>();
        addresses.iter().for_each(|address| address.close());
        self.discard(std::iter::from_fn(|| self.queue.pop()).collect());
    }

    /// Whether the loop will run no more.
    pub(crate) fn is_dead(&self) -> bool {
        self.queue.flags() & flag::DEAD != 0
    }

    /// Drops jobs that will never run.
    pub(crate) fn discard(&self, jobs: Vec<Job>) {
        self.count_dropped(jobs.len());
        let name = self.name.clone();
        self.discards.add(jobs, move |panic| {
            crate::kit::panics::say(format_args!("loop {name}: the drop of a queued job panicked"), panic)
        });
    }

    /// Waits until the threads that drop queued jobs have ended; returns false if one has not by the deadline.
    pub(crate) fn await_discards(&self, deadline: Instant) -> bool {
        self.discards.wait(deadline)
    }

    // --- Futures ---

    pub(crate) fn future_begins(&self) {
        // On the loop's thread, which is the one that reads it.
        self.live.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn future_ends(&self) {
        // The last future makes `Turn::Stop` possible, so another turn must check. Release: when nothing lives here any
        // more, everything that lived is over.
        if self.live.fetch_sub(1, Ordering::Release) == 1 && self.queue.publish() & (flag::STOP | flag::DEAD) != 0 {
            self.queue.bell.ring();
        }
    }

    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    // --- Waiters ---

    /// Lists a reply that waits for this loop; returns `None` if the loop is dead.
    pub(crate) fn list(&self, reply: &Weak<dyn Waiting>) -> Option<usize> {
        let mut list = lock(&self.waiting);
        if list.dead {
            return None;
        }
        Some(list.replies.insert(reply.clone()))
    }

    pub(crate) fn unlist(&self, id: usize) {
        // The entry is gone already if the loop is dead.
        let reply = lock(&self.waiting).replies.try_remove(id);
        drop(reply);
    }

    // --- Heartbeats ---

    /// Records a request for a heartbeat.
    pub(super) fn add_heartbeat(&self, heartbeat: Box<dyn Heartbeat>) {
        let forgotten = {
            let mut heartbeats = lock(&self.heartbeats);
            // Requests of callers that gave up waiting for a stuck loop are dropped.
            let all = std::mem::take(&mut *heartbeats).into_iter();
            let (awaited, forgotten) = all.partition(|heartbeat| heartbeat.is_awaited());
            *heartbeats = awaited;
            heartbeats.push(heartbeat);
            forgotten
        };
        // Outside the lock, which the supervisor takes: they hold wakers, which are user code.
        drop::<Vec<_>>(forgotten);
        self.queue.raise(flag::HEARTBEAT);
        if lock(&self.waiting).dead {
            // `terminate` may have run before; dropped outside the lock, they resolve.
            let heartbeats = std::mem::take(&mut *lock(&self.heartbeats));
            drop(heartbeats);
        }
    }

    pub(crate) fn beat(&self) {
        self.queue.clear(flag::HEARTBEAT);
        let heartbeats = std::mem::take(&mut *lock(&self.heartbeats));
        heartbeats.into_iter().for_each(|heartbeat| heartbeat.beat());
    }

    // --- Addresses ---

    pub(crate) fn register(&self, address: &Arc<Address>) {
        lock(&self.addresses).insert(address.key(), Arc::downgrade(address));
    }

    /// Returns the address of the loop's Native, which the caller keeps.
    pub(crate) fn native_address(self: &Arc<Self>) -> Arc<Address> {
        let address = Address::at(&self.name, self);
        self.native_key.store(address.key(), Ordering::Release);
        address
    }

    pub(crate) fn native_key(&self) -> u64 {
        self.native_key.load(Ordering::Acquire)
    }

    pub(crate) fn unregister(&self, key: u64) {
        lock(&self.addresses).remove(&key);
    }

    pub(crate) fn address(&self, key: u64) -> Option<Arc<Address>> {
        lock(&self.addresses).get(&key).and_then(Weak::upgrade)
    }

    // --- Current activity ---

    pub(crate) fn begin_turn(&self, now: Duration) -> impl Drop + '_ {
        struct End<'a>(&'a Shared);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.in_turn.store(false, Ordering::Relaxed);
            }
        }
        self.since.store(now.as_nanos() as u64, Ordering::Relaxed);
        self.in_turn.store(true, Ordering::Relaxed);
        self.turns.store(self.turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.queue.note_depth();
        #[cfg(feature = "metrics")]
        if let Some(at) = self.queue.bell.rung_at() {
            self.latency.record_at(now.saturating_sub(at).as_secs_f64(), now);
        }
        End(self)
    }

    fn stamp(&self) {
        self.since.store(clock().as_nanos() as u64, Ordering::Relaxed);
    }

    /// Records whose code runs now; returns whose ran before. Within a turn the time of its beginning is near enough.
    pub(crate) fn set_polling(&self, number: usize) -> usize {
        if !self.in_turn.load(Ordering::Relaxed) && number != 0 {
            self.stamp();
        }
        let before = self.polling.load(Ordering::Relaxed);
        self.polling.store(number, Ordering::Relaxed);
        before
    }

    /// Returns the current activity of the loop's thread.
    pub(crate) fn doing(&self) -> Doing {
        Doing {
            number: self.polling.load(Ordering::Relaxed),
            since: Duration::from_nanos(self.since.load(Ordering::Relaxed)),
        }
    }

    /// Returns the code that its thread has been in for [`BLOCKED`] or longer, and for how long. It returns `None` for
    /// the loop's own code too, which may be its sleep.
    pub(crate) fn blocked(&self) -> Option<(usize, Duration)> {
        let Doing { number, since } = self.doing();
        let held = clock().saturating_sub(since);
        (number != 0 && held >= BLOCKED).then_some((number, held))
    }

    /// Returns how many jobs and other requests wait for the next turn.
    pub(crate) fn waits(&self) -> usize {
        self.queue.len() + usize::from(self.queue.flags() & flag::HEARTBEAT != 0)
    }

    pub(crate) fn count_job(&self) {
        // Only the loop's thread writes it.
        self.jobs.store(self.jobs.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(crate) fn count_dropped(&self, jobs: usize) {
        self.dropped.fetch_add(jobs as u64, Ordering::Relaxed);
    }

    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    pub(crate) fn jobs(&self) -> u64 {
        self.jobs.load(Ordering::Relaxed)
    }

    pub(crate) fn count_stall(&self) {
        self.stalls.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stalls(&self) -> u64 {
        self.stalls.load(Ordering::Relaxed)
    }

    /// Sets, or removes, what tells what the adapter's own loop is at.
    pub(crate) fn set_activity(&self, activity: Option<Activity>) {
        // Foreign code, dropped outside the lock.
        let old = std::mem::replace(&mut *lock(&self.activity), activity);
        drop(old);
    }

    /// Returns what tells what the adapter's own loop is at. It is foreign code.
    pub(crate) fn activity(&self) -> Option<Activity> {
        lock(&self.activity).clone()
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn latency(&self) -> &Histogram {
        &self.latency
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).field("queue", &self.queue).finish_non_exhaustive()
    }
}
