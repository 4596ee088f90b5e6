//! Sockets and timers for loops that bring none: one epoll instance on the loop's thread, which shows the loop a single
//! descriptor.
//!
//! Invariants:
//! 1. All sources are edge-triggered and registered once, so whoever is told of a source is told once an edge. What was
//!    told is remembered in the source until somebody finds out otherwise.
//! 2. A turn asks until the system has fewer events than fit: a loop that watches our descriptor edge-triggered is not
//!    told of what was left.
//! 3. A key has a generation beside its index: an event that was fetched before its source left is nobody's, and not
//!    the one's that took its place.
//! 4. A source leaves before its descriptor closes: the number may be somebody else's a moment later.
//! 5. `set_for` is when the timer's descriptor rings, and is not later than the earliest deadline. Nor is it reset when
//!    that is given up: it rings once in vain, which costs less than telling the system of each timeout that was not
//!    needed.

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

/// How many events a look fetches.
const EVENTS: usize = 256;
/// The keys of the reactor's own descriptors; no source has such a generation.
const TIMER: u64 = u64::MAX;
const WAKER: u64 = u64::MAX - 1;

/// Watches sockets and timers on one thread, behind a single descriptor: once that is readable, [`turn`](Self::turn) is
/// due.
///
/// A task has no need of it: its [`Context`](crate::Context) has. It is for adapters: see
/// [`Mailbox::set_reactor`](crate::event_loop::Mailbox::set_reactor). `Clone` gives the same reactor.
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
    /// A reactor for this thread.
    ///
    /// # Errors
    ///
    /// The system's: there may be no descriptor left.
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

    /// Tells the sources what has happened to them and wakes the timers that are due. It never blocks.
    ///
    /// # Errors
    ///
    /// The system's, of which none is expected.
    pub fn turn(&self) -> io::Result<()> {
        self.wait(Some(Duration::ZERO))
    }

    /// As [`turn`](Self::turn), but waits until there is something to tell, or for `timeout`: for a loop whose thread
    /// has nothing else to wait for.
    ///
    /// # Errors
    ///
    /// The system's, of which none is expected.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        let mut timeout = timeout.map(timespec);
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); EVENTS];
        loop {
            let (fetched, _) = match epoll::wait(&self.0.epoll, &mut events, timeout.as_ref()) {
                Ok(fetched) => fetched,
                // Some handler ran: whoever waits looks around, as after any wake.
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

    /// A future that is ready once `duration` has passed, for loops without timers of their own.
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
            // Nobody would ever wake who sleeps: better all look now.
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
        // Zero would be never.
        let rest = time.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let once = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(rest) };
        timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// Wakes whoever [waits](Self::wait), from any thread; or makes the reactor's descriptor readable.
    ///
    /// # Errors
    ///
    /// The system's: there may be no descriptor left.
    pub fn waker(&self) -> io::Result<ReactorWaker> {
        if let Some(waker) = self.0.waker.get() {
            return Ok(waker.clone());
        }
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        self.watch_own(fd.as_fd(), WAKER)?;
        Ok(self.0.waker.get_or_init(|| ReactorWaker(Arc::new(fd))).clone())
    }

    /// Each change of these descriptors is an edge: they need never be read.
    fn watch_own(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        Ok(epoll::add(&self.0.epoll, fd, epoll::EventData::new_u64(key), flags)?)
    }

    /// Has a thread of its own wait for the reactor and call `ring`, for a loop that can watch no descriptor, and can
    /// only be woken: `ring` wakes it, and the loop then takes a [`turn`](Self::turn). The thread ends when what is
    /// returned is dropped, which waits for it.
    ///
    /// # Errors
    ///
    /// The system's: there may be no thread, or no descriptor, left.
    pub fn ring_from_thread(&self, name: &str, ring: impl Fn() + Send + 'static) -> io::Result<ReactorThread> {
        const REACTOR: u64 = 0;
        const STOP: u64 = 1;
        let outer = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        // Edge-triggered: it rings once for all that has come since the last turn, and doesn't go on ringing while that
        // is on its way.
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
        // It is registered: this can't fail but for a descriptor that its owner has closed under us.
        let _ = epoll::delete(&self.0.epoll, fd);
        let readiness = self.0.sources.borrow_mut().try_remove(key as u32 as usize);
        // Outside the borrow: a waker may do anything when it is dropped.
        drop(readiness);
    }
}

impl AsFd for Reactor {
    /// The one descriptor that a loop has to watch: readable means that [`turn`](Self::turn) is due.
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
    // Too long for the system is as good as for ever.
    duration.try_into().unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
}

/// Wakes a [`Reactor`] from any thread.
#[derive(Clone, Debug)]
pub struct ReactorWaker(Arc<OwnedFd>);

impl ReactorWaker {
    /// Has [`Reactor::wait`] return, now or the next time. It never blocks.
    pub fn wake(&self) {
        // Would block: the count is full, which it can't get to within a life.
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

/// The future of [`Reactor::sleep`].
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
