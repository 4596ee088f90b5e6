//! SIGCHLD. Whoever has it ignored (a parent that did, for exec keeps that) loses how its children end: the system
//! reaps them, and a wait finds nothing.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

use signal_hook::{consts::SIGCHLD, flag};

use super::found::is_ignored;

/// Children can be waited for from now on, whoever starts them. A handler ends the ignoring; in the children it is the
/// default again.
pub(in crate::service) fn heed() -> io::Result<()> {
    // Without /proc nobody knows.
    if is_ignored(SIGCHLD).unwrap_or(true) {
        flag::register(SIGCHLD, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}
