//! The faults of declarations, in one line each.

use std::fmt;

use super::Declared;
use crate::lifecycle::TaskId;

/// The reason why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GraphError {
    /// `owner` is `task` or `loop`, here and below.
    InvalidName {
        owner: &'static str,
        name: String,
    },
    ReservedName(String),
    DuplicateTask(String),
    DuplicateLoop {
        name: String,
        kinds: [&'static str; 2],
    },
    UnknownDependency {
        task: String,
        relation: Relation,
        name: String,
        /// The name that may have been meant.
        nearest: Option<String>,
    },
    OnItself {
        task: String,
        relation: Relation,
    },
    /// Each depends on the next, the last one on the first.
    Cycle(Vec<String>),
    LastRequires {
        task: String,
        required: String,
    },
    Policy {
        owner: &'static str,
        name: String,
        why: String,
    },
    NotRestartable(String),
    LoopNotRestartable {
        event_loop: String,
        task: String,
    },
    DependentNotRestartable {
        task: String,
        dependent: String,
    },
    Claimed {
        thing: &'static str,
        loops: [String; 2],
    },
    /// A user typed this name; all others are in the code.
    UnknownSelected {
        name: String,
        nearest: Option<String>,
    },
}

/// The kind of dependency between two tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Requires,
    After,
}

impl GraphError {
    pub(super) fn cycle(cycle: &[TaskId], tasks: &[Declared]) -> Self {
        Self::Cycle(cycle.iter().map(|&task| tasks[task].name.clone()).collect())
    }

    /// Returns the exit code: 2 for the command line, 78 for an unusable configuration.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::UnknownSelected { .. } => 2,
            _ => 78,
        }
    }
}

/// In lower case, without a full stop. Names whose form may be invalid are quoted, so the message stays on one line.
impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName { owner, name } => write!(
                f,
                "{owner} {name:?} can't be named so: a name is a lower-case letter, then such letters, digits and hyphens"
            ),
            Self::ReservedName(name) => {
                write!(f, "task {name} can't be named so: its options would look like those that every service has")
            }
            Self::DuplicateTask(name) => write!(f, "two tasks are named {name}"),
            Self::DuplicateLoop { name, kinds: [first, second] } if first == second => {
                write!(f, "two {first} loops are named {name}")
            }
            Self::DuplicateLoop { name, kinds: [first, second] } => {
                write!(f, "two loops are named {name}: a {first} loop and a {second} loop")
            }
            Self::UnknownDependency { task, relation, name, nearest } => {
                write!(f, "task {task} {relation} {name:?}, but there is no such task")?;
                nearest.iter().try_for_each(|nearest| write!(f, "; did you mean {nearest}?"))
            }
            Self::OnItself { task, relation } => write!(f, "task {task} {relation} itself"),
            Self::Cycle(tasks) => {
                let circle = tasks.iter().chain(tasks.first()).map(String::as_str);
                write!(f, "tasks depend on each other in a circle: {}", arrows(circle))
            }
            Self::LastRequires { task, required } => write!(
                f,
                "task {task} stops last, so it can't require {required}, which stops before it: \
                 make {required} last too, or use `after`"
            ),
            Self::Policy { owner, name, why } => write!(f, "{owner} {name}: {why}"),
            Self::NotRestartable(task) => {
                write!(f, "task {task} has a restart policy, but can't be made anew: use `task_with`")
            }
            Self::LoopNotRestartable { event_loop, task } => write!(
                f,
                "loop {event_loop} has a restart policy, but task {task}, which is on it, can't be made anew: \
                 use `task_with`"
            ),
            Self::DependentNotRestartable { task, dependent } => write!(
                f,
                "task {task} is restarted with its dependents, but task {dependent}, which requires it, \
                 can't be made anew: use `task_with`"
            ),
            Self::Claimed { thing, loops: [first, second] } => {
                write!(f, "loops {first} and {second} both claim {thing}")
            }
            Self::UnknownSelected { name, nearest: Some(nearest) } => {
                write!(f, "there is no task {name:?}; did you mean {nearest}? Try --list-tasks")
            }
            Self::UnknownSelected { name, nearest: None } => write!(f, "there is no task {name:?}; try --list-tasks"),
        }
    }
}

impl std::error::Error for GraphError {}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requires => "requires",
            Self::After => "is after",
        })
    }
}

/// Returns `a -> b -> c`; for a long chain only the beginning and the end.
pub(super) fn arrows(links: impl IntoIterator<Item = impl Into<String>>) -> String {
    const EACH_END: usize = 8;
    let mut links: Vec<String> = links.into_iter().map(Into::into).collect();
    if links.len() > 2 * EACH_END + 1 {
        let left_out = EACH_END..links.len() - EACH_END;
        let said = format!("... {} more ...", left_out.len());
        links.splice(left_out, [said]);
    }
    links.join(" -> ")
}
