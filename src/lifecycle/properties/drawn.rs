//! What `docs/task-states.svg` and `docs/service-states.svg` show: each step that the machine takes in many worlds.

use std::{collections::BTreeSet, path::Path};

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, TestRng, TestRunner},
};

use super::{
    script::{Begin, Cancelled, Request, Script, script},
    world::steps,
};
use crate::{
    lifecycle::{Action, Outcome, Phase},
    words::state::{Cause, Reason},
};

/// A step of a `task` or of the `service`: from where, to where, why.
pub(super) type Step = (&'static str, &'static str, &'static str, &'static str);

/// How many scripts are run, each in two ways. Fifteen times as many show no other step.
const SCRIPTS: usize = 2000;
/// When an operator restarts the service, and when each of its tasks, in milliseconds.
const RESTARTS: (u64, u64) = (400, 1500);

/// The same worlds each time. Their steps go to stdout, where `scripts/pictures` finds them.
#[test]
fn the_pictures_of_the_states_show_each_step_and_no_other() {
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(Default::default()));
    let mut taken = BTreeSet::new();
    for _ in 0..SCRIPTS {
        let mut script = script().new_tree(&mut runner).expect("a script").current();
        taken.extend(steps(&script));
        make_errors_suspect(&mut script);
        script.requests.push((RESTARTS.0, Request::RestartService));
        script.requests.extend((0..script.plan.tasks.len()).map(|task| (RESTARTS.1, Request::RestartTask(task))));
        taken.extend(steps(&script));
    }
    let pictures = ["task", "service"].map(|of| {
        let of_it = taken.iter().filter(|step| step.0 == of);
        let line = |(_, from, to, why): &Step| format!("{from} -> {to}: {why}").trim_end_matches(": ").to_owned();
        let steps: Vec<_> = of_it.map(line).collect();
        println!("<{of}>\n{}\n</{of}>", steps.join("\n"));
        (of, steps)
    });
    for (of, steps) in pictures {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/{of}-states.svg"));
        let shown = std::fs::read_to_string(file).map(|picture| shown_in(&picture)).unwrap_or_default();
        assert_eq!(shown, steps, "`scripts/pictures states` draws it anew");
    }
}

/// Returns the steps that a picture shows, as its description says.
fn shown_in(picture: &str) -> Vec<String> {
    let description = picture.split_once("<desc>").and_then(|(_, rest)| rest.split_once("</desc>"));
    let (description, _) = description.unwrap_or_default();
    description.trim().lines().map(|line| line.replace("&gt;", ">")).collect()
}

/// Makes each error one that a stop would explain.
fn make_errors_suspect(script: &mut Script) {
    let suspect = |outcome: &mut Outcome| {
        if let Outcome::Error(error) = outcome {
            *outcome = Outcome::Suspect(std::mem::take(error));
        }
    };
    for life in script.lives.iter_mut().flatten() {
        if let Begin::Ends(_, outcome) = &mut life.begin {
            suspect(outcome);
        }
        if let Cancelled::Ends(_, outcome) = &mut life.cancelled {
            suspect(outcome);
        }
        life.ends.iter_mut().chain(&mut life.asked).for_each(|(_, outcome)| suspect(outcome));
    }
}

/// Returns the step of a task that this action reports.
pub(super) fn of_task(action: &Action) -> Option<Step> {
    let Action::Transition(step) = action else { return None };
    let why = match &step.cause {
        Cause::Start => "may start",
        Cause::Ready => "ready()",
        Cause::Finished => "returns Ok",
        Cause::Asked(_) => "asked to stop",
        Cause::Ended => "ends",
        Cause::NeverStarted => "a stop",
        Cause::Error(_) => "error",
        Cause::PartOfStop(_) => "error, due to the stop",
        Cause::Panicked(_) => "panic",
        Cause::Dropped => "dropped",
        Cause::StartTimeout(_) => "start timeout",
        Cause::StopTimeout(_) => "stop timeout",
        Cause::HardStop => "hard stop",
        Cause::LoopDied(_) => "its loop died",
        Cause::LoopStuck => "its loop is stuck",
        Cause::Skipped(_) => "skip",
        Cause::Restart(_) => "restart",
    };
    Some(("task", step.from.as_str(), step.to.as_str(), why))
}

/// Returns the steps through these phases, for which the actions have the reason.
pub(super) fn of_service(phases: &[(Phase, bool)], actions: &[Action]) -> Vec<Step> {
    let reason = actions.iter().find_map(|action| match action {
        Action::Stopping(reason) => Some(match reason {
            Reason::Signal(_) => "signal",
            Reason::Requested(_) => "request",
            Reason::TaskFailed(_) => "a task failed",
            Reason::LoopFailed(_) => "a loop failed",
            Reason::AllDone => "all tasks have ended",
            Reason::Restart | Reason::Dependency(_) => "of a task alone",
        }),
        _ => None,
    });
    let step = |pair: &[(Phase, bool)]| {
        let why = if pair[1].0 == Phase::Draining { reason.unwrap_or("unknown") } else { "" };
        ("service", name(pair[0]), name(pair[1]), why)
    };
    phases.windows(2).map(step).filter(|(_, from, to, _)| from != to).collect()
}

fn name((phase, all_started): (Phase, bool)) -> &'static str {
    match phase {
        Phase::New => "new",
        Phase::Up if all_started => "running",
        Phase::Up => "starting",
        Phase::Cycling { .. } => "restarting",
        Phase::Draining => "draining",
        Phase::Stopping { last: false } => "stopping tasks",
        Phase::Stopping { last: true } => "stopping last ones",
        Phase::StoppingLoops => "stopping loops",
        Phase::Finished => "ended",
    }
}
