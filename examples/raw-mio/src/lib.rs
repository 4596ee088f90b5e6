//! A server that was there before: its author keeps his own `mio::Poll` and his own tokens. It takes part in the
//! service by the mailbox alone: one more token, and one more `match` at the end of a turn. So it is started and
//! stopped with the others, and they reach what it has counted.
//!
//! ```sh
//! raw-mio --shout-port 8000 --report-interval 2s
//! ```

pub mod shout;

use std::time::Duration;

use interloop::{Service, Thread, tasks::Periodic};

/// The service, not started yet.
pub fn service() -> Service {
    let mut service = Service::new("raw-mio");
    let shouts = service.remote_to::<shout::Shout>();
    let report = move || {
        // A Thread may wait: nobody shares it.
        let shouted = shouts.call(|counts| counts.lines.get()).wait_timeout(Duration::from_secs(1))?;
        log::info!("{shouted} lines shouted");
        Ok::<_, interloop::CallError>(())
    };
    service.task_on::<Thread>("report", Periodic::new(Duration::from_secs(10), report));
    service
}
