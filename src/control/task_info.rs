//! What a task shows of itself.

use std::sync::Arc;

use crate::{
    channel::address::Address,
    counters::Registry,
    kit::sync::{Mutex, Ordering, figure, lock},
};

/// What a task shows of itself, through all its incarnations.
#[derive(Debug)]
pub(crate) struct TaskInfo {
    target: String,
    registry: Arc<Registry>,
    children: figure::AtomicUsize,
    spawned: figure::AtomicU64,
    /// The slots that it has filled.
    slots: Mutex<Vec<Arc<Address>>>,
}

impl TaskInfo {
    pub(crate) fn new(service: &str, task: &str) -> Arc<Self> {
        Arc::new(Self {
            target: format!("{service}.{task}"),
            registry: Arc::default(),
            children: figure::AtomicUsize::new(0),
            spawned: figure::AtomicU64::new(0),
            slots: Mutex::default(),
        })
    }

    pub(crate) fn fills(&self, slot: &Arc<Address>) {
        let mut slots = lock(&self.slots);
        if !slots.iter().any(|known| Arc::ptr_eq(known, slot)) {
            slots.push(slot.clone());
        }
    }

    /// The slots that it has filled: to be closed when it has ended. They resolve as Stopped then, unless somebody starts it again and it fills them anew.
    pub(crate) fn slots(&self) -> Vec<Arc<Address>> {
        lock(&self.slots).clone()
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
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

    /// How many children live, and how many there were so far.
    pub(crate) fn children(&self) -> (usize, u64) {
        (self.children.load(Ordering::Relaxed), self.spawned.load(Ordering::Relaxed))
    }
}
