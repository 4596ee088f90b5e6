//! A few threads for blocking work.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::common::{Span, catch, catch_and_log, lock};
use crate::{
    CallError, Context, EventLoop, Reply, Result,
    channel::{Promise, promise},
    task::{Busy, ServiceClock, TaskThread},
};

/// A fixed number of threads for blocking work, which belong to a task and are named for it.
///
/// [`run`](Self::run) hands them work; its reply can be awaited on any loop.
///
/// Once dropped, it accepts nothing more and abandons the work that no thread has begun. Idle threads are gone when the
/// drop returns; a busy thread ends with its work. To wait for all accepted work, use [`finish`](Self::finish). So a
/// task that is asked to stop awaits the work that it has asked for, and then drops the workers. Past its deadline they
/// are dropped with it, and a thread whose work continues is [left behind](Context::thread), by name.
///
/// ```
/// use interloop::{CallError, Service, Thread, task_fn, tasks::Workers};
///
/// # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
/// let mut service = Service::new("sums");
/// service.task("sums", task_fn::<Thread>(async |cx| {
///     let workers = Workers::start(&cx, 2)?;
///     let (even, odd) = (workers.run(|| 2 + 4 + 6), workers.run(|| 1 + 3 + 5));
///     assert_eq!((even.await?, odd.await?), (12, 9));
///     let panicked = workers.run(|| panic!("a bad sum")).await;
///     assert_eq!(panicked, Err::<(), _>(CallError::Panicked("a bad sum".into())));
///     workers.finish().await;
///     Ok(())
/// }));
/// assert_eq!(service.start()?.join().code, 0);
/// # Ok(())
/// # }
/// ```
pub struct Workers {
    pool: Arc<Pool>,
    threads: Vec<TaskThread>,
}

struct Pool {
    clock: ServiceClock,
    /// The target of log lines.
    target: String,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    queue: VecDeque<(Job, Busy)>,
    /// Nothing more is accepted; a thread that finds the queue empty ends.
    closed: bool,
    /// For each thread, whether it is busy.
    busy: Vec<bool>,
}

/// Does the work, and returns the closure that reports the result.
type Job = Box<dyn FnOnce() -> Tell + Send>;
type Tell = Box<dyn FnOnce() + Send>;

impl Workers {
    /// Starts this many threads, at least one, for this task.
    ///
    /// # Errors
    ///
    /// If a thread can't be started.
    pub fn start<L: EventLoop, O>(cx: &Context<L, O>, count: usize) -> Result<Self> {
        let count = count.max(1);
        let state = State { queue: VecDeque::new(), closed: false, busy: vec![false; count] };
        let (clock, target) = (cx.clock(), cx.target().to_owned());
        let pool = Arc::new(Pool { clock, target, state: Mutex::new(state), changed: Condvar::new() });
        let mut workers = Self { pool, threads: Vec::new() };
        for number in 0..count {
            let pool = workers.pool.clone();
            // If this fails, the drop ends the threads started so far.
            workers.threads.push(cx.thread(&format!("{}", number + 1), move || pool.work(number))?);
        }
        Ok(workers)
    }

    /// Calls `work` on the first free thread, in the order of the calls.
    ///
    /// A panic of `work` is in the reply. If the reply is cancelled before `work` begins, `work` isn't called.
    pub fn run<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> Reply<R> {
        let (promise, reply) = promise();
        let span = Span::current();
        let job: Job = Box::new(move || work_and_tell(move || span.run(work), promise));
        let refused = {
            let mut state = self.pool.lock();
            if state.closed {
                Some(job)
            } else {
                state.queue.push_back((job, self.pool.clock.busy()));
                None
            }
        };
        drop(refused);
        self.pool.changed.notify_one();
        reply
    }

    /// Waits until all accepted work is done and the threads are gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the workers.
    pub async fn finish(mut self) {
        let _busy = self.pool.clock.busy();
        self.pool.lock().closed = true;
        self.pool.changed.notify_all();
        for thread in std::mem::take(&mut self.threads) {
            let _ = thread.await;
        }
    }
}

fn work_and_tell<R: Send + 'static>(work: impl FnOnce() -> R, mut promise: Promise<R>) -> Tell {
    if promise.is_cancelled() {
        drop(catch(|| drop(work)));
        return Box::new(|| drop(promise));
    }
    promise.begin();
    let ended = catch(work).map_err(CallError::Panicked);
    Box::new(move || promise.resolve(ended))
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        // User code never runs under the lock.
        lock(&self.state)
    }

    /// The main function of a thread.
    fn work(&self, number: usize) {
        while let Some((job, _busy)) = self.next(number) {
            let tell = job();
            // The thread is idle before anybody hears of the result: a caller that then drops the workers waits for its
            // end.
            self.lock().busy[number] = false;
            catch_and_log(&self.target, "the end of blocking work", tell);
        }
    }

    fn next(&self, number: usize) -> Option<(Job, Busy)> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                state.busy[number] = true;
                return Some(job);
            }
            if state.closed {
                return None;
            }
            // Jobs count as busy; a thread that waits for one doesn't.
            state = TaskThread::idle(|| self.changed.wait(state)).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let (unused, busy) = {
            let mut state = self.pool.lock();
            state.closed = true;
            (std::mem::take(&mut state.queue), state.busy.clone())
        };
        self.pool.changed.notify_all();
        unused.into_iter().for_each(|job| drop(catch(|| drop(job))));
        // An idle thread begins nothing more, so waiting for it takes no time. Busy threads end by themselves.
        for (thread, _) in std::mem::take(&mut self.threads).into_iter().zip(busy).filter(|(_, busy)| !busy) {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.pool.lock();
        let busy = state.busy.iter().filter(|busy| **busy).count();
        f.debug_struct("Workers")
            .field("threads", &state.busy.len())
            .field("busy", &busy)
            .field("queued", &state.queue.len())
            .finish()
    }
}
