//! The stop of the service in its phases, and of a task or a loop at its turn or its deadline.

use signal_hook::consts::SIGTERM;

use super::{
    Action, GRACE, LOOP_STOP_TIMEOUT, Lifecycle, LoopId, LoopState, Now, Phase, Stop, TaskId, Then, Timer, mutant,
};
use crate::words::state::{Cause, Reason, State};

impl Lifecycle {
    /// Requests a stop of the service; the first reason wins. It begins after the present event, or with the start.
    pub(super) fn request_stop(&mut self, reason: Reason) {
        match &mut self.stop {
            Some(stop) if mutant!(self, LastReasonWins) => stop.reason = reason,
            Some(_) => {}
            None => self.stop = Some(Stop { reason, deadline: self.now.saturating_add(self.shutdown_timeout) }),
        }
    }

    pub(super) fn begin_stop(&mut self) {
        let Some(Stop { reason, deadline }) = self.stop.clone() else { return };
        let drains = reason == Reason::Signal(SIGTERM) && !self.drain_delay.is_zero();
        self.enter(Phase::Draining);
        self.actions.push(Action::Stopping(reason));
        self.tell_ready();
        self.timers.set(Timer::Shutdown, deadline);
        for id in 0..self.tasks.len() {
            self.convict(id);
        }
        (0..self.tasks.len()).for_each(|id| self.give_up_plans(id));
        (0..self.loops.len()).for_each(|id| self.give_up_loop(id));
        match drains {
            true => self.timers.set(Timer::Drain, self.now.saturating_add(self.drain_delay)),
            false => self.stop_tasks(false),
        }
    }

    /// Cancels this task's plans: to start, to restart, to be stopped by itself.
    fn give_up_plans(&mut self, id: TaskId) {
        self.timers.clear(Timer::SlowStart(id));
        match self.tasks[id].state {
            State::Waiting if !self.may_start_tasks() => {
                self.never_start(id);
                self.close_task(id);
            }
            State::Starting | State::Running => drop(self.clear_due(id)),
            state if state.is_final() => self.close_task(id),
            _ => {}
        }
    }

    /// Gives up a loop between two incarnations, or before its first: it does not come back.
    fn give_up_loop(&mut self, id: LoopId) {
        if !self.loops[id].state.has_thread() {
            self.close_loop(id);
        }
    }

    /// Gives up a waiting task, whose turn never came: it does not start.
    pub(super) fn never_start(&mut self, id: TaskId) {
        self.put_to_end(id, State::Stopped, Cause::NeverStarted);
    }

    /// Makes all tasks of this phase due to stop.
    pub(super) fn stop_tasks(&mut self, last: bool) {
        self.timers.clear(Timer::Drain);
        self.enter(Phase::Stopping { last });
        self.make_all_due(last, self.stop_reason());
    }

    pub(super) fn make_all_due(&mut self, last: bool, reason: Reason) {
        for id in (0..self.tasks.len()).rev() {
            if self.tasks[id].is_live() && self.tasks[id].plan.last == last {
                self.make_due(id, reason.clone(), Then::WaitForAll);
            }
        }
    }

    fn stop_reason(&self) -> Reason {
        self.stop.as_ref().map_or(Reason::Restart, |stop| stop.reason.clone())
    }

    pub(super) fn ask_task_if_allowed(&mut self, id: TaskId) {
        let task = &self.tasks[id];
        let in_turn = task.blockers == 0 || mutant!(self, AsksEarly);
        if task.due.is_some() && in_turn && task.cancelled.is_none() {
            self.ask_task(id);
        }
    }

    /// Asks a task that is due to stop.
    fn ask_task(&mut self, id: TaskId) {
        let task = &mut self.tasks[id];
        let Some((reason, _)) = task.due.clone() else { return };
        task.asked_at = Some(self.now);
        let own = self.now.saturating_add(task.plan.stop_timeout);
        let deadline = self.stop.as_ref().map_or(own, |stop| own.min(stop.deadline));
        let incarnation = task.incarnation;
        self.timers.set(Timer::Task(id), deadline);
        self.transition(id, State::Stopping, Cause::Asked(reason.clone()));
        self.actions.push(Action::AskTask(id, incarnation, reason, deadline));
        self.convict(id);
    }

    fn cancel_task(&mut self, id: TaskId, cause: Cause) {
        if self.convict(id) {
            return;
        }
        let task = &mut self.tasks[id];
        task.cancelled = Some(cause);
        self.timers.set_for_thread(Timer::Task(id), self.threads_now.saturating_add(GRACE));
        self.actions.push(Action::CancelTask(id, task.incarnation));
    }

    pub(super) fn task_due(&mut self, id: TaskId, at: Now) {
        let task = &self.tasks[id];
        match task.state {
            _ if task.cancelled.is_some() => self.abandon_loop(task.plan.event_loop),
            State::Waiting => self.to_consider.push_back(id),
            State::Starting => self.cancel_task(id, Cause::StartTimeout(task.plan.start_timeout)),
            State::Stopping => self.cancel_overdue(id, at),
            _ => {}
        }
    }

    fn cancel_overdue(&mut self, id: TaskId, deadline: Now) {
        self.overdue = true;
        let granted = self.tasks[id].asked_at.map_or(Now::ZERO, |asked_at| deadline.saturating_sub(asked_at));
        self.cancel_task(id, Cause::StopTimeout(granted));
    }

    /// Ends the time limit for the whole stop: no order any more.
    pub(super) fn shutdown_timeout_over(&mut self) {
        let Some(deadline) = self.stop.as_ref().map(|stop| stop.deadline) else { return };
        self.cancel_all(|this, id| this.cancel_overdue(id, deadline));
    }

    pub(super) fn hard_stop(&mut self, signal: i32) {
        if self.forced.is_some() {
            return;
        }
        self.forced = Some(signal);
        self.request_stop(Reason::Signal(signal));
        match self.phase {
            Phase::New | Phase::Finished => {}
            Phase::StoppingLoops => self.hurry_loops(),
            Phase::Up | Phase::Cycling { .. } => {
                self.begin_stop();
                self.cancel_all(|this, id| this.cancel_task(id, Cause::HardStop));
            }
            Phase::Draining | Phase::Stopping { .. } => {
                self.cancel_all(|this, id| this.cancel_task(id, Cause::HardStop));
            }
        }
    }

    /// Cancels each live task that is not being cancelled already, and first asks it to stop if it was not asked.
    fn cancel_all(&mut self, cancel: impl Fn(&mut Self, TaskId)) {
        if self.phase == Phase::Draining {
            self.stop_tasks(false);
        }
        let reason = self.stop_reason();
        for id in (0..self.tasks.len()).rev() {
            if !self.tasks[id].is_live() || self.tasks[id].cancelled.is_some() {
                continue;
            }
            if self.tasks[id].state != State::Stopping {
                self.make_due(id, reason.clone(), Then::WaitForAll);
                self.ask_task(id);
            }
            cancel(self, id);
        }
    }

    pub(super) fn stop_loops(&mut self) {
        self.enter(Phase::StoppingLoops);
        self.timers.clear(Timer::Shutdown);
        for id in (0..self.loops.len()).filter(|&id| self.loops[id].state.has_thread()).collect::<Vec<_>>() {
            self.set_loop_state(id, LoopState::Stopping);
            self.tell_loop_to_stop(id, self.loop_deadline());
        }
    }

    fn loop_deadline(&self) -> Now {
        let least = self.now.saturating_add(GRACE);
        match &self.stop {
            Some(stop) if self.forced.is_none() => {
                self.now.saturating_add(LOOP_STOP_TIMEOUT).min(stop.deadline).max(least)
            }
            _ => least,
        }
    }

    fn tell_loop_to_stop(&mut self, id: LoopId, deadline: Now) {
        self.timers.set_for_thread(Timer::Loop(id), self.for_thread(deadline));
        self.actions.push(Action::StopLoop(id, self.loops[id].incarnation, self.ending_reason(), deadline));
    }

    /// Converts a deadline to the clock of the threads.
    fn for_thread(&self, deadline: Now) -> Now {
        self.threads_now.saturating_add(deadline.saturating_sub(self.now))
    }

    /// Shortens the time of loops that were told to stop.
    fn hurry_loops(&mut self) {
        let deadline = self.loop_deadline();
        for id in 0..self.loops.len() {
            if self.timers.get(Timer::Loop(id)).is_some_and(|at| at > self.for_thread(deadline)) {
                self.tell_loop_to_stop(id, deadline);
            }
        }
    }

    pub(super) fn loop_due(&mut self, id: LoopId) {
        match self.loops[id].state {
            LoopState::Backoff => self.start_loop(id),
            LoopState::Stopping => self.abandon_loop(id),
            _ => {}
        }
    }

    /// Handles a loop that can't act on a cancel, or on a stop that can't wait.
    pub(super) fn loop_stuck(&mut self, id: LoopId, incarnation: u32) {
        let Some(l) = self.loops.get(id).filter(|l| l.incarnation == incarnation) else { return };
        let is_cancelled = |task: &TaskId| self.tasks[*task].cancelled.is_some();
        let is_late = || self.forced.is_some() || self.stop.as_ref().is_some_and(|stop| stop.deadline <= self.now);
        let is_due = match l.state {
            LoopState::Stopping => is_late(),
            state => state.has_thread() && self.graph.on_loop(id).iter().any(is_cancelled),
        };
        if is_due {
            self.abandon_loop(id);
        }
    }

    /// Closes a loop that has ended for good.
    pub(super) fn close_loop(&mut self, id: LoopId) {
        if !matches!(self.loops[id].state, LoopState::Ended | LoopState::Abandoned) {
            self.timers.clear(Timer::Loop(id));
            self.set_loop_state(id, LoopState::Ended);
            self.actions.push(Action::CloseLoop(id));
        }
    }

    /// Leaves behind a loop that does not react, with all its tasks. The service can't continue without it.
    fn abandon_loop(&mut self, id: LoopId) {
        self.overdue = true;
        self.abandoned = true;
        self.timers.clear(Timer::Loop(id));
        self.set_loop_state(id, LoopState::Abandoned);
        self.actions.push(Action::AbandonLoop(id, self.loops[id].incarnation));
        for &task in self.graph.clone().on_loop(id) {
            if !self.tasks[task].state.is_final() {
                let (state, cause) = match self.tasks[task].suspect.take() {
                    Some(error) => (State::Failed, Cause::Error(error.into())),
                    None => (State::Abandoned, Cause::LoopStuck),
                };
                self.put_to_end(task, state, cause);
                self.close_task(task);
            }
        }
        if self.stop.is_none() {
            self.failed = true;
            self.request_stop(Reason::LoopFailed(self.loops[id].plan.name.clone()));
        }
    }
}
