//! A service without a task: it waits until it is asked to stop, as by ^C.

use interloop::Service;

/// Returns the service, not started yet.
pub fn service() -> Service {
    Service::new("empty")
}
