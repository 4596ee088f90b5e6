//! Runs on another thread what must not leave its own. A loop can do that with C libraries, and by `unsafe`, as here:
//! some checks look for it.

#![allow(unsafe_code, reason = "a loop that breaks its word can't be written without")]

use std::thread;

/// Moves a value of any type to another thread.
struct Smuggled<T>(T);

// SAFETY: `run` alone uses it. It hands the value over by starting the thread and takes the result back by joining it;
// in between the caller is blocked. So no value in it is ever used by two threads at once, and each thread sees what
// the other did. A value that depends on its thread does not like this; that is the point.
unsafe impl<T> Send for Smuggled<T> {}

impl<T> Smuggled<T> {
    /// This is a method: a closure that named the field would capture that alone.
    fn open(self) -> T {
        self.0
    }
}

/// Runs this on a fresh thread, to its end.
pub(crate) fn run<R>(name: &str, f: impl FnOnce() -> R) -> R {
    let f = Smuggled(f);
    let name = name.to_owned();
    let result = thread::scope(|scope| {
        let spawned = thread::Builder::new().name(name).spawn_scoped(scope, move || Smuggled(f.open()()));
        spawned.expect("a thread").join()
    });
    match result {
        Ok(result) => result.open(),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
