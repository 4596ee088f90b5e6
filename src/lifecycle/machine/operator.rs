//! An operator's requests while the service is up: to stop or restart one task, to restart all.

use std::time::Duration;

use super::{Action, Lifecycle, Phase, TaskId, Then, Timer};
use crate::words::state::{Reason, State};

impl Lifecycle {
    /// Stops a task, after the tasks that require it; they stay down until they are asked to start.
    pub(super) fn stop_task(&mut self, id: TaskId) {
        if !self.is_open_to(id, "stop") {
            return;
        }
        self.stop_and_hold(id, Reason::Requested("stop of this task".into()));
        for dependent in self.graph.clone().dependents(id) {
            self.stop_and_hold(dependent, Reason::Dependency(self.tasks[id].plan.name.clone()));
        }
    }

    fn stop_and_hold(&mut self, id: TaskId, reason: Reason) {
        match self.tasks[id].state {
            State::Waiting => {
                self.never_start(id);
                self.hold(id);
            }
            state if state.is_final() => {}
            _ => {
                self.make_due(id, reason, Then::StayDown);
                self.change_then(id, Then::StayDown);
            }
        }
    }

    /// Stops a task, after the tasks that require it, and restarts them. A task that is down is started.
    pub(super) fn restart_task(&mut self, id: TaskId) {
        if !self.is_open_to(id, "restart") {
            return;
        }
        match self.tasks[id].state {
            // An operator who requests a restart does not want to wait for the end of a backoff.
            State::Waiting => {
                self.timers.clear(Timer::Task(id));
                self.to_consider.push_back(id);
            }
            state if state.is_final() => {
                if self.can_restart(&[id]) {
                    self.wait_again(id, Duration::ZERO);
                }
            }
            _ => self.restart_live_task(id),
        }
    }

    fn restart_live_task(&mut self, id: TaskId) {
        let mut dependents = self.graph.dependents(id);
        dependents.retain(|&dependent| self.tasks[dependent].is_live());
        if !self.can_restart(&[id]) || !self.can_restart(&dependents) {
            return;
        }
        self.make_due(id, Reason::Restart, Then::StartAgain);
        self.change_then(id, Then::StartAgain);
        for dependent in dependents {
            self.make_due(dependent, Reason::Dependency(self.tasks[id].plan.name.clone()), Then::StartAgain);
        }
    }

    /// Stops all tasks in order, and restarts all when they have ended.
    pub(super) fn restart_service(&mut self) {
        let all: Vec<TaskId> = (0..self.tasks.len()).collect();
        if self.phase != Phase::Up || self.stop.is_some() || !self.can_restart(&all) {
            return;
        }
        for id in all {
            match self.tasks[id].state {
                State::Waiting => self.never_start(id),
                _ => self.change_then(id, Then::WaitForAll),
            }
        }
        self.cycle_tasks(false);
    }

    pub(super) fn cycle_tasks(&mut self, last: bool) {
        self.enter(Phase::Cycling { last });
        self.make_all_due(last, Reason::Restart);
    }

    pub(super) fn start_all_anew(&mut self) {
        self.enter(Phase::Up);
        (0..self.tasks.len()).for_each(|id| self.wait_again(id, Duration::ZERO));
    }

    /// Holds a task that an operator stopped. It does not count as done: it can come back, so the service stays up for
    /// it.
    pub(super) fn hold(&mut self, id: TaskId) {
        let task = &mut self.tasks[id];
        if !task.held {
            task.held = true;
            self.tally.held += usize::from(!task.plan.last);
            self.update_allowance(id);
        }
    }

    pub(super) fn release(&mut self, id: TaskId) {
        let task = &mut self.tasks[id];
        if task.held {
            task.held = false;
            self.tally.held -= usize::from(!task.plan.last);
        }
    }

    /// Replaces what follows a task's stop: the operator's last request counts.
    fn change_then(&mut self, id: TaskId, new: Then) {
        if let Some((_, then)) = &mut self.tasks[id].due {
            *then = new;
        }
    }

    fn is_open_to(&mut self, id: TaskId, what: &str) -> bool {
        let Some(task) = self.tasks.get(id) else { return false };
        if let Phase::Cycling { .. } = self.phase {
            let warning = format!("task {}: {what} ignored: the service is being restarted", task.plan.name);
            self.actions.push(Action::Warn(warning));
        }
        self.stop.is_none() && matches!(self.phase, Phase::New | Phase::Up)
    }

    fn can_restart(&mut self, tasks: &[TaskId]) -> bool {
        let Some(&once) = tasks.iter().find(|&&id| !self.tasks[id].plan.restartable) else { return true };
        let name = &self.tasks[once].plan.name;
        self.actions.push(Action::Warn(format!("restart ignored: task {name} can be made only once (use task_with)")));
        false
    }
}
