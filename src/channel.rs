//! The parts of calls between loops, beside [`Remote`](crate::Remote), [`Reply`](crate::Reply) and
//! [`Slot`](crate::Slot).
//!
//! A [`Promise`] is the other end of a reply: [`Remote::ask`](crate::Remote::ask) hands one to the called loop, and
//! [`promise`] makes a pair for answers from elsewhere. [`PostError`] returns what a loop didn't accept.
//! [`LocalFuture`] and [`SendFuture`] are the futures that a loop's own executor gets.

// The cross-loop channel: how a closure gets onto a loop's thread, how a future lives there, and how the answer comes
// back.
//
// All threads see a loop's `Shared` (in `shared`): its queue, its flags, its waiters. It lives as long as the service,
// through all incarnations of the loop. Only the loop's thread sees its `Local`: the values that Remotes reach, and the
// futures. It lives for one incarnation, inside the mailbox that the adapter drives.
//
// This room does what every loop does with jobs and futures. It knows no kind of loop, no service and no task.
//
// `shared`, `job`, `local`, `address`, `hosted` and `this_thread` are one circle: the shared queue brings a job to the
// loop's own side, which runs it; a job that can't run goes back to an address, which must know the loop. A cut
// anywhere would hide one type behind another.
//
// May use: kit, words, reactor, counters.

pub(crate) mod address;
pub(crate) mod control;
pub(crate) mod driver;
pub(crate) mod hosted;
pub(crate) mod job;
pub(crate) mod local;
pub(crate) mod promise;
pub(crate) mod pulse;
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
