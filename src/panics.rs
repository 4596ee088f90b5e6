//! The panic hook of `run()`: one line in the log, with task, loop and place.

use std::{any::Any, panic};

use crate::{current, handle::ServiceHandle};

/// Replaces the process's panic hook.
pub(crate) fn install(service: &ServiceHandle) {
    let service = service.name().to_owned();
    panic::set_hook(Box::new(move |info| {
        let (task, loop_) = current::names();
        let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let target = task.as_ref().map_or_else(|| service.clone(), |task| format!("{service}.{task}"));
        let who = match (&task, &loop_) {
            (Some(task), Some(l)) => format!("task {task} on loop {l}"),
            (Some(task), None) => format!("task {task}"),
            (None, Some(l)) => format!("a job on loop {l}"),
            (None, None) => format!("thread {}", std::thread::current().name().unwrap_or("without a name")),
        };
        log::error!(target: &target, "{who} panicked at {place}: {}", said(info.payload()));
    }));
}

fn said(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<String>(), payload.downcast_ref::<&'static str>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "a panic without a message",
    }
}
