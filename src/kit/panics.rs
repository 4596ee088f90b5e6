//! Caught panics, and their messages.

use std::{
    any::Any,
    cell::RefCell,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs user code; returns the panic's message if it panicked.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(panic_message)
}

thread_local! {
    /// The last panic message of this thread that the panic hook has logged.
    static LOGGED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Records that the panic hook has logged a panic of this thread with this message and its location.
pub(crate) fn set_logged(message: &str) {
    let _ = LOGGED.try_with(|logged| logged.replace(Some(message.to_owned())));
}

/// Returns, once, whether this panic of this thread, which was just caught, is already in the log.
pub(crate) fn take_logged(message: &str) -> bool {
    LOGGED.try_with(|logged| logged.take()).ok().flatten().is_some_and(|logged| logged == message)
}

/// Logs a panic of user code on this thread, unless the panic hook has: the logger may be such code, too, and panic.
pub(crate) fn say(what: fmt::Arguments<'_>, panic: &str) {
    say_to(module_path!(), what, panic);
}

/// Logs the same for a target.
pub(crate) fn say_to(target: &str, what: fmt::Arguments<'_>, panic: &str) {
    let level = if take_logged(panic) { log::Level::Debug } else { log::Level::Error };
    drop(catch(|| log::log!(target: target, level, "{what}: {panic}")));
}

/// Logs a caught panic as `{what} panicked: ..`, for code that runs foreign code, such as a transport; returns the
/// panic's message. It never panics.
///
/// Call it on the thread that has caught the panic. The level is error; or debug, if the panic hook of
/// [`Service::run`](crate::Service::run) has logged this panic already, with its place: one cause is one error.
///
/// ```
/// let caught = std::panic::catch_unwind(|| panic!("no more {}", "tea")).unwrap_err();
/// assert_eq!(interloop::task::log_panic("hello.http", "the handler of /tea", caught), "no more tea");
/// ```
pub fn log_panic(target: &str, what: impl fmt::Display, panic: Box<dyn Any + Send>) -> String {
    let said = panic_message(panic);
    say_to(target, format_args!("{what} panicked"), &said);
    said
}

/// Returns the message of a caught panic, for code that runs user code, such as a transport. It never panics.
///
/// ```
/// let caught = std::panic::catch_unwind(|| panic!("no more {}", "tea")).unwrap_err();
/// assert_eq!(interloop::task::panic_message(caught), "no more tea");
/// ```
pub fn panic_message(panic: Box<dyn Any + Send>) -> String {
    let Some(text) = said(&*panic).map(str::to_owned) else {
        // Dropping a payload of an unknown type could panic again.
        std::mem::forget(panic);
        return NOTHING.to_owned();
    };
    text
}

pub(crate) const NOTHING: &str = "a panic without a message";

pub(crate) fn said(payload: &(dyn Any + Send)) -> Option<&str> {
    let literal = || payload.downcast_ref::<&'static str>().copied();
    payload.downcast_ref::<String>().map(String::as_str).or_else(literal)
}
