//! Silent startup hangs: a task that has forgotten `cx.ready()`, and a slot that is never filled.
//!
//! Each is logged once, by the service's clock. A task has a timer for that only while it starts. Slots are checked
//! once, and only if one is still unfilled when all tasks have started. So an idle service that has started does not
//! wake up for this.

use std::time::Duration;

use log::Level;

use super::Supervisor;
use crate::{
    lifecycle::TaskId,
    words::{names, state::Seconds},
};

/// How long after the start of all tasks a slot may be unfilled while calls wait for it.
const UNFILLED: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Warns of a task that has been starting for `time`: names it, the tasks that wait for it, and the reason if it is
    /// known.
    pub(super) fn tell_slow_start(&self, id: TaskId, time: Duration, waiting: &[TaskId]) {
        let task = &self.tasks[id];
        let target = task.info.target();
        self.outside.log(Level::Warn, target, || {
            let mut text = match task.info.starting() {
                doing if doing.is_empty() => {
                    format!("task {} is not ready: no cx.ready() within {}", task.name, Seconds(time))
                }
                doing => format!("task {} is not ready after {}{doing}", task.name, Seconds(time)),
            };
            if let Some((number, held)) = self.loops[task.event_loop].shared.blocked() {
                let (thread, polling) = (self.thread_name(task.event_loop), self.at(number));
                text += &format!("; thread {thread} has been in {polling} for {}", Seconds(held));
            }
            if let [one] = waiting {
                text += &format!("; task {} waits for it", self.tasks[*one].name);
            } else if !waiting.is_empty() {
                text += &format!(
                    "; tasks {} wait for it",
                    names::listed(waiting.iter().map(|&task| &*self.tasks[task].name))
                );
            }
            let of_task = task.info.slots().into_iter().map(|slot| (slot.name().clone(), slot.waiting()));
            let of_task = of_task.filter(|(_, waiting)| *waiting > 0).collect::<Vec<_>>();
            for (slot, calls) in of_task.into_iter().chain(self.handle.unfilled_slots()) {
                text += &format!("; {} for slot {slot}, which has not been filled", jobs(calls));
            }
            text
        });
    }

    /// Plans another check if a slot is unfilled when all tasks have started.
    pub(super) fn note_unfilled_slots(&mut self) {
        if self.handle.has_unfilled_slots() {
            self.slots_due = Some(self.now().saturating_add(UNFILLED));
        }
    }

    /// Warns of slots that are unfilled while calls wait for them, once that check is due.
    pub(super) fn tell_unfilled_slots(&mut self) {
        let now = self.now();
        if self.slots_due.take_if(|due| *due <= now).is_none() || self.handle.shutdown().is_requested() {
            return;
        }
        for (slot, calls) in self.handle.unfilled_slots() {
            let jobs = jobs(calls);
            self.log(Level::Warn, || {
                format!("slot {slot} has not been filled, though all tasks have started: {jobs} for it; see cx.fill()")
            });
        }
    }
}

fn jobs(count: usize) -> String {
    if count == 1 { "1 call waits".to_owned() } else { format!("{count} calls wait") }
}
