//! The dependencies between tasks, in both directions, computed once.

use std::collections::HashSet;

use super::{LoopId, Plan, TaskId};

#[derive(Debug, Default)]
pub(super) struct Edges {
    pub(super) requires: Vec<TaskId>,
    pub(super) after: Vec<TaskId>,
    pub(super) required_by: Vec<TaskId>,
    pub(super) followed_by: Vec<TaskId>,
}

impl Edges {
    /// Returns all tasks that it comes after, for whatever reason.
    pub(super) fn dependencies(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.requires.iter().chain(&self.after).copied()
    }
}

#[derive(Debug)]
pub(super) struct Graph {
    pub(super) tasks: Vec<Edges>,
    pub(super) loops: Vec<Vec<TaskId>>,
}

impl Graph {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut tasks: Vec<Edges> = plan.tasks.iter().map(|_| Edges::default()).collect();
        let mut loops = vec![Vec::new(); plan.loops.len()];
        for (id, task) in plan.tasks.iter().enumerate() {
            loops[task.event_loop].push(id);
            for &dependency in &task.requires {
                tasks[dependency].required_by.push(id);
            }
            for &dependency in &task.after {
                tasks[dependency].followed_by.push(id);
            }
            tasks[id].requires.clone_from(&task.requires);
            tasks[id].after.clone_from(&task.after);
        }
        Self { tasks, loops }
    }

    pub(super) fn on_loop(&self, id: LoopId) -> &[TaskId] {
        &self.loops[id]
    }

    /// Returns all tasks that require this task, directly or through others, without itself.
    pub(super) fn dependents(&self, id: TaskId) -> Vec<TaskId> {
        let mut seen = HashSet::from([id]);
        let mut found = Vec::new();
        let mut look_at = Some(id);
        let mut looked = 0;
        while let Some(id) = look_at {
            found.extend(self.tasks[id].required_by.iter().copied().filter(|&by| seen.insert(by)));
            look_at = found.get(looked).copied();
            looked += 1;
        }
        found
    }
}
