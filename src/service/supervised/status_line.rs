//! The service's status in one line, as `systemctl status` shows it.

use crate::{
    ServiceHandle, State,
    control::status_board::{LoopRow, TaskRow},
    service::Phase,
    words::{
        names,
        state::{Cause, Reason},
    },
};

/// How long a line may be, in bytes: managers show it in one line.
const MOST: usize = 400;

/// Returns the status: the phase, and what isn't as it should be in it.
pub(super) fn status_line(handle: &ServiceHandle, not_reloaded: Option<&str>, late: Option<String>) -> String {
    let phase = handle.phase();
    let reason = handle.board().reason();
    let mut text = handle.board().rows(|tasks, loops| match phase {
        Phase::New | Phase::Starting => starting(tasks, loops),
        Phase::Running => running(tasks),
        Phase::Stopping | Phase::Ended => stopping(tasks, loops, reason.as_ref()),
    });
    if phase < Phase::Stopping {
        for (slot, calls) in handle.unfilled_slots() {
            let calls = if calls == 1 { "1 call waits".to_owned() } else { format!("{calls} calls wait") };
            text += &format!("; slot {slot} is not filled: {calls}");
        }
        if let Some(late) = late {
            text += &format!("; {late}");
        }
        if let Some(error) = not_reloaded {
            text += &format!("; not reloaded: {error}");
        }
    }
    one_line(&text)
}

fn named(tasks: &[TaskRow], fits: impl Fn(&TaskRow) -> bool) -> Vec<&str> {
    tasks.iter().filter(|task| fits(task)).map(|task| &*task.name).collect()
}

fn starting(tasks: &[TaskRow], loops: &[LoopRow]) -> String {
    let restarts = |task: &TaskRow| task.state == State::Waiting && matches!(task.cause, Some(Cause::Restart(_)));
    let waited_for = named(tasks, |task| task.state == State::Starting || restarts(task));
    if !waited_for.is_empty() {
        return format!("starting: waiting for {}", names::listed(waited_for));
    }
    let loops = loops.iter().filter(|l| !l.running).map(|l| &**l.shared.name()).collect::<Vec<_>>();
    match &*loops {
        [] => "starting".to_owned(),
        [one] => format!("starting: waiting for loop {one}"),
        _ => format!("starting: waiting for loops {}", names::listed(loops)),
    }
}

fn running(tasks: &[TaskRow]) -> String {
    let is_down = |task: &&TaskRow| match task.state {
        State::Running | State::Skipped => false,
        State::Stopped => !matches!(task.cause, Some(Cause::Finished)),
        _ => true,
    };
    let down = tasks.iter().filter(is_down).map(|task| match &task.cause {
        Some(cause) => format!("{} {} ({cause})", task.name, task.state),
        None => format!("{} {}", task.name, task.state),
    });
    let down = down.collect::<Vec<_>>();
    if down.is_empty() {
        return "running".to_owned();
    }
    format!("running, but for {}", names::listed(down.iter().map(String::as_str)))
}

fn stopping(tasks: &[TaskRow], loops: &[LoopRow], reason: Option<&Reason>) -> String {
    let why = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
    let asked = named(tasks, |task| task.state == State::Stopping);
    let live = named(tasks, |task| matches!(task.state, State::Starting | State::Running));
    match (&*asked, &*live) {
        ([], []) => {
            let loops = loops.iter().filter(|l| l.running).map(|l| &**l.shared.name()).collect::<Vec<_>>();
            if loops.is_empty() {
                return format!("stopping{why}");
            }
            format!("stopping{why}: waiting for loops: {}", names::listed(loops))
        }
        ([], _) => format!("stopping{why}: draining"),
        _ => format!("stopping{why}: waiting for {}", names::listed(asked)),
    }
}

/// Errors of tasks have several lines at times, and the protocol has one a value.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MOST));
    for char in text.chars() {
        if line.len() >= MOST {
            line.push('…');
            break;
        }
        line.push(if char.is_control() { ' ' } else { char });
    }
    line
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_one_line_of_bounded_length() {
        assert_eq!(one_line("a\nb\u{7}c"), "a b c");
        assert!(one_line(&"é".repeat(10_000)).len() <= MOST + 4);
    }
}
