//! Values that are not `Send` live and die on the loop's thread, whoever holds Remotes, Replies and wakers elsewhere,
//! and for however long.

use std::{
    any::Any,
    cell::RefCell,
    future::{Future, poll_fn},
    sync::{Mutex, PoisonError, mpsc},
    task::{Poll, Waker},
    time::Duration,
};

use interloop::{CallError, Context, EventLoop, Remote, State, task_fn};

use super::leaks::until;
use crate::scene::{Drops, Subject, Witness, down, expect, up, watchdog};

/// Collects the wakers of futures that are on a loop, or were: the check's thread holds them.
#[derive(Clone)]
struct Wakers(mpsc::Sender<Waker>);

impl Wakers {
    /// Returns a future that waits for ever, and whose waker is held elsewhere.
    fn pending(&self) -> impl Future<Output = ()> + use<> {
        let wakers = self.0.clone();
        poll_fn(move |cx| {
            let _ = wakers.send(cx.waker().clone());
            Poll::Pending
        })
    }
}

/// Holds children, values and futures that are not `Send`, in a task. The thread keeps a Context of the task beyond the
/// task's end.
async fn holds<L: EventLoop>(cx: Context<L>, drops: Drops, wakers: Wakers, shared: mpsc::Sender<Remote<Witness>>) {
    thread_local!(static KEPT: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) });
    KEPT.with(|kept| kept.borrow_mut().push(Box::new(cx.clone())));
    let (in_child, pending) = (Witness::new(&drops), wakers.pending());
    cx.spawn_local(async move {
        let _in_child = in_child;
        pending.await;
    })
    .detach();
    let _ = shared.send(cx.share(Witness::new(&drops)));
    let in_task = Witness::new(&drops);
    cx.until_shutdown().await;
    // The value is used where it was made.
    let _ = in_task.is_at_home();
}

/// 1 in the task, 1 in its child, 1 shared, 1 in a future sent there.
const HELD: usize = 4;

fn drops_on_the_loop<L: EventLoop>(
    subject: &Subject<L>,
    shutdown_timeout: Option<Duration>,
    task: impl AsyncFnOnce(Context<L>) -> interloop::Result + Send + 'static,
    code: u8,
) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let drops = Drops::default();
    let ((sender, shared), (wakers, woken)) = (mpsc::channel(), mpsc::channel());
    let wakers = Wakers(wakers);
    let mut service = shutdown_timeout.map_or_else(|| subject.service(), |time| subject.service_within(time));
    let (held, in_task) = (drops.clone(), wakers.clone());
    service
        .task(
            "holder",
            task_fn::<L>(async move |cx| {
                holds(cx.clone(), held, in_task, sender).await;
                task(cx).await
            }),
        )
        .stop_timeout(if code == 124 { Duration::from_millis(100) } else { long });
    let running = up(service, long);
    // The Remote is held here, beyond the end of all.
    let remote = shared.recv_timeout(long).expect("the task is ready, and has shared it before");
    let (in_future, pending) = (drops.clone(), wakers.pending());
    drop(wakers);
    let reply = remote.spawn(move |_| async move {
        let _in_future = Witness::new(&in_future);
        pending.await;
    });
    let used = remote.call(Witness::is_at_home).wait_timeout(long);
    assert!(used.is_ok(), "a value is not reached: {used:?}");
    let report = running.stop();
    drops.check(HELD);
    assert_eq!(used, Ok(true), "a value is not where it was made");
    assert!(report.stuck.is_empty(), "{report}");
    assert_eq!(report.code, code, "{report}");
    expect(reply.wait_timeout(long), Err(CallError::Cancelled), "the Reply of a future that is gone is not told so");
    assert!(remote.post(|_| ()).is_err(), "a value that is gone took a post");
    // Waking a future that is gone has no effect.
    woken.try_iter().for_each(Waker::wake);
    drops.check(HELD);
}

pub fn what_is_not_send_is_dropped_on_its_thread_at_a_stop<L: EventLoop>(subject: &Subject<L>) {
    drops_on_the_loop::<L>(subject, None, async |_| Ok(()), 0);
}

/// A task that ignores the stop.
async fn disobeys<L: EventLoop>(_: Context<L>) -> interloop::Result {
    std::future::pending().await
}

pub fn what_is_not_send_is_dropped_on_its_thread_at_a_cancel<L: EventLoop>(subject: &Subject<L>) {
    drops_on_the_loop::<L>(subject, None, disobeys, 124);
}

/// Checks a stop that leaves no time: everything is cancelled at once, as by a second signal.
pub fn what_is_not_send_is_dropped_on_its_thread_at_a_hard_stop<L: EventLoop>(subject: &Subject<L>) {
    drops_on_the_loop::<L>(subject, Some(Duration::from_millis(1)), disobeys, 124);
}

pub fn what_is_not_send_is_dropped_on_its_thread_at_a_panic<L: EventLoop>(subject: &Subject<L>) {
    drops_on_the_loop::<L>(subject, None, async |_| panic!("in the task"), 1);
}

pub fn what_is_not_send_is_dropped_on_its_thread_at_a_panic_in_a_drop<L: EventLoop>(subject: &Subject<L>) {
    struct Falls;
    impl Drop for Falls {
        fn drop(&mut self) {
            panic!("in a drop");
        }
    }
    let task = async |_| {
        let _falls = Falls;
        Ok(())
    };
    drops_on_the_loop::<L>(subject, None, task, 1);
}

pub fn what_is_not_send_is_dropped_on_its_thread_at_a_restart<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let drops = Drops::default();
    let ((sender, shared), (wakers, woken)) = (mpsc::channel(), mpsc::channel());
    let given = Mutex::new((drops.clone(), Wakers(wakers), sender));
    let mut service = subject.service();
    service.task_with("holder", move || {
        let (held, wakers, sender) = given.lock().unwrap_or_else(PoisonError::into_inner).clone();
        task_fn::<L>(async move |cx| {
            holds(cx, held, wakers, sender).await;
            Ok(())
        })
    });
    let running = up(service, long);
    let mut remotes = Vec::new();
    for incarnation in 2..=4 {
        remotes.push(shared.recv_timeout(long).expect("each incarnation shares one"));
        running.restart_task("holder").expect("there is such a task");
        until(&running, long, |t| t.incarnation == incarnation && t.to == State::Running);
    }
    drops.check(3 * (HELD - 1));
    down(running);
    drops.check(4 * (HELD - 1));
    woken.try_iter().for_each(Waker::wake);
}
