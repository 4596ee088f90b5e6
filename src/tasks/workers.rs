//! A few threads for work that blocks.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::common::{Span, catch, lock};
use crate::{
    CallError, Context, EventLoop, Reply, Result,
    channel::{Promise, promise},
    task::{Busy, ServiceClock, TaskThread},
};

/// A fixed number of threads for work that blocks, which belong to a task and are named for it. What is [asked](Self::run) of them is awaited from any loop.
///
/// Dropped, it takes nothing more and gives up what nobody has begun; idle threads are gone when the drop returns, and one that works ends with that work.
/// To wait for all that was accepted there is [`finish`](Self::finish). So a task that is asked to stop awaits what it has asked for, and drops the
/// workers; past its deadline they are dropped with it, and a thread whose work goes on is [left behind](Context::thread), by name.
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
    /// For the log.
    target: String,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    queue: VecDeque<(Job, Busy)>,
    /// Nothing is accepted any more; who finds the queue empty ends.
    closed: bool,
    /// By thread: whether it works.
    busy: Vec<bool>,
}

/// Does the work, and returns what tells of it.
type Job = Box<dyn FnOnce() -> Tell + Send>;
type Tell = Box<dyn FnOnce() + Send>;

impl Workers {
    /// So many threads, one at least, for this task.
    ///
    /// # Errors
    ///
    /// When there can be no thread.
    pub fn start<L: EventLoop, O>(cx: &Context<L, O>, count: usize) -> Result<Self> {
        let count = count.max(1);
        let state = State { queue: VecDeque::new(), closed: false, busy: vec![false; count] };
        let (clock, target) = (cx.clock(), cx.target().to_owned());
        let pool = Arc::new(Pool { clock, target, state: Mutex::new(state), changed: Condvar::new() });
        let mut workers = Self { pool, threads: Vec::new() };
        for number in 0..count {
            let pool = workers.pool.clone();
            // Should it fail, those that are there already end with the drop.
            workers.threads.push(cx.thread(&format!("{}", number + 1), move || pool.work(number))?);
        }
        Ok(workers)
    }

    /// Calls `work` on the first thread that is free; what was asked before comes before. A panic is in the reply; a reply that is cancelled in time means
    /// that it isn't called.
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

    /// Waits until all that was accepted is done and the threads are gone.
    ///
    /// # Cancel safety
    ///
    /// To drop it is to drop the workers.
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
        // The user's code never runs under the lock.
        lock(&self.state)
    }

    /// What a thread does.
    fn work(&self, number: usize) {
        while let Some((job, _busy)) = self.next(number) {
            let tell = job();
            // Free before anybody hears of it: who then drops the workers finds this thread idle, and waits for its end.
            self.lock().busy[number] = false;
            if let Err(panic) = catch(tell) {
                log::error!(target: &self.target, "panicked at the end of blocking work: {panic}");
            }
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
            // The jobs are counted, whoever waits for one isn't.
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
        // An idle thread begins nothing any more: to wait for it takes no time. The others are left to end by themselves.
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
