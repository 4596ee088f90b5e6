//! Displays declarations: `--list-tasks` and `--graph`. Neither text ends with a newline.

use std::fmt::Write;

use super::{Declared, DeclaredLoop};

/// Returns one line for each task: its name, its loop, its dependencies.
///
/// ```text
/// ticker  glib
/// http    io2 (tokio)  requires ticker; after cache
/// health  io2 (tokio)  last
/// ```
pub(crate) fn list(tasks: &[Declared], loops: &[DeclaredLoop]) -> String {
    let labels: Vec<_> = loops.iter().map(label).collect();
    let name_width = tasks.iter().map(|task| task.name.len()).max().unwrap_or(0);
    let label_width = tasks.iter().map(|task| labels[task.event_loop].len()).max().unwrap_or(0);
    let line = |task: &Declared| {
        let (name, label) = (&task.name, &labels[task.event_loop]);
        let line = format!("{name:name_width$}  {label:label_width$}  {}", dependencies(task));
        line.trim_end().to_owned()
    };
    tasks.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Returns `requires ticker, db; after cache; last`.
fn dependencies(task: &Declared) -> String {
    let names = |relation, names: &[String]| (!names.is_empty()).then(|| format!("{relation} {}", names.join(", ")));
    let last = task.last.then(|| "last".to_owned());
    let parts = [names("requires", &task.requires), names("after", &task.after), last];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Returns a graph for dot. Each loop is a box; a solid arrow points to a required task, a dashed one to a task that it
/// is after; a double border means last.
pub(crate) fn graphviz(service: &str, tasks: &[Declared], loops: &[DeclaredLoop]) -> String {
    let mut on_loop = vec![Vec::new(); loops.len()];
    for task in tasks {
        on_loop[task.event_loop].push(task);
    }
    let mut dot = format!("digraph {} {{\n", quoted(service));
    // Writing to a String can't fail.
    for (place, (event_loop, tasks)) in loops.iter().zip(on_loop).enumerate() {
        if tasks.is_empty() && !event_loop.wanted {
            continue;
        }
        let _ = writeln!(dot, "  subgraph cluster_{place} {{\n    label={};", quoted(&label(event_loop)));
        if tasks.is_empty() {
            // Dot omits an empty box.
            let _ = writeln!(dot, "    empty_{place} [style=invis];");
        }
        for task in tasks {
            let border = if task.last { " [peripheries=2]" } else { "" };
            let _ = writeln!(dot, "    {}{border};", quoted(&task.name));
        }
        dot.push_str("  }\n");
    }
    for task in tasks {
        for (names, style) in [(&task.requires, ""), (&task.after, " [style=dashed]")] {
            for name in names {
                let _ = writeln!(dot, "  {} -> {}{style};", quoted(&task.name), quoted(name));
            }
        }
    }
    dot.push('}');
    dot
}

/// Returns `tokio`, or `io2 (tokio)` for an instance with its own name.
fn label(event_loop: &DeclaredLoop) -> String {
    let DeclaredLoop { name, kind, .. } = event_loop;
    if name == kind { name.clone() } else { format!("{name} ({kind})") }
}

/// Returns a string of the dot language.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
