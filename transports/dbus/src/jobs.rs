//! The queue that zbus puts its work into, from any thread, and the child of the task that does it, on the loop's.

use std::{
    future::Future,
    io, mem,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context as Poller, Poll, Waker},
    time::Duration,
};

use futures_util::{
    future::{BoxFuture, LocalBoxFuture},
    stream::{FuturesUnordered, Stream},
    task::AtomicWaker,
};
use interloop::{
    Context,
    net::{Address, Interest, Net, Watch},
};

/// Creates a future on the loop's thread, where it stays: it need not be `Send`.
type Make = dyn FnOnce(&dyn Host) -> LocalBoxFuture<'static, ()> + Send;

/// Work for the loop's thread.
pub(crate) enum Job {
    Make(Box<Make>),
    Run(BoxFuture<'static, ()>),
}

impl Job {
    fn begin(self, host: &dyn Host) -> LocalBoxFuture<'static, ()> {
        match self {
            Self::Make(make) => make(host),
            Self::Run(future) => future,
        }
    }
}

/// What the loop provides, on its thread.
pub(crate) trait Host {
    fn sleep(&self, time: Duration) -> LocalBoxFuture<'static, ()>;
    fn connect(&self, address: SocketAddr) -> LocalBoxFuture<'static, io::Result<OwnedFd>>;
    fn watch(&self, fd: OwnedFd) -> io::Result<Box<dyn Watch>>;
}

impl<L: Net, O: 'static> Host for Context<L, O> {
    fn sleep(&self, time: Duration) -> LocalBoxFuture<'static, ()> {
        Box::pin(Context::sleep(self, time))
    }

    fn connect(&self, address: SocketAddr) -> LocalBoxFuture<'static, io::Result<OwnedFd>> {
        let connect = Context::connect(self, Address::Tcp(address));
        // zbus reads and writes by itself: the loop's end is dropped, and with it the loop's state.
        Box::pin(async move { L::socket(&connect.await?).as_fd().try_clone_to_owned() })
    }

    fn watch(&self, fd: OwnedFd) -> io::Result<Box<dyn Watch>> {
        L::watch_boxed(self.native(), fd)
    }
}

/// The shared queue.
#[derive(Default)]
pub(crate) struct Jobs {
    queue: Mutex<Queue>,
    new: AtomicWaker,
    /// The number of those that may push.
    users: AtomicUsize,
    /// The number of tasks without a handle, which are calls being answered: first those that began before the end did,
    /// then the others.
    detached: [AtomicUsize; 2],
    settled: AtomicWaker,
    /// The reader that waits because of the crowd.
    held: AtomicWaker,
    /// Whether that reader may read once.
    has_leave: AtomicBool,
    /// Whether the end has begun.
    is_sealed: AtomicBool,
    /// Whether the bus has let the connection in.
    is_open: AtomicBool,
    /// How many pieces were read before that.
    pieces: AtomicUsize,
}

/// While this many calls are being answered, they take precedence over further ones: nothing more is read until all of
/// them wait for something other than for the bus to take their answers. Otherwise calls would pile up if the bus, or
/// the holder of the connection's lock, is slow.
const CROWD: usize = 64;

/// How many pieces may be read before the bus lets the connection in: usually there are one or two, of 1 KiB at most.
const PIECES: usize = 1024;

#[derive(Default)]
struct Queue {
    jobs: Vec<Job>,
    is_closed: bool,
}

impl Jobs {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pushes a job; once the task has ended, the job is dropped.
    pub(crate) fn push(&self, job: Job) {
        let mut queue = self.queue();
        if queue.is_closed {
            // Not under the lock: what it drops may push work of its own.
            drop(queue);
            drop(job);
            return;
        }
        queue.jobs.push(job);
        drop(queue);
        self.new.wake();
    }

    pub(crate) fn has_more_users(&self) {
        self.users.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn has_less_users(&self) {
        if self.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.new.wake();
        }
    }

    /// Returns which of the two counts a task that begins now belongs to.
    pub(crate) fn era(&self) -> Era {
        Era(usize::from(self.is_sealed.load(Ordering::Acquire)))
    }

    pub(crate) fn count_detached(&self, era: Era) {
        self.detached[era.0].fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn uncount_detached(&self, era: Era) {
        if self.detached[era.0].fetch_sub(1, Ordering::AcqRel) == 1 {
            self.settled.wake();
        }
    }

    /// Begins the end, which doesn't wait for calls that come from now on.
    pub(crate) fn seal(&self) {
        self.is_sealed.store(true, Ordering::Release);
    }

    /// Returns ready when none of the earlier calls is being answered. Only one task may wait.
    pub(crate) fn poll_settled(&self, poller: &mut Poller<'_>) -> Poll<()> {
        self.settled.register(poller.waker());
        if self.detached[0].load(Ordering::Acquire) == 0 { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(crate) fn is_crowded(&self) -> bool {
        self.detached.iter().map(|detached| detached.load(Ordering::Acquire)).sum::<usize>() >= CROWD
    }

    /// Returns whether the reader may read once, in a crowd. If not, it is woken when it may.
    pub(crate) fn takes_leave(&self, poller: &Poller<'_>) -> bool {
        if self.has_leave.swap(false, Ordering::AcqRel) {
            return true;
        }
        self.held.register(poller.waker());
        // The driver may have been idle by then, and not know of the reader.
        self.new.wake();
        false
    }

    /// Lets the held reader go on, since all that is left is waiting.
    fn gives_leave(&self) {
        if let Some(held) = self.held.take() {
            self.has_leave.store(true, Ordering::Release);
            held.wake();
        }
    }

    pub(crate) fn open(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// Returns whether the bus may go on after this piece: a bus that has not let the connection in may send only so
    /// much.
    pub(crate) fn may_go_on(&self) -> bool {
        self.is_open.load(Ordering::Relaxed) || self.pieces.fetch_add(1, Ordering::Relaxed) < PIECES
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Era(usize);

/// How many jobs may end in one poll.
const TURN: usize = 64;

/// Does the jobs until it is dropped, or nobody is left that could push any.
pub(crate) struct Driver<S> {
    host: S,
    jobs: Arc<Jobs>,
    live: FuturesUnordered<LocalBoxFuture<'static, ()>>,
}

impl<S: Host> Driver<S> {
    pub(crate) fn new(host: S, jobs: Arc<Jobs>) -> Self {
        Self { host, jobs, live: FuturesUnordered::new() }
    }
}

impl<S: Host + Unpin> Future for Driver<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<()> {
        let this = &mut *self;
        for _ in 0..TURN {
            this.jobs.new.register(poller.waker());
            let has_users = this.jobs.users.load(Ordering::Acquire) > 0;
            let jobs = mem::take(&mut this.jobs.queue().jobs);
            let any_new = !jobs.is_empty();
            this.live.extend(jobs.into_iter().map(|job| job.begin(&this.host)));
            match Pin::new(&mut this.live).poll_next(poller) {
                Poll::Ready(Some(())) => {}
                // A push from here on wakes it.
                Poll::Ready(None) if !any_new && !has_users => return Poll::Ready(()),
                Poll::Pending | Poll::Ready(None) if !any_new => {
                    this.jobs.gives_leave();
                    return Poll::Pending;
                }
                Poll::Pending | Poll::Ready(None) => {}
            }
        }
        // Others get their turn.
        poller.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S> Drop for Driver<S> {
    fn drop(&mut self) {
        let mut queue = self.jobs.queue();
        queue.is_closed = true;
        let jobs = mem::take(&mut queue.jobs);
        drop(queue);
        drop(jobs);
    }
}

/// Waits for the readiness of one descriptor on behalf of any thread.
#[derive(Default)]
pub(crate) struct Waits {
    read: Mutex<Ask>,
    write: Mutex<Ask>,
    asked: AtomicWaker,
    /// The reader that waits until the pending data is written.
    held: AtomicWaker,
}

/// A request for readiness. An edge between the operation that would have blocked and the clearing of the watch must
/// not be lost: so the system is asked once more for each request, after the watch was cleared.
#[derive(Default)]
enum Ask {
    #[default]
    Nothing,
    /// Not handled yet.
    Asked(Waker),
    /// The watch has been cleared for it: the next edge answers it.
    Armed(Waker),
    /// There will be no answers.
    Over,
}

impl Waits {
    fn ask(&self, interest: Interest) -> MutexGuard<'_, Ask> {
        let ask = if interest == Interest::Write { &self.write } else { &self.read };
        ask.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes this waker once the descriptor is ready. Returns false if it never will be.
    pub(crate) fn wait(&self, interest: Interest, poller: &Poller<'_>) -> bool {
        let mut ask = self.ask(interest);
        match &mut *ask {
            Ask::Over => return false,
            Ask::Armed(waker) => {
                waker.clone_from(poller.waker());
                return true;
            }
            ask => *ask = Ask::Asked(poller.waker().clone()),
        }
        drop(ask);
        self.asked.wake();
        true
    }

    /// Returns whether a write waits. If so, the caller is woken when none does.
    pub(crate) fn holds_for_write(&self, poller: &Poller<'_>) -> bool {
        let ask = self.ask(Interest::Write);
        let is_held = matches!(*ask, Ask::Asked(_) | Ask::Armed(_));
        if is_held {
            // Under the lock, which the side that answers the write takes first.
            self.held.register(poller.waker());
        }
        is_held
    }

    pub(crate) fn end(&self) {
        for interest in [Interest::Read, Interest::Write] {
            let ask = mem::replace(&mut *self.ask(interest), Ask::Over);
            if let Ask::Asked(waker) | Ask::Armed(waker) = ask {
                waker.wake();
            }
        }
        self.held.wake();
        self.asked.wake();
    }

    /// Answers requests, on the loop's thread, until [`end`](Self::end).
    pub(crate) fn poll(&self, watch: &dyn Watch, poller: &mut Poller<'_>) -> Poll<()> {
        self.asked.register(poller.waker());
        for interest in [Interest::Read, Interest::Write] {
            if self.poll_one(watch, interest, poller).is_ready() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    fn poll_one(&self, watch: &dyn Watch, interest: Interest, poller: &mut Poller<'_>) -> Poll<()> {
        let mut ask = self.ask(interest);
        let is_ready = match mem::take(&mut *ask) {
            Ask::Over => {
                *ask = Ask::Over;
                return Poll::Ready(());
            }
            Ask::Nothing => return Poll::Pending,
            Ask::Asked(waker) => {
                watch.clear(interest);
                *ask = Ask::Armed(waker);
                is_ready_now(watch.fd(), interest)
            }
            armed => {
                *ask = armed;
                false
            }
        };
        // The operation will find an error of the loop.
        if !is_ready && watch.poll_ready(interest, poller).is_pending() {
            return Poll::Pending;
        }
        if let Ask::Asked(waker) | Ask::Armed(waker) = mem::take(&mut *ask) {
            drop(ask);
            waker.wake();
        }
        if interest == Interest::Write {
            self.held.wake();
        }
        Poll::Pending
    }
}

fn is_ready_now(fd: &OwnedFd, interest: Interest) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let flags = if interest == Interest::Write { PollFlags::OUT } else { PollFlags::IN };
    let none = Timespec { tv_sec: 0, tv_nsec: 0 };
    // A wrong answer only makes the operation wait again.
    poll(&mut [PollFd::new(fd, flags)], Some(&none)).is_ok_and(|ready| ready > 0)
}
