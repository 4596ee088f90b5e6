//! A server that existed before: its author keeps the `mio::Poll` and its tokens. It takes part in the service through
//! the mailbox alone: one more token, and one more `match` at the end of a turn. So it starts and stops with the
//! others, and they can read its counts.
//!
//! ```sh
//! raw-mio --shout-port 8000 --report-interval 2s
//! ```

pub mod shout;

use std::time::Duration;

use interloop::{Service, Thread, tasks::Periodic};

/// Returns the service, not started yet.
pub fn service() -> Service {
    let mut service = Service::new("raw-mio");
    let shouts = service.remote_to::<shout::Shout>();
    let report = move || {
        // A Thread may block: nobody shares it.
        let shouted = shouts.call(|counts| counts.lines.get()).wait_timeout(Duration::from_secs(1))?;
        log::info!("{shouted} lines shouted");
        Ok::<_, interloop::CallError>(())
    };
    service.task_on::<Thread>("report", Periodic::new(Duration::from_secs(10), report));
    service
}
