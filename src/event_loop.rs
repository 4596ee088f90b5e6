//! What an adapter of a loop is written against: the contract, the mailbox that it drives, timers.
//!
//! Here belongs what an adapter sees, and what needs to know a kind of loop. Tasks it does not know.
//!
//! `contract` and `mailbox` are a circle: a kind of loop is driven with its mailbox, and a mailbox is of a kind of loop.
//!
//! May use: kit, words, options, reactor, channel, control.

mod batch;
pub(crate) mod contract;
pub(crate) mod foreign;
mod guest;
pub(crate) mod mailbox;
pub(crate) mod thread;

pub use self::{
    contract::Timers,
    foreign::{Foreign, ForeignHandle},
    mailbox::{Mailbox, Turn},
    thread::ThreadNative,
};
pub use crate::reactor::timers::{TimerQueue, TimerSleep};
