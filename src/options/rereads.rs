//! Data that tasks have read from files, and reread when the service reloads.

use std::sync::Arc;

use crate::words::error::Result;

/// Applies what was read.
pub(super) type Apply = Box<dyn FnOnce()>;

/// Something to reread, whatever its type.
pub(crate) trait Reread: Send + Sync {
    fn read(&self) -> Result<Apply>;
}

pub(super) struct RereadBy<R, A> {
    pub(super) read: R,
    pub(super) apply: Arc<A>,
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
