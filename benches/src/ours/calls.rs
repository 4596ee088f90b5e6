//! Calls through a [`Remote`](interloop::Remote).

use std::cell::Cell;
use std::sync::mpsc::channel;
use std::time::Duration;

use interloop::{EventLoop, Remote, Service, Thread, task_fn};
use interloop_glib::Glib;
use interloop_tokio::Tokio;

use super::hosting::{Hosted, PATIENCE, host};
use crate::baseline::{CALL, FUTEX, time_async_calls, time_calls};
use crate::pin::{Cpus, run_on};
use crate::suite::{Bound, Suite};

pub(super) fn register(suite: &mut Suite) {
    let calls = suite.comparison(CALL);
    calls
        .add("interloop: thread to Thread", |n| from_thread(n, Thread))
        .add("interloop: thread to Tokio", |n| from_thread(n, Tokio::default()))
        .add("interloop: thread to Glib", |n| from_thread(n, Glib::default()))
        .add("interloop: thread to Glib::private", |n| from_thread(n, Glib::private()))
        .add("interloop: Tokio to Tokio", |n| from_loop(n, Tokio::default(), Tokio::default()))
        .add("interloop: Tokio to Glib", |n| from_loop(n, Tokio::default(), Glib::default()))
        .add("interloop: Glib to Tokio", |n| from_loop(n, Glib::default(), Tokio::default()))
        .add("interloop: thread to Tokio, a future spawned and awaited", |n| spawns(n, Tokio::default()))
        .add("interloop: thread to Glib, a future spawned and awaited", |n| spawns(n, Glib::default()));
    for (ours, by_hand, floor) in [
        ("interloop: thread to Thread", "thread to thread: std channels", 1.5),
        ("interloop: thread to Tokio", "thread to tokio: mpsc, oneshot", 1.5),
        ("interloop: thread to Glib", "thread to glib: async-channel, oneshot", 1.6),
        ("interloop: thread to Glib::private", "thread to glib: async-channel, oneshot", 1.6),
        ("interloop: Tokio to Tokio", "tokio to tokio: mpsc, oneshot", 1.5),
        ("interloop: Tokio to Glib", "tokio to glib: async-channel, oneshot", 1.6),
        ("interloop: Glib to Tokio", "glib to tokio: mpsc, oneshot", 1.6),
    ] {
        calls.claim(ours, FUTEX, Bound::CostAtMost(floor)).claim(ours, by_hand, Bound::CostAtMost(1.0));
    }
}

/// The value that is called: it answers, and lives on its loop.
type Asked = Cell<u64>;

fn answer(asked: &Asked, value: u64) -> u64 {
    asked.set(asked.get() + 1);
    value + 1
}

/// Makes `n` calls from a thread without a loop.
fn from_thread<L: EventLoop>(n: u32, plan: L) -> Duration {
    run_on(Cpus::get().first, move || {
        let peer = Hosted::start(plan, Asked::default);
        time_calls(n, |value| {
            peer.remote.call(move |asked| answer(asked, value)).wait_timeout(PATIENCE).expect("the peer answers")
        })
    })
}

/// Spawns `n` futures from a thread without a loop.
fn spawns<L: EventLoop>(n: u32, plan: L) -> Duration {
    run_on(Cpus::get().first, move || {
        let peer = Hosted::start(plan, Asked::default);
        time_calls(n, |value| {
            let reply = peer.remote.spawn(async move |asked| answer(&asked, value));
            reply.wait_timeout(PATIENCE).expect("the peer answers")
        })
    })
}

/// Makes `n` calls from a task on one loop to another loop.
pub(super) fn from_loop<From: EventLoop, To: EventLoop>(n: u32, from: From, to: To) -> Duration {
    called_from(n, from, Box::new(|service| host(service, to, Asked::default)))
}

/// Adds the value to the service, on its loop.
type Host = Box<dyn FnOnce(&mut Service) -> Remote<Asked> + Send>;

/// Knows only one of the two loops: else it would be compiled for each pair of them.
fn called_from<From: EventLoop>(n: u32, from: From, host: Host) -> Duration {
    run_on(Cpus::get().first, move || {
        let mut service = Service::new("bench");
        let remote = host(&mut service);
        let (found, finding) = channel();
        service.event_loop("caller", from);
        let task = task_fn::<From>(async move |cx| {
            cx.ready();
            let call = async |value| remote.call(move |asked| answer(asked, value)).await.expect("the peer answers");
            let _ = found.send(time_async_calls(n, call).await);
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("caller", task).on("caller").requires("host");
        let running = service.start().expect("the configuration works");
        let elapsed = finding.recv().expect("the caller says how long it took");
        assert_eq!(running.stop().code, 0, "the service stops");
        elapsed
    })
}
