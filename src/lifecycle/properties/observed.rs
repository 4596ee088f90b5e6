//! The knowledge of an observer: the events that were sent and the actions that came back, never the machine's
//! internals.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    lifecycle::{Action, Ending, Event, LoopId, Now, Outcome, Plan, TaskId},
    words::{
        restart::{RestartPolicy, When},
        state::{Cause, Reason, State, Transition},
    },
};

/// The position of the replay. An action or an event is shown before [`Observed`] takes it in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Point<'a> {
    Event(&'a Event),
    Action(&'a Action),
    /// After all actions of one call.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    StartTimeout,
    Deadline,
    HardStop,
}

#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) at: Now,
    pub(super) deadline: Now,
    pub(super) reason: Reason,
}

/// The observed state of a task.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) state: State,
    pub(super) incarnation: u32,
    /// The cause of the last transition, and its time.
    pub(super) cause: Option<Cause>,
    pub(super) at: Now,
    // For this incarnation:
    pub(super) started: Option<Now>,
    pub(super) ready: Option<Now>,
    /// It called `ready()` after it had been asked to stop.
    pub(super) late_ready: bool,
    pub(super) asked: Option<Asked>,
    pub(super) cancelled: Option<(Now, Why)>,
    /// For all incarnations:
    pub(super) closed: bool,
    /// An operator has stopped this incarnation, or it ended while that was in progress.
    pub(super) meant: bool,
    /// When this incarnation may start.
    pub(super) not_before: Now,
    pub(super) row: Row,
}

/// The restarts that count.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// The time of each, and whether it certainly counts.
    pub(super) times: Vec<(Now, bool)>,
    /// How many are consecutive at most, and at least.
    pub(super) most: u32,
    pub(super) least: u32,
}

impl Row {
    /// Returns how many restarts were in the window, for certain and at most: those at its very edge may count or not.
    pub(super) fn within(&self, policy: &RestartPolicy, now: Now) -> (usize, usize) {
        let least = self.times.iter().filter(|(at, sure)| *sure && now - *at < policy.window).count();
        (least, self.times.iter().filter(|(at, _)| now - *at <= policy.window).count())
    }

    /// Returns the shortest and the longest pause that the policy allows after a run that was quiet or not.
    pub(super) fn pauses(&self, policy: &RestartPolicy, quiet: bool) -> (Duration, Duration) {
        let pause = |row: u32| policy.first.saturating_mul(1 << row.min(20)).min(policy.longest);
        let (least, most) = if quiet { (0, 0) } else { (self.least, self.most) };
        let edge = Duration::from_micros(2);
        let low = pause(least).mul_f64(1.0 - policy.jitter).saturating_sub(edge);
        (low, pause(most).mul_f64(1.0 + policy.jitter) + edge)
    }

    fn count(&mut self, now: Now, quiet: bool, sure: bool) {
        self.times.push((now, sure));
        (self.least, self.most) = if quiet { (1, 1) } else { (self.least + 1, self.most + 1) };
        if !sure {
            self.least = 0;
        }
    }

    /// Records that something else has restarted it: the rules don't say whether the row continues.
    fn blur(&mut self) {
        self.least = 0;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    Starting,
    Running,
    /// It ended by itself, or as it was told to.
    Ended,
    Abandoned,
}

/// The observed state of a loop.
#[derive(Clone, Debug)]
pub(super) struct Loop {
    pub(super) phase: Phase,
    pub(super) incarnation: u32,
    pub(super) running_since: Option<Now>,
    /// When it was told to stop, and its deadline.
    pub(super) told: Option<(Now, Now)>,
    pub(super) ended: Now,
    pub(super) closed: bool,
    /// It ended untold, had been quiet or not, and waits for its restart between these times.
    pub(super) restart: Option<(Now, Now)>,
    pub(super) row: Row,
}

impl Loop {
    pub(super) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Running)
    }
}

/// Tasks that are stopped together for an operator, or for a task that they require.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) kind: Kind,
    pub(super) root: Option<TaskId>,
    /// These must be stopped.
    pub(super) members: BTreeSet<TaskId>,
    /// These may be stopped.
    pub(super) others: BTreeSet<TaskId>,
    /// The incarnation of each task when the group was made.
    pub(super) incarnations: Vec<u32>,
    /// Its tasks were also affected otherwise: only its permissions hold.
    pub(super) loose: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Stop,
    Restart,
    Service,
    Dependents,
}

impl Group {
    pub(super) fn has(&self, id: TaskId) -> bool {
        self.members.contains(&id) || self.others.contains(&id)
    }

    pub(super) fn again(&self) -> bool {
        self.kind != Kind::Stop
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Known {
    #[default]
    No,
    Maybe,
    Yes,
}

/// The events and actions within one call of `handle`.
#[derive(Clone, Debug, Default)]
pub(super) struct Step {
    pub(super) event: Option<Event>,
    /// The live task whose end, or readiness, the event reported.
    pub(super) ended: Option<TaskId>,
    pub(super) ready: Option<TaskId>,
    /// The live loop whose end the event reported; whether it had been told to; whether it was running.
    pub(super) loop_ended: Option<(LoopId, bool, Result<(), String>)>,
    pub(super) actions: usize,
    pub(super) starts: Vec<TaskId>,
    pub(super) asks: Vec<TaskId>,
    pub(super) transitions: Vec<Transition>,
    pub(super) abandoned: Vec<LoopId>,
    pub(super) warned: bool,
    pub(super) stopping: bool,
    pub(super) all_started: bool,
}

pub(super) struct Observed {
    pub(super) plan: Plan,
    pub(super) now: Now,
    /// How late ticks come.
    pub(super) late: Duration,
    pub(super) tasks: Vec<Task>,
    pub(super) loops: Vec<Loop>,
    pub(super) started: Option<Now>,
    pub(super) requested: Option<Reason>,
    pub(super) stop: Option<(Now, Reason)>,
    pub(super) hard: Option<(Now, i32)>,
    pub(super) ready: bool,
    pub(super) all_started: bool,
    pub(super) finished: Option<Ending>,
    pub(super) groups: Vec<Group>,
    /// An operator has stopped something.
    pub(super) operated: bool,
    pub(super) failed: Known,
    pub(super) overdue: Known,
    pub(super) abandoned: bool,
    pub(super) step: Step,
    /// The machine's answers after this call.
    pub(super) says: Vec<(State, u32)>,
    /// The tasks that require each task, directly or not.
    pub(super) requirers: Vec<BTreeSet<TaskId>>,
}

pub(super) fn is_live(state: State) -> bool {
    matches!(state, State::Starting | State::Running | State::Stopping)
}

impl Observed {
    pub(super) fn new(plan: Plan, late: Duration) -> Self {
        let task = Task {
            state: State::Waiting,
            incarnation: 1,
            cause: None,
            at: Now::ZERO,
            started: None,
            ready: None,
            late_ready: false,
            asked: None,
            cancelled: None,
            closed: false,
            meant: false,
            not_before: Now::ZERO,
            row: Row::default(),
        };
        let each = Loop {
            phase: Phase::Idle,
            incarnation: 0,
            running_since: None,
            told: None,
            ended: Now::ZERO,
            closed: false,
            restart: None,
            row: Row::default(),
        };
        Self {
            now: Now::ZERO,
            late,
            tasks: vec![task; plan.tasks.len()],
            loops: vec![each; plan.loops.len()],
            started: None,
            requested: None,
            stop: None,
            hard: None,
            ready: false,
            all_started: false,
            finished: None,
            groups: Vec::new(),
            operated: false,
            failed: Known::No,
            overdue: Known::No,
            abandoned: false,
            step: Step::default(),
            says: Vec::new(),
            requirers: (0..plan.tasks.len()).map(|id| requirers(&plan, id)).collect(),
            plan,
        }
    }

    pub(super) fn live(&self) -> impl Iterator<Item = TaskId> + '_ {
        (0..self.tasks.len()).filter(|&id| is_live(self.tasks[id].state))
    }

    pub(super) fn is_live(&self, id: TaskId) -> bool {
        is_live(self.tasks[id].state)
    }

    fn lives(&self, id: TaskId, incarnation: u32) -> bool {
        self.is_live(id) && self.tasks[id].incarnation == incarnation
    }

    pub(super) fn task_named(&self, name: &str) -> Option<TaskId> {
        self.plan.tasks.iter().position(|task| &*task.name == name)
    }

    pub(super) fn has_stopped_for_good(&self) -> bool {
        self.stop.is_some() || self.finished.is_some()
    }

    /// Returns the time at which all tasks are cancelled.
    pub(super) fn last_moment(&self) -> Option<Now> {
        self.stop.as_ref().map(|(at, _)| *at + self.plan.shutdown_timeout)
    }

    pub(super) fn drains(&self) -> bool {
        let Some((at, reason)) = &self.stop else { return false };
        let end = (*at + self.plan.drain_delay).min(*at + self.plan.shutdown_timeout);
        *reason == Reason::Signal(15) && self.hard.is_none() && self.now < end
    }

    /// Whether a required task is Running, or has ended by itself with Ok.
    pub(super) fn satisfies(&self, required: TaskId) -> bool {
        let task = &self.tasks[required];
        task.state == State::Running || task.state == State::Stopped && task.cause == Some(Cause::Finished)
    }

    /// Returns why this task can't start now.
    pub(super) fn obstacle(&self, id: TaskId) -> Option<String> {
        let plan = &self.plan.tasks[id];
        let name = |id: &TaskId| (self.plan.tasks[*id].name.to_string(), self.tasks[*id].state);
        if self.loops[plan.event_loop].phase != Phase::Running || self.loops[plan.event_loop].told.is_some() {
            return Some(format!("its loop is {:?}", self.loops[plan.event_loop].phase));
        }
        if let Some(id) = plan.requires.iter().find(|&&id| !self.satisfies(id)) {
            return Some(format!("it requires {:?}", name(id)));
        }
        let settled = |id: TaskId| self.tasks[id].state == State::Running || self.tasks[id].state.is_final();
        if let Some(id) = plan.after.iter().find(|&&id| !settled(id)) {
            return Some(format!("it is after {:?}", name(id)));
        }
        (self.now < self.tasks[id].not_before)
            .then(|| format!("its backoff lasts until {:?}", self.tasks[id].not_before))
    }

    /// Whether the task's policy covers this end.
    pub(super) fn covers(&self, id: TaskId) -> bool {
        let task = &self.tasks[id];
        let failed = task.state == State::Failed;
        let finished = task.state == State::Stopped && task.cause == Some(Cause::Finished);
        task.asked.is_none()
            && match self.plan.tasks[id].restart.when {
                When::Never => false,
                When::OnFailure => failed,
                When::Always => failed || finished,
            }
    }

    pub(super) fn was_quiet(&self, id: TaskId) -> bool {
        self.tasks[id].ready.is_some_and(|ready| self.tasks[id].at - ready >= self.plan.tasks[id].restart.quiet)
    }

    pub(super) fn before(&mut self, now: Now, event: &Event) {
        self.now = now;
        self.step = Step { event: Some(event.clone()), ..Step::default() };
        let open = self.started.is_some() && !self.has_stopped_for_good();
        match event {
            Event::Start => {
                self.started.get_or_insert(now);
            }
            Event::LoopStarted(id, run) => {
                let each = &mut self.loops[*id];
                if each.incarnation == *run && each.phase == Phase::Starting {
                    each.phase = Phase::Running;
                    each.running_since = Some(now);
                }
            }
            Event::LoopEnded(id, run, result) if self.loops[*id].incarnation == *run && self.loops[*id].is_live() => {
                self.loop_ended(*id, result);
            }
            Event::TaskReady(id, run) if self.lives(*id, *run) => {
                self.step.ready = Some(*id);
                self.tasks[*id].late_ready |= self.tasks[*id].state == State::Stopping;
            }
            Event::TaskEnded(id, run, _) if self.lives(*id, *run) => self.step.ended = Some(*id),
            Event::ShutdownRequested(reason) => {
                self.requested.get_or_insert(reason.clone());
            }
            Event::HardStop(signal) => {
                self.requested.get_or_insert(Reason::Signal(*signal));
                self.hard.get_or_insert((now, *signal));
            }
            Event::StopTask(id) if open => {
                self.operated = true;
                self.group(Kind::Stop, Some(*id));
            }
            Event::RestartTask(id) if open => {
                // It does not wait for the end of its backoff.
                if self.tasks[*id].state == State::Waiting {
                    self.tasks[*id].not_before = now;
                }
                self.group(Kind::Restart, Some(*id));
            }
            Event::RestartService if open => self.group(Kind::Service, None),
            _ => {}
        }
    }

    fn loop_ended(&mut self, id: LoopId, result: &Result<(), String>) {
        let told = self.loops[id].told.is_some();
        self.step.loop_ended = Some((id, told, result.clone()));
        let empty = !self.live().any(|task| self.plan.tasks[task].event_loop == id);
        if self.stop.is_some() {
            match result {
                Err(_) => self.failed = Known::Yes,
                // A loop that was never told, or is still starting: the rules speak of one whose tasks have ended.
                Ok(()) if !told && empty => self.failed = self.failed.max_maybe(),
                Ok(()) => {}
            }
        }
        let policy = self.plan.loops[id].restart.clone();
        let each = &mut self.loops[id];
        let quiet = each.running_since.is_some_and(|since| self.now - since >= policy.quiet);
        let running = each.phase == Phase::Running;
        each.phase = Phase::Ended;
        each.ended = self.now;
        if self.stop.is_none() && policy.when != When::Never {
            let (low, high) = each.row.pauses(&policy, quiet && running);
            each.restart = Some((self.now + low, self.now + high));
            // The following actions show whether its limit is hit; see `restarts_of_loops`.
        }
        let on_it: Vec<_> = (0..self.tasks.len()).filter(|&task| self.plan.tasks[task].event_loop == id).collect();
        self.loosen(|group| on_it.iter().any(|&task| group.has(task)));
    }

    fn loosen(&mut self, touched: impl Fn(&Group) -> bool) {
        self.groups.iter_mut().filter(|group| touched(group)).for_each(|group| group.loose = true);
    }

    fn group(&mut self, kind: Kind, root: Option<TaskId>) {
        let all = || (0..self.tasks.len()).collect::<BTreeSet<_>>();
        let reach = match root {
            Some(id) => self.requirers[id].iter().copied().chain([id]).collect(),
            None => all(),
        };
        let live: BTreeSet<_> = reach.iter().copied().filter(|&id| self.is_live(id)).collect();
        let refused = |ids: &BTreeSet<TaskId>| ids.iter().any(|&id| !self.plan.tasks[id].restartable);
        let operator = matches!(kind, Kind::Restart | Kind::Service);
        // The tasks that require an ended one may be left alone.
        let ended = root.is_some_and(|id| self.tasks[id].state.is_final());
        let mut concerned = if ended { BTreeSet::new() } else { live.clone() };
        concerned.extend(root);
        if operator && refused(if root.is_none() { &reach } else { &concerned }) {
            self.step.warned = root.is_none_or(|id| self.tasks[id].state != State::Waiting);
            return;
        }
        // Where the rules are silent: a root that is not live, or whose recreation only its idle dependents prevent.
        let plain = kind == Kind::Dependents
            || root.is_none_or(|id| {
                self.is_live(id) || kind == Kind::Restart && live.is_empty() && !self.tasks[id].closed
            }) && !(operator && refused(&reach));
        let (mut members, others) = if plain { (live, reach) } else { (BTreeSet::new(), reach) };
        if plain && kind != Kind::Dependents && root.is_none_or(|id| self.tasks[id].state.is_final()) {
            members.extend(root);
        }
        let touched = |group: &Group| others.iter().any(|&id| group.has(id));
        let pending = self.groups.iter().any(touched);
        let others_too = others.clone();
        self.loosen(|group| others_too.iter().any(|&id| group.has(id)));
        let incarnations = self.tasks.iter().map(|task| task.incarnation).collect();
        self.groups.push(Group { kind, root, members, others, incarnations, loose: pending || !plain });
    }

    pub(super) fn apply(&mut self, action: &Action) {
        self.step.actions += 1;
        let now = self.now;
        match action {
            Action::StartLoop(id, run) => {
                let each = &mut self.loops[*id];
                if each.restart.take().is_some() {
                    let policy = &self.plan.loops[*id].restart;
                    let quiet = each.running_since.is_some_and(|since| each.ended - since >= policy.quiet);
                    each.row.count(each.ended, quiet, true);
                }
                (each.incarnation, each.phase, each.running_since) = (*run, Phase::Starting, None);
            }
            Action::StopLoop(id, _, _, deadline) => self.loops[*id].told = Some((now, *deadline)),
            Action::AbandonLoop(id, _) => {
                self.loops[*id].phase = Phase::Abandoned;
                self.step.abandoned.push(*id);
                self.abandoned = true;
                self.overdue = Known::Yes;
            }
            Action::CloseLoop(id) => self.loops[*id].closed = true,
            Action::StartTask(id, _) => {
                self.step.starts.push(*id);
                self.tasks[*id].started = Some(now);
            }
            Action::AskTask(id, _, reason, deadline) => {
                self.step.asks.push(*id);
                self.tasks[*id].asked = Some(Asked { at: now, deadline: *deadline, reason: reason.clone() });
            }
            Action::CancelTask(id, _) => {
                let why = match &self.tasks[*id] {
                    _ if self.hard.is_some() => Why::HardStop,
                    Task { asked: Some(_), .. } => Why::Deadline,
                    _ => Why::StartTimeout,
                };
                self.tasks[*id].cancelled.get_or_insert((now, why));
                if why == Why::Deadline {
                    self.overdue = self.overdue.max_maybe();
                }
            }
            Action::CloseTask(id) => self.tasks[*id].closed = true,
            Action::Transition(step) => self.transition(step),
            Action::AllStarted => (self.all_started, self.step.all_started) = (true, true),
            Action::SetReady(ready) => self.ready = *ready,
            Action::Stopping(reason) => {
                self.stop.get_or_insert((now, reason.clone()));
                self.step.stopping = true;
                self.groups.clear();
                if matches!(reason, Reason::TaskFailed(_) | Reason::LoopFailed(_)) {
                    self.failed = Known::Yes;
                }
            }
            Action::Warn(_) | Action::SlowStart(..) | Action::LoopDied(..) => {}
            Action::Finished(ending) => self.finished = Some(ending.clone()),
        }
    }

    fn transition(&mut self, step: &Transition) {
        self.step.transitions.push(step.clone());
        let Some(id) = self.task_named(&step.task) else { return };
        let now = self.now;
        if step.to == State::Waiting {
            let counted = self.covers(id) && !matches!(self.tasks[id].cause, Some(Cause::LoopDied(_)));
            let quiet = self.was_quiet(id);
            if counted {
                let sure = !self.groups.iter().any(|group| group.has(id));
                self.tasks[id].row.count(now, quiet, sure);
                self.loosen(|group| group.has(id) && group.kind != Kind::Dependents || group.members.contains(&id));
                if self.plan.tasks[id].restart.dependents {
                    self.group(Kind::Dependents, Some(id));
                }
            } else {
                self.tasks[id].row.blur();
                let on = &self.plan.loops[self.plan.tasks[id].event_loop];
                let died = matches!(self.tasks[id].cause, Some(Cause::LoopDied(_)));
                if died && (on.restart.dependents || self.plan.tasks[id].restart.dependents) {
                    self.group(Kind::Dependents, Some(id));
                    self.groups.iter_mut().rev().take(1).for_each(|group| group.loose = true);
                }
            }
            if self.groups.iter().any(|group| matches!(group.kind, Kind::Restart | Kind::Service) && group.has(id)) {
                self.tasks[id].closed = false;
            }
            let pause = if let Cause::Restart(pause) = step.cause { pause } else { Duration::ZERO };
            let task = &mut self.tasks[id];
            (task.started, task.ready, task.late_ready) = (None, None, false);
            (task.asked, task.cancelled, task.meant) = (None, None, false);
            (task.incarnation, task.not_before) = (step.incarnation, now + pause);
        }
        let task = &mut self.tasks[id];
        (task.state, task.at, task.cause) = (step.to, now, Some(step.cause.clone()));
        match step.to {
            State::Running => task.ready = Some(now),
            State::Cancelled if matches!(step.cause, Cause::StopTimeout(_)) => self.overdue = Known::Yes,
            State::Cancelled => self.overdue = self.overdue.max_maybe(),
            _ => {}
        }
    }

    /// Returns whether something has failed that the service answers for, so far.
    pub(super) fn failures(&self) -> Known {
        let mut sum = self.failed;
        for id in 0..self.tasks.len() {
            let mine = |step: &&Transition| *step.task == *self.plan.tasks[id].name;
            let steps: Vec<_> = self.step.transitions.iter().filter(mine).collect();
            let Some(at) = steps.iter().rposition(|step| step.to == State::Failed) else { continue };
            let again = steps[at + 1..].iter().any(|step| step.to == State::Waiting);
            let asked = steps[at].from == State::Stopping;
            let grouped = self.groups.iter().any(|group| group.has(id));
            let failed = match (asked, again) {
                (false, true) if !grouped => Known::No,
                (false, true) => Known::Maybe,
                (true, true) => Known::Maybe,
                (true, false) if self.stop.is_none() && matches!(steps[at].cause, Cause::LoopDied(_)) => Known::Maybe,
                (_, false) if grouped && self.stop.is_none() && !asked => Known::Maybe,
                (_, false) if self.stop.is_none() && self.groups.iter().any(|group| group.again() && group.has(id)) => {
                    Known::Maybe
                }
                (_, false) => Known::Yes,
            };
            sum = match (sum, failed) {
                (Known::Yes, _) | (_, Known::Yes) => Known::Yes,
                (Known::No, Known::No) => Known::No,
                _ => Known::Maybe,
            };
        }
        sum
    }

    /// Updates, after a call, what has failed, and which groups are done.
    pub(super) fn after(&mut self) {
        self.failed = self.failures();
        for id in 0..self.tasks.len() {
            self.tasks[id].meant |= self.groups.iter().any(|group| group.kind == Kind::Stop && group.has(id));
        }
        let groups = std::mem::take(&mut self.groups);
        self.groups = groups.into_iter().filter(|group| self.is_pending(group)).collect();
    }

    fn is_pending(&self, group: &Group) -> bool {
        let anew = |&id: &TaskId| self.tasks[id].incarnation > group.incarnations[id];
        match (group.loose, group.again()) {
            (_, false) => group.others.iter().any(|&id| self.is_live(id) && !anew(&id)),
            (false, true) => !group.members.iter().all(anew),
            (true, true)
                if group.kind == Kind::Dependents && group.members.iter().any(|&id| self.is_live(id) && !anew(&id)) =>
            {
                true
            }
            (true, true) if group.root.is_some_and(|id| self.is_live(id) && !anew(&id)) => true,
            (true, true) => group.others.iter().any(|id| {
                let task = &self.tasks[*id];
                (task.asked.is_some() || task.cancelled.is_some()) && !anew(id)
            }),
        }
    }

    /// Returns the ends that the rules allow for a live task after this event with the given outcome.
    pub(super) fn ends(&self, id: TaskId, outcome: &Outcome) -> Vec<(State, Option<Cause>)> {
        use State::*;
        let (task, plan) = (&self.tasks[id], &self.plan.tasks[id]);
        let failure = match outcome {
            Outcome::Error(words) => Some(Cause::Error(words.as_str().into())),
            Outcome::Panicked(words) => Some(Cause::Panicked(words.as_str().into())),
            Outcome::Dropped => Some(Cause::Dropped),
            Outcome::Ok | Outcome::Skip(_) => None,
            // No life of a script ends this way: a later end counts.
            Outcome::Suspect(_) => None,
        };
        let failed = || vec![(Failed, failure.clone())];
        let timed_out = (Failed, Some(Cause::StartTimeout(plan.start_timeout)));
        match (task.state, &task.asked, task.cancelled, outcome) {
            (Starting, _, Some(_), _) => vec![timed_out],
            (Starting, _, None, Outcome::Skip(words)) => vec![(Skipped, Some(Cause::Skipped(words.as_str().into())))],
            // It becomes Running first.
            (Starting, _, None, Outcome::Ok) => vec![],
            (Running, _, _, Outcome::Ok) => vec![(Stopped, Some(Cause::Finished))],
            (Starting | Running, ..) => failed(),
            (Stopping, Some(asked), Some((_, why)), _) => {
                let granted = Cause::StopTimeout(self.granted(asked));
                match why {
                    Why::HardStop => vec![(Cancelled, Some(Cause::HardStop))],
                    Why::Deadline if self.hard.is_some() => {
                        vec![(Cancelled, Some(granted)), (Cancelled, Some(Cause::HardStop))]
                    }
                    Why::Deadline => vec![(Cancelled, Some(granted))],
                    Why::StartTimeout => vec![timed_out, (Stopped, Some(Cause::Ended)), (Cancelled, None)],
                }
            }
            (Stopping, ..) if task.ready.is_some() && *outcome != Outcome::Ok => failed(),
            (Stopping, ..) if task.late_ready && *outcome != Outcome::Ok => {
                vec![(Failed, failure), (Stopped, Some(Cause::Ended))]
            }
            (Stopping, ..) => vec![(Stopped, Some(Cause::Ended))],
            _ => vec![],
        }
    }

    /// Returns the time that a task that exceeded its deadline had been given.
    fn granted(&self, asked: &Asked) -> Duration {
        let deadline = self.last_moment().map_or(asked.deadline, |last| last.min(asked.deadline));
        deadline.saturating_sub(asked.at)
    }
}

impl Known {
    fn max_maybe(self) -> Self {
        if self == Self::Yes { self } else { Self::Maybe }
    }

    pub(super) fn allows(self, is: bool) -> bool {
        match self {
            Self::No => !is,
            Self::Maybe => true,
            Self::Yes => is,
        }
    }
}

fn requirers(plan: &Plan, of: TaskId) -> BTreeSet<TaskId> {
    let mut found = BTreeSet::new();
    let mut left = vec![of];
    while let Some(id) = left.pop() {
        let direct = (0..plan.tasks.len()).filter(|&other| plan.tasks[other].requires.contains(&id));
        left.extend(direct.filter(|&other| found.insert(other)));
    }
    found
}
