//! What calls between loops are made of, beside [`Remote`](crate::Remote), [`Reply`](crate::Reply) and
//! [`Slot`](crate::Slot).
//!
//! A [`Promise`] is the other end of a reply: [`Remote::ask`](crate::Remote::ask) hands one to the loop that is asked,
//! and [`promise`] makes a pair for answers that come from elsewhere. [`PostError`] gives back what a loop didn't
//! accept. [`LocalFuture`] and [`SendFuture`] are what a loop's own executor is handed.

// The cross-loop channel: how a closure gets onto a loop's thread, how a future lives there, and how the answer comes
// back.
//
// `Shared` (in `shared`) is what all threads see of a loop: its queue, its flags, who waits for it. It lives as long as
// the service, through all incarnations of the loop. `Local` is what only the loop's thread sees: the values that
// Remotes reach, and the futures. It lives for one incarnation, inside the mailbox that the adapter drives.
//
// Here belongs what every loop does with jobs and futures. It knows no kind of loop, no service and no task.
//
// `shared`, `job`, `local`, `address`, `hosted` and `this_thread` are one circle: a job is run by the loop's own side,
// which the shared queue brings it to, and goes back to an address that has to know the loop. A cut anywhere would hide
// one type behind another.
//
// May use: kit, words, reactor, counters.

pub(crate) mod address;
pub(crate) mod control;
pub(crate) mod hosted;
pub(crate) mod job;
pub(crate) mod local;
pub(crate) mod promise;
pub(crate) mod queue;
pub(crate) mod remote;
pub(crate) mod reply;
pub(crate) mod shared;
pub(crate) mod slot;
pub(crate) mod this_thread;
pub(crate) mod waiting;

pub use self::{
    local::{LocalFuture, SendFuture},
    promise::{Cancelled, Promise, promise},
    remote::PostError,
    reply::CancelOnDrop,
};
