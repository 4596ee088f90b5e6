//! A mailbox on a thread that no service drives.

use std::{fmt, sync::Arc};

use crate::channel::{shared::Shared, this_thread};

/// The attachment of a mailbox to a thread that no service drives. Its end closes the mailbox for good.
pub(crate) struct Guest {
    shared: Arc<Shared>,
    _stay: this_thread::Stay,
}

impl Guest {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, _stay: this_thread::Stay::begin() }
    }

    /// Marks that the loop's thread is in a turn of this mailbox, until dropped.
    pub(crate) fn enter(&self) -> impl Drop + use<> {
        this_thread::drive(&self.shared, false)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // There is no supervisor to do so.
        self.shared.terminate();
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guest")
    }
}
