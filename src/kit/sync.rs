//! The primitives of the mailbox and the shutdown: std's, or loom's when the models run (`--cfg loom`).

#[cfg(loom)]
pub(crate) use loom::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};
#[cfg(not(loom))]
pub(crate) use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

/// Atomics for figures that nothing relies on, always Relaxed: std's in the models too, which they would only enlarge.
pub(crate) mod figure {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
}

/// A fence of all memory accesses, `fence(SeqCst)`: if two threads each write, fence and read, one sees what the other
/// wrote.
///
/// On x86 any locked instruction is one, and takes a fraction of the time of the `mfence` that the compiler would emit.
pub(crate) fn full_fence() {
    #[cfg(all(any(target_arch = "x86", target_arch = "x86_64"), not(loom)))]
    {
        use std::sync::atomic::compiler_fence;

        compiler_fence(Ordering::SeqCst);
        let _ = AtomicBool::new(false).compare_exchange(false, true, Ordering::SeqCst, Ordering::SeqCst);
        compiler_fence(Ordering::SeqCst);
    }
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", loom)))]
    std::sync::atomic::fence(Ordering::SeqCst);
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}

/// Locks, even after a panic under the lock: no invariant of ours spans user code.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
