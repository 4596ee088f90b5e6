//! What a panic of somebody else's library means here: the runtime that it looks for on its thread is on another loop.
//!
//! It is recognised by its message alone: the core knows no runtime. A test of each loop's crate (`loops/tests`) holds
//! this against the library.

/// A part of the message of a panic, and what to do about it.
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

/// What to do about a panic with this message, if it is known.
pub(crate) fn of_panic(message: &str) -> Option<&'static str> {
    HINTS.iter().find(|(part, _)| message.contains(part)).map(|(_, hint)| *hint)
}
