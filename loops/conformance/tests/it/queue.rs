//! Tests of one process take turns, however their harness starts them.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use interloop::{
    EventLoop, NoOptions, Result, Thread,
    event_loop::{Mailbox, Turn},
};
use interloop_conformance::{Subject, base};

static STARTS: AtomicUsize = AtomicUsize::new(0);
static HARNESS: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);

/// A loop beside whose fifth start the harness starts the thread of a further test.
#[derive(Clone, Default)]
struct Crowded;

impl EventLoop for Crowded {
    const NAME: &'static str = "crowded";
    type Options = NoOptions;
    type Native = ();

    fn drive(self, _: NoOptions, mut mailbox: Mailbox<Self>, started: impl FnOnce(&Mailbox<Self>, ())) -> Result {
        if STARTS.fetch_add(1, Ordering::Relaxed) == 5 {
            let further = || base::it_starts_gets_ready_and_stops(&Subject::new(Thread));
            *HARNESS.lock().unwrap() = Some(thread::spawn(further));
        }
        let thread = thread::current();
        mailbox.set_notify(move || thread.unpark());
        started(&mailbox, ());
        loop {
            match mailbox.turn() {
                Turn::Stop => return Ok(()),
                Turn::Again => {}
                Turn::Idle => thread::park(),
            }
        }
    }
}

#[test]
fn a_test_that_waits_for_its_turn_is_no_thread_that_was_left_behind() {
    base::starts_leave_no_thread_no_descriptor_and_no_memory(&Subject::new(Crowded));
    let further = HARNESS.lock().unwrap().take();
    further.expect("the loop was started more than five times").join().expect("the further test passes");
}
