//! What the handles of a task, the task, and its thread share: what is to be done.
//!
//! Invariant: who adds a command looks at `shut` under the lock under which it is set. So a command is taken by a thread, or waits for the next one, or has
//! been told that the task has stopped.

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{self, Waker},
};

use super::{
    super::common::lock,
    child::{Child, ChildInput, ChildOutput},
    error::CommandError,
    life::Life,
    run::{Command, Hearer, Prepared, Source, Work},
};
use crate::{Context, EventLoop, Remote, Slot, task::TaskRef};

pub(super) struct Core {
    pub(super) task: TaskRef,
    /// Where the task is.
    place: (Slot<()>, Remote<()>),
    next: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Nothing is accepted any more.
    shut: bool,
    orders: Vec<Order>,
    /// Wakes the thread, if there is one.
    bell: Option<Arc<OwnedFd>>,
    jobs: Vec<Job>,
    /// Of the task, which takes the jobs.
    waker: Option<Waker>,
}

/// What the thread is to do.
pub(super) enum Order {
    Start(Box<Start>),
    /// Something of this child's can be read or written again.
    Look(u64),
    Terminate(u64),
    Kill(u64),
}

/// A child to be started.
pub(super) struct Start {
    pub(super) life: Arc<Life>,
    pub(super) prepared: Prepared,
    /// For when it has been started.
    pub(super) jobs: Vec<Job>,
}

impl Drop for Start {
    fn drop(&mut self) {
        // Whoever waits hears it, unless it was started, or has heard of something else.
        if self.life.pid().is_none() {
            self.life.end(Err(CommandError::Stopped));
        }
    }
}

/// What the task runs on its loop for a child.
pub(super) struct Job {
    /// Whether the task waits for it at its end.
    pub(super) is_awaited: bool,
    pub(super) make: Box<dyn FnOnce() -> Work + Send>,
}

impl Default for Core {
    fn default() -> Self {
        Self {
            task: TaskRef::default(),
            place: Slot::new("commands"),
            next: AtomicU64::default(),
            inner: Mutex::default(),
        }
    }
}

impl Core {
    pub(super) fn run(self: &Arc<Self>, mut run: Command) -> Child {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let heard = run.hearers.iter().flatten().count();
        let life = Life::new(self, id, run.program(), heard);
        let (limit, kill_on_drop) = (run.limit, run.kill_on_drop);

        let mut jobs = Vec::new();
        let mut outputs = [0, 1].map(|output| Some(ChildOutput::new(&life, output)));
        for (output, hearer) in outputs.iter_mut().zip(&mut run.hearers) {
            if let Some(hearer) = hearer.take() {
                jobs.extend(output.take().map(|output| hear(hearer, output, Heard(life.clone()))));
            }
        }
        let mut stdin = None;
        let piped = run.input.is_something();
        match std::mem::replace(&mut run.input, Source::Nothing) {
            Source::Nothing => {}
            Source::Bytes(bytes) => life.complete_input(bytes),
            Source::Piped => stdin = Some(ChildInput::new(&life)),
            Source::Stream(make) => {
                let input = ChildInput::new(&life);
                jobs.push(Job { is_awaited: false, make: Box::new(move || make(input)) });
            }
        }
        self.add(Start { life: life.clone(), prepared: run.into_prepared(piped), jobs });
        Child::new(life, stdin, outputs, limit, kill_on_drop)
    }

    fn add(&self, start: Start) {
        let refused = {
            let mut inner = lock(&self.inner);
            if inner.shut {
                Some(start)
            } else {
                inner.orders.push(Order::Start(Box::new(start)));
                inner.ring();
                None
            }
        };
        drop(refused);
    }

    /// Has the thread do this, if it is worth doing.
    pub(super) fn order(&self, order: Order) {
        let never_started = {
            let mut inner = lock(&self.inner);
            let waits = inner.orders.iter().position(|waits| match (waits, &order) {
                (Order::Start(start), Order::Terminate(id) | Order::Kill(id)) => start.life.id == *id,
                _ => false,
            });
            if waits.is_none() && inner.bell.is_some() {
                inner.orders.push(order);
                inner.ring();
            }
            waits.map(|place| inner.orders.remove(place))
        };
        drop(never_started);
    }

    pub(super) fn place(&self) -> &Remote<()> {
        &self.place.1
    }

    // --- Of the task and its thread ---

    /// A thread comes, which this bell wakes.
    pub(super) fn open<L: EventLoop, O>(&self, bell: &Arc<OwnedFd>, cx: &Context<L, O>) {
        cx.fill(self.place.0.clone(), ());
        let mut inner = lock(&self.inner);
        inner.shut = false;
        inner.bell = Some(bell.clone());
        inner.ring();
    }

    /// The thread with this bell goes: what there is to start waits for the next one.
    pub(super) fn close(&self, bell: &Arc<OwnedFd>) {
        let mut inner = lock(&self.inner);
        if inner.bell.as_ref().is_some_and(|current| Arc::ptr_eq(current, bell)) {
            inner.bell = None;
            inner.orders.retain(|order| matches!(order, Order::Start(_)));
        }
    }

    /// What this thread is to do, with no more starts than this: what else there is to start waits.
    pub(super) fn take(&self, bell: &Arc<OwnedFd>, starts: usize) -> Vec<Order> {
        let mut inner = lock(&self.inner);
        if !inner.bell.as_ref().is_some_and(|current| Arc::ptr_eq(current, bell)) {
            return Vec::new();
        }
        let mut room = starts;
        let taken = inner.orders.extract_if(.., |order| match order {
            Order::Start(_) if room == 0 => false,
            Order::Start(_) => {
                room -= 1;
                true
            }
            _ => true,
        });
        taken.collect()
    }

    /// How many there are to start.
    pub(super) fn waiting(&self) -> usize {
        lock(&self.inner).orders.iter().filter(|order| matches!(order, Order::Start(_))).count()
    }

    /// What was not begun waits for the next thread, if one may come.
    pub(super) fn put_back(&self, start: Box<Start>) {
        let refused = {
            let mut inner = lock(&self.inner);
            if inner.shut {
                Some(start)
            } else {
                let later = |order: &Order| matches!(order, Order::Start(other) if other.life.id > start.life.id);
                let place = inner.orders.iter().position(later).unwrap_or(inner.orders.len());
                inner.orders.insert(place, Order::Start(start));
                None
            }
        };
        drop(refused);
    }

    /// These are to run on the loop.
    pub(super) fn add_jobs(&self, jobs: &mut Vec<Job>) {
        let waker = {
            let mut inner = lock(&self.inner);
            inner.jobs.append(jobs);
            inner.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Accepts nothing more; what waits is told.
    pub(super) fn shut(&self) {
        let unused = {
            let mut inner = lock(&self.inner);
            inner.shut = true;
            inner.orders.extract_if(.., |order| matches!(order, Order::Start(_))).collect::<Vec<_>>()
        };
        drop(unused);
    }

    /// Nobody will run anything for these children.
    pub(super) fn drop_jobs(&self) {
        let unused = std::mem::take(&mut lock(&self.inner).jobs);
        drop(unused);
    }

    /// What is to run on the loop; if there is nothing, this is woken when there is.
    pub(super) fn jobs(&self, context: &task::Context<'_>) -> Vec<Job> {
        let mut inner = lock(&self.inner);
        inner.waker = Some(context.waker().clone());
        std::mem::take(&mut inner.jobs)
    }
}

impl Inner {
    fn ring(&self) {
        if let Some(bell) = &self.bell {
            ring(bell);
        }
    }
}

/// Wakes the thread that waits for this bell.
pub(super) fn ring(bell: &OwnedFd) {
    // Full, it has been rung.
    let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
}

/// Dropped, a callback has heard what it will hear.
struct Heard(Arc<Life>);

impl Drop for Heard {
    fn drop(&mut self) {
        self.0.heard();
    }
}

fn hear(hearer: Hearer, output: ChildOutput, heard: Heard) -> Job {
    let hears = async move {
        let _heard = heard;
        hearer.hear(output).await;
    };
    Job { is_awaited: true, make: Box::new(move || Box::pin(hears)) }
}
