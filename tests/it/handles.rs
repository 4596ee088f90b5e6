//! Handles: how one task reaches another.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::util::{Log, quiet_resident, up, watched};
use interloop::{
    Context, EventLoop, NoOptions, Result, Service, State, Task, Thread,
    task::{Offer, TaskHandle, TaskRef},
};

/// Counts on behalf of the holders of its handle.
#[derive(Clone, Default)]
struct Tally {
    task: TaskRef,
    count: Arc<AtomicUsize>,
}

impl TaskHandle for Tally {
    fn task(&self) -> &TaskRef {
        &self.task
    }
}

/// Another type of handle.
#[derive(Clone, Debug, Default)]
struct Other(TaskRef);

impl TaskHandle for Other {
    fn task(&self) -> &TaskRef {
        &self.0
    }
}

struct Counting {
    tally: Tally,
    log: Log,
}

impl<L: EventLoop> Task<L> for Counting {
    type Options = NoOptions;

    async fn run(&mut self, cx: Context<L>) -> Result {
        self.log.say("counting begins");
        cx.until_shutdown().await;
        self.log.say("counting ends");
        Ok(())
    }

    fn offer(&self) -> Option<Offer> {
        Some(Offer::new(&self.tally))
    }
}

#[test]
fn a_handle_is_there_before_the_start_and_orders_start_and_stop() {
    watched(|| {
        let (mut service, log, tally) = (Service::new("test"), Log::default(), Tally::default());
        let (user, l) = (tally.clone(), log.clone());
        // Added before the task that it uses.
        let uses = interloop::task_fn::<Thread>(async move |cx| {
            l.say("use begins");
            user.count.fetch_add(1, Ordering::Relaxed);
            cx.until_shutdown().await;
            l.say("use ends");
            Ok(())
        });
        service.task("user", uses).uses(&tally);
        assert_eq!(tally.task().name(), None);
        service.task_on::<Thread>("tally", Counting { tally: tally.clone(), log: log.clone() });
        assert_eq!(tally.task().name(), Some("tally"));
        let early = service.handle().task_handle::<Tally>("tally").expect("there before the start");
        let running = up(service);
        assert_eq!(early.count.load(Ordering::Relaxed), 1);
        assert_eq!(running.stop().code, 0);
        assert_eq!(log.lines(), ["counting begins", "use begins", "use ends", "counting ends"]);
    });
}

#[test]
fn a_task_that_chooses_its_loop_or_is_made_anew_offers_its_handle_too() {
    watched(|| {
        let (mut service, log, tally) = (Service::new("test"), Log::default(), Tally::default());
        service.task_any::<(Thread,)>("chooses", Counting { tally: tally.clone(), log: log.clone() });
        let anew = Tally::default();
        let shared = anew.clone();
        service.task_with::<Thread>("anew", move || Counting { tally: shared.clone(), log: log.clone() }).offers(&anew);
        service.task("user", quiet_resident::<Thread>()).uses(&tally).uses(&anew);
        let running = up(service);
        for name in ["chooses", "anew"] {
            running.task_handle::<Tally>(name).unwrap_or_else(|error| panic!("{error}"));
        }
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_wrong_name_or_type_is_named() {
    let (mut service, log) = (Service::new("test"), Log::default());
    service.task_on::<Thread>("tally", Counting { tally: Tally::default(), log });
    let handle = service.handle();
    let error = handle.task_handle::<Tally>("tallly").map(drop).expect_err("there is none");
    assert_eq!(error.to_string(), "no handle of type it::handles::Tally of task tallly; there is one of task tally");
    let error = handle.task_handle::<Other>("tally").expect_err("there is none");
    assert_eq!(
        error.to_string(),
        "no handle of type it::handles::Other of task tally (it offers a it::handles::Tally)"
    );
}

#[test]
fn a_handle_that_leads_nowhere_or_to_two_tasks_is_refused() {
    let mut service = Service::new("test");
    service.task("user", quiet_resident::<Thread>()).uses(&Other::default());
    let error = service.start().expect_err("nobody offers it");
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        (78, "test: task user uses a it::handles::Other that no task offers")
    );

    let (mut service, other) = (Service::new("test"), Other::default());
    service.task("one", quiet_resident::<Thread>()).offers(&other);
    service.task("two", quiet_resident::<Thread>()).offers(&other);
    let error = service.start().expect_err("two offer it");
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        (78, "test: task two offers a it::handles::Other that leads to task one")
    );
}

#[test]
fn a_tasks_state_is_had_without_asking_gauges() {
    watched(|| {
        let mut service = Service::new("one");
        service.task("waits", quiet_resident::<Thread>());
        service.handle().meter().gauge_from("asked", || panic!("it is asked"));
        let running = up(service);
        assert_eq!(running.task_state("waits"), Some(State::Running));
        assert_eq!(running.task_state("nobody"), None);
        let handle = running.handle().clone();
        running.request_shutdown("enough");
        running.join();
        assert_eq!(handle.task_state("waits"), Some(State::Stopped));
    });
}
