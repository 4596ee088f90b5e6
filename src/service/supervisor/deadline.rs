//! When the start or the stop of the service is over at the latest, for those who tell a service manager.
//!
//! A start has no deadline of its own: each task and each loop has one, known when it begins to start. So the deadline
//! moves as the start goes on. The deadline of a stop is known when it begins.

use std::time::Duration;

use super::Supervisor;
use crate::{
    State,
    service::{Phase, Transition},
    words::state::Cause,
};

impl Supervisor {
    /// Tells of the deadline of a task that starts, or will start again, while the service starts.
    pub(super) fn tell_start_deadline(&mut self, id: usize, transition: &Transition) {
        let timeout = self.tasks[id].start_timeout;
        match (transition.to, &transition.cause) {
            (State::Starting, _) => self.start_takes(timeout),
            (State::Waiting, Cause::Restart(pause)) => self.start_takes(pause.saturating_add(timeout)),
            _ => {}
        }
    }

    /// Tells that the start may take this long from now on.
    pub(super) fn start_takes(&mut self, time: Duration) {
        if self.handle.phase() == Phase::Starting {
            self.phase_ends_at(self.now().saturating_add(time));
        }
    }

    pub(super) fn tell_stop_deadline(&mut self) {
        self.phase_ends = 0;
        if let Some(deadline) = self.lifecycle.stop_deadline() {
            self.phase_ends_at(deadline);
        }
    }

    /// Tells of a later deadline. It is rounded up: a thousand tasks that start at once tell of one.
    fn phase_ends_at(&mut self, deadline: Duration) {
        let seconds = deadline.as_secs().saturating_add(1);
        if seconds <= self.phase_ends {
            return;
        }
        self.phase_ends = seconds;
        if let Some(deadline) = self.started.checked_add(Duration::from_secs(seconds)) {
            self.wake_waiters(self.handle.board().set_deadline(deadline));
        }
    }
}
