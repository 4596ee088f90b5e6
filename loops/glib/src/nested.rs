//! Finds out, from another thread, whether the context is iterated within a turn of the mailbox.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

/// How long a nested main loop may take to serve a descriptor.
const PATIENCE: Duration = Duration::from_millis(100);

/// Whether a main loop that runs within a turn has served the ring.
#[derive(Default)]
pub(crate) struct Nested {
    found: Mutex<bool>,
    changed: Condvar,
}

impl Nested {
    /// Declares that a nested main loop has served the ring.
    pub(crate) fn found(&self) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Rings; returns whether a nested main loop serves that.
    pub(crate) fn look(&self, ring: impl FnOnce()) -> bool {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        *found = false;
        ring();
        let waited = self.changed.wait_timeout_while(found, PATIENCE, |found| !*found);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
