//! Checks declarations, turns them into a [`Plan`], and shows them: as a list, or as a graph for dot.
//!
//! All faults of tasks and loops that can be known before any thread starts are found here: a [`GraphError`] names
//! them. Declarations are checked as a whole, whatever is selected; only the claims of loops are compared among those
//! in use.
//!
//! Everything takes time in proportion to the tasks and their dependencies, and nothing recurses.

mod chain;
mod check;
mod declared;
mod edges;
mod error;
mod show;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, time::Duration};

use self::edges::Edges;
pub(crate) use self::{
    chain::overlong_chain,
    declared::{Declared, DeclaredLoop},
    error::GraphError,
    show::{graphviz, list},
};
use super::{LoopPlan, Plan, TaskId, TaskPlan};
use crate::words::names;

/// The parts of a plan besides its tasks and loops.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) drain_delay: Duration,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) seed: u64,
}

/// A plan, with the way back to the declarations.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    /// Each task of the plan, by its index among the declared ones.
    pub(crate) tasks: Vec<usize>,
    /// Each loop of the plan, by its index among the declared ones.
    pub(crate) loops: Vec<usize>,
}

/// Checks the declarations and reduces them to the `selection`, with everything it requires; `None` selects everything.
///
/// Tasks and loops keep their order. A loop without a selected task is omitted, unless it is wanted.
pub(crate) fn plan(
    tasks: &[Declared],
    loops: &[DeclaredLoop],
    selection: Option<&[String]>,
    timing: Timing,
) -> Result<Planned, GraphError> {
    check::loop_names(loops)?;
    let ids = check::task_names(tasks)?;
    let edges = Edges::resolve(tasks, &ids)?;
    let order = edges.dependencies_first().map_err(|cycle| GraphError::cycle(&cycle, tasks))?;
    check::last(tasks, &edges)?;
    check::restarts(tasks, loops, &edges, &order)?;

    let selected = match selection {
        Some(names) => edges.with_required(&find(names, tasks, &ids)?),
        None => vec![true; tasks.len()],
    };
    let mut in_use: Vec<bool> = loops.iter().map(|declared| declared.wanted).collect();
    for (task, _) in tasks.iter().zip(&selected).filter(|(_, selected)| **selected) {
        in_use[task.event_loop] = true;
    }
    let (planned_tasks, planned_loops) = (Kept::new(&selected), Kept::new(&in_use));
    check::claims(planned_loops.kept.iter().map(|&declared| &loops[declared]))?;

    let task_plan = |&id: &usize| {
        let task = &tasks[id];
        TaskPlan {
            name: task.name.as_str().into(),
            event_loop: planned_loops.ids[task.event_loop],
            requires: planned_tasks.renumber(edges.requires(id)),
            after: planned_tasks.renumber(edges.after(id)),
            last: task.last,
            start_timeout: task.start_timeout,
            stop_timeout: task.stop_timeout,
            restart: task.restart.clone(),
            restartable: task.restartable,
        }
    };
    let loop_plan = |&id: &usize| LoopPlan { name: loops[id].name.as_str().into(), restart: loops[id].restart.clone() };
    let plan = Plan {
        tasks: planned_tasks.kept.iter().map(task_plan).collect(),
        loops: planned_loops.kept.iter().map(loop_plan).collect(),
        drain_delay: timing.drain_delay,
        shutdown_timeout: timing.shutdown_timeout,
        seed: timing.seed,
    };
    Ok(Planned { plan, tasks: planned_tasks.kept, loops: planned_loops.kept })
}

/// Finds the tasks with these names, which a user typed.
fn find(typed: &[String], tasks: &[Declared], ids: &HashMap<&str, TaskId>) -> Result<Vec<TaskId>, GraphError> {
    let find = |name: &String| {
        ids.get(name.as_str()).copied().ok_or_else(|| {
            let nearest = names::nearest(name, tasks.iter().map(|task| &*task.name)).map(str::to_owned);
            GraphError::UnknownSelected { name: name.clone(), nearest }
        })
    };
    typed.iter().map(find).collect()
}

/// Some of the declared items, renumbered.
struct Kept {
    /// New number to old.
    kept: Vec<usize>,
    /// Old number to new; [`LEFT_OUT`] for omitted items.
    ids: Vec<usize>,
}

const LEFT_OUT: usize = usize::MAX;

impl Kept {
    fn new(keep: &[bool]) -> Self {
        let mut kept = Vec::with_capacity(keep.len());
        let mut ids = vec![LEFT_OUT; keep.len()];
        for id in (0..keep.len()).filter(|&id| keep[id]) {
            ids[id] = kept.len();
            kept.push(id);
        }
        Self { kept, ids }
    }

    /// Returns the new numbers of the items that were kept.
    fn renumber(&self, old: &[usize]) -> Vec<usize> {
        old.iter().map(|&id| self.ids[id]).filter(|&id| id != LEFT_OUT).collect()
    }
}
