//! Where zbus puts its work, from any thread, and the child of the task that does it, on the loop's.

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

/// Makes a future on the loop's thread, where it stays: it needs not be Send.
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

/// What the loop has to give, on its thread.
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
        // zbus reads and writes by itself: the loop's end of it goes, and with it what the loop knows of it.
        Box::pin(async move { L::socket(&connect.await?).as_fd().try_clone_to_owned() })
    }

    fn watch(&self, fd: OwnedFd) -> io::Result<Box<dyn Watch>> {
        L::watch_boxed(self.native(), fd)
    }
}

/// The way in.
#[derive(Default)]
pub(crate) struct Jobs {
    queue: Mutex<Queue>,
    new: AtomicWaker,
    /// Those that may push.
    users: AtomicUsize,
    /// Tasks that nobody holds a handle of: calls that are being answered; those that had begun before the end did, and
    /// the others.
    detached: [AtomicUsize; 2],
    settled: AtomicWaker,
    /// Who would read on, but for the crowd.
    held: AtomicWaker,
    /// Who is held may read once.
    has_leave: AtomicBool,
    /// The end has begun.
    is_sealed: AtomicBool,
    /// The bus has let us in.
    is_open: AtomicBool,
    /// How many pieces have been read of what it said before.
    pieces: AtomicUsize,
}

/// While so many calls are being answered, what has come goes before what is to come: nothing more is read until all of
/// them are waiting for something, and not for the bus to take their answers. Else those would pile up that the bus, or
/// who holds the lock of the connection, is slow to let go.
const CROWD: usize = 64;

/// What a bus says before it lets anyone in comes in one or two pieces, of 1 KiB at most.
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

    /// Once the task has ended, the job is dropped.
    pub(crate) fn push(&self, job: Job) {
        let mut queue = self.queue();
        if queue.is_closed {
            // Not under the lock: what it drops may have work of its own.
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

    /// Which of the detached a task of now would be.
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

    /// The end begins: it doesn't wait for calls that come from now on.
    pub(crate) fn seal(&self) {
        self.is_sealed.store(true, Ordering::Release);
    }

    /// Ready when none of the calls that had come is being answered. For one that waits.
    pub(crate) fn poll_settled(&self, poller: &mut Poller<'_>) -> Poll<()> {
        self.settled.register(poller.waker());
        if self.detached[0].load(Ordering::Acquire) == 0 { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(crate) fn is_crowded(&self) -> bool {
        self.detached.iter().map(|detached| detached.load(Ordering::Acquire)).sum::<usize>() >= CROWD
    }

    /// Whether who reads may do so once, in a crowd. If not, it is woken when it may.
    pub(crate) fn takes_leave(&self, poller: &Poller<'_>) -> bool {
        if self.has_leave.swap(false, Ordering::AcqRel) {
            return true;
        }
        self.held.register(poller.waker());
        // It may have been idle by then, and know of nobody.
        self.new.wake();
        false
    }

    /// Nothing is left to do but to wait: who is held may go on.
    fn gives_leave(&self) {
        if let Some(held) = self.held.take() {
            self.has_leave.store(true, Ordering::Release);
            held.wake();
        }
    }

    pub(crate) fn open(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// Whether the bus may go on after this piece: one that has not let us in says only so much.
    pub(crate) fn may_go_on(&self) -> bool {
        self.is_open.load(Ordering::Relaxed) || self.pieces.fetch_add(1, Ordering::Relaxed) < PIECES
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Era(usize);

/// So many jobs at most end in one poll.
const TURN: usize = 64;

/// Does the jobs, until it is dropped, or nobody is left who could have any.
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
                // What is pushed from here on wakes it.
                Poll::Ready(None) if !any_new && !has_users => return Poll::Ready(()),
                Poll::Pending | Poll::Ready(None) if !any_new => {
                    this.jobs.gives_leave();
                    return Poll::Pending;
                }
                Poll::Pending | Poll::Ready(None) => {}
            }
        }
        // Others have their turn.
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

/// Waits for the readiness of one descriptor on behalf of whoever asks, on any thread.
#[derive(Default)]
pub(crate) struct Waits {
    read: Mutex<Ask>,
    write: Mutex<Ask>,
    asked: AtomicWaker,
    /// Who doesn't read until what waits to be written is.
    held: AtomicWaker,
}

/// An edge that comes between the operation that would have blocked and the watch's being cleared must not be lost: so
/// each question is asked of the system once more, after the watch was cleared.
#[derive(Default)]
enum Ask {
    #[default]
    Nothing,
    /// Not looked at yet.
    Asked(Waker),
    /// The watch has been cleared for it: the next edge is its answer.
    Armed(Waker),
    /// There will be no answers.
    Over,
}

impl Waits {
    fn ask(&self, interest: Interest) -> MutexGuard<'_, Ask> {
        let ask = if interest == Interest::Write { &self.write } else { &self.read };
        ask.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes this waker once it is ready. False if it never will be.
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

    /// Whether a write waits. If so, it is woken when none does.
    pub(crate) fn holds_for_write(&self, poller: &Poller<'_>) -> bool {
        let ask = self.ask(Interest::Write);
        let is_held = matches!(*ask, Ask::Asked(_) | Ask::Armed(_));
        if is_held {
            // Under the lock: who answers the write takes it first.
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

    /// On the loop's thread, until [`end`](Self::end).
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
        // An error of the loop's is for the operation to find.
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
    // Asked in vain, it is tried in vain.
    poll(&mut [PollFd::new(fd, flags)], Some(&none)).is_ok_and(|ready| ready > 0)
}
