//! SIGCHLD. A process that ignores it (because its parent did, and exec keeps that) can't learn how its children end:
//! the system reaps them, and a wait finds nothing.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

use signal_hook::{consts::SIGCHLD, flag};

use super::found::is_ignored;

/// Makes children waitable from now on, whatever code starts them. A handler ends the ignoring; in the children the
/// default applies again.
pub(in crate::service) fn heed() -> io::Result<()> {
    // Without /proc this is unknown.
    if is_ignored(SIGCHLD).unwrap_or(true) {
        flag::register(SIGCHLD, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}
