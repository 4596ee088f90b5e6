//! The dependencies between tasks, by number.

use std::collections::HashMap;

use super::{
    Declared,
    error::{GraphError, Relation},
};
use crate::{lifecycle::TaskId, words::names};

/// The dependencies of all declared tasks: each at most once, and `requires` implies `after`.
pub(super) struct Edges {
    requires: Vec<Vec<TaskId>>,
    after: Vec<Vec<TaskId>>,
}

impl Edges {
    /// Resolves the declared names to tasks.
    pub(super) fn resolve(tasks: &[Declared], ids: &HashMap<&str, TaskId>) -> Result<Self, GraphError> {
        let mut edges = Self { requires: Vec::with_capacity(tasks.len()), after: Vec::with_capacity(tasks.len()) };
        for task in tasks {
            let find = |names: &[String], relation| {
                let find = |name: &String| {
                    let found = ids.get(name.as_str()).copied();
                    let (task, name) = (task.name.clone(), name.clone());
                    match found {
                        Some(_) if name == task => Err(GraphError::OnItself { task, relation }),
                        Some(id) => Ok(id),
                        None => {
                            let nearest =
                                names::nearest(&name, tasks.iter().map(|task| &*task.name)).map(str::to_owned);
                            Err(GraphError::UnknownDependency { task, relation, name, nearest })
                        }
                    }
                };
                let mut found = names.iter().map(find).collect::<Result<Vec<_>, _>>()?;
                found.sort_unstable();
                found.dedup();
                Ok(found)
            };
            let requires = find(&task.requires, Relation::Requires)?;
            let mut after = find(&task.after, Relation::After)?;
            after.retain(|id| requires.binary_search(id).is_err());
            edges.requires.push(requires);
            edges.after.push(after);
        }
        Ok(edges)
    }

    pub(super) fn requires(&self, task: TaskId) -> &[TaskId] {
        &self.requires[task]
    }

    pub(super) fn after(&self, task: TaskId) -> &[TaskId] {
        &self.after[task]
    }

    /// Returns all tasks, each after its dependencies; or the tasks of a cycle.
    pub(super) fn dependencies_first(&self) -> Result<Vec<TaskId>, Vec<TaskId>> {
        dependencies_first(self.requires.len(), |task| (&self.requires[task], &self.after[task]))
    }

    /// Returns, for each task, whether it is one of these, or required by one of them, directly or not.
    pub(super) fn with_required(&self, tasks: &[TaskId]) -> Vec<bool> {
        let mut selected = vec![false; self.requires.len()];
        let mut found = tasks.to_vec();
        while let Some(task) = found.pop() {
            if !std::mem::replace(&mut selected[task], true) {
                found.extend_from_slice(&self.requires[task]);
            }
        }
        selected
    }
}

/// Returns the numbers below `count`, each after its dependencies (which come in two parts); or the first cycle found,
/// in which each depends on the next, and the last one on the first.
pub(super) fn dependencies_first<'a>(
    count: usize,
    dependencies: impl Fn(TaskId) -> (&'a [TaskId], &'a [TaskId]),
) -> Result<Vec<TaskId>, Vec<TaskId>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        OnPath,
        Done,
    }
    let mut marks = vec![Mark::New; count];
    let mut order = Vec::with_capacity(count);
    // A depth-first search. Its path is kept here: each task, and the dependencies that are left to visit.
    let mut path = Vec::new();
    for start in 0..count {
        let mut next = Some(start);
        loop {
            match next.map(|task| (task, marks[task])) {
                Some((task, Mark::New)) => {
                    marks[task] = Mark::OnPath;
                    let (requires, after) = dependencies(task);
                    path.push((task, requires.iter().chain(after)));
                }
                Some((task, Mark::OnPath)) => {
                    return Err(path
                        .iter()
                        .map(|(on_path, _)| *on_path)
                        .skip_while(|on_path| *on_path != task)
                        .collect());
                }
                Some((_, Mark::Done)) | None => {}
            }
            let Some((task, left)) = path.last_mut() else { break };
            next = left.next().copied();
            if next.is_none() {
                marks[*task] = Mark::Done;
                order.push(*task);
                path.pop();
            }
        }
    }
    Ok(order)
}
