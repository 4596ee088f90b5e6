//! A place for a value.

use std::{any::type_name, fmt, marker::PhantomData, sync::Arc};

use super::address::Address;

/// The place for a value that a task will put on its loop: see [`Service::slot`](crate::Service::slot) and [`Context::fill`](crate::Context::fill).
///
/// A clone stands for the same place: a task that is made anew at each restart fills it each time. When the last clone is dropped and the place was
/// never filled, what waits there resolves as Stopped.
pub struct Slot<T> {
    place: Arc<Place>,
    holds: PhantomData<fn(T)>,
}

struct Place(Arc<Address>);

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.loop_().is_none() {
            self.0.close();
        }
    }
}

impl<T: 'static> Slot<T> {
    pub(crate) fn new(address: Arc<Address>) -> Self {
        Self { place: Arc::new(Place(address)), holds: PhantomData }
    }

    pub(crate) fn address(&self) -> &Arc<Address> {
        &self.place.0
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self { place: self.place.clone(), holds: PhantomData }
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("type", &type_name::<T>()).field("address", &self.place.0).finish()
    }
}
