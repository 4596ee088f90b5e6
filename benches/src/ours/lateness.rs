//! How late the runs of a [`Periodic`] are.

use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use interloop::tasks::{MissedTicks, Periodic};
use interloop::{Context, Result, Service, Task, Thread, event_loop::Timers};
use interloop_async_std::AsyncStd;
use interloop_calloop::Calloop;
use interloop_compio::Compio;
use interloop_glib::Glib;
use interloop_mio::Mio;
use interloop_smol::Smol;
use interloop_tokio::Tokio;

use super::hosting::PATIENCE;
use crate::baseline::lateness::{INTERVAL, LATENESS, Ticks, measure};
use crate::suite::Suite;

pub(super) fn register(suite: &mut Suite) {
    for (id, load) in LATENESS {
        suite
            .comparison(id)
            .add_fallible("interloop: Thread", move |n| Ok(measure(load, || ticks(n, Thread))))
            .add_fallible("interloop: Tokio", move |n| Ok(measure(load, || ticks(n, Tokio::default()))))
            .add_fallible("interloop: AsyncStd", move |n| Ok(measure(load, || ticks(n, AsyncStd::default()))))
            .add_fallible("interloop: Smol", move |n| Ok(measure(load, || ticks(n, Smol::default()))))
            .add_fallible("interloop: Compio", move |n| Ok(measure(load, || ticks(n, Compio::default()))))
            .add_fallible("interloop: Glib", move |n| Ok(measure(load, || ticks(n, Glib::private()))))
            .add_fallible("interloop: Calloop", move |n| Ok(measure(load, || ticks(n, Calloop::default()))))
            .add_fallible("interloop: Mio", move |n| Ok(measure(load, || ticks(n, Mio::default()))));
    }
}

/// Takes the first `n` runs.
fn ticks<L: Timers>(n: u32, plan: L) -> Ticks {
    let ((begins, begun), (says, said)) = (channel(), channel());
    // Runs after the last one that counts are not heard.
    let tick = move || _ = says.send(Instant::now());
    let periodic = Periodic::new(INTERVAL, tick).missed_ticks(MissedTicks::Burst);
    let mut service = Service::new("bench");
    service.event_loop("loop", plan);
    service.task_on::<L>("ticks", Begins { task: periodic, begins }).on("loop");
    let running = service.start().expect("the configuration works");
    let begin = begun.recv_timeout(PATIENCE).expect("the task begins");
    let came = (0..n).map(|_| said.recv_timeout(PATIENCE).expect("a run comes")).collect();
    assert_eq!(running.stop().code, 0, "the service stops");
    Ticks { begin, came }
}

/// Reports when the task begins, which is before its ticks do: what the task sets up first counts as lateness of all
/// ticks.
struct Begins<T> {
    task: T,
    begins: Sender<Instant>,
}

impl<L: Timers, T: Task<L>> Task<L> for Begins<T> {
    type Options = T::Options;

    async fn run(&mut self, cx: Context<L, T::Options>) -> Result {
        let _ = self.begins.send(Instant::now());
        self.task.run(cx).await
    }
}
