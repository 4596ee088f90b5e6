//! A service without a task: it waits to be asked to stop. ^C does.

use interloop::Service;

/// The service, not started yet.
pub fn service() -> Service {
    Service::new("empty")
}
