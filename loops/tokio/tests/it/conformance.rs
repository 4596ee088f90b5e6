//! What every loop has to pass, by both runtimes.

use std::time::Duration;

use interloop_conformance::Fire;
use interloop_tokio::Tokio;
use tokio::{runtime::Handle, task::spawn_local, time::sleep};

fn set_timer(_: &Handle, time: Duration, fire: Fire) {
    spawn_local(async move {
        sleep(time).await;
        fire();
    });
}

mod current_thread {
    use super::{Tokio, set_timer};

    interloop_conformance::conformance!(Tokio::default(), native_timer: set_timer);
}

mod workers {
    use super::{Tokio, set_timer};

    interloop_conformance::conformance!(Tokio::default(), "worker-threads" = 2, native_timer: set_timer);
}
