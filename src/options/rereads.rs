//! What tasks have read from files, and read again when the service reloads.

use std::{fmt, sync::Arc};

use super::cell::OptionCell;
use crate::Result;

/// Puts in force what was read.
pub(super) type Apply = Box<dyn FnOnce()>;

/// What is read again, whatever its type.
pub(crate) trait Reread: Send + Sync {
    fn read(&self) -> Result<Apply>;
}

struct RereadBy<R, A> {
    read: R,
    apply: Arc<A>,
}

impl<T, R, A> Reread for RereadBy<R, A>
where
    T: 'static,
    R: Fn() -> Result<T> + Send + Sync,
    A: Fn(T) + Send + Sync + 'static,
{
    fn read(&self) -> Result<Apply> {
        let (read, apply) = ((self.read)()?, self.apply.clone());
        Ok(Box::new(move || apply(read)))
    }
}

/// Reads again with each reload, until it is dropped: made by [`Context::on_reload`](crate::Context::on_reload).
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
