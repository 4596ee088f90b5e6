//! The thread that drives a loop, as other threads find it.

use crate::kit::sync::{Mutex, lock};

/// The thread that drives a loop now.
#[derive(Debug)]
pub(crate) struct Driver {
    /// Its number in `/proc/self/task`, if the system tells it.
    pub(crate) tid: Option<u32>,
    /// The thread itself, for a signal.
    #[cfg(all(feature = "stall-stacks", target_os = "linux", target_env = "gnu"))]
    pub(crate) thread: nix::sys::pthread::Pthread,
}

impl Driver {
    fn this_thread() -> Self {
        Self {
            tid: tid(),
            #[cfg(all(feature = "stall-stacks", target_os = "linux", target_env = "gnu"))]
            thread: nix::sys::pthread::pthread_self(),
        }
    }
}

/// The place of a loop's [`Driver`], empty while no thread drives the loop.
#[derive(Debug, Default)]
pub(crate) struct DriverSlot(Mutex<Option<Driver>>);

impl DriverSlot {
    /// Declares that this thread drives the loop until the guard is dropped.
    pub(crate) fn enter(&self) -> impl Drop + '_ {
        struct Guard<'a>(&'a DriverSlot);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                *lock(&self.0.0) = None;
            }
        }
        *lock(&self.0) = Some(Driver::this_thread());
        Guard(self)
    }

    /// Calls `f` with the thread that drives the loop, which can't end before `f` has returned.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&Driver) -> R) -> Option<R> {
        lock(&self.0).as_ref().map(f)
    }
}

#[cfg(target_os = "linux")]
fn tid() -> Option<u32> {
    std::fs::read_link("/proc/thread-self").ok()?.file_name()?.to_str()?.parse().ok()
}

#[cfg(not(target_os = "linux"))]
fn tid() -> Option<u32> {
    None
}
