//! Loops that wake by nature, at a beat of their own: those that [say so](Subject::with_beat). Each check's name says
//! what it checks.

#![allow(missing_docs, reason = "the names are sentences")]

use std::time::Instant;

use interloop::EventLoop;

use crate::{
    process::SystemThread,
    scene::{Subject, down, expect, up, waits, watchdog},
};

/// Checks calls from another thread that come right after a beat, once the loop rests. A loop that is woken answers at
/// once; a loop that looks at its mailbox only when it beats answers after a whole beat.
pub fn a_call_does_not_wait_for_the_beat<L: EventLoop>(subject: &Subject<L>) {
    const CALLS: usize = 15;
    let (_watchdog, long) = (watchdog(), subject.patience());
    let beat = subject.beat().expect("the subject has a beat");
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    service.task("waits", waits::<L>());
    let running = up(service, long);
    let thread = remote.call(|_| SystemThread::current()).wait_timeout(long);
    let thread = thread.unwrap_or_else(|error| panic!("the loop does not answer: {error}")).with(Some(beat));
    let call = || {
        thread.wait_for_rest(long);
        let begun = Instant::now();
        expect(remote.call(|_| 1).wait_timeout(long), Ok(1), "the loop does not answer");
        begun.elapsed()
    };
    // On a busy machine some calls are late.
    let middle = || {
        let mut took = std::array::from_fn::<_, CALLS, _>(|_| call());
        took.sort_unstable();
        took[CALLS / 2]
    };
    let mut least = middle();
    for _ in 0..2 {
        if least >= beat / 4 {
            least = least.min(middle());
        }
    }
    assert!(least < beat / 4, "calls wait for the loop's beat of {beat:?}: for {least:?} in the middle");
    down(running);
}
