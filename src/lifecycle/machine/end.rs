//! The ends of tasks and loops, and what follows: a restart, a skip, the end of the service.

use std::{sync::Arc, time::Duration};

use super::{Action, DOUBT, Lifecycle, LoopId, LoopState, Phase, Task, TaskId, Then, Timer, mutant};
use crate::{
    lifecycle::{Outcome, backoff},
    words::{
        restart::RestartPolicy,
        state::{Cause, Reason, State},
    },
};

impl Task {
    /// Returns the state and cause for a live task's outcome; `explained` says whether a stop explains a suspect error.
    fn verdict(&self, outcome: Outcome, explained: bool) -> (State, Cause) {
        match (&self.cancelled, self.state, outcome) {
            (Some(cause @ Cause::StartTimeout(_)), ..) => (State::Failed, cause.clone()),
            (Some(cause), ..) => (State::Cancelled, cause.clone()),
            // A task that was asked before it was ready has nothing to finish: however it ends, the request is
            // fulfilled.
            (None, State::Stopping, _) if self.ready_at.is_none() => (State::Stopped, Cause::Ended),
            (None, State::Stopping, Outcome::Ok) => (State::Stopped, Cause::Ended),
            (None, State::Starting, Outcome::Skip(reason)) => (State::Skipped, Cause::Skipped(reason.into())),
            (None, _, Outcome::Ok) => (State::Stopped, Cause::Finished),
            (None, _, Outcome::Suspect(message)) if explained => (State::Stopped, Cause::PartOfStop(message.into())),
            (None, _, Outcome::Skip(message) | Outcome::Error(message) | Outcome::Suspect(message)) => {
                (State::Failed, Cause::Error(message.into()))
            }
            (None, _, Outcome::Panicked(message)) => (State::Failed, Cause::Panicked(message.into())),
            (None, _, Outcome::Dropped) => (State::Failed, Cause::Dropped),
        }
    }
}

impl Lifecycle {
    pub(super) fn task_ended(&mut self, id: TaskId, incarnation: u32, outcome: Outcome) {
        let Some(task) = self.tasks.get(id).filter(|task| task.is_live() && task.incarnation == incarnation) else {
            return;
        };
        if task.suspect.is_some() {
            return; // It has been reported before.
        }
        match outcome {
            Outcome::Suspect(error)
                if self.stop.is_none() && task.state != State::Stopping && task.cancelled.is_none() =>
            {
                self.tasks[id].suspect = Some(error);
                self.timers.set(Timer::Suspect(id), self.now.saturating_add(DOUBT));
                self.update_allowance(id);
            }
            outcome => self.conclude(id, outcome),
        }
    }

    fn conclude(&mut self, id: TaskId, outcome: Outcome) {
        let task = &self.tasks[id];
        let explained = task.state == State::Stopping || self.stop.as_ref().is_some_and(|stop| stop.reason.is_a_wish());
        let (state, cause) = task.verdict(outcome, explained);
        if task.state == State::Starting && cause == Cause::Finished {
            self.make_ready(id); // A one-shot: its end made it ready.
        }
        self.end_task(id, state, cause);
    }

    /// Ends the wait of a suspect task: what has come by now explains its error, or nothing does. Returns whether it
    /// was suspect.
    pub(super) fn convict(&mut self, id: TaskId) -> bool {
        let Some(error) = self.tasks[id].suspect.take() else { return false };
        self.conclude(id, Outcome::Suspect(error));
        true
    }

    /// Puts a task into a final state and draws the conclusion.
    pub(super) fn end_task(&mut self, id: TaskId, state: State, cause: Cause) {
        let then = self.put_to_end(id, state, cause);
        self.follow(id, then);
    }

    /// Puts a task into a final state; the caller draws the conclusion, with the returned plan for it.
    pub(super) fn put_to_end(&mut self, id: TaskId, state: State, cause: Cause) -> Option<Then> {
        self.timers.clear(Timer::Task(id));
        self.timers.clear(Timer::Suspect(id));
        self.tasks[id].suspect = None;
        let skipped = match &cause {
            Cause::Skipped(reason) => Some(reason.clone()),
            _ => None,
        };
        self.transition(id, state, cause);
        if skipped.is_some() {
            self.to_consider.extend(&self.graph.tasks[id].required_by);
        }
        let task = &mut self.tasks[id];
        task.skipped = skipped;
        task.cancelled = None;
        task.asked_at = None;
        self.clear_due(id)
    }

    fn follow(&mut self, id: TaskId, then: Option<Then>) {
        let failed = self.tasks[id].state == State::Failed;
        if self.stop.is_some() {
            self.failed |= failed;
            return self.close_task(id);
        }
        match then {
            None if matches!(self.phase, Phase::Cycling { .. }) => self.end_before_its_turn(id),
            None => self.restart_by_policy(id),
            Some(then) => {
                self.failed |= failed;
                self.do_then(id, then);
            }
        }
    }

    fn do_then(&mut self, id: TaskId, then: Then) {
        match then {
            Then::StartAgain => self.wait_again(id, Duration::ZERO),
            Then::StayDown => self.hold(id),
            Then::WaitForAll => {}
        }
    }

    /// Handles a task that ended by itself while all tasks are being restarted: it is restarted as well, unless its
    /// failure stops the service.
    fn end_before_its_turn(&mut self, id: TaskId) {
        if self.tasks[id].state == State::Failed && !self.is_covered(id) {
            self.fail_service(id);
        }
    }

    fn is_covered(&self, id: TaskId) -> bool {
        let task = &self.tasks[id];
        let ended_by_itself = matches!(task.state, State::Failed | State::Stopped);
        ended_by_itself && task.plan.restartable && backoff::covers(&task.plan.restart, task.state == State::Failed)
    }

    fn restart_by_policy(&mut self, id: TaskId) {
        if !self.is_covered(id) {
            match self.tasks[id].state {
                State::Failed => self.fail_service(id),
                _ => self.close_task(id),
            }
            return;
        }
        let policy = self.policy(&self.tasks[id].plan.restart);
        let task = &mut self.tasks[id];
        let ran = task.ready_at.map(|at| self.now.saturating_sub(at));
        match task.restarts.next(&policy, self.now, ran, &mut self.random) {
            None => self.fail_service(id),
            Some(pause) => {
                self.wait_again(id, pause);
                self.timers.set(Timer::Task(id), self.now.saturating_add(pause));
                if policy.dependents {
                    self.restart_dependents(id);
                }
            }
        }
    }

    fn policy(&self, policy: &RestartPolicy) -> RestartPolicy {
        let window = if mutant!(self, ForgetsWindow) { Duration::MAX } else { policy.window };
        RestartPolicy { window, ..policy.clone() }
    }

    /// Makes the next incarnation of an ended task wait for its start.
    pub(super) fn wait_again(&mut self, id: TaskId, pause: Duration) {
        self.release(id);
        let task = &mut self.tasks[id];
        task.incarnation = task.incarnation.saturating_add(1);
        task.ready_at = None;
        task.skipped = None;
        task.closed = false;
        self.transition(id, State::Waiting, Cause::Restart(pause));
    }

    /// Stops the tasks that require this task before it comes back, and restarts them after it.
    fn restart_dependents(&mut self, id: TaskId) {
        for dependent in self.graph.clone().dependents(id) {
            let task = &self.tasks[dependent];
            if matches!(task.state, State::Starting | State::Running) && task.plan.restartable {
                self.make_due(dependent, Reason::Dependency(self.tasks[id].plan.name.clone()), Then::StartAgain);
            }
        }
    }

    fn fail_service(&mut self, id: TaskId) {
        self.failed = true;
        self.close_task(id);
        self.request_stop(Reason::TaskFailed(self.tasks[id].plan.name.clone()));
    }

    /// Closes a task that will never be heard of again.
    pub(super) fn close_task(&mut self, id: TaskId) {
        let task = &mut self.tasks[id];
        if !task.closed {
            task.closed = true;
            self.actions.push(Action::CloseTask(id));
        }
    }

    pub(super) fn loop_ended(&mut self, id: LoopId, incarnation: u32, result: Result<(), String>) {
        let Some(l) = self.loops.get(id).filter(|l| l.incarnation == incarnation && l.state.has_thread()) else {
            return;
        };
        if l.state == LoopState::Stopping || self.stop.is_some() {
            self.loop_ended_in_stop(id, result);
        } else {
            self.loop_died(id, died_of(result));
        }
    }

    fn loop_ended_in_stop(&mut self, id: LoopId, result: Result<(), String>) {
        let is_failure = result.is_err();
        self.failed |= is_failure;
        let died = died_of(result);
        let lost = self.lost_with(id);
        if is_failure || !lost.is_empty() {
            self.actions.push(Action::LoopDied(id, died.clone(), lost.clone(), None));
        }
        self.close_loop(id);
        for task in lost {
            // The end of a lost task may have ended another.
            if !self.tasks[task].state.is_final() {
                self.end_task(task, State::Failed, Cause::LoopDied(died.clone()));
            }
        }
    }

    fn loop_died(&mut self, id: LoopId, message: Arc<str>) {
        let pause = self.loop_pause(id);
        let lost = self.lost_with(id);
        self.actions.push(Action::LoopDied(id, message.clone(), lost.clone(), pause));
        self.set_loop_state(id, if pause.is_some() { LoopState::Backoff } else { LoopState::Ended });
        for &task in &lost {
            let then = self.put_to_end(task, State::Failed, Cause::LoopDied(message.clone()));
            match (pause, then) {
                (None, _) => self.close_task(task),
                (Some(_), Some(then @ (Then::StayDown | Then::WaitForAll))) => self.do_then(task, then),
                (Some(_), _) if matches!(self.phase, Phase::Cycling { .. }) => {}
                (Some(pause), _) => self.wait_again(task, pause),
            }
        }
        match pause {
            Some(pause) => {
                self.timers.set(Timer::Loop(id), self.now.saturating_add(pause));
                self.restart_dependents_of_loop(id, &lost);
            }
            None => {
                self.failed = true;
                self.actions.push(Action::CloseLoop(id));
                self.request_stop(Reason::LoopFailed(self.loops[id].plan.name.clone()));
            }
        }
    }

    /// Returns the tasks that end with this loop.
    fn lost_with(&self, id: LoopId) -> Vec<TaskId> {
        self.graph.on_loop(id).iter().copied().filter(|&task| !self.tasks[task].state.is_final()).collect()
    }

    fn restart_dependents_of_loop(&mut self, id: LoopId, lost: &[TaskId]) {
        for &task in lost {
            let restarts = self.tasks[task].state == State::Waiting;
            if restarts && (self.loops[id].plan.restart.dependents || self.tasks[task].plan.restart.dependents) {
                self.restart_dependents(task);
            }
        }
    }

    /// Returns the pause until the loop is restarted; `None` if it is not: no policy, its limit is hit, or a task on it
    /// can't be recreated.
    fn loop_pause(&mut self, id: LoopId) -> Option<Duration> {
        let policy = self.policy(&self.loops[id].plan.restart);
        let mut tasks = self.graph.on_loop(id).iter().map(|&task| &self.tasks[task]);
        if !backoff::covers(&policy, true) || tasks.any(|task| task.is_live() && !task.plan.restartable) {
            return None;
        }
        let l = &mut self.loops[id];
        let ran = l.running_since.map(|since| self.now.saturating_sub(since));
        l.restarts.next(&policy, self.now, ran, &mut self.random)
    }
}

fn died_of(result: Result<(), String>) -> Arc<str> {
    result.err().map_or_else(|| "it ended without being told to".into(), Into::into)
}
