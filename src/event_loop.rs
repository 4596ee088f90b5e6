//! The API for adapters of event loops: the contract, the mailbox that they drive, timers.
//!
//! An [`EventLoop`](crate::EventLoop) is driven on its own thread with a [`Mailbox`], whose [`turn`](Mailbox::turn)
//! runs the requests of other threads. A loop with timers of its own implements [`Timers`]; one without uses a
//! [`TimerQueue`]. A [`Foreign`] mailbox is attached to a loop that another program drives. Sockets are in
//! [`net`](crate::net).
//! [`docs/writing-a-loop.md`](https://docs.rs/crate/interloop/latest/source/docs/writing-a-loop.md) explains it step by
//! step.

// This room has what an adapter sees, the code that depends on the kind of loop, and `Thread`, the reference loop. It
// knows no tasks.
//
// `contract` and `mailbox` are a circle: a kind of loop is driven with its mailbox, and a mailbox is of a kind of loop.
//
// May use: kit, words, options, reactor, channel, control.

mod batch;
pub(crate) mod contract;
pub(crate) mod foreign;
mod guest;
mod loop_clock;
pub(crate) mod mailbox;
pub(crate) mod thread;

pub use self::{
    contract::Timers,
    foreign::{Foreign, ForeignHandle},
    loop_clock::LoopClock,
    mailbox::{Mailbox, Turn},
    thread::ThreadNative,
};
pub use crate::reactor::timers::{TimerQueue, TimerSleep};
