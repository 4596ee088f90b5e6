//! Explanations for panics of other libraries: the runtime that such a library looks for on its thread is on another
//! loop.
//!
//! A panic is recognised by its message alone: the core knows no runtime. A test of each loop's crate (`loops/tests`)
//! checks this against the library.

/// A part of a panic's message, and the remedy.
const HINTS: [(&str, &str); 5] = [
    (
        "must be called from the context of a Tokio 1.x runtime",
        "this loop is not tokio's: give the future tokio's context by `interloop_tokio::with_tokio`, \
         or put the task on a Tokio loop",
    ),
    ("called from outside of a `task::LocalSet`", "use `cx.spawn_local`, which works on every loop"),
    ("not in a compio runtime", "this loop is not compio's: put the task on a Compio loop"),
    (
        "default main context already acquired by another thread",
        "this loop is not glib's default one: put the task on a Glib loop, or post to one by a Remote",
    ),
    (
        "only allowed on the thread owning the MainContext",
        "this loop is not that of the main context: use `cx.spawn_local`, or put the task on a Glib loop",
    ),
];

/// Returns the remedy for a panic with this message, if it is known.
pub(crate) fn of_panic(message: &str) -> Option<&'static str> {
    HINTS.iter().find(|(part, _)| message.contains(part)).map(|(_, hint)| *hint)
}
