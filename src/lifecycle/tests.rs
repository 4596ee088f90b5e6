//! The rules, one by one, with a clock that is a number.

use std::time::Duration;

use super::{
    Action::{self, *},
    Ending, Event, Lifecycle, LoopPlan, Mutant, Outcome, Plan, RestartPolicy, TaskId, TaskPlan,
};
use crate::words::state::{
    Cause,
    Reason::{self, *},
    State::{self, *},
};

const TERM: i32 = 15;
const INT: i32 = 2;

/// A service under test: its clock in milliseconds, and all its actions.
struct Rig {
    life: Lifecycle,
    now: u64,
    said: Vec<Action>,
}

fn task(name: &str, requires: &[TaskId]) -> TaskPlan {
    TaskPlan {
        name: name.into(),
        event_loop: 0,
        requires: requires.to_vec(),
        after: Vec::new(),
        last: false,
        start_timeout: seconds(30),
        stop_timeout: seconds(10),
        restart: RestartPolicy::never(),
        restartable: true,
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn restarting(name: &str, requires: &[TaskId], restart: RestartPolicy) -> TaskPlan {
    TaskPlan { restart, ..task(name, requires) }
}

fn last(name: &str) -> TaskPlan {
    TaskPlan { last: true, ..task(name, &[]) }
}

fn steady() -> RestartPolicy {
    let mut policy = RestartPolicy::on_failure().backoff(seconds(1), seconds(4)).limit(3, seconds(60));
    policy.jitter = 0.0;
    policy
}

fn plan(tasks: Vec<TaskPlan>) -> Plan {
    let loops = 1 + tasks.iter().map(|task| task.event_loop).max().unwrap_or(0);
    Plan {
        tasks,
        loops: (0..loops)
            .map(|n| LoopPlan { name: format!("loop{n}").into(), restart: RestartPolicy::never() })
            .collect(),
        drain_delay: Duration::ZERO,
        shutdown_timeout: seconds(25),
        seed: 1,
    }
}

impl Rig {
    fn new(plan: Plan) -> Self {
        Self { life: Lifecycle::new(plan), now: 0, said: Vec::new() }
    }

    /// Returns a started rig, with all its loops.
    fn started(plan: Plan) -> Self {
        let loops = plan.loops.len();
        let mut rig = Self::new(plan);
        rig.does(Event::Start);
        (0..loops).for_each(|id| drop(rig.does(Event::LoopStarted(id, 1))));
        rig
    }

    /// Returns a started rig in which every task that gets its turn is ready.
    fn up(plan: Plan) -> Self {
        let mut rig = Self::started(plan);
        while let Some(id) = (0..rig.life.tasks()).find(|&id| rig.life.state(id) == Starting) {
            rig.ready(id);
        }
        rig
    }

    fn does(&mut self, event: Event) -> Vec<Action> {
        let actions = self.life.handle(Duration::from_millis(self.now), event);
        self.said.extend(actions.iter().cloned());
        actions
    }

    fn ready(&mut self, id: TaskId) -> Vec<Action> {
        self.does(Event::TaskReady(id, self.life.incarnation(id)))
    }

    fn ends(&mut self, id: TaskId, outcome: Outcome) -> Vec<Action> {
        self.does(Event::TaskEnded(id, self.life.incarnation(id), outcome))
    }

    fn fails(&mut self, id: TaskId) -> Vec<Action> {
        self.ends(id, Outcome::Error("boom".into()))
    }

    fn stop(&mut self) -> Vec<Action> {
        self.does(Event::ShutdownRequested("enough".into()))
    }

    fn at(&mut self, ms: u64) -> Vec<Action> {
        self.now = ms;
        self.does(Event::Tick)
    }

    fn states(&self) -> Vec<State> {
        (0..self.life.tasks()).map(|id| self.life.state(id)).collect()
    }

    fn due_at(&self) -> Option<u64> {
        self.life.next_deadline().map(|at| at.as_millis() as u64)
    }

    fn ending(&self) -> Ending {
        match self.said.last() {
            Some(Finished(ending)) => ending.clone(),
            other => panic!("not finished, but {other:?}"),
        }
    }

    /// Lets all live tasks and then the loops end, as soon as they are asked.
    fn winds_down(&mut self) -> Ending {
        for _ in 0..self.life.tasks() {
            for id in 0..self.life.tasks() {
                if self.life.state(id) == State::Stopping {
                    self.ends(id, Outcome::Ok);
                }
            }
        }
        for action in self.said.clone() {
            if let StopLoop(id, incarnation, ..) = action {
                self.does(Event::LoopEnded(id, incarnation, Ok(())));
            }
        }
        self.ending()
    }

    fn cause(&self, id: TaskId) -> Cause {
        let name = self.life.name(id);
        let of = |action: &Action| matches!(action, Transition(step) if step.task == name);
        match self.said.iter().rfind(|&action| of(action)) {
            Some(Transition(step)) => step.cause.clone(),
            _ => panic!("{name} never moved"),
        }
    }
}

fn asked(actions: &[Action]) -> Vec<TaskId> {
    actions.iter().filter_map(|action| if let AskTask(id, ..) = action { Some(*id) } else { None }).collect()
}

fn begun(actions: &[Action]) -> Vec<TaskId> {
    actions.iter().filter_map(|action| if let StartTask(id, _) = action { Some(*id) } else { None }).collect()
}

fn reason(actions: &[Action]) -> Option<Reason> {
    actions.iter().find_map(|action| if let Action::Stopping(reason) = action { Some(reason.clone()) } else { None })
}

#[test]
fn a_stop_requested_before_the_start_starts_nothing() {
    let mut rig = Rig::new(plan(vec![task("a", &[])]));
    assert_eq!(rig.stop(), []);
    let actions = rig.does(Event::Start);
    assert!(begun(&actions).is_empty());
    assert!(!actions.contains(&StartLoop(0, 1)));
    assert_eq!((rig.ending().code(), rig.cause(0)), (0, Cause::NeverStarted));
}

#[test]
fn stale_and_unknown_events_are_ignored() {
    let mut rig = Rig::up(plan(vec![task("a", &[])]));
    for event in [
        Event::TaskEnded(0, 7, Outcome::Ok),
        Event::TaskReady(0, 1),
        Event::TaskReady(9, 1),
        Event::StopTask(9),
        Event::LoopStarted(0, 1),
        Event::LoopEnded(3, 1, Ok(())),
        Event::Start,
        Event::Tick,
    ] {
        assert_eq!(rig.does(event.clone()), [], "{event:?}");
    }
}

#[test]
fn tasks_start_as_soon_as_their_loop_and_dependencies_allow() {
    let mut plan = plan(vec![task("db", &[]), task("http", &[0]), task("other", &[])]);
    plan.tasks[2].after = vec![1];
    let mut rig = Rig::new(plan);
    assert_eq!(rig.does(Event::Start), [StartLoop(0, 1)]);
    assert_eq!(begun(&rig.does(Event::LoopStarted(0, 1))), [0]);
    assert_eq!(begun(&rig.ready(0)), [1]);
    assert_eq!(begun(&rig.ready(1)), [2]);
    assert_eq!(rig.ready(2)[1..], [SetReady(true), AllStarted]);
}

#[test]
fn a_one_shot_that_ends_before_it_is_ready_was_ready() {
    let mut rig = Rig::started(plan(vec![task("migrate", &[]), task("http", &[0])]));
    let actions = rig.ends(0, Outcome::Ok);
    let steps: Vec<_> = actions.iter().filter_map(|a| if let Transition(t) = a { Some(t.to) } else { None }).collect();
    assert_eq!(steps, [Running, Stopped, Starting]);
    assert_eq!(begun(&actions), [1]);
}

#[test]
fn a_failed_start_stops_what_was_started_and_nothing_else() {
    let mut rig = Rig::started(plan(vec![task("db", &[]), task("cache", &[0]), task("http", &[1])]));
    rig.ready(0);
    let actions = rig.fails(1);
    assert_eq!(asked(&actions), [0]);
    assert_eq!(reason(&actions), Some(TaskFailed("cache".into())));
    assert_eq!((rig.life.state(2), rig.cause(2)), (Stopped, Cause::NeverStarted));
    assert_eq!(rig.winds_down().code(), 1);
}

#[test]
fn a_start_that_takes_too_long_is_cancelled_and_has_failed() {
    let mut rig = Rig::started(plan(vec![task("db", &[])]));
    // Before that, it is reported.
    assert_eq!(rig.due_at(), Some(5_000));
    assert_eq!(rig.at(5_000), [SlowStart(0, seconds(5), vec![])]);
    assert_eq!(rig.due_at(), Some(30_000));
    assert_eq!(rig.at(30_000), [CancelTask(0, 1)]);
    rig.ends(0, Outcome::Dropped);
    assert_eq!((rig.life.state(0), rig.cause(0)), (Failed, Cause::StartTimeout(seconds(30))));
    assert_eq!(rig.winds_down().code(), 1);
}

#[test]
fn whoever_is_asked_before_it_is_ready_just_stops() {
    for outcome in [Outcome::Ok, Outcome::Error("late".into()), Outcome::Dropped, Outcome::Skip("no".into())] {
        let mut rig = Rig::started(plan(vec![task("a", &[])]));
        rig.stop();
        rig.ends(0, outcome);
        assert_eq!((rig.life.state(0), rig.cause(0)), (Stopped, Cause::Ended));
        assert_eq!(rig.winds_down().code(), 0);
    }
}

fn suspect() -> Outcome {
    Outcome::Suspect("sleep was ended by signal 15".into())
}

#[test]
fn an_error_that_a_stop_explains_is_part_of_a_stop_within_200_ms() {
    for (pause, code) in [(0, 0), (1, 0), (200, 0), (201, 1)] {
        let mut rig = Rig::up(plan(vec![task("child", &[]), task("other", &[])]));
        assert_eq!(rig.ends(0, suspect()), []);
        assert_eq!((rig.life.state(0), rig.due_at()), (Running, Some(200)));
        if pause > 200 {
            rig.at(200);
        }
        rig.now = pause;
        rig.does(Event::ShutdownRequested(Signal(TERM)));
        let (state, cause) = match code {
            0 => (Stopped, Cause::PartOfStop("sleep was ended by signal 15".into())),
            _ => (Failed, Cause::Error("sleep was ended by signal 15".into())),
        };
        assert_eq!((rig.life.state(0), rig.cause(0)), (state, cause), "after {pause} ms");
        assert_eq!(rig.winds_down().code(), code, "after {pause} ms");
    }
}

#[test]
fn an_error_that_a_stop_explains_is_a_failure_when_none_comes() {
    let mut rig = Rig::up(plan(vec![task("child", &[])]));
    rig.ends(0, suspect());
    assert_eq!(rig.at(199), []);
    let actions = rig.at(200);
    assert_eq!(reason(&actions), Some(TaskFailed("child".into())));
    assert_eq!((rig.life.state(0), rig.winds_down().code()), (Failed, 1));
}

#[test]
fn an_error_that_a_stop_explains_is_part_of_the_stop_while_the_service_drains_and_after() {
    let mut drains = plan(vec![task("child", &[]), task("other", &[])]);
    drains.drain_delay = seconds(5);
    let mut rig = Rig::up(drains);
    rig.does(Event::ShutdownRequested(Signal(TERM)));
    rig.ends(0, suspect());
    assert_eq!(rig.states(), [Stopped, Running]);
    rig.at(5000);
    rig.ends(1, suspect());
    assert_eq!(rig.states(), [Stopped, Stopped]);
    assert_eq!(rig.winds_down().code(), 0);
}

#[test]
fn another_failure_is_no_stop_that_explains_an_error() {
    let mut rig = Rig::up(plan(vec![task("child", &[]), task("other", &[])]));
    rig.ends(0, suspect());
    rig.fails(1);
    assert_eq!(rig.states(), [Failed, Failed]);
    assert_eq!(rig.winds_down().code(), 1);
}

#[test]
fn a_restart_policy_waits_for_the_stop_that_would_explain_an_error() {
    let mut rig = Rig::up(plan(vec![restarting("child", &[], steady())]));
    rig.ends(0, suspect());
    assert_eq!(rig.life.state(0), Running);
    rig.at(200);
    assert_eq!((rig.life.state(0), rig.cause(0)), (Waiting, Cause::Restart(seconds(1))));
    assert_eq!(rig.due_at(), Some(1200));
    rig.at(1200);
    rig.ready(0);
    rig.ends(0, suspect());
    rig.now += 199;
    rig.stop();
    assert_eq!((rig.life.state(0), rig.life.incarnation(0)), (Stopped, 2));
    assert_eq!(rig.winds_down().code(), 0);
}

#[test]
fn a_hard_stop_and_an_operator_explain_an_error_too() {
    let mut rig = Rig::up(plan(vec![task("child", &[]), task("other", &[])]));
    rig.ends(0, suspect());
    let actions = rig.does(Event::HardStop(INT));
    assert!(!actions.contains(&CancelTask(0, 1)) && actions.contains(&CancelTask(1, 1)), "{actions:?}");
    assert_eq!(rig.life.state(0), Stopped);

    let mut rig = Rig::up(plan(vec![task("child", &[]), task("other", &[])]));
    rig.ends(0, suspect());
    rig.does(Event::StopTask(0));
    assert_eq!(rig.states(), [Stopped, Running]);
    assert_eq!(rig.at(1000), []);

    let mut rig = Rig::up(plan(vec![task("child", &[])]));
    rig.ends(0, suspect());
    let actions = rig.does(Event::RestartTask(0));
    assert!(actions.contains(&StartTask(0, 2)), "{actions:?}");
}

#[test]
fn nothing_starts_on_a_task_whose_error_a_stop_would_explain() {
    let mut rig = Rig::started(plan(vec![task("slow", &[]), task("child", &[]), task("both", &[0, 1])]));
    rig.ready(1);
    rig.ends(1, suspect());
    assert!(begun(&rig.ready(0)).is_empty());
    rig.at(200);
    assert_eq!((rig.life.state(2), rig.cause(2)), (Stopped, Cause::NeverStarted));
}

#[test]
fn a_start_timeout_ends_the_doubt() {
    let mut rig = Rig::started(plan(vec![task("child", &[])]));
    rig.now = 29_900;
    rig.ends(0, suspect());
    let actions = rig.at(30_000);
    assert!(!actions.contains(&CancelTask(0, 1)), "{actions:?}");
    assert_eq!((rig.life.state(0), rig.winds_down().code()), (Failed, 1));
}

#[test]
fn a_skip_takes_along_what_requires_it() {
    let mut rig = Rig::started(plan(vec![task("gpu", &[]), task("model", &[0]), task("api", &[1]), task("http", &[])]));
    rig.ends(0, Outcome::Skip("no gpu".into()));
    assert_eq!(rig.states(), [Skipped, Skipped, Skipped, Starting]);
    assert_eq!(rig.cause(2), Cause::Skipped("no gpu".into()));
    assert!(rig.ready(3).contains(&SetReady(true)));
}

#[test]
fn a_skip_after_ready_is_an_error() {
    let mut rig = Rig::up(plan(vec![task("a", &[])]));
    rig.ends(0, Outcome::Skip("too late".into()));
    assert_eq!((rig.life.state(0), rig.winds_down().code()), (Failed, 1));
}

#[test]
fn a_stop_goes_backwards_and_the_last_ones_and_loops_come_last() {
    let mut rig = Rig::up(plan(vec![task("db", &[]), task("http", &[0]), task("side", &[]), last("health")]));
    let actions = rig.stop();
    assert_eq!(actions[..2], [Action::Stopping("enough".into()), SetReady(false)]);
    assert_eq!(asked(&actions), [2, 1]);
    assert!(asked(&rig.ends(2, Outcome::Ok)).is_empty());
    assert_eq!(asked(&rig.ends(1, Outcome::Ok)), [0]);
    assert_eq!(asked(&rig.ends(0, Outcome::Ok)), [3]);
    assert!(rig.ends(3, Outcome::Ok).contains(&StopLoop(0, 1, "enough".into(), seconds(10))));
    rig.does(Event::LoopEnded(0, 1, Ok(())));
    assert_eq!(rig.ending().code(), 0);
    assert!(rig.life.is_finished() && rig.due_at().is_none());
}

#[test]
fn the_first_reason_wins() {
    let mut rig = Rig::up(plan(vec![task("a", &[])]));
    rig.stop();
    assert_eq!(rig.does(Event::ShutdownRequested(Signal(TERM))), []);
    assert_eq!(rig.winds_down().reason, "enough".into());
}

#[test]
fn a_drain_lets_tasks_go_on_but_starts_none() {
    let mut plan = plan(vec![task("db", &[]), task("http", &[0]), restarting("flaky", &[], steady())]);
    plan.drain_delay = seconds(5);
    let mut rig = Rig::started(plan);
    rig.ready(2);
    rig.fails(2);
    let actions = rig.does(Event::ShutdownRequested(Signal(TERM)));
    assert!(asked(&actions).is_empty());
    assert_eq!(rig.states(), [Starting, Stopped, Stopped]);
    assert!(begun(&rig.ready(0)).is_empty());
    assert_eq!(rig.due_at(), Some(5_000));
    assert_eq!(asked(&rig.at(5_000)), [0]);
    assert_eq!(rig.winds_down().code(), 0);
}

#[test]
fn past_its_deadline_a_task_is_cancelled_and_the_exit_code_says_so() {
    let mut rig = Rig::up(plan(vec![task("a", &[])]));
    rig.now = 1_000;
    assert!(rig.stop().contains(&AskTask(0, 1, "enough".into(), seconds(11))));
    assert_eq!(rig.at(11_000), [CancelTask(0, 1)]);
    rig.fails(0);
    assert_eq!((rig.life.state(0), rig.cause(0)), (Cancelled, Cause::StopTimeout(seconds(10))));
    assert_eq!(rig.winds_down().code(), 124);
}

#[test]
fn a_loop_that_does_not_act_on_a_cancel_is_left_behind_with_all_its_tasks() {
    let mut tasks = vec![task("db", &[]), task("http", &[0]), task("ui", &[])];
    tasks[2].event_loop = 1;
    let mut rig = Rig::up(plan(tasks));
    rig.stop();
    rig.ends(2, Outcome::Ok);
    rig.at(10_000);
    assert!(rig.at(11_000).starts_with(&[AbandonLoop(0, 1)]));
    assert_eq!(rig.states(), [Abandoned, Abandoned, Stopped]);
    rig.does(Event::LoopEnded(1, 1, Ok(())));
    assert_eq!((rig.ending().code(), rig.ending().abandoned), (124, true));
}

#[test]
fn a_loop_that_was_stuck_before_its_cancel_has_less_time() {
    let mut tasks = vec![task("db", &[]), task("http", &[0]), task("ui", &[])];
    tasks[2].event_loop = 1;
    let mut rig = Rig::up(plan(tasks));
    // There is nothing to cancel.
    assert_eq!(rig.does(Event::LoopStuck(0, 1)), []);
    rig.stop();
    rig.ends(2, Outcome::Ok);
    assert_eq!(rig.does(Event::LoopStuck(0, 1)), []);
    rig.at(10_000);
    // From a previous incarnation.
    assert_eq!(rig.does(Event::LoopStuck(0, 0)), []);
    rig.at(10_300);
    assert_eq!(rig.does(Event::LoopStuck(0, 1))[0], AbandonLoop(0, 1));
    assert_eq!(rig.states(), [Abandoned, Abandoned, Stopped]);
    // It is already known.
    assert_eq!(rig.does(Event::LoopStuck(0, 1)), []);
    rig.does(Event::LoopEnded(1, 1, Ok(())));
    assert_eq!((rig.ending().code(), rig.ending().abandoned), (124, true));
}

#[test]
fn when_the_time_for_the_whole_stop_is_over_order_does_not_matter() {
    let mut plan = plan(vec![task("db", &[]), task("http", &[0])]);
    plan.shutdown_timeout = seconds(4);
    let mut rig = Rig::up(plan);
    rig.stop();
    let actions = rig.at(4_000);
    assert_eq!(asked(&actions), [0]);
    assert!(actions.contains(&CancelTask(0, 1)) && actions.contains(&CancelTask(1, 1)));
    rig.ends(0, Outcome::Dropped);
    rig.ends(1, Outcome::Dropped);
    assert!(rig.said.contains(&StopLoop(0, 1, "enough".into(), seconds(5))));
    assert_eq!(rig.at(5_000)[0], AbandonLoop(0, 1));
    assert_eq!(rig.ending().code(), 124);
}

#[test]
fn a_loop_stuck_in_a_start_stops_the_service() {
    let mut rig = Rig::started(plan(vec![task("a", &[])]));
    rig.at(30_000);
    let actions = rig.at(31_000);
    assert_eq!(reason(&actions), Some(LoopFailed("loop0".into())));
    assert_eq!((rig.life.state(0), rig.ending().code()), (Abandoned, 1));
}

#[test]
fn a_failure_without_a_policy_stops_the_service() {
    let mut rig = Rig::up(plan(vec![task("a", &[]), task("b", &[])]));
    let actions = rig.ends(0, Outcome::Panicked("ouch".into()));
    assert_eq!((asked(&actions), reason(&actions)), (vec![1], Some(TaskFailed("a".into()))));
    assert_eq!(rig.winds_down().code(), 1);
}

#[test]
fn an_error_while_stopping_is_a_failure() {
    let mut rig = Rig::up(plan(vec![task("a", &[])]));
    rig.stop();
    rig.fails(0);
    assert_eq!((rig.life.state(0), rig.winds_down().code()), (Failed, 1));
}

#[test]
fn all_done_ends_the_service_and_last_tasks_do_not_keep_it() {
    let mut rig = Rig::up(plan(vec![task("job", &[]), last("health")]));
    let actions = rig.ends(0, Outcome::Ok);
    assert_eq!((asked(&actions), reason(&actions)), (vec![1], Some(AllDone)));
    assert_eq!(rig.winds_down().code(), 0);
}

#[test]
fn a_service_without_ordinary_tasks_waits_to_be_asked() {
    let mut rig = Rig::up(plan(vec![last("health")]));
    rig.ends(0, Outcome::Ok);
    assert!(!rig.life.is_finished() && rig.due_at().is_none());
    assert_eq!(Rig::started(plan(vec![])).said, [StartLoop(0, 1), SetReady(true), AllStarted]);
}

#[test]
fn a_restart_waits_longer_each_time_until_a_quiet_window() {
    let mut rig = Rig::up(plan(vec![restarting("a", &[], steady())]));
    for (pause, incarnation) in [(1_000, 2), (2_000, 3), (4_000, 4)] {
        rig.fails(0);
        assert_eq!((rig.life.state(0), rig.due_at()), (Waiting, Some(rig.now + pause)));
        assert_eq!(begun(&rig.at(rig.now + pause)), [0]);
        assert_eq!(rig.life.incarnation(0), incarnation);
        rig.ready(0);
    }
    rig.now += 60_000;
    rig.fails(0);
    assert_eq!(rig.due_at(), Some(rig.now + 1_000));
}

/// Fails four times, `gap` apart, with a limit of three in 60 seconds.
fn fails_four_times(gap: u64, mutant: Option<Mutant>) -> Rig {
    let mut rig = Rig::up(plan(vec![restarting("a", &[], steady())]));
    rig.life.mutant = mutant;
    for _ in 0..4 {
        rig.fails(0);
        rig.at(rig.now + gap);
        rig.ready(0);
    }
    rig
}

#[test]
fn more_restarts_than_the_limit_within_the_window_stop_the_service() {
    let mut rig = fails_four_times(5_000, None);
    assert_eq!((rig.life.state(0), rig.winds_down().reason), (Failed, TaskFailed("a".into())));
    assert_eq!(fails_four_times(20_000, None).life.state(0), Running);
}

#[test]
fn dependents_go_down_before_and_come_back_after_if_the_policy_says_so() {
    let db = restarting("db", &[], steady().with_dependents());
    let mut rig = Rig::up(plan(vec![db, task("http", &[0]), task("ui", &[1])]));
    assert_eq!(asked(&rig.fails(0)), [2]);
    assert!(begun(&rig.at(1_000)).is_empty());
    assert_eq!(asked(&rig.ends(2, Outcome::Ok)), [1]);
    assert_eq!(rig.cause(1), Cause::Asked(Dependency("db".into())));
    assert_eq!(begun(&rig.ends(1, Outcome::Ok)), [0]);
    assert_eq!(begun(&rig.ready(0)), [1]);
    assert_eq!(begun(&rig.ready(1)), [2]);
    assert_eq!(rig.life.incarnation(2), 2);
}

#[test]
fn dependents_are_left_alone_otherwise_and_readiness_tells() {
    let mut rig = Rig::up(plan(vec![restarting("db", &[], steady()), task("http", &[0])]));
    assert!(rig.fails(0).ends_with(&[SetReady(false)]));
    assert_eq!(rig.life.state(1), Running);
    rig.at(1_000);
    assert!(rig.ready(0).ends_with(&[SetReady(true)]));
    assert_eq!(rig.said.iter().filter(|&action| *action == AllStarted).count(), 1);
}

#[test]
fn a_stopped_task_stays_down_with_what_requires_it_and_keeps_the_service_up() {
    let mut rig = Rig::up(plan(vec![restarting("db", &[], RestartPolicy::always()), task("http", &[0])]));
    assert_eq!(asked(&rig.does(Event::StopTask(0))), [1]);
    assert_eq!(asked(&rig.ends(1, Outcome::Ok)), [0]);
    let actions = rig.ends(0, Outcome::Ok);
    assert!(!actions.contains(&CloseTask(0)));
    assert_eq!((rig.states(), rig.due_at()), (vec![Stopped, Stopped], None));
    assert!(begun(&rig.does(Event::RestartTask(1))).is_empty());
    assert_eq!(begun(&rig.does(Event::RestartTask(0))), [0]);
    assert_eq!(begun(&rig.ready(0)), [1]);
}

#[test]
fn a_restarted_task_takes_its_dependents_along() {
    let mut rig = Rig::up(plan(vec![task("db", &[]), task("http", &[0])]));
    assert_eq!(asked(&rig.does(Event::RestartTask(0))), [1]);
    let actions = rig.ends(1, Outcome::Ok);
    assert_eq!((asked(&actions), begun(&actions)), (vec![0], vec![]));
    assert_eq!(begun(&rig.ends(0, Outcome::Ok)), [0]);
    assert_eq!(begun(&rig.ready(0)), [1]);
}

#[test]
fn what_can_be_made_only_once_is_not_restarted() {
    let mut plan = plan(vec![task("db", &[]), task("http", &[0])]);
    plan.tasks[1].restartable = false;
    let mut rig = Rig::up(plan);
    for event in [Event::RestartTask(0), Event::RestartService] {
        assert!(matches!(rig.does(event)[..], [Warn(_)]));
    }
}

#[test]
fn a_restart_of_the_service_leaves_its_loops_alone() {
    let mut rig = Rig::up(plan(vec![task("db", &[]), task("http", &[0]), last("health")]));
    assert_eq!(asked(&rig.does(Event::RestartService)), [1]);
    assert_eq!(asked(&rig.ends(1, Outcome::Ok)), [0]);
    assert_eq!(asked(&rig.ends(0, Outcome::Ok)), [2]);
    assert_eq!(begun(&rig.ends(2, Outcome::Ok)), [0, 2]);
    assert_eq!(begun(&rig.ready(0)), [1]);
    assert_eq!((0..3).map(|id| rig.life.incarnation(id)).collect::<Vec<_>>(), [2, 2, 2]);
    assert!(!rig.said.iter().any(|action| matches!(action, StopLoop(..) | CloseTask(_))));
}

#[test]
fn a_stop_in_the_middle_of_a_restart_wins() {
    let mut rig = Rig::up(plan(vec![task("db", &[]), task("http", &[0])]));
    rig.does(Event::RestartService);
    rig.stop();
    assert_eq!(rig.winds_down().code(), 0);
    assert_eq!(rig.states(), [Stopped, Stopped]);
}

#[test]
fn a_loop_that_dies_takes_its_tasks_down_and_with_it_the_service() {
    let mut rig = Rig::up(plan(vec![task("a", &[])]));
    let actions = rig.does(Event::LoopEnded(0, 1, Err("lost".into())));
    assert_eq!(reason(&actions), Some(LoopFailed("loop0".into())));
    assert!(actions.contains(&CloseLoop(0)) && actions.contains(&CloseTask(0)));
    assert_eq!((rig.cause(0), rig.ending().code()), (Cause::LoopDied("lost".into()), 1));
}

#[test]
fn a_loop_with_a_policy_comes_back_with_its_tasks() {
    let mut plan = plan(vec![task("a", &[])]);
    plan.loops[0].restart = steady();
    let mut rig = Rig::up(plan);
    rig.does(Event::LoopEnded(0, 1, Ok(())));
    assert_eq!((rig.life.state(0), rig.life.incarnation(0)), (Waiting, 2));
    assert_eq!(rig.at(1_000), [StartLoop(0, 2)]);
    assert_eq!(begun(&rig.does(Event::LoopStarted(0, 2))), [0]);
}

#[test]
fn a_loop_that_fails_in_its_teardown_is_a_failure() {
    let mut rig = Rig::up(plan(vec![task("a", &[])]));
    rig.stop();
    rig.ends(0, Outcome::Ok);
    let actions = rig.does(Event::LoopEnded(0, 1, Err("teardown".into())));
    assert_eq!(actions[0], LoopDied(0, "teardown".into(), vec![], None));
    assert_eq!(rig.ending().code(), 1);
}

#[test]
fn a_hard_stop_cancels_all_at_once_and_gives_a_second() {
    let mut rig = Rig::up(plan(vec![task("db", &[]), task("http", &[0])]));
    rig.does(Event::ShutdownRequested(Signal(INT)));
    let actions = rig.does(Event::HardStop(INT));
    assert!(actions.contains(&CancelTask(0, 1)) && actions.contains(&CancelTask(1, 1)));
    assert_eq!((asked(&actions), rig.due_at()), (vec![0], Some(1_000)));
    rig.ends(0, Outcome::Dropped);
    rig.ends(1, Outcome::Dropped);
    assert_eq!((rig.life.state(0), rig.cause(0)), (Cancelled, Cause::HardStop));
    rig.does(Event::LoopEnded(0, 1, Ok(())));
    assert_eq!(rig.ending().code(), 130);
}

#[test]
fn a_task_is_closed_once() {
    let mut rig = Rig::up(plan(vec![task("job", &[]), task("b", &[])]));
    assert!(rig.ends(0, Outcome::Ok).contains(&CloseTask(0)));
    rig.stop();
    rig.winds_down();
    assert_eq!(rig.said.iter().filter(|&action| *action == CloseTask(0)).count(), 1);
    assert_eq!(rig.said.iter().filter(|&action| *action == CloseLoop(0)).count(), 1);
}

#[test]
fn ten_thousand_tasks_in_a_chain_and_around_a_hub_are_linear() {
    let mut tasks = vec![task("hub", &[])];
    tasks.extend((1..10_000).map(|n| task(&n.to_string(), &[0, n - 1])));
    let mut rig = Rig::started(plan(tasks));
    (0..10_000).for_each(|id| drop(rig.ready(id)));
    assert!(rig.said.contains(&SetReady(true)));
    rig.stop();
    (0..10_000).rev().for_each(|id| drop(rig.ends(id, Outcome::Ok)));
    rig.does(Event::LoopEnded(0, 1, Ok(())));
    assert_eq!(rig.ending().code(), 0);
}

#[test]
fn each_seeded_fault_shows() {
    let faulty = |mutant| {
        let mut plan = plan(vec![task("db", &[]), task("http", &[0])]);
        plan.drain_delay = seconds(1);
        let mut rig = Rig::new(plan);
        rig.life.mutant = Some(mutant);
        rig.does(Event::Start);
        rig.does(Event::LoopStarted(0, 1));
        rig
    };
    let mut rig = faulty(Mutant::AsksEarly);
    rig.ready(0);
    rig.ready(1);
    assert_eq!(asked(&rig.stop()).len(), 2);

    let mut rig = faulty(Mutant::LastReasonWins);
    rig.stop();
    rig.does(Event::ShutdownRequested(Signal(TERM)));
    assert_eq!(rig.winds_down().reason, Signal(TERM));

    let mut rig = faulty(Mutant::StartsAfterStop);
    rig.does(Event::ShutdownRequested(Signal(TERM)));
    assert_eq!(begun(&rig.ready(0)), [1]);

    assert_eq!(faulty(Mutant::ForgetsStartTimeout).due_at(), None);
    assert_eq!(fails_four_times(20_000, Some(Mutant::ForgetsWindow)).life.state(0), Failed);
}

#[test]
fn a_limit_that_cannot_be_hit_is_refused() {
    assert_eq!(RestartPolicy::on_failure().check(), Ok(()));
    assert_eq!(RestartPolicy::never().limit(1, Duration::ZERO).check(), Ok(()));
    let refused = RestartPolicy::always().limit(9, seconds(10)).check().unwrap_err();
    assert!(refused.contains("10 restarts") && refused.contains("the window is 10 s"), "{refused}");
    assert!(RestartPolicy::always().limit(1, Duration::ZERO).check().is_err());
    assert!(RestartPolicy::always().limit(u32::MAX, seconds(60)).check().is_err());
    assert_eq!(RestartPolicy::always().backoff(Duration::ZERO, Duration::ZERO).check(), Ok(()));
}

/// Runs a plan with a bit of everything through a series of events, most of them stale or out of place.
fn random_walk(seed: u64) -> Rig {
    let mut random = fastrand::Rng::with_seed(seed);
    let policies = [RestartPolicy::never(), steady(), RestartPolicy::always().with_dependents()];
    let some_below = |n: usize, random: &mut fastrand::Rng| (0..n).filter(|_| random.u8(..4) == 0).collect::<Vec<_>>();
    let tasks = (0..6).map(|n| TaskPlan {
        event_loop: random.usize(..2),
        after: some_below(n, &mut random),
        last: random.u8(..4) == 0,
        restartable: random.u8(..6) > 0,
        ..restarting(&format!("t{n}"), &some_below(n, &mut random), policies[random.usize(..3)].clone())
    });
    let mut plan = plan(tasks.collect());
    plan.drain_delay = seconds(random.u64(..3));
    plan.loops.iter_mut().for_each(|l| l.restart = policies[random.usize(..3)].clone());
    let loops = plan.loops.len();
    let mut rig = Rig::new(plan);
    for _ in 0..200 {
        rig.now += if random.bool() { random.u64(..5_000) } else { 0 };
        let (task, id, run) = (random.usize(..6), random.usize(..loops), random.u32(1..4));
        let same = rig.life.incarnation(task);
        rig.does(match random.u8(..24) {
            0 => Event::Start,
            1..=4 => Event::LoopStarted(id, run),
            5 => Event::LoopEnded(id, run, if random.bool() { Ok(()) } else { Err("lost".into()) }),
            6..=11 => Event::TaskReady(task, same),
            12 if random.bool() => Event::TaskEnded(task, same, Outcome::Skip("no".into())),
            12 => Event::TaskEnded(task, same, suspect()),
            13 => Event::TaskEnded(task, same, Outcome::Panicked("ouch".into())),
            14..=17 => Event::TaskEnded(task, same, Outcome::Ok),
            18 => Event::StopTask(task),
            19 | 20 => Event::RestartTask(task),
            21 => Event::RestartService,
            22 if random.u8(..8) == 0 => Event::ShutdownRequested(Signal(TERM)),
            23 if random.u8(..8) == 0 => Event::HardStop(INT),
            _ => Event::Tick,
        });
        assert!(
            rig.life.next_deadline().is_none_or(|at| at > Duration::from_millis(rig.now)),
            "seed {seed}: what is due is done"
        );
    }
    rig
}

#[test]
fn whatever_happens_nothing_panics_and_a_stop_ends_in_time_and_closes_all_once() {
    for seed in 0..3_000 {
        let mut rig = random_walk(seed);
        rig.does(Event::Start);
        rig.stop();
        while let Some(at) = rig.due_at() {
            rig.at(at + 1);
        }
        assert!(rig.life.is_finished(), "seed {seed}");
        assert!(rig.states().iter().all(|state| state.is_final()), "seed {seed}");
        let starts = begun(&rig.said).len();
        let stop = rig.said.iter().position(|action| matches!(action, Action::Stopping(_))).unwrap();
        assert_eq!(begun(&rig.said[..stop]).len(), starts, "seed {seed}: nothing starts after a stop");
        let last_close = |id| rig.said.iter().rposition(|action| *action == CloseTask(id));
        assert!((0..6).all(|id| last_close(id).is_some()), "seed {seed}");
        assert!(rig.said.iter().filter(|action| matches!(action, Finished(_))).count() == 1);
    }
}

mod slow_starts {
    use super::*;

    const SLOW: u64 = 5_000;

    fn told(actions: &[Action]) -> Vec<(TaskId, Vec<TaskId>)> {
        let told = |action: &Action| match action {
            SlowStart(id, _, waiting) => Some((*id, waiting.clone())),
            _ => None,
        };
        actions.iter().filter_map(told).collect()
    }

    #[test]
    fn a_task_that_is_not_ready_is_told_once_for_each_incarnation() {
        let mut rig = Rig::started(plan(vec![restarting("db", &[], steady()), task("http", &[0]), task("aside", &[])]));
        rig.ready(2);
        assert_eq!(told(&rig.at(SLOW - 1)), []);
        assert_eq!(told(&rig.at(SLOW)), [(0, vec![1])]);
        assert_eq!(told(&rig.at(2 * SLOW)), []);
        rig.fails(0);
        rig.at(2 * SLOW + 1_000);
        assert_eq!(rig.life.state(0), Starting);
        assert_eq!(told(&rig.at(3 * SLOW + 1_000)), [(0, vec![1])]);
    }

    #[test]
    fn one_that_is_ready_has_ended_or_is_asked_to_stop_is_not() {
        for end in [
            (|rig| rig.ready(0)) as fn(&mut Rig) -> Vec<Action>,
            |rig| rig.ends(0, Outcome::Ok),
            |rig| rig.does(Event::StopTask(0)),
            |rig| rig.stop(),
            |rig| rig.does(Event::ShutdownRequested(Signal(TERM))),
        ] {
            let mut plan = plan(vec![task("db", &[]), last("health")]);
            plan.drain_delay = seconds(20);
            let mut rig = Rig::started(plan);
            rig.ready(1);
            end(&mut rig);
            rig.at(SLOW);
            assert_eq!(told(&rig.said), [], "{:?}", rig.states());
        }
    }

    #[test]
    fn one_whose_start_fails_by_then_is_not_told_twice() {
        let mut rig = Rig::started(plan(vec![TaskPlan { start_timeout: seconds(5), ..task("db", &[]) }]));
        let actions = rig.at(SLOW);
        assert!(actions.contains(&CancelTask(0, 1)), "{actions:?}");
        assert_eq!(told(&rig.said), []);
    }
}
