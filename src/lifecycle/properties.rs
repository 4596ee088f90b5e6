//! Properties of the lifecycle. A simulated world runs random services on the machine, and an observer that sees only
//! events and actions checks each call against the rules:
//!
//! | invariant | rule |
//! |---|---|
//! | `legal_path` | transitions form a legal path: `from` is the last `to`, incarnations count up by one |
//! | `requires_first` | S1: a task starts once its loop runs, its requires Running or ended Ok, its afters settled |
//! | `starts_at_once` | S2: a task starts as soon as all that allows it |
//! | `ends_are_told` | S3, S6: ready and each end make the state and cause that they should, at once |
//! | `start_timeout` | S4: a task is cancelled for its start at its start timeout, not before, and fails |
//! | `asks_what_lives` | S5: only what was started is asked to stop, and once |
//! | `skips_spread` | S6: what requires a skipped task is skipped, for the same reason |
//! | `first_reason` | S8: the first reason wins, and a stop of the machine's own has a true reason |
//! | `asks_in_order` | S9: a task is asked after all that depend on it have ended, those marked last after the others |
//! | `asks_at_once` | S9: it is asked as soon as that is so |
//! | `drains` | S9: nothing is asked while the service drains |
//! | `loops_stop_last` | S9, S10: loops are told to stop when all tasks have ended, at once, with the right deadline |
//! | `deadlines` | S10: the smaller rest of the task's timeout and the service's |
//! | `cancels_on_time` | S11: a task is cancelled at its deadline and not before |
//! | `abandons_on_time` | S11: a loop is abandoned a second after a cancel and not before, with all its tasks |
//! | `finishes` | S12: the service ends as soon as all has ended, and always within its time |
//! | `no_zombies` | S14: a failure restarts or stops the service, the end of the last task stops it |
//! | `exit_code` | S15: the ending tells what has happened |
//! | `hard_stop` | S16: everything is cancelled at once |
//! | `readiness` | S9: ready when all tasks are Running, Stopped or Skipped; all are started once |
//! | `restarts` | S24: restarts have a reason, a pause in range, and end at the limit, no sooner |
//! | `restarts_of_loops` | S24: those of loops as well; what was on the loop fails with it |
//! | `nothing_starts_after_a_stop` | S8: no start and no restart after a stop request; what waits then is Stopped |
//! | `starts_and_ends` | each start is one action and one transition, and ends once |
//! | `closes_once` | S24: what will never run again is closed once, and nothing starts on it |
//! | `operators` | a task that an operator stops or restarts, and its requirers, are: all, in order, and nothing else |
//! | `deadlines_are_due` | S23: a tick before the next deadline does nothing, one at it does something |
//!
//! | seeded fault | found by |
//! |---|---|
//! | `AsksEarly` | `asks_in_order` |
//! | `ForgetsWindow` | `restarts`, `restarts_of_loops` |
//! | `LastReasonWins` | `first_reason` |
//! | `StartsAfterStop` | `nothing_starts_after_a_stop` |
//! | `ForgetsStartTimeout` | `start_timeout` |

mod drawn;
mod observed;
mod script;
mod world;

use std::time::Duration;

use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestError, TestRng, TestRunner},
};

use self::{
    observed::{Group, Kind, Observed, Phase, Point, Why},
    script::{noise, script},
    world::{Violation, Watched, run},
};
use super::{Action, Event, Mutant, Outcome, RestartPolicy, TaskId};
use crate::words::{
    restart::When,
    state::{Cause, Reason, State},
};

type Checked = Result<(), String>;
type Invariant = (&'static str, fn(&Observed, Point<'_>) -> Checked);

/// How long a loop has to act on a cancel.
const GRACE: Duration = Duration::from_secs(1);
/// How long a loop has to end, at most.
const LOOP_TIMEOUT: Duration = Duration::from_secs(10);

macro_rules! named {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name)),*] };
}

/// All that hold for a run, besides `deadlines_are_due`, which the world checks.
const INVARIANTS: &[Invariant] = named![
    nothing_starts_after_a_stop,
    legal_path,
    first_reason,
    requires_first,
    starts_at_once,
    ends_are_told,
    start_timeout,
    asks_what_lives,
    skips_spread,
    asks_in_order,
    asks_at_once,
    drains,
    loops_stop_last,
    deadlines,
    cancels_on_time,
    abandons_on_time,
    finishes,
    exit_code,
    hard_stop,
    readiness,
    restarts,
    restarts_of_loops,
    starts_and_ends,
    closes_once,
    operators,
    no_zombies,
];

/// Those that hold for any events.
const OF_NOISE: &[Invariant] = named![
    nothing_starts_after_a_stop,
    legal_path,
    first_reason,
    requires_first,
    skips_spread,
    asks_what_lives,
    asks_in_order,
    cancels_on_time,
    abandons_on_time,
    starts_and_ends,
    closes_once,
];

const CASES: u32 = 1000;

#[test]
fn holds_in_every_world() {
    check(script(), CASES, |script| run(script, None));
}

#[test]
fn holds_whatever_is_told() {
    let told = script().prop_flat_map(|script| {
        let noise = noise(script.plan.tasks.len(), script.plan.loops.len());
        (Just(script), noise)
    });
    check(told, CASES, |(script, noise)| {
        let mut watched = Watched::new(script, None, OF_NOISE);
        let mut now = Duration::ZERO;
        for (pause, event) in noise {
            now += Duration::from_millis(*pause);
            watched.handle(now, event.clone())?;
        }
        Ok(())
    });
}

#[test]
fn a_task_that_is_asked_early_is_found() {
    finds(Mutant::AsksEarly, &["asks_in_order"]);
}

#[test]
fn a_forgotten_window_is_found() {
    finds(Mutant::ForgetsWindow, &["restarts", "restarts_of_loops"]);
}

#[test]
fn a_later_reason_is_found() {
    finds(Mutant::LastReasonWins, &["first_reason"]);
}

#[test]
fn a_start_after_a_stop_is_found() {
    finds(Mutant::StartsAfterStop, &["nothing_starts_after_a_stop"]);
}

#[test]
fn a_forgotten_start_timeout_is_found() {
    finds(Mutant::ForgetsStartTimeout, &["start_timeout"]);
}

/// Runs the same cases each time: one of these invariants must find this fault.
fn finds(mutant: Mutant, invariants: &[&str]) {
    let config = Config { cases: 2 * CASES, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let found = TestRunner::new_with_rng(config, rng)
        .run(&script(), |script| run(&script, Some(mutant)).map_err(|found| TestCaseError::fail(found.invariant)));
    let Err(TestError::Fail(by, script)) = found else { panic!("{mutant:?} is not found") };
    assert!(invariants.contains(&by.message()), "{mutant:?} is found by {by} in {script:?}");
}

/// Shrinks to the smallest case for which this does not hold, and prints it with its history.
fn check<T: std::fmt::Debug + Clone>(
    cases: impl Strategy<Value = T>,
    number: u32,
    holds: impl Fn(&T) -> Result<(), Violation>,
) {
    let cases_set = std::env::var_os("PROPTEST_CASES").is_some();
    let config = Config { failure_persistence: None, max_shrink_iters: 5000, ..Config::default() };
    let config = if cases_set { config } else { Config { cases: number, ..config } };
    let found = TestRunner::new(config)
        .run(&cases, |case| holds(&case).map_err(|violation| TestCaseError::fail(violation.invariant)));
    match found {
        Ok(()) => {}
        Err(TestError::Abort(why)) => panic!("{why}"),
        Err(TestError::Fail(why, case)) => match holds(&case) {
            Err(Violation { invariant, words, log }) => panic!("{invariant}: {words}\n{case:?}\n{log}"),
            Ok(()) => panic!("{why}\n{case:?}"),
        },
    }
}

macro_rules! ensure {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(format!($($words)+));
        }
    };
}

/// Transitions form a legal path: `from` is the last `to`, incarnations count up by one from 1, and the machine's
/// answers agree.
fn legal_path(seen: &Observed, point: Point<'_>) -> Checked {
    use State::*;
    let step = match point {
        Point::Action(Action::Transition(step)) => step,
        Point::End => {
            for (task, says) in seen.tasks.iter().zip(&seen.says) {
                ensure!(
                    (task.state, task.incarnation) == *says,
                    "{says:?} after {:?}#{}",
                    task.state,
                    task.incarnation
                );
            }
            return Ok(());
        }
        _ => return Ok(()),
    };
    let Some(id) = seen.task_named(&step.task) else { return Err(format!("unknown task {}", step.task)) };
    let task = &seen.tasks[id];
    ensure!(step.at == seen.now, "at {:?}", step.at);
    ensure!(step.from == task.state, "{step:?} from {:?}", task.state);
    let next = task.incarnation + u32::from(step.to == Waiting);
    ensure!(step.incarnation == next, "{step:?} of incarnation {next}");
    let legal = matches!(
        (step.from, step.to, &step.cause),
        (Waiting, Starting, Cause::Start)
            | (Waiting, Stopped, Cause::NeverStarted | Cause::Ended | Cause::Asked(_))
            | (Waiting | Starting | Running | Stopping, Failed, Cause::LoopDied(_))
            | (Waiting | Starting | Running | Stopping, Abandoned, Cause::LoopStuck)
            | (Waiting | Starting, Skipped, Cause::Skipped(_))
            | (Starting, Running, Cause::Ready)
            | (Starting | Stopping, Failed, Cause::StartTimeout(_))
            | (Starting | Running | Stopping, Failed, Cause::Error(_) | Cause::Panicked(_) | Cause::Dropped)
            | (Starting | Running, Stopping, Cause::Asked(_))
            | (Running, Stopped, Cause::Finished)
            | (Stopping, Stopped, Cause::Ended)
            | (Stopping, Cancelled, Cause::StopTimeout(_) | Cause::HardStop)
            | (Stopped | Failed | Cancelled | Skipped | Waiting, Waiting, Cause::Restart(_))
    );
    ensure!(legal, "{step:?}");
    Ok(())
}

/// S1: no StartTask comes before its loop runs, its requires are Running or ended with Ok, and its afters are Running
/// or at their end.
fn requires_first(seen: &Observed, point: Point<'_>) -> Checked {
    let Point::Action(Action::StartTask(id, _)) = point else { return Ok(()) };
    if let Some(obstacle) = seen.obstacle(*id) {
        return Err(format!("t{id} is started: {obstacle}"));
    }
    for group in seen.groups.iter().filter(|group| !group.loose) {
        let mut required = seen.plan.tasks[*id].requires.iter();
        let going = |id: TaskId| group.members.contains(&id) && seen.tasks[id].incarnation == group.incarnations[id];
        let going = required.find(|&&id| going(id) && seen.is_live(id));
        ensure!(going.is_none(), "t{id} is started on {going:?}, which is to be stopped: {group:?}");
    }
    Ok(())
}

/// S2: a task starts as soon as its dependencies allow it.
fn starts_at_once(seen: &Observed, point: Point<'_>) -> Checked {
    if !matches!(point, Point::End) || seen.started.is_none() || seen.has_stopped_for_good() {
        return Ok(());
    }
    let held = |id| {
        let goes = |group: &Group| {
            let mut live = seen.live().filter(|&other| seen.tasks[other].incarnation == group.incarnations[other]);
            let called = |id: TaskId| seen.tasks[id].asked.is_some() || seen.tasks[id].cancelled.is_some();
            live.any(|other| group.members.contains(&other) || group.others.contains(&other) && called(other))
        };
        // A dependent of it that is being stopped ends first.
        let before = |other: TaskId| {
            let plan = &seen.plan.tasks[other];
            (plan.requires.contains(&id) || plan.after.contains(&id))
                && seen.groups.iter().any(|group| group.has(other))
        };
        // A task that an operator stops may have ended with Ok before it was asked to: the rules don't say whether that
        // counts.
        let stopped = |required: &TaskId| {
            let by = |group: &Group| group.kind == Kind::Stop && group.has(*required);
            seen.tasks[*required].meant || seen.groups.iter().any(by)
        };
        seen.plan.tasks[id].requires.iter().any(stopped)
            || seen.groups.iter().any(|group| group.has(id) && goes(group))
            || seen.live().any(before)
    };
    let waiting = (0..seen.tasks.len()).filter(|&id| seen.tasks[id].state == State::Waiting);
    for id in waiting {
        ensure!(seen.obstacle(id).is_some() || held(id), "t{id} waits for nothing");
    }
    Ok(())
}

/// S3, S6, and the results of each outcome: ready and each end lead to the right state and cause, at once.
fn ends_are_told(seen: &Observed, point: Point<'_>) -> Checked {
    match (point, &seen.step.event) {
        (Point::Action(Action::Transition(step)), Some(event)) => {
            let id = seen.task_named(&step.task);
            match event {
                Event::TaskEnded(task, _, outcome) if id == Some(*task) && seen.step.ended == id => {
                    if !step.to.is_final() || matches!(step.cause, Cause::LoopStuck) {
                        return Ok(());
                    }
                    if seen.tasks[*task].state == State::Running && matches!(outcome, Outcome::Skip(_)) {
                        ensure!(matches!(step.cause, Cause::Error(_)), "{step:?}");
                        return Ok(());
                    }
                    let allowed = seen.ends(*task, outcome);
                    let fits = allowed.iter().any(|(state, cause)| {
                        *state == step.to && cause.as_ref().is_none_or(|cause| *cause == step.cause)
                    });
                    ensure!(
                        seen.tasks[*task].state == State::Waiting || fits,
                        "{outcome:?} made {step:?}, not {allowed:?}"
                    );
                }
                _ if step.to == State::Running => {
                    ensure!(seen.step.ready.is_some() && seen.step.ready == id, "{step:?} at {event:?}");
                }
                _ => {}
            }
            Ok(())
        }
        (Point::End, Some(Event::TaskReady(..))) => {
            let Some(id) = seen.step.ready else { return Ok(()) };
            let task = &seen.tasks[id];
            ensure!(task.state != State::Starting || task.cancelled.is_some(), "t{id} is still starting");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// S4: a task that isn't ready in time is cancelled at its start timeout, not before.
fn start_timeout(seen: &Observed, point: Point<'_>) -> Checked {
    match point {
        Point::Action(Action::CancelTask(id, _)) => {
            let (task, plan) = (&seen.tasks[*id], &seen.plan.tasks[*id]);
            if task.asked.is_none() && seen.hard.is_none() {
                ensure!(task.state == State::Starting, "t{id} is cancelled, {:?}", task.state);
                let due = task.started.unwrap_or_default() + plan.start_timeout;
                ensure!(seen.now >= due, "t{id} is cancelled before {due:?}");
            }
        }
        Point::End => {
            for (id, task) in seen.tasks.iter().enumerate().filter(|(_, task)| task.state == State::Starting) {
                let due = task.started.unwrap_or_default() + seen.plan.tasks[id].start_timeout;
                ensure!(seen.now < due || task.cancelled.is_some(), "t{id} is not ready since {due:?}");
            }
        }
        _ => {}
    }
    Ok(())
}

/// S5: only a started task is asked to stop, and once.
fn asks_what_lives(seen: &Observed, point: Point<'_>) -> Checked {
    match point {
        Point::Action(Action::AskTask(id, run, ..) | Action::CancelTask(id, run)) => {
            let task = &seen.tasks[*id];
            ensure!(seen.is_live(*id) && task.incarnation == *run, "t{id}#{run} is not alive");
            if matches!(point, Point::Action(Action::AskTask(..))) {
                ensure!(task.asked.is_none(), "t{id}#{run} is asked again");
            } else {
                let again = task.cancelled.is_some_and(|(_, why)| why == Why::HardStop || seen.hard.is_none());
                ensure!(!again, "t{id}#{run} is cancelled again");
            }
        }
        Point::End => {
            for id in &seen.step.asks {
                ensure!(seen.tasks[*id].state != State::Running, "t{id} is not stopping");
            }
        }
        _ => {}
    }
    Ok(())
}

/// S6: tasks that require a skipped task are skipped, for the same reason.
fn skips_spread(seen: &Observed, point: Point<'_>) -> Checked {
    match point {
        Point::Action(Action::Transition(step)) if step.to == State::Skipped && step.from == State::Waiting => {
            let Some(id) = seen.task_named(&step.task) else { return Ok(()) };
            let mut required = seen.plan.tasks[id].requires.iter().map(|&id| &seen.tasks[id]);
            let same = required.any(|task| task.state == State::Skipped && task.cause.as_ref() == Some(&step.cause));
            ensure!(same, "{step:?}");
        }
        Point::End if !seen.has_stopped_for_good() && seen.started.is_some() => {
            for (id, task) in seen.tasks.iter().enumerate().filter(|(_, task)| task.state == State::Waiting) {
                let mut required = seen.plan.tasks[id].requires.iter();
                let skipped = required.find(|&&id| seen.tasks[id].state == State::Skipped);
                ensure!(skipped.is_none(), "t{id}#{} requires {skipped:?}, which is skipped", task.incarnation);
            }
        }
        _ => {}
    }
    Ok(())
}

/// S8: there is one stop, for the first reason given; a reason from the machine itself is true.
fn first_reason(seen: &Observed, point: Point<'_>) -> Checked {
    match point {
        Point::Action(Action::Stopping(reason)) => {
            ensure!(seen.stop.is_none(), "{reason:?} after {:?}", seen.stop);
            let of_loop = |name: &str| {
                let ended = |phase| matches!(phase, Phase::Ended | Phase::Abandoned);
                (0..seen.loops.len()).any(|id| *seen.plan.loops[id].name == *name && ended(seen.loops[id].phase))
            };
            let of_task = |name: &str| {
                let id = seen.task_named(name);
                id.is_some_and(|id| seen.tasks[id].state == State::Failed || seen.covers(id))
            };
            let done = || {
                let mut others = seen.tasks.iter().zip(&seen.plan.tasks).filter(|(_, plan)| !plan.last).peekable();
                let restarted = seen.groups.iter().any(|group| group.kind == Kind::Service);
                let some = others.peek().is_some();
                // A task that was asked to stop can be started again.
                let done = |state, cause: &_| {
                    state == State::Skipped || state == State::Stopped && *cause == Some(Cause::Finished)
                };
                some && !restarted && others.all(|(task, _)| done(task.state, &task.cause))
            };
            let is_true = match (&seen.requested, reason) {
                (Some(requested), _) => requested == reason,
                (None, Reason::LoopFailed(name)) => of_loop(name),
                (None, Reason::TaskFailed(name)) => of_task(name),
                (None, Reason::AllDone) => done(),
                (None, _) => false,
            };
            ensure!(is_true, "{reason:?}, although {:?}", seen.requested);
        }
        Point::Action(Action::Finished(ending)) => {
            let reason = seen.stop.as_ref().map(|(_, reason)| reason);
            ensure!(reason == Some(&ending.reason), "{ending:?} after {reason:?}");
        }
        Point::End if seen.started.is_some() => {
            ensure!(seen.requested.is_none() || seen.stop.is_some(), "no stop for {:?}", seen.requested);
        }
        _ => {}
    }
    Ok(())
}

/// Whether everything is cancelled now, in any order.
fn in_haste(seen: &Observed) -> bool {
    seen.hard.is_some() || seen.last_moment().is_some_and(|last| seen.now >= last)
}

/// S9: when a task is asked, no task that requires it lives; when the service stops, no task of its phase that is after
/// it either, and those marked last wait for the others.
fn asks_in_order(seen: &Observed, point: Point<'_>) -> Checked {
    let Point::Action(Action::AskTask(id, _, reason, _)) = point else { return Ok(()) };
    if in_haste(seen) {
        return Ok(());
    }
    let last = |id: TaskId| seen.plan.tasks[id].last;
    let phases = seen.stop.is_some()
        || *reason == Reason::Restart && seen.groups.iter().any(|group| group.kind == Kind::Service);
    let whole = seen.stop.is_some();
    for other in seen.live().filter(|other| other != id) {
        let plan = &seen.plan.tasks[other];
        let requires = plan.requires.contains(id) && (!phases || last(other) == last(*id));
        let after = whole && plan.after.contains(id) && last(other) == last(*id);
        ensure!(!requires && !after, "t{id} is asked while t{other} lives");
        ensure!(!whole || !last(*id) || last(other), "t{id}, the last, is asked while t{other} lives");
    }
    Ok(())
}

/// S9: a task is asked as soon as all its dependents have ended.
fn asks_at_once(seen: &Observed, point: Point<'_>) -> Checked {
    if !matches!(point, Point::End) || seen.stop.is_none() || seen.drains() {
        return Ok(());
    }
    let last = |id: TaskId| seen.plan.tasks[id].last;
    for id in seen.live().filter(|&id| seen.tasks[id].asked.is_none() && seen.tasks[id].cancelled.is_none()) {
        // The rules don't say whether a task that depends on it through ended ones holds it.
        let holds = |other: TaskId| {
            let plan = &seen.plan.tasks[other];
            // A task that is already being stopped holds all its dependencies.
            let phase = last(id) == last(other) || seen.tasks[other].asked.is_some();
            last(id) && !last(other) || phase && (plan.after.contains(&id) || seen.requirers[id].contains(&other))
        };
        ensure!(seen.live().any(holds), "t{id} could be asked");
    }
    Ok(())
}

/// S9: while the service drains, its tasks continue.
fn drains(seen: &Observed, point: Point<'_>) -> Checked {
    let Point::Action(Action::AskTask(id, ..)) = point else { return Ok(()) };
    ensure!(!seen.drains(), "t{id} is asked during the drain");
    Ok(())
}

/// S9, S10: loops are told to stop as soon as all tasks have ended; they have 10 s, or the rest of the total time, but
/// at least a second.
fn loops_stop_last(seen: &Observed, point: Point<'_>) -> Checked {
    match point {
        Point::Action(Action::StopLoop(id, run, _, deadline)) => {
            let (each, live) = (&seen.loops[*id], seen.live().count());
            ensure!(seen.stop.is_some() && live == 0, "{live} tasks live");
            let shorter = each.told.is_none_or(|(_, until)| seen.hard.is_some() && *deadline < until);
            ensure!(each.is_live() && each.incarnation == *run && shorter, "it is {each:?}");
            let last = seen.last_moment().unwrap_or_default();
            let hard = seen.hard.map(|_| seen.now + GRACE);
            let right = hard.unwrap_or((seen.now + LOOP_TIMEOUT).min(last).max(seen.now + GRACE));
            ensure!(*deadline == right, "until {deadline:?}, not {right:?}");
        }
        Point::End if seen.stop.is_some() && seen.live().next().is_none() && !seen.drains() => {
            let late = seen.loops.iter().position(|each| each.phase == Phase::Running && each.told.is_none());
            ensure!(late.is_none(), "l{late:?} is not told to stop");
        }
        _ => {}
    }
    Ok(())
}

/// S10: a task that is asked has its own timeout, or the rest of the total time.
fn deadlines(seen: &Observed, point: Point<'_>) -> Checked {
    let Point::Action(Action::AskTask(id, _, reason, deadline)) = point else { return Ok(()) };
    if in_haste(seen) {
        return Ok(());
    }
    let own = seen.now + seen.plan.tasks[*id].stop_timeout;
    let right = seen.last_moment().map_or(own, |last| own.min(last));
    ensure!(*deadline == right, "t{id} has until {deadline:?}, not {right:?}");
    if let Some((_, stop)) = &seen.stop {
        ensure!(stop == reason, "t{id} is asked for {reason:?}, not {stop:?}");
    }
    Ok(())
}

/// S11: a task that was asked is cancelled at its deadline, not before; at the last moment all are.
fn cancels_on_time(seen: &Observed, point: Point<'_>) -> Checked {
    match point {
        Point::Action(Action::CancelTask(id, _)) => {
            let Some(asked) = &seen.tasks[*id].asked else { return Ok(()) };
            ensure!(in_haste(seen) || seen.now >= asked.deadline, "t{id} has until {:?}", asked.deadline);
        }
        Point::End => {
            let all = seen.last_moment().is_some_and(|last| seen.now >= last);
            for id in seen.live().filter(|&id| seen.tasks[id].cancelled.is_none()) {
                let own = seen.tasks[id].asked.as_ref().map(|asked| asked.deadline);
                ensure!(!all && own.is_none_or(|own| seen.now < own), "t{id} is past its deadline");
            }
        }
        _ => {}
    }
    Ok(())
}

/// S11: a loop is abandoned a second after a cancel that it does not act on, or at its own deadline, with all its
/// tasks, at once.
fn abandons_on_time(seen: &Observed, point: Point<'_>) -> Checked {
    let tasks = |on| (0..seen.tasks.len()).filter(move |&id| seen.plan.tasks[id].event_loop == on);
    match point {
        Point::Action(Action::AbandonLoop(id, run)) => {
            let each = &seen.loops[*id];
            ensure!(each.is_live() && each.incarnation == *run, "l{id}#{run} is {:?}", each.phase);
            let stuck = |task: TaskId| seen.tasks[task].cancelled.is_some_and(|(at, _)| seen.now >= at + GRACE);
            let late = each.told.is_some_and(|(_, deadline)| seen.now >= deadline);
            let hard = seen.hard.is_some_and(|(at, _)| seen.now >= at + GRACE);
            ensure!(late || hard || tasks(*id).any(stuck), "l{id} has time left");
        }
        Point::Action(Action::Transition(step)) if step.to == State::Abandoned => {
            let on = seen.task_named(&step.task).map(|id| seen.plan.tasks[id].event_loop);
            ensure!(on.is_some_and(|on| seen.plan.loops.len() > on), "{step:?}");
        }
        Point::End => {
            for id in seen.live() {
                let on = &seen.loops[seen.plan.tasks[id].event_loop];
                ensure!(on.phase != Phase::Abandoned, "t{id} lives on an abandoned loop");
                let stuck = seen.tasks[id].cancelled.is_some_and(|(at, _)| seen.now >= at + GRACE);
                ensure!(!stuck, "t{id} has not acted on its cancel");
            }
            for (id, each) in seen.loops.iter().enumerate().filter(|(_, each)| each.is_live()) {
                let late = each.told.is_some_and(|(_, deadline)| seen.now >= deadline);
                ensure!(!late, "l{id} is past its deadline");
            }
        }
        _ => {}
    }
    Ok(())
}

/// S12: the service ends as soon as everything has ended, never before, and within its time: two seconds past the last
/// moment, or past a hard stop.
fn finishes(seen: &Observed, point: Point<'_>) -> Checked {
    let up = || seen.loops.iter().any(|each| each.is_live()) || seen.live().next().is_some();
    match point {
        Point::Event(_) | Point::End => {
            let (Some(last), Some(_)) = (seen.last_moment(), seen.started) else { return Ok(()) };
            if seen.finished.is_none() {
                let bound = seen.hard.map_or(last, |(at, _)| last.min(at)) + 2 * GRACE + 4 * seen.late;
                ensure!(seen.now <= bound, "it should have ended until {bound:?}");
                ensure!(matches!(point, Point::Event(_)) || up() || seen.drains(), "all has ended");
            }
        }
        Point::Action(action) => {
            ensure!(seen.finished.is_none(), "{action:?} after the end");
            if let Action::Finished(_) = action {
                ensure!(seen.stop.is_some() && !up(), "not all has ended");
            }
        }
    }
    Ok(())
}

/// S14: a failed task restarts or stops the service, as a loop does; the end of the last one that keeps it up stops it.
fn no_zombies(seen: &Observed, point: Point<'_>) -> Checked {
    if !matches!(point, Point::End) || seen.has_stopped_for_good() || seen.started.is_none() {
        return Ok(());
    }
    for (id, task) in seen.tasks.iter().enumerate() {
        let meant = task.meant || task.asked.is_some() || seen.groups.iter().any(|group| group.has(id));
        let dead = matches!(task.state, State::Failed | State::Cancelled) || seen.covers(id);
        ensure!(!dead || meant, "t{id} is {:?} and nothing follows", task.state);
        ensure!(task.state != State::Abandoned, "t{id} is abandoned and nothing follows");
    }
    for (id, each) in seen.loops.iter().enumerate() {
        let gone = each.phase == Phase::Abandoned || each.phase == Phase::Ended && each.restart.is_none();
        ensure!(!gone, "l{id} is {:?} and nothing follows", each.phase);
    }
    let mut others = seen.tasks.iter().zip(&seen.plan.tasks).filter(|(_, plan)| !plan.last).peekable();
    let some = others.peek().is_some() && !seen.operated && seen.groups.is_empty();
    let done = others.all(|(task, _)| matches!(task.state, State::Stopped | State::Skipped));
    ensure!(!some || !done, "all has been done");
    Ok(())
}

/// S15: the ending reports what has happened.
fn exit_code(seen: &Observed, point: Point<'_>) -> Checked {
    let Point::Action(Action::Finished(ending)) = point else { return Ok(()) };
    let forced = seen.hard.map(|(_, signal)| signal);
    ensure!(seen.failures().allows(ending.failed), "{ending:?}, but failed: {:?}", seen.failures());
    ensure!(seen.overdue.allows(ending.overdue), "{ending:?}, but overdue: {:?}", seen.overdue);
    ensure!(seen.abandoned == ending.abandoned, "{ending:?}, but abandoned: {}", seen.abandoned);
    ensure!(forced == ending.forced, "{ending:?}, but forced: {forced:?}");
    let right = match (forced, ending.failed, ending.overdue) {
        (Some(signal), ..) => 128 + signal,
        (None, true, _) => 1,
        (None, false, true) => 124,
        (None, false, false) => 0,
    };
    ensure!(i32::from(ending.code()) == right, "{ending:?} is {}, not {right}", ending.code());
    Ok(())
}

/// S16: everything that lives is cancelled at once.
fn hard_stop(seen: &Observed, point: Point<'_>) -> Checked {
    if !matches!(point, Point::End) || seen.hard.is_none() || seen.started.is_none() {
        return Ok(());
    }
    for id in seen.live() {
        let task = &seen.tasks[id];
        let cancelled = task.cancelled.is_some_and(|(_, why)| task.asked.is_some() || why == Why::StartTimeout);
        ensure!(cancelled, "t{id} goes on");
    }
    Ok(())
}

/// S9: ready means that all tasks are Running, Stopped or Skipped and nothing stops; changes are reported. All are
/// started once.
fn readiness(seen: &Observed, point: Point<'_>) -> Checked {
    let settled = |state: State| state == State::Running || state.is_final();
    match point {
        Point::Action(Action::SetReady(ready)) => {
            ensure!(*ready != seen.ready, "it is {ready} already");
            ensure!(!ready || seen.stop.is_none(), "ready after a stop");
        }
        Point::Action(Action::AllStarted) => {
            ensure!(!seen.all_started, "again");
            let late = seen.tasks.iter().position(|task| matches!(task.state, State::Waiting | State::Starting));
            ensure!(late.is_none() && seen.stop.is_none(), "t{late:?} has not started");
        }
        Point::End if seen.started.is_some() && seen.finished.is_none() => {
            let good = |state| matches!(state, State::Running | State::Stopped | State::Skipped);
            let ready = seen.stop.is_none() && seen.tasks.iter().all(|task| good(task.state));
            ensure!(seen.ready == ready, "it says ready: {}", seen.ready);
            let started = seen.stop.is_some() || seen.tasks.iter().any(|task| !settled(task.state));
            ensure!(seen.all_started || started, "all have started");
        }
        _ => {}
    }
    Ok(())
}

/// S24: a task that goes back to Waiting has a reason: its policy, its loop's, or an operator's or a requirement's
/// restart. By policy, the pause is in range and the limit not hit; and the service does not stop for a failure that
/// the policy covers before the limit is hit.
fn restarts(seen: &Observed, point: Point<'_>) -> Checked {
    match point {
        Point::Action(Action::Transition(step)) if step.to == State::Waiting => {
            let Some(id) = seen.task_named(&step.task) else { return Ok(()) };
            let (task, policy) = (&seen.tasks[id], &seen.plan.tasks[id].restart);
            let died = matches!(task.cause, Some(Cause::LoopDied(_)));
            let by_loop = died && seen.plan.loops[seen.plan.tasks[id].event_loop].restart.when != When::Never;
            let grouped = seen.groups.iter().any(|group| group.again() && group.has(id));
            let by_policy = seen.covers(id) && !died;
            ensure!(by_policy || by_loop || grouped, "{step:?} for no reason");
            if by_policy && !grouped {
                let (least, _) = task.row.within(policy, seen.now);
                ensure!(least < policy.limit as usize, "{step:?} is one too many: {:?}", task.row.times);
                let (low, high) = task.row.pauses(policy, seen.was_quiet(id));
                let Cause::Restart(pause) = step.cause else { return Err(format!("{step:?}")) };
                ensure!(low <= pause && pause <= high, "{pause:?} is not within {low:?} and {high:?}");
            }
        }
        Point::Action(Action::Stopping(Reason::TaskFailed(name))) => {
            let Some(id) = seen.task_named(name) else { return Ok(()) };
            let (task, policy) = (&seen.tasks[id], &seen.plan.tasks[id].restart);
            let grouped = seen.groups.iter().any(|group| group.has(id));
            if seen.requested.is_none() && seen.covers(id) && !grouped {
                let (_, most) = task.row.within(policy, seen.now);
                ensure!(most >= policy.limit as usize, "{name} has restarted {most} times of {}", policy.limit);
            }
        }
        _ => {}
    }
    Ok(())
}

/// S24: a loop that dies takes its tasks down; it restarts by its own policy, within its limit, and its tasks after it.
fn restarts_of_loops(seen: &Observed, point: Point<'_>) -> Checked {
    match point {
        Point::Action(Action::StartLoop(id, run)) => {
            let (each, policy) = (&seen.loops[*id], &seen.plan.loops[*id].restart);
            ensure!(*run == each.incarnation + 1, "l{id}#{run} after #{}", each.incarnation);
            match each.phase {
                Phase::Idle => {}
                Phase::Ended => {
                    let Some((low, _)) = each.restart else { return Err(format!("l{id} is restarted")) };
                    ensure!(seen.now >= low, "l{id} is restarted before {low:?}");
                    let (least, _) = each.row.within(policy, each.ended);
                    ensure!(least < policy.limit as usize, "l{id} is restarted once too often: {:?}", each.row.times);
                }
                phase => return Err(format!("l{id} is {phase:?}")),
            }
        }
        Point::Action(Action::Stopping(Reason::LoopFailed(name))) => {
            let ended = seen.step.loop_ended.as_ref().map(|(id, ..)| *id);
            if let Some(id) = ended.filter(|&id| *seen.plan.loops[id].name == **name && seen.step.abandoned.is_empty())
            {
                let policy: &RestartPolicy = &seen.plan.loops[id].restart;
                let (_, most) = seen.loops[id].row.within(policy, seen.now);
                let covered = policy.when != When::Never;
                ensure!(
                    !covered || most >= policy.limit as usize,
                    "{name} has restarted {most} times of {}",
                    policy.limit
                );
            }
        }
        Point::End => {
            if let Some((id, ..)) = seen.step.loop_ended {
                let left = seen
                    .live()
                    .find(|&task| seen.plan.tasks[task].event_loop == id && seen.loops[id].phase == Phase::Ended);
                ensure!(left.is_none(), "t{left:?} lives on a dead loop");
            }
            for (id, each) in seen.loops.iter().enumerate().filter(|_| seen.stop.is_none()) {
                let late = each.restart.is_some_and(|(_, high)| seen.now > high + seen.late);
                ensure!(!late, "l{id} should have been restarted");
            }
            if seen.stop.is_none() && matches!(seen.step.event, Some(Event::Start)) {
                ensure!(seen.loops.iter().all(|each| each.phase != Phase::Idle), "a loop is not started");
            }
        }
        _ => {}
    }
    Ok(())
}

/// S8: nothing starts or restarts once a stop was requested, and waiting tasks never will; nor does anything before the
/// start.
fn nothing_starts_after_a_stop(seen: &Observed, point: Point<'_>) -> Checked {
    let action = match point {
        Point::Action(action) => action,
        Point::End if seen.stop.is_some() && seen.started.is_some() => {
            let waiting = seen.tasks.iter().position(|task| task.state == State::Waiting);
            ensure!(waiting.is_none(), "{waiting:?} still waits");
            return Ok(());
        }
        _ => return Ok(()),
    };
    let starts = match action {
        Action::StartLoop(..) | Action::StartTask(..) | Action::AllStarted | Action::SetReady(true) => true,
        Action::Transition(step) => matches!(step.to, State::Waiting | State::Starting),
        _ => false,
    };
    let waits = matches!(action, Action::Transition(step) if step.to == State::Waiting);
    ensure!(!starts || waits || seen.started.is_some(), "{action:?} before the start");
    ensure!(!starts || !seen.has_stopped_for_good(), "{action:?} after a stop");
    Ok(())
}

/// A start is one action and one transition; it ends once: by its own end, with its loop's, or immediately by
/// abandonment.
fn starts_and_ends(seen: &Observed, point: Point<'_>) -> Checked {
    match point {
        Point::Action(Action::StartTask(id, run)) => {
            ensure!(seen.tasks[*id].incarnation == *run, "t{id}#{run} is started");
            ensure!(seen.tasks[*id].started.is_none(), "t{id}#{run} is started again");
        }
        Point::Action(Action::Transition(step)) if step.to.is_final() => {
            let Some(id) = seen.task_named(&step.task) else { return Ok(()) };
            let on = seen.plan.tasks[id].event_loop;
            let with_its_loop = seen.step.loop_ended.as_ref().is_some_and(|(ended, ..)| *ended == on);
            let abandoned = step.to == State::Abandoned;
            let never = step.from == State::Waiting;
            ensure!(never || abandoned || with_its_loop || seen.step.ended == Some(id), "{step:?} out of the blue");
        }
        Point::End => {
            let started = |id: TaskId| seen.step.starts.iter().filter(|&&start| start == id).count();
            for (id, plan) in seen.plan.tasks.iter().enumerate() {
                let mine = seen.step.transitions.iter().filter(|step| step.task == plan.name);
                let (mut steps, mut asks) = (0, 0);
                for step in mine {
                    steps += usize::from(step.to == State::Starting);
                    asks += usize::from(step.to == State::Stopping);
                }
                ensure!(steps == started(id), "t{id} is started {} times in {steps} steps", started(id));
                let asked = seen.step.asks.iter().filter(|&&ask| ask == id).count();
                ensure!(asks == asked, "t{id} is asked {asked} times in {asks} steps");
            }
            if let Some(id) = seen.step.ended {
                let still = seen.is_live(id) && !seen.step.starts.contains(&id);
                ensure!(!still, "t{id} has ended and is {:?}", seen.tasks[id].state);
            }
            for id in seen.live() {
                let on = &seen.loops[seen.plan.tasks[id].event_loop];
                ensure!(on.phase == Phase::Running, "t{id} lives on a loop that is {:?}", on.phase);
            }
        }
        _ => {}
    }
    Ok(())
}

/// S24: whatever will never run again is closed, once; nothing starts on it; at the end everything is closed.
fn closes_once(seen: &Observed, point: Point<'_>) -> Checked {
    match point {
        Point::Action(Action::CloseTask(id)) => {
            ensure!(!seen.tasks[*id].closed, "t{id} is closed again");
            let state = seen.tasks[*id].state;
            ensure!(state.is_final() || seen.started.is_none(), "t{id} is closed, {state}");
        }
        Point::Action(Action::CloseLoop(id)) => {
            ensure!(!seen.loops[*id].closed, "l{id} is closed again");
            ensure!(!seen.loops[*id].is_live(), "l{id} is closed, {:?}", seen.loops[*id].phase);
        }
        Point::Action(Action::StartTask(id, _)) => {
            ensure!(!seen.tasks[*id].closed, "t{id} is closed");
            ensure!(!seen.loops[seen.plan.tasks[*id].event_loop].closed, "the loop of t{id} is closed");
        }
        Point::Action(Action::StartLoop(id, _)) => ensure!(!seen.loops[*id].closed, "l{id} is closed"),
        Point::Action(Action::Transition(step)) => {
            let id = seen.task_named(&step.task);
            // An operator may restart a task that had ended for good.
            let Some(id) = id.filter(|&id| seen.tasks[id].closed) else { return Ok(()) };
            let operated = |group: &Group| matches!(group.kind, Kind::Restart | Kind::Service) && group.has(id);
            ensure!(step.to == State::Waiting && seen.groups.iter().any(operated), "{step:?} of a closed task");
        }
        Point::Action(Action::Finished(_)) => {
            for (id, task) in seen.tasks.iter().enumerate() {
                ensure!(task.closed && task.state.is_final(), "t{id} is {} and closed: {}", task.state, task.closed);
            }
            for (id, each) in seen.loops.iter().enumerate() {
                ensure!(each.closed || each.phase == Phase::Abandoned, "l{id} is not closed");
            }
        }
        Point::End if seen.stop.is_some() && seen.started.is_some() => {
            let open = (0..seen.tasks.len()).find(|&id| seen.tasks[id].state.is_final() && !seen.tasks[id].closed);
            ensure!(open.is_none(), "t{open:?} has ended for good");
        }
        _ => {}
    }
    Ok(())
}

/// An operator's stop or restart, and a restart with dependents: the tasks that require the task are asked first, at
/// once, in order; no other task is asked; then it stays down, or comes up again.
fn operators(seen: &Observed, point: Point<'_>) -> Checked {
    if !matches!(point, Point::End) || seen.has_stopped_for_good() {
        return Ok(());
    }
    for id in &seen.step.asks {
        ensure!(seen.groups.iter().any(|group| group.has(*id)), "t{id} is asked for no reason");
    }
    if seen.step.warned {
        let quiet = seen.step.transitions.is_empty() && seen.step.asks.is_empty();
        ensure!(quiet && seen.step.actions == 1, "it can't be restarted: nothing but a warning is due");
    }
    let last = |id: TaskId| seen.plan.tasks[id].last;
    for group in seen.groups.iter().filter(|group| !group.loose) {
        let anew = |id: TaskId| seen.tasks[id].incarnation > group.incarnations[id];
        let lives = |id: TaskId| seen.is_live(id) && !anew(id);
        for &id in group.members.iter().filter(|&&id| lives(id)) {
            let task = &seen.tasks[id];
            let holds = |other: TaskId| {
                let after = seen.plan.tasks[other].after.contains(&id);
                other != id
                    && lives(other)
                    && (seen.requirers[id].contains(&other)
                        || group.kind == Kind::Service && (after || last(id) && !last(other)))
            };
            // A task that is being stopped for another reason may hold those that it is only after.
            let also = |other: TaskId| {
                seen.plan.tasks[other].after.contains(&id) && seen.groups.iter().any(|group| group.has(other))
            };
            let held = group.members.iter().any(|&other| holds(other)) || seen.live().any(also);
            ensure!(task.asked.is_some() || task.cancelled.is_some() || held, "t{id} is not asked: {group:?}");
        }
        if group.members.iter().any(|&id| lives(id)) {
            continue;
        }
        let due = group.kind != Kind::Dependents || group.root.is_some_and(|id| seen.tasks[id].state == State::Running);
        for &id in &group.members {
            let state = seen.tasks[id].state;
            ensure!(!group.again() || !due || anew(id), "t{id} is {state} and does not come up again: {group:?}");
            ensure!(group.again() || state.is_final(), "t{id} is {state}: {group:?}");
        }
    }
    Ok(())
}
