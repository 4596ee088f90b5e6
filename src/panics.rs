//! What panics say; and the panic hook of `run()`: one line in the log, with task, loop and place.

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
        log::error!(target: &target, "{who} panicked at {place}: {}", said(info.payload()).unwrap_or(NOTHING));
        #[cfg(feature = "logging")]
        crate::logging::after_panic();
    }));
}

/// What a panic that was caught has said: for who runs the code of others, such as a transport. It never panics.
///
/// ```
/// let caught = std::panic::catch_unwind(|| panic!("no more {}", "tea")).unwrap_err();
/// assert_eq!(interloop::panic_message(caught), "no more tea");
/// ```
pub fn panic_message(panic: Box<dyn Any + Send>) -> String {
    let Some(text) = said(&*panic).map(str::to_owned) else {
        // Dropping a payload of an unknown type could panic once more.
        std::mem::forget(panic);
        return NOTHING.to_owned();
    };
    text
}

const NOTHING: &str = "a panic without a message";

fn said(payload: &(dyn Any + Send)) -> Option<&str> {
    let literal = || payload.downcast_ref::<&'static str>().copied();
    payload.downcast_ref::<String>().map(String::as_str).or_else(literal)
}
