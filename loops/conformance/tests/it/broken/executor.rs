//! An executor of a loop's own, with one thing wrong.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
    thread::Thread,
};

use interloop::channel::LocalFuture;

use super::{elsewhere, faults::Fault, parked::leak};

pub(crate) struct Executor {
    fault: Fault,
    futures: RefCell<HashMap<usize, (LocalFuture, Arc<Woken>)>>,
    spawned: Cell<usize>,
    ready: Arc<Ready>,
}

struct Ready {
    queue: Mutex<VecDeque<usize>>,
    thread: Thread,
}

struct Woken {
    fault: Fault,
    id: usize,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        if self.fault == Fault::StopsWaking {
            return;
        }
        if self.queued.swap(true, Ordering::AcqRel) && self.fault != Fault::PollsOnceAWake {
            return;
        }
        self.ready.queue.lock().unwrap().push_back(self.id);
        self.ready.thread.unpark();
    }
}

impl Executor {
    pub(crate) fn new(fault: Fault, thread: Thread) -> Self {
        let ready = Arc::new(Ready { queue: Mutex::default(), thread });
        Self { fault, futures: RefCell::default(), spawned: Cell::new(0), ready }
    }

    pub(crate) fn spawn(&self, future: LocalFuture) {
        let id = self.spawned.get();
        self.spawned.set(id + 1);
        if self.fault == Fault::ForgetsEverySecondFuture && id % 2 == 1 {
            return std::mem::forget(future);
        }
        leak(self.fault);
        let woken = Arc::new(Woken { fault: self.fault, id, queued: AtomicBool::new(true), ready: self.ready.clone() });
        self.futures.borrow_mut().insert(id, (future, woken));
        self.ready.queue.lock().unwrap().push_back(id);
    }

    /// Polls the futures that are ready; returns whether there are more.
    pub(crate) fn run(&self) -> bool {
        let rounds = self.ready.queue.lock().unwrap().len();
        for _ in 0..rounds {
            let Some(id) = self.ready.queue.lock().unwrap().pop_front() else { break };
            let Some((mut future, woken)) = self.futures.borrow_mut().remove(&id) else { continue };
            woken.queued.store(false, Ordering::Release);
            let waker = Waker::from(woken.clone());
            let mut poll = || future.as_mut().poll(&mut Context::from_waker(&waker));
            let polled = if self.fault == Fault::PollsOnOtherThreads { elsewhere::run("other", poll) } else { poll() };
            if polled.is_pending() {
                self.futures.borrow_mut().insert(id, (future, woken));
            }
        }
        !self.ready.queue.lock().unwrap().is_empty()
    }
}
