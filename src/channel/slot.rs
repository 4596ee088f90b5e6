//! Slots for values.

use std::{any::type_name, fmt, marker::PhantomData, sync::Arc};

use super::{address::Address, remote::Remote};

/// A slot for a value that a task will put on its loop.
///
/// See [`Slot::new`], [`Service::slot`](crate::Service::slot) and [`Context::fill`](crate::Context::fill). Clones are
/// the same slot: a task that is recreated at each restart fills it each time. If the last clone is dropped and the
/// slot was never filled, calls that wait there resolve as Stopped.
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
    /// Returns a slot for a value that a task puts on its loop by [`Context::fill`](crate::Context::fill), and its
    /// Remote.
    ///
    /// The Remote is usable right away, from any thread. This is for a task and its handles, which exist before there
    /// is a service; the name is for messages. [`Service::slot`](crate::Service::slot) does the same, and registers the
    /// Remote by its name.
    ///
    /// ```
    /// use std::{cell::Cell, time::Duration};
    /// use interloop::{Service, Slot, Thread, task_fn};
    ///
    /// # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    /// let (slot, count) = Slot::<Cell<u64>>::new("count");
    /// let counted = count.call(|count| count.replace(2));
    /// let mut service = Service::new("counter");
    /// service.task("keeper", task_fn::<Thread>(async move |cx| {
    ///     cx.fill(slot, Cell::new(1));
    ///     Ok(cx.until_shutdown().await)
    /// }));
    /// let running = service.start()?;
    /// assert_eq!(counted.wait_timeout(Duration::from_secs(10)), Ok(1));
    /// running.stop();
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(name: &str) -> (Self, Remote<T>) {
        let address = Address::new(name);
        (Self { place: Arc::new(Place(address.clone())), holds: PhantomData }, Remote::new(address))
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
