//! What an adapter of a loop is written against: the contract, the mailbox that it drives, and the reference loop.
//!
//! Here belongs what an adapter sees, and what needs to know a kind of loop. Tasks it does not know.
//!
//! May use: kit, words, reactor, channel, control.

pub(crate) mod contract;
pub(crate) mod foreign;
mod guest;
pub(crate) mod mailbox;
pub(crate) mod thread;
