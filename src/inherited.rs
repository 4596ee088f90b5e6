//! Listening sockets that a service manager, or a parent, has passed to the process.
//!
//! `Service::run` reads the environment once, before anything else: `environment`. When the options are known, `claims`
//! says which task has which descriptor, and refuses those that no task has. `adopt` checks a descriptor and makes it a
//! socket of ours. From then on the sockets are kept with their tasks, through all incarnations.
//!
//! May use: kit, reactor.

#[cfg_attr(not(target_os = "linux"), path = "inherited/elsewhere.rs")]
mod adopt;
mod claims;
mod environment;
mod name;

pub use self::name::{Inherited, ParseInheritedError};
pub(crate) use self::{
    claims::{Assigned, Claimant, assign},
    environment::Announced,
};
