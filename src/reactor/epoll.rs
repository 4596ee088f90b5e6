//! Sockets and timers for loops without their own: one epoll instance on the loop's thread, which shows the loop a
//! single descriptor.
//!
//! Invariants:
//! 1. All sources are edge-triggered and registered once, so each edge of a source is reported once. The source
//!    remembers the readiness until an operation finds otherwise.
//! 2. A turn asks until the system has fewer events than fit: a loop that watches our descriptor edge-triggered is not
//!    told of events that are left.
//! 3. A key has a generation beside its index: an event that was fetched before its source left is ignored, and does
//!    not go to the source that took its place.
//! 4. A source leaves before its descriptor closes: the number may be reused a moment later.
//! 5. `set_for` is when the timer's descriptor becomes readable, and is not later than the earliest deadline. It is not
//!    reset when that deadline is given up: one wake in vain costs less than telling the system of each timeout that
//!    was not needed.

use std::{
    cell::{Cell, OnceCell, RefCell},
    fmt,
    future::Future,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::{
    event::{EventfdFlags, Timespec, epoll, eventfd},
    io::Errno,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime},
};
use slab::Slab;

use super::{
    readiness::Readiness,
    timers::{TimerQueue, TimerSleep},
};

/// How many events one call fetches.
const EVENTS: usize = 256;
/// The keys of the reactor's own descriptors; no source has such a generation.
const TIMER: u64 = u64::MAX;
const WAKER: u64 = u64::MAX - 1;

/// Watches sockets and timers on one thread, behind a single descriptor.
///
/// Once that descriptor is readable, [`turn`](Self::turn) is due. Tasks don't need the reactor: they have their
/// [`Context`](crate::Context). It is for adapters: see
/// [`Mailbox::set_reactor`](crate::event_loop::Mailbox::set_reactor). Clones are the same reactor.
#[derive(Clone)]
pub struct Reactor(Rc<Inner>);

struct Inner {
    epoll: OwnedFd,
    sources: RefCell<Slab<(u32, Rc<Readiness>)>>,
    generation: Cell<u32>,
    timers: TimerQueue,
    timer: OnceCell<OwnedFd>,
    set_for: Cell<Option<Instant>>,
    waker: OnceCell<ReactorWaker>,
}

impl Reactor {
    /// Returns a reactor for this thread.
    ///
    /// # Errors
    ///
    /// Returns the system's error: there may be no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Rc::new(Inner {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            sources: RefCell::default(),
            generation: Cell::new(0),
            timers: TimerQueue::default(),
            timer: OnceCell::new(),
            set_for: Cell::new(None),
            waker: OnceCell::new(),
        })))
    }

    /// Notifies the sources of their events and wakes the timers that are due. It never blocks.
    ///
    /// # Errors
    ///
    /// Returns the system's error; none is expected.
    pub fn turn(&self) -> io::Result<()> {
        self.wait(Some(Duration::ZERO))
    }

    /// Takes a [`turn`](Self::turn), but first waits until there are events, for at most `timeout`.
    ///
    /// Use it for a loop whose thread has nothing else to wait for.
    ///
    /// # Errors
    ///
    /// Returns the system's error; none is expected.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        let mut timeout = timeout.map(timespec);
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); EVENTS];
        loop {
            let (fetched, _) = match epoll::wait(&self.0.epoll, &mut events, timeout.as_ref()) {
                Ok(fetched) => fetched,
                // A handler ran: the caller checks everything, as after any wake.
                Err(Errno::INTR) => break,
                Err(error) => return Err(error.into()),
            };
            let is_full = fetched.len() == EVENTS;
            for event in fetched {
                self.tell(event.data.u64(), event.flags);
            }
            if !is_full {
                break;
            }
            timeout = Some(timespec(Duration::ZERO));
        }
        self.0.timers.fire();
        self.set_timer();
        Ok(())
    }

    fn tell(&self, key: u64, flags: epoll::EventFlags) {
        match key {
            WAKER => {}
            TIMER => self.0.set_for.set(None),
            _ => {
                let (generation, index) = ((key >> 32) as u32, key as u32 as usize);
                let sources = self.0.sources.borrow();
                let readiness = sources.get(index).filter(|(current, _)| *current == generation);
                let readiness = readiness.map(|(_, readiness)| readiness.clone());
                drop(sources);
                if let Some(readiness) = readiness {
                    readiness.news(flags);
                }
            }
        }
    }

    /// Returns a future that is ready once `duration` has passed, for loops without timers of their own.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep { sleep: self.0.timers.sleep(duration), reactor: self.clone() }
    }

    fn set_timer(&self) {
        let Some(next) = self.0.timers.deadline() else { return };
        if self.0.set_for.get().is_some_and(|set_for| set_for <= next) {
            return;
        }
        match self.ring_at(next) {
            Ok(()) => self.0.set_for.set(Some(next)),
            // Otherwise nothing would wake the sleepers: wake all of them now.
            Err(error) => {
                log::error!("no timer to be had from the system: {error}");
                self.0.timers.wake_all();
            }
        }
    }

    fn ring_at(&self, time: Instant) -> io::Result<()> {
        let timer = match self.0.timer.get() {
            Some(timer) => timer,
            None => {
                let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
                self.watch_own(timer.as_fd(), TIMER)?;
                self.0.timer.get_or_init(|| timer)
            }
        };
        // Zero would mean never.
        let rest = time.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let once = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(rest) };
        timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// Returns a waker that wakes a [wait](Self::wait) from any thread, or makes the reactor's descriptor readable.
    ///
    /// # Errors
    ///
    /// Returns the system's error: there may be no descriptor left.
    pub fn waker(&self) -> io::Result<ReactorWaker> {
        if let Some(waker) = self.0.waker.get() {
            return Ok(waker.clone());
        }
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        self.watch_own(fd.as_fd(), WAKER)?;
        Ok(self.0.waker.get_or_init(|| ReactorWaker(Arc::new(fd))).clone())
    }

    /// Watches one of the reactor's own descriptors. Each change of it is an edge, so it need never be read.
    fn watch_own(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        Ok(epoll::add(&self.0.epoll, fd, epoll::EventData::new_u64(key), flags)?)
    }

    /// Starts a thread that waits for the reactor and calls `ring`, for a loop that can only be woken.
    ///
    /// Such a loop can watch no descriptor: `ring` wakes it, and the loop then takes a [`turn`](Self::turn). Dropping
    /// the returned value ends the thread and waits for that.
    ///
    /// # Errors
    ///
    /// Returns the system's error: there may be no thread, or no descriptor, left.
    pub fn ring_from_thread(&self, name: &str, ring: impl Fn() + Send + 'static) -> io::Result<ReactorThread> {
        const REACTOR: u64 = 0;
        const STOP: u64 = 1;
        let outer = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        // Edge-triggered: it rings once for all events since the last turn, and doesn't ring again while that turn is
        // pending.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&outer, self.as_fd(), epoll::EventData::new_u64(REACTOR), flags)?;
        epoll::add(&outer, &stop, epoll::EventData::new_u64(STOP), flags)?;
        let wait = move || {
            let mut events = [MaybeUninit::<epoll::Event>::uninit(); 2];
            loop {
                match epoll::wait(&outer, &mut events, None) {
                    Ok((fetched, _)) if fetched.iter().any(|event| event.data.u64() == STOP) => return,
                    Ok(_) => ring(),
                    Err(Errno::INTR) => {}
                    Err(error) => return log::error!("can't wait for the reactor: {error}"),
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(wait)?;
        Ok(ReactorThread { thread: Some(thread), stop })
    }

    pub(super) fn add(&self, fd: BorrowedFd<'_>, readiness: Rc<Readiness>) -> io::Result<u64> {
        // Two below the keys of our own.
        let generation = (self.0.generation.get() + 1) % (u32::MAX - 1);
        self.0.generation.set(generation);
        let index = self.0.sources.borrow_mut().insert((generation, readiness));
        let key = u64::from(generation) << 32 | index as u64;
        use epoll::EventFlags as Flags;
        let flags = Flags::IN | Flags::OUT | Flags::PRI | Flags::RDHUP | Flags::ET;
        if let Err(error) = epoll::add(&self.0.epoll, fd, epoll::EventData::new_u64(key), flags) {
            self.0.sources.borrow_mut().remove(index);
            return Err(error.into());
        }
        Ok(key)
    }

    pub(super) fn remove(&self, key: u64, fd: BorrowedFd<'_>) {
        // It is registered, so this can only fail if its owner has closed the descriptor.
        let _ = epoll::delete(&self.0.epoll, fd);
        let readiness = self.0.sources.borrow_mut().try_remove(key as u32 as usize);
        // Outside the borrow: dropping a waker may run any code.
        drop(readiness);
    }
}

impl AsFd for Reactor {
    /// Returns the one descriptor that a loop must watch: if it is readable, [`turn`](Self::turn) is due.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.epoll.as_fd()
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").field("sources", &self.0.sources.borrow().len()).finish_non_exhaustive()
    }
}

fn timespec(duration: Duration) -> Timespec {
    // A time too long for the system means forever.
    duration.try_into().unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
}

/// Wakes a [`Reactor`] from any thread.
#[derive(Clone, Debug)]
pub struct ReactorWaker(Arc<OwnedFd>);

impl ReactorWaker {
    /// Makes [`Reactor::wait`] return, now or the next time. It never blocks.
    pub fn wake(&self) {
        // It would block if the count were full, which can't happen in practice.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

/// The thread of [`Reactor::ring_from_thread`], until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the thread"]
pub struct ReactorThread {
    thread: Option<JoinHandle<()>>,
    stop: Arc<OwnedFd>,
}

impl Drop for ReactorThread {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The future that [`Reactor::sleep`] returns.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    sleep: TimerSleep,
    reactor: Reactor,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polled = Pin::new(&mut self.sleep).poll(cx);
        if polled.is_pending() {
            self.reactor.set_timer();
        }
        polled
    }
}
