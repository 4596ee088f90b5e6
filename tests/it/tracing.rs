//! The feature `tracing`: which span is entered where.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use crate::util::{Latch, SOON, up, watched};
use interloop::{
    Context, Error, RestartPolicy, Service, Thread,
    event_loop::{Foreign, Mailbox, Turn},
    task_fn,
    tasks::{
        Workers,
        queue::{Queue, WorkError},
    },
};
use interloop_test_spans::Spans;
use tracing::{Span, info, info_span};

/// Returns how the span of a task on a loop of its own is shown.
fn task(name: &str, incarnation: u32) -> String {
    format!(r#"task name="{name}" loop="{name}" incarnation={incarnation}"#)
}

#[test]
fn a_task_and_its_children_run_in_a_span_with_its_name_its_loop_and_its_incarnation() {
    watched(|| {
        let heard = Spans::get();
        let mut service = Service::new("test");
        let made = || info!("made");
        let main = move || {
            made();
            task_fn::<Thread>(async |cx| {
                info!("main");
                cx.spawn_local(async { info!("child") }).await?;
                cx.spawn(async { info!("child that is Send") }).await?;
                let step = info_span!("step");
                let child = step.in_scope(|| cx.spawn_local(async { info!("child of a step") }));
                child.await?;
                info!("main again");
                Ok(())
            })
        };
        service.task_with("family", main);
        assert_eq!(service.start().unwrap().join().code, 0);
        for text in ["made", "main", "child", "child that is Send", "main again"] {
            assert_eq!(heard.path(text), task("family", 1), "{text}");
        }
        assert_eq!(heard.path("child of a step"), task("family", 1) + " > step");
    });
}

#[test]
fn what_is_asked_of_another_loop_runs_in_the_span_of_whoever_asks() {
    watched(|| {
        let heard = Spans::get();
        let mut service = Service::new("test");
        let (slot, remote) = service.slot::<u8>("number");
        let keeper = task_fn::<Thread>(async move |cx| {
            cx.fill(slot, 7);
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("asked", keeper);
        let (asks, begun, go) = (remote.clone(), Latch::default(), Latch::default());
        let asker = task_fn::<Thread>(async move |_| {
            asks.call(|_| info!("called by a task")).await?;
            info!("answered");
            Ok(())
        });
        service.task("asker", asker);
        // Also calls that wait for the loop to start.
        let request = info_span!("request", number = 1);
        let early = request.in_scope(|| remote.call(|_| info!("called early")));
        let running = up(service);
        early.wait_timeout(SOON).unwrap();
        let (begins, opened) = (begun.clone(), go.opened());
        let spawned = request.in_scope(|| {
            remote.post(|_| info!("posted")).unwrap();
            remote.spawn(async move |_| {
                info!("spawned");
                begins.open();
                opened.await;
                info!("spawned, later");
            })
        });
        begun.wait();
        go.open();
        spawned.wait_timeout(SOON).unwrap();
        remote.call(|_| info!("called by nobody")).wait_timeout(SOON).unwrap();
        remote.spawn(async |_| info!("spawned by nobody")).wait_timeout(SOON).unwrap();
        assert_eq!(running.stop().code, 0);
        for text in ["called early", "posted", "spawned", "spawned, later"] {
            assert_eq!(heard.path(text), "request number=1", "{text}");
        }
        assert_eq!(heard.path("called by a task"), task("asker", 1));
        assert_eq!(heard.path("answered"), task("asker", 1));
        // Then it is work of the task that owns the value.
        assert_eq!(heard.path("called by nobody"), task("asked", 1));
        assert_eq!(heard.path("spawned by nobody"), task("asked", 1));
    });
}

#[test]
fn a_child_from_a_job_belongs_to_the_trace_of_whoever_posted_it() {
    watched(|| {
        let heard = Spans::get();
        let mut service = Service::new("test");
        let (slot, remote) = service.slot::<Context<Thread>>("context");
        let keeper = task_fn::<Thread>(async move |cx| {
            cx.fill(slot, cx.clone());
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("parent", keeper);
        let running = up(service);
        let told = Latch::default();
        let tell = told.clone();
        info_span!("visit").in_scope(|| {
            remote
                .post(move |cx| {
                    let child = async move {
                        info!("child of a job");
                        tell.open();
                    };
                    cx.spawn_local(child).detach();
                })
                .unwrap();
        });
        told.wait();
        assert_eq!(heard.path("child of a job"), "visit");
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_restart_has_a_span_of_its_own() {
    watched(|| {
        let heard = Spans::get();
        let mut service = Service::new("test");
        let main = || {
            task_fn::<Thread>(async |cx| {
                info!("begins anew");
                if cx.incarnation() == 1 { Err(Error::new("once more")) } else { Ok(()) }
            })
        };
        let policy = RestartPolicy::on_failure().backoff(Duration::ZERO, Duration::ZERO);
        service.task_with("phoenix", main).restart(policy);
        assert_eq!(service.start().unwrap().join().code, 0);
        assert_eq!(heard.paths("begins anew"), [task("phoenix", 1), task("phoenix", 2)]);
        assert!(heard.has_closed(&task("phoenix", 1)) && heard.has_closed(&task("phoenix", 2)));
    });
}

#[test]
fn the_span_of_a_task_ends_with_it_whoever_holds_its_context() {
    watched(|| {
        let heard = Spans::get();
        thread_local!(static KEPT: RefCell<Option<Context<Thread>>> = const { RefCell::new(None) });
        struct Says;
        impl Drop for Says {
            fn drop(&mut self) {
                info!("dropped");
            }
        }
        let mut service = Service::new("test");
        let main = task_fn::<Thread>(async |cx| {
            let _remote = cx.share(Says);
            std::mem::forget(cx.clone());
            KEPT.set(Some(cx));
            Ok(())
        });
        service.task("forgetful", main);
        assert_eq!(service.start().unwrap().join().code, 0);
        assert_eq!(heard.path("dropped"), task("forgetful", 1));
        assert!(heard.has_closed(&task("forgetful", 1)));
    });
}

#[test]
fn who_has_the_answer_holds_the_last_end_of_the_span() {
    watched(|| {
        let heard = Spans::get();
        let mut service = Service::new("test");
        let (slot, remote) = service.slot::<u8>("number");
        let keeper = task_fn::<Thread>(async move |cx| {
            cx.fill(slot, 7);
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("keeper", keeper);
        let running = up(service);
        let reply = info_span!("short call").in_scope(|| remote.call(|number| *number));
        assert_eq!(reply.wait_timeout(SOON), Ok(7));
        assert!(heard.has_closed("short call"));
        let reply = info_span!("short spawn").in_scope(|| remote.spawn(async |number| *number));
        assert_eq!(reply.wait_timeout(SOON), Ok(7));
        assert!(heard.has_closed("short spawn"));
        let reply = info_span!("short panic").in_scope(|| remote.spawn(async |_| panic!("oh")));
        assert!(reply.wait_timeout(SOON).is_err_and(|error: interloop::CallError| error.to_string().contains("oh")));
        assert!(heard.has_closed("short panic"));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_foreign_mailbox_runs_jobs_in_the_span_of_whoever_asks_and_a_panic_leaves_none_behind() {
    watched(|| {
        let heard = Spans::get();
        let mut mailbox = Mailbox::<Foreign>::attach("host");
        let remote = mailbox.share(Cell::new(0));
        info_span!("guest").in_scope(|| {
            remote.post(|_| info!("posted to a host")).unwrap();
            remote.post(|_| panic!("a post")).unwrap();
            remote.call(|_| panic!("a call")).detach();
            remote.spawn(async |_: Rc<Cell<u8>>| panic!("a future")).detach();
        });
        while mailbox.turn() != Turn::Idle {}
        assert_eq!(heard.path("posted to a host"), "guest");
        assert!(Span::current().is_none(), "{:?}", Span::current());
        assert!(heard.has_closed("guest"));
    });
}

#[test]
fn an_item_is_worked_on_in_the_span_of_whoever_submitted_it() {
    watched(|| {
        let heard = Spans::get();
        let mut service = Service::new("test");
        let on_loop = Queue::<Thread, &str>::new(async |item, work| {
            info!("{item}");
            if work.attempt().number() == 1 { Err(WorkError::later("once more").after(Duration::ZERO)) } else { Ok(()) }
        });
        let on_workers = Queue::<Thread, &str>::on_workers(async |item, _| {
            info!("{item}");
            Ok(())
        });
        let blocking = Queue::<Thread, &str>::blocking(|item, _| {
            info!("{item}");
            Ok(())
        });
        let queues = [("looper", on_loop), ("hand", on_workers), ("digger", blocking)];
        let handles = queues.map(|(name, queue)| {
            let handle = queue.handle();
            service.task(name, queue);
            handle
        });
        let [looper, hand, digger] = &handles;
        let order = info_span!("order");
        let replies = order.in_scope(|| {
            let items = [(looper, "on the loop"), (hand, "on workers"), (digger, "on a thread")];
            items.map(|(queue, item)| queue.try_submit(item).unwrap())
        });
        drop(order);
        let nobodys = [(looper, "nobody's, on the loop"), (digger, "nobody's, on a thread")];
        let nobodys = nobodys.map(|(queue, item)| queue.try_submit(item).unwrap());
        let running = up(service);
        replies.into_iter().chain(nobodys).for_each(|reply| reply.wait_timeout(SOON).unwrap());
        assert!(heard.has_closed("order"));
        assert_eq!(running.stop().code, 0);
        assert_eq!(heard.paths("on the loop"), ["order", "order"], "at each attempt");
        assert_eq!(heard.path("on workers"), "order");
        assert_eq!(heard.path("on a thread"), "order");
        assert_eq!(heard.paths("nobody's, on the loop"), [task("looper", 1), task("looper", 1)]);
        assert_eq!(heard.path("nobody's, on a thread"), task("digger", 1));
    });
}

#[test]
fn threads_of_a_task_work_in_the_span_of_whoever_asks() {
    watched(|| {
        let heard = Spans::get();
        let mut service = Service::new("test");
        let main = task_fn::<Thread>(async |cx| {
            let workers = Workers::start(&cx, 1)?;
            workers.run(|| info!("by a thread")).await?;
            let step = info_span!("heavy step");
            step.in_scope(|| workers.run(|| info!("a step by a thread"))).await?;
            workers.finish().await;
            Ok(())
        });
        service.task("boss", main);
        assert_eq!(service.start().unwrap().join().code, 0);
        assert_eq!(heard.path("by a thread"), task("boss", 1));
        assert_eq!(heard.path("a step by a thread"), task("boss", 1) + " > heavy step");
    });
}
