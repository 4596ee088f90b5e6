//! The rules for names, phases, restarts and claims.

use std::collections::HashMap;

use super::{Declared, DeclaredLoop, edges::Edges, error::GraphError};
use crate::{
    lifecycle::{RestartPolicy, TaskId},
    words::restart::When,
};

/// The names that would mix up a task's options with Interloop's own.
const RESERVED: [&str; 11] =
    ["config", "dry", "log", "tasks", "list", "drain", "shutdown", "graph", "help", "init", "version"];

/// Checks that every loop has a unique name.
pub(super) fn loop_names(loops: &[DeclaredLoop]) -> Result<(), GraphError> {
    let mut kinds = HashMap::with_capacity(loops.len());
    for DeclaredLoop { name, kind, .. } in loops {
        if !is_name(name) {
            return Err(GraphError::InvalidName { owner: "loop", name: name.clone() });
        }
        if let Some(first) = kinds.insert(name.as_str(), *kind) {
            return Err(GraphError::DuplicateLoop { name: name.clone(), kinds: [first, kind] });
        }
    }
    Ok(())
}

/// Checks that every task has a unique name, and returns the tasks by name.
pub(super) fn task_names(tasks: &[Declared]) -> Result<HashMap<&str, TaskId>, GraphError> {
    let mut ids = HashMap::with_capacity(tasks.len());
    for (id, Declared { name, .. }) in tasks.iter().enumerate() {
        if !is_name(name) {
            return Err(GraphError::InvalidName { owner: "task", name: name.clone() });
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(GraphError::ReservedName(name.clone()));
        }
        if ids.insert(name.as_str(), id).is_some() {
            return Err(GraphError::DuplicateTask(name.clone()));
        }
    }
    Ok(ids)
}

/// Whether the text matches `[a-z][a-z0-9-]*`.
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// Checks that no task marked last requires one that is not.
pub(super) fn last(tasks: &[Declared], edges: &Edges) -> Result<(), GraphError> {
    for (id, task) in tasks.iter().enumerate().filter(|(_, task)| task.last) {
        if let Some(&required) = edges.requires(id).iter().find(|&&required| !tasks[required].last) {
            return Err(GraphError::LastRequires { task: task.name.clone(), required: tasks[required].name.clone() });
        }
    }
    Ok(())
}

/// Checks that policies make sense, and that whatever they restart can be recreated. In `order` each task follows those
/// that it requires.
pub(super) fn restarts(
    tasks: &[Declared],
    loops: &[DeclaredLoop],
    edges: &Edges,
    order: &[TaskId],
) -> Result<(), GraphError> {
    let policy = |owner, name: &str, policy: &RestartPolicy| {
        policy.check().map_err(|why| GraphError::Policy { owner, name: name.to_owned(), why })
    };
    for declared in loops {
        policy("loop", &declared.name, &declared.restart)?;
    }
    for task in tasks {
        policy("task", &task.name, &task.restart)?;
        if task.restartable {
            continue;
        }
        if restarts_task(&task.restart) {
            return Err(GraphError::NotRestartable(task.name.clone()));
        }
        let event_loop = &loops[task.event_loop];
        if event_loop.restart.when != When::Never {
            let (event_loop, task) = (event_loop.name.clone(), task.name.clone());
            return Err(GraphError::LoopNotRestartable { event_loop, task });
        }
    }
    // The task whose restart takes this one along: one that it requires, or one that takes that along.
    let mut restarted_with = vec![None; tasks.len()];
    for &id in order {
        let origin = |&required: &TaskId| match tasks[required].restart.dependents {
            true => Some(required),
            false => restarted_with[required],
        };
        restarted_with[id] = edges.requires(id).iter().find_map(origin);
        if let (Some(origin), false) = (restarted_with[id], tasks[id].restartable) {
            let (task, dependent) = (tasks[origin].name.clone(), tasks[id].name.clone());
            return Err(GraphError::DependentNotRestartable { task, dependent });
        }
    }
    Ok(())
}

/// Whether the policy is anything but never.
fn restarts_task(policy: &RestartPolicy) -> bool {
    policy.when != When::Never || policy.dependents
}

/// Checks that only one loop needs the main thread, and only one makes each claim.
pub(super) fn claims<'a>(in_use: impl Iterator<Item = &'a DeclaredLoop>) -> Result<(), GraphError> {
    let mut claimed = HashMap::new();
    for declared in in_use {
        let main_thread = declared.needs_main_thread.then_some("the main thread");
        // A loop that makes the same claim twice does not conflict with itself.
        for thing in main_thread.into_iter().chain(declared.claims.filter(|&thing| Some(thing) != main_thread)) {
            if let Some(first) = claimed.insert(thing, &declared.name) {
                return Err(GraphError::Claimed { thing, loops: [first.clone(), declared.name.clone()] });
            }
        }
    }
    Ok(())
}
