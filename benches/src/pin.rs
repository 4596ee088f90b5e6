//! Threads that stay on one CPU.

use std::io;
use std::thread::{Builder, JoinHandle};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The CPUs that measurements use.
#[derive(Clone, Copy, Debug)]
pub struct Cpus {
    /// The CPU of the measured code; and of all code, if it must run on one CPU.
    pub first: usize,
    /// The CPU of the code that drives the measured code, so that it doesn't get in the way; the same as `first` if
    /// there is only one.
    pub second: usize,
}

impl Cpus {
    /// Returns the first two CPUs that this thread may use.
    pub fn get() -> Self {
        let allowed = sched_getaffinity(None).expect("a thread may ask for its own affinity");
        let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
        let first = cpus.next().expect("a thread may use one CPU at least");
        Self { first, second: cpus.next().unwrap_or(first) }
    }
}

/// Runs `f` on a new thread that stays on that CPU. Its threads and processes stay there too.
pub fn spawn_on<R: Send + 'static>(cpu: usize, f: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
    let pinned = move || {
        let mut set = CpuSet::new();
        set.set(cpu);
        sched_setaffinity(None, &set).map_err(io::Error::from).expect("a thread may stay on a CPU it was allowed");
        f()
    };
    Builder::new().spawn(pinned).expect("a thread can be started")
}

/// Does the same as [`spawn_on`], and joins the thread; a panic continues here.
pub fn run_on<R: Send + 'static>(cpu: usize, f: impl FnOnce() -> R + Send + 'static) -> R {
    spawn_on(cpu, f).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
