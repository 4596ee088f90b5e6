//! The visible state of a task.

use std::sync::Arc;

use super::{
    report::LeftBehind,
    task_threads::{self, Threads},
};
#[cfg(feature = "net")]
use crate::reactor::bind::Bound;
use crate::{
    channel::address::Address,
    counters::Registry,
    kit::sync::{Mutex, Ordering, figure, lock},
};

/// The visible state of a task, through all its incarnations.
#[derive(Debug)]
pub(crate) struct TaskInfo {
    registry: Arc<Registry>,
    children: figure::AtomicUsize,
    spawned: figure::AtomicU64,
    /// The slots that the task has filled.
    slots: Mutex<Vec<Arc<Address>>>,
    /// The threads of incarnations that have left some behind.
    threads: Mutex<Vec<Arc<Threads>>>,
    /// The listening sockets that were passed to the process for it.
    #[cfg(feature = "net")]
    inherited: Mutex<Vec<Bound>>,
    /// What its start is doing, in its own words.
    starting: Mutex<Option<String>>,
}

impl TaskInfo {
    pub(crate) fn new(service: &str, task: &str) -> Arc<Self> {
        Arc::new(Self {
            registry: Registry::new(format!("{service}.{task}")),
            children: figure::AtomicUsize::new(0),
            spawned: figure::AtomicU64::new(0),
            slots: Mutex::default(),
            threads: Mutex::default(),
            #[cfg(feature = "net")]
            inherited: Mutex::default(),
            starting: Mutex::default(),
        })
    }

    pub(crate) fn fills(&self, slot: &Arc<Address>) {
        let mut slots = lock(&self.slots);
        if !slots.iter().any(|known| Arc::ptr_eq(known, slot)) {
            slots.push(slot.clone());
        }
    }

    /// Returns the slots that it has filled, which must be closed when it has ended. They resolve as Stopped then,
    /// unless the task is started again and refills them.
    pub(crate) fn slots(&self) -> Vec<Arc<Address>> {
        lock(&self.slots).clone()
    }

    /// Records that some of these threads are left behind.
    pub(crate) fn leaves_threads(&self, threads: &Arc<Threads>) {
        let mut left = lock(&self.threads);
        left.retain(|known| known.is_left_behind());
        if !left.iter().any(|known| Arc::ptr_eq(known, threads)) {
            left.push(threads.clone());
        }
    }

    /// Returns its threads that are still left behind.
    pub(crate) fn threads_left_behind(&self) -> Vec<LeftBehind> {
        task_threads::left_behind(&lock(&self.threads))
    }

    #[cfg(feature = "net")]
    pub(crate) fn inherits(&self, sockets: Vec<Bound>) {
        *lock(&self.inherited) = sockets;
    }

    /// Returns duplicates of the sockets that were passed for it.
    #[cfg(feature = "net")]
    pub(crate) fn inherited(&self) -> std::io::Result<Vec<Bound>> {
        lock(&self.inherited).iter().map(Bound::try_clone).collect()
    }

    pub(crate) fn set_starting(&self, what: Option<String>) {
        let before = std::mem::replace(&mut *lock(&self.starting), what);
        drop(before);
    }

    /// Returns what its start is doing, for the end of a line: `: it connects`, or nothing.
    pub(crate) fn starting(&self) -> String {
        lock(&self.starting).as_ref().map(|what| format!(": {what}")).unwrap_or_default()
    }

    pub(crate) fn target(&self) -> &str {
        self.registry.target()
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    pub(crate) fn child_begins(&self) {
        self.children.fetch_add(1, Ordering::Relaxed);
        self.spawned.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn child_ends(&self) {
        self.children.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns how many children live, and how many there were so far.
    pub(crate) fn children(&self) -> (usize, u64) {
        (self.children.load(Ordering::Relaxed), self.spawned.load(Ordering::Relaxed))
    }
}
