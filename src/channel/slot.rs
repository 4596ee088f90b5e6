//! A place for a value.

use std::{any::type_name, fmt, marker::PhantomData, sync::Arc};

use super::{address::Address, remote::Remote};

/// The place for a value that a task will put on its loop: see [`Slot::new`], [`Service::slot`](crate::Service::slot)
/// and [`Context::fill`](crate::Context::fill).
///
/// A clone stands for the same place: a task that is made anew at each restart fills it each time. When the last clone
/// is dropped and the place was never filled, what waits there resolves as Stopped.
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
    /// A place for a value that a task will put on its loop by [`Context::fill`](crate::Context::fill), and the Remote
    /// that reaches it: usable from now on, from any thread. For a task and its handles, which are there before there
    /// is a service; the name is for messages. [`Service::slot`](crate::Service::slot) is this, and has the Remote
    /// known by its name.
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
