//! The state that the handles of a task, the task, and its thread share: the pending work.
//!
//! Invariant: `shut` is set, and read by those who add a command, under one lock. So each command is taken by a thread,
//! or waits for the next one, or has been told that the task has stopped.

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
    /// The task's loop.
    place: (Slot<()>, Remote<()>),
    next: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Nothing more is accepted.
    shut: bool,
    orders: Vec<Order>,
    /// The bell that wakes the thread, if there is one.
    bell: Option<Arc<OwnedFd>>,
    jobs: Vec<Job>,
    /// The waker of the task, which takes the jobs.
    waker: Option<Waker>,
}

/// An order for the thread.
pub(super) enum Order {
    Start(Box<Start>),
    /// This child's pipes can be read or written again.
    Look(u64),
    Terminate(u64),
    Kill(u64),
}

/// A child to be started.
pub(super) struct Start {
    pub(super) life: Arc<Life>,
    pub(super) prepared: Prepared,
    /// The jobs to run once the child has been started.
    pub(super) jobs: Vec<Job>,
}

impl Drop for Start {
    fn drop(&mut self) {
        // Tell those who wait, unless the child was started, or they have been told something else.
        if self.life.pid().is_none() {
            self.life.end(Err(CommandError::Stopped));
        }
    }
}

/// A future that the task runs on its loop for a child.
pub(super) struct Job {
    /// Whether the task waits for the job at its end.
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

    /// Gives the thread this order, unless it is pointless.
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

    // --- For the task and its thread ---

    /// Registers a thread, which this bell wakes.
    pub(super) fn open<L: EventLoop, O>(&self, bell: &Arc<OwnedFd>, cx: &Context<L, O>) {
        cx.fill(self.place.0.clone(), ());
        let mut inner = lock(&self.inner);
        inner.shut = false;
        inner.bell = Some(bell.clone());
        inner.ring();
    }

    /// Removes the thread with this bell: pending starts wait for the next one.
    pub(super) fn close(&self, bell: &Arc<OwnedFd>) {
        let mut inner = lock(&self.inner);
        if inner.bell.as_ref().is_some_and(|current| Arc::ptr_eq(current, bell)) {
            inner.bell = None;
            inner.orders.retain(|order| matches!(order, Order::Start(_)));
        }
    }

    /// Takes the orders for this thread, with at most `starts` starts: further ones wait.
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

    /// Returns how many starts are pending.
    pub(super) fn waiting(&self) -> usize {
        lock(&self.inner).orders.iter().filter(|order| matches!(order, Order::Start(_))).count()
    }

    /// Puts back a start that was not begun: it waits for the next thread, if there may be one.
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

    /// Adds jobs to run on the loop.
    pub(super) fn add_jobs(&self, jobs: &mut Vec<Job>) {
        let waker = {
            let mut inner = lock(&self.inner);
            inner.jobs.append(jobs);
            inner.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Closes the task for commands, and tells those that wait.
    pub(super) fn shut(&self) {
        let unused = {
            let mut inner = lock(&self.inner);
            inner.shut = true;
            inner.orders.extract_if(.., |order| matches!(order, Order::Start(_))).collect::<Vec<_>>()
        };
        drop(unused);
    }

    /// Drops the jobs: nothing will run for these children.
    pub(super) fn drop_jobs(&self) {
        let unused = std::mem::take(&mut lock(&self.inner).jobs);
        drop(unused);
    }

    /// Takes the jobs to run on the loop; if there are none, keeps the waker for them.
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
    // If the counter is full, the bell has already been rung.
    let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
}

/// Dropping this says that a callback has heard all that it will hear.
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
