//! Checks whether a stop can meet its time limit.

use std::time::Duration;

use super::{edges::dependencies_first, error::arrows};
use crate::{
    lifecycle::{Plan, TaskId},
    words::state::Seconds,
};

/// Returns a one-line warning if tasks that stop one after another may together take longer than the shutdown timeout.
///
/// A task is asked to stop when all its dependents have ended; those marked last, when all others have. So the longest
/// chain of each of the two phases counts, after the drain delay.
pub(crate) fn overlong_chain(plan: &Plan) -> Option<String> {
    // A plan has no cycle.
    let order =
        dependencies_first(plan.tasks.len(), |task| (&plan.tasks[task].requires, &plan.tasks[task].after)).ok()?;
    let [first, last] = [false, true].map(|last| Chain::longest(plan, &order, last));
    let total = plan.drain_delay.saturating_add(first.time).saturating_add(last.time);
    if total <= plan.shutdown_timeout {
        return None;
    }
    let drain = (!plan.drain_delay.is_zero()).then(|| format!("drain delay {}", Seconds(plan.drain_delay)));
    let parts = [drain, first.describe(plan), last.describe(plan)];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    let (total, timeout) = (Seconds(total), Seconds(plan.shutdown_timeout));
    Some(format!("a stop may take {total}, longer than the shutdown timeout of {timeout}: {}", parts.join(", then ")))
}

/// Tasks that stop one after another, and the sum of their timeouts.
struct Chain {
    tasks: Vec<TaskId>,
    time: Duration,
}

impl Chain {
    /// Returns the longest chain of tasks that are, or are not, marked last. Dependencies come first in `order`.
    fn longest(plan: &Plan, order: &[TaskId], last: bool) -> Self {
        // For each task: the time from when it is asked to stop to the end of the longest chain that it begins, and the
        // next task in that chain.
        let mut begun = vec![(Duration::ZERO, None); plan.tasks.len()];
        let mut longest: Option<TaskId> = None;
        for &id in order.iter().filter(|&&id| plan.tasks[id].last == last) {
            let task = &plan.tasks[id];
            let same_phase =
                task.requires.iter().chain(&task.after).copied().filter(|&next| plan.tasks[next].last == last);
            let next = same_phase.max_by_key(|&next| begun[next].0);
            let rest = next.map_or(Duration::ZERO, |next| begun[next].0);
            begun[id] = (task.stop_timeout.saturating_add(rest), next);
            if longest.is_none_or(|longest| begun[id].0 > begun[longest].0) {
                longest = Some(id);
            }
        }
        Self {
            tasks: std::iter::successors(longest, |&task| begun[task].1).collect(),
            time: longest.map_or(Duration::ZERO, |task| begun[task].0),
        }
    }

    /// Describes the chain in the order of the stop: `http 10 s -> db 5 s`.
    fn describe(&self, plan: &Plan) -> Option<String> {
        let link = |&task: &TaskId| format!("{} {}", plan.tasks[task].name, Seconds(plan.tasks[task].stop_timeout));
        (!self.tasks.is_empty()).then(|| arrows(self.tasks.iter().map(link)))
    }
}
