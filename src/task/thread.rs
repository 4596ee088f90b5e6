//! Threads that belong to a task: the task's end waits for theirs.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
    thread::{self, JoinHandle},
};

use super::incarnation::Incarnation;
use crate::{
    CallError, Context, EventLoop, Reply,
    channel::this_thread,
    control::task_threads::Notice,
    kit::{
        clock::{Busy, Clock},
        panics::{catch, take_logged},
    },
};

impl<L: EventLoop, O> Context<L, O> {
    /// Starts a thread that belongs to the task, for work that blocks; awaiting the thread brings what `work` returns.
    ///
    /// It is named `{task}-{name}` (Linux shows the first 15 bytes). Its log records and panics are attributed to the
    /// task, and it runs in the task's span (feature `tracing`).
    ///
    /// The task ends only when its threads have ended: a task that is asked to stop must make its thread end, and await
    /// it. If the task's future is gone before (it returned, failed, or was dropped at its deadline), its
    /// [`Shutdown`](crate::Shutdown) is requested for threads that wait for it. They then have 500 ms or, if the task
    /// returned because it was asked to stop, the rest of its deadline. A thread that takes longer is left behind: the
    /// log and a [warning](Self::warn) name it, and so does the [report](crate::Report::left_behind) if it hasn't ended
    /// when the service has. For more than three threads, each of these gives the number and the first three names.
    ///
    /// A panic of the thread fails the task, as a [child's](Self::spawn_local) does, whether or not the thread is
    /// awaited. For work that may panic without that, use a [`Promise`](crate::channel::Promise::run).
    ///
    /// A fake clock counts the thread as work in flight until it ends, except while it is [idle](TaskThread::idle).
    ///
    /// ```
    /// use interloop::{Service, Thread, task_fn};
    ///
    /// # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    /// let mut service = Service::new("sums");
    /// service.task("sums", task_fn::<Thread>(async |cx| {
    ///     let upto = 1_000_u64;
    ///     let sum: u64 = cx.thread("adds", move || (1..=upto).sum())?.await?;
    ///     assert_eq!(sum, 500_500);
    ///     Ok(())
    /// }));
    /// assert_eq!(service.start()?.join().code, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the system's error if no thread can be started; [`InvalidInput`](io::ErrorKind::InvalidInput) if the
    /// name contains a NUL; and an error if the task has ended.
    pub fn thread<R: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> io::Result<TaskThread<R>> {
        TaskThread::start(self.incarnation_itself(), name, work)
    }
}

/// A thread of a task, started by [`Context::thread`].
///
/// It is a future of what the thread's closure returns, ready when the thread has ended. If it is dropped, the thread
/// continues; the task's end still waits for it.
///
/// # Errors
///
/// Returns [`Panicked`](CallError::Panicked) if the thread panicked, which fails the task too, and
/// [`Stopped`](CallError::Stopped), if awaited off the task's loop, when that loop was left behind.
///
/// # Cancel safety
///
/// Polling it by reference (`&mut thread` in a `select!`) loses nothing.
///
/// # Panics
///
/// Panics if polled after it was ready.
#[must_use = "dropping it detaches the thread: await its end, or say so with `.detach()`"]
pub struct TaskThread<R = ()> {
    name: Arc<str>,
    thread: Option<JoinHandle<()>>,
    end: Reply<R>,
}

impl<R: Send + 'static> TaskThread<R> {
    fn start(
        incarnation: &Arc<Incarnation>,
        name: &str,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> io::Result<Self> {
        let name = format!("{}-{name}", incarnation.run.name);
        if name.contains('\0') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name of a thread with a NUL in it"));
        }
        let name = Arc::<str>::from(name);
        let begun = (!incarnation.is_closing()).then(|| Stay::begin(incarnation, &name)).flatten();
        let Some(stay) = begun else {
            return Err(io::Error::other("the task has ended: there is no thread of it any more"));
        };
        let (end, ends) = Reply::of_child(&incarnation.loop_);
        let counted = Counted::begin(incarnation.loop_.clock());
        let runs = {
            let (incarnation, name) = (incarnation.clone(), name.clone());
            move || {
                // Held to the very end of the thread: what it reports is counted before.
                let _counted = counted.here();
                let stay = stay;
                let ran = catch(|| {
                    let _entered = this_thread::enter(&incarnation.label, &incarnation.loop_);
                    incarnation.span.get().run(work)
                });
                if let Err(panic) = &ran
                    && !take_logged(panic)
                {
                    log::error!(target: incarnation.info.target(), "thread {name} panicked: {panic}");
                    incarnation.thread_panicked(format!("thread {name}: {panic}"));
                }
                ends.complete(ran.map_err(CallError::Panicked));
                drop(stay);
            }
        };
        let thread = thread::Builder::new().name(name.to_string()).spawn(runs)?;
        Ok(Self { name, thread: Some(thread), end })
    }
}

impl<R> TaskThread<R> {
    /// Returns the thread's name, `{task}-{name}`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the thread has finished its work.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Lets the thread continue unobserved.
    pub fn detach(self) {}

    /// Blocks the calling thread until this thread has ended, and returns what its closure returned. On the thread of a
    /// shared loop, await it instead.
    ///
    /// # Errors
    ///
    /// Returns [`Panicked`](CallError::Panicked) if the thread panicked.
    pub fn join(mut self) -> Result<R, CallError> {
        self.reap();
        // The thread has reported its end, so this doesn't wait.
        let mut end = self.end;
        match Pin::new(&mut end).poll(&mut task::Context::from_waker(task::Waker::noop())) {
            Poll::Ready(ended) => ended,
            Poll::Pending => Err(CallError::Stopped),
        }
    }

    /// Joins the thread, of which nothing is left but the destructors of its thread-locals.
    fn reap(&mut self) {
        if let Some(thread) = self.thread.take() {
            // The thread catches its own panic.
            let _ = thread.join();
        }
    }
}

impl TaskThread {
    /// Calls `wait` on a task's thread without counting it as work in flight, for a thread that waits for work.
    ///
    /// The sender must count the work, from before it is sent until it is done, by a [`Busy`](crate::task::Busy) that
    /// travels with it. On any other thread this only calls `wait`.
    pub fn idle<R>(wait: impl FnOnce() -> R) -> R {
        struct Again(Option<Clock>);
        impl Drop for Again {
            fn drop(&mut self) {
                if let Some(clock) = self.0.take() {
                    let _ = COUNTED.try_with(|counted| counted.replace(Some(Counted::begin(&clock))));
                }
            }
        }
        let counted = COUNTED.try_with(RefCell::take).ok().flatten();
        let again = Again(counted.map(|Counted { clock, .. }| clock));
        let waited = wait();
        drop(again);
        waited
    }
}

impl<R> Future for TaskThread<R> {
    type Output = Result<R, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let ended = Pin::new(&mut self.end).poll(cx);
        // A loop that was left behind can't say how its thread ended.
        if matches!(ended, Poll::Ready(Ok(_) | Err(CallError::Panicked(_)))) {
            self.reap();
        }
        ended
    }
}

impl<R> fmt::Debug for TaskThread<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskThread").field("name", &self.name).field("finished", &self.is_finished()).finish()
    }
}

// --- Work that a fake clock counts ---

thread_local! {
    static COUNTED: RefCell<Option<Counted>> = const { RefCell::new(None) };
}

/// A thread that has work to do.
struct Counted {
    clock: Clock,
    _busy: Busy,
}

impl Counted {
    fn begin(clock: &Clock) -> Self {
        Self { _busy: clock.busy(), clock: clock.clone() }
    }

    /// Counts this thread until the returned value is dropped.
    fn here(self) -> impl Drop {
        struct Here;
        impl Drop for Here {
            fn drop(&mut self) {
                let counted = COUNTED.try_with(RefCell::take);
                drop(counted);
            }
        }
        let _ = COUNTED.try_with(|counted| counted.replace(Some(self)));
        Here
    }
}

// --- Ends of threads ---

/// The membership of a thread in its task; dropping it means that the thread has ended.
struct Stay {
    incarnation: Arc<Incarnation>,
    id: u64,
}

impl Stay {
    /// Returns `None` if the task accepts no more threads.
    fn begin(incarnation: &Arc<Incarnation>, name: &Arc<str>) -> Option<Self> {
        let id = incarnation.threads.begin(name)?;
        Some(Self { incarnation: incarnation.clone(), id })
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let Self { incarnation, id } = self;
        if let Some(Notice { warning, line, .. }) = incarnation.threads.end(*id) {
            incarnation.info.registry().clear_warning(&warning);
            log::info!(target: incarnation.info.target(), "{line}");
        }
    }
}
