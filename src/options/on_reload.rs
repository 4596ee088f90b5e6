//! A task's part in reloads.

use std::{fmt, sync::Arc};

use super::{cell::OptionCell, rereads::RereadBy};
use crate::words::error::Result;

/// Rereads at each reload until it is dropped; [`Context::on_reload`](crate::Context::on_reload) returns it.
#[must_use = "dropped, it reads nothing again"]
pub struct OnReload {
    cell: Arc<OptionCell>,
    id: u64,
}

impl OnReload {
    pub(crate) fn new<T: 'static>(
        cell: Arc<OptionCell>,
        read: impl Fn() -> Result<T> + Send + Sync + 'static,
        apply: impl Fn(T) + Send + Sync + 'static,
    ) -> Self {
        Self { id: cell.add_reread(Arc::new(RereadBy { read, apply: Arc::new(apply) })), cell }
    }
}

impl Drop for OnReload {
    fn drop(&mut self) {
        self.cell.remove_reread(self.id);
    }
}

impl fmt::Debug for OnReload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnReload")
    }
}
